//! What the alert rules have seen, as a file of the data folder keeps it.

use domain::alert::{Figure, MarkMemory, Memory, State, TrackMemory, Turn};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// `DIR/alert-rules.json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    known: Vec<String>,
    seen: Vec<KeptTrack>,
}

/// Moments are milliseconds since 1970, figures are millionths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct KeptTrack {
    rule: String,
    scope: String,
    /// Since when, and when it resets.
    window: Option<(i64, i64)>,
    #[serde(default)]
    limit: Option<i64>,
    value: i64,
    seen_at: i64,
    marks: Vec<KeptMark>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct KeptMark {
    at: i64,
    state: KeptState,
    told_in: Vec<i64>,
    told_at: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptState {
    Armed,
    Told,
    Silent,
}

impl Kept {
    pub(super) fn of(memory: &Memory) -> Kept {
        let track = |track: &TrackMemory| KeptTrack {
            rule: track.rule.to_string(),
            scope: track.scope.to_string(),
            window: track.turn.map(|turn| (turn.since.as_millis(), turn.resets_at.as_millis())),
            limit: track.limit,
            value: track.value.as_millionths(),
            seen_at: track.seen_at.as_millis(),
            marks: track.marks.iter().map(KeptMark::of).collect(),
        };
        Kept {
            known: memory.known.iter().map(ToString::to_string).collect(),
            seen: memory.tracks.iter().map(track).collect(),
        }
    }

    pub(super) fn memory(&self) -> Memory {
        let moment = Timestamp::from_millis;
        let track = |track: &KeptTrack| TrackMemory {
            rule: track.rule.as_str().into(),
            scope: track.scope.as_str().into(),
            turn: track.window.map(|(since, resets_at)| Turn { since: moment(since), resets_at: moment(resets_at) }),
            limit: track.limit,
            value: Figure::from_millionths(track.value),
            seen_at: moment(track.seen_at),
            marks: track.marks.iter().map(KeptMark::memory).collect(),
        };
        Memory {
            known: self.known.iter().map(|name| name.as_str().into()).collect(),
            tracks: self.seen.iter().map(track).collect(),
        }
    }

    /// But for values: what they were is of use only where a reset moves or a threshold is new.
    pub(super) fn is_like(&self, other: &Kept) -> bool {
        let is_like = |(one, other): (&KeptTrack, &KeptTrack)| {
            KeptTrack { value: 0, ..one.clone() } == KeptTrack { value: 0, ..other.clone() }
        };
        self.known == other.known
            && self.seen.len() == other.seen.len()
            && self.seen.iter().zip(&other.seen).all(is_like)
    }
}

impl KeptMark {
    fn of(mark: &MarkMemory) -> KeptMark {
        let state = match mark.state {
            State::Armed => KeptState::Armed,
            State::Told => KeptState::Told,
            State::Silent => KeptState::Silent,
        };
        KeptMark {
            at: mark.at.as_millionths(),
            state,
            told_in: mark.told_in.iter().map(|end| end.as_millis()).collect(),
            told_at: mark.told_at.map(Timestamp::as_millis),
        }
    }

    fn memory(&self) -> MarkMemory {
        let state = match self.state {
            KeptState::Armed => State::Armed,
            KeptState::Told => State::Told,
            KeptState::Silent => State::Silent,
        };
        MarkMemory {
            at: Figure::from_millionths(self.at),
            state,
            told_in: self.told_in.iter().map(|end| Timestamp::from_millis(*end)).collect(),
            told_at: self.told_at.map(Timestamp::from_millis),
        }
    }
}

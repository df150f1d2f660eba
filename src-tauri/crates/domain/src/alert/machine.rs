//! The one state machine: when a rule fires, and when what it told of is over.
//!
//! Each threshold of each thing that a rule covers has a mark. A mark fires when the value passes it, once per window and
//! limit; it is over when the value is back by a margin or the window ends, and only then can it fire again. What is past
//! its mark when it is seen for the first time was so before anybody looked: it is noted and not told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Cooldown, Crossed, Event, Figure, Reading, Rule, Severity, Sign, Turn};
use crate::time::{Instant, Now, Timestamp};

/// So much of a threshold, in hundredths, a value must be back behind it before it can pass it again.
const MARGIN: i64 = 5;
/// Resets that lie no further apart are one, told with jitter.
const JITTER: Duration = Duration::from_secs(60);
/// Windows in which a mark is known to have fired: more than a clock that jumps comes back to.
const WINDOWS_MAX: usize = 4;
/// Things that are known, over all rules; names of clients and models are not under our control.
const TRACKS_MAX: usize = 2_000;
/// When something was last seen is known to so long: only what is forgotten first depends on it.
const SEEN_WITHIN: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug)]
pub struct Alerts {
    rules: Vec<Arc<Rule>>,
    /// Rules for which somebody has looked before.
    known: BTreeSet<Arc<str>>,
    /// By rule and reading.
    tracks: BTreeMap<(Arc<str>, Arc<str>), Track>,
}

/// What is known of one thing under one rule.
#[derive(Clone, Debug)]
struct Track {
    turn: Option<Turn>,
    limit: Option<i64>,
    value: Figure,
    seen_at: Timestamp,
    /// As the rule's thresholds.
    marks: Vec<Mark>,
}

#[derive(Clone, Debug)]
struct Mark {
    at: Figure,
    stand: Stand,
    /// The ends of the windows in which it has fired.
    told_in: Vec<Timestamp>,
    told_at: Option<Timestamp>,
    /// Until when it may not fire again.
    cools: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    Armed,
    /// Past the threshold, and not yet for long enough.
    Rising {
        since: Instant,
    },
    /// It has fired, and that isn't over.
    Told,
    /// Past the threshold, and nobody is told: it was so at first sight, a worse one fired with it, or it has fired in
    /// this window before.
    Silent,
}

/// Where a value stands against a threshold: between the two marks nothing changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Position {
    Back,
    Between,
    Past,
}

/// What outlives a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Rules for which somebody has looked before, by name.
    pub known: Vec<Arc<str>>,
    pub tracks: Vec<TrackMemory>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackMemory {
    pub rule: Arc<str>,
    pub scope: Arc<str>,
    pub turn: Option<Turn>,
    pub limit: Option<i64>,
    pub value: Figure,
    pub seen_at: Timestamp,
    pub marks: Vec<MarkMemory>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MarkMemory {
    pub at: Figure,
    pub state: State,
    /// The ends of the windows in which it has fired, at most four.
    pub told_in: Vec<Timestamp>,
    pub told_at: Option<Timestamp>,
}

/// Where a mark stands, as far as a restart needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Armed,
    Told,
    Silent,
}

impl Alerts {
    /// Goes on where `memory` ended. What it has of rules that are no more is forgotten.
    pub fn recall(rules: Vec<Rule>, memory: &Memory, now: Now) -> Alerts {
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        let find = |name: &str| rules.iter().find(|rule| *rule.name == *name);
        let known = memory.known.iter().filter(|name| find(name).is_some()).cloned().collect();
        let track = |track: &TrackMemory| {
            let key = (track.rule.clone(), track.scope.clone());
            Some((key, Track::recall(find(&track.rule)?, track, now)))
        };
        let tracks = memory.tracks.iter().take(TRACKS_MAX).filter_map(track).collect();
        Alerts { rules, known, tracks }
    }

    pub fn remember(&self) -> Memory {
        let track = |((rule, scope), track): (&(Arc<str>, Arc<str>), &Track)| TrackMemory {
            rule: rule.clone(),
            scope: scope.clone(),
            turn: track.turn,
            limit: track.limit,
            value: track.value,
            seen_at: track.seen_at,
            marks: track.marks.iter().map(Mark::remember).collect(),
        };
        Memory { known: self.known.iter().cloned().collect(), tracks: self.tracks.iter().map(track).collect() }
    }

    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// All there is to see of a sign now.
    pub fn judge(&mut self, sign: Sign, readings: &[Reading], now: Now) -> Vec<Event> {
        let mut events = vec![];
        for rule in self.of(sign) {
            let mut here = BTreeSet::new();
            for reading in readings.iter().filter(|reading| rule.metric.covers(&reading.scope, &reading.part)) {
                here.insert(reading.name());
                events.append(&mut self.read(&rule, reading, now));
            }
            if sign.begins_at_zero() {
                events.append(&mut self.end_all_but(&rule, &here, now));
            }
            self.known.insert(rule.name.clone());
        }
        self.forget_beyond();
        events
    }

    /// One thing of a sign, whatever there is of others.
    pub fn see(&mut self, sign: Sign, reading: &Reading, now: Now) -> Vec<Event> {
        let mut events = vec![];
        for rule in self.of(sign).iter().filter(|rule| rule.metric.covers(&reading.scope, &reading.part)) {
            events.append(&mut self.read(rule, reading, now));
        }
        self.forget_beyond();
        events
    }

    /// Takes it that somebody was told of this before, and that it isn't over.
    pub fn know_told(&mut self, rule: &str, scope: &str, at: Figure, told_at: Timestamp, now: Now) {
        let Some(rule) = self.rules.iter().find(|known| *known.name == *rule).cloned() else { return };
        let track = self.tracks.entry((rule.name.clone(), scope.into())).or_insert_with(|| Track::new(&rule, now));
        if let Some(mark) = track.marks.iter_mut().find(|mark| mark.at == at) {
            mark.stand = Stand::Told;
            mark.told_at = Some(told_at);
        }
    }

    /// Whether somebody was told of it and it isn't over.
    pub fn is_told(&self, rule: &str, scope: &str, at: Figure) -> bool {
        let track = self.tracks.get(&(rule.into(), scope.into()));
        track.is_some_and(|track| track.marks.iter().any(|mark| mark.at == at && mark.stand == Stand::Told))
    }

    fn of(&self, sign: Sign) -> Vec<Arc<Rule>> {
        self.rules.iter().filter(|rule| rule.metric.sign == sign).cloned().collect()
    }

    fn read(&mut self, rule: &Arc<Rule>, reading: &Reading, now: Now) -> Vec<Event> {
        let sign = rule.metric.sign;
        let rule_is_new = !self.known.contains(&rule.name);
        let name = reading.name();
        let key = (rule.name.clone(), name.clone());
        // Of more than it keeps, what is new may be known and forgotten.
        let is_seen_coming = sign.begins_at_zero() || (sign.is_our_own() && self.tracks.len() < TRACKS_MAX);
        let is_first_sight = !sign.happens() && (rule_is_new || !is_seen_coming);
        let mut is_new = false;
        let track = self.tracks.entry(key).or_insert_with(|| {
            is_new = true;
            Track::new(rule, now)
        });
        if is_new && is_first_sight {
            track.prime(sign, reading, now);
            return vec![];
        }
        let events = track.read(rule, &name, reading, now);
        if sign.begins_at_zero() && track.says_nothing(now) {
            self.tracks.remove(&(rule.name.clone(), name));
        }
        events
    }

    /// What isn't there any more is zero.
    fn end_all_but(&mut self, rule: &Arc<Rule>, here: &BTreeSet<Arc<str>>, now: Now) -> Vec<Event> {
        let from = (rule.name.clone(), Arc::from(""));
        let known = self.tracks.range_mut(from..).take_while(|((name, _), _)| *name == rule.name);
        let (mut events, mut silent) = (vec![], vec![]);
        for (key, track) in known.filter(|((_, scope), _)| !here.contains(scope)) {
            let nothing = Reading { turn: track.turn, ..Reading::default() };
            events.append(&mut track.read(rule, &key.1, &nothing, now));
            if track.says_nothing(now) {
                silent.push(key.clone());
            }
        }
        for key in silent {
            self.tracks.remove(&key);
        }
        events
    }

    /// First what has not been seen for longest and tells of nothing.
    fn forget_beyond(&mut self) {
        while self.tracks.len() > TRACKS_MAX {
            let oldest = self.tracks.iter().min_by_key(|(_, track)| (track.is_told(), track.seen_at));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            self.tracks.remove(&key);
        }
    }
}

impl Track {
    fn new(rule: &Rule, now: Now) -> Track {
        let mark = |at: Figure| Mark { at, stand: Stand::Armed, told_in: vec![], told_at: None, cools: now.instant };
        let marks = rule.thresholds.iter().map(|threshold| mark(threshold.at)).collect();
        let value = if rule.metric.sign.is_low() { Figure(i64::MAX) } else { Figure::ZERO };
        Track { turn: None, limit: None, value, seen_at: now.timestamp, marks }
    }

    /// A threshold that is new is seen for the first time.
    fn recall(rule: &Rule, memory: &TrackMemory, now: Now) -> Track {
        let known = |at: Figure| memory.marks.iter().find(|mark| mark.at == at);
        let mark = |at: Figure| match known(at) {
            Some(known) => Mark::recall(known, rule.cooldown, now),
            None => {
                let is_past = Position::of(rule.metric.sign, memory.value, at) == Position::Past;
                let stand = if is_past { Stand::Silent } else { Stand::Armed };
                Mark { at, stand, told_in: vec![], told_at: None, cools: now.instant }
            }
        };
        let marks = rule.thresholds.iter().map(|threshold| mark(threshold.at)).collect();
        Track { turn: memory.turn, limit: memory.limit, value: memory.value, seen_at: memory.seen_at, marks }
    }

    fn is_told(&self) -> bool {
        self.marks.iter().any(|mark| mark.stand == Stand::Told)
    }

    /// It is as if nobody had ever looked.
    fn says_nothing(&self, now: Now) -> bool {
        self.is_at_rest() && self.marks.iter().all(|mark| mark.told_in.is_empty() && now.instant >= mark.cools)
    }

    fn is_at_rest(&self) -> bool {
        self.marks.iter().all(|mark| mark.stand == Stand::Armed)
    }

    /// Nobody has looked before: what is past its mark now may have been so for long.
    fn prime(&mut self, sign: Sign, reading: &Reading, now: Now) {
        self.note(reading, now);
        for mark in &mut self.marks {
            if Position::of(sign, reading.value, mark.at) == Position::Past {
                mark.stand = Stand::Silent;
            }
        }
    }

    fn note(&mut self, reading: &Reading, now: Now) {
        (self.value, self.turn, self.limit) = (reading.value, reading.turn, reading.limit.or(self.limit));
        if now.timestamp.since(self.seen_at).max(self.seen_at.since(now.timestamp)) >= SEEN_WITHIN {
            self.seen_at = now.timestamp;
        }
    }

    fn read(&mut self, rule: &Arc<Rule>, scope: &Arc<str>, reading: &Reading, now: Now) -> Vec<Event> {
        let mut events = vec![];
        let resolved = |mark: &Mark| Event::Resolved { rule: rule.clone(), scope: scope.clone(), at: mark.at };
        if self.turns(reading, now) {
            events.extend(self.marks.iter().filter(|mark| mark.stand == Stand::Told).map(resolved));
            self.marks.iter_mut().for_each(|mark| mark.stand = Stand::Armed);
        }
        let has_other_limit = self.has_other_limit(reading);
        self.note(reading, now);
        let mut fires = None;
        for (place, mark) in self.marks.iter_mut().enumerate() {
            let position = Position::of(rule.metric.sign, reading.value, mark.at);
            if has_other_limit && position == Position::Back {
                mark.forget_told_in(reading.turn);
                mark.cools = now.instant;
            }
            if position == Position::Back && mark.stand == Stand::Told {
                events.push(resolved(mark));
            }
            if mark.step(rule, position, reading, now) {
                fires = Some(place);
            }
        }
        // Thresholds go from the mildest to the worst: one sentence tells of all that were passed at once.
        let threshold = fires.and_then(|place| Some((self.marks.get_mut(place)?, rule.thresholds.get(place)?)));
        if let Some((mark, threshold)) = threshold {
            mark.stand = Stand::Told;
            let quiet = rule.quiet.is_some_and(|quiet| quiet.hold(now.timestamp));
            events.push(Event::Crossed(Crossed {
                rule: rule.clone(),
                scope: scope.clone(),
                owner: reading.scope.clone(),
                part: reading.part.clone(),
                threshold: *threshold,
                value: reading.value,
                delay: reading.delay,
                turn: reading.turn,
                quiet: quiet && threshold.severity < Severity::Critical,
            }));
        }
        events
    }

    fn has_other_limit(&self, reading: &Reading) -> bool {
        self.limit.zip(reading.limit).is_some_and(|(before, limit)| before != limit)
    }

    /// Whether this is another window than the last. One whose reset was moved before it came, and of which no less is
    /// used, is the same.
    fn turns(&mut self, reading: &Reading, now: Now) -> bool {
        let (Some(before), Some(turn)) = (self.turn, reading.turn) else { return false };
        if is_near(before.resets_at, turn.resets_at) || is_near(before.since, turn.since) {
            self.move_end(before.resets_at, turn.resets_at);
            return false;
        }
        let is_over = now.timestamp.after(JITTER) >= before.resets_at || now.timestamp.after(JITTER) < before.since;
        let is_moved = !is_over && reading.value >= self.value;
        if is_moved {
            self.move_end(before.resets_at, turn.resets_at);
        }
        !is_moved
    }

    fn move_end(&mut self, from: Timestamp, to: Timestamp) {
        for told in self.marks.iter_mut().flat_map(|mark| &mut mark.told_in) {
            if is_near(*told, from) {
                *told = to;
            }
        }
    }
}

impl Mark {
    fn remember(&self) -> MarkMemory {
        let state = match self.stand {
            Stand::Armed | Stand::Rising { .. } => State::Armed,
            Stand::Told => State::Told,
            Stand::Silent => State::Silent,
        };
        MarkMemory { at: self.at, state, told_in: self.told_in.clone(), told_at: self.told_at }
    }

    fn recall(memory: &MarkMemory, cooldown: Cooldown, now: Now) -> Mark {
        let stand = match memory.state {
            State::Armed => Stand::Armed,
            State::Told => Stand::Told,
            State::Silent => Stand::Silent,
        };
        // However the wall clock has moved since, the rest is no longer than the whole.
        let rest = match (cooldown, memory.told_at) {
            (Cooldown::For(length), Some(told)) => length.saturating_sub(now.timestamp.since(told)),
            (Cooldown::For(_) | Cooldown::Window, _) => Duration::ZERO,
        };
        let told_in = memory.told_in.iter().rev().take(WINDOWS_MAX).rev().copied().collect();
        Mark { at: memory.at, stand, told_in, told_at: memory.told_at, cools: now.instant.after(rest) }
    }

    /// Whether it fires; then it keeps quiet unless somebody says that it was told.
    fn step(&mut self, rule: &Rule, position: Position, reading: &Reading, now: Now) -> bool {
        let since = match (self.stand, position) {
            (Stand::Told | Stand::Silent, Position::Past | Position::Between) => return false,
            (Stand::Told | Stand::Silent, Position::Back) => {
                self.rearm(rule.cooldown, reading.turn);
                return false;
            }
            (Stand::Armed | Stand::Rising { .. }, Position::Back | Position::Between) => {
                self.stand = Stand::Armed;
                return false;
            }
            (Stand::Armed, Position::Past) => now.instant,
            (Stand::Rising { since }, Position::Past) => since,
        };
        if self.has_told_in(reading.turn) {
            self.stand = Stand::Silent;
            return false;
        }
        let lasts = now.instant.since(since) >= rule.hold && reading.delay >= rule.delay;
        if !lasts || now.instant < self.cools {
            self.stand = Stand::Rising { since };
            return false;
        }
        self.tell(rule.cooldown, reading.turn, now);
        true
    }

    /// The value is back. Where windows are not what counts, it may fire in this one again.
    fn rearm(&mut self, cooldown: Cooldown, turn: Option<Turn>) {
        self.stand = Stand::Armed;
        if matches!(cooldown, Cooldown::For(_)) {
            self.forget_told_in(turn);
        }
    }

    fn forget_told_in(&mut self, turn: Option<Turn>) {
        self.told_in.retain(|end| turn.is_none_or(|turn| !is_near(*end, turn.resets_at)));
    }

    fn has_told_in(&self, turn: Option<Turn>) -> bool {
        turn.is_some_and(|turn| self.told_in.iter().any(|end| is_near(*end, turn.resets_at)))
    }

    fn tell(&mut self, cooldown: Cooldown, turn: Option<Turn>, now: Now) {
        self.stand = Stand::Silent;
        self.told_at = Some(now.timestamp);
        if let Cooldown::For(length) = cooldown {
            self.cools = now.instant.after(length);
        }
        if let Some(turn) = turn {
            self.told_in.push(turn.resets_at);
            let beyond = self.told_in.len().saturating_sub(WINDOWS_MAX);
            self.told_in.drain(..beyond);
        }
    }
}

impl Position {
    fn of(sign: Sign, value: Figure, at: Figure) -> Position {
        let (is_past, is_back) = match sign.is_low() {
            false => (value >= at, value < at.hundredths(100 - MARGIN) || (value < at && at <= Figure::ZERO)),
            true => (value < at, value >= at.hundredths(100 + MARGIN)),
        };
        match (is_past, is_back) {
            (true, _) => Position::Past,
            (false, true) => Position::Back,
            (false, false) => Position::Between,
        }
    }
}

fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.since(other).max(other.since(one)) <= JITTER
}

//! Plays an answer out, piece by piece, in its time, with what is to go wrong in it.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{Stream, stream};

use crate::body::Abrupt;
use crate::books::Outcome;
use crate::error::ApiError;
use crate::fault::{Fault, Kind};
use crate::pace::Pace;
use crate::reel::{self, Event};
use crate::running::Running;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Wait(Duration),
    /// `produced` output tokens, in all, are out with these bytes.
    Send {
        bytes: Bytes,
        produced: u64,
    },
    /// So many bytes of the same letter.
    Fill(u64),
    Cut,
}

/// The steps of an answer and how it ends.
#[derive(Debug)]
pub(crate) struct Score {
    steps: VecDeque<Step>,
    finale: Outcome,
}

impl Score {
    #[expect(clippy::wildcard_enum_match_arm, reason = "each fault strikes at one place; elsewhere it changes nothing")]
    pub(crate) fn new(events: Vec<Event>, pace: Pace, fault: Option<&Fault>) -> Score {
        let Some(fault) = fault else { return Score::of(in_time(&events, pace), Outcome::Completed) };
        match fault.kind {
            Kind::Cut => Score::of(cut(&events, pace, fault), Outcome::Cut),
            Kind::ErrorInStream => Score::of(with_error(&events, pace, fault), Outcome::Cut),
            Kind::Stall => Score::whole(insert(&events, pace, fault, [Step::Wait(fault.stall())])),
            Kind::Malformed => Score::whole(insert(&events, pace, fault, malformed())),
            Kind::Huge => Score::whole(insert(&events, pace, fault, huge(fault))),
            Kind::Drip => Score::whole(drip(&events, fault)),
            Kind::WrongLength => Score::of(in_time(&events, pace), Outcome::Cut),
            _ => Score::whole(in_time(&events, pace)),
        }
    }

    fn of(steps: impl Into<VecDeque<Step>>, finale: Outcome) -> Score {
        Score { steps: steps.into(), finale }
    }

    fn whole(steps: Vec<Step>) -> Score {
        Score::of(steps, Outcome::Completed)
    }
}

fn in_time(events: &[Event], pace: Pace) -> Vec<Step> {
    let mut steps = Vec::with_capacity(events.len());
    let mut produced = 0;
    for event in events {
        let wait = pace.of_tokens(event.produced.saturating_sub(produced));
        if !wait.is_zero() {
            steps.push(Step::Wait(wait));
        }
        produced = event.produced;
        steps.push(Step::Send { bytes: event.bytes.clone(), produced });
    }
    steps
}

fn split(events: &[Event], fault: &Fault) -> (usize, u64) {
    let at = fault.events().min(events.len());
    let produced = at.checked_sub(1).map_or(0, |last| events[last].produced);
    (at, produced)
}

fn insert(events: &[Event], pace: Pace, fault: &Fault, extra: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let (at, produced) = split(events, fault);
    let mut steps = in_time(&events[..at], pace);
    steps.extend(extra.into_iter().map(|step| match step {
        Step::Send { bytes, .. } => Step::Send { bytes, produced },
        Step::Wait(_) | Step::Fill(_) | Step::Cut => step,
    }));
    steps.extend(in_time(&events[at..], pace));
    steps
}

fn with_error(events: &[Event], pace: Pace, fault: &Fault) -> Vec<Step> {
    let (at, produced) = split(events, fault);
    let mut steps = in_time(&events[..at], pace);
    steps.push(Step::Send { bytes: reel::error_event(&ApiError::overloaded().body(None)), produced });
    steps
}

fn cut(events: &[Event], pace: Pace, fault: &Fault) -> Vec<Step> {
    let mut steps = match fault.after_bytes {
        None => in_time(&events[..split(events, fault).0], pace),
        Some(bytes) => up_to(events, pace, bytes),
    };
    steps.push(Step::Cut);
    steps
}

fn up_to(events: &[Event], pace: Pace, mut bytes_left: usize) -> Vec<Step> {
    let mut kept = Vec::new();
    let mut produced = 0;
    for event in events {
        if event.bytes.len() > bytes_left {
            kept.push(Event { bytes: event.bytes.slice(..bytes_left), produced });
            break;
        }
        bytes_left -= event.bytes.len();
        produced = event.produced;
        kept.push(event.clone());
    }
    in_time(&kept, pace)
}

fn malformed() -> [Step; 3] {
    let noise: [&'static [u8]; 3] = [
        b"this line has no colon\n\n",
        b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":\n\n",
        b"event: \xff\xfe\ndata: \xf0\x28\x8c\x28\n\n",
    ];
    noise.map(|bytes| Step::Send { bytes: Bytes::from_static(bytes), produced: 0 })
}

fn huge(fault: &Fault) -> [Step; 3] {
    let send = |bytes: &'static [u8]| Step::Send { bytes: Bytes::from_static(bytes), produced: 0 };
    [
        send(b"event: ping\ndata: {\"type\":\"ping\",\"padding\":\""),
        Step::Fill(fault.bytes.unwrap_or(100_000_000)),
        send(b"\"}\n\n"),
    ]
}

fn drip(events: &[Event], fault: &Fault) -> Vec<Step> {
    let size = fault.bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(1).max(1);
    let wait = Step::Wait(Duration::from_millis(fault.ms.unwrap_or(5)));
    let mut steps = Vec::new();
    let mut produced = 0;
    for event in events {
        let mut rest = event.bytes.clone();
        while !rest.is_empty() {
            let bytes = rest.split_to(size.min(rest.len()));
            produced = if rest.is_empty() { event.produced } else { produced };
            steps.extend([wait.clone(), Step::Send { bytes, produced }]);
        }
    }
    steps
}

struct Player {
    steps: VecDeque<Step>,
    finale: Outcome,
    running: Option<Running>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    started: bool,
}

/// The answer as a stream. Dropped half-way, the call was cancelled.
pub(crate) fn play(score: Score, running: Running, gzip: bool) -> impl Stream<Item = Result<Bytes, Abrupt>> {
    let gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let Score { steps, finale } = score;
    stream::unfold(Player { steps, finale, running: Some(running), gzip, started: false }, Player::next)
}

impl Player {
    async fn next(mut self) -> Option<(Result<Bytes, Abrupt>, Player)> {
        if self.started {
            // Lets the connection send what it has, so that each event is one write.
            tokio::task::yield_now().await;
        }
        self.started = true;
        loop {
            match self.steps.pop_front()? {
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Send { bytes, produced } => return Some((Ok(self.send(bytes, produced)), self)),
                Step::Fill(bytes) => return Some((Ok(self.fill(bytes)), self)),
                Step::Cut => {
                    self.end();
                    return Some((Err(Abrupt), self));
                }
            }
        }
    }

    fn send(&mut self, bytes: Bytes, produced: u64) -> Bytes {
        if let Some(running) = &mut self.running {
            running.produce(produced);
        }
        let last = self.steps.is_empty();
        if last {
            // Before the last byte is out: who has seen it finds the call in the books.
            self.end();
        }
        self.compressed(bytes, last)
    }

    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.end(self.finale);
        }
    }

    fn fill(&mut self, bytes: u64) -> Bytes {
        static PADDING: [u8; 65_536] = [b'x'; 65_536];
        let size = bytes.min(PADDING.len() as u64);
        if bytes > size {
            self.steps.push_front(Step::Fill(bytes - size));
        }
        let size = usize::try_from(size).unwrap_or_default();
        self.compressed(Bytes::from_static(&PADDING[..size]), false)
    }

    fn compressed(&mut self, bytes: Bytes, last: bool) -> Bytes {
        let Some(encoder) = &mut self.gzip else { return bytes };
        // Writing to memory does not fail.
        let _ = encoder.write_all(&bytes);
        let _ = if last { encoder.try_finish() } else { encoder.flush() };
        Bytes::from(std::mem::take(encoder.get_mut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Pace = Pace { first_byte: Duration::ZERO, per_token: Duration::ZERO };

    fn events() -> Vec<Event> {
        ["one ", "two ", "three ", "four ", "five "]
            .into_iter()
            .zip([0, 5, 10, 12, 12])
            .map(|(text, produced)| Event { bytes: Bytes::from_static(text.as_bytes()), produced })
            .collect()
    }

    fn told(fault: &str, pace: Pace) -> String {
        let fault = Fault::parse(fault);
        let score = Score::new(events(), pace, fault.as_ref());
        let step = |step: &Step| match step {
            Step::Wait(time) => format!("<{} ms>", time.as_millis()),
            Step::Send { bytes, produced } => format!("{}/{produced} ", String::from_utf8_lossy(bytes).trim()),
            Step::Fill(bytes) => format!("<{bytes} bytes>"),
            Step::Cut => "<cut>".to_owned(),
        };
        score.steps.iter().map(step).collect::<String>() + &format!("{:?}", score.finale)
    }

    #[test]
    fn each_fault_changes_the_answer_where_it_says() {
        for (fault, expected) in [
            ("", "one/0 two/5 three/10 four/12 five/12 Completed"),
            ("cut; after_events=2", "one/0 two/5 <cut>Cut"),
            ("cut; after_bytes=10", "one/0 two/5 th/5 <cut>Cut"),
            ("cut; after_bytes=0", "/0 <cut>Cut"),
            ("stall; after_events=1; seconds=2", "one/0 <2000 ms>two/5 three/10 four/12 five/12 Completed"),
            (
                "error_in_stream; after_events=1",
                "one/0 event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}/0 Cut",
            ),
            (
                "huge; after_events=9; bytes=70000",
                "one/0 two/5 three/10 four/12 five/12 event: ping\ndata: {\"type\":\"ping\",\"padding\":\"/12 <70000 bytes>\"}/12 Completed",
            ),
            (
                "drip; bytes=3; ms=9",
                "<9 ms>one/0 <9 ms>/0 <9 ms>two/0 <9 ms>/5 <9 ms>thr/5 <9 ms>ee/10 <9 ms>fou/10 <9 ms>r/12 <9 ms>fiv/12 <9 ms>e/12 Completed",
            ),
        ] {
            assert_eq!(told(fault, AT_ONCE), expected, "{fault}");
        }
    }

    #[test]
    fn tokens_take_their_time() {
        let pace = Pace { per_token: Duration::from_millis(10), ..AT_ONCE };
        assert_eq!(told("", pace), "one/0 <50 ms>two/5 <50 ms>three/10 <20 ms>four/12 five/12 Completed");
    }
}

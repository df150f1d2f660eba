//! Who calls: each client has a character, and a stream of chance of its own, so that one more client changes no other.

use std::sync::Arc;

use domain::admission::{ReservationId, Shape};
use domain::call::Class;
use domain::price::Price;
use fastrand::Rng;

use crate::traces::Row;
use crate::upstream::{MINUTE, SECOND};

/// When it calls.
#[derive(Clone, Debug)]
pub(crate) enum Arrivals {
    AtOnce {
        at: u64,
        count: u64,
    },
    /// Without memory, so many a minute.
    Poisson {
        per_minute: f64,
        from: u64,
        to: u64,
    },
    Every {
        gap: u64,
        from: u64,
        to: u64,
    },
    /// So many workers, each with one call at a time and a pause after it.
    Closed {
        workers: u64,
        pause: u64,
        from: u64,
        to: u64,
    },
    /// As somebody's real clients came.
    Trace {
        rows: Arc<Vec<Row>>,
        from: u64,
    },
}

/// What its calls are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Uncached input tokens, from and to.
    pub(crate) input: (u64, u64),
    /// Where more than 0: calls are turns of conversations, whose prompts so far are read from the cache, until they are
    /// that long.
    pub(crate) talk: u64,
    pub(crate) output: (u64, u64),
    pub(crate) max_tokens: u64,
    /// Tokens of a thousand bytes.
    pub(crate) tokens_per_kilobyte: f64,
    /// How far single calls are off that.
    pub(crate) noise: f64,
    /// Of output.
    pub(crate) tokens_per_second: u64,
}

impl Size {
    pub(crate) fn fixed(input: u64, output: u64, max_tokens: u64) -> Size {
        Size {
            input: (input, input),
            talk: 0,
            output: (output, output),
            max_tokens,
            tokens_per_kilobyte: 250.0,
            noise: 0.0,
            tokens_per_second: 80,
        }
    }

    pub(crate) fn varied(input: (u64, u64), output: (u64, u64), max_tokens: u64) -> Size {
        Size { input, output, noise: 0.03, ..Size::fixed(0, 0, max_tokens) }
    }
}

pub(crate) struct Client {
    pub(crate) name: Arc<str>,
    pub(crate) class: Class,
    pub(crate) weight: u32,
    pub(crate) max_share: Option<u8>,
    /// Its calls are of so many tenants in turn, or of this one.
    pub(crate) tenants: u64,
    pub(crate) tenant: Option<u64>,
    pub(crate) model: Arc<str>,
    pub(crate) arrivals: Arrivals,
    pub(crate) size: Size,
    pub(crate) patience: u64,
    pub(crate) hangs_up_permille: u64,
    pub(crate) streams_permille: u64,
    pub(crate) reservation: Option<ReservationId>,
    pub(crate) price: Option<Arc<Price>>,
    rng: Rng,
    made: u64,
    /// Those that go on, in turns.
    talks: [Talk; TALKS],
}

/// The conversation that goes on, and how far it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Talk {
    place: usize,
    number: u32,
    turns: u16,
    bytes: u64,
    tokens: u64,
}

/// One call before it is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) tenant: Option<u64>,
    pub(crate) shape: Shape,
    /// The conversation that it is a turn of, whose prompt the cache is to keep.
    pub(crate) talk: Option<u32>,
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) output: u64,
    pub(crate) max_tokens: u64,
    pub(crate) stream: bool,
    /// From the upstream's first token to its last.
    pub(crate) lasts: u64,
    /// On the way there, and on the way back.
    pub(crate) delay: (u64, u64),
    /// How long after its arrival it hangs up, if it does.
    pub(crate) hangs_up: Option<u64>,
}

const TALKS: usize = 12;
pub(crate) const MODEL: &str = "claude-sonnet-4-5";

impl Client {
    pub(crate) fn new(name: &str, class: Class, arrivals: Arrivals, size: Size, seed: u64) -> Client {
        Client {
            name: name.into(),
            class,
            weight: 1,
            max_share: None,
            tenants: 0,
            tenant: None,
            model: MODEL.into(),
            arrivals,
            size,
            patience: 10 * MINUTE,
            hangs_up_permille: 0,
            streams_permille: 500,
            reservation: None,
            price: None,
            rng: Rng::with_seed(
                name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(0x0100_0000_01B3) ^ u64::from(byte)),
            ),
            made: 0,
            talks: std::array::from_fn(|place| Talk { place, ..Talk::default() }),
        }
    }

    pub(crate) fn patient(mut self, patience: u64) -> Client {
        self.patience = patience;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Client)) -> Client {
        change(&mut self);
        self
    }

    /// Its first arrivals.
    pub(crate) fn starts(&mut self) -> Vec<u64> {
        match &self.arrivals {
            Arrivals::AtOnce { at, count } => vec![*at; usize::try_from(*count).expect("a flood fits in memory")],
            Arrivals::Poisson { from, .. } => {
                let from = *from;
                self.after(from).into_iter().collect()
            }
            Arrivals::Every { from, .. } => vec![*from],
            Arrivals::Closed { workers, from, .. } => {
                let (workers, from) = (*workers, *from);
                (0..workers).map(|_| from + self.rng.u64(..SECOND)).collect()
            }
            Arrivals::Trace { rows, from } => rows.first().map(|row| from + row.at).into_iter().collect(),
        }
    }

    /// The next arrival after one at `now`, where it does not wait for an answer.
    pub(crate) fn next(&mut self, now: u64) -> Option<u64> {
        match &self.arrivals {
            Arrivals::AtOnce { .. } | Arrivals::Closed { .. } => None,
            Arrivals::Poisson { .. } => self.after(now),
            Arrivals::Every { gap, to, .. } => Some(now + gap).filter(|at| at < to),
            Arrivals::Trace { rows, from } => rows.get(usize::try_from(self.made).ok()?).map(|row| from + row.at),
        }
    }

    /// The next arrival after a call of it has ended.
    pub(crate) fn after_an_end(&mut self, now: u64) -> Option<u64> {
        let Arrivals::Closed { pause, to, .. } = self.arrivals else { return None };
        Some(now + 1 + self.rng.u64(..=pause)).filter(|at| *at < to)
    }

    fn after(&mut self, now: u64) -> Option<u64> {
        let Arrivals::Poisson { per_minute, to, .. } = self.arrivals else { return None };
        let gap = -(1.0 - self.rng.f64()).ln() / per_minute * MINUTE as f64;
        Some(now + gap as u64 + 1).filter(|at| *at < to)
    }

    pub(crate) fn make(&mut self) -> Made {
        let Size { input, talk, output, max_tokens, tokens_per_kilobyte, noise, tokens_per_second } = self.size;
        let row = if let Arrivals::Trace { rows, .. } = &self.arrivals {
            usize::try_from(self.made).ok().and_then(|n| rows.get(n)).copied()
        } else {
            None
        };
        self.made += 1;
        let rng = &mut self.rng;
        let input = row.map_or_else(|| rng.u64(input.0..=input.1), |row| row.input.max(1));
        let output = row.map_or_else(|| rng.u64(output.0..=output.1), |row| row.output).clamp(1, max_tokens);
        let off = 1.0 + noise * (rng.f64() * 2.0 - 1.0);
        let bytes = (input as f64 / tokens_per_kilobyte * 1_000.0 * off) as u64 + 1;
        let tenant = self.tenant.or_else(|| (self.tenants > 0).then(|| rng.u64(..self.tenants)));
        let present = &mut self.talks[usize::try_from(self.made).expect("few calls") % TALKS];
        let (shape, cached) = if talk > 0 { present.goes_on(bytes, input, talk) } else { (Shape::of_words(bytes), 0) };
        Made {
            tenant,
            shape,
            talk: (talk > 0).then_some(present.name()),
            input,
            cached,
            output,
            max_tokens,
            stream: rng.u64(..1_000) < self.streams_permille,
            lasts: rng.u64(SECOND / 5..SECOND) + output * SECOND / tokens_per_second.max(1),
            delay: (rng.u64(SECOND / 200..SECOND / 33), rng.u64(SECOND / 200..SECOND / 33)),
            hangs_up: (rng.u64(..1_000) < self.hangs_up_permille).then(|| rng.u64(..60 * SECOND)),
        }
    }
}

impl Talk {
    fn name(&self) -> u32 {
        1_000 + self.number * u32::try_from(TALKS).expect("a few") + u32::try_from(self.place).expect("a few")
    }

    /// What a turn's body is like, and how much of it was sent before.
    fn goes_on(&mut self, bytes: u64, tokens: u64, longest: u64) -> (Shape, u64) {
        if self.tokens + tokens > longest {
            *self = Talk { place: self.place, number: self.number + 1, ..Talk::default() };
        }
        let before = self.tokens;
        (self.bytes, self.tokens, self.turns) =
            (self.bytes + bytes, self.tokens + tokens, self.turns.saturating_add(1));
        let shape =
            Shape { head: 1, opening: self.name(), messages: 2 * self.turns - 1, ..Shape::of_words(self.bytes) };
        (shape, before)
    }
}

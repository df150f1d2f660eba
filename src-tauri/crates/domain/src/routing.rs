//! What an attempt's failure means: may the call be sent again, may another upstream take it, is this one down?

mod backoff;
mod breaker;
mod capability;
mod classify;

pub use self::backoff::{Backoff, RetryBudget};
pub use self::breaker::{BreakerRules, BreakerState, Fared};
pub use self::capability::{Capabilities, Capability};
pub use self::classify::{Cap, Course, Failure, Phase, Retry, Signs, classify, measure_named};

pub(crate) use self::breaker::{Breaker, Passage, ProbeId};

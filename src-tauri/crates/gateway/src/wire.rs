//! What a dialect says on the wire: what to read of a request, what to count of an answer.

pub(crate) mod anthropic;
pub(crate) mod sse;

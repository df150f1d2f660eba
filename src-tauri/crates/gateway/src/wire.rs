//! What a dialect says on the wire: what to read of a request, what to count of an answer.

pub(crate) mod anthropic;
mod json;
pub(crate) mod sse;

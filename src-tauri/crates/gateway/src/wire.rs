//! What a dialect says on the wire: what to read of a request, what to count of an answer.

pub(crate) mod anthropic;
pub(crate) mod canonical;
pub(crate) mod json;
mod shape;
pub(crate) mod sse;

use domain::admission::Shape;

/// What the body of a call to the Messages API is made of. `None` where it is no call.
pub fn shape_of(body: &[u8]) -> Option<Shape> {
    anthropic::peek(body).ok().map(|peek| peek.findings.shape)
}

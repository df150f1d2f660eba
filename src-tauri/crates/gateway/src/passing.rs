//! Paths that are no calls: they go to the first upstream as they are and make no entry, but for results of batches.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use domain::config::Client;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use memchr::memmem;

use crate::answers::{Answer, Passing};
use crate::bodies::{BODY_IDLE, MESSAGES_BYTES_MAX};
use crate::error::Error;
use crate::pipeline::{Phase, Pipeline};
use crate::results::{Batch, Results};
use crate::silence::Silence;
use crate::upstream::{self, NoAnswer, Upstream};

const BATCHES: &str = "/v1/messages/batches";
const BATCHES_BYTES_MAX: u64 = 268_435_456;
const FILES_BYTES_MAX: u64 = 524_288_000;
/// A page of batches is far smaller.
const BATCH_ANSWER_BYTES_MAX: u64 = 16 << 20;

impl Pipeline {
    /// `own` is the address that the client knows us by: `http://127.0.0.1:8432`.
    pub(crate) async fn pass(
        self: &Arc<Self>,
        client: &Client,
        request: Request<Incoming>,
        own: &str,
    ) -> Result<Response<Answer>, Error> {
        if *self.phase.borrow() != Phase::Open {
            return Err(Error::Draining);
        }
        let upstream = self.upstreams.first().ok_or(Error::NoUpstream)?;
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let body = Capped::new(body, bytes_max(path))?;
        let over = body.over.clone();
        let target = head.uri.path_and_query().map_or(path, |target| target.as_str());
        let asked = head.headers.clone();
        let mut headers = self.outgoing(upstream, head.headers).await?;
        let has_links = is_batch_answer(path);
        let batch = batch_of_results(path).filter(|_| head.method == Method::GET).map(|id| Batch {
            pipeline: self.clone(),
            client: client.clone(),
            headers: asked,
            upstream: upstream.name.clone(),
            id: id.to_owned(),
        });
        if has_links || batch.is_some() {
            // Only a plain answer can be read.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let sent = upstream.send(head.method, target, headers, body.into_reqwest()).await;
        let answer = sent.map_err(|why| no_answer(why, upstream, bytes_max(path), &over))?;
        let (mut head, body) = answer.into_parts();
        upstream::incoming(&mut head.headers);
        if has_links && head.status.is_success() && !head.headers.contains_key(CONTENT_ENCODING) {
            let body = self.whole(body, BATCH_ANSWER_BYTES_MAX, upstream).await?;
            head.headers.remove(CONTENT_LENGTH);
            return Ok(Response::from_parts(head, Answer::whole(point_results_here(&body, own))));
        }
        let is_plain = head.status.is_success() && !head.headers.contains_key(CONTENT_ENCODING);
        let passing = Passing::new(body, self.timeouts.idle);
        let Some(batch) = batch.filter(|_| is_plain) else {
            return Ok(Response::from_parts(head, Answer::passing(passing)));
        };
        // With a length known, nobody would wait for the end.
        head.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(head, Answer::results(Results::of(batch, passing))))
    }
}

fn bytes_max(path: &str) -> u64 {
    let under = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if under(BATCHES) {
        BATCHES_BYTES_MAX
    } else if under("/v1/files") {
        FILES_BYTES_MAX
    } else {
        MESSAGES_BYTES_MAX
    }
}

/// Create, retrieve, list and cancel; not the results themselves.
fn is_batch_answer(path: &str) -> bool {
    let Some(rest) = path.strip_prefix(BATCHES) else { return false };
    (rest.is_empty() || rest.starts_with('/')) && !rest.ends_with("/results")
}

/// The id of the batch whose results are asked for.
fn batch_of_results(path: &str) -> Option<&str> {
    let id = path.strip_prefix(BATCHES)?.strip_prefix('/')?.strip_suffix("/results")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

/// SDKs fetch `results_url` as it stands and send their credential along: it must lead back to us.
fn point_results_here(body: &Bytes, own: &str) -> Bytes {
    const KEY: &[u8] = b"\"results_url\"";
    let mut out = Vec::new();
    let mut copied = 0;
    for key in memmem::find_iter(body, KEY) {
        let value = &body[key + KEY.len()..];
        let opens = value.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b':'));
        let Some(opens) = opens.filter(|at| value[*at] == b'"') else { continue };
        let url = key + KEY.len() + opens + 1;
        let Some(path) = memmem::find(&body[url..], b"/v1/") else { continue };
        let origin = &body[url..url + path];
        if origin.starts_with(b"http") && !origin.contains(&b'"') {
            out.extend_from_slice(&body[copied..url]);
            out.extend_from_slice(own.as_bytes());
            copied = url + path;
        }
    }
    if copied == 0 {
        return body.clone();
    }
    out.extend_from_slice(&body[copied..]);
    out.into()
}

fn no_answer(why: NoAnswer, upstream: &Upstream, max: u64, over: &AtomicBool) -> Error {
    if why == NoAnswer::Lost && over.load(Ordering::Relaxed) { Error::TooLarge { max } } else { why.error(upstream) }
}

/// A request's body on its way through: not longer than allowed, and never silent for long.
struct Capped {
    body: Incoming,
    left: u64,
    over: Arc<AtomicBool>,
    silence: Silence,
}

impl Capped {
    fn new(body: Incoming, max: u64) -> Result<Capped, Error> {
        if body.size_hint().lower() > max {
            return Err(Error::TooLarge { max });
        }
        let silence = Silence::of_at_most(BODY_IDLE);
        Ok(Capped { body, left: max, over: Arc::new(AtomicBool::new(false)), silence })
    }

    fn into_reqwest(self) -> reqwest::Body {
        if self.body.is_end_stream() { reqwest::Body::from(Bytes::new()) } else { reqwest::Body::wrap(self) }
    }
}

impl Body for Capped {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.silence.poll(cx));
            return Poll::Ready(Some(Err(std::io::Error::from(std::io::ErrorKind::TimedOut))));
        };
        this.silence.is_broken();
        // A client's broken body must break ours: a chunked one would look whole.
        let Some(piece) = frame.transpose().map_err(std::io::Error::other)? else { return Poll::Ready(None) };
        match this.left.checked_sub(piece.data_ref().map_or(0, |data| data.len() as u64)) {
            Some(left) => this.left = left,
            None => {
                this.over.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(std::io::Error::other("the body is too large"))));
            }
        }
        Poll::Ready(Some(Ok(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_cap() {
        for (path, max) in [
            ("/v1/messages/count_tokens", MESSAGES_BYTES_MAX),
            ("/v1/messages/batches", BATCHES_BYTES_MAX),
            ("/v1/messages/batches/b1/cancel", BATCHES_BYTES_MAX),
            ("/v1/messages/batchesx", MESSAGES_BYTES_MAX),
            ("/v1/files", FILES_BYTES_MAX),
            ("/v1/models", MESSAGES_BYTES_MAX),
        ] {
            assert_eq!(bytes_max(path), max, "{path}");
        }
    }

    #[test]
    fn results_lead_back_to_us_and_nothing_else_changes() {
        for (body, expected) in [
            (
                r#"{"id":"b", "results_url" : "https://api.anthropic.com/v1/messages/batches/b/results","x":"https://api.anthropic.com/v1/x"}"#,
                r#"{"id":"b", "results_url" : "http://me:1/v1/messages/batches/b/results","x":"https://api.anthropic.com/v1/x"}"#,
            ),
            (
                r#"{"data":[{"results_url":"https://a/p/v1/b"},{"results_url":null},{"results_url":"https://a/v1/c"}]}"#,
                r#"{"data":[{"results_url":"http://me:1/v1/b"},{"results_url":null},{"results_url":"http://me:1/v1/c"}]}"#,
            ),
            (r#"{"results_url":null,"u":"/v1/"}"#, r#"{"results_url":null,"u":"/v1/"}"#),
            (r#"{"results_url":"""#, r#"{"results_url":"""#),
        ] {
            assert_eq!(point_results_here(&Bytes::from(body), "http://me:1"), expected, "{body}");
        }
    }

    #[test]
    fn only_answers_about_batches_are_read_for_links() {
        assert!(is_batch_answer("/v1/messages/batches") && is_batch_answer("/v1/messages/batches/b/cancel"));
        assert!(!is_batch_answer("/v1/messages/batches/b/results") && !is_batch_answer("/v1/messages"));
        for (path, batch) in [
            ("/v1/messages/batches/b/results", Some("b")),
            ("/v1/messages/batches/results", None),
            ("/v1/messages/batches//results", None),
            ("/v1/messages/batches/b/c/results", None),
            ("/v1/messages/batches/b", None),
        ] {
            assert_eq!(batch_of_results(path), batch, "{path}");
        }
    }
}

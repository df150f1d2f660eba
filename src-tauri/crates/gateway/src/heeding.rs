//! What an upstream's answer tells: of limits, of the key, and whether it is an answer at all.

use std::sync::Arc;
use std::time::Duration;

use domain::admission::Readings;
use domain::routing::{Failure, Fared, Phase, Signs, classify};
use domain::time::Timestamp;
use http::{HeaderMap, Response, StatusCode};

use crate::asking::Asked;
use crate::entry::OpenEntry;
use crate::error::Error;
use crate::holding::{Beginning, Begun};
use crate::pipeline::Pipeline;
use crate::upstream::{NoAnswer, Upstream};
use crate::wire::anthropic::complaint::Complaint;
use crate::wire::anthropic::limits::{self, Told};
use crate::wire::anthropic::{self, Tally};

/// An attempt that has no answer for the client, unless nobody does better.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// As the books call it.
    pub(crate) name: Arc<str>,
    /// What the client gets of it.
    pub(crate) answer: Result<Begun, Error>,
    pub(crate) maybe_billed: bool,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) should_retry: Option<bool>,
}

impl Failed {
    pub(crate) fn asked(self) -> Asked {
        let Failed { failure, name, answer, maybe_billed, .. } = self;
        Asked::Failed { answer, falls_back: failure.course().fallback, why: name, maybe_billed }
    }

    /// What it tells of its upstream's health.
    pub(crate) fn fared(&self) -> Fared {
        match (self.failure.course().breaks, &self.answer) {
            (true, _) => Fared::Badly,
            (false, Ok(_)) => Fared::Well,
            (false, Err(_)) => Fared::Unknown,
        }
    }

    /// No byte of an answer has come.
    pub(crate) fn unanswered(upstream: &Upstream, why: NoAnswer) -> Box<Failed> {
        let left = !matches!(why, NoAnswer::Unreachable(_));
        let (failure, name) = match why {
            NoAnswer::Unreachable(_) => (Failure::Unreachable, "unreachable"),
            NoAnswer::Lost => (Failure::Lost, "connection_lost"),
            NoAnswer::Silent(_) => (Failure::Timeout, "upstream_silent"),
        };
        Failed::broken(failure, name, why.error(upstream), left)
    }

    fn broken(failure: Failure, name: &str, error: Error, maybe_billed: bool) -> Box<Failed> {
        let answer = Err(error);
        Box::new(Failed { failure, name: name.into(), answer, maybe_billed, retry_after: None, should_retry: None })
    }
}

impl Pipeline {
    /// Tells the entry and the buckets what an answer says, and reads as much of it as shows whether it is one.
    pub(crate) async fn heed(
        &self,
        entry: &mut OpenEntry,
        upstream: &Upstream,
        answer: Response<reqwest::Body>,
    ) -> Result<Begun, Box<Failed>> {
        let (head, body) = answer.into_parts();
        entry.answered(head.status, text(&head.headers, "request-id").map(Arc::from), account(&head.headers));
        self.note_key(upstream, head.status);
        let readings = self.readings(&head.headers);
        let is_refused = head.status == StatusCode::TOO_MANY_REQUESTS;
        if !is_refused {
            entry.observe(&readings);
        }
        let mut begun = Begun::unread(upstream.name.clone(), head, body);
        let beginning = begun.read_beginning(self.timeouts.idle, |tally| drop(entry.metered(tally))).await;
        let heard = self.judge(upstream, begun, beginning, &readings);
        if is_refused {
            let limited = heard.as_ref().err().and_then(|failed| limits::limited(failed.failure, failed.retry_after));
            entry.observe(&Readings { limited, ..readings });
        }
        heard
    }

    fn judge(
        &self,
        upstream: &Upstream,
        begun: Begun,
        beginning: Beginning,
        readings: &Readings,
    ) -> Result<Begun, Box<Failed>> {
        let (complaint, is_foreign) = match beginning {
            Beginning::Content => return Ok(begun),
            Beginning::Complaint(complaint) => (complaint, false),
            Beginning::Foreign => (Complaint::default(), true),
            Beginning::Cut => {
                let error = Error::Lost { upstream: upstream.name.to_string() };
                // Nobody has seen any of it: it is as if it had never begun.
                return Err(self.broken(&begun, (Failure::ServerError, "cut"), error, readings));
            }
            Beginning::Silent => {
                let error = Error::Silent { upstream: upstream.name.to_string(), after: self.timeouts.idle };
                return Err(self.broken(&begun, (Failure::Timeout, "silent"), error, readings));
            }
        };
        let now = self.now().timestamp;
        let has_body = !begun.is_empty() && !is_foreign;
        let Some(failure) = failure_of(begun.head.status, begun.headers(), has_body, &complaint, readings, now) else {
            return Ok(begun);
        };
        let (retry_after, should_retry) =
            (anthropic::retry_after(begun.headers(), now), anthropic::should_retry(begun.headers()));
        let name = complaint.kind.as_deref().unwrap_or(failure.name()).into();
        Err(Box::new(Failed { failure, name, answer: Ok(begun), maybe_billed: false, retry_after, should_retry }))
    }

    /// An answer whose beginning never came. An error's status has said enough.
    fn broken(
        &self,
        begun: &Begun,
        (failure, name): (Failure, &str),
        error: Error,
        readings: &Readings,
    ) -> Box<Failed> {
        let status = begun.head.status;
        let now = self.now().timestamp;
        let said = || failure_of(status, begun.headers(), true, &Complaint::default(), readings, now);
        let failure = if status.is_success() { failure } else { said().unwrap_or(failure) };
        Failed::broken(failure, name, error, status.is_success())
    }

    /// What an answer's headers tell of limits. What in them can't be true is said in the log.
    fn readings(&self, headers: &HeaderMap) -> Readings {
        let now = self.now();
        let Told { readings, oddity } = limits::told(headers, now.timestamp);
        if let Some(oddity) = oddity.filter(|_| self.oddities.is_due(now.instant)) {
            tracing::warn!("{oddity}");
        }
        readings
    }

    fn note_key(&self, upstream: &Upstream, status: StatusCode) {
        if status == StatusCode::UNAUTHORIZED {
            let reason = format!("upstream \"{}\" refuses its key; set another one", upstream.name);
            self.trouble.says(Some(&upstream.name), Error::Key { reason });
        } else {
            self.trouble.passed(&upstream.name);
        }
    }
}

/// How the upstream is, of which an error came in the midst of an answer.
pub(crate) fn fared_in_mid_answer(tally: &Tally) -> Fared {
    let complaint = tally.complaint.as_deref();
    let signs = Signs {
        phase: Phase::Streaming { content: true },
        status: Some(200),
        kind: complaint.and_then(|complaint| complaint.kind.as_deref()),
        code: complaint.and_then(|complaint| complaint.code.as_deref()),
        message: complaint.and_then(|complaint| complaint.message.as_deref()),
        should_retry: None,
        retry_after: None,
        is_api_answer: true,
        window_rejected: false,
        emptied: None,
    };
    let failure = classify(&signs, Timestamp::default());
    if failure.is_some_and(|failure| failure.course().breaks) { Fared::Badly } else { Fared::Well }
}

/// Why this is no answer; `None` where it is one.
pub(crate) fn failure_of(
    status: StatusCode,
    headers: &HeaderMap,
    has_body: bool,
    complaint: &Complaint,
    readings: &Readings,
    now: Timestamp,
) -> Option<Failure> {
    let is_api_answer = anthropic::is_api_answer(headers) && has_body;
    let signs = Signs {
        phase: if status.is_success() && is_api_answer { Phase::Streaming { content: false } } else { Phase::Answered },
        status: Some(status.as_u16()),
        kind: complaint.kind.as_deref(),
        code: complaint.code.as_deref(),
        message: complaint.message.as_deref(),
        should_retry: anthropic::should_retry(headers),
        retry_after: anthropic::retry_after(headers, now),
        is_api_answer,
        window_rejected: is_a_plans_limit(headers),
        emptied: limits::emptied(readings),
    };
    classify(&signs, now)
}

/// Whether a refusal is for want of a subscription's window: it says so, or which of them speaks.
fn is_a_plans_limit(headers: &HeaderMap) -> bool {
    text(headers, "anthropic-ratelimit-unified-status") == Some("rejected")
        || headers.contains_key("anthropic-ratelimit-unified-representative-claim")
        || headers.contains_key("anthropic-ratelimit-unified-overage-status")
}

/// Who pays, as the upstream says: an organisation, and its workspace where the key belongs to one.
fn account(headers: &HeaderMap) -> Option<Arc<str>> {
    let organisation = text(headers, "anthropic-organization-id");
    match (organisation, text(headers, "anthropic-workspace-id")) {
        (organisation, None) => organisation.map(Arc::from),
        (organisation, Some(workspace)) => Some(format!("{}/{workspace}", organisation.unwrap_or_default()).into()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
}

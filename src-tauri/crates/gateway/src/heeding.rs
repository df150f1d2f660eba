//! What an upstream's answer tells beside its content: of limits, of the key, of a refusal that waiting cures.

use std::sync::Arc;

use domain::admission::Readings;
use domain::time::Now;
use http::{HeaderMap, Response, StatusCode};

use crate::entry::OpenEntry;
use crate::error::Error;
use crate::meter;
use crate::pipeline::Pipeline;
use crate::upstream::Upstream;
use crate::wire::anthropic;
use crate::wire::anthropic::limits::{self, Refused, Told};

/// A refusal's body is small; a larger one is passed on instead of kept.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;

impl Pipeline {
    /// Tells the entry and the buckets what an answer says. `true`: it is a refusal against which waiting helps.
    pub(crate) async fn heed(
        &self,
        entry: &mut OpenEntry,
        upstream: &Upstream,
        answer: Response<reqwest::Body>,
    ) -> Result<(Response<reqwest::Body>, bool), Error> {
        let request_id = text(answer.headers(), "request-id").map(Arc::from);
        entry.answered(answer.status(), request_id, account(answer.headers()));
        self.note_key(upstream, answer.status());
        let readings = self.readings(answer.headers());
        if answer.status() != StatusCode::TOO_MANY_REQUESTS {
            entry.observe(&readings);
            return Ok((answer, false));
        }
        let waits = waiting_may_help(&answer, self.now());
        let (head, body) = answer.into_parts();
        let (body, refused) =
            if waits { self.read_refusal(&head.headers, body, upstream).await } else { (Ok(body), Refused::default()) };
        let limited = limits::limited(&head.headers, &refused, &readings, self.now().timestamp);
        let waits = waits && limited.is_some();
        entry.observe(&Readings { limited, ..readings });
        Ok((Response::from_parts(head, body?), waits))
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
            self.trouble.says(Error::Key {
                reason: format!("upstream \"{}\" refuses its key; set another one", upstream.name),
            });
        } else {
            self.trouble.passed();
        }
    }

    /// A refusal in memory, so that it can be read and its connection is free while the call waits.
    async fn read_refusal(
        &self,
        headers: &HeaderMap,
        body: reqwest::Body,
        from: &Upstream,
    ) -> (Result<reqwest::Body, Error>, Refused) {
        match self.whole(body, REFUSAL_BYTES_MAX, from).await {
            Ok(body) => {
                let refused = Refused::read(&meter::unpacked(headers, &body));
                (Ok(body.into()), refused)
            }
            Err(error) => (Err(error), Refused::default()),
        }
    }
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

/// A spend cap names no `retry-after`, and some refusals say that coming again is useless. One that is large passes on unread.
fn waiting_may_help(refusal: &Response<reqwest::Body>, now: Now) -> bool {
    let headers = refusal.headers();
    let said = anthropic::should_retry(headers);
    let throttled = said == Some(true) || anthropic::retry_after(headers, now.timestamp).is_some();
    said != Some(false) && throttled && http_body::Body::size_hint(refusal.body()).lower() <= REFUSAL_BYTES_MAX
}

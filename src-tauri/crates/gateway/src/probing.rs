//! Free questions to an upstream whose breaker is open: is it back? They are no calls and cost nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::admission::FreeProbe;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::pipeline::{Phase, Pipeline};
use crate::upstream::Upstream;

const QUESTION: &str = "/v1/models?limit=1";
/// Whoever answers later is not back.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a sleep of the machine a probe that is due goes out within this.
const SLEEP_MAX: Duration = Duration::from_secs(1);

impl Pipeline {
    /// Runs as long as calls are taken, and sleeps while all breakers are closed.
    pub(crate) async fn keep_probing(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        let probing = async {
            loop {
                for probe in self.door.ask(|admission, now| admission.due_free_probes(now)) {
                    self.probe(probe).await;
                }
                match self.door.ask(|admission, _| admission.next_free_probe()) {
                    Some(next) => tokio::time::sleep(next.since(self.now().instant).min(SLEEP_MAX)).await,
                    None => self.failing.notified().await,
                }
            }
        };
        tokio::select! {
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => {}
            () = probing => {}
        }
    }

    async fn probe(&self, probe: FreeProbe) {
        let Some(upstream) = self.upstreams.iter().find(|upstream| upstream.account == probe.account) else { return };
        let is_back = tokio::time::timeout(PATIENCE, self.is_back(upstream)).await.unwrap_or(false);
        self.door.change(|admission, now| admission.probed(&probe, is_back, now));
    }

    async fn is_back(&self, upstream: &Upstream) -> bool {
        let version = (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
        let headers = HeaderMap::from_iter([version]);
        let Ok(headers) = self.outgoing(upstream, headers).await else { return false };
        let answer = upstream.send(Method::GET, QUESTION, headers, Bytes::new()).await;
        answer.is_ok_and(|answer| !answer.status().is_server_error())
    }
}

//! Takes alerts to people elsewhere: each channel in its own time, again where it may help, and never for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway::ProxyUse;
use gateway::secret::Secret;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::alerts::{Alerts, Delivery};
use crate::clock;
use crate::keychain::{KeyError, Keychain};
use crate::settings::{Address, Channel};
use crate::view::AlertView;

mod post;
mod sending;

use post::{Opened, post, usual_url};
use sending::{Outcome, Sender};

/// What every channel is served with.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) channels: Vec<Channel>,
    pub(crate) keychain: Arc<Keychain>,
    pub(crate) proxy: ProxyUse,
}

/// Alerts that wait for one channel; what is beyond waits for the next start.
const WAITING_MAX: usize = 64;
/// No service takes more than one a second for long.
const APART: Duration = Duration::from_secs(1);
const TRIES_MAX: u32 = 8;
const BACKOFF: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

impl Service {
    /// Runs as long as a gateway does.
    pub(crate) async fn run(self, alerts: Arc<Alerts>, mut deliveries: mpsc::Receiver<Delivery>) {
        let mut lines = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for channel in &self.channels {
            let (sender, waiting) = mpsc::channel(WAITING_MAX);
            lines.insert(channel.name.clone(), sender);
            tasks.spawn(self.line(channel).serve(alerts.clone(), waiting));
        }
        while let Some(Delivery { alert, channels }) = deliveries.recv().await {
            for name in channels {
                match lines.get(&name).map(|line| line.try_send(alert.clone()).is_ok()) {
                    Some(true) => {}
                    Some(false) => tracing::warn!(
                        "too many alerts wait for channel {name}: {:?} goes there after the next start",
                        alert.message
                    ),
                    // The settings had it once.
                    None => alerts.not_taken(&alert, &name),
                }
            }
        }
    }

    /// Sends one made-up alert to a channel, once.
    ///
    /// # Errors
    /// Why the channel did not take it, as one sentence.
    pub(crate) async fn test(&self, name: &str) -> Result<(), String> {
        let channel = self.channels.iter().find(|channel| *channel.name == *name);
        let line = self.line(channel.ok_or_else(|| self.unknown(name))?);
        match line.attempt(&made_up()).await {
            Outcome::Taken => Ok(()),
            Outcome::Later { reason, .. } | Outcome::Refused(reason) => {
                Err(format!("channel {name} did not take the test alert: {reason}"))
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> =
            self.channels.iter().map(|channel| &*channel.name).chain([crate::desktop::CHANNEL]).collect();
        format!("no [[channel]] of the settings is named {name:?}; those there are: {}", known.join(", "))
    }

    fn line(&self, channel: &Channel) -> Line {
        let sender = Sender::new(self.proxy.clone(), channel.allow_private);
        Line { channel: channel.clone(), keychain: self.keychain.clone(), sender }
    }
}

pub(crate) fn made_up() -> AlertView {
    AlertView {
        alert_id: format!("test-{}", clock::now().timestamp.as_millis()),
        rule: "test".to_owned(),
        scope: "machine".to_owned(),
        severity: "info".to_owned(),
        message: "This is a test: alerts of Tidegate reach this channel".to_owned(),
        crossed_at: clock::now().timestamp.to_string(),
        ..AlertView::default()
    }
}

/// One channel's alerts, first come, first served.
struct Line {
    channel: Channel,
    keychain: Arc<Keychain>,
    sender: Sender,
}

/// What is to be done after an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Next {
    Done,
    Again(Duration),
    GiveUp(String),
}

impl Line {
    async fn serve(self, alerts: Arc<Alerts>, mut waiting: mpsc::Receiver<AlertView>) {
        while let Some(alert) = waiting.recv().await {
            let mut tries = 1;
            loop {
                match next(self.attempt(&alert).await, tries) {
                    Next::Done => break alerts.taken(&alert, &self.channel.name),
                    Next::Again(after) => tokio::time::sleep(after).await,
                    Next::GiveUp(reason) => {
                        tracing::warn!("channel {} did not take an alert: {reason}", self.channel.name);
                        break alerts.not_taken(&alert, &self.channel.name);
                    }
                }
                tries += 1;
            }
            tokio::time::sleep(APART).await;
        }
    }

    async fn attempt(&self, alert: &AlertView) -> Outcome {
        match self.open().await {
            Ok((url, secret)) => {
                let secret = secret.as_ref().map_or("", |secret| secret.expose());
                let opened = Opened { kind: self.channel.kind, url: url.expose(), secret };
                self.sender.send(post(&opened, alert, clock::now().timestamp)).await
            }
            // A keychain may be locked now and open later.
            Err(error) => Outcome::Later { reason: error.to_string(), after: None },
        }
    }

    /// Its address and its secret, as they are now.
    async fn open(&self) -> Result<(Arc<Secret>, Option<Arc<Secret>>), KeyError> {
        let Channel { name, kind, url, secret, .. } = &self.channel;
        let url = match url {
            None => Arc::new(Secret::new(usual_url(*kind).to_owned())),
            Some(Address::Plain(url)) => Arc::new(Secret::new(url.clone())),
            // The secret is the address itself: it is bound to its channel and not to a host.
            Some(Address::Kept(reference)) => self.keychain.key(reference, &format!("channel:{name}")).await?,
        };
        let Some(reference) = secret else { return Ok((url, None)) };
        let origin = reqwest::Url::parse(url.expose()).map(|url| url.origin().ascii_serialization());
        let secret = self.keychain.key(reference, &origin.unwrap_or_default()).await?;
        Ok((url, Some(secret)))
    }
}

/// After so many tries, the last of which went like this.
fn next(outcome: Outcome, tries: u32) -> Next {
    match outcome {
        Outcome::Taken => Next::Done,
        Outcome::Refused(reason) => Next::GiveUp(reason),
        Outcome::Later { reason, .. } if tries >= TRIES_MAX => Next::GiveUp(format!("{reason}, {tries} times")),
        Outcome::Later { after, .. } => {
            let backoff = BACKOFF.saturating_mul(1 << tries.min(16)).min(BACKOFF_MAX);
            Next::Again(after.unwrap_or(backoff).max(APART))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_asked_again_less_and_less_often_and_not_for_ever() {
        let down = || Outcome::Later { reason: "it answered 500".to_owned(), after: None };
        let waits: Vec<Next> = (1..=TRIES_MAX).map(|tries| next(down(), tries)).collect();
        let again = |seconds| Next::Again(Duration::from_secs(seconds));
        let last = Next::GiveUp("it answered 500, 8 times".to_owned());
        assert_eq!(waits, [again(4), again(8), again(16), again(32), again(64), again(128), again(256), last]);
        let told = |after| Outcome::Later { reason: String::new(), after: Some(Duration::from_secs(after)) };
        assert_eq!((next(told(40), 1), next(told(0), 1)), (again(40), again(1)));
        assert_eq!(next(Outcome::Refused("no".to_owned()), 1), Next::GiveUp("no".to_owned()));
        assert_eq!(next(Outcome::Taken, 8), Next::Done);
    }
}

//! How long nothing may come from somebody we wait for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Counts only while it is polled, so that who is not asked for more is not taken for silent.
pub(crate) struct Silence {
    longest: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    lasts: bool,
}

impl Silence {
    pub(crate) fn of_at_most(longest: Duration) -> Silence {
        Silence { longest, alarm: None, lasts: false }
    }

    /// Something has come.
    pub(crate) fn is_broken(&mut self) {
        self.lasts = false;
    }

    /// Nothing is here now. Ends when that has been so for too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let longest = self.longest;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(longest)));
        if !std::mem::replace(&mut self.lasts, true) {
            alarm.as_mut().reset(Instant::now() + longest);
        }
        alarm.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_counted_from_the_moment_somebody_listens() {
        let mut silence = Silence::of_at_most(Duration::from_secs(30));
        assert!(poll_fn(|cx| Poll::Ready(silence.poll(cx))).await.is_pending());
        silence.is_broken();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let began = Instant::now();
        poll_fn(|cx| silence.poll(cx)).await;
        assert_eq!(began.elapsed().as_secs(), 30);
    }
}

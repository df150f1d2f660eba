//! When old entries are deleted: once a day, and only while the clock can be believed.

use std::sync::Arc;
use std::time::Duration;

use domain::time::{Calendar, Instant, Now, Timestamp};
use ledger::{Deleted, Ledger};

use crate::clock;

const LOOK_EVERY: Duration = Duration::from_secs(600);

/// So long the clock and the newest entry must have agreed.
const BELIEVED_AFTER: Duration = Duration::from_secs(3_600);

/// A newest entry that is older says nothing of the clock.
const NEWEST_MAX: Duration = Duration::from_secs(86_400);

/// The wall clock and the one that only goes on drift apart by less than this.
const DRIFT_MAX: Duration = Duration::from_secs(300);

const DAY: Duration = Duration::from_secs(86_400);

/// Further back at once goes nothing, so that a clock that is wrong for long takes a month and not the ledger.
const STEP_MAX: Duration = Duration::from_secs(31 * 86_400);

const COPIES_KEPT: Duration = Duration::from_secs(30 * 86_400);

pub(crate) struct Retention {
    ledger: Arc<Ledger>,
    calendar: Calendar,
    keeps: Duration,
    /// Since when the clock and the newest entry agree.
    agreed: Option<Now>,
    next: Option<Instant>,
}

impl Retention {
    pub(crate) fn of(ledger: Arc<Ledger>, calendar: Calendar, keeps: Duration) -> Retention {
        Retention { ledger, calendar, keeps, agreed: None, next: None }
    }

    /// Never ends by itself.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.look(clock::now()).await {
                Ok(Deleted { entries: 0, .. }) => {}
                Ok(Deleted { entries, .. }) => {
                    tracing::info!("{entries} entries were older than is kept and are deleted; their sums stay");
                }
                Err(error) => tracing::warn!("old entries were not deleted: {error}"),
            }
        }
    }

    async fn look(&mut self, now: Now) -> Result<Deleted, ledger::Error> {
        let Some((first, newest)) = self.ledger.known_span(now.timestamp).await? else { return Ok(Deleted::default()) };
        if !self.believes(now, newest) || self.next.is_some_and(|next| now.instant < next) {
            return Ok(Deleted::default());
        }
        let copies = self.ledger.forget_copies(now.timestamp.before(COPIES_KEPT))?;
        let wanted = self.calendar.start_of_day(now.timestamp.before(self.keeps));
        let furthest = self.ledger.kept_from().await?.max(first).after(STEP_MAX);
        let deleted = self.ledger.keep_from(wanted.min(self.calendar.start_of_day(furthest))).await?;
        self.next = Some(now.instant.after(DAY));
        Ok(Deleted { copies, ..deleted })
    }

    fn believes(&mut self, now: Now, newest: Timestamp) -> bool {
        let agrees = now.timestamp.since(newest) <= NEWEST_MAX;
        let since = self.agreed.filter(|since| agrees && !has_jumped(*since, now));
        self.agreed = agrees.then(|| since.unwrap_or(now));
        since.is_some_and(|since| now.instant.since(since.instant) >= BELIEVED_AFTER)
    }
}

fn has_jumped(before: Now, now: Now) -> bool {
    let expected = before.timestamp.after(now.instant.since(before.instant));
    now.timestamp.since(expected).max(expected.since(now.timestamp)) > DRIFT_MAX
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use domain::call::{Attribution, CacheUse, Call, CallId, Class, Entry, Outcome, Source};
    use domain::money::Usd;
    use domain::usage::{Tokens, Usage};
    use ledger::{Durability, Filter, Options};

    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// Two clocks of which the one on the wall may be set.
    struct World {
        now: Now,
        ledger: Arc<Ledger>,
        retention: Retention,
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    impl World {
        /// A call on each of the last 500 days, at noon.
        async fn new(dir: &Path) -> World {
            let options =
                Options { durability: Durability::Process, catalog: Default::default(), calendar: Calendar::UTC };
            let ledger = Arc::new(Ledger::open(dir, options).await.expect("a ledger").0);
            let now = Now { instant: Instant::from_nanos(5), timestamp: at("2026-11-26T12:10:00Z") };
            let retention = Retention::of(ledger.clone(), Calendar::UTC, DAY * 400);
            let world = World { now, ledger, retention };
            for day in (0..500_u32).rev() {
                world.call(at("2026-11-26T12:00:00Z").before(DAY * day)).await;
            }
            world
        }

        async fn call(&self, started_at: Timestamp) {
            let call = Call {
                id: CallId::new(started_at, 1),
                started_at,
                class: Class::Normal,
                who: Attribution::default(),
                model: "m".into(),
                max_tokens: None,
                stream: false,
                body_bytes: 1,
            };
            let entry = Entry {
                call,
                ended_at: started_at,
                attempts: vec![],
                status: 200,
                outcome: Outcome::Completed,
                usage: Usage { tokens: Tokens { input: 1, ..Tokens::default() }, ..Usage::default() },
                cost: Some(Usd::from_nanos(1)),
                price_id: None,
                estimated: false,
                source: Source::Gateway,
                waited_ms: 0,
                waited_for: None,
                first_byte_ms: None,
                total_ms: 0,
                cache: CacheUse::Off,
                saved: None,
                error: None,
                account: None,
            };
            self.ledger.settle(&entry).await.expect("settled");
        }

        /// Looks every ten minutes, as the app does; with a call each time, where there are calls.
        async fn passes(&mut self, time: Duration, has_calls: bool) {
            let looks = time.as_secs() / LOOK_EVERY.as_secs();
            for _ in 0..looks {
                self.now.instant = self.now.instant.after(LOOK_EVERY);
                self.now.timestamp = self.now.timestamp.after(LOOK_EVERY);
                if has_calls {
                    self.call(self.now.timestamp).await;
                }
                self.retention.look(self.now).await.expect("looked");
            }
        }

        async fn oldest(&self) -> String {
            let calls = self.ledger.calls(&Filter::default(), 10_000).await.expect("calls");
            calls.last().expect("a call").call.started_at.to_string()[..10].to_owned()
        }
    }

    #[tokio::test]
    async fn entries_go_a_month_a_day_once_the_clock_has_been_right_for_an_hour() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut world = World::new(dir.path()).await;
        assert_eq!(world.oldest().await, "2025-07-15");
        world.passes(HOUR, false).await;
        assert_eq!(world.oldest().await, "2025-07-15");
        world.passes(HOUR, true).await;
        assert_eq!(world.oldest().await, "2025-08-15");
        world.passes(DAY * 4, true).await;
        assert_eq!(world.oldest().await, "2025-10-26", "400 days are kept");
        assert_eq!(world.ledger.verify(Vec::new).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn a_clock_that_is_a_year_ahead_deletes_nothing_in_its_first_hour_and_never_the_ledger() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut world = World::new(dir.path()).await;
        world.passes(DAY * 5, true).await;
        let kept = world.oldest().await;
        let right = world.now.timestamp;
        world.now.timestamp = right.after(YEAR);
        world.passes(DAY * 2, false).await;
        assert_eq!(world.oldest().await, kept, "without a call the clock stays alone");
        world.passes(HOUR - LOOK_EVERY, true).await;
        assert_eq!(world.oldest().await, kept, "not in the first hour");
        world.passes(DAY - HOUR, true).await;
        assert_eq!(world.oldest().await, "2025-11-26", "a month at most");
        // Set right again: what was written meanwhile lies in the future and doesn't hinder.
        world.now.timestamp = right.after(DAY * 3);
        world.passes(DAY, true).await;
        assert_eq!(world.oldest().await, "2025-11-26");
        assert_eq!(world.ledger.verify(Vec::new).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn a_clock_that_jumps_every_half_hour_or_goes_back_deletes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut world = World::new(dir.path()).await;
        for _ in 0..20 {
            world.passes(HOUR / 2, true).await;
            world.now.timestamp = world.now.timestamp.after(DAY * 10);
        }
        assert_eq!(world.oldest().await, "2025-07-15");
        world.now.timestamp = at("2024-11-26T12:00:00Z");
        world.passes(DAY, false).await;
        assert_eq!(world.oldest().await, "2025-07-15");
    }
}

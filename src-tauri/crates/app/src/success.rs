//! The figures of success, kept up beside the ledger: read once for the month, then for what is new.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::success::{CutOffs, Hour, Success, SuccessMemory, Successes};
use domain::time::Timestamp;
use ledger::Ledger;
use serde::{Deserialize, Serialize};

use crate::view::{CutOffsView, SuccessView};
use crate::{clock, folder};

pub(crate) struct Scores {
    ledger: Arc<Ledger>,
    file: PathBuf,
    known: Mutex<Successes>,
    /// Read through. Held while reading, so that nothing counts twice.
    through: tokio::sync::Mutex<Option<i64>>,
}

/// `DIR/success.json`: what was counted up to a place in the ledger, so that a start reads only what is new.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    through: i64,
    /// The hour's number since 1970; 429, fallbacks, longest recovery in ms; max_tokens, cut, silent, error after start.
    hours: Vec<(i64, [u64; 7])>,
    /// Milliseconds since 1970.
    outages: Vec<(String, i64)>,
}

const FILE: &str = "success.json";
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const READ_EVERY: Duration = Duration::from_secs(60);

impl Scores {
    pub(crate) fn of(dir: &Path, ledger: Arc<Ledger>) -> Scores {
        Scores { ledger, file: dir.join(FILE), known: Mutex::default(), through: tokio::sync::Mutex::default() }
    }

    /// Runs as long as a gateway does.
    pub(crate) async fn run(self: Arc<Scores>) {
        loop {
            if let Err(error) = self.read(clock::now().timestamp).await {
                tracing::warn!("the figures of success are not up to date: {error}");
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    /// What is in the ledger now counts when this returns.
    pub(crate) async fn read(&self, now: Timestamp) -> Result<(), ledger::Error> {
        let mut through = self.through.lock().await;
        let mut place = match *through {
            Some(place) => place,
            None => self.recall(),
        };
        let begin = place;
        loop {
            let part = self.ledger.fates(now.before(MONTH), place).await?;
            if part.through < place {
                // The ledger is another one than the file knows.
                *self.lock() = Successes::default();
                place = 0;
                continue;
            }
            let mut known = self.lock();
            part.fates.iter().for_each(|fate| known.count(fate));
            place = part.through;
            *through = Some(place);
            if part.is_all {
                known.forget(now);
                break;
            }
        }
        if place != begin {
            self.keep(place);
        }
        Ok(())
    }

    fn recall(&self) -> i64 {
        let kept: Kept = folder::read_json(&self.file).unwrap_or_else(|error| {
            tracing::warn!("the figures of success are counted anew: {error}");
            folder::set_aside(&self.file);
            Kept::default()
        });
        *self.lock() = Successes::recall(kept.memory());
        kept.through
    }

    fn keep(&self, through: i64) {
        let kept = Kept::of(through, &self.lock().remember());
        if let Err(error) = folder::write_json(&self.file, &kept) {
            tracing::warn!("the figures of success are not kept: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Successes> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn figures(&self, now: Timestamp) -> (SuccessView, CutOffsView) {
        let known = self.lock();
        (success(known.figures(now)), cut_offs(known.cut_offs(now)))
    }
}

fn success(figures: Success) -> SuccessView {
    SuccessView {
        days: figures.days,
        rate_limit_errors_seen: figures.rate_limit_errors_seen,
        fallbacks_served: figures.fallbacks_served,
        alerts_before_tier_change: 0,
        longest_recovery_s: figures.longest_recovery.as_secs(),
    }
}

fn cut_offs(cut_offs: CutOffs) -> CutOffsView {
    let CutOffs { max_tokens, cut, silent, error_after_start } = cut_offs;
    CutOffsView { max_tokens, cut, silent, error_after_start }
}

impl Kept {
    fn of(through: i64, memory: &SuccessMemory) -> Kept {
        let hour = |(number, hour): &(i64, Hour)| {
            let CutOffs { max_tokens, cut, silent, error_after_start } = hour.cut_offs;
            let recovery = u64::try_from(hour.longest_recovery.as_millis()).unwrap_or(u64::MAX);
            let counts = [hour.rate_limit_errors, hour.fallbacks, recovery, max_tokens, cut, silent, error_after_start];
            (*number, counts)
        };
        let outage = |(upstream, since): &(Arc<str>, Timestamp)| (upstream.to_string(), since.as_millis());
        let hours = memory.hours.iter().map(hour).collect();
        Kept { through, hours, outages: memory.outages.iter().map(outage).collect() }
    }

    fn memory(&self) -> SuccessMemory {
        let hour = |(number, counts): &(i64, [u64; 7])| {
            let [rate_limit_errors, fallbacks, recovery, max_tokens, cut, silent, error_after_start] = *counts;
            let longest_recovery = Duration::from_millis(recovery);
            let cut_offs = CutOffs { max_tokens, cut, silent, error_after_start };
            (*number, Hour { rate_limit_errors, fallbacks, longest_recovery, cut_offs })
        };
        let outage = |(upstream, since): &(String, i64)| (upstream.as_str().into(), Timestamp::from_millis(*since));
        let hours = self.hours.iter().map(hour).collect();
        SuccessMemory { hours, outages: self.outages.iter().map(outage).collect() }
    }
}

#[cfg(test)]
mod tests {
    use domain::success::{Fate, Try};

    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let at = Timestamp::from_millis(1_790_000_000_000);
        let mut known = Successes::default();
        for (status, upstream) in [(429, "a"), (529, "b"), (200, "a")] {
            let attempt = Try { number: 2, upstream: upstream.into(), at, status: Some(status), is_broken: false };
            let outcome = if status == 200 { domain::call::Outcome::Completed } else { domain::call::Outcome::Failed };
            let ended_at = at.after(Duration::from_millis(1_234));
            let error = (status == 200).then(|| "max_tokens".into());
            known.count(&Fate { started_at: at, ended_at, outcome, status, error, tries: vec![attempt] });
        }
        let text = serde_json::to_string(&Kept::of(7, &known.remember())).expect("JSON");
        let kept: Kept = serde_json::from_str(&text).expect("the same");
        assert_eq!((kept.memory(), kept.through), (known.remember(), 7));
        assert_eq!(kept.memory().outages.len(), 1, "{text}");
    }
}

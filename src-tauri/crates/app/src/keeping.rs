//! While a gateway runs: what it learns is kept, a clock that jumps is noticed, and administrators' limits are asked for.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::alert::{Figure, Reading, Sign};
use domain::time::Now;
use gateway::{Gateway, ProxyUse};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::alerts::Alerts;
use crate::changes::Changes;
use crate::clock;
use crate::counting::Counted;
use crate::keychain::Keychain;
use crate::learned::Keeper;
use crate::settings::{BaseUrl, KeyRef};

/// How much of what was learned a crash may take.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// However many reservations come and go.
const KEEP_APART: Duration = Duration::from_millis(100);
/// The wall clock and the one that only goes on drift apart by less than this.
const JUMP: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_secs(3_600);

/// Ends with its last owner.
pub(crate) struct Keeping {
    gateway: Arc<Gateway>,
    keeper: Arc<Mutex<Kept>>,
    counted: Counted,
    tasks: JoinSet<()>,
}

/// What is learned, and how it changes.
type Kept = (Keeper, Arc<Changes>);

/// An account whose administrator's key the settings name.
pub(crate) struct Administered {
    pub(crate) name: Arc<str>,
    /// Its place among the gateway's.
    pub(crate) account: usize,
    pub(crate) base: BaseUrl,
    pub(crate) admin_key: KeyRef,
}

impl Keeping {
    /// `elsewhere` tells of entries that no window or budget has counted.
    pub(crate) fn start(
        gateway: &Arc<Gateway>,
        dir: &Path,
        counted: Counted,
        alerts: Arc<Alerts>,
        changes: Arc<Changes>,
        elsewhere: Arc<Notify>,
    ) -> Keeping {
        let keeper = Arc::new(Mutex::new((Keeper::of(dir), changes)));
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(gateway.clone(), keeper.clone()));
        tasks.spawn(watch_the_clock(gateway.clone(), counted.clone(), alerts));
        tasks.spawn(recount_each_time(elsewhere, gateway.clone(), counted.clone()));
        Keeping { gateway: gateway.clone(), keeper, counted, tasks }
    }

    pub(crate) fn ask_for_limits(&mut self, of: Vec<Administered>, keychain: &Arc<Keychain>, proxy: &ProxyUse) {
        for account in of {
            self.tasks.spawn(ask_for_limits(self.gateway.clone(), account, keychain.clone(), proxy.clone()));
        }
    }

    /// Runs beside, and ends with it.
    pub(crate) fn also(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// What is known now is in the file when this returns.
    pub(crate) async fn keep_now(&self) {
        save(&self.gateway, &self.keeper).await;
    }

    /// Budgets that are new count what was spent before they were set.
    pub(crate) async fn recount(&self) {
        recount(&self.gateway, &self.counted).await;
    }
}

async fn keep(gateway: Arc<Gateway>, keeper: Arc<Mutex<Kept>>) {
    loop {
        // A reservation is kept at once: a crash must not take it.
        let _ = tokio::time::timeout(KEEP_EVERY, gateway.reserved()).await;
        save(&gateway, &keeper).await;
        tokio::time::sleep(KEEP_APART).await;
    }
}

/// On a thread of its own: calls must not wait for the disk.
async fn save(gateway: &Arc<Gateway>, keeper: &Arc<Mutex<Kept>>) {
    let (gateway, keeper) = (gateway.clone(), keeper.clone());
    let saved = tokio::task::spawn_blocking(move || {
        let mut kept = keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let (keeper, changes) = &mut *kept;
        let memory = gateway.remember();
        changes.see(&memory, clock::now().timestamp);
        keeper.keep(&memory)
    });
    match saved.await {
        Ok(None) => {}
        Ok(Some(news)) => tracing::warn!("{news}"),
        Err(error) => tracing::error!("what was learned is not kept: {error}"),
    }
}

/// Where the wall clock jumps, periods begin or come back that calls have been made in already.
async fn watch_the_clock(gateway: Arc<Gateway>, counted: Counted, alerts: Arc<Alerts>) {
    let mut before = clock::now();
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        let now = clock::now();
        if let Some(by) = jumped(before, now) {
            tracing::warn!("the clock jumped: windows and budgets are counted anew");
            recount(&gateway, &counted).await;
            alerts.happened(Sign::ClockJump, &Reading::of("machine", "", Figure::seconds(by)), now);
        }
        before = now;
    }
}

/// By how much, either way.
fn jumped(before: Now, now: Now) -> Option<Duration> {
    let passed = now.instant.since(before.instant);
    let expected = before.timestamp.after(passed);
    let by = now.timestamp.since(expected).max(expected.since(now.timestamp));
    (by > JUMP).then_some(by)
}

async fn recount_each_time(elsewhere: Arc<Notify>, gateway: Arc<Gateway>, counted: Counted) {
    loop {
        elsewhere.notified().await;
        recount(&gateway, &counted).await;
    }
}

/// Sets what was spent of all windows and budgets to what the ledger has.
async fn recount(gateway: &Gateway, counted: &Counted) {
    match counted.spent(&gateway.quotas(), clock::now().timestamp).await {
        Ok(spent) => spent.iter().for_each(|(key, used)| gateway.count(key, *used)),
        Err(error) => tracing::warn!("windows and budgets were not counted anew: {error}"),
    }
}

async fn ask_for_limits(gateway: Arc<Gateway>, of: Administered, keychain: Arc<Keychain>, proxy: ProxyUse) {
    let Administered { name, account, base, admin_key } = of;
    loop {
        match crate::account::limits(&base, &admin_key, &keychain, &proxy).await {
            Ok(told) => gateway.learn_limits(account, &told),
            Err(error) => tracing::warn!("limits of {name}: {error}"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use domain::time::{Instant, Timestamp};

    use super::*;

    #[test]
    fn a_clock_that_jumps_either_way_is_told_from_one_that_goes_on() {
        let now = |seconds: u64, millis: i64| Now {
            instant: Instant::from_nanos(seconds * 1_000_000_000),
            timestamp: Timestamp::from_millis(1_790_000_000_000 + millis),
        };
        let start = now(100, 0);
        for (later, jumped) in [
            (now(110, 10_000), false),
            (now(110, 12_000), false),
            (now(110, 86_400_000), true),
            (now(110, -3_600_000), true),
            // It slept, and both clocks know.
            (now(28_900, 28_800_000), false),
        ] {
            assert_eq!(super::jumped(start, later).is_some(), jumped, "{later:?}");
        }
    }
}

//! What was used hour by hour, client and model apart: read from the ledger once, then only what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use domain::admission::Unit;
use domain::price::Price;
use domain::time::Timestamp;
use ledger::{HourRefused, HourUsed, Ledger, Spender, Way};

use super::{hour_of, lock, number};
use crate::counting::{self, Counted};

/// Whose hours.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Whose {
    pub(super) spender: Spender,
    /// All where none is named.
    pub(super) name: Option<Arc<str>>,
    pub(super) way: Way,
}

/// A client and a model; both empty for those that use too little to be told apart.
pub(super) type Kind = (Arc<str>, Arc<str>);

/// In the hours from `begin` on, all series as long as `length`.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Hours {
    pub(super) begin: i64,
    pub(super) length: usize,
    pub(super) kinds: BTreeMap<Kind, Vec<f64>>,
    read_in: i64,
}

/// What turned calls of an hour away; the last says most of the hours after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Shut {
    /// A minute's limit, or an upstream that failed: most of them came again.
    Meanwhile,
    /// Somebody held them back.
    Held,
    /// A window, a budget or an emergency, which lasts.
    Spent,
}

/// Hours in which calls were turned away.
#[derive(Clone, Default)]
pub(super) struct Refused {
    rows: Vec<HourRefused>,
    /// Before which all were read, and when that began.
    through: i64,
    read_in: i64,
}

pub(super) struct HourReader {
    ledger: Arc<Ledger>,
    read: Mutex<BTreeMap<(Whose, &'static str), Hours>>,
    refused: Mutex<Refused>,
}

/// No forecast looks further back.
const HOURS_BACK: i64 = 30 * 168;
/// A call belongs to the hour of its start and is in the books when it has ended.
const HOURS_OPEN: i64 = 3;
/// Prices of the past may be changed: all is read anew so often.
const HOURS_KEPT: i64 = 24;
const KINDS_MAX: usize = 48;
/// Each call is looked at for it; hours before these weigh little.
const REFUSED_BACK: i64 = 8 * 168;

impl HourReader {
    pub(super) fn of(ledger: Arc<Ledger>) -> HourReader {
        HourReader { ledger, read: Mutex::default(), refused: Mutex::default() }
    }

    /// Up to the hour that runs now, and without it.
    pub(super) async fn refused(&self, now: Timestamp) -> Result<Refused, ledger::Error> {
        let end = hour_of(now);
        let kept = lock(&self.refused).clone();
        let mut refused = match (0..HOURS_KEPT).contains(&(end - kept.read_in)) {
            true => kept,
            false => Refused { rows: vec![], through: end - REFUSED_BACK, read_in: end },
        };
        let from = (refused.through - HOURS_OPEN).max(end - REFUSED_BACK);
        refused.rows.retain(|row| row.hour < from);
        refused.rows.extend(self.ledger.hours_refused(from, end).await?);
        refused.through = end;
        lock(&self.refused).clone_from(&refused);
        Ok(refused)
    }

    /// Up to the hour that runs now, and without it.
    pub(super) async fn hours(
        &self,
        whose: &Whose,
        unit: Unit,
        counted: &Counted,
        now: Timestamp,
    ) -> Result<Hours, ledger::Error> {
        let end = hour_of(now);
        let place = (whose.clone(), unit.name());
        let mut hours = match self.kept(&place, end) {
            Some(kept) => kept,
            None => Hours::from(self.ledger.first_hour(whose.way).await?.unwrap_or(end), end),
        };
        let from = (hours.begin + i64::try_from(hours.length).unwrap_or(0) - HOURS_OPEN).max(hours.begin);
        let rows = self.ledger.hours((whose.spender, whose.name.as_deref()), whose.way, from, end).await?;
        hours.replace(from, end, &rows, unit, counted.dearest(now).as_ref());
        lock(&self.read).insert(place, hours.clone());
        Ok(hours)
    }

    fn kept(&self, place: &(Whose, &'static str), end: i64) -> Option<Hours> {
        lock(&self.read).get(place).filter(|hours| (0..HOURS_KEPT).contains(&(end - hours.read_in))).cloned()
    }
}

impl Whose {
    /// What a budget turns away it will turn away again: that is no demand on a window that others share.
    fn was_shut_by(&self, refused: &HourRefused) -> Option<Shut> {
        let own = match self.spender {
            Spender::Client => &refused.client,
            Spender::Person => &refused.person,
            Spender::Project => &refused.project,
            Spender::Tenant => &refused.tenant,
            Spender::Upstream => "",
        };
        let somebody = self.name.as_deref().filter(|_| self.spender != Spender::Upstream);
        match (somebody, &*refused.error) {
            (Some(name), _) if name != own => None,
            (None, "tidegate_budget_reached") => None,
            (_, error) => Shut::of(error),
        }
    }
}

impl Shut {
    /// Nothing where the call itself was to blame.
    fn of(error: &str) -> Option<Shut> {
        match error {
            "tidegate_window_exhausted" | "tidegate_budget_reached" | "tidegate_emergency" => Some(Shut::Spent),
            "tidegate_held" => Some(Shut::Held),
            "tidegate_deadline" | "tidegate_queue_full" | "tidegate_breaker_open" => Some(Shut::Meanwhile),
            _ => None,
        }
    }
}

impl Refused {
    /// By hour.
    pub(super) fn of(&self, whose: &Whose) -> BTreeMap<i64, Shut> {
        let mut shut = BTreeMap::new();
        for (hour, by) in self.rows.iter().filter_map(|row| Some((row.hour, whose.was_shut_by(row)?))) {
            let worst = shut.entry(hour).or_insert(by);
            *worst = by.max(*worst);
        }
        shut
    }
}

impl Hours {
    fn from(first: i64, end: i64) -> Hours {
        Hours { begin: first.clamp(end - HOURS_BACK, end), read_in: end, ..Hours::default() }
    }

    /// One series, of nobody in particular.
    pub(super) fn alone(begin: i64, used: Vec<f64>) -> Hours {
        Hours { begin, length: used.len(), kinds: BTreeMap::from([(Kind::default(), used)]), read_in: 0 }
    }

    fn replace(&mut self, from: i64, end: i64, rows: &[HourUsed], unit: Unit, dearest: Option<&Price>) {
        let index = |hour: i64| usize::try_from(hour - self.begin).unwrap_or(0);
        let (kept, length) = (index(from), index(end));
        self.length = length;
        for series in self.kinds.values_mut() {
            series.truncate(kept);
            series.resize(length, 0.0);
        }
        let amount = |row: &HourUsed| number(unit, counting::amount(&row.used, unit, dearest));
        let apart = self.apart(rows, amount);
        for row in rows {
            let kind = Some(kind(row)).filter(|kind| apart.contains(kind)).unwrap_or_default();
            let series = self.kinds.entry(kind).or_insert_with(|| vec![0.0; length]);
            if let Some(sum) = usize::try_from(row.hour - self.begin).ok().and_then(|at| series.get_mut(at)) {
                *sum += amount(row);
            }
        }
    }

    /// Those that are, then those that use the most.
    fn apart(&self, rows: &[HourUsed], amount: impl Fn(&HourUsed) -> f64) -> BTreeSet<Kind> {
        let mut apart: BTreeSet<Kind> = self.kinds.keys().cloned().collect();
        let mut sums: BTreeMap<Kind, f64> = BTreeMap::new();
        for row in rows {
            *sums.entry(kind(row)).or_default() += amount(row);
        }
        let mut sums: Vec<(Kind, f64)> = sums.into_iter().filter(|(kind, _)| !apart.contains(kind)).collect();
        sums.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let room = KINDS_MAX.saturating_sub(apart.len());
        apart.extend(sums.into_iter().take(room).map(|(kind, _)| kind));
        apart
    }

    pub(super) fn sum(&self) -> Vec<f64> {
        self.grouped(|_| Some(())).into_values().next().unwrap_or_else(|| vec![0.0; self.length])
    }

    /// The sums of those that have a key in common.
    pub(super) fn grouped<K: Ord>(&self, key: impl Fn(&Kind) -> Option<K>) -> BTreeMap<K, Vec<f64>> {
        let mut groups: BTreeMap<K, Vec<f64>> = BTreeMap::new();
        for (kind, series) in &self.kinds {
            let Some(key) = key(kind) else { continue };
            let sums = groups.entry(key).or_insert_with(|| vec![0.0; self.length]);
            sums.iter_mut().zip(series).for_each(|(sum, used)| *sum += used);
        }
        groups
    }
}

fn kind(row: &HourUsed) -> Kind {
    (row.used.name.clone(), row.model.clone())
}

#[cfg(test)]
mod tests {
    use domain::call::{CallId, Outcome};
    use domain::catalog::InForce;
    use domain::time::Calendar;
    use ledger::{Durability, Options};

    use super::*;
    use crate::testing;

    const HOUR_MS: i64 = 3_600_000;

    /// A call of that hour, for $0.0025.
    async fn settle(ledger: &Ledger, hour: i64, number: u128, client: &str) {
        let mut entry = testing::entry("claude-sonnet-4-5", Outcome::Completed);
        let at = Timestamp::from_millis(hour * HOUR_MS + 1_000);
        entry.call.id = CallId::new(at, number);
        entry.call.who.client = client.into();
        (entry.call.started_at, entry.ended_at) = (at, at);
        entry.attempts.iter_mut().for_each(|attempt| attempt.opened_at = at);
        ledger.settle(&entry).await.expect("written");
    }

    async fn books(dir: &std::path::Path) -> Counted {
        let catalog = Arc::new(crate::data::catalog().expect("prices"));
        let options = Options { durability: Durability::Process, catalog: catalog.clone(), calendar: Calendar::UTC };
        let ledger = Arc::new(Ledger::open(dir, options).await.expect("it opens").0);
        Counted { ledger, catalog: InForce::from(catalog), upstreams: vec![] }
    }

    async fn read(reader: &HourReader, counted: &Counted, hour: i64) -> Hours {
        let whose = Whose { spender: Spender::Client, name: None, way: Way::Gateway };
        let now = Timestamp::from_millis(hour * HOUR_MS + 1_800_000);
        reader.hours(&whose, Unit::Usd, counted, now).await.expect("read")
    }

    const FIRST: i64 = 497_000;
    const ONE: f64 = 0.0025;

    #[tokio::test]
    async fn hours_that_were_read_before_are_as_if_they_were_read_anew_and_late_calls_are_in_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let counted = books(dir.path()).await;
        let reader = HourReader::of(counted.ledger.clone());
        settle(&counted.ledger, FIRST, 1, "ci").await;
        let first = read(&reader, &counted, FIRST + 4).await;
        assert_eq!((first.begin, first.sum()), (FIRST, vec![ONE, 0.0, 0.0, 0.0]));
        // Begun two hours ago, and ended now.
        settle(&counted.ledger, FIRST + 3, 2, "ci").await;
        settle(&counted.ledger, FIRST + 5, 3, "web").await;
        for hour in [FIRST + 5, FIRST + 6, FIRST + 7, FIRST + 40] {
            let anew = HourReader::of(counted.ledger.clone());
            let (known, anew) = (read(&reader, &counted, hour).await, read(&anew, &counted, hour).await);
            assert_eq!((known.begin, known.sum()), (anew.begin, anew.sum()), "{}", hour - FIRST);
        }
        let all = read(&reader, &counted, FIRST + 7).await;
        assert_eq!(all.sum(), [ONE, 0.0, 0.0, ONE, 0.0, ONE, 0.0]);
        let clients = all.grouped(|(client, _)| Some(client.clone()));
        assert_eq!(clients.get("web").map(Vec::as_slice), Some(&[0.0, 0.0, 0.0, 0.0, 0.0, ONE, 0.0][..]));
    }

    #[tokio::test]
    async fn calls_that_logs_tell_of_are_no_history_of_the_gateway() {
        let dir = tempfile::tempdir().expect("a folder");
        let counted = books(dir.path()).await;
        let mut told = testing::entry("claude-sonnet-4-5", Outcome::Completed);
        let at = Timestamp::from_millis((FIRST - 500) * HOUR_MS);
        (told.call.started_at, told.ended_at, told.source) = (at, at, domain::call::Source::Log);
        counted.ledger.settle(&told).await.expect("written");
        settle(&counted.ledger, FIRST, 2, "ci").await;
        let hours = read(&HourReader::of(counted.ledger.clone()), &counted, FIRST + 2).await;
        assert_eq!((hours.begin, hours.sum()), (FIRST, vec![ONE, 0.0]));
    }

    async fn turn_away(ledger: &Ledger, hour: i64, number: u128, client: &str, error: &str) {
        let mut entry = testing::entry("claude-sonnet-4-5", Outcome::Refused);
        let at = Timestamp::from_millis(hour * HOUR_MS + 1_000);
        entry.call.id = CallId::new(at, number);
        entry.call.who.client = client.into();
        (entry.call.started_at, entry.ended_at) = (at, at);
        (entry.attempts, entry.error) = (vec![], Some(error.into()));
        ledger.settle(&entry).await.expect("written");
    }

    #[tokio::test]
    async fn hours_that_turned_calls_away_are_those_of_their_client_and_a_budget_s_are_nobody_else_s() {
        let dir = tempfile::tempdir().expect("a folder");
        let counted = books(dir.path()).await;
        let reader = HourReader::of(counted.ledger.clone());
        for (number, (hour, client, error)) in [
            (FIRST, "ci", "tidegate_deadline"),
            (FIRST, "ci", "tidegate_emergency"),
            (FIRST + 1, "web", "tidegate_budget_reached"),
            (FIRST + 2, "ci", "tidegate_bad_request"),
        ]
        .into_iter()
        .enumerate()
        {
            turn_away(&counted.ledger, hour, number as u128, client, error).await;
        }
        let shut = |refused: &Refused, spender, name: Option<&str>| {
            let whose = Whose { spender, name: name.map(Into::into), way: Way::Gateway };
            refused.of(&whose).into_iter().map(|(hour, shut)| (hour - FIRST, shut)).collect::<Vec<_>>()
        };
        let refused = reader.refused(Timestamp::from_millis((FIRST + 3) * HOUR_MS)).await.expect("read");
        assert_eq!(shut(&refused, Spender::Client, Some("ci")), [(0, Shut::Spent)]);
        assert_eq!(shut(&refused, Spender::Client, Some("web")), [(1, Shut::Spent)]);
        assert_eq!(shut(&refused, Spender::Client, None), [(0, Shut::Spent)]);
        assert_eq!(shut(&refused, Spender::Upstream, Some("anthropic")), [(0, Shut::Spent)]);
        turn_away(&counted.ledger, FIRST + 2, 9, "ci", "tidegate_held").await;
        let later = reader.refused(Timestamp::from_millis((FIRST + 4) * HOUR_MS)).await.expect("read");
        assert_eq!(shut(&later, Spender::Client, Some("ci")), [(0, Shut::Spent), (2, Shut::Held)], "it came late");
    }

    #[tokio::test]
    async fn of_many_clients_those_that_use_little_are_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let counted = books(dir.path()).await;
        let clients = KINDS_MAX + 20;
        for client in 0..clients {
            settle(&counted.ledger, FIRST, client as u128, &format!("c{client:03}")).await;
        }
        for more in 0..3 {
            settle(&counted.ledger, FIRST + 1, 1_000 + more, "c060").await;
        }
        let hours = read(&HourReader::of(counted.ledger.clone()), &counted, FIRST + 2).await;
        assert_eq!(hours.kinds.len(), KINDS_MAX + 1);
        assert!(hours.kinds.keys().any(|(client, _)| **client == *"c060"), "it uses the most");
        let sum = hours.sum();
        assert!((sum[0] - ONE * clients as f64).abs() < 1e-9 && (sum[1] - 3.0 * ONE).abs() < 1e-9, "{sum:?}");
    }
}

//! How a window, a budget or a span of spending has filled so far, hour by hour.

use std::iter;
use std::ops::Range;

use domain::admission::{QuotaKey, QuotaLevel, Unit};
use domain::config::Period;
use domain::time::{Calendar, Cycle, Timestamp};
use ledger::{HourUsed, Spender};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::App;
use crate::api::ApiError;
use crate::counting::{self, Counted};
use crate::show;
use crate::view::AmountView;

/// What a forecast is about, by the names that it has there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct CourseQuestion {
    pub window: String,
    pub upstream: Option<String>,
    pub scope: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CourseView {
    /// `usd` or `tokens`.
    pub unit: String,
    pub since: String,
    pub resets_at: String,
    /// In their order, the last one now.
    pub points: Vec<CoursePointView>,
    /// The spans before it by the same clock, the latest first; none where nothing was used, or where calls begin it.
    pub earlier: Vec<EarlierCourseView>,
}

#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct EarlierCourseView {
    pub since: String,
    pub points: Vec<CoursePointView>,
}

/// What was used from the beginning up to a moment.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CoursePointView {
    pub at: String,
    pub used: AmountView,
}

/// Whose hours add up, from when to when.
struct Course {
    spender: Spender,
    name: Option<String>,
    unit: Unit,
    cycle: Option<Cycle>,
    since: Timestamp,
    resets_at: Timestamp,
}

const HOUR_MS: i64 = 3_600_000;
const EARLIER_MOST: usize = 4;

impl App {
    /// # Errors
    /// Nothing of that name counts dollars or tokens, or the ledger can't be read.
    pub(crate) async fn course(&self, question: &CourseQuestion) -> Result<CourseView, ApiError> {
        let now = self.now();
        let (gateway, upstreams) = self.gateway_of(now).await?;
        let counted = Counted { ledger: self.ledger.clone(), catalog: self.prices.in_force(), upstreams };
        let course = match self.spending(question, now) {
            Some(spending) => spending,
            None => {
                let quotas = gateway.quotas();
                let found = quotas.iter().find(|quota| is(quota, question, &counted.upstreams));
                let quota = found.filter(|quota| quota.unit != Unit::Percent).ok_or_else(|| unknown(question))?;
                let spender = counting::spender(&quota.key, &counted.upstreams);
                let (spender, name) = spender.ok_or_else(|| unknown(question))?;
                let name = name.map(|name| name.to_string());
                let QuotaLevel { unit, cycle, since, resets_at, .. } = *quota;
                Course { spender, name, unit, cycle, since, resets_at }
            }
        };
        self.followed(&course, &counted, now).await.map_err(ApiError::machine)
    }

    fn spending(&self, question: &CourseQuestion, now: Timestamp) -> Option<Course> {
        let (spender, cycle) = match (question.window.as_str(), &question.upstream) {
            ("spend day", None) => (Spender::Client, self.calendar.cycle(Period::Day)),
            ("spend month", None) => (Spender::Client, self.calendar.cycle(Period::Month)),
            // The upstream's month is UTC's.
            ("tier", Some(_)) => (Spender::Upstream, Calendar::UTC.cycle(Period::Month)),
            _ => return None,
        };
        let (name, since, resets_at) = (question.upstream.clone(), cycle.start(now), cycle.end(now));
        Some(Course { spender, name, unit: Unit::Usd, cycle: Some(cycle), since, resets_at })
    }

    async fn followed(&self, course: &Course, counted: &Counted, now: Timestamp) -> Result<CourseView, ledger::Error> {
        let Course { spender, name, unit, cycle, since, resets_at } = course;
        let dearest = counted.dearest(now);
        let spans = cycle.map_or(vec![], |cycle| earlier(cycle, *since));
        let first = spans.last().map_or(*since, |(since, _)| *since);
        let hours = self
            .ledger
            .hours((*spender, name.as_deref()), ledger::Way::Gateway, hour_of(first), hour_of(now) + 1)
            .await?;
        let hours: Vec<(i64, i64)> = hours
            .iter()
            .map(|HourUsed { hour, used, .. }| (*hour, counting::amount(used, *unit, dearest.as_ref())))
            .collect();
        let points = |hours: &[(i64, i64)], since: Timestamp, until: Timestamp| {
            let points = sums(hours, since, until).into_iter();
            points.map(|(at, used)| CoursePointView { at: at.to_string(), used: show::amount(*unit, used) }).collect()
        };
        let earlier = spans.into_iter().filter_map(|(since, until)| {
            let hours = Some(within(&hours, hour_of(since)..hour_of(until))).filter(|hours| !hours.is_empty())?;
            Some(EarlierCourseView { since: since.to_string(), points: points(hours, since, until) })
        });
        Ok(CourseView {
            unit: unit.name().to_owned(),
            since: since.to_string(),
            resets_at: resets_at.to_string(),
            earlier: earlier.collect(),
            points: points(within(&hours, hour_of(*since)..i64::MAX), *since, now),
        })
    }
}

/// The spans before one, the latest first.
fn earlier(cycle: Cycle, since: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let before = |end: &Timestamp| cycle.start(Timestamp::from_millis(end.as_millis() - 1));
    let starts: Vec<Timestamp> =
        iter::successors(Some(since), |end| Some(before(end))).take(EARLIER_MOST + 1).collect();
    starts.windows(2).map(|pair| (pair[1], pair[0])).collect()
}

fn is(quota: &QuotaLevel, question: &CourseQuestion, upstreams: &[String]) -> bool {
    match &quota.key {
        QuotaKey::Window { account, name } => {
            *question.window == **name && question.upstream.as_ref() == upstreams.get(account.index())
        }
        QuotaKey::Budget { scope, period } => {
            question.window == period.name() && question.scope.as_deref() == Some(&*show::scope_name(scope))
        }
    }
}

/// Of hours in their order those in a range.
fn within(hours: &[(i64, i64)], range: Range<i64>) -> &[(i64, i64)] {
    let before = |end: i64| hours.partition_point(|(hour, _)| *hour < end);
    hours.get(before(range.start)..before(range.end)).unwrap_or_default()
}

fn hour_of(moment: Timestamp) -> i64 {
    moment.as_millis().div_euclid(HOUR_MS)
}

/// From what was used in each hour to what was used up to the end of each; the one that goes on ends now.
fn sums(hours: &[(i64, i64)], since: Timestamp, now: Timestamp) -> Vec<(Timestamp, i64)> {
    let mut points = vec![(since, 0)];
    let mut sum: i64 = 0;
    for hours in hours.chunk_by(|one, next| one.0 == next.0) {
        let Some((hour, _)) = hours.first() else { continue };
        let (start, end) = (Timestamp::from_millis(hour * HOUR_MS), Timestamp::from_millis((hour + 1) * HOUR_MS));
        if start > since && points.last().is_some_and(|(at, _)| *at < start) {
            points.push((start, sum));
        }
        sum = hours.iter().fold(sum, |sum, (_, used)| sum.saturating_add(*used));
        points.push((end.min(now), sum));
    }
    if points.last().is_some_and(|(at, _)| *at < now) {
        points.push((now, sum));
    }
    points
}

fn unknown(question: &CourseQuestion) -> ApiError {
    let CourseQuestion { window, upstream, scope } = question;
    let whose = upstream.as_ref().or(scope.as_ref()).map(|whose| format!("{whose} ")).unwrap_or_default();
    ApiError::absent(format!(
        "nothing counts dollars or tokens by the name {whose}{window}: `tidegate forecast` lists what does"
    ))
}

#[cfg(test)]
mod tests {
    use domain::time::{Every, Tz};

    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    #[test]
    fn quiet_hours_are_level_and_the_hour_that_goes_on_ends_now() {
        let hours = [(10, 3), (10, 2), (13, 4)];
        let found = sums(&hours, at(9 * 60), at(13 * 60 + 30));
        let expected = [(9 * 60, 0), (10 * 60, 0), (11 * 60, 5), (13 * 60, 5), (13 * 60 + 30, 9)];
        assert_eq!(found, expected.map(|(minutes, used)| (at(minutes), used)));
    }

    #[test]
    fn each_span_has_its_own_hours() {
        let hours = [(1, 1), (2, 2), (2, 5), (4, 4)];
        assert_eq!(within(&hours, 2..4), [(2, 2), (2, 5)]);
        assert_eq!(within(&hours, 4..i64::MAX), [(4, 4)]);
        assert_eq!(within(&hours, 5..i64::MAX), []);
    }

    #[test]
    fn the_spans_before_follow_the_same_clock() {
        let at = |text: &str| Timestamp::parse(text).expect("a moment");
        let berlin = Calendar::in_zone(Tz::Europe__Berlin);
        // Of 28, 31, 31 and 30 days.
        let billing = Cycle { every: Every::Month(15), ..Calendar::UTC.cycle(Period::Month) };
        for (cycle, since, before) in [
            (billing, "2026-03-15T00:00:00Z", ["2026-02-15", "2026-01-15", "2025-12-15", "2025-11-15"]),
            (
                Calendar::UTC.cycle(Period::Month),
                "2026-03-01T00:00:00Z",
                ["2026-02-01", "2026-01-01", "2025-12-01", "2025-11-01"],
            ),
        ] {
            let found = earlier(cycle, at(since));
            let expected: Vec<_> = before.map(|day| at(&format!("{day}T00:00:00Z"))).into();
            assert_eq!(found.iter().map(|(start, _)| *start).collect::<Vec<_>>(), expected);
            assert_eq!(found[0].1, at(since));
        }
        // The clocks went forward on the 29th.
        let found = earlier(berlin.cycle(Period::Day), at("2026-03-29T22:00:00Z"));
        assert_eq!(
            found[..2],
            [
                (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z")),
                (at("2026-03-27T23:00:00Z"), at("2026-03-28T23:00:00Z")),
            ]
        );
    }

    #[test]
    fn without_calls_the_course_is_a_level_line() {
        assert_eq!(sums(&[], at(0), at(90)), [(at(0), 0), (at(90), 0)]);
        assert_eq!(sums(&[], at(90), at(90)), [(at(90), 0)]);
    }
}

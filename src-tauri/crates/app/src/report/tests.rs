//! What a report says of a ledger that was made by hand.

use domain::call::{CallId, Outcome};
use domain::time::Tz;
use ledger::{Durability, Options};

use super::*;
use crate::clock;
use crate::{data, settings, testing};

const BERLIN: Calendar = Calendar::in_zone(Tz::Europe__Berlin);

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

/// Reports on books in a folder that goes with it.
pub(crate) struct Desk {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) reporter: Reporter,
    calls: std::cell::Cell<u128>,
}

impl Desk {
    pub(crate) async fn open(text: &str) -> Desk {
        let dir = tempfile::tempdir().expect("a folder");
        let catalog = Arc::new(data::catalog().expect("prices"));
        let options = Options { durability: Durability::Process, catalog: catalog.clone(), calendar: BERLIN };
        let ledger = Arc::new(Ledger::open(dir.path(), options).await.expect("it opens").0);
        let text = format!("[gateway]\ntimezone = \"Europe/Berlin\"\n{text}");
        let settings = settings::parse(&text, &data::schemes().expect("tiers")).expect("legal");
        let alerts = Arc::new(Alerts::told_by(dir.path(), &settings, |_| true, clock::now()));
        let scores = Arc::new(Scores::of(dir.path(), ledger.clone(), alerts.clone()));
        let reporter = Reporter { ledger, calendar: BERLIN, catalog: InForce::from(catalog), scores, alerts };
        Desk { dir, reporter, calls: std::cell::Cell::default() }
    }

    /// A call that cost so many thousandths of a dollar.
    pub(crate) async fn settle(&self, when: &str, model: &str, project: Option<&str>, millis: i64) {
        self.calls.set(self.calls.get() + 1);
        let mut entry = testing::entry(model, Outcome::Completed);
        entry.call.id = CallId::new(at(when), self.calls.get());
        (entry.call.started_at, entry.ended_at) = (at(when), at(when));
        entry.attempts.iter_mut().for_each(|attempt| attempt.opened_at = at(when));
        entry.call.who.project = project.map(Into::into);
        entry.cost = Some(Usd::from_nanos(millis * 1_000_000));
        self.reporter.ledger.settle(&entry).await.expect("written");
    }
}

fn asked(period: &str, from: Option<&str>, last: bool, now: &str) -> String {
    let question = ReportQuestion { period: Some(period.to_owned()), from: from.map(str::to_owned), last };
    match Stretch::asked(&question, at(now), BERLIN) {
        Ok(stretch) => format!("{} {} {}", stretch.from, stretch.to, stretch.until),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_week_is_from_monday_to_monday_on_the_clock_of_the_wall_and_a_month_from_the_first() {
    let now = "2026-04-01T10:00:00Z";
    for (period, from, last, expected) in [
        ("week", None, false, "2026-03-29T22:00:00.000Z 2026-04-05T22:00:00.000Z 2026-04-01T10:00:00.000Z"),
        // Summer time began on its Sunday: 167 hours.
        ("week", None, true, "2026-03-22T23:00:00.000Z 2026-03-29T22:00:00.000Z 2026-03-29T22:00:00.000Z"),
        (
            "week",
            Some("2026-03-24"),
            false,
            "2026-03-22T23:00:00.000Z 2026-03-29T22:00:00.000Z 2026-03-29T22:00:00.000Z",
        ),
        ("month", None, true, "2026-02-28T23:00:00.000Z 2026-03-31T22:00:00.000Z 2026-03-31T22:00:00.000Z"),
        ("month", Some("2026-02"), false, "2026-01-31T23:00:00.000Z 2026-02-28T23:00:00.000Z 2026-02-28T23:00:00.000Z"),
        ("week", Some("2026-04-20"), false, "2026-04-19T22:00:00.000Z has not come yet"),
        (
            "week",
            Some("soon"),
            false,
            "\"soon\" is neither a day (2026-11-24) nor a month (2026-11) nor a moment (2026-11-24T18:00:00Z)",
        ),
        ("week", Some("2026-03-24"), true, "--from and --last each name a period: leave one out"),
        ("year", None, false, "there is no report of a year: week or month"),
    ] {
        assert_eq!(asked(period, from, last, now), expected, "{period} {from:?} {last}");
    }
}

#[tokio::test]
async fn a_week_is_told_with_its_parts_what_was_expected_and_the_one_before() {
    let desk = Desk::open("").await;
    // Three whole weeks before, of $1, $3 and $2; the first begins with the first day.
    for (when, millis) in
        [("2026-10-26T10:00:00Z", 1_000), ("2026-11-04T10:00:00Z", 3_000), ("2026-11-11T10:00:00Z", 2_000)]
    {
        desk.settle(when, "claude-sonnet-4-5", Some("shop"), millis).await;
    }
    desk.settle("2026-11-17T10:00:00Z", "claude-sonnet-4-5", Some("shop"), 3_000).await;
    desk.settle("2026-11-22T22:59:59Z", "claude-haiku-4-5", None, 1_000).await;
    // Already Monday in Berlin.
    desk.settle("2026-11-22T23:00:00Z", "claude-haiku-4-5", None, 500).await;
    let now = at("2026-11-25T12:00:00Z");
    let report = desk.reporter.report(Stretch::last(Period::Week, now, BERLIN), &[], now).await.expect("a report");
    let usd = |usd: &Option<String>| usd.clone().unwrap_or_default();
    assert_eq!((report.calls, &*usd(&report.used_usd)), (2, "4.000000000"));
    assert_eq!(
        (report.expected_of, &*usd(&report.expected_usd), &*usd(&report.gap_usd)),
        (3, "2.000000000", "2.000000000")
    );
    assert_eq!((&*usd(&report.before_usd), report.change), ("2.000000000", Some(1.0)));
    let models: Vec<_> = report.models.iter().map(|part| (&*part.name, part.share, part.change)).collect();
    assert_eq!(models, [("claude-sonnet-4-5", 0.75, Some(0.5)), ("claude-haiku-4-5", 0.25, None)]);
    let projects: Vec<_> = report.projects.iter().map(|part| (&*part.name, usd(&part.cost_usd))).collect();
    assert_eq!(projects, [("shop", "3.000000000".to_owned()), ("", "1.000000000".to_owned())]);
    assert_eq!((report.success.days, report.success.rate_limit_errors_seen), (7, 0));
    assert_eq!(
        headline(&report),
        "Week of Mon 2026-11-16 (Europe/Berlin): $4.00 used in 2 calls, $2.00 expected, $2.00 more"
    );
    assert!(remarks(&report).contains(&"$2.00 in the week before: 100 % more".to_owned()), "{:?}", remarks(&report));
    // What runs is compared with the same part of those before it.
    let running = Stretch::around(Period::Week, now, now, BERLIN);
    let so_far = desk.reporter.report(running, &[], now).await.expect("a report");
    assert_eq!((&*usd(&so_far.used_usd), &*usd(&so_far.before_usd)), ("0.500000000", "3.000000000"));
    assert!(headline(&so_far).starts_with("Week of Mon 2026-11-23 so far (Europe/Berlin): $0.50 used in 1 call, "));
}

#[tokio::test]
async fn a_month_says_why_and_prompt_caches_save_what_the_same_tokens_would_have_cost() {
    let desk = Desk::open("").await;
    for day in 1..=3 {
        desk.settle(&format!("2026-10-0{day}T10:00:00Z"), "claude-sonnet-4-5", None, 2_000).await;
    }
    let now = at("2026-12-24T12:00:00Z");
    let question = ReportQuestion { period: Some("month".to_owned()), from: Some("2026-10".to_owned()), last: false };
    let stretch = Stretch::asked(&question, now, BERLIN).expect("a month");
    let report = desk.reporter.report(stretch, &[], now).await.expect("a report");
    // 90 tokens of each call are read at $0.30 a million, and not at $3.
    assert_eq!(report.prompt_caches_saved_usd, "0.000729000");
    assert_eq!((report.sessions.len(), report.sessions[0].calls), (1, 3));
    assert!(!report.reasons.is_empty() && report.reasons.len() <= REASONS_MAX, "{:?}", report.reasons);
    assert_eq!((report.before_usd, report.expected_usd, report.success.days), (None, None, 31));
    assert_eq!(report.forecasts.len(), 0);
}

#[tokio::test]
async fn what_was_told_in_a_week_is_counted_by_rule_and_reports_are_not() {
    let desk = Desk::open("").await;
    let now = clock::now();
    let happened = |scope: &str| {
        let reading = domain::alert::Reading::of(scope, "", domain::alert::Figure::count(60));
        desk.reporter.alerts.happened(domain::alert::Sign::QuotaBack, &reading, now);
    };
    happened("upstream:a");
    happened("upstream:b");
    desk.reporter.alerts.report(crate::alerts::Report { of: "week", ..Default::default() }, true, now);
    let stretch =
        Stretch::around(Period::Week, now.timestamp, now.timestamp.after(std::time::Duration::from_secs(1)), BERLIN);
    let report = desk.reporter.report(stretch, &[], now.timestamp).await.expect("a report");
    let told = FiredView { rule: "quota_back".to_owned(), severity: "info".to_owned(), count: 2 };
    assert_eq!(report.alerts, [told]);
}

#[test]
fn a_digest_says_all_that_a_report_does_and_cuts_endless_names() {
    let part = |number: usize| PartView {
        name: format!("{number}-{}", "m".repeat(200)),
        calls: 1,
        cost_usd: Some("1.000000000".to_owned()),
        share: 0.1,
        ..PartView::default()
    };
    let parts: Vec<PartView> = (0..9).map(part).collect();
    let report = ReportView {
        period: "month".to_owned(),
        from: "2026-10-31T23:00:00.000Z".to_owned(),
        to: "2026-11-30T23:00:00.000Z".to_owned(),
        until: "2026-11-30T23:00:00.000Z".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        calls: 9,
        used_usd: Some("9.000000000".to_owned()),
        models: parts.clone(),
        clients: parts.clone(),
        projects: parts,
        scores: vec![BandScoreView { name: "anthropic week".to_owned(), hits: 7, forecasts: 8 }],
        prompt_caches_saved_usd: "-0.500000000".to_owned(),
        ..ReportView::default()
    };
    let message = digest(&report);
    assert!(
        message.starts_with("Month of 2026-11 (Europe/Berlin): $9.00 used in 9 calls. By model: 0-mmm"),
        "{message}"
    );
    assert!(message.chars().count() < 1_500 && message.contains(" and 6 others"), "{message}");
    let cut = format!("{}…", "m".repeat(61));
    assert!(message.contains(&cut) && message.contains("80 % band hit 7 of 8"), "{message}");
    let remarks = remarks(&report);
    assert!(remarks.contains(&"80 % band hit 7 of 8 (anthropic week)".to_owned()), "{remarks:?}");
    assert!(remarks.contains(&"prompt caches cost $0.50 more than they saved".to_owned()), "{remarks:?}");
}

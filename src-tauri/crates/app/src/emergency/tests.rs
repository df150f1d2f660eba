//! The emergency over time and restarts: what is told, what is kept, what is reported.

use domain::admission::Admission;
use domain::call::{Attempt, Attribution, CacheUse, Call, CallId, Class, Entry, Outcome, Source};
use domain::catalog::Catalog;
use domain::config::{Pacing, Rules};
use domain::usage::Usage;
use ledger::{Durability, Options};

use super::*;
use crate::data;
use crate::settings;

struct World {
    dir: tempfile::TempDir,
    ledger: Arc<Ledger>,
    crisis: Crisis,
}

const SETTINGS: &str = "[emergency]\ncontacts = [\"ops: +1 555 0100\"]\nenter_spend_usd = 20\n\
    [[upstream]]\nname = \"anthropic\"\nkind = \"anthropic\"\nbase_url = \"https://api.anthropic.com\"\nkey = \"env:X\"";

fn at(seconds: u64) -> Now {
    let timestamp = Timestamp::from_millis(1_790_000_000_000).after(Duration::from_secs(seconds));
    Now { instant: Instant::from_nanos(seconds * 1_000_000_000), timestamp }
}

fn crisis(dir: &Path, ledger: &Arc<Ledger>) -> Crisis {
    let settings = settings::parse(SETTINGS, &data::schemes().expect("tiers")).expect("legal");
    let alerts = Alerts::told_by(dir, &settings, |_| false, at(0));
    Crisis::open(dir, &settings, ledger.clone(), Arc::new(alerts))
}

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let options =
            Options { durability: Durability::Process, catalog: Arc::new(Catalog::default()), calendar: Calendar::UTC };
        let (ledger, _) = Ledger::open(dir.path(), options).await.expect("a ledger");
        let ledger = Arc::new(ledger);
        let crisis = crisis(dir.path(), &ledger);
        World { dir, ledger, crisis }
    }

    fn restart(&mut self) {
        self.crisis = crisis(self.dir.path(), &self.ledger);
    }

    fn see(&self, signs: Signs, seconds: u64) {
        let week = "the window \"week\" of upstream \"anthropic\"".to_owned();
        let seen = Seen { signs, week, breaker: "upstream \"anthropic\" fails calls of sonnet-4".to_owned() };
        self.crisis.judge_by(&mut self.crisis.lock(), &seen, at(seconds));
    }

    fn week(&self, permille: u32, seconds: u64) {
        self.see(Signs { week_permille: permille, ..Signs::default() }, seconds);
    }

    async fn view(&self, seconds: u64) -> EmergencyView {
        self.crisis.view(at(seconds).timestamp).await
    }

    /// `scope@seconds` of each alert, with `-seconds` where it is resolved; the earliest first.
    fn told(&self) -> Vec<String> {
        let seconds = |text: &str| Timestamp::parse(text).expect("a time").since(at(0).timestamp).as_secs();
        let line = |alert: &crate::view::AlertView| {
            let end = alert.resolved_at.as_deref().map(|at| format!("-{}", seconds(at))).unwrap_or_default();
            format!("{}@{}{end}", alert.scope, seconds(&alert.crossed_at))
        };
        self.crisis.alerts.latest(99).iter().rev().map(line).collect()
    }

    async fn spend(&self, seconds: u64, dollars: &str) {
        self.spend_as_told_by(Source::Gateway, seconds, dollars).await;
    }

    async fn spend_as_told_by(&self, source: Source, seconds: u64, dollars: &str) {
        let started_at = at(seconds).timestamp;
        let call = Call {
            id: CallId::new(started_at, seconds.into()),
            started_at,
            class: Class::Critical,
            who: Attribution { client: "ci".into(), ..Attribution::default() },
            model: "m".into(),
            max_tokens: None,
            stream: false,
            body_bytes: 1,
        };
        let attempt = Attempt {
            number: 1,
            upstream: "anthropic".into(),
            opened_at: started_at,
            status: Some(200),
            request_id: None,
            error: None,
            maybe_billed: false,
        };
        let entry = Entry {
            call,
            ended_at: started_at,
            attempts: vec![attempt],
            status: 200,
            outcome: Outcome::Completed,
            usage: Usage::default(),
            cost: Some(dollars.parse().expect("an amount")),
            price_id: Some("p".into()),
            estimated: false,
            source,
            waited_ms: 0,
            waited_for: None,
            first_byte_ms: None,
            total_ms: 0,
            cache: CacheUse::Off,
            saved: None,
            error: None,
            account: None,
        };
        self.ledger.settle(&entry).await.expect("written");
    }
}

#[tokio::test]
async fn a_full_week_is_told_once_over_restarts_and_its_end_is_reported() {
    let mut world = World::new().await;
    world.spend(5, "1.5").await;
    world.week(940, 10);
    assert!(!world.view(10).await.active);
    world.week(953, 20);
    let view = world.view(25).await;
    assert_eq!((view.active, view.since.as_deref()), (true, Some(&*at(20).timestamp.to_string())));
    assert_eq!(view.reason.as_deref(), Some("95.3 % of the window \"week\" of upstream \"anthropic\" is used"));
    assert_eq!((view.causes, view.contacts), (vec!["week".to_owned()], vec!["ops: +1 555 0100".to_owned()]));
    assert_eq!(view.pages[0], "https://status.claude.com");
    world.restart();
    world.week(960, 30);
    world.spend(40, "0.25").await;
    world.week(0, 50);
    assert!(world.view(60).await.active, "a minute is not over");
    world.week(0, 110);
    world.crisis.report().await;
    assert_eq!(world.told(), ["week@20-110"]);
    let view = world.view(120).await;
    assert_eq!((view.active, view.since, view.reason, view.causes), (false, None, None, vec![]));
    let last = view.last.expect("a report");
    assert_eq!((last.length_s, &*last.spent_usd, &*last.saved_usd), (90, "0.250000000", "0.000000000"));
    assert!(last.reason.contains("is used"), "{last:?}");
    world.restart();
    assert_eq!(world.view(130).await.last, Some(last));
}

#[tokio::test]
async fn a_call_that_ran_on_at_its_end_is_in_its_report_once_it_has_ended() {
    let mut world = World::new().await;
    world.crisis.enter_by_hand(None, at(0)).expect("it is kept");
    world.spend(5, "1").await;
    world.crisis.leave_by_hand(at(10)).expect("it is kept");
    world.crisis.report().await;
    let spent = async |world: &World| world.view(20).await.last.expect("a report").spent_usd;
    assert_eq!(spent(&world).await, "1.000000000");
    world.spend(6, "2").await;
    world.spend(11, "4").await;
    world.crisis.report().await;
    assert_eq!(spent(&world).await, "3.000000000");
    world.spend(7, "8").await;
    world.crisis.report().await;
    world.restart();
    assert_eq!(spent(&world).await, "3.000000000", "no call ran on any more");
}

#[tokio::test]
async fn one_entered_by_hand_survives_a_restart_and_the_signs() {
    let mut world = World::new().await;
    world.crisis.enter_by_hand(Some(" launch day "), at(0)).expect("it is kept");
    world.crisis.enter_by_hand(None, at(1)).expect("it is kept");
    world.restart();
    world.week(0, 100);
    world.week(0, 1_000);
    let view = world.view(1_000).await;
    assert_eq!((view.active, view.causes), (true, vec!["hand".to_owned()]));
    assert_eq!(view.since, Some(at(0).timestamp.to_string()));
    world.crisis.leave_by_hand(at(2_000)).expect("it is kept");
    world.crisis.report().await;
    world.restart();
    let view = world.view(2_001).await;
    assert_eq!((view.active, view.last.expect("a report").length_s), (false, 2_000));
    assert_eq!(world.told(), ["hand@0-2000"]);
}

#[tokio::test]
async fn each_cause_is_told_for_itself_and_one_left_by_hand_is_told_no_more() {
    let mut world = World::new().await;
    let open = |seconds| Signs { breaker_open: Some(Duration::from_secs(seconds)), ..Signs::default() };
    world.see(open(119), 0);
    world.see(open(120), 1);
    world.see(Signs { spent_today: "21".parse().expect("an amount"), ..open(130) }, 11);
    let view = world.view(12).await;
    assert_eq!(view.causes, ["breaker", "spend"]);
    assert_eq!(
        view.reason.as_deref(),
        Some("upstream \"anthropic\" fails calls of sonnet-4 for 130 s; 21.000000000 dollars were spent today")
    );
    world.crisis.leave_by_hand(at(20)).expect("it is kept");
    world.see(open(140), 21);
    world.restart();
    world.see(open(150), 31);
    assert!(!world.view(31).await.active);
    assert_eq!(world.told(), ["breaker@1-20", "spend@11-20"]);
    let values: Vec<_> =
        world.crisis.alerts.latest(9).into_iter().rev().map(|alert| (alert.threshold, alert.value)).collect();
    assert_eq!(values[0], ("120".to_owned(), "120".to_owned()));
    assert_eq!(values[1], ("20.000000000".to_owned(), "21.000000000".to_owned()));
}

#[tokio::test]
async fn the_first_fallback_of_an_outage_is_told_and_the_next_are_not() {
    let world = World::new().await;
    for why in ["overloaded_error", "tidegate_breaker_open"] {
        world.crisis.falls_back("anthropic", "second", why);
    }
    world.crisis.falls_back("anthropic", "static", "tidegate_emergency");
    world.crisis.turns_away(Some("anthropic"), "tidegate_breaker_open");
    world.crisis.turns_away(None, "tidegate_deadline");
    let alerts = world.crisis.alerts.latest(9);
    let told: Vec<_> = alerts.iter().rev().map(|alert| (&*alert.rule, &*alert.scope, &*alert.value)).collect();
    assert_eq!(
        told,
        [
            ("fallback", "upstream:anthropic", "overloaded_error"),
            ("breaker", "upstream:anthropic", "tidegate_breaker_open")
        ]
    );
}

#[tokio::test]
async fn damage_to_what_is_kept_begins_anew() {
    let mut world = World::new().await;
    world.week(999, 0);
    std::fs::write(world.dir.path().join(FILE), "{").expect("written");
    world.restart();
    assert!(!world.view(1).await.active);
    world.week(999, 2);
    assert!(world.view(2).await.active);
}

fn unlimited() -> Pacing {
    Pacing {
        presumed: None,
        written: vec![],
        guard_requests_permille: 960,
        guard_tokens_permille: 930,
        retry_after_buffer: Duration::ZERO,
        windows: vec![],
    }
}

#[test]
fn a_breaker_that_waits_for_a_call_to_find_out_is_no_sign_and_an_open_one_is() {
    let watched = Watched { gateway: Weak::new(), upstreams: vec!["anthropic".to_owned()] };
    let account = Admission::new(&Rules::default()).add_account("anthropic".into(), unlimited());
    let breaker = |state, group: &str, since: u64| BreakerView {
        account,
        group: group.into(),
        state,
        until: None,
        since: Some(at(since).instant),
    };
    let half_open = breaker(BreakerState::HalfOpen, "opus-4", 0);
    let seen = |breakers: &[BreakerView]| watched.seen(&[], breakers, Usd::ZERO, at(1_000));
    assert_eq!(seen(std::slice::from_ref(&half_open)).signs, Signs::default());
    let both = seen(&[half_open, breaker(BreakerState::Open, "sonnet-4", 700)]);
    assert_eq!(both.signs.breaker_open, Some(Duration::from_secs(300)));
    assert_eq!(both.breaker, "upstream \"anthropic\" fails calls of sonnet-4");
}

#[tokio::test]
async fn what_logs_and_telemetry_tell_of_is_no_sign() {
    let world = World::new().await;
    for source in [Source::Log, Source::Otel, Source::Bundle] {
        world.spend_as_told_by(source, 5, "30").await;
    }
    world.crisis.ask_what_was_spent(at(10).timestamp).await;
    assert_eq!(world.crisis.lock().spent_today, Usd::ZERO);
    world.spend(6, "21").await;
    world.crisis.ask_what_was_spent(at(10).timestamp).await;
    assert_eq!(world.crisis.lock().spent_today.to_string(), "21.000000000");
}

#[tokio::test]
async fn what_an_earlier_process_told_is_resolved_at_the_start_where_its_cause_is_gone() {
    let mut world = World::new().await;
    world.week(999, 0);
    world.crisis.enter_by_hand(None, at(1)).expect("it is kept");
    world.restart();
    assert_eq!(world.told(), ["week@0", "hand@1"], "both go on");
    std::fs::remove_file(world.dir.path().join(FILE)).expect("it was kept");
    world.restart();
    assert!(world.crisis.alerts.latest(9).iter().all(|alert| alert.resolved_at.is_some()), "{:?}", world.told());
    world.week(999, 9);
    assert_eq!(world.told().pop().as_deref(), Some("week@9"), "a new one is told anew");
}

#[tokio::test]
async fn an_upstream_is_back_five_minutes_after_its_last_fallback_and_with_its_breaker_closed() {
    let world = World::new().await;
    world.crisis.falls_back("anthropic", "second", "overloaded_error");
    world.crisis.turns_away(Some("other"), "tidegate_breaker_open");
    let told = clock::now();
    let later = |seconds| {
        let time = Duration::from_secs(seconds);
        Now { instant: told.instant.after(time), timestamp: told.timestamp.after(time) }
    };
    let open = || [Sign::Fallback, Sign::Breaker].map(|rule| world.crisis.alerts.open_scopes(rule));
    let (anthropic, other) = (vec!["upstream:anthropic".to_owned()], vec!["upstream:other".to_owned()]);
    world.crisis.resolve_all_but(&[], later(299));
    assert_eq!(open(), [anthropic.clone(), other.clone()]);
    world.crisis.resolve_all_but(&other, later(300));
    assert_eq!(open(), [vec![], other.clone()], "one that still fails is not back");
    world.crisis.resolve_all_but(&[], later(301));
    assert_eq!(open().concat(), Vec::<String>::new());
    world.crisis.falls_back("anthropic", "second", "overloaded_error");
    assert_eq!(open(), [anthropic, vec![]], "another outage is told anew");
}

#[tokio::test]
async fn each_fallback_puts_off_the_word_that_its_upstream_is_back() {
    let world = World::new().await;
    let scope = "upstream:anthropic".to_owned();
    world.crisis.falls_back("anthropic", "second", "overloaded_error");
    let earlier = clock::now().instant;
    world.crisis.lock().failing.insert(scope.clone(), Instant::default());
    world.crisis.falls_back("anthropic", "second", "overloaded_error");
    assert!(world.crisis.lock().failing[&scope] >= earlier);
}

#[tokio::test]
async fn what_cannot_be_kept_is_said_in_one_sentence_and_holds_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = settings::parse(SETTINGS, &data::schemes().expect("tiers")).expect("legal");
    let app = App::open(dir.path(), &settings).await.expect("it opens");
    std::fs::create_dir(dir.path().join(FILE)).expect("a folder in its place");
    for on in [true, false] {
        let said = if on { app.enter_emergency(None).await } else { app.leave_emergency().await };
        let said = said.expect_err("it is not kept").to_string();
        let sentence = "it is so until this program ends, and forgotten then: ";
        assert!(said.starts_with(sentence) && said.contains("emergency.json can't be written"), "{said}");
        assert_eq!((said.lines().count(), app.emergency().await.active), (1, on));
    }
}

#[tokio::test]
async fn damaged_files_are_set_aside_and_the_app_starts() {
    let settings = settings::parse(SETTINGS, &data::schemes().expect("tiers")).expect("legal");
    for text in ["", "{\"since\":7", "[1,2]", "\u{0}\u{0}\u{0}"] {
        let dir = tempfile::tempdir().expect("a folder");
        let files = [FILE, "alerts.json", "success.json"].map(|name| dir.path().join(name));
        for file in &files {
            std::fs::write(file, text).expect("written");
        }
        let app = App::open(dir.path(), &settings).await.expect("it opens");
        let status = app.status().await.expect("a status");
        assert!(!status.emergency.active && status.alerts.is_empty() && status.success.days == 0, "{text}");
        for file in &files {
            assert_eq!(std::fs::read_to_string(file.with_extension("json.damaged")).expect("it is kept"), text);
        }
    }
}

//! Settings as people write them, right and wrong.

use domain::config::{Amount, Period, Scope, Span};
use domain::time::{Cycle, Every, Tz, Weekday};

use super::kinds::duration;
use super::*;

const CONTRACT: &str = include_str!("example.toml");

fn schemes() -> Vec<Arc<Scheme>> {
    crate::data::schemes().expect("the tier table")
}

fn read(text: &str) -> Result<Settings, Vec<Wrong>> {
    parse(text, &schemes())
}

#[test]
fn the_documented_file_is_taken_whole() {
    let settings = read(CONTRACT).expect("the documented file");
    let upstream = &settings.upstreams[0];
    assert_eq!(upstream.base_url.as_ref().map(BaseUrl::as_str), Some("https://api.anthropic.com"));
    assert_eq!(upstream.key.as_ref().map(ToString::to_string).as_deref(), Some("keychain:anthropic"));
    let (scheme, tier) = upstream.pacing.presumed.as_ref().expect("a scheme");
    assert_eq!((&*scheme.name, &*scheme.tiers[*tier].name), ("2025-09", "1"));
    let limits = &upstream.pacing.written[0];
    assert_eq!((limits.per_minute.requests, limits.concurrency), (Some(50), None));
    assert_eq!((upstream.pacing.guard_requests_permille, upstream.pacing.guard_tokens_permille), (960, 930));
    let currency = settings.currency.expect("a currency");
    assert_eq!(
        (&*currency.code, currency.rates.values().map(|rate| &**rate).collect::<Vec<_>>()),
        ("EUR", vec!["0.86"])
    );
    assert_eq!(settings.cache, Some(Terms::default()));
    let week = &upstream.pacing.windows[0];
    let monday = Cycle::new(Every::Week(Weekday::Mon), 0, Tz::UTC);
    assert_eq!((&*week.name, week.limit, week.span), ("week", Amount::Usd(usd("250")), Span::Until(monday)));
    assert_eq!(upstream.admin_key, Some(KeyRef::Keychain("anthropic-admin".into())));
    let ci = Budget { scope: Scope::Client("ci".into()), period: Period::Day, limit: usd("20"), hard: false };
    assert_eq!((settings.budgets, settings.emergency.enter_week_permille), (vec![ci], 950));
    let guard = settings.background.expect("a guard");
    assert_eq!((guard.hours.from, guard.hours.to, guard.share_permille), (480, 1_080, 300));
    assert_eq!(guard.hours.days, [true, true, true, true, true, false, false]);
}

#[test]
fn rules_are_the_shipped_ones_with_the_settings_figures_and_then_the_users_own() {
    use domain::alert::{Cooldown, Figure, Severity};
    let figure = |text: &str| text.parse::<Figure>().expect("a figure");
    let of = |settings: &Settings, name: &str| {
        let rule = settings.alerts.rules.iter().find(|rule| *rule.name == *name).cloned();
        rule.map(|rule| (rule.thresholds.iter().map(|threshold| threshold.at).collect::<Vec<_>>(), rule))
    };
    let documented = read(CONTRACT).expect("the documented file");
    let (thresholds, own) = of(&documented, "spend.day.project:shop").expect("the user's own");
    assert_eq!((thresholds, own.cooldown), (vec![figure("20"), figure("40")], Cooldown::Window));
    assert_eq!((&*own.channels[0], own.channels.len(), own.thresholds[1].severity), ("ops", 1, Severity::Warning));
    let channels: Vec<String> =
        of(&documented, "window").expect("shipped").1.channels.iter().map(ToString::to_string).collect();
    assert_eq!(channels, ["ops", "desktop"]);
    assert_eq!(documented.channels[0].url, Some(Address::Kept(KeyRef::Keychain("slack-ops".into()))));
    assert!(of(&documented, "week").is_none(), "the emergency tells of it");
    let other = "[gateway]\ntimezone = \"Europe/Berlin\"\n[alerts]\ntoken_warning = 0.5\ndaily_spend_usd = 0\n\
        weekly_emergency = 0.9\nquiet_hours = \"22:00-07:00\"\n[[alert]]\nmetric = \"efficiency\"\nname = \"own\"\n\
        thresholds = [0.1, 0.2]\ncooldown = \"6h\"\nseverity = \"critical\"\nquiet_hours = \"\"";
    let other = read(other).expect("legal");
    assert_eq!(of(&other, "window").expect("shipped").0, [figure("0.5"), figure("0.9")]);
    assert_eq!(of(&other, "week").expect("another mark than the emergency's").0, [figure("0.9")]);
    assert!(of(&other, "daily_spend").is_none(), "0 is off");
    let quiet = of(&other, "budget").expect("shipped").1.quiet.expect("quiet hours");
    assert_eq!((quiet.from, quiet.to, quiet.zone), (1_320, 420, Tz::Europe__Berlin));
    let (thresholds, own) = of(&other, "own").expect("the user's own");
    assert_eq!(thresholds, [figure("0.2"), figure("0.1")], "from the mildest to the worst");
    assert_eq!((own.cooldown, own.quiet), (Cooldown::For(Duration::from_secs(21_600)), None));
}

fn usd(text: &str) -> domain::money::Usd {
    text.parse().expect("money")
}

#[test]
fn an_empty_file_means_the_documented_defaults() {
    let (empty, documented) = (read("").expect("empty"), read(CONTRACT).expect("the documented file"));
    let unwritten = Settings {
        upstreams: vec![],
        budgets: vec![],
        background: None,
        attributes: Arc::default(),
        fallbacks: vec![],
        cache: None,
        alerts: empty.alerts.clone(),
        channels: vec![],
        ..documented
    };
    assert_eq!(Settings { currency: None, ..unwritten }, empty);
    assert_eq!(empty.gateway.listen.to_string(), "127.0.0.1:8432");
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_what_would_be_right() {
    for (text, line, start) in [
        ("[gatway]", 1, "there is no [gatway]; did you mean [gateway]?"),
        (
            "[gateway]\nlisten = \"127.0.0.1:1\"\nmax_wiat = \"1s\"",
            3,
            "[gateway] has no key max_wiat; did you mean max_wait?",
        ),
        ("[otlp]\nzzz = 1", 2, "[otlp] has no key zzz; it knows listen"),
        ("[gateway\n", 1, "this is no TOML: "),
        ("a = 1\na = 2", 2, "this is no TOML: "),
        ("gateway = 1", 1, "gateway is a section: write [gateway]"),
        ("[[gateway]]", 1, "write [gateway], not [[gateway]]"),
        ("[upstream]", 1, "write [[upstream]] with double brackets"),
        (
            "[gateway]\nlisten = \"8432\"",
            2,
            "listen in [gateway] must be an IP address with a port, for example listen = \"127.0.0.1:8432\"",
        ),
        (
            "[gateway]\nlisten = \"0.0.0.0:8432\"",
            2,
            "listen in [gateway] is not this machine's own address: add allow_remote = true",
        ),
        (
            "[gateway]\nmax_wait = 600",
            2,
            "max_wait in [gateway] must be text in quotes, for example max_wait = \"600s\"",
        ),
        ("[gateway]\nmax_wait = \"ten\"", 2, "max_wait in [gateway] must be a duration"),
        ("[gateway]\ntimezone = \"Berlin\"", 2, "timezone in [gateway] names no time zone: \"Berlin\""),
        ("[gateway]\nproxy = \"proxy:80\"", 2, "proxy in [gateway] must be env, none or a URL"),
        ("[gateway]\nallow_remote = \"yes\"", 2, "allow_remote in [gateway] must be true or false"),
        ("[gateway]\nallowed_origins = [\"*\"]", 2, "allowed_origins in [gateway] has \"*\", which is no exact origin"),
        ("[gateway]\nqueue_max = 0", 2, "queue_max in [gateway] must be a whole number from 1"),
        ("[gateway]\nhost_names = [\"a/b\"]", 2, "host_names in [gateway] has \"a/b\""),
        ("[gateway]\nbody_budget = \"1MB\"", 2, "body_budget in [gateway] must hold at least one message"),
        ("[gateway]\nbody_budget = \"big\"", 2, "body_budget in [gateway] must be a size"),
        ("[timeouts]\nconnect = \"0s\"", 2, "connect in [timeouts] must be longer than 0s"),
        ("[retry]\nbudget = 2", 2, "budget in [retry] must be a number from 0 to 1"),
        ("[retry]\noverloaded = 11", 2, "overloaded in [retry] must be at most 10"),
        ("[ledger]\ndurability = \"disk\"", 2, "durability in [ledger] must be one of power, process"),
        ("[ledger]\nretention = \"1d\"", 2, "retention in [ledger] must be at least \"31d\""),
        ("[otlp]\nlisten = \"0.0.0.0:4318\"", 2, "listen in [otlp] must be a loopback address"),
        ("[currency]\ncode = \"eur\"", 2, "code in [currency] must be three capital letters"),
        ("[currency]\nrates = { \"1 Nov\" = 1 }", 2, "rates in [currency] must be days and rates"),
        ("[background]\nbusiness_hours = \"always\"", 2, "business_hours in [background] must be days and hours"),
        (
            "[background]\nbusiness_hours = \"Mon-Fri 18:00-08:00\"",
            2,
            "business_hours in [background] must be days and hours that",
        ),
        (
            "[background]\nshare_before_hours = 1.1",
            2,
            "share_before_hours in [background] must be a number from 0 to 1",
        ),
        ("[emergency]\nenter_week = 95", 2, "enter_week in [emergency] must be a number from 0 to 1"),
        ("[alerts]\nquiet_hours = \"night\"", 2, "quiet_hours in [alerts] must be two times of day"),
        ("[[budget]]\nscope = \"team:x\"\ndaily_usd = 1", 2, "scope in [[budget]] must be client:"),
        ("[[budget]]\nscope = \"machine\"", 1, "[[budget]] sets no amount"),
        ("[[budget]]\ndaily_usd = 1", 1, "[[budget]] needs scope, for example scope = \"client:ci\""),
        ("[[budget]]\nscope = \"machine\"\ndaily_usd = -1", 3, "daily_usd in [[budget]] must be an amount"),
        ("[[budget]]\nscope = \"machine\"\nweekly_usd = 0", 3, "weekly_usd in [[budget]] must be above 0"),
        ("[[budget]]\nscope = \"machine\"\nmonthly_usd = 1e99", 3, "monthly_usd in [[budget]] must be an amount"),
        ("[[budget]]\nscope = \"client:\"\ndaily_usd = 1", 2, "scope in [[budget]] must be client:"),
        ("[[attribute]]\nwhen = \"host:a\"\nproject = \"p\"", 2, "when in [[attribute]] must be cwd:"),
        ("[[attribute]]\nwhen = \"cwd:/a\"", 1, "[[attribute]] says nothing of a call: give it one of client, person,"),
        ("[[attribute]]\nwhen = \"cwd:/a\"\nperson = \"\"", 3, "person in [[attribute]] must be a name of 1 to 256"),
        ("[[attribute]]\nwhen = \"cwd:/a\"\ntags = \"x\"", 3, "tags in [[attribute]] must be keys and values"),
        ("[[attribute]]\nwhen = \"cwd:/a\"\ntags = { team = 3 }", 3, "tag team in [[attribute]] must be"),
        ("[[attribute]]\nwhen = \"cwd:/a\"\nprojet = \"p\"", 1, "[[attribute]] says nothing of a call"),
        ("[[channel]]\nname = \"a\"\nkind = \"irc\"", 3, "kind in [[channel]] must be one of desktop, slack"),
        ("[[channel]]\nname = \"a\"\nkind = \"slack\"\nurl = \"x\"", 4, "url in [[channel]] must be keychain:NAME"),
        (
            "[[channel]]\nname = \"ops\"\nkind = \"desktop\"\n[[alert]]\nmetric = \"burn.week\"\nthresholds = [1]\nchannels = [\"opps\"]",
            7,
            "channels in [[alert]] names \"opps\", which no [[channel]] has; did you mean \"ops\"?",
        ),
        (
            "[[channel]]\nname = \"a\"\nkind = \"slack\"",
            1,
            "[[channel]] needs url, for example url = \"keychain:slack-ops\"",
        ),
        ("[[channel]]\nname = \"a\"\nkind = \"pagerduty\"", 1, "[[channel]] needs secret"),
        (
            "[[channel]]\nname = \"a\"\nkind = \"desktop\"\n[[channel]]\nname = \"a\"\nkind = \"desktop\"",
            5,
            "name in [[channel]] is taken",
        ),
        (
            "[[channel]]\nname = \"desktop\"\nkind = \"slack\"\nurl = \"env:X\"",
            2,
            "name in [[channel]] is that of the desktop",
        ),
        (
            "[[channel]]\nname = \"a\"\nkind = \"desktop\"\nsecrets = \"env:X\"",
            4,
            "[[channel]] has no key secrets; did you mean secret?",
        ),
        (
            "[alerts]\ndigest = [\"opps\"]\n[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"https://example.com/\"",
            2,
            "digest in [alerts] names \"opps\", which no [[channel]] has; did you mean \"ops\"?",
        ),
        (
            "[[upstream]]\nname = \"o\"\nkind = \"compatible\"\nbase_url = \"http://127.0.0.1:1\"\nlacks = [\"image\"]",
            5,
            "lacks in [[upstream]] names \"image\", which is none of images, documents, tools, thinking, server_tools, cache; did you mean \"images\"?",
        ),
        (
            "[[upstream]]\nname = \"a\"\nkey = \"env:K\"\nlacks = [\"images\"]",
            4,
            "lacks in [[upstream]] is for kind = \"compatible\" alone",
        ),
        ("[alerts]\nrunaway = \"kill\"", 2, "runaway in [alerts] must be one of tell, pause"),
        ("[alerts]\n\ndigest = [\"desktop\", \"desktop\"]", 3, "digest in [alerts] names \"desktop\" twice"),
        (
            "[[alert]]\nname = \"own\"\nmetric = \"breaker\"\nthresholds = [1]\nchannels = [\"desktop\", \"desktop\"]",
            5,
            "channels in [[alert]] names \"desktop\" twice: once is enough",
        ),
        ("[alerts]\ndigest = \"ops\"", 2, "digest in [alerts] must be a list of texts in quotes"),
        (
            "[[alert]]\nname = \"digest\"\nmetric = \"breaker\"\nthresholds = [1]",
            2,
            "name in [[alert]] is that of another rule",
        ),
        ("[alerts]\ntoken_warnings = 0.8", 2, "[alerts] has no key token_warnings; did you mean token_warning?"),
        ("[alerts]\ntoken_warning = 0.9", 1, "token_critical in [alerts] must be above token_warning"),
        ("[alerts]\nquiet_hours = \"22:00-22:00\"", 2, "quiet_hours in [alerts] must be two times of day"),
        (
            "[[alert]]\nmetric = \"burn.week\"\nthresholds = [\"a\"]",
            3,
            "thresholds in [[alert]] must be a list of numbers",
        ),
        ("[[alert]]\nmetric = \"burn.week\"\nthresholds = []", 3, "thresholds in [[alert]] must be a list of numbers"),
        (
            "[[alert]]\nmetric = \"spent.day\"\nthresholds = [1]",
            2,
            "metric in [[alert]] is \"spent.day\", and nothing is measured as spent; did you mean spend?",
        ),
        (
            "[[alert]]\nmetric = \"spend.year\"\nthresholds = [1]",
            2,
            "metric in [[alert]] must say day, week or month (or *)",
        ),
        ("[[alert]]\nmetric = \"window.week.used\"\nthresholds = [80]", 3, "thresholds in [[alert]] are parts of one"),
        (
            "[[alert]]\nmetric = \"burn.week\"\nthresholds = [1]\nseverity = \"high\"",
            4,
            "severity in [[alert]] must be one of info, warning",
        ),
        (
            "[[alert]]\nmetric = \"burn.week\"\nthresholds = [1]\ncooldown = \"soon\"",
            4,
            "cooldown in [[alert]] must be window or a duration",
        ),
        ("[[alert]]\nmetric = \"breaker\"\nthresholds = [1]", 2, "metric in [[alert]] is that of another rule"),
        ("[[fallback]]\nfor = \"vip\"\nstatic = \"x\"", 2, "for in [[fallback]] must be one of critical"),
        (
            "[[fallback]]\nfor = \"client:a b\"\nstatic = \"x\"",
            2,
            "for in [[fallback]] names a client, whose name must",
        ),
        ("[[fallback]]\nfor = \"critical\"", 1, "[[fallback]] leads nowhere"),
        (
            "[[upstream]]\nname = \"sim\"\nkind = \"simulator\"\n[[fallback]]\nfor = \"critical\"\nupstreams = [\"sim2\"]",
            6,
            "upstreams in [[fallback]] names \"sim2\", which no [[upstream]] has; did you mean \"sim\"?",
        ),
        (
            "[[fallback]]\nfor = \"critical\"\nstatic = \"x\"\n[[fallback]]\nfor = \"critical\"\nstatic = \"y\"",
            5,
            "for in [[fallback]] has a [[fallback]] above",
        ),
        ("[breaker]\nfailures = 0", 2, "failures in [breaker] must be a whole number above 0"),
        ("[[fallback]]\nfor = \"critical\"\nstatic = \" \"", 3, "static in [[fallback]] is empty"),
        (
            "[[fallback]]\nfor = \"critical\"\nupstreams = [\"a\", \"a\"]",
            3,
            "upstreams in [[fallback]] names one twice",
        ),
        ("[[upstream]]\nname = \"static\"\nkind = \"simulator\"", 2, "name in [[upstream]] is what a [[fallback]]'s"),
        ("[status_page]\nevery = \"1s\"", 2, "every in [status_page] must be at least 10s"),
    ] {
        let wrongs = read(text).expect_err(text);
        assert_eq!(wrongs[0].line, line, "{text}: {wrongs:?}");
        assert!(wrongs[0].reason.starts_with(start), "{text}: {wrongs:?}");
    }
}

#[test]
fn what_is_wrong_with_an_upstream_is_named_too() {
    for (lines, line, start) in [
        ("kind = \"anthropc\"", 4, "kind in [[upstream]] must be one of anthropic, openai"),
        (
            "base_url = \"http://api.anthropic.com\"",
            4,
            "base_url in [[upstream]] must be https: http is for this machine only",
        ),
        ("base_url = \"ftp://127.0.0.1\"", 4, "base_url in [[upstream]] must begin with https://"),
        ("base_url = \"https://me:secret@host\"", 4, "base_url in [[upstream]] must be a URL without user"),
        ("base_url = \"api.anthropic.com\"", 4, "base_url in [[upstream]] must be a URL"),
        ("scheme = \"2020-01\"\ntier = \"1\"", 4, "scheme in [[upstream]] must be one of 2025-09"),
        ("scheme = \"2025-09\"", 1, "tier in [[upstream]] must be one of 1, 2, 3, 4 in scheme 2025-09"),
        ("tier = \"1\"", 4, "tier in [[upstream]] needs a scheme beside it"),
        ("admin_key = \"file:key\"", 4, "admin_key in [[upstream]] must name its file from the root on"),
        ("guard = 0", 4, "guard in [[upstream]] must be above 0"),
        ("guard = 1.5", 4, "guard in [[upstream]] must be a number from 0 to 1"),
        (
            "[[upstream.limits]]\nmodels = [\"*\"]\nrequests_per_minute = 0",
            6,
            "requests_per_minute in [[upstream.limits]] must not be 0",
        ),
        (
            "[[upstream.limits]]\nmodels = []\nrequests_per_minute = 1",
            5,
            "models in [[upstream.limits]] must name at least one model",
        ),
        ("[[upstream.limits]]\nmodels = [\"*\"]", 4, "[[upstream.limits]] limits nothing"),
        ("[[upstream.limits]]\nrequests_per_minute = 5", 4, "[[upstream.limits]] needs models"),
        (
            "[[upstream.windows]]\nname = \"week\"\nresets = \"Mon 00:00 UTC\"",
            4,
            "[[upstream.windows]] needs one of limit_usd",
        ),
        (
            "[[upstream.windows]]\nname = \"week\"\nlimit_usd = 1",
            4,
            "[[upstream.windows]] needs either resets or length",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_usd = 1\nresets = \"Monday\"",
            7,
            "resets in [[upstream.windows]] must be a weekday",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_usd = 0\nresets = \"Mon 00:00 UTC\"",
            6,
            "limit_usd in [[upstream.windows]] must be above 0",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_tokens = -1\nresets = \"Mon 00:00 UTC\"",
            6,
            "limit_tokens in [[upstream.windows]] must be a whole number above 0",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_percent = 101\nresets = \"Mon 00:00 UTC\"",
            6,
            "limit_percent in [[upstream.windows]] must be a whole number from 1 to 100",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_usd = 1\nresets = \"32nd 00:00 UTC\"",
            7,
            "resets in [[upstream.windows]] must be a weekday or a day of the month",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_usd = 1\nresets = \"00:00 Europe/Belrin\"",
            7,
            "resets in [[upstream.windows]] names no time zone: \"Europe/Belrin\", for example resets = \"Mon 00:00 UTC\"",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_usd = 1\nlength = \"400d\"",
            7,
            "length in [[upstream.windows]] must be from 1s to 31d",
        ),
        (
            "[[upstream.windows]]\nname = \"w\"\nlimit_usd = 1\nlength = \"5h\"\n\
             [[upstream.windows]]\nname = \"w\"\nlimit_usd = 2\nlength = \"7d\"",
            9,
            "name in [[upstream.windows]] is taken by a window above",
        ),
        (
            "[[upstream.limits]]\nmodels = [\"*\"]\nrequests_per_minute = 9_000_000_000_000_000",
            6,
            "requests_per_minute in [[upstream.limits]] must be at most",
        ),
        (
            "[[upstream.limits]]\nmodels = [\"*\"]\nconcurrency = 5_000_000_000",
            6,
            "concurrency in [[upstream.limits]] must be a whole number from 0",
        ),
        ("[[upstream]]\nname = \"a\"\nkind = \"simulator\"", 5, "name in [[upstream]] is taken by an upstream above"),
        (
            "[[upstream]]\nname = \"b\"\nkind = \"anthropic\"",
            4,
            "[[upstream]] needs key, for example key = \"keychain:anthropic\"",
        ),
        ("[[upstream]]\nkind = \"simulator\"", 4, "[[upstream]] needs name"),
    ] {
        let text = format!("[[upstream]]\nname = \"a\"\nkey = \"env:K\"\n{lines}");
        let wrongs = read(&text).expect_err(&text);
        assert_eq!(wrongs[0].line, line, "{text}: {wrongs:?}");
        assert!(wrongs[0].reason.starts_with(start), "{text}: {wrongs:?}");
    }
}

#[test]
fn a_key_written_where_its_place_should_stand_is_not_repeated() {
    let text = "[[upstream]]\nname = \"a\"\nkey = \"sk-ant-api03-secret\"";
    let wrongs = read(text).expect_err("a key in the file");
    assert!(wrongs[0].reason.contains("where the key is kept") && !wrongs[0].reason.contains("secret"), "{wrongs:?}");
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_the_file() {
    let wrongs = read("[timeouts]\nidle = 1\n[gateway]\nqueue_max = 0\n").expect_err("two mistakes");
    assert_eq!(wrongs.iter().map(|wrong| wrong.line).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn a_simulator_needs_neither_key_nor_address_and_a_path_stays_in_a_base_url() {
    let settings = read("[[upstream]]\nname = \"s\"\nkind = \"simulator\"").expect("legal");
    assert_eq!((&settings.upstreams[0].base_url, &settings.upstreams[0].key), (&None, &None));
    let base = BaseUrl::parse("https://Gate.example:8443/claude/").expect("a URL");
    assert_eq!((base.as_str(), base.origin()), ("https://gate.example:8443/claude", "https://gate.example:8443"));
    assert_eq!(BaseUrl::parse("http://[::1]:80").expect("a URL").origin(), "http://[::1]");
}

#[test]
fn durations_and_zero_concurrency_are_read_as_written() {
    for (text, seconds) in [("600s", 600), ("10m", 600), ("1h", 3_600), ("400d", 34_560_000)] {
        assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    for wrong in ["", "s", "10", "1.5h", "-1s", "10 s", "99999999999999999999s"] {
        assert_eq!(duration(wrong), None, "{wrong}");
    }
    let text = "[[upstream]]\nname=\"a\"\nkind=\"simulator\"\n[[upstream.limits]]\nmodels=[\"*\"]\nconcurrency=0";
    assert_eq!(read(text).expect("legal").upstreams[0].pacing.written[0].concurrency, None);
}

#[test]
fn windows_reset_daily_weekly_monthly_or_a_while_after_they_began() {
    let span = |line: &str| {
        let text = format!(
            "[[upstream]]\nname=\"a\"\nkind=\"simulator\"\n[[upstream.windows]]\nname=\"w\"\nlimit_tokens=1\n{line}"
        );
        read(&text).expect("legal").upstreams[0].pacing.windows[0].span
    };
    let berlin = Cycle::new(Every::Day, 0, Tz::Europe__Berlin);
    assert_eq!(span("resets = \"00:00 Europe/Berlin\""), Span::Until(berlin));
    assert_eq!(span("resets = \"31st 23:59 UTC\""), Span::Until(Cycle::new(Every::Month(31), 1_439, Tz::UTC)));
    assert_eq!(span("length = \"5h\""), Span::Rolling(Duration::from_secs(18_000)));
}

#[test]
fn a_budget_of_several_periods_is_several_budgets() {
    let text = "[[budget]]\nscope = \"tenant:a:b\"\ndaily_usd = 1.50\nmonthly_usd = 9\nhard = true";
    let budget = |period, limit| Budget { scope: Scope::Tenant("a:b".into()), period, limit: usd(limit), hard: true };
    assert_eq!(read(text).expect("legal").budgets, [budget(Period::Day, "1.5"), budget(Period::Month, "9")]);
}

#[test]
fn business_hours_are_those_of_the_gateways_zone_and_may_span_the_weekend() {
    let text = "[gateway]\ntimezone = \"Asia/Jerusalem\"\n[background]\nbusiness_hours = \"Sun-Thu 09:30-24:00\"";
    let hours = read(text).expect("legal").background.expect("a guard").hours;
    assert_eq!(hours.days, [true, true, true, true, false, false, true]);
    assert_eq!((hours.from, hours.to, hours.zone), (570, 1_440, Tz::Asia__Jerusalem));
}

#[test]
fn what_happens_in_an_outage_is_read() {
    let text = "[retry]\nbudget = 0.05\noverloaded = 0\n[breaker]\nfailures = 3\nopen = \"1m\"\nerror_ratio = 0.5\n\
        [emergency]\nenter_week = 0.8\nenter_spend_usd = 5\ncontacts = [\"ops\"]\n[status_page]\nenabled = true\n\
        [[upstream]]\nname = \"sim\"\nkind = \"simulator\"\nmodels = [\"claude-*\"]\n\
        [[fallback]]\nfor = \"client:ci\"\nupstreams = [\"sim\", \"other\"]\nstatic = \"busy\"";
    let settings = read(text).expect("legal");
    assert_eq!((settings.retry.budget_permille, settings.retry.overloaded), (50, 0));
    let breaker = settings.breaker;
    assert_eq!((breaker.failures, breaker.open.as_secs(), breaker.error_ratio_permille), (3, 60, 500));
    let emergency = settings.emergency;
    assert_eq!((emergency.enter_week_permille, emergency.enter_spend), (800, Some(usd("5"))));
    assert_eq!(emergency.contacts, ["ops"]);
    let page = settings.status_page.expect("it is asked");
    assert_eq!((page.url.as_str(), page.every.as_secs()), ("https://status.claude.com", 60));
    assert_eq!(&*settings.upstreams[0].models[0], "claude-*");
    let fallback = &settings.fallbacks[0];
    assert_eq!((fallback.whose.clone(), fallback.upstreams.len()), (gateway::Whose::Client("ci".into()), 2));
    assert_eq!(fallback.text.as_deref(), Some("busy"));
}

#[test]
fn a_missing_file_means_defaults() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = load(&dir.path().join("none.toml"), &schemes()).expect("defaults");
    assert!(settings.upstreams.is_empty());
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("settings.toml");
    std::fs::write(&file, "").expect("written");
    for (mode, fine) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("changed");
        assert_eq!(load(&file, &schemes()).is_ok(), fine, "{mode:o}");
    }
    let said = load(&file, &schemes()).expect_err("writable").to_string();
    assert!(said.ends_with("settings.toml: others may write it (mode 0646): run chmod 644 on it"), "{said}");
}

#[test]
fn an_upstream_is_added_beside_everything_that_is_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("new/settings.toml");
    add_upstream(&file, &schemes()).expect("a new file");
    assert_eq!(load(&file, &schemes()).expect("legal").upstreams[0].key, Some(KeyRef::Keychain(OWN_UPSTREAM.into())));
    let own = "# mine\n[gateway]\nqueue_max = 5 # few\n\n[[upstream]]\nname = \"sim\"\nkind = \"simulator\"\n";
    std::fs::write(&file, own).expect("written");
    add_upstream(&file, &schemes()).expect("added");
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(text.starts_with(own), "{text}");
    assert_eq!(load(&file, &schemes()).expect("legal").upstreams.len(), 2);
}

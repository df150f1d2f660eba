//! What each setting is, for whoever shows or edits it: the form it takes, what holds where it is not written, and why one sets it.
//!
//! Whether a value is legal says the grammar alone.

/// A section of the file.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    /// Of a `[[section]]`: the key by which one of several is known.
    pub(crate) id: Option<&'static str>,
    /// A running gateway takes a change of it at once.
    pub(crate) is_live: bool,
    pub(crate) help: &'static str,
    pub(crate) fields: &'static [Field],
    pub(crate) inner: &'static [Section],
}

pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) form: Form,
    /// In the words of an editor: without quotes. Empty where nothing holds.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
}

/// How a value is written, and what it may look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Text,
    /// A span of time: `600s`, `5m`.
    Duration,
    /// Where a secret is kept, never the secret.
    Reference,
    Switch,
    Choice(&'static [&'static str]),
    /// Dollars.
    Usd,
    /// A part of one.
    Part,
    /// A whole number: its unit, and its range in words.
    Count(&'static str, &'static str),
    /// Several texts.
    Texts,
    /// Several numbers.
    Figures,
    /// An inline table of the user's own keys.
    Pairs,
}

impl Form {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Form::Text => "text",
            Form::Duration => "duration",
            Form::Reference => "reference",
            Form::Switch => "switch",
            Form::Choice(_) => "choice",
            Form::Usd => "money",
            Form::Part => "part",
            Form::Count(..) => "number",
            Form::Texts => "texts",
            Form::Figures => "numbers",
            Form::Pairs => "pairs",
        }
    }

    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Form::Usd => "$",
            Form::Count(unit, _) => unit,
            Form::Text
            | Form::Duration
            | Form::Reference
            | Form::Switch
            | Form::Choice(_)
            | Form::Part
            | Form::Texts
            | Form::Figures
            | Form::Pairs => "",
        }
    }

    pub(crate) const fn range(self) -> &'static str {
        match self {
            Form::Duration => "a whole number with ms, s, m, h or d",
            Form::Reference => "keychain:NAME, env:VAR or file:PATH",
            Form::Usd => "0 or more",
            Form::Part => "0 to 1",
            Form::Count(_, range) => range,
            Form::Texts => "separated by commas",
            Form::Figures => "above 0, separated by commas",
            Form::Pairs => "{ key = \"value\" }",
            Form::Text | Form::Switch | Form::Choice(_) => "",
        }
    }
}

const fn field(key: &'static str, form: Form, default: &'static str, help: &'static str) -> Field {
    Field { key, form, default, help }
}

const fn one(name: &'static str, is_live: bool, help: &'static str, fields: &'static [Field]) -> Section {
    Section { name, id: None, is_live, help, fields, inner: &[] }
}

const fn many(
    name: &'static str,
    id: &'static str,
    is_live: bool,
    help: &'static str,
    fields: &'static [Field],
) -> Section {
    Section { name, id: Some(id), is_live, help, fields, inner: &[] }
}

use Form::{Choice, Count, Duration, Figures, Pairs, Part, Reference, Switch, Text, Texts, Usd};

const SOME: Form = Count("", "above 0");
const SEVERITIES: Form = Choice(&["info", "warning", "critical", "emergency"]);

#[rustfmt::skip]
pub(crate) const SECTIONS: &[Section] = &[
    many("budget", "scope", true, "What may be spent by whom. A call that doesn't fit is refused until the period begins anew.", &[
        field("scope", Text, "", "client:, person:, project: or tenant: with a name, or machine"),
        field("daily_usd", Usd, "", "in a day"),
        field("weekly_usd", Usd, "", "in a week, from Monday"),
        field("monthly_usd", Usd, "", "in a month"),
        field("hard", Switch, "false", "cuts a running stream at the cap, instead of letting it finish"),
    ]),
    one("alerts", true, "From where on the shipped rules tell you.", &[
        field("token_warning", Part, "0.80", "a warning when so much of a limit, a window or a budget is used"),
        field("token_critical", Part, "0.90", "critical from here on"),
        field("weekly_emergency", Part, "0.95", "an emergency alert when so much of the week is used"),
        field("daily_spend_usd", Usd, "50", "a warning when a day costs so much; 0 is off"),
        field("tier_warning", Part, "0.80", "a warning when so much of the tier's month is used"),
        field("quiet_hours", Text, "", "when warnings wait, such as 22:00-07:00; empty is never"),
        field("runaway", Choice(&["tell", "pause"]), "tell", "what happens to a session that runs away"),
        field("digest", Texts, "", "channels that get weekly and monthly reports beside the inbox"),
    ]),
    many("alert", "name", true, "Rules of your own beside the shipped ones.", &[
        field("name", Text, "", "default: the metric"),
        field("metric", Text, "", "what is measured, such as spend.day.project:shop"),
        field("thresholds", Figures, "", "dollars, parts of one, calls or times, as the metric is measured"),
        field("severity", SEVERITIES, "warning", "how loud it is"),
        field("channels", Texts, "", "default: all"),
        field("cooldown", Text, "window", "not again before the next window, or for a time such as 6h"),
        field("quiet_hours", Text, "", "default: those of [alerts]"),
    ]),
    one("emergency", true, "When only what is critical goes at full pace.", &[
        field("enter_week", Part, "0.95", "when so much of the week is used; the rest is for critical calls"),
        field("enter_breaker_open", Duration, "2m", "when an upstream has failed for so long"),
        field("enter_spend_usd", Usd, "0", "when a day costs so much; 0 is off"),
        field("contacts", Texts, "", "shown with it: whom to call"),
    ]),
    one("background", false, "What background calls leave to people before working hours begin. Off unless written.", &[
        field("business_hours", Text, "Mon-Fri 08:00-18:00", "days and hours, in the gateway's time zone"),
        field("share_before_hours", Part, "0.30", "of the day's and the week's window"),
    ]),
    one("cache", false, "Gives the same call the same answer again, at no cost.", &[
        field("enabled", Switch, "false", "on or off"),
        field("ttl", Duration, "1h", "how long an answer is kept"),
        field("emergency_ttl", Duration, "24h", "in an emergency"),
        field("shared", Switch, "false", "one client may get what another one's call was answered"),
        field("tools", Switch, "false", "calls that offer tools, too"),
    ]),
    one("gateway", false, "Where calls come in, and how long they wait.", &[
        field("listen", Text, "127.0.0.1:8432", "IP address and port"),
        field("max_wait", Duration, "600s", "how long a call waits at most"),
        field("timezone", Text, "system", "by which days, weeks and months count, such as Europe/Berlin"),
        field("proxy", Text, "env", "env, none or a URL; never for loopback"),
        field("allow_remote", Switch, "false", "needed to listen on more than this machine"),
        field("allowed_origins", Texts, "", "exact origins of clients that live in a web view"),
        field("queue_max", Count("calls", "1 to 1,000,000"), "10000", "how many calls wait at most"),
        field("host_names", Texts, "", "further names by which this machine is called"),
        field("body_budget", Text, "512MB", "bytes of bodies held at once; from 34MB on"),
    ]),
    one("timeouts", false, "Three clocks of a call; a stream is never cut for its length.", &[
        field("connect", Duration, "10s", "until the upstream takes the connection"),
        field("first_byte", Duration, "600s", "until its answer begins"),
        field("idle", Duration, "300s", "between two pieces of an answer"),
    ]),
    one("retry", false, "What is tried again when an upstream fails.", &[
        field("budget", Part, "0.10", "so many retries a call, of a bucket of ten"),
        field("overloaded", Count("times", "0 to 10"), "1", "short retries on 529"),
    ]),
    one("breaker", false, "When an upstream that fails is left alone.", &[
        field("failures", Count("failures", "above 0"), "5", "in a row"),
        field("open", Duration, "5m", "until it is tried again"),
        field("error_ratio", Part, "0", "also when so many of the last 20 calls failed; 0 is off"),
    ]),
    many("fallback", "for", false, "Where calls go whose upstream fails them.", &[
        field("for", Text, "", "critical, normal, background or client:NAME"),
        field("upstreams", Texts, "", "by name, in order"),
        field("static", Text, "", "the answer where no upstream has one"),
    ]),
    Section {
        name: "upstream",
        id: Some("name"),
        is_live: false,
        help: "Where calls go.",
        fields: &[
            field("name", Text, "", "yours to choose"),
            field("kind", Choice(&["anthropic", "openai", "gemini", "compatible", "bedrock", "vertex", "simulator"]), "anthropic", "what it speaks"),
            field("base_url", Text, "", "https://host[:port][/path]"),
            field("key", Reference, "", "where its key is kept"),
            field("admin_key", Reference, "", "for limits and reports by API"),
            field("models", Texts, "", "those it serves; empty: all"),
            field("lacks", Texts, "", "what a compatible server can't do"),
            field("scheme", Text, "", "limits presumed until it tells: 2025-09, 2026-03 or 2026-06"),
            field("tier", Text, "", "of the scheme"),
            field("guard", Part, "0.96", "so much of the request limit is used; learned from there"),
            field("guard_input_tokens", Part, "0.93", "so much of the token limits"),
            field("retry_after_buffer", Duration, "30s", "added to a retry-after that doesn't say when the bucket refills"),
        ],
        inner: &[
            many("limits", "models", false, "A ceiling that its models share.", &[
                field("models", Texts, "", "with * for any run of characters"),
                field("requests_per_minute", SOME, "", "requests a minute"),
                field("input_tokens_per_minute", SOME, "", "input tokens a minute"),
                field("output_tokens_per_minute", SOME, "", "output tokens a minute"),
                field("concurrency", Count("calls", "0 is unlimited"), "0", "calls at once"),
            ]),
            many("windows", "name", false, "What may be used until it resets.", &[
                field("name", Text, "", "such as week"),
                field("limit_usd", Usd, "", "in dollars, or"),
                field("limit_tokens", SOME, "", "in tokens, or"),
                field("limit_percent", Count("%", "1 to 100"), "", "of what the upstream says"),
                field("resets", Text, "", "Mon 00:00 UTC, 1st 00:00 UTC or 00:00 Europe/Berlin"),
                field("length", Duration, "", "5h: begins with a call"),
            ]),
        ],
    },
    many("channel", "name", false, "Who takes alerts to people, beside this desktop.", &[
        field("name", Text, "", "yours to choose"),
        field("kind", Choice(&["desktop", "slack", "discord", "pagerduty", "opsgenie", "jira", "incident_io", "webhook"]), "", "who takes them"),
        field("url", Reference, "", "where its address is kept"),
        field("secret", Reference, "", "where its key is kept"),
        field("allow_private", Switch, "false", "loopback and private addresses"),
    ]),
    many("attribute", "when", true, "Whose a call is, by where it comes from.", &[
        field("when", Text, "", "cwd:, branch:, user_agent: or session: with a pattern"),
        field("client", Text, "", ""),
        field("person", Text, "", ""),
        field("project", Text, "", ""),
        field("tenant", Text, "", ""),
        field("agent", Text, "", ""),
        field("tags", Pairs, "", ""),
    ]),
    one("ledger", false, "How calls are written down.", &[
        field("durability", Choice(&["power", "process"]), "power", "what a call that was written down survives"),
        field("retention", Duration, "400d", "of single calls, from 31d on; their sums stay"),
    ]),
    one("metrics", false, "Figures for Prometheus, at /metrics.", &[field("enabled", Switch, "false", "on or off")]),
    one("status_page", false, "What the upstream says of itself, beside what calls measure.", &[
        field("enabled", Switch, "false", "on or off"),
        field("url", Text, "https://status.claude.com", "the page"),
        field("every", Duration, "60s", "from 10s on"),
    ]),
    one("otlp", false, "Takes in Claude Code's telemetry.", &[field("listen", Text, "", "a loopback address such as 127.0.0.1:4318; empty is off")]),
    one("currency", false, "A second currency beside dollars.", &[
        field("code", Text, "", "three capital letters"),
        field("rates", Pairs, "", "{ \"2026-11-01\" = 0.86 }"),
    ]),
];

/// The section that keys lead to: `upstream`, `windows`.
pub(crate) fn section(names: &[&str]) -> Option<&'static Section> {
    let (first, rest) = names.split_first()?;
    let top = SECTIONS.iter().find(|section| section.name == *first)?;
    rest.iter().try_fold(top, |section, name| section.inner.iter().find(|inner| inner.name == *name))
}

impl Section {
    pub(crate) fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

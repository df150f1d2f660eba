//! The command line as a person writes it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use app::clients::ClientChange;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A local gateway that lets calls to the Claude API through at the pace the upstream allows, and writes down what they cost.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXAMPLES, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where everything is kept that is written
    #[arg(long, value_name = "DIR", global = true, help_heading = GLOBAL)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the settings are read from
    #[arg(long, value_name = "FILE", global = true, help_heading = GLOBAL)]
    pub(crate) settings: Option<PathBuf>,
    /// Say only what fails
    #[arg(short, long, global = true, help_heading = GLOBAL, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what is done; twice: each step
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const GLOBAL: &str = "Global options";

const EXAMPLES: &str = "\
Examples:
  tidegate serve --demo                      see it work, without a key
  tidegate key set anthropic < key.txt       put the real key into the keychain
  tidegate serve                             run the gateway on http://127.0.0.1:8432
  tidegate client add ci --daily-usd 20      a token for a program that calls
  tidegate usage --by client --from 2026-11-01
  tidegate why 01JDQ3V8M2N4P6R8T0W2Y4A6C8    where a call went and what it cost";

const RESERVE_HELP: &str = "\
The command finds the reservation's id in TIDEGATE_RESERVATION and sends it as the header x-tidegate-reservation;
Claude Code does so by itself (ANTHROPIC_CUSTOM_HEADERS is set too). The reservation ends with the command, or after --ttl.

Examples:
  tidegate reserve --calls 200 --input-tokens 400000 --model claude-sonnet-4-5 --ttl 20m -- ./migrate.sh
  tidegate reserve --client ci --calls 30 --model claude-opus-4-1 -- claude -p 'rename the table'";

const RECONCILE_HELP: &str = "\
It needs an admin key of your organisation: `tidegate key set admin`, and admin_key = \"keychain:admin\" in the settings' [[upstream]].
Reports have whole days of UTC, and lag behind by minutes.

Examples:
  tidegate reconcile                         the last seven whole days
  tidegate reconcile --from 2026-11-01 --to 2026-11-30 --json";

const SETTINGS_HELP: &str = "\
Examples:
  tidegate settings show
  tidegate settings set alerts.token_warning 0.75
  tidegate settings set 'budget[scope=client:ci].daily_usd' 20
  tidegate settings unset 'budget[scope=client:ci]'
  tidegate settings set 'upstream[name=anthropic].windows[name=week].limit_usd' 300";

const STATUSLINE_HELP: &str = "\
Claude Code runs it when its settings.json says
  {\"statusLine\": {\"type\": \"command\", \"command\": \"tidegate statusline\"}}
What it says of the subscription's windows is kept in the ledger; no credential is read.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway without a window
    #[command(
        after_help = "Examples:\n  tidegate serve\n  tidegate serve --listen 127.0.0.1:9000\n  tidegate serve --demo    with a simulated API, its own ledger and made-up traffic"
    )]
    Serve(Serve),
    /// The programs that may call, and their tokens
    #[command(subcommand)]
    Client(Client),
    /// The keys of upstreams, in the system's keychain
    #[command(subcommand)]
    Key(Key),
    /// Let a program call through this gate, by two lines in its own settings
    #[command(
        after_help = "Examples:\n  tidegate connect claude-code --dry-run     what would change in its settings\n  tidegate connect claude-code"
    )]
    Connect(Connect),
    /// Take that back: what stood there before stands there again
    #[command(after_help = "Example:\n  tidegate disconnect claude-code")]
    Disconnect(Disconnect),
    /// Limits, queue and spend right now
    Status(Shape),
    /// What was used and what it cost
    #[command(
        after_help = "Examples:\n  tidegate usage\n  tidegate usage --by model --from 2026-11-01\n  tidegate usage --by tag:feature --from 2026-11-01 --to 2026-11-07 --csv"
    )]
    Usage(Usage),
    /// What a group of models used in each minute of a day, and which minutes were above its limits
    #[command(
        after_help = "Examples:\n  tidegate minutes                  today, of the models that were called most\n  tidegate minutes --group sonnet-4 --from 2026-11-27T08:00:00Z --to 2026-11-27T09:00:00Z"
    )]
    Minutes(Minutes),
    /// Why the bill is as high as it is: what it was paid for, and the dearest sessions
    #[command(
        after_help = "Examples:\n  tidegate explain                  this month so far\n  tidegate explain 2026-10\n  tidegate explain --from 2026-11-23 --to 2026-11-24 --json"
    )]
    Explain(Explain),
    /// What a week or a month came to: used and expected, by whom, what was saved, what was told
    #[command(
        after_help = "Examples:\n  tidegate report                     this week so far\n  tidegate report week --last         the week before\n  tidegate report month --from 2026-10-01 --csv"
    )]
    Report(Report),
    /// The latest calls
    Calls(Calls),
    /// Where a call went, what it cost and by which price
    Why(Why),
    /// Write what happened as CSV
    #[command(
        after_help = "Examples:\n  tidegate export calls --from 2026-11-01 --out november.csv\n  tidegate export calls --columns started_at,client,cost_usd\n  tidegate export daily --from 2026-11-01 --to 2026-11-30 --client ci\n  tidegate export monthly --from 2026-01-01 --out year.csv\n  tidegate export alerts --from 2026-11-01\n  tidegate export bundle --from 2026-10 --out anna.bundle"
    )]
    Export(Export),
    /// Take in what other programs wrote down
    #[command(subcommand)]
    Import(Import),
    /// The devices of a team whose bundles were imported
    #[command(subcommand)]
    Bundle(Bundle),
    /// Compare the ledger with the upstream's own usage and cost reports
    #[command(after_help = RECONCILE_HELP)]
    Reconcile(Reconcile),
    /// What calls cost: the list, prices and discounts of your own, newer price files, history at today's prices
    #[command(subcommand)]
    Price(Price),
    /// Check that the ledger is whole and adds up
    Verify(Shape),
    /// Copy the ledger, whole, while calls run
    #[command(
        after_help = "Examples:\n  tidegate backup ~/backups/ledger.db\n\nTo restore it, end Tidegate and put the copy in the place of ledger.db in the data folder."
    )]
    Backup(Backup),
    /// Credit that was bought, where each account is heading, and the published tiers
    #[command(subcommand)]
    Tier(Tier),
    /// When windows, budgets and the month run out, and how good such forecasts are
    #[command(
        after_help = "Examples:\n  tidegate forecast\n  tidegate forecast --if \"pause background\" --if \"stop ci at 18:00\"\n  tidegate forecast --if \"move 30% of ci to claude-haiku-4-5\"\n  tidegate forecast --if \"batch nightly\" --if \"limit week to 300\"\n  tidegate forecast backtest usage.csv"
    )]
    Forecast(Forecast),
    /// Last week's calls under another tier, limit, budget or priority, before you turn it on
    #[command(after_help = SHADOW_HELP)]
    Shadow(Shadow),
    /// What calls could have cost less: short ones at a smaller model, background ones as batches
    #[command(
        after_help = "Examples:\n  tidegate savings                  this month so far\n  tidegate savings --from 2026-11-01 --to 2026-11-07 --to-model claude-haiku-4-5"
    )]
    Savings(Savings),
    /// What upstreams changed: limits, tiers, windows that began anew early or late
    #[command(after_help = "Examples:\n  tidegate changes\n  tidegate changes --from 2026-11-01 --json")]
    Changes(Changes),
    /// What a request body will come to, and how long it would wait now
    #[command(
        after_help = "Examples:\n  tidegate estimate body.json\n  jq .request log.json | tidegate estimate - --client ci"
    )]
    Estimate(Estimate),
    /// Hold the calls of a class or of a session back
    #[command(
        after_help = "Examples:\n  tidegate pause               background calls wait\n  tidegate pause normal\n  tidegate pause session:0a1b2c3d    one session's, by the id that alerts and `usage --by session` show\n  tidegate pause client:ci           one program's"
    )]
    Pause(Held),
    /// Let the calls of a class or of a session through again
    Resume(Held),
    /// The calls that wait; take one out or put it first
    #[command(
        after_help = "Examples:\n  tidegate queue\n  tidegate queue raise 01JDQ3V8M2    as much of an id as names one call"
    )]
    Queue(Queue),
    /// Save what is scarce for critical calls, by hand; rules in the settings do so by themselves
    #[command(subcommand)]
    Emergency(Emergency),
    /// What was told of limits, money and trouble
    #[command(subcommand)]
    Alert(Alert),
    /// The settings file: show it, change it and keep its comments
    #[command(subcommand, after_help = SETTINGS_HELP)]
    Settings(Settings),
    /// What the response cache holds and has saved; empty it
    #[command(
        after_help = "Examples:\n  tidegate cache\n  tidegate cache clear         forget every kept answer, in memory and on the disk"
    )]
    Cache(Cache),
    /// Run a command with capacity set aside for its calls
    #[command(after_help = RESERVE_HELP)]
    Reserve(Reserve),
    /// Run a simulated Claude API on its own
    #[command(
        after_help = "Examples:\n  tidegate simulate --scheme 2025-09 --tier 1\n  tidegate simulate --scheme none --listen 127.0.0.1:9100 --faults faults.json"
    )]
    Simulate(Simulate),
    /// One line for Claude Code's status line, from its JSON on stdin
    #[command(after_help = STATUSLINE_HELP)]
    Statusline,
    /// Look for what could keep calls from working
    Doctor(Shape),
}

#[derive(Debug, Args)]
pub(crate) struct Shape {
    /// One JSON document on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    #[arg(value_enum)]
    pub(crate) program: Program,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    #[arg(value_enum)]
    pub(crate) program: Program,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// Programs whose settings are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// Its settings.json in CLAUDE_CONFIG_DIR, else in ~/.claude
    ClaudeCode,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Listen here instead of where the settings say; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Stand on a simulated API with made-up traffic and a ledger of its own
    #[arg(long)]
    pub(crate) demo: bool,
    /// Answer questions as JSON under /tidegate, with the token in DIR/api-token
    #[arg(long)]
    pub(crate) api: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Make a client; its token is printed once, alone on stdout
    #[command(
        after_help = "Examples:\n  tidegate client add ci\n  tidegate client add support-bot --priority critical --daily-usd 20 --project shop"
    )]
    Add(ClientTerms),
    /// All clients
    List(Shape),
    /// Change a client; `none` takes an amount or a label away
    Set(ClientTerms),
    /// Take a client's token away; what runs finishes, nothing new starts
    Revoke { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct ClientTerms {
    /// 1 to 64 letters, digits, dots, dashes or underscores
    pub(crate) name: String,
    /// How urgent its calls are
    #[arg(long, value_enum)]
    pub(crate) priority: Option<ClassName>,
    /// Its share against other clients of its class
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) weight: Option<u32>,
    /// Whose it is
    #[arg(long, value_name = "P")]
    pub(crate) person: Option<String>,
    /// What it works on
    #[arg(long, value_name = "P")]
    pub(crate) project: Option<String>,
    /// Its budget for a day; when it is spent its calls are refused until the next
    #[arg(long, value_name = "X", value_parser = amount)]
    pub(crate) daily_usd: Option<String>,
    /// Its budget for a week, from Monday
    #[arg(long, value_name = "X", value_parser = amount)]
    pub(crate) weekly_usd: Option<String>,
    /// Its budget for a month
    #[arg(long, value_name = "X", value_parser = amount)]
    pub(crate) monthly_usd: Option<String>,
    /// Its share of the capacity while others wait, in percent; its tenants' shares inside it too
    #[arg(long, value_name = "PCT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) max_share: Option<u8>,
}

impl ClientTerms {
    pub(crate) fn change(&self) -> ClientChange {
        ClientChange {
            priority: self.priority.map(|class| class.name().to_owned()),
            weight: self.weight,
            person: self.person.clone(),
            project: self.project.clone(),
            daily_usd: self.daily_usd.clone(),
            weekly_usd: self.weekly_usd.clone(),
            monthly_usd: self.monthly_usd.clone(),
            max_share: self.max_share,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClassName {
    Critical,
    Normal,
    Background,
}

impl ClassName {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            ClassName::Critical => "critical",
            ClassName::Normal => "normal",
            ClassName::Background => "background",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Read a key from stdin into the keychain
    #[command(
        after_help = "Examples:\n  tidegate key set anthropic < key.txt\n  pass show claude | tidegate key set anthropic"
    )]
    Set { name: String },
    /// The names of the keys and their last four characters
    List(Shape),
    /// Try a key with a free call to the upstream that has it in the settings; exit code 1 unless it is taken
    #[command(after_help = "Examples:\n  tidegate key test anthropic\n  tidegate key test env:MY_KEY")]
    Test {
        /// Its name in the keychain, or as the settings write it
        name: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// Remove a key from the keychain
    Remove { name: String },
    /// Let one more host have a key
    #[command(after_help = "Example:\n  tidegate key allow anthropic https://gateway.example.com")]
    Allow { name: String, host: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Settings {
    /// Every setting with its value or default, and what is wrong with the file
    Show(Shape),
    /// Set one; what the running gateway can take at once it takes
    #[command(after_help = SETTINGS_HELP)]
    Set {
        /// Such as alerts.token_warning, or budget[scope=client:ci].daily_usd; what isn't there is made
        path: String,
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Begin with the settings for a way of working: solo, saas or batch
    #[command(after_help = "Examples:\n  tidegate settings preset solo --dry-run\n  tidegate settings preset saas")]
    Preset {
        name: String,
        /// Show what it changes, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take one out of the file, or one of several sections, so that its default holds
    #[command(after_help = SETTINGS_HELP)]
    Unset { path: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Emergency {
    /// Hold background calls back and slow normal ones, until `off`; without a running gateway from its next start on
    #[command(after_help = "Examples:\n  tidegate emergency on\n  tidegate emergency on --reason 'launch day'")]
    On {
        /// For everyone who reads the alert
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Let background calls go and normal ones at their pace; a rule enters it again only after its cause has gone once
    Off(Shape),
    /// Whether there is one, why, and what it and the last one came to
    Status(Shape),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    /// What was told, the latest first
    #[command(after_help = "Examples:\n  tidegate alert list\n  tidegate alert list --json")]
    List(Shape),
    /// Send one made-up alert by a channel of the settings, or show it on the desktop
    #[command(after_help = "Examples:\n  tidegate alert test desktop\n  tidegate alert test ops")]
    Test {
        /// As the settings name it; `desktop` is always there
        #[arg(value_name = "CHANNEL")]
        channel: String,
    },
    /// Keep what the same rule says of the same thing from desktop and channels for a while; it is listed all the same
    #[command(
        after_help = "Examples:\n  tidegate alert snooze 01JD\n  tidegate alert snooze 01JD --until 2026-11-30T08:00:00Z"
    )]
    Snooze {
        /// Its id, or as much of the beginning as names one
        #[arg(value_name = "ID")]
        id: String,
        /// A day or a moment that comes; else until the window that it is about begins anew
        #[arg(long, value_name = "D")]
        until: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// day, hour, model, client, person, project, tenant, session, account, upstream, device or tag:KEY
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<String>,
    #[command(flatten)]
    pub(crate) days: Days,
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// Comma-separated values on stdout
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A month such as 2026-10, or a day; this month so far without it
    #[arg(conflicts_with_all = ["from", "to"])]
    pub(crate) month: Option<String>,
    #[command(flatten)]
    pub(crate) days: MonthDays,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// From Monday, or from the 1st
    #[arg(value_enum, default_value_t = ReportPeriod::Week)]
    pub(crate) period: ReportPeriod,
    /// The one before this one
    #[arg(long)]
    pub(crate) last: bool,
    /// The one that holds this day; this one without it
    #[arg(long, value_name = "D", conflicts_with = "last")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// Comma-separated values on stdout
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportPeriod {
    Week,
    Month,
}

impl ReportPeriod {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            ReportPeriod::Week => "week",
            ReportPeriod::Month => "month",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Days {
    /// First day, or a month or a moment; today without it
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    /// Last day or month, or a moment that is not included; today without it
    #[arg(long, value_name = "D")]
    pub(crate) to: Option<String>,
}

/// As `Days`, of a question that is about the month so far where none is named.
#[derive(Debug, Args)]
pub(crate) struct MonthDays {
    /// First day, or a month or a moment; without both the 1st of this month
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    /// Last day or month, or a moment that is not included; today without it
    #[arg(long, value_name = "D")]
    pub(crate) to: Option<String>,
}

/// As `Days`, and of a bundle its months.
#[derive(Debug, Args)]
pub(crate) struct ExportDays {
    /// First day, or a month or a moment; today without it, of a bundle last month
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    /// Last day or month, or a moment that is not included; today without it, of a bundle this month
    #[arg(long, value_name = "D")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// First day, UTC; six days before --to without it
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    /// Last day, UTC; yesterday without it
    #[arg(long, value_name = "D")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Calls {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) last: u32,
    /// Only from this day, month or moment on
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    /// Only to this day or month, or before this moment
    #[arg(long, value_name = "D")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// As `x-tidegate-call` and `tidegate calls` show it
    pub(crate) call_id: String,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where the copy goes; a file there is replaced
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A line for each call that ended, or for each day or month by client, person, project, upstream and model, or for each
    /// alert; or the months as a signed bundle of sums for a team's lead
    #[arg(value_enum, default_value_t = Exported::Calls)]
    pub(crate) what: Exported,
    #[command(flatten)]
    pub(crate) days: ExportDays,
    /// Only of this client
    #[arg(long, value_name = "C")]
    pub(crate) client: Option<String>,
    /// Only these columns, in this order
    #[arg(long, value_name = "A,B")]
    pub(crate) columns: Option<String>,
    /// Of days and months: one line for all that agree in these, as person,project
    #[arg(long, value_name = "A,B")]
    pub(crate) by: Option<String>,
    /// Into this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Of a bundle: how this device is called from now on; else by the machine's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Of a bundle: with the tenants' names
    #[arg(long)]
    pub(crate) tenants: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exported {
    Calls,
    Daily,
    Monthly,
    Alerts,
    Bundle,
}

#[derive(Debug, Args)]
pub(crate) struct Held {
    /// critical, normal or background; one session as session:ID, or one client as client:NAME
    #[arg(value_name = "CLASS|session:ID|client:NAME", default_value = "background", value_parser = held)]
    pub(crate) what: String,
}

fn held(text: &str) -> Result<String, String> {
    let is_scope =
        ["session:", "client:"].iter().any(|kind| text.strip_prefix(kind).is_some_and(|name| !name.is_empty()));
    let is_class = ClassName::value_variants().iter().any(|class| class.name() == text);
    let known = is_scope || is_class;
    known
        .then(|| text.to_owned())
        .ok_or_else(|| "write critical, normal or background, session:ID or client:NAME".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Claude Code's logs: what is new in them since the last time
    #[command(
        after_help = "Examples:\n  tidegate import claude-code\n  tidegate import claude-code ~/.claude /mnt/laptop/.claude/projects\n  tidegate import claude-code --watch    and what comes while the gateway runs"
    )]
    ClaudeCode(ImportClaudeCode),
    /// Bundles that other devices of a team have exported
    #[command(after_help = "Examples:\n  tidegate import bundle anna.bundle ben.bundle\n  tidegate bundle list")]
    Bundle(ImportBundle),
}

#[derive(Debug, Args)]
pub(crate) struct ImportBundle {
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// The devices that have handed something over, with the fingerprints of their keys
    List(Shape),
    /// Take out what a device handed over, and forget its key
    Forget {
        /// Its id, or as much of the beginning as names one
        device: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Price {
    /// The prices in force and where they were read; of one model its history too
    #[command(
        after_help = "Examples:\n  tidegate price list\n  tidegate price list --model 'claude-sonnet-*'\n  tidegate price list --json"
    )]
    List(PriceList),
    /// Set a price or a discount of your own
    #[command(after_help = PRICE_SET_HELP)]
    Set(PriceSet),
    /// Take a price or discount of your own away
    #[command(
        after_help = "Examples:\n  tidegate price unset 'claude-*' discount\n  tidegate price unset claude-sonnet-5-5 input --from 2026-11-01"
    )]
    Unset(PriceUnset),
    /// Take a newer price file into use, after showing what it changes
    #[command(
        after_help = "Examples:\n  tidegate price update prices.json --dry-run\n  tidegate price update prices.json --yes\n\nThe file has the form of src-tauri/crates/app/data/prices.json. Nothing is ever fetched."
    )]
    Update(PriceUpdate),
    /// Go back to the prices that come with the program; your own stay
    Reset,
    /// Give calls that were made the prices of today's list; each change is kept beside the call
    #[command(
        after_help = "Examples:\n  tidegate price apply --from 2026-11-19 --dry-run\n  tidegate price apply --from 2026-11-01 --to 2026-11-30 --reason 'new contract'"
    )]
    Apply(PriceApply),
}

const PRICE_SET_HELP: &str = "\
CLASS is input, cache_write_5m, cache_write_1h, cache_read, output (dollars per million tokens), web_search (dollars per
1,000 searches) or discount (a percentage off the list price). MODEL may hold * for any run of characters; a whole id goes
before a pattern, a longer pattern before a shorter. A price of your own holds for prompts of every length; batches, fast
mode and inference in the US multiply it as they do the list's. `list` in place of a price ends it.

Examples:
  tidegate price set claude-sonnet-5-5 input 1.80 --from 2026-11-01
  tidegate price set 'claude-*' discount 15% --from 2026-11-01
  tidegate price set 'claude-*' discount list --from 2027-11-01";

#[derive(Debug, Args)]
pub(crate) struct PriceList {
    /// An id, an alias or a pattern
    #[arg(long, value_name = "M")]
    pub(crate) model: Option<String>,
    /// Earlier and later prices too
    #[arg(long)]
    pub(crate) history: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct PriceSet {
    pub(crate) model: String,
    pub(crate) class: String,
    #[arg(value_name = "USD_PER_MTOK", allow_hyphen_values = true)]
    pub(crate) value: String,
    /// First day, or a moment; now without it
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct PriceUnset {
    /// As it was set
    pub(crate) model: String,
    pub(crate) class: String,
    /// Only what was set from this day or moment; all of the class without it
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct PriceUpdate {
    pub(crate) file: PathBuf,
    /// Install it without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only show what it would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct PriceApply {
    #[command(flatten)]
    pub(crate) days: Days,
    /// Stands beside each call that changes, for `why`
    #[arg(long, value_name = "WHY")]
    pub(crate) reason: Option<String>,
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct ImportClaudeCode {
    /// Logs, projects folders or configuration folders; without one this user's own
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Go on taking in what comes while the gateway runs, from now on
    #[arg(long)]
    pub(crate) watch: bool,
    /// Stop doing so
    #[arg(long, conflicts_with_all = ["watch", "paths"])]
    pub(crate) no_watch: bool,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tier {
    /// What is known of each account, and the published tables, old beside new
    #[command(after_help = "Examples:\n  tidegate tier list\n  tidegate tier list --json")]
    List(Shape),
    /// Credit that was bought
    #[command(subcommand)]
    Purchase(Purchase),
    /// What the upstream buys by itself
    #[command(after_help = "Examples:\n  tidegate tier reload 5 25\n  tidegate tier reload off")]
    Reload {
        /// At a balance below so many dollars, or `off`
        #[arg(value_name = "BELOW|off")]
        below: String,
        /// So many dollars each time
        #[arg(value_name = "USD")]
        usd: Option<String>,
        /// Where several have a tier
        #[arg(long, value_name = "NAME")]
        upstream: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Purchase {
    /// All that are written down
    #[command(after_help = "Examples:\n  tidegate tier purchase list\n  tidegate tier purchase list --json")]
    List(Shape),
    /// Take one back that was written down by mistake
    #[command(after_help = "Example:\n  tidegate tier purchase remove 3")]
    Remove {
        /// As `tidegate tier purchase list` shows it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// Write one down
    #[command(
        after_help = "Examples:\n  tidegate tier purchase add 40\n  tidegate tier purchase add 40 --date 2026-11-02"
    )]
    Add {
        /// Dollars, without tax; at most 1,000,000
        #[arg(value_name = "USD", allow_hyphen_values = true)]
        usd: String,
        /// The day or moment it was bought; now without it
        #[arg(long, value_name = "D")]
        date: Option<String>,
        /// Where several have a tier
        #[arg(long, value_name = "NAME")]
        upstream: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Forecast {
    #[command(subcommand)]
    pub(crate) of: Option<ForecastOf>,
    /// What would it be if; again for each change, as the examples have it
    #[arg(long = "if", value_name = "CHANGE")]
    pub(crate) changes: Vec<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

const SHADOW_HELP: &str = "\
Nothing is sent: the calls are let through once more by the same rules, in no time, as they are and as they would be.

Examples:
  tidegate shadow --tier 2
  tidegate shadow --requests 1000 --input-tokens 450000
  tidegate shadow --budget \"client:ci day 20\" --priority nightly=background --from 2026-11-01";

#[derive(Debug, Args)]
pub(crate) struct Shadow {
    /// First day, or a month or a moment; without both the last seven days
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    /// Last day or month, or a moment that is not included; today without it
    #[arg(long, value_name = "D")]
    pub(crate) to: Option<String>,
    /// Whose calls, where there are several upstreams
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,
    /// A tier of its scheme
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<String>,
    /// So many in a minute, of each group of models
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// So many in a minute, of each group of models
    #[arg(long, value_name = "N")]
    pub(crate) input_tokens: Option<u64>,
    /// So many in a minute, of each group of models
    #[arg(long, value_name = "N")]
    pub(crate) output_tokens: Option<u64>,
    /// A scope, day, week or month, and dollars; again for each
    #[arg(long = "budget", value_name = "BUDGET")]
    pub(crate) budgets: Vec<String>,
    /// A client and its class; again for each
    #[arg(long = "priority", value_name = "CLIENT=CLASS")]
    pub(crate) priorities: Vec<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Savings {
    #[command(flatten)]
    pub(crate) days: MonthDays,
    /// To which model short calls would go; claude-haiku-4-5 without it
    #[arg(long, value_name = "MODEL")]
    pub(crate) to_model: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Minutes {
    #[command(flatten)]
    pub(crate) days: Days,
    /// As `tidegate status` names it; else the one that was called most
    #[arg(long, value_name = "G")]
    pub(crate) group: Option<String>,
    #[arg(long, value_name = "U")]
    pub(crate) upstream: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Changes {
    /// First day, or a month or a moment; without both the last 90 days
    #[arg(long, value_name = "D")]
    pub(crate) from: Option<String>,
    /// Last day or month, or a moment that is not included; today without it
    #[arg(long, value_name = "D")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForecastOf {
    /// How good each method would have been on a series: each full window foretold from what came before it
    #[command(after_help = BACKTEST_HELP)]
    Backtest(Backtest),
}

const BACKTEST_HELP: &str = "\
The file is CSV: an instant such as 2026-11-02T00:00:00Z and what was used in the step that begins there; a missing step is 0.
Windows are foretold 24, 48, 72, 96 and 120 hours after they begin, from the third full one on, as long as the limit isn't reached.

Examples:
  tidegate forecast backtest usage.csv
  tidegate forecast backtest usage.csv --resets \"Thu 09:00 Europe/Berlin\" --limit 250
  tidegate forecast backtest usage.csv --window month --json";

#[derive(Debug, Args)]
pub(crate) struct Backtest {
    /// Instants and amounts
    #[arg(value_name = "FILE.csv")]
    pub(crate) file: PathBuf,
    /// How long a window lasts
    #[arg(long, value_enum, default_value_t = BacktestWindow::Week)]
    pub(crate) window: BacktestWindow,
    /// When a window begins anew; without it Monday or the 1st, 00:00 UTC
    #[arg(long, value_name = "WHEN")]
    pub(crate) resets: Option<String>,
    /// What a window holds, in the unit of the file; auto takes a total that 40 % of the windows exceed
    #[arg(long, value_name = "AMOUNT|auto", default_value = "auto", value_parser = limit)]
    pub(crate) limit: BacktestLimit,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BacktestWindow {
    Week,
    Month,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum BacktestLimit {
    Auto,
    Amount(f64),
}

/// As of the amounts in the file.
const LIMIT_MAX: f64 = 1e15;

fn limit(text: &str) -> Result<BacktestLimit, String> {
    if text == "auto" {
        return Ok(BacktestLimit::Auto);
    }
    let amount = text.parse::<f64>().ok().filter(|amount| *amount > 0.0 && *amount <= LIMIT_MAX);
    amount
        .map(BacktestLimit::Amount)
        .ok_or_else(|| "write an amount above 0, at most 1e15, such as 250, or auto".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Estimate {
    /// The body of a POST /v1/messages; `-` reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Go by what this client's calls have taught
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Queue {
    #[command(subcommand)]
    pub(crate) act: Option<QueueAct>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) act: Option<CacheAct>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheAct {
    /// How much it holds, how often it answered, what that saved
    Status(Shape),
    /// Forget every kept answer
    Clear(Shape),
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueAct {
    /// The calls that wait, the longest first
    List(Shape),
    /// Refuse a call that waits
    Drop(OneCall),
    /// Put a call that waits before all others
    Raise(OneCall),
}

#[derive(Debug, Args)]
pub(crate) struct OneCall {
    /// Its id, or as much of the beginning as names one call
    #[arg(value_name = "ID")]
    pub(crate) call: String,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Reserve {
    /// How many calls
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) calls: u64,
    /// Input tokens of all calls together
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000_000))]
    pub(crate) input_tokens: u64,
    /// Output tokens of all calls together
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000_000))]
    pub(crate) output_tokens: u64,
    /// The model that is called
    #[arg(long, value_name = "M")]
    pub(crate) model: String,
    /// How long the work takes at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = ttl)]
    pub(crate) ttl: Duration,
    /// Whose calls they are; without it that of the token in ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or TIDEGATE_TOKEN, or the only one there is
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// What to run
    #[arg(value_name = "CMD", required = true, last = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// 2025-09, 2026-03, 2026-06, or none for no limits
    #[arg(long, default_value = "2025-09")]
    pub(crate) scheme: String,
    /// A tier of the scheme; its first without it
    #[arg(long)]
    pub(crate) tier: Option<String>,
    /// A script of faults
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
    /// Another seed gives other answers, and another program on the key that comes at other moments
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    app::settings::parse_listen(text).map_err(|rule| format!("it {rule}, for example 127.0.0.1:8432"))
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = app::settings::parse_duration(text).filter(|ttl| (TTL_MIN..=TTL_MAX).contains(ttl));
    ttl.ok_or_else(|| "write a time from 1s to 24h, for example 10m".to_owned())
}

const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(86_400);

fn amount(text: &str) -> Result<String, String> {
    let plain = !text.starts_with('-') && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let legal = text == "none" || plain && text.parse::<f64>().is_ok();
    if legal { Ok(text.to_owned()) } else { Err("write dollars such as 12.50, or none".to_owned()) }
}

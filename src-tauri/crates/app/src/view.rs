//! What shells show, as JSON. Money is a decimal string, unknown money is null, counts are integers.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::renewal::SettingsStateView;

/// `tidegate status --json`, and the Overview.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct StatusView {
    pub version: String,
    /// RFC 3339, UTC: when this was read.
    pub at: String,
    pub gateway: GatewayView,
    /// How the settings file stands to what is in force.
    pub settings: SettingsStateView,
    pub limits: Vec<LimitView>,
    pub windows: Vec<WindowView>,
    pub queue: QueueView,
    /// Whose calls wait until a person lets them go on.
    pub paused: Vec<PausedView>,
    pub spend: SpendView,
    pub forecasts: Vec<ForecastView>,
    pub breakers: Vec<BreakerView>,
    pub emergency: EmergencyView,
    pub outside: Vec<OutsideView>,
    pub reservations: Vec<ReservationView>,
    pub alerts: Vec<AlertView>,
    pub estimates: Vec<EstimateView>,
    pub cache: CacheView,
    pub success: SuccessView,
    pub cut_offs: CutOffsView,
    /// What the upstream's status page says, where the settings have it asked. Our own breakers go by no word of it.
    pub upstream_page: Option<UpstreamPageView>,
    /// What Claude Code last said of its subscription's windows; empty where it said nothing, null where it has no calls here.
    pub subscription: Option<Vec<ObservedView>>,
    /// Calls that run now, then the latest that ended; newest first, at most 50.
    pub live: Vec<LiveCallView>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct GatewayView {
    /// `http://127.0.0.1:8432`; null while it does not listen.
    pub address: Option<String>,
    /// `open`, `draining`, `stopped` or `demo`.
    pub state: String,
    /// One sentence where something keeps calls from leaving, such as a locked keychain.
    pub trouble: Option<String>,
    /// Names of the upstreams.
    pub upstreams: Vec<String>,
    pub timezone: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LimitView {
    pub upstream: String,
    /// `sonnet-4`, or the patterns of a line of the settings.
    pub group: String,
    /// `requests`, `input_tokens`, `output_tokens`, `tokens`, `concurrency`, `priority_input_tokens`, `priority_output_tokens`.
    pub resource: String,
    pub limit: u64,
    /// What Tidegate allows itself of the limit.
    pub guard: u64,
    /// What is left of it now; negative is a debt.
    pub level: i64,
    /// `settings`, `tier`, `headers`, `api`.
    pub source: String,
    /// RFC 3339; null where no response has confirmed it.
    pub observed_at: Option<String>,
}

/// A window of an upstream, or a budget.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct WindowView {
    /// `week`, or `client:ci day`.
    pub name: String,
    /// Of a window; null for a budget.
    pub upstream: Option<String>,
    /// Of a budget: `client:ci`, `machine`; null for a window.
    pub scope: Option<String>,
    /// `usd`, `tokens` or `percent`.
    pub unit: String,
    pub used: AmountView,
    /// Held for calls that run, and for reservations.
    pub reserved: AmountView,
    pub limit: AmountView,
    /// Null for a rolling window that has not begun.
    pub resets_at: Option<String>,
    /// A running stream is cut at the limit.
    pub hard: bool,
}

/// How full a window of a subscription was when Claude Code last said so.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ObservedView {
    /// `five_hour`, `seven_day`, …
    pub window: String,
    /// Null since the window began anew: nobody has said anything since.
    pub used_percent: Option<f64>,
    pub resets_at: Option<String>,
    pub observed_at: String,
    pub age_s: u64,
}

/// Dollars are a decimal string, tokens an integer, percent a number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, TS)]
#[serde(untagged)]
#[ts(export)]
pub enum AmountView {
    Usd(String),
    Tokens(u64),
    Percent(f64),
}

impl Default for AmountView {
    fn default() -> AmountView {
        AmountView::Tokens(0)
    }
}

/// Capacity that is set aside for a piece of work.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ReservationView {
    pub id: String,
    pub client: String,
    pub upstream: String,
    pub model: String,
    pub calls: u64,
    /// Calls that have gone so far.
    pub used: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub starts_at: String,
    pub expires_at: String,
}

/// A call in the queue: `tidegate queue list --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct WaitingView {
    pub call_id: String,
    pub client: String,
    pub tenant: Option<String>,
    /// `critical`, `normal`, `background`.
    pub class: String,
    pub model: String,
    pub upstream: String,
    /// An estimate.
    pub input_tokens: u64,
    pub waited_ms: u64,
    /// Null where nobody knows.
    pub eta_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct PausedView {
    /// `session:ID`, `client:NAME`.
    pub scope: String,
    pub since: String,
    pub waiting: u64,
}

/// What a request body will come to: `tidegate estimate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OutlookView {
    pub model: String,
    /// Whose habits it goes by; null where those of all.
    pub client: Option<String>,
    /// What is likely, and how much more it may well be.
    pub input_tokens: u64,
    pub input_error: u64,
    pub output_tokens: u64,
    pub output_error: u64,
    /// At what is likely; null where the price is unknown.
    pub cost_usd: Option<String>,
    /// At the most it may come to.
    pub worst_cost_usd: Option<String>,
    /// How long it would wait now; null where nobody knows or no gateway runs.
    pub wait_ms: Option<u64>,
    /// What it would wait for: `sonnet-4 input_tokens`.
    pub waits_for: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct QueueView {
    pub critical: ClassQueueView,
    pub normal: ClassQueueView,
    pub background: ClassQueueView,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ClassQueueView {
    pub waiting: u64,
    pub running: u64,
    pub oldest_ms: u64,
    /// Until the last of them is expected to leave, 0 where none waits; `null` where nobody knows: somebody holds them.
    pub eta_ms: Option<u64>,
    pub paused: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SpendView {
    pub today_usd: String,
    pub week_usd: String,
    pub month_usd: String,
    /// Calls of unknown price, not in the sums.
    pub unpriced_calls: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ForecastView {
    /// Of an upstream: `week`, …, and `tier` for its month; of a budget: `day`, `week`, `month`; of a subscription:
    /// `five_hour`, `seven_day`; `spend day`, `spend week` and `spend month` of all.
    pub window: String,
    pub upstream: Option<String>,
    /// Of a budget: `client:ci`, `machine`; `subscription`.
    pub scope: Option<String>,
    /// `usd`, `tokens` or `percent`.
    pub unit: String,
    pub since: String,
    pub used: AmountView,
    /// Null where only the total is asked for.
    pub limit: Option<AmountView>,
    /// Since when, where it came or changed while the window ran; what was used before counts too.
    pub limit_since: Option<String>,
    pub resets_at: String,
    /// Before the reset, from 0 to 1; null without a limit, and while it is not informative.
    pub p_runs_out: Option<f64>,
    /// RFC 3339; null where it lasts until the reset, and while it is not informative.
    pub runs_out: SpreadView<Option<String>>,
    /// Null without a limit; its parts are while it is not informative.
    pub left_at_reset: Option<SpreadView<Option<AmountView>>>,
    /// What the whole window comes to, if nothing stops it; null while it is not informative.
    pub total: SpreadView<Option<AmountView>>,
    /// Whether there is enough to go by; `basis` says why not.
    pub informative: bool,
    /// What it goes by.
    pub basis: String,
    /// One clause for people: `runs out Thu afternoon to Fri morning (Europe/Berlin)`.
    pub text: String,
    /// What one percent comes to; null for other units, and before it is learned.
    pub exchange: Option<ExchangeView>,
    /// How earlier forecasts of it came out; null before the first.
    pub score: Option<ScoreView>,
}

/// Dollars for one percent: the median, and between which two half of what was seen lies.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ExchangeView {
    pub usd_per_percent: String,
    pub from_usd: String,
    pub to_usd: String,
    pub percent_seen: f64,
}

/// `tidegate forecast --if … --json`: a forecast, and what it would be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct WhatIfView {
    pub before: ForecastView,
    pub after: ForecastView,
}

/// The ends of the 80 % band, and its middle.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SpreadView<T> {
    pub p10: T,
    pub p50: T,
    pub p90: T,
}

/// How forecasts came out: means over those whose window has ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ScoreView {
    pub forecasts: u64,
    /// The band held what came.
    pub hits: u64,
    pub mae_hours: f64,
    pub crps_hours: f64,
    /// Of the probability of running out; 0 is perfect.
    pub brier: f64,
    pub width_hours: f64,
    /// 1 is perfect, 0 as good as the straight line; null where that made no error.
    pub skill_straight_line: Option<f64>,
    pub skill_seasonal_naive: Option<f64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BreakerView {
    pub upstream: String,
    pub group: String,
    /// `closed`, `open`, `half_open`. A group that has not failed lately is not here, and is closed.
    pub state: String,
    /// Until when no call starts.
    pub until: Option<String>,
    /// When it first opened, however many calls that tried have failed since.
    pub since: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct EmergencyView {
    pub active: bool,
    pub since: Option<String>,
    /// One sentence.
    pub reason: Option<String>,
    /// `hand`, `week`, `breaker`, `spend`: what keeps it up.
    pub causes: Vec<String>,
    /// Background calls that have waited because of it.
    pub calls_held: u64,
    /// What calls that started in it cost, and what answers from the cache saved.
    pub spent_usd: String,
    pub saved_usd: String,
    /// Whom the settings say to call.
    pub contacts: Vec<String>,
    /// Where the upstreams tell of their state and limits.
    pub pages: Vec<String>,
    /// The one before.
    pub last: Option<EmergencyReportView>,
}

/// What an emergency came to that is over.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct EmergencyReportView {
    pub since: String,
    pub until: String,
    pub length_s: u64,
    pub reason: String,
    pub calls_held: u64,
    pub spent_usd: String,
    pub saved_usd: String,
}

/// An upstream's own word about its state.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct UpstreamPageView {
    pub url: String,
    /// `none`, `minor`, `major`, `critical`, `maintenance`; null before the page was read.
    pub indicator: Option<String>,
    pub description: Option<String>,
    /// Those that go on.
    pub incidents: Vec<IncidentView>,
    /// When it was last read whole.
    pub checked_at: Option<String>,
    /// Why it could not be read the last time.
    pub error: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct IncidentView {
    pub name: String,
    pub status: String,
    pub shortlink: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OutsideView {
    pub upstream: String,
    pub group: String,
    pub resource: String,
    /// What others on the same key drew of all that was drawn in the last minutes, from 0 to 1.
    pub share: f64,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct AlertView {
    pub alert_id: String,
    /// A shipped rule as `docs/alerts.md` names it, or one of the settings.
    pub rule: String,
    /// What it is about: `week`, `upstream:anthropic`, `client:ci day`.
    pub scope: String,
    /// As the rule's sign is measured; empty where it is none.
    pub threshold: String,
    pub value: String,
    /// `info`, `warning`, `critical`, `emergency`.
    pub severity: String,
    /// One sentence.
    pub message: String,
    pub crossed_at: String,
    pub resolved_at: Option<String>,
    /// Where it was told beside here.
    pub channels: Vec<String>,
    /// When the window that it is about begins anew.
    #[serde(default)]
    pub resets_at: Option<String>,
    /// Until then what the rule says of the same thing is shown here alone.
    #[serde(default)]
    pub snoozed_until: Option<String>,
    /// It waits for the end of quiet hours or of a snooze.
    #[serde(default)]
    pub held: bool,
    /// What may be done about it: `pause_session:ID`, `resume_session:ID`.
    #[serde(default)]
    pub action: Option<String>,
    /// Channels that have yet to take it, or its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[ts(skip)]
    pub waiting: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct EstimateView {
    pub upstream: String,
    pub model: String,
    pub client: String,
    /// How many calls the errors are of.
    pub calls: u64,
    /// How far the estimated input was off, as a part of the true one.
    pub median_error: f64,
    pub p95_error: f64,
}

/// Of this month's calls that asked the response cache.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CacheView {
    pub hits: u64,
    pub misses: u64,
    /// That would have gone to an upstream: each hit.
    pub calls_avoided: u64,
    /// Part of the calls that asked, 0 to 1; null where none did.
    pub hit_rate: Option<f64>,
    /// What the answers had cost that were given again. It is in no cost.
    pub saved_usd: String,
}

/// `tidegate cache --json`
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct KeptView {
    /// By the settings.
    pub enabled: bool,
    /// Kept on the disk.
    pub answers: u64,
    pub bytes: u64,
    /// This month so far.
    pub month: CacheView,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SuccessView {
    /// That the ledger covers, at most 30; the other figures are of these.
    pub days: u64,
    /// 429 of an upstream that reached a client.
    pub rate_limit_errors_seen: u64,
    /// Calls that ended well at another upstream than their first, or with the configured text.
    pub fallbacks_served: u64,
    /// Warnings of a tier's month that came before the upstream was seen to have other limits.
    pub alerts_before_tier_change: u64,
    /// From the first failed attempt of an outage to the end of the next call that its upstream completed.
    pub longest_recovery_s: u64,
}

/// Answers of the last 24 hours that a client did not get whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CutOffsView {
    /// They came to the client's own `max_tokens`.
    pub max_tokens: u64,
    /// They ended before they were whole, at a hard budget too.
    pub cut: u64,
    /// Nothing more came of them.
    pub silent: u64,
    /// They had begun well, and an error came in their midst.
    pub error_after_start: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LiveCallView {
    pub call_id: String,
    pub started_at: String,
    pub client: String,
    /// `critical`, `normal`, `background`.
    pub class: String,
    pub model: String,
    /// `waiting`, `running`, or how it ended: `completed`, `cut`, `cancelled`, `refused`, `failed`, `interrupted`.
    pub state: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: Option<String>,
    pub waited_ms: u64,
    pub total_ms: u64,
}

/// `tidegate usage --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct UsageView {
    pub from: String,
    pub to: String,
    pub timezone: String,
    pub rows: Vec<UsageRowView>,
    pub total: UsageRowView,
    /// What Claude Code last said of its subscription's windows; empty where it said nothing, null where it has no calls here.
    pub subscription: Option<Vec<ObservedView>>,
    /// The day (UTC) up to which the upstreams' reports agree, or differ in what is explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub reconciled_to: Option<String>,
    /// Calls from before were deleted, and these rows are of what is left: sums by session and tag are made from calls alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub kept_from: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct UsageRowView {
    pub key: String,
    pub calls: u64,
    pub input_tokens: u64,
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
    /// Exact, nine decimals; null where no call had a known price.
    pub cost_usd: Option<String>,
    pub unpriced_calls: u64,
    pub saved_usd: String,
}

/// A call that has ended: `tidegate calls --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct CallView {
    pub call_id: String,
    /// The upstream's name for it, of the last attempt that has one.
    pub request_id: Option<String>,
    pub started_at: String,
    pub ended_at: String,
    pub client: String,
    pub person: Option<String>,
    pub project: Option<String>,
    pub tenant: Option<String>,
    /// `critical`, `normal`, `background`.
    pub priority: String,
    pub upstream: Option<String>,
    pub model: String,
    /// What the client got; 0 where it got nothing.
    pub status: u16,
    pub outcome: String,
    pub input_tokens: u64,
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: Option<String>,
    pub price_id: Option<String>,
    pub estimated: bool,
    pub waited_ms: u64,
    pub first_byte_ms: Option<u64>,
    pub total_ms: u64,
    pub attempts: u64,
    /// `hit`, `miss`, `off`.
    pub cache: String,
    /// What the answer had cost that a hit gave again.
    pub saved_usd: Option<String>,
    pub error: Option<String>,
}

/// `tidegate why CALL_ID`: where a call went, what it cost and by which price.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct WhyView {
    pub call: CallView,
    pub attempts: Vec<AttemptView>,
    pub price: Option<PriceView>,
    /// What the cost is made of, before any multiplier.
    pub terms: Vec<TermView>,
    pub pricing: PricingView,
    /// Why it had to wait, where it had; of a refused call, why it was refused.
    pub waited_for: Option<String>,
    /// Who told of it; the one that counts first.
    pub sources: Vec<SourceView>,
    /// It counts nowhere, because another entry has its place.
    pub superseded: bool,
    /// That entry, where it is known.
    pub superseded_by: Option<String>,
    /// Entries whose place it has taken.
    pub supersedes: Vec<String>,
}

/// What one source says of a call.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SourceView {
    /// `gateway`, `otel`, `log`.
    pub source: String,
    /// The ledger's sums go by what it says.
    pub counts: bool,
    /// Why, or why not.
    pub reason: String,
    pub call_id: Option<String>,
    pub message_id: Option<String>,
    pub request_id: Option<String>,
    /// The log it stands in.
    pub file: Option<String>,
    pub at: String,
    pub model: String,
    pub input_tokens: u64,
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
    pub web_searches: u64,
    /// At the price of its day; null where that is unknown.
    pub cost_usd: Option<String>,
    /// What it says otherwise than this entry: `output_tokens 8, not 7`.
    pub differs: Vec<String>,
}

/// How a call came to its price, and how sure that is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct PricingView {
    /// `exact`, `family`, `unpriced`, `priority`, `free`, `several`.
    pub certainty: String,
    /// One sentence where there is something to say.
    pub says: String,
    pub multipliers: Vec<MultiplierView>,
    pub web_searches: u64,
    pub web_search_usd: Option<String>,
    /// What the family's other prices would make of it.
    pub band: Option<BandView>,
    /// What Priority Tier takes from its commitment.
    pub burndown_tokens: Option<u64>,
    pub elsewhere: Option<FigureElsewhereView>,
    /// From the first.
    pub changes: Vec<RepricedView>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct MultiplierView {
    pub name: String,
    pub factor: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct BandView {
    pub least_usd: String,
    pub most_usd: String,
}

/// A figure that was published elsewhere: shown, never computed with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct FigureElsewhereView {
    pub input_usd_per_mtok: String,
    pub output_usd_per_mtok: String,
    /// Of input and output.
    pub would_be_usd: String,
    pub label: String,
    pub source: String,
}

/// One time a call got another price.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RepricedView {
    pub at: String,
    pub old_price_id: Option<String>,
    pub old_cost_usd: Option<String>,
    pub price_id: Option<String>,
    pub cost_usd: String,
    pub reason: String,
    /// What the old cost and the new one were computed with, where they are known: `input $5, output $25`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub old_figures: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub figures: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct AttemptView {
    pub number: u32,
    pub upstream: String,
    pub opened_at: String,
    pub status: Option<u16>,
    pub request_id: Option<String>,
    pub error: Option<String>,
    pub maybe_billed: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct PriceView {
    pub price_id: String,
    pub valid_from: Option<String>,
    /// Where the figures were read.
    pub source: String,
    /// Until then the row had these figures; absent where it has them today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub held_until: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TermView {
    /// `input`, `cache_write_5m`, `cache_write_1h`, `cache_read`, `output`.
    pub class: String,
    pub tokens: u64,
    pub usd_per_mtok: String,
    pub cost_usd: String,
}

/// `tidegate client list --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ClientView {
    pub name: String,
    pub priority: String,
    pub weight: u32,
    pub person: Option<String>,
    pub project: Option<String>,
    pub daily_usd: Option<String>,
    pub weekly_usd: Option<String>,
    pub monthly_usd: Option<String>,
    pub max_share: Option<u8>,
    /// When its latest call that ended began; only in the list of clients.
    pub last_call_at: Option<String>,
}

/// `tidegate verify --json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct VerifyView {
    pub clean: bool,
    /// One sentence for each thing that does not add up.
    pub findings: Vec<String>,
}

//! `/metrics`: what Prometheus reads. Counters and durations since this process began, and how things stand now.
//!
//! Beside our own names stand OpenTelemetry's for generative AI, so that dashboards made for those work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use domain::call::{CacheUse, Entry, Outcome};
use domain::money::Usd;
use domain::time::Timestamp;
use domain::usage::Tokens;
use prometheus::core::Collector;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, Result, TextEncoder,
    exponential_buckets,
};

use crate::log;
use crate::view::{AmountView, ClassQueueView, LimitView, StatusView, WindowView};

/// What is counted as calls end.
pub(crate) struct Meter {
    registry: Registry,
    calls: IntCounterVec,
    attempts: IntCounterVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    unpriced: IntCounterVec,
    cached: IntCounterVec,
    saved: CounterVec,
    wait: HistogramVec,
    first_byte: HistogramVec,
    duration: HistogramVec,
    gen_ai_tokens: HistogramVec,
    gen_ai_duration: HistogramVec,
    gen_ai_first_chunk: HistogramVec,
    /// Models that have rows of their own.
    models: Mutex<BTreeSet<Arc<str>>>,
}

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A client may name any model: those after so many share a row.
const MODELS_MAX: usize = 100;
const OTHERS: &str = "others";

const WHOSE: [&str; 3] = ["client", "model", "upstream"];
/// As OpenTelemetry names operations, providers and models, with underscores for its dots.
const GEN_AI: [&str; 3] = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"];
const OPERATION: &str = "chat";
const PROVIDER: &str = "anthropic";

impl Meter {
    /// # Errors
    /// Never but where two metrics have one name.
    pub(crate) fn new() -> Result<Meter> {
        let registry = Registry::new();
        let counts = |name, help, labels: &[&str]| kept(&registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        let dollars = |name, help, labels: &[&str]| kept(&registry, CounterVec::new(Opts::new(name, help), labels)?);
        // 10 ms to 11 minutes.
        let ours = exponential_buckets(0.01, 2.0, 17)?;
        // Both as OpenTelemetry asks for.
        let (durations, tokens) = (exponential_buckets(0.01, 2.0, 14)?, exponential_buckets(1.0, 4.0, 14)?);
        let spread = |name, help, bounds: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
            kept(&registry, HistogramVec::new(options, labels)?)
        };
        let [operation, provider, model] = GEN_AI;
        Ok(Meter {
            calls: counts(
                "tidegate_calls_total",
                "Calls that have ended.",
                &["client", "model", "upstream", "class", "outcome"],
            )?,
            attempts: counts(
                "tidegate_attempts_total",
                "Attempts at an upstream, by the status of its answer.",
                &["upstream", "status"],
            )?,
            tokens: counts(
                "tidegate_tokens_total",
                "Tokens of calls that have ended, by what has a price of its own.",
                &["client", "model", "upstream", "kind"],
            )?,
            cost: dollars("tidegate_cost_usd_total", "Cost of calls whose price is known, in US dollars.", &WHOSE)?,
            unpriced: counts("tidegate_unpriced_calls_total", "Calls whose price is unknown.", &["model"])?,
            cached: counts(
                "tidegate_response_cache_calls_total",
                "Calls that asked the response cache, by whether it had their answer.",
                &["result"],
            )?,
            saved: dollars(
                "tidegate_response_cache_saved_usd_total",
                "What answers from the response cache had cost, in US dollars.",
                &["model"],
            )?,
            wait: spread("tidegate_queue_wait_seconds", "How long calls waited in the queue.", &ours, &["class"])?,
            first_byte: spread(
                "tidegate_first_byte_seconds",
                "From a call's arrival to the first byte of its answer.",
                &ours,
                &["class"],
            )?,
            duration: spread(
                "tidegate_call_duration_seconds",
                "From a call's arrival to its end.",
                &ours,
                &["class", "outcome"],
            )?,
            gen_ai_tokens: spread(
                "gen_ai_client_token_usage",
                "Tokens of a call; its input is the whole prompt.",
                &tokens,
                &[operation, provider, model, "gen_ai_token_type"],
            )?,
            gen_ai_duration: spread(
                "gen_ai_client_operation_duration_seconds",
                "From a call's arrival to its end.",
                &durations,
                &[operation, provider, model, "error_type"],
            )?,
            gen_ai_first_chunk: spread(
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "From a call's arrival to the first byte of its answer.",
                &durations,
                &GEN_AI,
            )?,
            registry,
            models: Mutex::default(),
        })
    }

    pub(crate) fn count(&self, entry: &Entry) {
        let (class, outcome) = (entry.call.class.name(), entry.outcome.name());
        let (client, model) = (&*entry.call.who.client, &*self.row_of(&entry.call.model));
        let upstream = entry.attempts.last().map_or("", |attempt| &*attempt.upstream);
        self.calls.with_label_values(&[client, model, upstream, class, outcome]).inc();
        for attempt in &entry.attempts {
            let status = attempt.status.map_or("none".into(), |status| status.to_string());
            self.attempts.with_label_values(&[&*attempt.upstream, &status]).inc();
        }
        self.wait.with_label_values(&[class]).observe(seconds(entry.waited_ms));
        self.duration.with_label_values(&[class, outcome]).observe(seconds(entry.total_ms));
        if let Some(first_byte) = entry.first_byte_ms {
            self.first_byte.with_label_values(&[class]).observe(seconds(first_byte));
        }
        if entry.outcome == Outcome::Refused {
            return;
        }
        for (kind, count) in kinds(&entry.usage.tokens) {
            self.tokens.with_label_values(&[client, model, upstream, kind]).inc_by(count);
        }
        match entry.cost {
            // A counter takes nothing back.
            Some(cost) => self.cost.with_label_values(&[client, model, upstream]).inc_by(dollars(cost)),
            None => self.unpriced.with_label_values(&[model]).inc(),
        }
        if entry.cache != CacheUse::Off {
            self.cached.with_label_values(&[entry.cache.name()]).inc();
        }
        if let Some(saved) = entry.saved {
            self.saved.with_label_values(&[model]).inc_by(dollars(saved));
        }
        if entry.cache != CacheUse::Hit {
            self.count_operation(entry, model);
        }
    }

    /// As OpenTelemetry counts what was asked of a provider.
    fn count_operation(&self, entry: &Entry, model: &str) {
        let tokens = &entry.usage.tokens;
        for (kind, count) in [("input", tokens.prompt()), ("output", tokens.output)] {
            self.gen_ai_tokens.with_label_values(&[OPERATION, PROVIDER, model, kind]).observe(count as f64);
        }
        let error = match entry.outcome {
            Outcome::Completed => String::new(),
            Outcome::Failed => entry.status.to_string(),
            Outcome::Cut | Outcome::Cancelled | Outcome::Interrupted | Outcome::Refused => entry.outcome.to_string(),
        };
        let duration = self.gen_ai_duration.with_label_values(&[OPERATION, PROVIDER, model, &error]);
        duration.observe(seconds(entry.total_ms));
        if let Some(first) = entry.first_byte_ms {
            self.gen_ai_first_chunk.with_label_values(&[OPERATION, PROVIDER, model]).observe(seconds(first));
        }
    }

    fn row_of(&self, model: &Arc<str>) -> Arc<str> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if !models.contains(model) {
            if models.len() >= MODELS_MAX {
                return OTHERS.into();
            }
            models.insert(model.clone());
        }
        model.clone()
    }

    /// All that was counted, and how things stand, in the text format 0.0.4.
    ///
    /// # Errors
    /// Never but where two metrics have one name.
    pub(crate) fn text(&self, status: &StatusView) -> Result<String> {
        let standing = Registry::new();
        stand(&standing, status)?;
        let families = [self.registry.gather(), standing.gather()].concat();
        TextEncoder::new().encode_to_string(&families)
    }
}

fn kept<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn kinds(tokens: &Tokens) -> [(&'static str, u64); 5] {
    [
        ("input", tokens.input),
        ("cache_write_5m", tokens.cache_write_5m),
        ("cache_write_1h", tokens.cache_write_1h),
        ("cache_read", tokens.cache_read),
        ("output", tokens.output),
    ]
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}

fn dollars(cost: Usd) -> f64 {
    cost.as_nanos().max(0) as f64 / 1e9
}

/// How things stand now.
fn stand(registry: &Registry, status: &StatusView) -> Result<()> {
    let gauge = |name, help, labels: &[&str]| kept(registry, GaugeVec::new(Opts::new(name, help), labels)?);
    gauge("tidegate_build_info", "The version that runs.", &["version"])?
        .with_label_values(&[&status.version])
        .set(1.0);

    let labels = ["upstream", "group", "resource"];
    let limit = gauge("tidegate_limit", "What an upstream allows in a minute, or at once.", &labels)?;
    let guard = gauge("tidegate_limit_guard", "What Tidegate allows itself of a limit.", &labels)?;
    let left = gauge("tidegate_limit_level", "What is left of a limit now.", &labels)?;
    for LimitView { upstream, group, resource, limit: most, guard: guarded, level, .. } in &status.limits {
        let labels = [upstream.as_str(), group, resource];
        limit.with_label_values(&labels).set(*most as f64);
        guard.with_label_values(&labels).set(*guarded as f64);
        left.with_label_values(&labels).set(*level as f64);
    }
    let outside = gauge("tidegate_outside_ratio", "What others on the same key drew of all.", &labels)?;
    for seen in &status.outside {
        outside.with_label_values(&[seen.upstream.as_str(), &seen.group, &seen.resource]).set(seen.share);
    }

    let labels = ["window", "upstream", "unit"];
    let used = gauge("tidegate_window_used", "What was used of a window or budget.", &labels)?;
    let most = gauge("tidegate_window_limit", "The limit of a window or budget.", &labels)?;
    let resets = gauge("tidegate_window_resets_timestamp_seconds", "When it begins anew.", &labels)?;
    for WindowView { name, upstream, unit, used: so_far, limit, resets_at, .. } in &status.windows {
        let labels = [name.as_str(), upstream.as_deref().unwrap_or(""), unit];
        used.with_label_values(&labels).set(number(so_far));
        most.with_label_values(&labels).set(number(limit));
        if let Some(at) = resets_at.as_deref().and_then(Timestamp::parse) {
            resets.with_label_values(&labels).set(at.as_millis() as f64 / 1_000.0);
        }
    }

    let waiting = gauge("tidegate_queue_waiting", "Calls that wait.", &["class"])?;
    let running = gauge("tidegate_queue_running", "Calls that run.", &["class"])?;
    let oldest = gauge("tidegate_queue_oldest_seconds", "How long the first of them has waited.", &["class"])?;
    let queue = &status.queue;
    for (class, of) in [("critical", &queue.critical), ("normal", &queue.normal), ("background", &queue.background)] {
        let ClassQueueView { waiting: calls, running: at_once, oldest_ms, .. } = of;
        waiting.with_label_values(&[class]).set(*calls as f64);
        running.with_label_values(&[class]).set(*at_once as f64);
        oldest.with_label_values(&[class]).set(seconds(*oldest_ms));
    }

    let breakers = gauge("tidegate_breaker_open", "Half-open counts as open.", &["upstream", "group"])?;
    for breaker in &status.breakers {
        let open = f64::from(u8::from(breaker.state != "closed"));
        breakers.with_label_values(&[breaker.upstream.as_str(), &breaker.group]).set(open);
    }
    let spend = gauge("tidegate_spend_usd", "Spent since the day, week or month began.", &["period"])?;
    let periods = &status.spend;
    for (period, usd) in [("day", &periods.today_usd), ("week", &periods.week_usd), ("month", &periods.month_usd)] {
        spend.with_label_values(&[period]).set(parsed(usd));
    }
    let alerts = gauge("tidegate_alerts_open", "Alerts that are not resolved.", &["rule", "severity"])?;
    for alert in status.alerts.iter().filter(|alert| alert.resolved_at.is_none()) {
        alerts.with_label_values(&[alert.rule.as_str(), &alert.severity]).inc();
    }

    let alone = |name, help, value: f64| -> Result<()> {
        gauge(name, help, &[])?.with_label_values::<&str>(&[]).set(value);
        Ok(())
    };
    let failures = log::failures().map_or(0, |failures| failures.count) as f64;
    alone("tidegate_failures", "Parts of Tidegate itself that have failed since it started.", failures)?;
    alone("tidegate_emergency_active", "1 in an emergency.", f64::from(u8::from(status.emergency.active)))?;
    let success = &status.success;
    let errors = success.rate_limit_errors_seen as f64;
    alone("tidegate_success_rate_limit_errors", "Rate-limit errors that clients saw in the last 30 days.", errors)?;
    let served = success.fallbacks_served as f64;
    alone("tidegate_success_fallbacks_served", "Calls that another upstream answered in the last 30 days.", served)?;
    let recovery = success.longest_recovery_s as f64;
    alone("tidegate_success_longest_recovery_seconds", "The longest recovery of the last 30 days.", recovery)
}

fn number(amount: &AmountView) -> f64 {
    match amount {
        AmountView::Usd(text) => parsed(text),
        AmountView::Tokens(count) => *count as f64,
        AmountView::Percent(percent) => *percent,
    }
}

/// Of a decimal that a view holds.
fn parsed(usd: &str) -> f64 {
    usd.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;
    use crate::view::{AlertView, BreakerView};

    fn line<'a>(text: &'a str, begin: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(begin)).unwrap_or("")
    }

    #[test]
    fn a_call_that_ended_is_in_every_figure_and_a_refused_one_used_nothing() {
        let meter = Meter::new().expect("names of their own");
        meter.count(&entry("claude-x", Outcome::Completed));
        meter.count(&entry("claude-x", Outcome::Refused));
        let text = meter.text(&StatusView::default()).expect("text");
        for expected in [
            r#"tidegate_calls_total{class="normal",client="ci",model="claude-x",outcome="completed",upstream="u"} 1"#,
            r#"tidegate_calls_total{class="normal",client="ci",model="claude-x",outcome="refused",upstream="u"} 1"#,
            r#"tidegate_attempts_total{status="none",upstream="u"} 2"#,
            r#"tidegate_tokens_total{client="ci",kind="cache_read",model="claude-x",upstream="u"} 90"#,
            r#"tidegate_cost_usd_total{client="ci",model="claude-x",upstream="u"} 0.0025"#,
            r#"tidegate_queue_wait_seconds_sum{class="normal"} 0.06"#,
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} is not in\n{text}");
        }
        let prompt = line(&text, "gen_ai_client_token_usage_sum");
        let labels = r#"gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="claude-x""#;
        assert_eq!(prompt, format!("gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type=\"input\"}} 100"));
    }

    #[test]
    fn a_hostile_name_stays_a_label_and_many_models_share_a_row() {
        let meter = Meter::new().expect("names of their own");
        for n in 0..MODELS_MAX + 7 {
            meter.count(&entry(&format!("m{n}\"\\\n{{"), Outcome::Refused));
        }
        let text = meter.text(&StatusView::default()).expect("text");
        assert_eq!(text.lines().filter(|line| line.starts_with("tidegate_calls_total{")).count(), MODELS_MAX + 1);
        assert!(text.contains(r#"model="m0\"\\\n{""#), "{text}");
        assert!(text.lines().any(|line| line.contains("model=\"others\"") && line.ends_with(" 7")), "{text}");
    }

    #[test]
    fn the_dashboard_asks_for_nothing_else() {
        let (dashboard, here) = (include_str!("../../../../docs/grafana.json"), include_str!("metrics.rs"));
        let words = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> =
            words.filter(|word| word.starts_with("tidegate_") || word.starts_with("gen_ai_")).collect();
        assert!(asked.len() > 15, "{asked:?}");
        for name in asked {
            assert!(here.contains(&format!("\"{}\"", name.trim_end_matches("_bucket"))), "{name}");
        }
    }

    #[test]
    fn how_things_stand_is_told_beside_what_was_counted() {
        let meter = Meter::new().expect("names of their own");
        let open = |rule: &str, resolved_at| AlertView { rule: rule.to_owned(), resolved_at, ..AlertView::default() };
        let status = StatusView {
            alerts: vec![open("a", None), open("a", None), open("a", Some(String::new()))],
            breakers: vec![BreakerView { upstream: "u".into(), state: "open".into(), ..BreakerView::default() }],
            windows: vec![WindowView {
                name: "week".into(),
                used: AmountView::Usd("1.500000000".into()),
                resets_at: Some("2026-11-30T00:00:00Z".into()),
                ..WindowView::default()
            }],
            ..StatusView::default()
        };
        let text = meter.text(&status).expect("text");
        assert_eq!(line(&text, "tidegate_alerts_open"), r#"tidegate_alerts_open{rule="a",severity=""} 2"#);
        assert_eq!(line(&text, "tidegate_breaker_open"), r#"tidegate_breaker_open{group="",upstream="u"} 1"#);
        assert!(line(&text, "tidegate_window_used{").ends_with(" 1.5"), "{text}");
        assert!(line(&text, "tidegate_window_resets_timestamp_seconds{").ends_with(" 1795996800"), "{text}");
    }
}

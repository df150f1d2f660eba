//! `tidegate status`

use std::process::ExitCode;

use app::api::{Answer, Command};
use app::view::{
    AlertView, AmountView, BreakerView, CacheView, ClassQueueView, EstimateView, IncidentView, LimitView, ObservedView,
    OutsideView, PausedView, ReservationView, StatusView, UpstreamPageView, WindowView,
};

use crate::args::Shape;
use crate::table::{Cell, clean, count, dollars, name, number, percent, table, time, words};
use crate::{Place, emergency, print, print_json, settings, unexpected};

pub(crate) async fn status(place: &Place, shape: &Shape) -> anyhow::Result<ExitCode> {
    let Answer::Status(status) = place.ask(Command::Status).await? else { return Err(unexpected()) };
    if shape.json {
        print_json(&status)?
    } else {
        print(&shown_status(&status))?
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_status(status: &StatusView) -> String {
    let gateway = &status.gateway;
    let mut text = match &gateway.address {
        Some(address) => format!("{} on {address}\n", gateway.state),
        None => "not running: `tidegate serve` starts the gateway\n".to_owned(),
    };
    if let Some(trouble) = &gateway.trouble {
        text += &format!("! {}\n", clean(trouble));
    }
    text += &settings::state(status);
    if let Some(since) = &status.emergency.since {
        text += &emergency::shown_active(&status.emergency, since);
    }
    let spend = &status.spend;
    text += &format!(
        "spent  today {}  week {}  month {}\n",
        dollars(Some(&spend.today_usd)),
        dollars(Some(&spend.week_usd)),
        dollars(Some(&spend.month_usd))
    );
    if spend.unpriced_calls > 0 {
        text += &format!("       and {} calls of unknown price\n", count(spend.unpriced_calls));
    }
    text += &shown_cache(&status.cache);
    text += &shown_queue(status);
    text += &shown_paused(&status.paused);
    text += &shown_breakers(&status.breakers);
    text += &shown_page(status.upstream_page.as_ref());
    text += &shown_alerts(&status.alerts);
    text += &shown_limits(&status.limits);
    text += &shown_windows(&status.windows);
    text += &shown_subscription(status.subscription.as_deref());
    text += &shown_reservations(&status.reservations);
    text += &shown_outside(&status.outside);
    text += &shown_estimates(&status.estimates);
    text + &shown_success(status)
}

/// Nothing where no call has asked.
fn shown_cache(cache: &CacheView) -> String {
    let line = |rate| {
        let (hits, saved) = (count(cache.hits), dollars(Some(&cache.saved_usd)));
        format!("cache  {hits} calls avoided this month, {} of those that asked; {saved} saved\n", percent(rate))
    };
    cache.hit_rate.map(line).unwrap_or_default()
}

fn shown_queue(status: &StatusView) -> String {
    let queue = &status.queue;
    let classes = [("critical", &queue.critical), ("normal", &queue.normal), ("background", &queue.background)];
    let row = |(name, class): &(&str, &ClassQueueView)| {
        let note = if class.paused { "paused" } else { "" };
        vec![
            words(name),
            number(count(class.waiting)),
            number(count(class.running)),
            number(time(class.oldest_ms)),
            number(class.eta_ms.map_or_else(|| "unknown".to_owned(), time)),
            words(note),
        ]
    };
    let heads = ["queue", "waiting", "running", "oldest", "last leaves in", ""];
    format!("\n{}", table(&heads, &classes.iter().map(row).collect::<Vec<_>>()))
}

fn shown_paused(paused: &[PausedView]) -> String {
    let row = |paused: &PausedView| vec![name(&paused.scope), number(count(paused.waiting)), words(&paused.since)];
    section(&["paused", "waiting", "since"], paused.iter().map(row).collect())
}

fn shown_breakers(breakers: &[BreakerView]) -> String {
    let row = |breaker: &BreakerView| {
        vec![
            words(&breaker.upstream),
            words(&breaker.group),
            words(breaker.state.replace('_', "-")),
            words(breaker.since.as_deref().unwrap_or("")),
            words(breaker.until.as_deref().unwrap_or("")),
        ]
    };
    section(&["upstream", "group", "breaker", "since", "until"], breakers.iter().map(row).collect())
}

/// The page's own word, told as that.
fn shown_page(page: Option<&UpstreamPageView>) -> String {
    let Some(page) = page else { return String::new() };
    let said = match (&page.description, &page.checked_at) {
        (Some(said), Some(at)) => format!("says \"{}\" ({at})", clean(said)),
        (None, Some(at)) => format!("says nothing ({at})"),
        (_, None) => "was not read yet".to_owned(),
    };
    let mut text = format!("\n{} {said}\n", clean(&page.url));
    if let Some(error) = &page.error {
        text += &format!("  it can't be read now: {}\n", clean(error));
    }
    let incident = |incident: &IncidentView| format!("  {}: {}\n", clean(&incident.name), clean(&incident.status));
    text + &page.incidents.iter().map(incident).collect::<String>()
}

/// Those that go on.
fn shown_alerts(alerts: &[AlertView]) -> String {
    let row = |alert: &AlertView| vec![words(&alert.crossed_at), words(&alert.severity), words(&alert.message)];
    let open = alerts.iter().filter(|alert| alert.resolved_at.is_none());
    section(&["alert since", "", ""], open.map(row).collect())
}

fn shown_success(status: &StatusView) -> String {
    let (success, cut_offs) = (&status.success, &status.cut_offs);
    if success.days == 0 {
        return String::new();
    }
    format!(
        "\nlast {} days  429 seen by clients {}  fallbacks {}  alerts before a tier change {}  longest recovery {}\n\
         last 24 h  out of max_tokens {}  cut {}  silent {}  errors after the start {}\n",
        count(success.days),
        count(success.rate_limit_errors_seen),
        count(success.fallbacks_served),
        count(success.alerts_before_tier_change),
        time(success.longest_recovery_s.saturating_mul(1_000)),
        count(cut_offs.max_tokens),
        count(cut_offs.cut),
        count(cut_offs.silent),
        count(cut_offs.error_after_start),
    )
}

fn shown_limits(limits: &[LimitView]) -> String {
    let row = |limit: &LimitView| {
        vec![
            words(&limit.upstream),
            words(&limit.group),
            words(limit.resource.replace('_', " ")),
            number(limit.level),
            number(count(limit.guard)),
            number(count(limit.limit)),
            words(&limit.source),
        ]
    };
    section(&["upstream", "group", "a minute", "left", "guard", "limit", "from"], limits.iter().map(row).collect())
}

fn shown_windows(windows: &[WindowView]) -> String {
    let row = |window: &WindowView| {
        let resets = window.resets_at.as_deref().unwrap_or("after its first call");
        vec![
            words(window.upstream.as_deref().unwrap_or("budget")),
            words(&window.name),
            number(amount(&window.used)),
            number(amount(&window.reserved)),
            number(amount(&window.limit)),
            words(resets),
            words(if window.hard { "cuts streams" } else { "" }),
        ]
    };
    section(&["upstream", "window", "used", "held", "limit", "resets", ""], windows.iter().map(row).collect())
}

/// As Claude Code last said it: nothing is guessed where it said nothing.
pub(crate) fn shown_subscription(observed: Option<&[ObservedView]>) -> String {
    let Some(observed) = observed else { return String::new() };
    if observed.is_empty() {
        return "\nsubscription: limit unknown; Claude Code tells it to its status line: name `tidegate statusline` there\n".to_owned();
    }
    let row = |seen: &ObservedView| {
        let used = seen.used_percent.map_or_else(|| "unknown since its reset".to_owned(), |used| percent(used / 100.0));
        vec![
            words(&seen.window),
            number(used),
            words(format!("{} ago", age(seen.age_s))),
            words(seen.resets_at.as_deref().unwrap_or("unknown")),
        ]
    };
    section(&["subscription", "used", "seen", "resets"], observed.iter().map(row).collect())
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        172_800.. => format!("{} days", seconds / 86_400),
    }
}

fn amount(amount: &AmountView) -> String {
    match amount {
        AmountView::Usd(usd) => dollars(Some(usd)),
        AmountView::Tokens(tokens) => count(*tokens),
        AmountView::Percent(share) => percent(share / 100.0),
    }
}

fn shown_reservations(reservations: &[ReservationView]) -> String {
    let row = |held: &ReservationView| {
        vec![
            words(&held.id),
            words(&held.client),
            words(&held.model),
            number(count(held.used)),
            number(count(held.calls)),
            words(&held.starts_at),
            words(&held.expires_at),
        ]
    };
    let heads = ["reservation", "client", "model", "gone", "calls", "starts", "expires"];
    section(&heads, reservations.iter().map(row).collect())
}

fn shown_outside(outside: &[OutsideView]) -> String {
    let row = |outside: &OutsideView| {
        vec![
            words(&outside.upstream),
            words(&outside.group),
            words(outside.resource.replace('_', " ")),
            number(percent(outside.share)),
        ]
    };
    section(&["upstream", "group", "drawn by others", "share"], outside.iter().map(row).collect())
}

fn shown_estimates(estimates: &[EstimateView]) -> String {
    let row = |estimate: &EstimateView| {
        vec![
            words(&estimate.model),
            words(&estimate.client),
            number(count(estimate.calls)),
            number(percent(estimate.median_error)),
            number(percent(estimate.p95_error)),
        ]
    };
    let heads = ["estimates of", "client", "calls", "median error", "95 % below"];
    section(&heads, estimates.iter().map(row).collect())
}

/// A table after an empty line; nothing where it has no rows.
fn section(heads: &[&str], rows: Vec<Vec<Cell>>) -> String {
    if rows.is_empty() { String::new() } else { format!("\n{}", table(heads, &rows)) }
}

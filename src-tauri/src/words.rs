//! The state in the few words that a menu has room for.

use app::view::{AlertView, AmountView, LimitView, StatusView, WindowView};

/// The limit that is used most.
pub(crate) fn binding(status: &StatusView) -> Option<&LimitView> {
    status.limits.iter().max_by(|a, b| used(a).total_cmp(&used(b)))
}

/// How much of what we allow ourselves is in use; above 1 is a debt.
pub(crate) fn used(limit: &LimitView) -> f64 {
    let guard = limit.guard.max(1) as f64;
    (guard - limit.level as f64).max(0.0) / guard
}

/// The window or budget that is used most.
pub(crate) fn fullest(status: &StatusView) -> Option<&WindowView> {
    status.windows.iter().max_by(|a, b| used_of(a).total_cmp(&used_of(b)))
}

pub(crate) fn used_of(window: &WindowView) -> f64 {
    let number = |amount: &AmountView| match amount {
        AmountView::Usd(usd) => usd.parse().unwrap_or(0.0),
        AmountView::Tokens(tokens) => *tokens as f64,
        AmountView::Percent(percent) => *percent,
    };
    let limit = number(&window.limit);
    if limit > 0.0 { number(&window.used) / limit } else { 0.0 }
}

/// `week 76 % · probably lasts (82 %)`
pub(crate) fn window_line(status: &StatusView) -> String {
    let Some(window) = fullest(status) else { return "No window or budget is set".to_owned() };
    let share = (used_of(window) * 100.0).min(999.0);
    let forecast = status.forecasts.iter().filter(|one| one.informative).find(|one| {
        let whose = one.scope.as_ref().or(one.upstream.as_ref()).filter(|_| one.scope.is_some());
        let name = whose.map_or_else(|| one.window.clone(), |whose| format!("{whose} {}", one.window));
        name == window.name
    });
    let text = forecast.map(|one| format!(" · {}", one.text)).unwrap_or_default();
    format!("{} {share:.0} %{text}", plain(&window.name))
}

/// `client:ci day` as `client ci, day`.
fn plain(name: &str) -> String {
    match name.split_once(' ') {
        Some((scope, window)) => format!("{}, {window}", scope.replacen(':', " ", 1)),
        None => name.to_owned(),
    }
}

/// What is wrong now, the worst of it.
pub(crate) fn worst(status: &StatusView) -> Option<&AlertView> {
    let rank = |alert: &&AlertView| {
        ["info", "warning", "critical", "emergency"].iter().position(|name| *name == alert.severity)
    };
    status.alerts.iter().filter(|alert| alert.resolved_at.is_none() && alert.severity != "info").max_by_key(rank)
}

pub(crate) fn alert_line(status: &StatusView) -> String {
    const LENGTH_MAX: usize = 60;
    let open = status.alerts.iter().filter(|alert| alert.resolved_at.is_none() && alert.severity != "info").count();
    let Some(alert) = worst(status) else { return "No alerts".to_owned() };
    let text: String = alert.message.chars().take(LENGTH_MAX).collect();
    let more = if text.len() < alert.message.len() { "…" } else { "" };
    match open {
        1 => format!("△ {text}{more}"),
        open => format!("△ {open} alerts: {text}{more}"),
    }
}

pub(crate) fn limit_line(status: &StatusView) -> String {
    match (&status.gateway.trouble, binding(status)) {
        (Some(trouble), _) => trouble.clone(),
        (None, Some(limit)) => {
            format!("{} {:.0} %{}", name(limit), (used(limit) * 100.0).min(100.0), next_line(status))
        }
        (None, None) => "No limit is known yet".to_owned(),
    }
}

pub(crate) fn queue_line(status: &StatusView) -> String {
    let classes = [&status.queue.critical, &status.queue.normal, &status.queue.background];
    match classes.iter().map(|class| class.waiting).sum() {
        0 => "No calls wait".to_owned(),
        1 => "1 call waits".to_owned(),
        many => format!("{many} calls wait"),
    }
}

pub(crate) fn spend_line(status: &StatusView) -> String {
    let today: f64 = status.spend.today_usd.parse().unwrap_or(0.0);
    if today > 0.0 && today < 0.1 { format!("Today ${today:.4}") } else { format!("Today ${today:.2}") }
}

/// ` · all gone in 4 s`
fn next_line(status: &StatusView) -> String {
    let classes = [&status.queue.critical, &status.queue.normal, &status.queue.background];
    let last = classes.iter().filter(|class| class.waiting > 0 && !class.paused).filter_map(|class| class.eta_ms).max();
    match last.map(|millis| millis.div_ceil(1_000)) {
        None | Some(0) => String::new(),
        Some(seconds @ 1..120) => format!(" · the queue is empty in {seconds} s"),
        Some(seconds) => format!(" · the queue is empty in {} min", seconds.div_ceil(60)),
    }
}

/// `Sonnet 4 input tokens`
fn name(limit: &LimitView) -> String {
    let group = limit.group.replace('-', " ");
    let mut letters = group.chars();
    let first: String = letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{} {}", letters.as_str(), limit.resource.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(group: &str, guard: u64, level: i64) -> LimitView {
        LimitView { group: group.to_owned(), resource: "input_tokens".to_owned(), guard, level, ..LimitView::default() }
    }

    #[test]
    fn the_fullest_limit_binds_and_a_debt_reads_as_full() {
        let mut status =
            StatusView { limits: vec![limit("a", 100, 50), limit("b", 100, -20)], ..StatusView::default() };
        assert_eq!(limit_line(&status), "B input tokens 100 %");
        status.limits.pop();
        assert_eq!(limit_line(&status), "A input tokens 50 %");
    }

    #[test]
    fn lines_are_words_and_tell_when_nobody_waits_any_more() {
        let limits = vec![limit("sonnet-4", 100, 50)];
        let mut status = StatusView { limits, ..StatusView::default() };
        (status.queue.normal.waiting, status.queue.normal.eta_ms) = (2, Some(3_200));
        assert_eq!(limit_line(&status), "Sonnet 4 input tokens 50 % · the queue is empty in 4 s");
        status.queue.normal.paused = true;
        assert_eq!(limit_line(&status), "Sonnet 4 input tokens 50 %");
        status.windows = vec![WindowView { name: "client:ci day".to_owned(), ..WindowView::default() }];
        assert_eq!(window_line(&status), "client ci, day 0 %");
    }

    #[test]
    fn small_money_keeps_the_digits_that_matter() {
        let line = |usd: &str| {
            let mut status = StatusView::default();
            status.spend.today_usd = usd.to_owned();
            spend_line(&status)
        };
        assert_eq!(line("0.002100000"), "Today $0.0021");
        assert_eq!(line("18.421000000"), "Today $18.42");
        assert_eq!(line("0"), "Today $0.00");
    }

    #[test]
    fn one_call_waits_and_two_calls_wait() {
        let mut status = StatusView::default();
        status.queue.normal.waiting = 1;
        assert_eq!(queue_line(&status), "1 call waits");
        status.queue.background.waiting = 1;
        assert_eq!(queue_line(&status), "2 calls wait");
    }
}

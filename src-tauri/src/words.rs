//! The state in the few words that a menu has room for.

use app::view::{LimitView, StatusView};

/// The limit that is used most.
pub(crate) fn binding(status: &StatusView) -> Option<&LimitView> {
    status.limits.iter().max_by(|a, b| used(a).total_cmp(&used(b)))
}

/// How much of what we allow ourselves is in use; above 1 is a debt.
pub(crate) fn used(limit: &LimitView) -> f64 {
    let guard = limit.guard.max(1) as f64;
    (guard - limit.level as f64).max(0.0) / guard
}

pub(crate) fn limit_line(status: &StatusView) -> String {
    match (&status.gateway.trouble, binding(status)) {
        (Some(trouble), _) => trouble.clone(),
        (None, Some(limit)) => format!("{} {:.0} %", name(limit), (used(limit) * 100.0).min(100.0)),
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

fn name(limit: &LimitView) -> String {
    format!("{} {}", limit.group, limit.resource.replace('_', " "))
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
        assert_eq!(limit_line(&status), "b input tokens 100 %");
        status.limits.pop();
        assert_eq!(limit_line(&status), "a input tokens 50 %");
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

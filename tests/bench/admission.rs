//! What one decision costs while so many calls wait: more by ten times as many, but not ten times more.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{Admission, Caching, Demand, Shape, Spent, Verdict};
use domain::call::{CallId, Class};
use domain::config::{Pacing, Rules, WrittenLimits};
use domain::tier::MinuteLimits;
use domain::time::{Instant, Now, Timestamp};

pub(crate) const WAITING: [usize; 3] = [1_000, 10_000, 100_000];
const DECISIONS: u32 = 20_000;

/// A call comes and waits, another may go: the time of both together.
pub(crate) fn one_decision(waiting: usize) -> Duration {
    let rules = Rules { queue_max: waiting + 2, ..Rules::default() };
    let mut admission = Admission::new(&rules);
    let account = admission.add_account("upstream".into(), pacing());
    let demand = |i: usize, at: Instant| Demand {
        call: CallId::new(Timestamp::default(), 0),
        account,
        model: "claude-sonnet-4-5".into(),
        fast: false,
        class: Class::ALL[i % 3],
        client: format!("client-{}", i % 20).into(),
        weight: 1,
        max_share: None,
        tenant: None,
        person: None,
        project: None,
        session: None,
        shape: Shape::of_words(1_000),
        max_tokens: Some(64),
        caching: Caching::None,
        price: None,
        reservation: None,
        since: at,
        deadline: at.after(Duration::from_secs(86_400)),
        has_fallback: false,
    };
    let mut now = Instant::from_nanos(1);
    let mut tickets = Vec::new();
    for i in 0..waiting {
        if let Ok(Verdict::Go(ticket)) = admission.offer(demand(i, now), both(now)) {
            tickets.push(ticket);
        }
    }
    let demands: Vec<_> = (0..DECISIONS as usize).map(|i| demand(i, now)).collect();
    let started = std::time::Instant::now();
    for demand in demands {
        now = now.after(Duration::from_millis(1));
        if let Ok(Verdict::Go(ticket)) = admission.offer(demand, both(now)) {
            tickets.push(ticket);
        }
        for (_, verdict) in black_box(admission.decide(both(now))) {
            tickets.extend(verdict.ok());
        }
        if let Some(ticket) = tickets.pop() {
            admission.settle(ticket, Spent::Nothing, both(now));
        }
    }
    started.elapsed() / DECISIONS
}

fn both(instant: Instant) -> Now {
    Now { instant, timestamp: Timestamp::default() }
}

/// One call a millisecond.
fn pacing() -> Pacing {
    let limits = MinuteLimits { requests: Some(60_000), input_tokens: None, output_tokens: None };
    let line = WrittenLimits { models: vec![Arc::from("claude-*")], per_minute: limits, concurrency: None };
    Pacing {
        presumed: None,
        written: vec![line],
        guard_requests_permille: 1000,
        guard_tokens_permille: 1000,
        retry_after_buffer: Duration::from_secs(30),
        windows: vec![],
    }
}

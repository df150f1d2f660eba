//! What a waiting call costs in memory.

use std::process::Command;
use std::time::Duration;

use domain::admission::{Admission, Caching, Demand, Shape, Verdict};
use domain::call::{CallId, Class};
use domain::config::Rules;
use domain::time::{Instant, Now, Timestamp};

use crate::upstream::{Counting, Limits};
use crate::world::presuming;

const CALLS: usize = 1_000_000;
const BYTES_MAX: u64 = 512 << 20;

#[test]
fn memory_of_a_million_waiting_calls_is_less_than_512_mib() {
    // In a process of its own: others measure and allocate meanwhile.
    let own = std::env::current_exe().expect("this test");
    let queue = Command::new(own)
        .args(["--exact", "memory::queue_a_million_calls", "--ignored", "--nocapture"])
        .output()
        .expect("this test runs again");
    let told = String::from_utf8_lossy(&queue.stderr);
    eprint!("{told}");
    assert!(queue.status.success(), "{told}");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn queue_a_million_calls() {
    let mut admission = Admission::new(&Rules { queue_max: CALLS + 1, ..Rules::default() });
    let account = admission.add_account("upstream".into(), presuming(Limits::START, Counting::AsProduced));
    let now = Now { instant: Instant::from_nanos(1), timestamp: Timestamp::from_millis(1_790_000_000_000) };
    let names: Vec<std::sync::Arc<str>> = (0..100).map(|n| format!("client-{n}").into()).collect();
    let before = resident_bytes();
    let mut tickets = vec![];
    for n in 0..CALLS {
        let demand = Demand {
            call: CallId::new(now.timestamp, n as u128),
            account,
            model: crate::clients::MODEL.into(),
            fast: false,
            class: Class::ALL[n % 3],
            client: names[n % names.len()].clone(),
            weight: 1,
            max_share: None,
            tenant: Some(format!("tenant-{}", n % 1_000).into()),
            person: None,
            project: None,
            session: None,
            shape: Shape::of_words(4_000),
            max_tokens: Some(1_000),
            caching: Caching::None,
            price: None,
            reservation: None,
            since: now.instant,
            deadline: now.instant.after(Duration::from_secs(10_000_000)),
            has_fallback: false,
        };
        if let Ok(Verdict::Go(ticket)) = admission.offer(demand, now) {
            tickets.push(ticket);
        }
    }
    let grown = resident_bytes() - before;
    let waiting: usize = Class::ALL.iter().map(|class| admission.queue(*class, now).waiting).sum();
    eprintln!("{waiting} waiting calls: {} MiB, {} bytes each", grown >> 20, grown / waiting as u64);
    assert!(waiting >= CALLS - 1);
    assert!(grown < BYTES_MAX, "{grown} bytes");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells the memory of a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kilobytes << 10
}

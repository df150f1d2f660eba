//! Where calls wait to be let through: one lock around `Admission`, never held across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::admission::{
    AccountId, Admission, Demand, Flow, Kept, Readings, Refusal, Spent, Ticket, Verdict, WaiterId,
};
use domain::call::CallId;
use domain::config::{Pacing, Rules};
use domain::routing::Fared;
use domain::time::{Instant, Now};
use domain::usage::Usage;
use tokio::sync::{Notify, oneshot};

use crate::Clock;

pub(crate) struct Door {
    inside: Mutex<Inside>,
    /// Something may have to happen earlier than the task that sleeps thinks.
    earlier: Notify,
    clock: Arc<dyn Clock>,
}

struct Inside {
    admission: Admission,
    waiting: HashMap<WaiterId, Caller>,
    /// When `keep` wakes up next.
    armed: Option<Instant>,
}

/// Who waits, and how to tell it.
struct Caller {
    call: CallId,
    tell: oneshot::Sender<Result<Pass, Refusal>>,
}

/// What became of an offer that was not refused.
#[expect(clippy::large_enum_variant, reason = "most calls go at once, and a box would cost each of them")]
pub(crate) enum Entered {
    Goes(Pass),
    Waits(Waiting),
}

/// A ticket that gives itself back where nobody settles it: such a call never left.
#[derive(Debug)]
pub(crate) struct Pass {
    ticket: Option<Ticket>,
    door: DoorHandle,
}

#[derive(Clone)]
struct DoorHandle(Arc<Door>);

impl std::fmt::Debug for DoorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

/// A place in the queue; given up when dropped.
pub(crate) struct Waiting {
    id: WaiterId,
    decided: oneshot::Receiver<Result<Pass, Refusal>>,
    door: DoorHandle,
}

/// After a sleep of the machine every wait is judged again within this.
const SLEEP_MAX: Duration = Duration::from_secs(1);

impl Door {
    pub(crate) fn new(rules: &Rules, clock: Arc<dyn Clock>) -> Door {
        let inside = Inside { admission: Admission::new(rules), waiting: HashMap::new(), armed: None };
        Door { inside: Mutex::new(inside), earlier: Notify::new(), clock }
    }

    pub(crate) fn add_account(&self, name: Arc<str>, pacing: Pacing) -> AccountId {
        self.lock().admission.add_account(name, pacing)
    }

    pub(crate) fn offer(self: &Arc<Door>, demand: Demand) -> Result<Entered, Refusal> {
        let handle = DoorHandle(self.clone());
        let waiting = {
            let mut inside = self.lock();
            let call = demand.call;
            match inside.admission.offer(demand, self.clock.now())? {
                Verdict::Go(ticket) => return Ok(Entered::Goes(Pass { ticket: Some(ticket), door: handle })),
                Verdict::Wait(id) => {
                    let (tell, decided) = oneshot::channel();
                    inside.waiting.insert(id, Caller { call, tell });
                    Waiting { id, decided, door: handle }
                }
            }
        };
        self.turn();
        Ok(Entered::Waits(waiting))
    }

    /// Asks what lets nobody through and keeps nobody back.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&mut Admission, Now) -> T) -> T {
        let now = self.clock.now();
        question(&mut self.lock().admission, now)
    }

    /// Changes what may go, and lets through whom that lets through.
    pub(crate) fn change<T>(self: &Arc<Door>, change: impl FnOnce(&mut Admission, Now) -> T) -> T {
        let changed = self.ask(change);
        self.turn();
        changed
    }

    /// The same with a call that waits. `None` where it doesn't.
    pub(crate) fn change_waiting<T>(
        self: &Arc<Door>,
        call: CallId,
        change: impl FnOnce(&mut Admission, WaiterId) -> T,
    ) -> Option<T> {
        let changed = {
            let mut inside = self.lock();
            let waiter = inside.waiting.iter().find(|(_, caller)| caller.call == call).map(|(id, _)| *id)?;
            change(&mut inside.admission, waiter)
        };
        self.turn();
        Some(changed)
    }

    /// Lets through whom time lets through. Runs as long as the gateway does.
    pub(crate) async fn keep(self: Arc<Door>) {
        loop {
            self.turn();
            let armed = self.lock().armed;
            let sleep = armed.map_or(Duration::MAX, |at| at.since(self.clock.now().instant).min(SLEEP_MAX));
            tokio::select! {
                () = self.earlier.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Tells every caller whose wait has ended.
    fn turn(self: &Arc<Door>) {
        let mut ended = Vec::new();
        {
            let now = self.clock.now();
            let mut inside = self.lock();
            if inside.waiting.is_empty() {
                inside.armed = None;
                return;
            }
            for (id, decision) in inside.admission.decide(now) {
                let pass = |ticket| Pass { ticket: Some(ticket), door: DoorHandle(self.clone()) };
                ended.push((inside.waiting.remove(&id), decision.map(pass)));
            }
            let next = inside.admission.next_wake(now);
            let sooner = next.is_some_and(|next| inside.armed.is_none_or(|armed| next < armed || armed <= now.instant));
            inside.armed = next;
            if sooner {
                self.earlier.notify_one();
            }
        }
        // Outside the lock: a pass whose caller has gone settles when it is dropped here.
        for (caller, decision) in ended {
            if let Some(Caller { tell, .. }) = caller {
                let _ = tell.send(decision);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    pub(crate) fn reserved(&self) -> Usage {
        self.ticket.as_ref().map(Ticket::reserved).unwrap_or_default()
    }

    /// Why it had to wait, where it had.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.ticket.as_ref()?.kept()
    }

    /// The call leaves for the upstream now.
    pub(crate) fn departs(&self) {
        if let Some(ticket) = &self.ticket {
            let door = &self.door.0;
            door.lock().admission.departs(ticket, door.clock.now().instant);
        }
    }

    /// What a response told of the limits; every response counts.
    pub(crate) fn observe(&self, readings: &Readings) {
        if let Some(ticket) = &self.ticket {
            let door = &self.door.0;
            door.lock().admission.observe(ticket, readings, door.clock.now());
            door.turn();
        }
    }

    /// The call leaves once more by it.
    pub(crate) fn takes_again(&self) {
        if let Some(ticket) = &self.ticket {
            let door = &self.door.0;
            door.lock().admission.takes_again(ticket, door.clock.now());
        }
    }

    pub(crate) fn is_probe(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_probe)
    }

    /// How the attempt went; may let those through, or send those away, who wait behind a breaker.
    pub(crate) fn fared(&self, fared: Fared) {
        if let Some(ticket) = &self.ticket {
            let door = &self.door.0;
            door.lock().admission.fared(ticket, fared, door.clock.now());
            door.turn();
        }
    }

    /// The running call has used so much; whether it may go on.
    pub(crate) fn progress(&mut self, usage: impl FnOnce() -> Usage) -> Flow {
        match &mut self.ticket {
            Some(ticket) if ticket.is_budgeted() => self.door.0.lock().admission.progress(ticket, &usage()),
            Some(_) | None => Flow::GoOn,
        }
    }

    /// The call has ended.
    pub(crate) fn settle(mut self, spent: Spent<'_>) {
        self.give_back(spent);
    }

    fn give_back(&mut self, spent: Spent<'_>) {
        if let Some(ticket) = self.ticket.take() {
            let door = &self.door.0;
            door.lock().admission.settle(ticket, spent, door.clock.now());
            door.turn();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.give_back(Spent::Nothing);
    }
}

impl Waiting {
    pub(crate) async fn end(mut self) -> Result<Pass, Refusal> {
        match (&mut self.decided).await {
            Ok(decision) => decision,
            // The door drops no caller without telling it.
            Err(_) => Err(Refusal::QueueFull { waiting: 0 }),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let door = &self.door.0;
        let left = {
            let mut inside = door.lock();
            let waited = inside.waiting.remove(&self.id);
            if waited.is_some() {
                inside.admission.cancel(self.id);
            }
            waited.is_some()
        };
        if left {
            door.turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::admission::{Caching, ClassQueue, Shape};
    use domain::call::Class;
    use domain::config::WrittenLimits;
    use domain::tier::MinuteLimits;
    use domain::time::Timestamp;

    impl Door {
        /// Waits until the call may go. Dropping the future leaves the queue.
        async fn enter(self: &Arc<Door>, demand: Demand) -> Result<Pass, Refusal> {
            match self.offer(demand)? {
                Entered::Goes(pass) => Ok(pass),
                Entered::Waits(waiting) => waiting.end().await,
            }
        }

        fn queue(&self, class: Class) -> ClassQueue {
            self.ask(|admission, now| admission.queue(class, now))
        }
    }

    /// Goes as the runtime's paused clock goes.
    struct VirtualClock(tokio::time::Instant);

    impl Clock for VirtualClock {
        fn now(&self) -> Now {
            let nanos = u64::try_from(self.0.elapsed().as_nanos()).expect("a short test");
            Now { instant: Instant::from_nanos(nanos), timestamp: Timestamp::from_millis(0) }
        }
    }

    /// A door that lets one call through at a time.
    fn narrow() -> (Arc<Door>, AccountId) {
        let clock = Arc::new(VirtualClock(tokio::time::Instant::now()));
        let rules = Rules { queue_max: 2, ..Rules::default() };
        let door = Arc::new(Door::new(&rules, clock));
        let one = WrittenLimits { models: vec!["*".into()], per_minute: MinuteLimits::default(), concurrency: Some(1) };
        let account = door.add_account(
            "upstream".into(),
            Pacing {
                presumed: None,
                written: vec![one],
                guard_requests_permille: 1_000,
                guard_tokens_permille: 1_000,
                retry_after_buffer: Duration::ZERO,
                windows: vec![],
            },
        );
        tokio::spawn(door.clone().keep());
        (door, account)
    }

    fn call(account: AccountId, patience: u64) -> Demand {
        Demand {
            call: CallId::new(Timestamp::from_millis(0), 0),
            account,
            model: "m".into(),
            fast: false,
            class: Class::Normal,
            client: "c".into(),
            weight: 1,
            max_share: None,
            tenant: None,
            person: None,
            project: None,
            session: None,
            shape: Shape::default(),
            max_tokens: None,
            caching: Caching::None,
            price: None,
            reservation: None,
            since: Instant::from_nanos(0),
            deadline: Instant::from_nanos(patience * 1_000_000_000),
            has_fallback: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_is_dropped_lets_the_next_caller_through() {
        let (door, account) = narrow();
        let first = door.enter(call(account, 60)).await.expect("room for one");
        let second = tokio::spawn({
            let door = door.clone();
            async move { door.enter(call(account, 60)).await.is_ok() }
        });
        while door.queue(Class::Normal).waiting == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(second.await.expect("no panic"));
        assert_eq!(door.queue(Class::Normal).running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_deadline() {
        let (door, account) = narrow();
        let _first = door.enter(call(account, 60)).await.expect("room for one");
        let began = tokio::time::Instant::now();
        let refused = door.enter(call(account, 7)).await;
        assert!(matches!(refused, Err(Refusal::Deadline { .. })), "{refused:?}");
        assert_eq!(began.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_leaves_frees_its_place() {
        let (door, account) = narrow();
        let _first = door.enter(call(account, 60)).await.expect("room for one");
        for _ in 0..5 {
            let wait = door.enter(call(account, 60));
            assert!(tokio::time::timeout(Duration::from_millis(1), wait).await.is_err());
        }
        assert_eq!(door.queue(Class::Normal).waiting, 0);
        assert!(door.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_says_so_at_once() {
        let (door, account) = narrow();
        let _first = door.enter(call(account, 60)).await.expect("room for one");
        let waits: Vec<_> = (0..2)
            .map(|_| {
                tokio::spawn({
                    let door = door.clone();
                    async move { door.enter(call(account, 60)).await.map(drop) }
                })
            })
            .collect();
        while door.queue(Class::Normal).waiting < 2 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(door.enter(call(account, 60)).await, Err(Refusal::QueueFull { .. })));
        waits.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

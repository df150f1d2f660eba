//! Callers who come back. A client's own retry of a call that waits, or that it gave up in the queue, keeps its place
//! and is counted once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::call::CallId;
use domain::time::{Instant, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, oneshot};

use crate::live::Progress;

/// What makes a call the same as another: its client, its target and every byte of its body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sameness([u8; 32]);

impl Sameness {
    pub(crate) fn of(client: &str, target: &str, body: &[u8]) -> Sameness {
        let mut hash = Sha256::new();
        for part in [client.as_bytes(), target.as_bytes()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.update(body);
        Sameness(hash.finalize().into())
    }
}

/// Where a call stands.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) call: CallId,
    pub(crate) started_at: Timestamp,
    pub(crate) started: Instant,
    /// What its turn goes by.
    pub(crate) since: Instant,
    pub(crate) progress: Option<Arc<Progress>>,
}

/// Held by a call that waits, to be given back when it goes on.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    sameness: Sameness,
    number: u64,
}

/// What a caller who comes back takes over.
pub(crate) enum Taken<E> {
    /// The place of a call that waited until now.
    Waiting(Place),
    /// The place and the entry of a call that was just given up.
    Abandoned(Place, E),
    /// The turn of a call whose entry is closed already.
    Turn(Instant),
}

/// What became of a call that was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is kept for a moment.
    Kept,
    /// Its caller is back and has its place already.
    TakenOver,
    /// Its entry closes now.
    Over,
}

/// An entry of a call that was given up stays open so long: it is to be in the books within a second.
const HELD_OPEN: Duration = Duration::from_millis(900);
/// Clients' backoff between two tries is shorter.
const REMEMBERED: Duration = Duration::from_secs(60);
const ABANDONED_MAX: usize = 10_000;

/// `E` is an open entry, which closes itself when it is dropped.
pub(crate) struct Returning<E> {
    inside: Mutex<Inside<E>>,
    changed: Notify,
}

struct Inside<E> {
    waiting: HashMap<Sameness, Vec<Sitting>>,
    /// By number, and so by time.
    abandoned: BTreeMap<u64, Abandoned<E>>,
    by_sameness: HashMap<Sameness, VecDeque<u64>>,
    /// Those whose entry may still be open, the oldest first.
    held: VecDeque<u64>,
    next: u64,
    over: bool,
}

struct Sitting {
    number: u64,
    /// Which try of its client it is, from 0.
    tries: u32,
    place: Place,
    overtaken: oneshot::Sender<()>,
}

struct Abandoned<E> {
    sameness: Sameness,
    at: Instant,
    place: Place,
    entry: Option<E>,
}

impl<E> Default for Returning<E> {
    fn default() -> Returning<E> {
        let (waiting, abandoned, by_sameness) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        let inside = Inside { waiting, abandoned, by_sameness, held: VecDeque::new(), next: 0, over: false };
        Returning { inside: Mutex::new(inside), changed: Notify::new() }
    }
}

impl<E> Returning<E> {
    /// A call begins to wait. The receiver is told when its own client takes its place.
    pub(crate) fn sit(&self, sameness: Sameness, tries: u32, place: Place) -> (Seat, oneshot::Receiver<()>) {
        let (overtaken, told) = oneshot::channel();
        let mut inside = self.lock();
        let number = inside.number();
        inside.waiting.entry(sameness).or_default().push(Sitting { number, tries, place, overtaken });
        (Seat { sameness, number }, told)
    }

    /// It waits no more. `false`: its client has taken its place meanwhile.
    pub(crate) fn rise(&self, seat: &Seat) -> bool {
        self.lock().rise(seat).is_some()
    }

    /// Its caller has gone while it waited. Without an entry to hold open only its turn is remembered.
    pub(crate) fn abandon(&self, seat: &Seat, now: Instant, entry: impl FnOnce() -> Option<E>) -> Fate {
        let mut inside = self.lock();
        let Some(Sitting { place, .. }) = inside.rise(seat) else { return Fate::TakenOver };
        if inside.over {
            return Fate::Over;
        }
        let number = inside.number();
        let entry = entry();
        let fate = if entry.is_some() { Fate::Kept } else { Fate::Over };
        inside.abandoned.insert(number, Abandoned { sameness: seat.sameness, at: now, place, entry });
        inside.by_sameness.entry(seat.sameness).or_default().push_back(number);
        inside.held.push_back(number);
        let gone = inside.forget(now);
        drop(inside);
        // Outside of the lock: entries close as they are dropped.
        drop(gone);
        self.changed.notify_one();
        fate
    }

    /// The same call comes again, as try number `tries` from 0.
    pub(crate) fn take(&self, sameness: Sameness, tries: u32, now: Instant) -> Option<Taken<E>> {
        let mut inside = self.lock();
        let gone = inside.forget(now);
        let taken = inside.take_abandoned(sameness).or_else(|| inside.take_waiting(sameness, tries));
        drop(inside);
        drop(gone);
        taken
    }

    /// Closes the entries of those who haven't come back in time. Tells when the next is due.
    fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut inside = self.lock();
        let gone = inside.forget(now);
        let mut late = Vec::new();
        let mut next = None;
        while let Some(number) = inside.held.front().copied() {
            let kept = inside.abandoned.get_mut(&number).filter(|kept| kept.entry.is_some());
            next = kept.as_ref().map(|kept| kept.at.after(HELD_OPEN)).filter(|due| *due > now);
            if next.is_some() {
                break;
            }
            late.extend(kept.and_then(|kept| kept.entry.take()));
            inside.held.pop_front();
        }
        drop(inside);
        drop((gone, late));
        next
    }

    /// Runs as long as the gateway takes calls. One task for all: no call has a timer of its own.
    pub(crate) async fn keep(&self, now: impl Fn() -> Instant, ends: impl Future<Output = ()>) {
        let sweep = async {
            loop {
                let next = self.sweep(now());
                let sleep = next.map_or(Duration::MAX, |due| due.since(now()).min(HELD_OPEN));
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep(sleep) => {}
                }
            }
        };
        tokio::select! {
            () = ends => {}
            () = sweep => {}
        }
        let mut inside = self.lock();
        inside.over = true;
        let gone = std::mem::take(&mut inside.abandoned);
        (inside.by_sameness, inside.held) = (HashMap::new(), VecDeque::new());
        drop(inside);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, Inside<E>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Inside<E> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn rise(&mut self, seat: &Seat) -> Option<Sitting> {
        let same = self.waiting.get_mut(&seat.sameness)?;
        let at = same.iter().position(|sitting| sitting.number == seat.number)?;
        let risen = same.swap_remove(at);
        if same.is_empty() {
            self.waiting.remove(&seat.sameness);
        }
        Some(risen)
    }

    fn take_abandoned(&mut self, sameness: Sameness) -> Option<Taken<E>> {
        let number = self.by_sameness.get_mut(&sameness)?.pop_front()?;
        let Abandoned { place, entry, .. } = self.remove(number)?;
        Some(match entry {
            Some(entry) => Taken::Abandoned(place, entry),
            None => Taken::Turn(place.since),
        })
    }

    /// Where several of the same wait, or one of a later try, it is a program that sends the same body side by side:
    /// nobody knows whose retry this is.
    fn take_waiting(&mut self, sameness: Sameness, tries: u32) -> Option<Taken<E>> {
        let [only] = self.waiting.get(&sameness)?.as_slice() else { return None };
        if only.tries >= tries {
            return None;
        }
        let Sitting { place, overtaken, .. } = self.waiting.remove(&sameness)?.pop()?;
        let _ = overtaken.send(());
        Some(Taken::Waiting(place))
    }

    /// Drops what is too old or too much. The entries among it are for the caller to drop.
    fn forget(&mut self, now: Instant) -> Vec<Abandoned<E>> {
        let mut gone = Vec::new();
        while let Some((number, oldest)) = self.abandoned.first_key_value() {
            if now.since(oldest.at) < REMEMBERED && self.abandoned.len() <= ABANDONED_MAX {
                break;
            }
            let number = *number;
            gone.extend(self.remove(number));
        }
        gone
    }

    fn remove(&mut self, number: u64) -> Option<Abandoned<E>> {
        let kept = self.abandoned.remove(&number)?;
        if let Some(same) = self.by_sameness.get_mut(&kept.sameness) {
            same.retain(|other| *other != number);
            if same.is_empty() {
                self.by_sameness.remove(&kept.sameness);
            }
        }
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static CLOSED: AtomicUsize = AtomicUsize::new(0);

    fn same(body: &str) -> Sameness {
        Sameness::of("ci", "/v1/messages", body.as_bytes())
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn place(number: u64) -> Place {
        let call = CallId::new(Timestamp::default(), u128::from(number));
        Place { call, started_at: Timestamp::default(), started: at(number), since: at(number), progress: None }
    }

    /// What was taken, and the moment that its turn goes by.
    fn told<E>(taken: Option<Taken<E>>) -> Option<(&'static str, Instant)> {
        taken.map(|taken| match taken {
            Taken::Waiting(place) => ("waiting", place.since),
            Taken::Abandoned(place, _) => ("abandoned", place.since),
            Taken::Turn(since) => ("turn", since),
        })
    }

    #[test]
    fn what_makes_calls_the_same_is_client_target_and_body() {
        let of = |client: &str, target: &str| Sameness::of(client, target, b"x");
        assert_eq!(of("a", "/b"), of("a", "/b"));
        assert_ne!(of("a", "/b"), of("a/", "b"));
        assert_ne!(same("x"), same("y"));
    }

    #[test]
    fn a_retry_takes_the_entry_at_once_the_turn_later_and_nothing_after_a_minute() {
        let returning = Returning::<()>::default();
        for (swept, expected) in [(800, Some(("abandoned", at(1)))), (950, Some(("turn", at(1)))), (60_100, None)] {
            let (seat, _told) = returning.sit(same("x"), 0, place(1));
            assert_eq!(returning.abandon(&seat, at(0), || Some(())), Fate::Kept);
            returning.sweep(at(swept));
            assert_eq!(told(returning.take(same("x"), 1, at(swept))), expected, "{swept}");
            assert_eq!(told(returning.take(same("x"), 1, at(swept))), None, "each is taken once");
            returning.sweep(at(200_000));
        }
    }

    #[test]
    fn a_retry_of_a_call_that_waits_takes_its_place_and_ends_it() {
        let returning = Returning::<()>::default();
        let (seat, mut overtaken) = returning.sit(same("x"), 0, place(1));
        assert_eq!(told(returning.take(same("y"), 1, at(5))), None);
        assert_eq!(told(returning.take(same("x"), 0, at(5))), None, "the same try is another call");
        assert_eq!(told(returning.take(same("x"), 1, at(5))), Some(("waiting", at(1))));
        assert_eq!(overtaken.try_recv(), Ok(()));
        assert!(!returning.rise(&seat));
        assert_eq!(returning.abandon(&seat, at(6), || Some(())), Fate::TakenOver);
    }

    #[test]
    fn of_several_that_wait_side_by_side_none_is_ended() {
        let returning = Returning::<()>::default();
        let (first, _a) = returning.sit(same("x"), 0, place(1));
        let (second, _b) = returning.sit(same("x"), 0, place(2));
        assert_eq!(told(returning.take(same("x"), 1, at(5))), None);
        assert!(returning.rise(&first) && returning.rise(&second));
        assert!(returning.lock().waiting.is_empty());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let returning = Returning::<()>::default();
        for number in 0..20_000 {
            let (seat, _told) = returning.sit(same(&number.to_string()), 0, place(number));
            returning.abandon(&seat, at(number), || Some(()));
        }
        let inside = returning.lock();
        assert_eq!((inside.abandoned.len(), inside.by_sameness.len()), (ABANDONED_MAX, ABANDONED_MAX));
    }

    struct Closes;

    impl Drop for Closes {
        fn drop(&mut self) {
            CLOSED.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_task_closes_the_entries_of_all_in_time_and_the_rest_at_the_end() {
        let returning = Arc::new(Returning::<Closes>::default());
        let began = tokio::time::Instant::now();
        let now = move || at(u64::try_from(began.elapsed().as_millis()).expect("a short test"));
        let (end, ends) = oneshot::channel::<()>();
        let keeper = tokio::spawn({
            let returning = returning.clone();
            async move { returning.keep(now, async { drop(ends.await) }).await }
        });
        let mut closed = Vec::new();
        for step in 0..8 {
            if step % 2 == 0 {
                let (seat, _told) = returning.sit(same(&step.to_string()), 0, place(step));
                returning.abandon(&seat, now(), || Some(Closes));
            }
            tokio::time::sleep(Duration::from_millis(301)).await;
            closed.push(CLOSED.load(Ordering::SeqCst));
        }
        assert_eq!(closed, [0, 0, 1, 1, 2, 2, 3, 3]);
        end.send(()).expect("it runs");
        keeper.await.expect("no panic");
        assert_eq!(CLOSED.load(Ordering::SeqCst), 4);
        let (seat, _told) = returning.sit(same("late"), 0, place(9));
        assert_eq!(returning.abandon(&seat, now(), || Some(Closes)), Fate::Over);
    }
}

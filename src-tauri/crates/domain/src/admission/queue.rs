//! Who goes next on one lane: critical first, then the others by age; inside a class clients take fair turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::WaiterId;
use crate::call::Class;
use crate::time::Instant;

/// A background call goes before a normal one that came this much later.
const BACKGROUND_AGES: Duration = Duration::from_secs(120);
/// So that a weight divides a call's size without losing small ones.
const TURN_SCALE: u64 = 1_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) waiter: WaiterId,
    pub(super) since: Instant,
}

/// The waiting calls of one lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    classes: [Turns; 3],
}

impl Queue {
    pub(super) fn push(&mut self, class: Class, client: &Arc<str>, place: Place) {
        self.classes[class as usize].push(client, place);
    }

    /// The one whose turn it is, among classes that are not paused.
    pub(super) fn head(&self, paused: [bool; 3]) -> Option<(Class, Place)> {
        let of = |class: Class| if paused[class as usize] { None } else { self.classes[class as usize].head() };
        if let Some(place) = of(Class::Critical) {
            return Some((Class::Critical, place));
        }
        match (of(Class::Normal), of(Class::Background)) {
            (Some(normal), Some(background)) if background.since.after(BACKGROUND_AGES) < normal.since => {
                Some((Class::Background, background))
            }
            (Some(normal), _) => Some((Class::Normal, normal)),
            (None, background) => background.map(|place| (Class::Background, place)),
        }
    }

    /// The head of a class leaves, having cost its client `size` tokens of its turn.
    pub(super) fn pop(&mut self, class: Class, size: u64, weight: u32) {
        self.classes[class as usize].pop(size, weight);
    }

    pub(super) fn remove(&mut self, class: Class, client: &Arc<str>, waiter: WaiterId) {
        self.classes[class as usize].remove(client, waiter);
    }
}

/// Weighted fair turns over clients: who has been served least for its weight is next.
#[derive(Debug, Default)]
struct Turns {
    lines: BTreeMap<Arc<str>, Line>,
    /// Clients with someone waiting, by what they have been served.
    order: BTreeSet<(u64, Arc<str>)>,
    /// What the client now being served had been served before: newcomers start here.
    round: u64,
}

#[derive(Debug, Default)]
struct Line {
    served: u64,
    places: VecDeque<Place>,
}

impl Turns {
    fn push(&mut self, client: &Arc<str>, place: Place) {
        let line = self.lines.entry(client.clone()).or_default();
        if line.places.is_empty() {
            line.served = line.served.max(self.round);
            self.order.insert((line.served, client.clone()));
        }
        // Nearly always the last: only who comes back is older than others.
        let behind = line.places.iter().rev().take_while(|other| other.since > place.since).count();
        line.places.insert(line.places.len() - behind, place);
    }

    fn head(&self) -> Option<Place> {
        let (_, client) = self.order.first()?;
        self.lines.get(client)?.places.front().copied()
    }

    fn pop(&mut self, size: u64, weight: u32) {
        let Some((served, client)) = self.order.pop_first() else { return };
        let Some(line) = self.lines.get_mut(&client) else { return };
        self.round = served;
        line.places.pop_front();
        line.served = served.saturating_add(size.saturating_mul(TURN_SCALE) / u64::from(weight.max(1)));
        if line.places.is_empty() {
            self.forget_idle(&client);
        } else {
            self.order.insert((line.served, client));
        }
    }

    fn remove(&mut self, client: &Arc<str>, waiter: WaiterId) {
        let Some(line) = self.lines.get_mut(client) else { return };
        let Some(at) = line.places.iter().position(|place| place.waiter == waiter) else { return };
        line.places.remove(at);
        if line.places.is_empty() {
            self.order.remove(&(line.served, client.clone()));
            self.forget_idle(client);
        }
    }

    /// A client without a debt to this round needs no memory; when nobody waits, all debts are off.
    fn forget_idle(&mut self, client: &Arc<str>) {
        if self.order.is_empty() {
            self.lines.clear();
            self.round = 0;
        } else if self.lines.get(client).is_some_and(|line| line.served <= self.round) {
            self.lines.remove(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"n:a=3"` is a waiting normal call of client a that costs 3 tokens; prints in which order they leave.
    fn order(calls: &str) -> String {
        let mut queue = Queue::default();
        let mut names = Vec::new();
        for (i, word) in calls.split_whitespace().enumerate() {
            let (class, rest) = word.split_once(':').expect("class:client=size");
            let (client, size) = rest.split_once('=').expect("class:client=size");
            let class = *Class::ALL.iter().find(|c| c.name().starts_with(class)).expect("a class");
            let place = Place { waiter: WaiterId(i as u64), since: Instant::from_nanos(i as u64) };
            queue.push(class, &client.into(), place);
            names.push((client.to_owned(), size.parse::<u64>().expect("a size")));
        }
        let mut left = String::new();
        while let Some((class, place)) = queue.head([false; 3]) {
            let (client, size) = &names[usize::try_from(place.waiter.0).expect("small")];
            left += client;
            queue.pop(class, *size, if client == "w" { 2 } else { 1 });
        }
        left
    }

    #[test]
    fn critical_goes_first_and_background_last() {
        assert_eq!(order("b:x=1 n:y=1 c:z=1"), "zyx");
    }

    #[test]
    fn clients_take_turns_by_tokens_and_a_longer_call_leaves_a_debt() {
        assert_eq!(order("n:a=1 n:a=1 n:a=1 n:b=1 n:b=1"), "ababa");
        assert_eq!(order("n:a=3 n:a=3 n:b=1 n:b=1 n:b=1 n:b=1"), "abbbab");
    }

    #[test]
    fn a_weight_of_two_is_served_twice_as_much() {
        assert_eq!(order("n:a=2 n:a=2 n:w=2 n:w=2 n:w=2 n:w=2"), "awwaww");
    }

    #[test]
    fn an_old_background_call_goes_before_a_much_younger_normal_one() {
        let mut queue = Queue::default();
        let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
        queue.push(Class::Background, &"b".into(), Place { waiter: WaiterId(1), since: at(0) });
        queue.push(Class::Normal, &"n".into(), Place { waiter: WaiterId(2), since: at(121) });
        assert_eq!(queue.head([false; 3]).map(|(class, _)| class), Some(Class::Background));
        assert_eq!(queue.head([false, false, true]).map(|(class, _)| class), Some(Class::Normal));
    }

    #[test]
    fn a_client_that_comes_late_neither_saves_up_nor_waits_for_others_past() {
        let mut queue = Queue::default();
        let place = |n: u64| Place { waiter: WaiterId(n), since: Instant::from_nanos(n) };
        for n in 0..6 {
            queue.push(Class::Normal, &"a".into(), place(n));
        }
        for _ in 0..3 {
            queue.pop(Class::Normal, 10, 1);
        }
        queue.push(Class::Normal, &"b".into(), place(10));
        queue.push(Class::Normal, &"b".into(), place(11));
        let mut left = Vec::new();
        while let Some((class, place)) = queue.head([false; 3]) {
            left.push(place.waiter.0);
            queue.pop(class, 10, 1);
        }
        assert_eq!(left, [10, 3, 11, 4, 5]);
    }

    #[test]
    fn whoever_leaves_the_queue_is_forgotten() {
        let mut queue = Queue::default();
        let a: Arc<str> = "a".into();
        queue.push(Class::Normal, &a, Place { waiter: WaiterId(1), since: Instant::default() });
        queue.remove(Class::Normal, &a, WaiterId(1));
        queue.remove(Class::Normal, &a, WaiterId(1));
        assert_eq!(queue.head([false; 3]), None);
        assert!(queue.classes[Class::Normal as usize].lines.is_empty());
    }
}

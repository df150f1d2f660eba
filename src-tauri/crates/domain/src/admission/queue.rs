//! Who goes next on one lane: reservations, then critical calls, then the others by age.
//!
//! Inside a class clients take fair turns, and inside a client its tenants: who has been served least for its weight is
//! next. A turn serves one call; a longer one leaves a debt. Nothing here looks at every waiting call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::WaiterId;
use super::decayed::Decayed;
use crate::call::Class;
use crate::time::Instant;

/// A background call goes before a normal one that came this much later.
const BACKGROUND_AGES: Duration = Duration::from_secs(120);
/// So that a weight divides a call's size without losing small ones.
const TURN_SCALE: u64 = 1_000;
/// One that nobody of has waited for so long begins like a newcomer, and so do the oldest where there are too many.
const RESTING: Duration = Duration::from_secs(600);
const RESTING_MAX: usize = 4_096;
/// Over which a share is measured.
const SHARE_MEMORY: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) since: Instant,
    pub(super) waiter: WaiterId,
}

/// What waiting calls want together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Load {
    pub(super) calls: u64,
    pub(super) input: u64,
    pub(super) output: u64,
}

impl Load {
    pub(super) fn plus(self, other: Load) -> Load {
        Load {
            calls: self.calls.saturating_add(other.calls),
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }

    fn minus(self, other: Load) -> Load {
        Load {
            calls: self.calls.saturating_sub(other.calls),
            input: self.input.saturating_sub(other.input),
            output: self.output.saturating_sub(other.output),
        }
    }

    fn times(self, numerator: u64, denominator: u64) -> Load {
        let scaled = |n: u64| {
            let product = u128::from(n) * u128::from(numerator) / u128::from(denominator.max(1));
            u64::try_from(product).unwrap_or(u64::MAX)
        };
        Load { calls: scaled(self.calls), input: scaled(self.input), output: scaled(self.output) }
    }

    fn at_most(self, other: Load) -> Load {
        Load {
            calls: self.calls.min(other.calls),
            input: self.input.min(other.input),
            output: self.output.min(other.output),
        }
    }
}

/// One step of the way to a line: a client, then a tenant of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rank {
    pub(super) name: Arc<str>,
    pub(super) weight: u32,
    /// Percent that it may take while others wait.
    pub(super) max_share: Option<u8>,
}

/// Where a call waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Row {
    Reserved,
    Of(Class),
}

/// The way to a line.
pub(super) type Path = [Rank; 2];

/// The same by number: good while somebody waits in the line.
pub(super) type Seat = [u32; 2];

/// The call whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) row: Row,
    pub(super) place: Place,
    /// It has had more than its share: others go first.
    over: bool,
}

/// The waiting calls of one lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    reserved: Line,
    classes: [Turns<Turns<Line>>; 3],
}

impl Queue {
    pub(super) fn push(&mut self, row: Row, path: &Path, place: Place, load: Load) -> Seat {
        let mut seat = Seat::default();
        match row {
            Row::Reserved => self.reserved.push(&[], &mut [], place, load),
            Row::Of(class) => self.classes[class as usize].push(path, &mut seat, place, load),
        }
        seat
    }

    /// The one whose turn it is, among classes that are not shut.
    pub(super) fn head(&self, shut: [bool; 3], now: Instant) -> Option<Head> {
        let reserved = self.reserved.head(now).map(|(place, over)| Head { row: Row::Reserved, place, over });
        reserved.or_else(|| self.head_of_classes(shut, now))
    }

    fn head_of_classes(&self, shut: [bool; 3], now: Instant) -> Option<Head> {
        let of = |class: Class| {
            let (place, over) = if shut[class as usize] { None } else { self.classes[class as usize].head(now) }?;
            Some(Head { row: Row::Of(class), place, over })
        };
        let critical = of(Class::Critical);
        if critical.is_some_and(|head| !head.over) {
            return critical;
        }
        let (normal, background) = (of(Class::Normal), of(Class::Background));
        let aged = match (normal, background) {
            (Some(normal), Some(background)) => background.place.since.after(BACKGROUND_AGES) < normal.place.since,
            _ => false,
        };
        let others = if aged { [background, normal] } else { [normal, background] };
        let in_order = [critical, others[0], others[1]];
        let within = in_order.iter().flatten().find(|head| !head.over);
        within.or_else(|| in_order.iter().flatten().next()).copied()
    }

    /// A call leaves for good; `served`: its turn has come and this is its size.
    pub(super) fn remove(&mut self, row: Row, seat: Seat, place: Place, load: Load, served: Option<u64>, now: Instant) {
        match row {
            Row::Reserved => self.reserved.remove(&[], place, load, served, now),
            Row::Of(class) => self.classes[class as usize].remove(&seat, place, load, served, now),
        }
    }

    /// A line that can't go for a reason of its own: others are not to wait behind it.
    pub(super) fn park(&mut self, class: Class, seat: Seat, parked: bool) {
        self.classes[class as usize].park(&seat, parked);
    }

    /// How many calls of its own line go before the one at this place.
    pub(super) fn before(&self, row: Row, path: &Path, place: Place) -> usize {
        match row {
            Row::Reserved => self.reserved.before(&[], place),
            Row::Of(class) => self.classes[class as usize].before(path, place),
        }
    }

    /// What goes before a call that has `before` others of its own line before it.
    pub(super) fn ahead(&self, row: Row, path: &Path, before: usize) -> Load {
        let Row::Of(class) = row else { return self.reserved.ahead(&[], before) };
        let more_urgent = self.classes[..class as usize].iter().map(|turns| turns.load);
        let reserved = more_urgent.fold(self.reserved.load, Load::plus);
        reserved.plus(self.classes[class as usize].ahead(path, before))
    }

    /// All that waits in a class and before it.
    pub(super) fn up_to(&self, class: Class) -> Load {
        self.classes[..=class as usize].iter().map(|turns| turns.load).fold(self.reserved.load, Load::plus)
    }

    pub(super) fn waiting(&self, class: Class) -> u64 {
        self.classes[class as usize].load.calls
    }

    /// Who waits by a reservation, the first before the others.
    pub(super) fn reserved(&self) -> Vec<WaiterId> {
        self.reserved.places.iter().map(|place| place.waiter).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reserved.places.is_empty() && self.classes.iter().all(|turns| turns.load.calls == 0)
    }

    /// The youngest call of a class's longest line, and how long that is.
    pub(super) fn longest(&self, class: Class) -> Option<(usize, Place)> {
        self.classes[class as usize].longest()
    }

    pub(super) fn line_len(&self, class: Class, path: &Path) -> usize {
        self.classes[class as usize].line_len(path)
    }
}

/// Something in which calls wait: a line, or turns over lines.
trait Seats: Default {
    /// Writes down where it sits.
    fn push(&mut self, path: &[Rank], seat: &mut [u32], place: Place, load: Load);
    fn remove(&mut self, seat: &[u32], place: Place, load: Load, served: Option<u64>, now: Instant);
    /// Whose turn it is, and whether it has had more than its share.
    fn head(&self, now: Instant) -> Option<(Place, bool)>;
    fn park(&mut self, seat: &[u32], parked: bool);
    /// How many of the line go before this place.
    fn before(&self, path: &[Rank], place: Place) -> usize;
    /// What goes before one that has so many of its line before it, inside.
    fn ahead(&self, path: &[Rank], before: usize) -> Load;
    /// Nobody in it can be served.
    fn is_idle(&self) -> bool;
    fn is_empty(&self) -> bool;
    fn longest(&self) -> Option<(usize, Place)>;
    fn line_len(&self, path: &[Rank]) -> usize;
}

/// First come, first served.
#[derive(Debug, Default)]
struct Line {
    places: BTreeSet<Place>,
    load: Load,
    /// For the sake of its first: the next may go.
    parked: bool,
}

impl Seats for Line {
    fn push(&mut self, _: &[Rank], _: &mut [u32], place: Place, load: Load) {
        self.places.insert(place);
        self.parked &= self.places.first() != Some(&place);
        self.load = self.load.plus(load);
    }

    fn remove(&mut self, _: &[u32], place: Place, load: Load, _: Option<u64>, _: Instant) {
        self.parked &= self.places.first() != Some(&place);
        if self.places.remove(&place) {
            self.load = self.load.minus(load);
        }
    }

    fn head(&self, _: Instant) -> Option<(Place, bool)> {
        self.places.first().map(|place| (*place, false))
    }

    fn park(&mut self, _: &[u32], parked: bool) {
        self.parked = parked;
    }

    /// Who comes now joins at the end; who comes back sits near the head, so that few are counted.
    fn before(&self, _: &[Rank], place: Place) -> usize {
        let joins = self.places.last().is_none_or(|last| *last < place);
        if joins { self.places.len() } else { self.places.range(..place).count() }
    }

    fn ahead(&self, _: &[Rank], before: usize) -> Load {
        let count = |calls: usize| u64::try_from(calls).unwrap_or(u64::MAX);
        self.load.times(count(before), count(self.places.len()))
    }

    fn is_idle(&self) -> bool {
        self.parked || self.places.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn longest(&self) -> Option<(usize, Place)> {
        self.places.last().map(|place| (self.places.len(), *place))
    }

    fn line_len(&self, _: &[Rank]) -> usize {
        self.places.len()
    }
}

/// Weighted fair turns over those who wait.
#[derive(Debug)]
struct Turns<T> {
    /// By number; a number that is free is used again.
    members: Vec<Option<Member<T>>>,
    free: Vec<u32>,
    numbers: BTreeMap<Arc<str>, u32>,
    /// Those with someone who can be served, by what they have been served.
    order: BTreeSet<(u64, u32)>,
    /// Those with nobody who waits, by when the last of theirs left.
    resting: BTreeSet<(Instant, u32)>,
    /// What the member now being served had been served before: newcomers start here.
    round: u64,
    /// How far behind the round one that comes back may start: its share of what was served lately. Who takes less than
    /// its share is so served before one that takes all that is left.
    credit: u64,
    /// Of all in `order`.
    weight: u64,
    load: Load,
    served: Decayed,
    /// When somebody was last served. Who hangs up does so without a time.
    latest: Instant,
}

#[derive(Debug)]
struct Member<T> {
    name: Arc<str>,
    seats: T,
    weight: u32,
    max_share: Option<u8>,
    /// By weight.
    served: u64,
    lately: Decayed,
    waits: bool,
    rests_since: Instant,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns {
            members: Vec::new(),
            free: Vec::new(),
            numbers: BTreeMap::new(),
            order: BTreeSet::new(),
            resting: BTreeSet::new(),
            round: 0,
            credit: 0,
            weight: 0,
            load: Load::default(),
            served: Decayed::over(SHARE_MEMORY),
            latest: Instant::default(),
        }
    }
}

impl<T: Seats> Member<T> {
    fn new(rank: &Rank) -> Member<T> {
        let (name, weight, max_share) = (rank.name.clone(), rank.weight.max(1), rank.max_share);
        let lately = Decayed::over(SHARE_MEMORY);
        let (served, waits, rests_since) = (0, false, Instant::default());
        Member { name, seats: T::default(), weight, max_share, served, lately, waits, rests_since }
    }

    /// Has it had more than its share of all that was served lately?
    fn is_over(&self, of_all: &Decayed, now: Instant) -> bool {
        self.max_share.is_some_and(|percent| {
            let (own, all) = (self.lately.now(now), of_all.now(now));
            own.saturating_mul(100) > all.saturating_mul(percent.into())
        })
    }
}

impl<T: Seats> Turns<T> {
    fn member(&mut self, number: u32) -> Option<&mut Member<T>> {
        self.members.get_mut(number as usize)?.as_mut()
    }

    fn named(&self, name: &str) -> Option<&Member<T>> {
        self.members.get(*self.numbers.get(name)? as usize)?.as_ref()
    }

    /// The member's number; a new one where it has none.
    fn number(&mut self, rank: &Rank) -> u32 {
        if let Some(number) = self.numbers.get(&rank.name) {
            return *number;
        }
        let next = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let number = self.free.pop().unwrap_or(next);
        if number == next {
            self.members.push(None);
        }
        self.members[number as usize] = Some(Member { served: self.round, ..Member::new(rank) });
        self.numbers.insert(rank.name.clone(), number);
        number
    }

    /// Puts a member into the order, or out of it, as it can be served or not.
    fn rank(&mut self, number: u32) {
        let start = self.start();
        let Some(member) = self.member(number).filter(|member| member.seats.is_idle() == member.waits) else { return };
        member.waits = !member.waits;
        let weight = u64::from(member.weight);
        if member.waits {
            member.served = member.served.max(start);
            let served = member.served;
            self.order.insert((served, number));
            self.weight += weight;
        } else {
            let served = member.served;
            self.order.remove(&(served, number));
            self.weight -= weight;
        }
    }

    fn charge(&mut self, number: u32, size: u64, now: Instant) {
        let Some(member) = self.member(number) else { return };
        let before = member.served;
        member.served = before.saturating_add(size.saturating_mul(TURN_SCALE) / u64::from(member.weight));
        member.lately.add(size.into(), now);
        let (after, waits) = (member.served, member.waits);
        self.round = before;
        self.served.add(size.into(), now);
        self.latest = self.latest.max(now);
        let lately = u64::try_from(self.served.now(now)).unwrap_or(0);
        self.credit = lately.saturating_mul(TURN_SCALE) / self.weight.max(1);
        if waits {
            self.order.remove(&(before, number));
            self.order.insert((after, number));
        }
    }

    /// Where nobody of the member waits any more, it is remembered for a while; when nobody waits at all, neither debts
    /// nor credits last.
    fn rest(&mut self, number: u32, now: Instant) {
        if self.load.calls == 0 {
            *self = Turns { served: self.served, latest: self.latest, ..Turns::default() };
            return;
        }
        let now = now.max(self.latest);
        if let Some(member) = self.member(number).filter(|member| member.seats.is_empty()) {
            member.rests_since = now;
            self.resting.insert((now, number));
        }
        let too_many = |resting: &BTreeSet<_>| resting.len() > RESTING_MAX;
        while let Some((since, number)) = self.resting.first().copied() {
            if now.since(since) < RESTING && !too_many(&self.resting) {
                break;
            }
            self.resting.pop_first();
            if let Some(gone) = self.members[number as usize].take() {
                self.numbers.remove(&gone.name);
                self.free.push(number);
            }
        }
    }

    /// Where one that comes back starts at least.
    fn start(&self) -> u64 {
        self.round.saturating_sub(self.credit)
    }
}

impl<T: Seats> Seats for Turns<T> {
    fn push(&mut self, path: &[Rank], seat: &mut [u32], place: Place, load: Load) {
        let (Some((rank, rest)), Some((own, seat))) = (path.split_first(), seat.split_first_mut()) else { return };
        *own = self.number(rank);
        let number = *own;
        let Some(member) = self.member(number) else { return };
        let resting = (member.rests_since, number);
        member.max_share = rank.max_share;
        if !member.waits {
            member.weight = rank.weight.max(1);
        }
        member.seats.push(rest, seat, place, load);
        self.load = self.load.plus(load);
        self.resting.remove(&resting);
        self.rank(number);
    }

    fn remove(&mut self, seat: &[u32], place: Place, load: Load, served: Option<u64>, now: Instant) {
        let Some((number, rest)) = seat.split_first() else { return };
        let Some(member) = self.member(*number) else { return };
        member.seats.remove(rest, place, load, served, now);
        self.load = self.load.minus(load);
        if let Some(size) = served {
            self.charge(*number, size, now);
        }
        self.rank(*number);
        self.rest(*number, now);
    }

    fn head(&self, now: Instant) -> Option<(Place, bool)> {
        let mut over_its_share = None;
        for (_, number) in &self.order {
            let member = self.members.get(*number as usize)?.as_ref()?;
            // What a tenant has had of its client's part is no matter between clients.
            let Some((place, _)) = member.seats.head(now) else { continue };
            if !member.is_over(&self.served, now) {
                return Some((place, false));
            }
            over_its_share.get_or_insert((place, true));
        }
        over_its_share
    }

    fn park(&mut self, seat: &[u32], parked: bool) {
        let Some((number, rest)) = seat.split_first() else { return };
        if let Some(member) = self.member(*number) {
            member.seats.park(rest, parked);
            self.rank(*number);
        }
    }

    fn before(&self, path: &[Rank], place: Place) -> usize {
        let Some((rank, rest)) = path.split_first() else { return 0 };
        self.named(&rank.name).map_or(0, |member| member.seats.before(rest, place))
    }

    fn ahead(&self, path: &[Rank], before: usize) -> Load {
        let Some((rank, rest)) = path.split_first() else { return Load::default() };
        let Some(member) = self.named(&rank.name) else {
            // In the next turn: after one call at most of each.
            let turns = u64::try_from(self.order.len()).unwrap_or(u64::MAX);
            return self.load.times(turns, self.load.calls).at_most(self.load);
        };
        let weights = if member.waits { self.weight } else { self.weight + u64::from(member.weight) };
        member.seats.ahead(rest, before).times(weights, member.weight.into()).at_most(self.load)
    }

    fn is_idle(&self) -> bool {
        self.order.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.load.calls == 0
    }

    fn longest(&self) -> Option<(usize, Place)> {
        self.members.iter().flatten().filter_map(|member| member.seats.longest()).max()
    }

    fn line_len(&self, path: &[Rank]) -> usize {
        let Some((rank, rest)) = path.split_first() else { return 0 };
        self.named(&rank.name).map_or(0, |member| member.seats.line_len(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(0);
    const OPEN: [bool; 3] = [false; 3];

    fn rank(name: &str) -> Rank {
        Rank { name: name.into(), weight: if name == "w" { 2 } else { 1 }, max_share: None }
    }

    /// `a/t`: tenant t of client a.
    fn path(line: &str) -> Path {
        let (client, tenant) = line.split_once('/').unwrap_or((line, ""));
        [rank(client), rank(tenant)]
    }

    fn place(n: u64) -> Place {
        Place { since: Instant::from_nanos(n), waiter: WaiterId(n) }
    }

    fn load(size: u64) -> Load {
        Load { calls: 1, input: size, output: 0 }
    }

    /// `"n:a=3"` is a waiting normal call of client a that costs 3 tokens; prints in which order they leave.
    fn order(calls: &str) -> String {
        let mut queue = Queue::default();
        let mut names = Vec::new();
        for (i, word) in calls.split_whitespace().enumerate() {
            let (class, rest) = word.split_once(':').expect("class:line=size");
            let (line, size) = rest.split_once('=').expect("class:line=size");
            let class = Class::ALL.iter().find(|c| c.name().starts_with(class)).expect("a class");
            let size = size.parse::<u64>().expect("a size");
            let seat = queue.push(Row::Of(*class), &path(line), place(i as u64), load(size));
            names.push((line.to_owned(), size, seat));
        }
        let mut left = vec![];
        while let Some(Head { row, place, .. }) = queue.head(OPEN, NOW) {
            let (line, size, seat) = &names[usize::try_from(place.waiter.0).expect("small")];
            left.push(line.clone());
            queue.remove(row, *seat, place, load(*size), Some(*size), NOW);
        }
        assert!(queue.is_empty());
        left.join(" ")
    }

    #[test]
    fn critical_goes_first_and_background_last() {
        assert_eq!(order("b:x=1 n:y=1 c:z=1"), "z y x");
    }

    #[test]
    fn clients_take_turns_by_tokens_and_a_longer_call_leaves_a_debt() {
        assert_eq!(order("n:a=1 n:a=1 n:a=1 n:b=1 n:b=1"), "a b a b a");
        assert_eq!(order("n:a=3 n:a=3 n:b=1 n:b=1 n:b=1 n:b=1"), "a b b b a b");
    }

    #[test]
    fn who_takes_less_than_its_share_is_served_before_one_that_takes_all_that_is_left() {
        let mut queue = Queue::default();
        let normal = Row::Of(Class::Normal);
        let mut next = 0;
        let mut come = |queue: &mut Queue, who: &str| {
            next += 1;
            (who.to_owned(), next, queue.push(normal, &path(who), place(next), load(10)))
        };
        let mut waiting: Vec<_> = (0..40).map(|_| come(&mut queue, "flood")).collect();
        let mut left = Vec::new();
        for turn in 0..12 {
            // One call now and again, and at last three together.
            for _ in 0..[1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0][turn] {
                waiting.push(come(&mut queue, "modest"));
            }
            let Head { place, .. } = queue.head(OPEN, NOW).expect("someone waits");
            let at = waiting.iter().position(|(_, n, _)| *n == place.waiter.0).expect("who waits");
            let (who, n, seat) = waiting.remove(at);
            queue.remove(normal, seat, self::place(n), load(10), Some(10), NOW);
            left.push(who);
        }
        assert_eq!(left[8..], ["modest", "modest", "modest", "flood"]);
    }

    #[test]
    fn those_who_have_gone_are_forgotten_while_one_floods() {
        let mut queue = Queue::default();
        let normal = Row::Of(Class::Normal);
        let flood: Vec<Seat> = (0..2_000).map(|n| queue.push(normal, &path("flood"), place(n), load(10))).collect();
        let at = |n: u64| Instant::from_nanos(n * 1_000_000_000);
        for (n, seat) in (0u64..).zip(flood).take(1_900) {
            let guest = place(10_000 + n);
            let own = queue.push(normal, &path(&format!("guest-{n}")), guest, load(10));
            queue.remove(normal, own, guest, load(10), Some(10), at(n));
            queue.remove(normal, seat, place(n), load(10), Some(10), at(n));
        }
        let kept = queue.classes[Class::Normal as usize].numbers.len();
        assert!((600..=602).contains(&kept), "{kept} members are remembered");
    }

    #[test]
    fn a_weight_of_two_is_served_twice_as_much() {
        assert_eq!(order("n:a=2 n:a=2 n:w=2 n:w=2 n:w=2 n:w=2"), "a w w a w w");
    }

    #[test]
    fn tenants_take_turns_inside_their_client_and_not_against_other_clients() {
        assert_eq!(order("n:a/x=1 n:a/x=1 n:a/x=1 n:a/y=1 n:a/y=1 n:b=1 n:b=1 n:b=1"), "a/x b a/y b a/x b a/y a/x");
    }

    #[test]
    fn an_old_background_call_goes_before_a_much_younger_normal_one() {
        let mut queue = Queue::default();
        let at = |secs: u64, n| Place { since: Instant::from_nanos(secs * 1_000_000_000), waiter: WaiterId(n) };
        queue.push(Row::Of(Class::Background), &path("b"), at(0, 1), load(1));
        queue.push(Row::Of(Class::Normal), &path("n"), at(121, 2), load(1));
        let row = |shut| queue.head(shut, NOW).map(|head| head.row);
        assert_eq!(row(OPEN), Some(Row::Of(Class::Background)));
        assert_eq!(row([false, false, true]), Some(Row::Of(Class::Normal)));
    }

    #[test]
    fn a_client_that_comes_late_neither_saves_up_nor_waits_for_others_past() {
        let mut queue = Queue::default();
        let normal = Row::Of(Class::Normal);
        let seats: BTreeMap<u64, Seat> =
            (0..6).map(|n| (n, queue.push(normal, &path("a"), place(n), load(10)))).collect();
        let mut left = Vec::new();
        let mut serve = |queue: &mut Queue, seats: &BTreeMap<u64, Seat>| {
            let Head { place, .. } = queue.head(OPEN, NOW)?;
            queue.remove(normal, seats[&place.waiter.0], place, load(10), Some(10), NOW);
            left.push(place.waiter.0);
            Some(())
        };
        for _ in 0..3 {
            serve(&mut queue, &seats);
        }
        let late = [10, 11].map(|n| (n, queue.push(normal, &path("b"), place(n), load(10))));
        let seats = seats.into_iter().chain(late).collect();
        while serve(&mut queue, &seats).is_some() {}
        assert_eq!(left, [0, 1, 2, 10, 3, 11, 4, 5]);
    }

    #[test]
    fn who_has_had_its_share_goes_after_the_others_and_alone_takes_all() {
        let mut queue = Queue::default();
        let normal = Row::Of(Class::Normal);
        let greedy = [Rank { name: "g".into(), weight: 1_000, max_share: Some(25) }, rank("")];
        let mut seats = [Seat::default(); 2];
        for n in 0..40 {
            seats[0] = queue.push(normal, &greedy, place(n), load(10));
        }
        for n in 100..130 {
            seats[1] = queue.push(normal, &path("o"), place(n), load(10));
        }
        let mut left = String::new();
        while let Some(Head { place, .. }) = queue.head(OPEN, NOW) {
            let own = place.waiter.0 < 100;
            queue.remove(normal, seats[usize::from(!own)], place, load(10), Some(10), NOW);
            left.push(if own { 'g' } else { 'o' });
        }
        assert_eq!(&left[..12], "gooogooogooo");
        assert_eq!(left.trim_end_matches('g').len(), 40, "a quarter while others wait: {left}");
    }

    #[test]
    fn a_parked_line_holds_nobody_up() {
        let mut queue = Queue::default();
        let x = queue.push(Row::Of(Class::Normal), &path("a/x"), place(1), load(1));
        let y = queue.push(Row::Of(Class::Normal), &path("a/y"), place(2), load(1));
        let head = |queue: &Queue| queue.head(OPEN, NOW).map(|head| head.place.waiter.0);
        queue.park(Class::Normal, x, true);
        assert_eq!(head(&queue), Some(2));
        queue.remove(Row::Of(Class::Normal), y, place(2), load(1), Some(1), NOW);
        assert_eq!(head(&queue), None);
        queue.park(Class::Normal, x, false);
        assert_eq!(head(&queue), Some(1));
    }

    #[test]
    fn a_client_with_a_share_and_one_tenant_gets_its_share_while_others_wait() {
        let mut queue = Queue::default();
        let fifth = |name: &str| Rank { max_share: Some(20), ..rank(name) };
        let mut seats = BTreeMap::new();
        for n in 0..100 {
            let line = if n % 2 == 0 { [fifth("a"), fifth("")] } else { path("b") };
            seats.insert(n, queue.push(Row::Of(Class::Normal), &line, place(n), load(1)));
        }
        let mut of_a = 0;
        for _ in 0..50 {
            let next = queue.head(OPEN, NOW).expect("someone waits").place;
            let n = next.waiter.0;
            of_a += u64::from(n % 2 == 0);
            queue.remove(Row::Of(Class::Normal), seats[&n], next, load(1), Some(1), NOW);
        }
        assert_eq!(of_a, 10, "a fifth");
    }

    #[test]
    fn what_goes_before_a_newcomer_is_its_own_line_and_the_turns_of_others() {
        let mut queue = Queue::default();
        for n in 0..100 {
            queue.push(Row::Of(Class::Normal), &path("flood"), place(n), load(10));
        }
        queue.push(Row::Of(Class::Critical), &path("c"), place(100), load(7));
        let ahead = |class: Class, line: &str, at: u64| {
            let before = queue.before(Row::Of(class), &path(line), place(at));
            queue.ahead(Row::Of(class), &path(line), before)
        };
        assert_eq!((ahead(Class::Normal, "new", 200).calls, ahead(Class::Normal, "flood", 200).calls), (2, 101));
        assert_eq!(ahead(Class::Critical, "new", 200).input, 7);
        assert_eq!(
            ahead(Class::Normal, "flood", 30),
            Load { calls: 31, input: 307, output: 0 },
            "one that waits, or comes back"
        );
    }

    #[test]
    fn whoever_leaves_the_queue_is_forgotten() {
        let mut queue = Queue::default();
        let seat = queue.push(Row::Of(Class::Normal), &path("a"), place(1), load(1));
        queue.remove(Row::Of(Class::Normal), seat, place(1), load(1), None, NOW);
        assert!(queue.is_empty() && queue.head(OPEN, NOW).is_none());
        assert!(queue.classes[Class::Normal as usize].members.is_empty());
    }
}

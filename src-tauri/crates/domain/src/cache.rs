//! Which answers may be given again: to whom, for how long, and which never.

use std::time::Duration;

use crate::call::Outcome;
use crate::time::Timestamp;

/// A larger answer is not kept.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What the settings say of a cache that is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    pub ttl: Duration,
    /// While there is an emergency; an answer that was too old before may be given again.
    pub emergency_ttl: Duration,
    /// One client may get what another one's call was answered.
    pub shared: bool,
    /// Calls that offer tools may be answered too.
    pub tools: bool,
}

impl Default for Terms {
    fn default() -> Terms {
        let (ttl, emergency_ttl) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
        Terms { ttl, emergency_ttl, shared: false, tools: false }
    }
}

/// What a call itself wants of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wish {
    #[default]
    Use,
    /// A new answer, which takes the place of the old one.
    Refresh,
    Off,
}

impl Wish {
    /// Whoever asks for something that we don't know gets nothing old.
    pub fn named(name: &str) -> Wish {
        match name {
            "use" => Wish::Use,
            "refresh" => Wish::Refresh,
            _ => Wish::Off,
        }
    }
}

impl Terms {
    /// What tools do they do once for each answer: a call that offers some is let in only where the owner says so.
    pub fn admit(&self, wish: Wish, offers_tools: bool) -> bool {
        wish != Wish::Off && (self.tools || !offers_tools)
    }

    pub fn ttl(&self, is_emergency: bool) -> Duration {
        if is_emergency { self.emergency_ttl } else { self.ttl }
    }

    /// No answer is of use for longer, whatever happens.
    pub fn ttl_max(&self) -> Duration {
        self.ttl.max(self.emergency_ttl)
    }
}

/// Is an answer of `made_at` young enough? One from the future, where the clock went back, is not.
pub fn is_fresh(made_at: Timestamp, now: Timestamp, ttl: Duration) -> bool {
    made_at <= now && now.since(made_at) < ttl
}

/// An answer that has ended, as far as it matters whether it may be given again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub status: u16,
    pub outcome: Outcome,
    /// The upstream said what the whole of it used: nothing of it is missing or unread.
    pub is_told: bool,
    /// The model declined; asked once more it may not.
    pub declined: bool,
    /// A turn to be continued, whose work is done half by the upstream.
    pub paused: bool,
}

/// Only a whole, good answer is: an error may be gone the next time.
pub fn may_be_kept(ended: Ended) -> bool {
    let Ended { status, outcome, is_told, declined, paused } = ended;
    status == 200 && outcome == Outcome::Completed && is_told && !declined && !paused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_and_an_unknown_wish_keep_a_call_out() {
        let (shy, bold) = (Terms::default(), Terms { tools: true, ..Terms::default() });
        for (wish, offers_tools, with_shy, with_bold) in [
            ("use", false, true, true),
            ("refresh", false, true, true),
            ("off", false, false, false),
            ("ues", false, false, false),
            ("use", true, false, true),
            ("refresh", true, false, true),
            ("off", true, false, false),
        ] {
            let admitted = [shy, bold].map(|terms| terms.admit(Wish::named(wish), offers_tools));
            assert_eq!(admitted, [with_shy, with_bold], "{wish}, tools: {offers_tools}");
        }
    }

    #[test]
    fn an_answer_is_fresh_for_its_ttl_and_never_before_it_was_made() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let (made_at, ttl) = (at(100), Duration::from_secs(10));
        for (now, fresh) in [(100, true), (109, true), (110, false), (99, false), (86_500, false)] {
            assert_eq!(is_fresh(made_at, at(now), ttl), fresh, "at {now}");
        }
    }

    #[test]
    fn an_emergency_takes_older_answers() {
        let terms = Terms::default();
        assert_eq!([false, true].map(|is| terms.ttl(is).as_secs()), [3_600, 86_400]);
        let odd = Terms { ttl: Duration::from_secs(200_000), ..terms };
        assert_eq!(odd.ttl_max().as_secs(), 200_000);
    }

    #[test]
    fn nothing_but_a_whole_good_answer_is_kept() {
        let good = Ended { status: 200, outcome: Outcome::Completed, is_told: true, declined: false, paused: false };
        assert!(may_be_kept(good));
        for bad in [
            Ended { status: 201, ..good },
            Ended { status: 529, outcome: Outcome::Failed, ..good },
            Ended { outcome: Outcome::Cut, ..good },
            Ended { outcome: Outcome::Cancelled, ..good },
            Ended { is_told: false, ..good },
            Ended { declined: true, ..good },
            Ended { paused: true, ..good },
        ] {
            assert!(!may_be_kept(bad), "{bad:?}");
        }
    }
}

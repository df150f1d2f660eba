//! Money in whole nano-dollars. Never a float.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

const NANOS_PER_DOLLAR: u64 = 1_000_000_000;

/// US dollars, in nano-dollars. Sums saturate: ±9.2 billion dollars are more than a ledger holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Usd(i64);

impl Usd {
    pub const ZERO: Usd = Usd(0);

    pub const fn from_nanos(nanos: i64) -> Usd {
        Usd(nanos)
    }

    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

impl Add for Usd {
    type Output = Usd;
    fn add(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Usd;
    fn sub(self, other: Usd) -> Usd {
        Usd(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(all: I) -> Usd {
        all.fold(Usd::ZERO, Add::add)
    }
}

/// Exact, with nine decimals: `0.021060000`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:09}", nanos / NANOS_PER_DOLLAR, nanos % NANOS_PER_DOLLAR)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotMoney;

impl fmt::Display for NotMoney {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an amount in dollars with at most nine decimals, such as 12.50")
    }
}

impl std::error::Error for NotMoney {}

impl FromStr for Usd {
    type Err = NotMoney;
    fn from_str(text: &str) -> Result<Usd, NotMoney> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let nanos = scaled(digits, 9).and_then(|nanos| i64::try_from(nanos).ok()).ok_or(NotMoney)?;
        Ok(Usd(sign * nanos))
    }
}

/// A plain decimal number times 10^`decimals`, where that is whole and fits.
pub(crate) fn scaled(text: &str, decimals: u32) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    let missing = decimals.checked_sub(u32::try_from(part.len()).ok()?)?;
    let part = if part.is_empty() { 0 } else { part.parse::<u64>().ok()? };
    let whole = whole.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(decimals)?)?;
    whole.checked_add(part.checked_mul(10_u64.checked_pow(missing)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_back_what_it_prints() {
        for (text, nanos) in
            [("0.000000001", 1), ("18.42", 18_420_000_000), ("-0.5", -500_000_000), ("250", 250_000_000_000)]
        {
            let usd: Usd = text.parse().expect("money");
            assert_eq!(usd.as_nanos(), nanos, "{text}");
            assert_eq!(usd.to_string().parse(), Ok(usd));
        }
    }

    #[test]
    fn what_is_no_exact_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "1e3", "1.0000000001", "1,5", " 1", "99999999999999"] {
            assert_eq!(text.parse::<Usd>(), Err(NotMoney), "{text:?}");
        }
    }
}

//! Amounts over time, in steps of one length.

use crate::time::Timestamp;

/// A record counts from its instant for one step, evenly; between records nothing is used.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    records: Vec<Record>,
    to: i64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Record {
    from: i64,
    to: i64,
    value: f64,
    /// Of all before it.
    before: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadSeries {
    /// Fewer than two different instants: no step is known.
    TooShort,
    TooLong {
        days: i64,
    },
}

/// Twenty years: more is a typing error in a year.
const SERIES_DAYS_MAX: i64 = 7_310;
const DAY_MS: i64 = 86_400_000;

impl Series {
    /// In any order; records of one instant add up. Values are finite and at least 0. The step is the commonest distance of
    /// neighbours, the shorter of two as common.
    pub fn new(mut rows: Vec<(Timestamp, f64)>) -> Result<Series, BadSeries> {
        rows.sort_by_key(|(at, _)| *at);
        rows.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            kept.1 += if same { later.1 } else { 0.0 };
            same
        });
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Err(BadSeries::TooShort) };
        let days = last.0.as_millis().saturating_sub(first.0.as_millis()) / DAY_MS;
        if days > SERIES_DAYS_MAX {
            return Err(BadSeries::TooLong { days });
        }
        let step = step(&rows).ok_or(BadSeries::TooShort)?;
        let to = last.0.as_millis() + step;
        let nexts = rows.iter().skip(1).map(|(at, _)| at.as_millis()).chain([to]);
        let mut before = 0.0;
        let record = |((at, value), next): (&(Timestamp, f64), i64)| {
            let from = at.as_millis();
            let record = Record { from, to: next.min(from + step), value: *value, before };
            before += value;
            record
        };
        let records = rows.iter().zip(nexts).map(record).collect();
        Ok(Series { records, to })
    }

    pub fn from(&self) -> Timestamp {
        Timestamp::from_millis(self.records.first().map_or(0, |record| record.from))
    }

    /// The end of its last step.
    pub fn to(&self) -> Timestamp {
        Timestamp::from_millis(self.to)
    }

    pub fn between(&self, from: Timestamp, to: Timestamp) -> f64 {
        self.up_to(to) - self.up_to(from)
    }

    /// When as much as `amount` has been used since `from`, inside its step by proportion; `None` where never before `end`.
    pub fn reaches(&self, from: Timestamp, amount: f64, end: Timestamp) -> Option<Timestamp> {
        let start = self.up_to(from);
        let first = self.records.partition_point(|record| record.to <= from.as_millis());
        let reached = self.records[first..].iter().take_while(|record| record.from < end.as_millis());
        let record = reached.into_iter().find(|record| record.before + record.value - start >= amount)?;
        let missing = (amount - (record.before - start)) / record.value;
        let at = record.from + ((record.to - record.from) as f64 * missing.clamp(0.0, 1.0)).round() as i64;
        (at < end.as_millis()).then(|| Timestamp::from_millis(at))
    }

    /// Since the first record.
    fn up_to(&self, at: Timestamp) -> f64 {
        let at = at.as_millis();
        let Some(index) = self.records.partition_point(|record| record.from < at).checked_sub(1) else { return 0.0 };
        let record = self.records[index];
        if at >= record.to {
            return record.before + record.value;
        }
        record.before + record.value * ((at - record.from) as f64 / (record.to - record.from) as f64)
    }

    /// By whole hours since 1970, from the first that begins at or after the series to the last that ends before `until`.
    pub fn hours(&self, until: Timestamp) -> (i64, Vec<f64>) {
        let first = self.from().as_millis().div_euclid(HOUR);
        let end = until.as_millis().min(self.to).div_euclid(HOUR);
        let at = |hour: i64| Timestamp::from_millis(hour * HOUR);
        (first, (first..end).map(|hour| self.between(at(hour), at(hour + 1))).collect())
    }
}

const HOUR: i64 = 3_600_000;

fn step(rows: &[(Timestamp, f64)]) -> Option<i64> {
    let mut gaps: Vec<i64> = rows.windows(2).map(|pair| pair[1].0.as_millis() - pair[0].0.as_millis()).collect();
    gaps.sort_unstable();
    let runs = gaps.chunk_by(|a, b| a == b);
    // Of equals `max_by_key` takes the last.
    runs.rev().max_by_key(|run| run.len()).map(|run| run[0])
}

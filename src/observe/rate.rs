//! How many records may be written. The number of refused requests is up to the clients, and each record takes about
//! 1 KB of a journal that the whole machine shares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::config::LogSettings;

use super::select::RecordFacts;

/// A bound of how many come in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// How many a second, at least 1.
    pub(super) per_second: u32,
    /// How many at once, at least 1.
    pub(super) burst: u32,
}

/// The bounds of one worker, which its threads share. A record outside every bound touches nothing here.
#[derive(Debug)]
pub struct RecordBounds {
    began: Instant,
    refused: Bucket,
    others: Option<Bucket>,
}

impl RecordBounds {
    /// The bounds that the configuration sets.
    #[must_use]
    pub fn new(log: &LogSettings) -> Self {
        let refused = Rate { per_second: log.refused_rate, burst: log.refused_burst };
        let others = log.rate.map(|per_second| Rate { per_second, burst: log.burst });
        Self { began: Instant::now(), refused: Bucket::new(refused), others: others.map(Bucket::new) }
    }

    /// Whether the record of an exchange that ends at `now` may be written. Records of successes leave half of a
    /// burst to those of failures.
    #[must_use]
    pub fn admit(&self, facts: &RecordFacts, now: Instant) -> bool {
        if facts.refused {
            return self.refused.admits(self.nanos(now), 0);
        }
        let Some(others) = &self.others else { return true };
        others.admits(self.nanos(now), if facts.failed() { 0 } else { others.tolerance / 2 })
    }

    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_nanos() as u64
    }
}

/// A token bucket, stored as the time at which it is full again (GCRA, ITU-T I.371): one number, so threads share it
/// without a lock.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Nanoseconds for one token.
    interval: u64,
    /// How far ahead of the time the bucket may be.
    tolerance: u64,
    full_at: AtomicU64,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let interval = 1_000_000_000 / u64::from(rate.per_second.max(1));
        let tolerance = interval * u64::from(rate.burst.saturating_sub(1));
        Self { interval, tolerance, full_at: AtomicU64::new(0) }
    }

    /// Takes a token at `now`, in nanoseconds, unless no more than `reserve` of the tolerance is left.
    pub(super) fn admits(&self, now: u64, reserve: u64) -> bool {
        let tolerance = self.tolerance - reserve;
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let from = full_at.max(now);
            (from - now <= tolerance).then_some(from + self.interval)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::end::End;
    use super::super::record::RequestId;
    use super::*;

    fn bounds(others: Option<Rate>) -> RecordBounds {
        let refused = Rate { per_second: 100, burst: 1_000 };
        let full_at = || AtomicU64::new(0);
        let bucket = |rate| Bucket { full_at: full_at(), ..Bucket::new(rate) };
        RecordBounds { began: Instant::now(), refused: bucket(refused), others: others.map(bucket) }
    }

    fn facts(status: u16, refused: bool) -> RecordFacts {
        let took = Duration::from_millis(1);
        RecordFacts { id: RequestId::new(1, 1), status, end: End::OK, took, empty: false, refused }
    }

    fn admitted(bounds: &RecordBounds, facts: &RecordFacts, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| bounds.admit(facts, now)).count()
    }

    #[test]
    fn refused_requests_have_a_burst_and_then_a_rate() {
        let bounds = bounds(None);
        let now = bounds.began + Duration::from_secs(1);
        let refused = facts(400, true);
        assert_eq!(admitted(&bounds, &refused, 5_000, now), 1_000);
        assert_eq!(admitted(&bounds, &refused, 5_000, now + Duration::from_secs(1)), 100);
        assert_eq!(admitted(&bounds, &refused, 5_000, now + Duration::from_secs(60)), 1_000);
    }

    #[test]
    fn others_are_not_bounded_unless_a_rate_is_set() {
        let bounds = bounds(None);
        assert_eq!(admitted(&bounds, &facts(200, false), 5_000, bounds.began), 5_000);
    }

    #[test]
    fn successes_make_way_for_failures() {
        let bounds = bounds(Some(Rate { per_second: 10, burst: 100 }));
        let now = bounds.began;
        assert_eq!(admitted(&bounds, &facts(200, false), 1_000, now), 50);
        assert_eq!(admitted(&bounds, &facts(502, false), 1_000, now), 50);
        assert_eq!(admitted(&bounds, &facts(200, false), 1_000, now + Duration::from_secs(1)), 0);
        assert_eq!(admitted(&bounds, &facts(502, false), 1_000, now + Duration::from_secs(1)), 10);
    }
}

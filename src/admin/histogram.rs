//! A histogram of latency, as counters have it.

use crate::control::counter_tree::CounterTree;
use crate::observe::latency::{BOUNDS, LONGER, SUM};

/// Durations by the first bound that they do not exceed; those that exceed all come last.
#[derive(Clone, Debug, Default)]
pub(super) struct BucketCounts {
    buckets: [u64; BOUNDS.len() + 1],
    /// In microseconds.
    sum: u64,
}

impl BucketCounts {
    /// The series that one counts as: its buckets, the one without a bound, sum and count.
    pub(super) const SERIES: usize = BOUNDS.len() + 3;

    pub(super) fn of(tree: &CounterTree) -> Self {
        let count = |name: &str| tree.get(name).and_then(CounterTree::count).unwrap_or_default();
        let mut counts = Self { sum: count(SUM), ..Self::default() };
        counts.buckets[BOUNDS.len()] = count(LONGER);
        counts.buckets.iter_mut().zip(&BOUNDS).for_each(|(to, bound)| *to = count(&bound.to_string()));
        counts
    }

    /// The bound of each bucket in seconds, with its count; that of the last one is infinite.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }

    /// How many durations.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Of all of them, in seconds.
    pub(super) fn sum(&self) -> f64 {
        seconds(self.sum)
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.buckets.iter_mut().zip(&more.buckets).for_each(|(sum, more)| *sum += more);
        self.sum += more.sum;
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

//! A histogram of latency, as counters have it, and as Prometheus does.

use prometheus::proto::{Bucket, Histogram};

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

    pub(super) fn add(&mut self, more: &Self) {
        self.buckets.iter_mut().zip(&more.buckets).for_each(|(sum, more)| *sum += more);
        self.sum += more.sum;
    }
}

impl From<BucketCounts> for Histogram {
    /// Each bucket of Prometheus counts what the ones below it do.
    fn from(counts: BucketCounts) -> Self {
        let mut so_far = 0;
        let bucket = |(bound, count): (&u64, &u64)| {
            so_far += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(*bound));
            bucket.set_cumulative_count(so_far);
            bucket
        };
        let mut histogram = Self::default();
        histogram.set_bucket(BOUNDS.iter().zip(&counts.buckets).map(bucket).collect());
        histogram.set_sample_count(counts.buckets.iter().sum());
        histogram.set_sample_sum(seconds(counts.sum));
        histogram
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

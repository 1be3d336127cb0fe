//! Latency histograms: how many durations there were up to each of some bounds, and their sum.

use std::array;

use crate::control::counter_tree::CounterTree;
use crate::control::statistics::{Count, add_each};

/// The bounds, in microseconds: from what a server beside the proxy needs to what a client gives up at.
pub const BOUNDS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
/// The name of the count of what took longer than the last bound.
pub const LONGER: &str = "longer";
/// The name of the sum, in microseconds.
pub const SUM: &str = "sum_us";

/// Counts of durations. Each counts once, for the first bound that it does not exceed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram<T> {
    buckets: [T; BOUNDS.len() + 1],
    sum: T,
}

impl<T> Histogram<T> {
    pub(super) fn of(next: &mut impl FnMut() -> T) -> Self {
        Self { buckets: array::from_fn(|_| next()), sum: next() }
    }
}

impl Histogram<Count> {
    /// Counts a duration, in microseconds.
    pub(super) fn observe(&self, took: u64) {
        // most end at one of the first bounds, where a binary search takes four steps for each
        self.buckets[BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS.len())].add(1);
        self.sum.add(took);
    }
}

impl Histogram<u64> {
    pub(super) fn add(&mut self, more: &Histogram<Count>) {
        add_each(&mut self.buckets, &more.buckets);
        self.sum += more.sum.now();
    }

    pub(super) fn tree(&self) -> CounterTree {
        let names = BOUNDS.iter().map(ToString::to_string).chain([LONGER.to_owned()]);
        names.zip(self.buckets).chain([(SUM.to_owned(), self.sum)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::statistics::{CounterNames, SharedStatistics};

    #[test]
    fn a_duration_counts_once_for_the_first_bound_that_it_does_not_exceed() {
        let names = CounterNames { counts: BOUNDS.len() + 2, tree: CounterTree::default() };
        let statistics = SharedStatistics::new(1, &names).expect("memory").of_thread(0);
        let mut places = 0..;
        let histogram = Histogram::of(&mut || statistics.count(places.next().expect("a place")));
        [0, 999, 1_000, 1_001, 10_000_000, 10_000_001, 3_600_000_000]
            .into_iter()
            .for_each(|took| histogram.observe(took));
        let mut sum = Histogram::<u64>::default();
        sum.add(&histogram);
        let tree = sum.tree();
        let count = |name: &str| tree.get(name).and_then(CounterTree::count).expect("a count");
        assert_eq!(["1000", "2500", "5000", "10000000", LONGER].map(count), [3, 1, 0, 1, 2]);
        assert_eq!(count(SUM), 3_620_003_001);
    }
}

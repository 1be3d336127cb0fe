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
    pub(super) fn observe(&self, timed: Timed) {
        self.buckets[timed.bucket].add(1);
        self.sum.add(timed.took);
    }
}

impl Histogram<u64> {
    pub(super) fn add(&mut self, more: &Histogram<Count>) {
        add_each(&mut self.buckets, &more.buckets);
        self.sum += more.sum.now();
    }

    /// The sum, and the buckets that are not empty: most are, and there may be thousands of histograms.
    pub(super) fn tree(&self) -> CounterTree {
        let names = BOUNDS.iter().map(ToString::to_string).chain([LONGER.to_owned()]);
        let counted = names.zip(self.buckets).filter(|(_, count)| *count > 0);
        counted.chain([(SUM.to_owned(), self.sum)]).collect()
    }
}

/// A duration in microseconds, with the place of its bucket: it is looked for once and counts in several histograms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    took: u64,
    bucket: usize,
}

impl Timed {
    pub(super) fn new(took: u64) -> Self {
        // most end at one of the first bounds, where a binary search takes four steps for each
        Self { took, bucket: BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS.len()) }
    }
}

/// The phases of an exchange, as far as it had them.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhaseTimes {
    /// Of its last attempt, to the connection that was opened for it.
    pub(super) connect: Option<Timed>,
    /// From the connection, new or idle, to the head of the response.
    pub(super) response: Option<Timed>,
    /// From the opening of an exchange with a response to its end.
    pub(super) whole: Option<Timed>,
}

/// A histogram for each of [`PHASES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PhaseLatency<T>([Histogram<T>; PHASES.len()]);

/// The names of the phases.
const PHASES: [&str; 3] = ["connect", "response", "whole"];

impl<T> PhaseLatency<T> {
    pub(super) fn of(next: &mut impl FnMut() -> T) -> Self {
        Self(array::from_fn(|_| Histogram::of(next)))
    }
}

impl PhaseLatency<Count> {
    pub(super) fn observe(&self, times: &PhaseTimes) {
        let all = [times.connect, times.response, times.whole];
        self.0
            .iter()
            .zip(all)
            .for_each(|(histogram, timed)| timed.into_iter().for_each(|timed| histogram.observe(timed)));
    }
}

impl PhaseLatency<u64> {
    pub(super) fn add(&mut self, more: &PhaseLatency<Count>) {
        self.0.iter_mut().zip(&more.0).for_each(|(sum, more)| sum.add(more));
    }

    pub(super) fn tree(&self) -> CounterTree {
        PHASES.into_iter().zip(self.0.iter().map(Histogram::tree)).collect()
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
            .for_each(|took| histogram.observe(Timed::new(took)));
        let mut sum = Histogram::<u64>::default();
        sum.add(&histogram);
        let tree = sum.tree();
        let count = |name: &str| tree.get(name).and_then(CounterTree::count);
        assert_eq!(["1000", "2500", "10000000", LONGER].map(count), [Some(3), Some(1), Some(1), Some(2)]);
        assert_eq!((count("5000"), count(SUM)), (None, Some(3_620_003_001)));
    }
}

//! What a worker has counted: an array of numbers for each thread, and their names.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{OPEN, StatisticsReader, bump};
use crate::control::counter_tree::CounterTree;
use crate::control::payload;
use crate::sys::{SharedNumber, SharedNumbers};

/// A number with one writer.
#[derive(Debug)]
pub struct Count(SharedNumber);

/// What is counted: names as a tree, with the place of a count at each end.
#[derive(Clone, Debug)]
pub struct CounterNames {
    /// How many places there are; not all of them need a name.
    pub counts: usize,
    /// The tree.
    pub tree: CounterTree,
}

impl Count {
    pub(super) fn new(numbers: Arc<SharedNumbers>, index: usize) -> Self {
        Self(SharedNumber::new(numbers, index))
    }

    /// Adds.
    pub fn add(&self, more: u64) {
        bump(&self.0, more);
    }

    /// Subtracts.
    pub fn take(&self, less: u64) {
        bump(&self.0, less.wrapping_neg());
    }

    /// Sets the number.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// The number now; another thread may see it a moment late.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Adds counts to sums of the same order.
pub fn add_each(sums: &mut [u64], more: &[Count]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more.now());
}

/// Where the counts of each thread are, as numbers of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    threads: usize,
    counts: usize,
}

impl Layout {
    pub(super) fn new(threads: usize, names: &CounterNames) -> Self {
        Self { threads, counts: names.counts }
    }

    /// Where the offset of this thread begins.
    pub(super) fn of(self, thread: usize) -> usize {
        OPEN + HEADER + thread % self.threads.max(1) * self.width()
    }

    /// No two threads write to the same cache line, nor to neighbours.
    fn width(self) -> usize {
        self.counts.next_multiple_of(2 * super::WIDTH)
    }

    /// Where the names begin.
    pub(super) fn end(self) -> usize {
        OPEN + HEADER + self.threads * self.width()
    }

    /// Writes the header and the names.
    pub(super) fn describe(self, numbers: &SharedNumbers, names: &CounterNames) -> io::Result<()> {
        let text = serde_json::to_vec(&names.tree)?;
        for (at, number) in [self.threads, self.counts, text.len()].into_iter().enumerate() {
            numbers.number(OPEN + at).store(number as u64, Ordering::Relaxed);
        }
        numbers.file().write_all_at(&text, self.end() as u64 * 8)
    }
}

/// The number of threads in the header; none when the file has none.
pub(super) fn threads(file: &File) -> Option<usize> {
    let mut bytes = [0; size_of::<u64>()];
    file.read_exact_at(&mut bytes, OPEN as u64 * 8).ok()?;
    usize::try_from(u64::from_ne_bytes(bytes)).ok().filter(|threads| *threads > 0)
}

impl StatisticsReader {
    /// The sums over all threads, by name; none when the file has no names.
    #[must_use]
    pub fn counted(&self) -> Option<CounterTree> {
        let bytes = self.behind_open()?;
        let number = |at: usize| bytes.get(at * 8..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        let header = |at: usize| usize::try_from(number(at)?).ok().filter(|number| *number <= bytes.len());
        let (threads, counts, length) = (header(0)?, header(1)?, header(2)?);
        threads.checked_mul(counts).filter(|all| *all <= bytes.len())?;
        let layout = Layout { threads, counts };
        let names = bytes.get((layout.end() - OPEN) * 8..)?.get(..length)?;
        let sum = |place| {
            let mut of_threads = (0..threads).map(|thread| number(layout.of(thread) - OPEN + place));
            of_threads.try_fold(0_u64, |sum, count| Some(sum.wrapping_add(count?)))
        };
        let sums = (0..counts).map(sum).collect::<Option<Vec<_>>>()?;
        let tree: CounterTree = serde_json::from_slice(names).ok()?;
        tree.map(&|place| sums.get(usize::try_from(place).ok()?).copied())
    }

    fn behind_open(&self) -> Option<Vec<u8>> {
        let from = OPEN as u64 * 8;
        let length = self.file.metadata().ok()?.len().checked_sub(from)?;
        let length = usize::try_from(length).ok().filter(|_| length <= payload::LARGEST)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, from).ok()?;
        Some(bytes)
    }
}

/// The numbers of the header.
const HEADER: usize = 16;

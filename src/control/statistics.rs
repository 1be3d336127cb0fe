//! What a worker has open and what it has counted, kept where the supervisor can read it after the worker was killed:
//! no other process could say then what was lost with it, and what it had counted.
//!
//! ```text
//! OPEN numbers      what is open, by thread
//! HEADER numbers    how many threads and counts there are, and how long the tree of names is
//! numbers           the counts of each thread, in a part of its own
//! bytes             the tree of names, with the place of a count at each end, as JSON
//! ```

mod counters;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use self::counters::Layout;
pub use self::counters::{Count, CounterNames, add_each};
use crate::sys::SharedNumbers;

/// The worker's side.
#[derive(Clone, Debug)]
pub struct SharedStatistics {
    numbers: Arc<SharedNumbers>,
    layout: Layout,
}

/// The numbers of one thread, which alone writes it.
#[derive(Clone, Debug)]
pub struct ThreadStatistics {
    numbers: Arc<SharedNumbers>,
    first: usize,
    /// Where its counts begin.
    offset: usize,
}

/// The supervisor's side.
#[derive(Debug)]
pub struct StatisticsReader {
    file: File,
    /// How many of the numbers of what is open are in use.
    open: usize,
}

/// What a worker says in its shared statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// What it has open.
    pub inside: Inside,
    /// The number of the last ping that it answered here.
    pub answered: u64,
}

/// What a worker has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Client connections.
    pub connections: u64,
    /// How many of them are in an exchange or a tunnel.
    pub busy: u64,
}

impl SharedStatistics {
    /// Nothing is open, and so many threads have counted none of the counts in `names`.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn new(threads: usize, names: &CounterNames) -> io::Result<Self> {
        let layout = Layout::new(threads, names);
        let numbers = Arc::new(SharedNumbers::new(layout.end())?);
        layout.describe(&numbers, names)?;
        Ok(Self { numbers, layout })
    }

    /// The numbers of the thread of this number; above 256 threads some share the numbers of what is open, which are
    /// estimates then.
    #[must_use]
    pub fn of_thread(&self, thread: usize) -> ThreadStatistics {
        let first = thread % (OPEN / WIDTH) * WIDTH;
        ThreadStatistics { numbers: self.numbers.clone(), first, offset: self.layout.of(thread) }
    }

    /// The file for the supervisor.
    #[must_use]
    pub fn file(&self) -> &File {
        self.numbers.file()
    }
}

impl ThreadStatistics {
    /// One connection more.
    pub fn opened(&self) {
        bump(self.numbers.number(self.first), 1);
    }

    /// One connection less.
    pub fn closed(&self) {
        bump(self.numbers.number(self.first), u64::MAX);
    }

    /// One connection became busy.
    pub fn busy(&self) {
        bump(self.numbers.number(self.first + 1), 1);
    }

    /// One connection is no longer busy.
    pub fn idle(&self) {
        bump(self.numbers.number(self.first + 1), u64::MAX);
    }

    /// The thread's own count at this place of the names.
    #[must_use]
    pub fn count(&self, place: usize) -> Count {
        Count::new(self.numbers.clone(), self.offset + place)
    }
}

impl SharedStatistics {
    /// So many connections are now with another process, or may be, and a thread still counts them: the main thread
    /// notes this before it sends them away.
    pub fn on_their_way(&self, connections: usize) {
        bump(self.numbers.number(ON_THEIR_WAY), connections as u64);
    }

    /// Answers the ping of this number, instead of a message that has no news.
    pub fn answered(&self, ping: u64) {
        self.numbers.number(ANSWERED).store(ping, Ordering::Relaxed);
    }

    /// So many of them are not counted by a thread any more, or came back.
    pub fn settled(&self, connections: usize) {
        bump(self.numbers.number(ON_THEIR_WAY), (connections as u64).wrapping_neg());
    }
}

/// Only one thread writes: no atomic addition is needed.
fn bump(number: &AtomicU64, by: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl StatisticsReader {
    /// What the worker says now, or said when it ended. Nothing when the file has another format.
    #[must_use]
    pub fn now(&self) -> Noted {
        let mut bytes = [0; OPEN * size_of::<u64>()];
        let bytes = &mut bytes[..self.open * size_of::<u64>()];
        if self.file.read_exact_at(bytes, 0).is_err() {
            return Noted::default();
        }
        let mut inside = Inside::default();
        for part in bytes.chunks_exact(WIDTH * size_of::<u64>()) {
            let number = |at: usize| part[8 * at..][..8].try_into().map_or(0, u64::from_ne_bytes);
            inside.connections = inside.connections.saturating_add(number(0));
            inside.busy = inside.busy.saturating_add(number(1));
        }
        let number = |at: usize| bytes[8 * at..][..8].try_into().map_or(0, u64::from_ne_bytes);
        inside.connections = inside.connections.saturating_sub(number(ON_THEIR_WAY));
        Noted { inside, answered: number(ANSWERED) }
    }
}

impl From<OwnedFd> for StatisticsReader {
    fn from(file: OwnedFd) -> Self {
        let file = File::from(file);
        let open = counters::threads(&file).map_or(OPEN, |threads| (threads * WIDTH).clamp(WIDTH, OPEN));
        Self { file, open }
    }
}

impl AsFd for StatisticsReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Numbers of what is open.
const OPEN: usize = 2048;
/// Numbers of one thread: a cache line of its own.
const WIDTH: usize = 8;
/// The place of the number of connections on their way to another generation: in the line of the first thread, which
/// writes only the first two numbers. A supervisor of 0.1 does not read it.
const ON_THEIR_WAY: usize = 7;
/// The place of the number of the last ping that was answered here, in the same line.
const ANSWERED: usize = 6;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statistics(threads: usize) -> (SharedStatistics, StatisticsReader) {
        let tree = json!({"listeners": {"http": {"accepted": 0, "closed": 2}}, "retries": 1});
        let statistics = SharedStatistics::new(
            threads,
            &CounterNames { counts: 3, tree: serde_json::from_value(tree).expect("a tree") },
        )
        .expect("memory");
        let reading = StatisticsReader::from(OwnedFd::from(statistics.file().try_clone().expect("dup")));
        (statistics, reading)
    }

    #[test]
    fn what_was_open_is_read_after_the_writer_is_gone() {
        let (statistics, reading) = statistics(2);
        let (one, other) = (statistics.of_thread(0), statistics.of_thread(1));
        for part in [&one, &one, &other] {
            part.opened();
        }
        one.busy();
        other.busy();
        other.idle();
        one.closed();
        drop((statistics, one, other));
        assert_eq!(reading.now().inside, Inside { connections: 2, busy: 1 });
    }

    #[test]
    fn what_may_be_with_another_process_is_not_lost_with_this_one() {
        let (statistics, reading) = statistics(1);
        let part = statistics.of_thread(0);
        (0..3).for_each(|_| part.opened());
        statistics.on_their_way(2);
        assert_eq!(reading.now().inside.connections, 1);
        statistics.settled(1); // it came back
        assert_eq!(reading.now().inside.connections, 2);
        statistics.settled(1);
        part.closed(); // it arrived
        assert_eq!(reading.now().inside.connections, 2);
    }

    #[test]
    fn what_was_counted_is_read_after_the_writer_is_gone_as_the_sum_of_all_threads() {
        let (statistics, reading) = statistics(3);
        let parts = [statistics.of_thread(0), statistics.of_thread(1), statistics.of_thread(2)];
        for (part, count) in parts.iter().zip([5, 6, 7]) {
            part.count(0).add(count);
            part.count(2).add(1);
            part.opened();
        }
        parts[1].count(1).add(1);
        drop((statistics, parts));
        let counted = json!({"listeners": {"http": {"accepted": 18, "closed": 3}}, "retries": 1});
        assert_eq!(serde_json::to_value(reading.counted()).expect("json"), counted);
        assert_eq!(reading.now().inside, Inside { connections: 3, busy: 0 });
    }

    #[test]
    fn a_file_that_is_none_tells_nothing() {
        let file = || File::open("/dev/null").expect("open");
        assert_eq!(StatisticsReader::from(OwnedFd::from(file())).now(), Noted::default());
        assert_eq!(StatisticsReader::from(OwnedFd::from(file())).counted(), None);
    }

    #[test]
    fn a_file_of_another_shape_tells_nothing() {
        let (statistics, reading) = statistics(1);
        let whole = statistics.file().metadata().expect("metadata").len();
        for end in [whole - 1, whole - 40, 16 * 1024 + 8, 16 * 1024] {
            statistics.file().set_len(end).expect("cut");
            assert_eq!(reading.counted(), None, "{end}");
        }
        assert_eq!(reading.now(), Noted::default(), "as an older program left it");
    }
}

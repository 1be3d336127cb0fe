//! What a worker has open, kept where the supervisor can read it also when the worker was killed: nobody else could say
//! then what was lost with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::sys::SharedNumbers;

/// The worker's side.
#[derive(Clone, Debug)]
pub struct Tally(Arc<SharedNumbers>);

/// The part of one thread, which alone writes it.
#[derive(Clone, Debug)]
pub struct Part {
    numbers: Arc<SharedNumbers>,
    first: usize,
}

/// The supervisor's side.
#[derive(Debug)]
pub struct Reading(File);

/// What a worker has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Client connections.
    pub connections: u64,
    /// How many of them are in an exchange or a tunnel.
    pub busy: u64,
}

impl Tally {
    /// Nothing is open.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn new() -> io::Result<Self> {
        SharedNumbers::new().map(Arc::new).map(Self)
    }

    /// The part of the thread of this number; of more than 256 threads some share one, and the numbers are estimates.
    #[must_use]
    pub fn part(&self, thread: usize) -> Part {
        Part { numbers: self.0.clone(), first: thread % (SharedNumbers::NUMBERS / WIDTH) * WIDTH }
    }

    /// The file for the supervisor.
    #[must_use]
    pub fn file(&self) -> &File {
        self.0.file()
    }
}

impl Part {
    /// A connection more.
    pub fn opened(&self) {
        bump(self.numbers.number(self.first), 1);
    }

    /// A connection less.
    pub fn closed(&self) {
        bump(self.numbers.number(self.first), u64::MAX);
    }

    /// A connection became busy.
    pub fn busy(&self) {
        bump(self.numbers.number(self.first + 1), 1);
    }

    /// A connection is no longer busy.
    pub fn idle(&self) {
        bump(self.numbers.number(self.first + 1), u64::MAX);
    }
}

/// One writer: no atomic addition is needed.
fn bump(number: &AtomicU64, by: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Reading {
    /// What is open now, or was when the worker ended. Nothing when the file is of something else.
    #[must_use]
    pub fn now(&self) -> Inside {
        let mut bytes = [0; SharedNumbers::NUMBERS * size_of::<u64>()];
        if self.0.read_exact_at(&mut bytes, 0).is_err() {
            return Inside::default();
        }
        let mut inside = Inside::default();
        for part in bytes.chunks_exact(WIDTH * size_of::<u64>()) {
            let number = |at: usize| part[8 * at..][..8].try_into().map_or(0, u64::from_ne_bytes);
            inside.connections = inside.connections.saturating_add(number(0));
            inside.busy = inside.busy.saturating_add(number(1));
        }
        inside
    }
}

impl From<OwnedFd> for Reading {
    fn from(file: OwnedFd) -> Self {
        Self(file.into())
    }
}

impl AsFd for Reading {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Numbers of one thread: a cache line of its own.
const WIDTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_open_is_read_after_the_writer_is_gone() {
        let tally = Tally::new().expect("a page");
        let reading = Reading::from(OwnedFd::from(tally.file().try_clone().expect("dup")));
        let (one, other) = (tally.part(0), tally.part(1));
        for part in [&one, &one, &other] {
            part.opened();
        }
        one.busy();
        other.busy();
        other.idle();
        one.closed();
        drop((tally, one, other));
        assert_eq!(reading.now(), Inside { connections: 2, busy: 1 });
    }

    #[test]
    fn a_file_that_is_none_tells_nothing() {
        let file = File::open("/dev/null").expect("open");
        assert_eq!(Reading::from(OwnedFd::from(file)).now(), Inside::default());
    }
}

//! Where the writer writes: journald, or text on stderr. Decided once, at the start.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::journald::Journald;
use super::lines::Lines;
use super::queue::Queue;
use super::{Identity, text};
use crate::observe::event::Event;
use crate::observe::record::{Names, Record};

/// journald's socket for native entries; inside a unit with `LogNamespace=` the namespace's own.
const SOCKET: &str = "/run/systemd/journal/socket";

pub(super) enum Output {
    Journald(Box<Journald>),
    Text(Lines),
    /// There is no standard error.
    Nothing,
}

impl Output {
    /// journald, when stderr is its stream anyway; so a proxy started by hand speaks to its terminal. Nothing is sent
    /// yet, so this waits for neither.
    pub(super) fn detect(identity: Identity) -> Self {
        if stderr_is_journal()
            && let Ok(journald) = Journald::connect(Path::new(SOCKET), identity)
        {
            return Self::Journald(Box::new(journald));
        }
        Lines::new(io::stderr()).map_or(Self::Nothing, Self::Text)
    }

    /// Says whether it was written. Waits while journald takes nothing, as long as `queue` allows.
    pub(super) fn event(&mut self, event: &Event, identity: Identity, queue: &Queue) -> bool {
        match self {
            Self::Journald(journald) => journald.event(event, identity, queue),
            Self::Text(out) => out.write(&text::event(event), queue),
            Self::Nothing => false,
        }
    }

    /// Says how many were written. Waits like [`Output::event`].
    pub(super) fn records(&mut self, records: &[Record], names: &Names, identity: Identity, queue: &Queue) -> usize {
        match self {
            Self::Journald(journald) => journald.records(records, names, identity, queue),
            Self::Text(out) => out.write_each(records.iter().map(|record| text::record(record, names)), queue),
            Self::Nothing => 0,
        }
    }
}

/// Whether what is written to stderr goes to the journal by itself (`$JOURNAL_STREAM`, see systemd.exec(5)).
#[must_use]
pub fn stderr_is_journal() -> bool {
    is_stream(io::stderr(), &std::env::var("JOURNAL_STREAM").unwrap_or_default())
}

/// Whether `file` is the socket that `$JOURNAL_STREAM` names as `device:inode`.
fn is_stream(file: impl AsFd, stream: &str) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_systemd_made_counts_as_the_journal() {
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("pair");
        let stat = rustix::fs::fstat(&one).expect("fstat");
        let stream = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_stream(&one, &stream));
        assert!(!is_stream(&other, &stream));
        assert!(!is_stream(&one, ""));
    }
}

//! Where the writer writes: journald, or text on stderr. Decided once, at the start.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use super::journald::Journald;
use super::queue::Queue;
use super::{Identity, text};
use crate::observe::event::Event;
use crate::observe::record::{Names, Record};

/// journald's socket for native entries; inside a unit with `LogNamespace=` the namespace's own.
const SOCKET: &str = "/run/systemd/journal/socket";

pub(super) enum Output {
    Journald(Box<Journald>),
    Text(Box<dyn Write + Send>),
}

impl Output {
    /// journald, when stderr is its stream anyway; so a proxy started by hand speaks to its terminal.
    pub(super) fn detect(identity: Identity) -> Self {
        if stderr_is_journal()
            && let Ok(journald) = Journald::connect(Path::new(SOCKET), identity)
        {
            return Self::Journald(Box::new(journald));
        }
        Self::Text(Box::new(io::stderr()))
    }

    /// Says whether it was written. Waits while journald takes nothing, as long as `queue` allows.
    pub(super) fn event(&mut self, event: &Event, identity: Identity, queue: &Queue) -> bool {
        match self {
            Self::Journald(journald) => journald.event(event, identity, queue),
            Self::Text(out) => out.write_all(text::event(event).as_bytes()).is_ok(),
        }
    }

    /// Says how many were written. Waits like [`Output::event`].
    pub(super) fn records(&mut self, records: &[Record], names: &Names, identity: Identity, queue: &Queue) -> usize {
        match self {
            Self::Journald(journald) => journald.records(records, names, identity, queue),
            Self::Text(out) => match out.write_all(text::records(records, names).as_bytes()) {
                Ok(()) => records.len(),
                Err(_) => 0,
            },
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

//! The output of the writer: journald, or text on stderr. Decided once, at the start.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::journald::Journald;
use super::left::{Done, Entries, EntryForm};
use super::lines::LineOutput;
use super::queue::Queue;
use super::{Identity, entry, text};
use crate::observe::event::Event;
use crate::observe::record::{Record, RecordNames};

/// journald's socket for native entries; inside a unit with `LogNamespace=` the namespace's own.
const SOCKET: &str = "/run/systemd/journal/socket";

pub(super) enum Output {
    Journald(Box<Journald>),
    Text(LineOutput),
    /// There is no standard error.
    Nothing,
}

impl Output {
    /// journald, when stderr is its stream; so a proxy started by hand writes to its terminal. Nothing is sent yet,
    /// so this does not block.
    pub(super) fn detect(identity: Identity) -> Self {
        if stderr_is_journal()
            && let Ok(journald) = Journald::connect(Path::new(SOCKET), identity)
        {
            return Self::Journald(Box::new(journald));
        }
        LineOutput::new(io::stderr()).map_or(Self::Nothing, Self::Text)
    }

    /// Returns whether it was written. Waits while journald takes nothing, as long as `queue` allows.
    pub(super) fn event(&mut self, event: &Event, identity: Identity, queue: &Queue) -> bool {
        match self {
            Self::Journald(journald) => journald.event(event, identity, queue),
            Self::Text(out) => out.write(text::event(event).as_bytes(), queue),
            Self::Nothing => false,
        }
    }

    /// Writes entries of its own form. Waits like [`Output::event`].
    pub(super) fn entries(&mut self, entries: &Entries, queue: &Queue) -> Done {
        match self {
            Self::Journald(journald) => journald.entries(entries, queue),
            Self::Text(out) => out.entries(entries, queue),
            Self::Nothing => Done { through: entries.len(), written: 0 },
        }
    }

    pub(super) fn form(&self) -> EntryForm {
        match self {
            Self::Journald(_) => EntryForm::Journald,
            Self::Text(_) | Self::Nothing => EntryForm::Text,
        }
    }
}

/// Appends the entry of a record. `scratch` is memory to use again.
pub(super) fn encode(
    form: EntryForm,
    entries: &mut Entries,
    scratch: &mut String,
    record: &Record,
    names: &RecordNames,
    identity: Identity,
) {
    match form {
        EntryForm::Journald => entry::write(&mut entries.bytes, scratch, record, names, identity),
        EntryForm::Text => entries.bytes.extend_from_slice(text::record(record, names).as_bytes()),
    }
    entries.end_one();
}

/// Whether stderr already goes to the journal (`$JOURNAL_STREAM`, see systemd.exec(5)).
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

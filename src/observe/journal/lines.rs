//! Lines on standard error, for a service without a journal.
//!
//! Standard error may be a pipe that is read slowly or not at all, and the shell that started the proxy may share it, so it
//! stays blocking: a wait for room comes before each write. `std::io::stderr` would be locked for as long as a write
//! lasts, and a panic message on another thread would wait for it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::left::{Done, Entries};
use super::queue::Queue;
use super::socket::PATIENCE;

pub(super) struct LineOutput(File);

/// A pipe takes so many bytes at once, whole, when poll(2) reports room (`PIPE_BUF`, see pipe(7)).
const AT_ONCE: usize = 4096;

/// Writes messages of panics only as far as there is room for them. The standard library waits for room, and would
/// block a serving thread.
pub fn panics_never_wait() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let text = format!("thread '{}' {panic}\n{backtrace}\n", thread.name().unwrap_or("?"));
        if let Ok(mut lines) = LineOutput::new(io::stderr()) {
            // the journal has an event for an exchange that it ended
            let _ = text.as_bytes().chunks(AT_ONCE).try_for_each(|part| lines.try_write(part, NOW).map(drop));
        }
    }));
}

const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos() as i64 };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl LineOutput {
    /// On a descriptor of its own for `file`.
    pub(super) fn new(file: impl AsFd) -> io::Result<Self> {
        file.as_fd().try_clone_to_owned().map(|fd| Self(fd.into()))
    }

    /// Returns whether all of `text` was written. Waits for room as long as `queue` allows.
    pub(super) fn write(&mut self, text: &[u8], queue: &Queue) -> bool {
        text.chunks(AT_ONCE).all(|part| self.write_part(part, queue))
    }

    /// Writes the lines of records; several go in one write where they fit.
    pub(super) fn entries(&mut self, entries: &Entries, queue: &Queue) -> Done {
        let mut done = Done::default();
        let mut text = Vec::with_capacity(AT_ONCE);
        let mut lines = entries.iter().peekable();
        let mut gathered = 0;
        while let Some(line) = lines.next() {
            text.extend_from_slice(line);
            gathered += 1;
            if lines.peek().is_some_and(|next| text.len() + next.len() <= AT_ONCE) {
                continue;
            }
            let written = self.write(&text, queue);
            if !written && queue.is_expired() {
                break;
            }
            done.through += gathered;
            done.written += if written { gathered } else { 0 };
            text.clear();
            gathered = 0;
        }
        done
    }

    fn write_part(&mut self, mut part: &[u8], queue: &Queue) -> bool {
        while !part.is_empty() {
            match self.try_write(part, WAIT) {
                Ok(written) => {
                    queue.progress();
                    part = &part[written..];
                }
                Err(Errno::AGAIN | Errno::INTR) if !queue.is_expired() => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn try_write(&mut self, part: &[u8], wait: Timespec) -> Result<usize, Errno> {
        let mut polled = [PollFd::new(&self.0, PollFlags::OUT)];
        if rustix::event::poll(&mut polled, Some(&wait))? == 0 {
            return Err(Errno::AGAIN);
        }
        match self.0.write(part) {
            Ok(0) => Err(Errno::IO),
            Ok(written) => Ok(written),
            Err(fault) => Err(Errno::from_io_error(&fault).unwrap_or(Errno::IO)),
        }
    }
}

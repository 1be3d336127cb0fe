//! Lines on standard error, for where there is no journal.
//!
//! Standard error may be a pipe that is read slowly or not at all, and whoever started the proxy may share it, so it
//! stays blocking: a wait for room comes before each write. `std::io::stderr` would be locked for as long as a write
//! lasts, and a panic message on another thread would wait for it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::queue::Queue;
use super::socket::PATIENCE;

pub(super) struct Lines(File);

/// What a pipe takes at once, whole, when poll(2) says that it takes anything (`PIPE_BUF`, see pipe(7)).
const AT_ONCE: usize = 4096;

impl Lines {
    /// On a descriptor of its own for `file`.
    pub(super) fn new(file: impl AsFd) -> io::Result<Self> {
        file.as_fd().try_clone_to_owned().map(|fd| Self(fd.into()))
    }

    /// Says whether all of `text` was written. Waits for room as long as `queue` allows.
    pub(super) fn write(&mut self, text: &str, queue: &Queue) -> bool {
        text.as_bytes().chunks(AT_ONCE).all(|part| self.write_part(part, queue))
    }

    /// Says how many of `lines` were written; several go in one write where they fit.
    pub(super) fn write_each(&mut self, lines: impl Iterator<Item = String>, queue: &Queue) -> usize {
        let (mut text, mut gathered, mut written) = (String::new(), 0, 0);
        for line in lines {
            if gathered > 0 && text.len() + line.len() > AT_ONCE {
                if !self.write(&text, queue) {
                    return written;
                }
                written += gathered;
                (text, gathered) = (String::new(), 0);
            }
            text.push_str(&line);
            gathered += 1;
        }
        if self.write(&text, queue) { written + gathered } else { written }
    }

    fn write_part(&mut self, mut part: &[u8], queue: &Queue) -> bool {
        while !part.is_empty() {
            match self.try_write(part) {
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

    fn try_write(&mut self, part: &[u8]) -> Result<usize, Errno> {
        let timeout = Timespec::try_from(PATIENCE).ok();
        let mut polled = [PollFd::new(&self.0, PollFlags::OUT)];
        if rustix::event::poll(&mut polled, timeout.as_ref())? == 0 {
            return Err(Errno::AGAIN);
        }
        match self.0.write(part) {
            Ok(0) => Err(Errno::IO),
            Ok(written) => Ok(written),
            Err(fault) => Err(Errno::from_io_error(&fault).unwrap_or(Errno::IO)),
        }
    }
}

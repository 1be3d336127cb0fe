//! One direction of a tunnel: what was read and not yet written, and how far its end has come.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};

use crate::handover::transfer;
use crate::message::body::Demand;
use crate::net::Stream;
use crate::observe::end::Reason;
use crate::turn::{Turn, Turns};
use crate::upstream::read::{ReadBuffers, demand_of, poll_read};

/// One direction. The states of its end: open, `ended` (the reading side said so), `finished` (it was passed on).
#[derive(Default)]
pub(super) struct Course {
    pending: BytesMut,
    ended: bool,
    finished: bool,
    bytes: u64,
    /// What the other side takes at once: no more is read, so that little is held.
    demand: Demand,
    turn: Turn,
    /// What [`Course::has_moved`] saw last.
    seen: (u64, bool),
}

/// What is shorter is copied rather than kept in a large buffer.
const SMALL: usize = 16 * 1024;

/// Which end of a direction failed.
pub(super) enum CourseError {
    Read(io::Error),
    Write(io::Error),
}

impl CourseError {
    /// Why the tunnel ends: `read` or `write`, and what the socket said.
    pub(super) fn because(self, read: Reason, write: Reason) -> (Reason, io::Error) {
        match self {
            Self::Read(cause) => (read, cause),
            Self::Write(cause) => (write, cause),
        }
    }
}

impl Course {
    pub(super) fn new(pending: BytesMut) -> Self {
        Self { pending, ..Self::default() }
    }

    /// Adds what was read elsewhere.
    pub(super) fn push(&mut self, read: &[u8]) {
        self.pending.extend_from_slice(read);
    }

    /// Bytes that passed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the reading side is at its end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether everything has passed, and the end too.
    pub(super) fn has_finished(&self) -> bool {
        self.finished
    }

    /// Whether anything passed since this was last asked.
    pub(super) fn has_moved(&mut self) -> bool {
        let now = (self.bytes, self.ended);
        std::mem::replace(&mut self.seen, now) != now
    }

    /// Ready when everything has passed and the end too.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
        reads: &ReadBuffers,
        turns: &Turns,
    ) -> Poll<Result<(), CourseError>> {
        loop {
            ready!(turns.poll(cx, &mut self.turn));
            while !self.pending.is_empty() {
                let written = ready!(to.poll_write_some(cx, &self.pending)).map_err(CourseError::Write)?;
                self.pending.advance(written);
                self.count(to, written);
            }
            self.pending = BytesMut::new(); // an empty rest still holds the buffer that it was part of
            if self.finished {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                // a peer that is gone already shows on its own side
                let _ = ready!(to.poll_finish_writing(cx));
                self.finished = true;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read(cx, from, to, reads))?;
        }
    }

    /// Reads once and passes on what fits at once; only the rest is kept, so that a quiet tunnel holds no buffer.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
        reads: &ReadBuffers,
    ) -> Poll<Result<(), CourseError>> {
        let mut read = ready!(poll_read(cx, from, reads, self.demand)).map_err(CourseError::Read)?;
        self.ended = read.is_empty();
        match to.try_write(&read) {
            Ok(written) => {
                read.advance(written);
                self.count(to, written);
            }
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(fault) => return Poll::Ready(Err(CourseError::Write(fault))),
        }
        self.pending = match read.len() {
            0 => BytesMut::new(),
            1..SMALL => BytesMut::from(&read[..]), // and not the whole buffer that it was read into
            _ => read,
        };
        Poll::Ready(Ok(()))
    }

    /// Counts `written` bytes, and looks whether the next read may be large. Messages are not worth the question.
    fn count(&mut self, to: &Stream, written: usize) {
        self.bytes += written as u64;
        self.turn.count(written);
        if written >= SMALL {
            self.demand = demand_of(to);
        }
    }
}

impl From<transfer::SavedDirection> for Course {
    fn from(course: transfer::SavedDirection) -> Self {
        let transfer::SavedDirection { pending, ended, finished, bytes } = course;
        Self { pending, ended, finished, bytes, seen: (bytes, ended), ..Self::default() }
    }
}

impl From<Course> for transfer::SavedDirection {
    fn from(course: Course) -> Self {
        let Course { pending, ended, finished, bytes, .. } = course;
        Self { pending, ended, finished, bytes }
    }
}

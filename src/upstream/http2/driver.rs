//! What reads and writes a connection of HTTP/2 to a server, as a task of its own: its streams belong to several
//! exchanges, and what those make in one turn of the thread is written in one go.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::connection::{GATHERED, Http2Connection};
use super::inbox::StreamFault;
use super::places::{PlaceQueue, ReceivedFrames};
use crate::http2::FieldSection;
use crate::http2::error::ErrorCode;
use crate::net::Stream;
use crate::timer::Timer;

/// Bytes that are read at once: some frames of the largest size.
const FRAMES: usize = 64 * 1024;
/// Reads in one turn; then the other connections of the thread have theirs.
const READS: usize = 8;
/// Beyond so much that the server does not take, nothing is read from it: it may be the answers to what it sends.
const MOST_UNWRITTEN: usize = 4 * GATHERED;
/// How long a server may take nothing before no more requests go to it over the connection, and before the connection ends.
const STALLED: Duration = Duration::from_secs(1);
const DEAD: Duration = Duration::from_secs(30);

/// The task of one connection.
pub(super) struct Driver {
    pub(super) connection: Rc<Http2Connection>,
    pub(super) stream: Stream,
    pub(super) waiting: Rc<PlaceQueue>,
    pub(super) timer: Timer,
    /// How long the connection is kept while no stream is open.
    pub(super) keep: Duration,
    /// What was read of the next frame.
    pub(super) ahead: BytesMut,
    /// Since when the server takes nothing.
    pub(super) blocked: Option<Instant>,
    /// How many more streams could be opened when that was last looked at.
    pub(super) places: usize,
}

impl Driver {
    /// Reads and writes until the connection is over.
    pub(super) async fn run(mut self) {
        let fault = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.connection.state.borrow_mut().end(fault);
        self.waiting.wake();
    }

    /// Ready with why the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StreamFault> {
        self.connection.state.borrow_mut().watch(cx);
        let polled = self.poll_both(cx);
        let places = self.connection.streams_left();
        if places > std::mem::replace(&mut self.places, places) {
            self.waiting.wake();
        }
        polled
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<StreamFault> {
        let mut reads = 0;
        loop {
            let mut has_read = false;
            if reads < READS && self.unwritten() < MOST_UNWRITTEN {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(())) => has_read = true,
                    Poll::Ready(Err(fault)) => {
                        let _ = self.poll_write(cx); // GOAWAY says why, if there is room
                        return Poll::Ready(fault);
                    }
                    Poll::Pending => {}
                }
                reads += 1;
            }
            if let Poll::Ready(Err(_)) = self.poll_write(cx) {
                return Poll::Ready(StreamFault::Closed);
            }
            if self.is_over() {
                return Poll::Ready(StreamFault::Closed);
            }
            if !has_read {
                break;
            }
            if reads >= READS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.poll_deadlines(cx)
    }

    fn unwritten(&self) -> usize {
        self.connection.state.borrow().session.output().len()
    }

    /// Reads once. Ready when something came, or will come no more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFault>> {
        let buffers = self.waiting.buffers.clone();
        let mut lent = buffers.borrow_mut();
        let ReceivedFrames { octets, fields } = &mut *lent;
        octets.resize(FRAMES, 0);
        let had = self.ahead.len();
        octets[..had].copy_from_slice(&self.ahead);
        loop {
            return Poll::Ready(match self.stream.try_read(&mut octets[had..]) {
                Ok(0) => Err(StreamFault::Closed),
                Ok(len) => {
                    if had + len < octets.len() {
                        self.stream.note_drained();
                    }
                    self.take(&octets[..had + len], fields)
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    if self.stream.poll_read_ready(cx).is_pending() {
                        return Poll::Pending;
                    }
                    continue;
                }
                Err(_) => Err(StreamFault::Closed),
            });
        }
    }

    fn take(&mut self, read: &[u8], fields: &mut FieldSection) -> Result<(), StreamFault> {
        let mut state = self.connection.state.borrow_mut();
        state.hear();
        let age = state.heard.saturating_duration_since(self.connection.opened);
        let used = state.take(read, fields, age)?;
        let rest = &read[used..];
        if !self.ahead.is_empty() || !rest.is_empty() {
            self.ahead = BytesMut::from(rest);
        }
        Ok(())
    }

    /// Writes what there is.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.connection.state.borrow_mut();
        let was_full = state.session.output().len() >= GATHERED;
        let polled = loop {
            if state.session.output().is_empty() {
                (self.blocked, state.stalled) = (None, None);
                break Poll::Ready(Ok(()));
            }
            match self.stream.try_write(state.session.output()) {
                Ok(written) => {
                    state.session.wrote(written);
                    (self.blocked, state.stalled) = (None, None);
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => match self.stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(fault)) => break Poll::Ready(Err(fault)),
                    Poll::Pending => {
                        self.blocked.get_or_insert_with(Instant::now);
                        break Poll::Pending;
                    }
                },
                Err(fault) => break Poll::Ready(Err(fault)),
            }
        };
        if was_full && state.session.output().len() < GATHERED {
            state.wake_streams();
        }
        polled
    }

    /// Whether nothing is open on the connection, and nothing will be.
    fn is_over(&mut self) -> bool {
        let state = self.connection.state.borrow();
        let ends = state.is_unwanted || state.session.is_told_to_go();
        drop(state);
        ends && self.connection.is_idle()
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<StreamFault> {
        while let Some(due) = self.due() {
            self.timer.set_at(due);
            if self.timer.poll_due(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match self.blocked {
                Some(blocked) if blocked + DEAD <= now => return Poll::Ready(StreamFault::Closed),
                Some(blocked) => self.connection.state.borrow_mut().stalled = Some(blocked),
                None => {
                    self.connection.session().leave(ErrorCode::NoError);
                    let _ = self.poll_write(cx);
                    return Poll::Ready(StreamFault::Closed);
                }
            }
        }
        self.timer.off();
        Poll::Pending
    }

    fn idle_until(&self) -> Instant {
        self.connection.state.borrow().idle_since + self.keep
    }

    /// When to look at the connection again; none while it is in use.
    fn due(&self) -> Option<Instant> {
        match self.blocked {
            Some(blocked) if self.connection.state.borrow().stalled.is_none() => Some(blocked + STALLED),
            Some(blocked) => Some(blocked + DEAD),
            None => self.connection.is_idle().then(|| self.idle_until()),
        }
    }
}

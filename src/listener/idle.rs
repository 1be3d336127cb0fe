//! An idle client connection: nothing is open on it, and it is a bare socket with what is known of its client.
//!
//! Fresh connections start here unless they came with their first bytes, and connections in use come back a moment after
//! their last response. [`IdleWait::poll`] is asked whatever ends that: bytes, a timeout, the end of the generation, another
//! generation that takes the connection, a new connection that needs its room.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::drain::Stage;
use crate::handover::successor::Successor;
use crate::net::Stream;
use crate::observe::end::{End, Phase};
use crate::proxy::idle::Making;
use crate::proxy::{Client, Thread};

/// Bytes of room for the first read: most request heads.
const ROOM: usize = 4096;

/// How long a connection is idle before it becomes dormant. That and the way back are four system calls more than a
/// request takes, which a client that is back sooner does not pay for.
const DORMANT_AFTER: Duration = Duration::from_secs(2);

/// Has the timer of a connection that is idle until `until` go off when it may become dormant, seconds after `since`.
pub(super) fn set_timer(client: &Client, since: Instant, until: Instant) {
    client.timer.set_at(until.min(since + DORMANT_AFTER));
}

/// Whether an idle connection, whose timer went off, becomes dormant: its socket is watched then with those of the others
/// that are. Otherwise the timer goes off at `until`.
pub(super) fn dozes(thread: &Thread, client: &Client, stream: &Stream, until: Instant) -> bool {
    let has_more = thread.drain.is_ending() || !client.private.is_empty() || !stream.is_at_rest();
    let dozes = !has_more && client.slot.watch(stream.as_fd());
    if !dozes {
        client.timer.set_at(until);
    }
    dozes
}

/// What ends the stay of a connection.
pub(super) enum IdleOutcome {
    /// The first bytes of a request, or of what should be one.
    Bytes(BytesMut),
    /// The client closed it, nothing came for as long as it may wait, or the generation is at its deadline.
    Ends(End),
    /// Another generation takes it.
    Moves(Successor),
    /// A new connection needs its room.
    MakesRoom(Making),
    /// It becomes dormant, and goes on being idle.
    Dozes,
}

/// The wait of one idle connection.
pub(super) struct IdleWait {
    until: Instant,
    /// Whether `until` takes the drain into account.
    is_draining: bool,
    /// The connection was dormant, and the poller of the runtime does not know yet what woke it.
    is_woken: bool,
}

impl IdleWait {
    /// A wait that lasts until the connection was idle for `idle_timeout`. A generation that drains may end it earlier.
    pub(super) fn new(client: &Client, idle_timeout: Duration) -> Self {
        let until = client.idle_since + idle_timeout;
        set_timer(client, client.idle_since, until);
        client.slot.set_idle(Some(client.idle_since));
        Self { until, is_draining: false, is_woken: false }
    }

    /// Goes on with the wait of a connection that was dormant.
    pub(super) fn woken(client: &Client, until: Instant) -> Self {
        set_timer(client, Instant::now(), until);
        Self { until, is_draining: false, is_woken: true }
    }

    /// When it is over.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Ready when something happens to the connection. `enters` is called once it is found to be idle, and could make
    /// room for another.
    pub(super) fn poll(
        &mut self,
        thread: &Thread,
        client: &mut Client,
        stream: &Stream,
        cx: &mut Context<'_>,
        enters: impl FnOnce(),
    ) -> Poll<IdleOutcome> {
        let polled = self.poll_happening(thread, client, stream, cx);
        if matches!(polled, Poll::Pending | Poll::Ready(IdleOutcome::Dozes)) {
            if client.slot.list() {
                enters();
            }
            return polled;
        }
        client.slot.set_idle(None);
        client.timer.off();
        polled
    }

    fn poll_happening(
        &mut self,
        thread: &Thread,
        client: &mut Client,
        stream: &Stream,
        cx: &mut Context<'_>,
    ) -> Poll<IdleOutcome> {
        if let Some(successor) = thread.successor_of(&client.origin, &client.private)
            && !client.slot.is_killed()
        {
            return Poll::Ready(IdleOutcome::Moves(successor));
        }
        if let Some(reason) = thread.cuts(client) {
            return Poll::Ready(IdleOutcome::Ends(End::new(Phase::Idle, reason)));
        }
        if let Stage::Draining(draining) = thread.drain.stage()
            && !self.is_draining
        {
            self.is_draining = true;
            self.until = self.until.min(Instant::now() + draining.idle); // or the generation cuts it before
            client.timer.set_at(self.until);
        }
        if let Poll::Ready(read) = self.poll_first(stream, cx) {
            return Poll::Ready(match read {
                Ok(bytes) if !bytes.is_empty() => IdleOutcome::Bytes(bytes),
                Ok(_) | Err(_) => IdleOutcome::Ends(End::CLIENT_DONE),
            });
        }
        let is_due = client.timer.is_due();
        if is_due && self.until <= Instant::now() {
            return Poll::Ready(IdleOutcome::Ends(End::IDLE_TIMEOUT));
        }
        if client.slot.closes_private() {
            client.private.close();
        }
        if let Some(making) = client.slot.take_making()
            && stream.is_silent()
        {
            return Poll::Ready(IdleOutcome::MakesRoom(making)); // else a request has come in this moment
        }
        if is_due && dozes(thread, client, stream, self.until) {
            return Poll::Ready(IdleOutcome::Dozes);
        }
        client.timer.watch(cx);
        Poll::Pending
    }

    /// Reads once there is something, and only then takes a buffer.
    fn poll_first(&mut self, stream: &Stream, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
        // With TLS the record layer may have to answer, for which the poller has to know that the socket has room.
        if std::mem::take(&mut self.is_woken) && stream.tls().is_none() {
            let mut bytes = BytesMut::with_capacity(ROOM);
            match stream.recv_buf(&mut bytes) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {} // it was woken for something else
                read => return Poll::Ready(read.map(|_| bytes)),
            }
        }
        ready!(stream.poll_read_ready(cx))?;
        let mut bytes = BytesMut::with_capacity(ROOM);
        ready!(stream.poll_read_into(cx, &mut bytes))?;
        Poll::Ready(Ok(bytes))
    }
}

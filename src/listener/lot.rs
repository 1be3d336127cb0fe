//! The lot: where a connection stays while nothing is open on it, as a bare socket and a few words.
//!
//! Fresh connections start here, and connections in use come back a moment after their last response. All of them
//! pass [`Stay::poll`], whose task `Clients::wake_all` wakes: what takes every idle connection out of a thread is asked
//! here.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::drain::Stage;
use crate::handover::successor::Successor;
use crate::net::Stream;
use crate::proxy::clients::Making;
use crate::proxy::parked::ParkedEntry;
use crate::proxy::{Client, Thread};

/// Bytes of room for the first read: most request heads.
const ROOM: usize = 4096;

/// What ends the stay of a connection.
pub(super) enum Unparked {
    /// The first bytes of a request, or of what should be one.
    Bytes(BytesMut),
    /// The client closed its sending side.
    Closed,
    /// The client is gone.
    Lost,
    /// Nothing came for as long as the connection may stay.
    Idle,
    /// The generation is at its deadline.
    Cut,
    /// Another generation takes it.
    Moves(Successor),
    /// A new connection needs its room.
    MakesRoom(Making),
}

/// The stay of one connection in the lot.
pub(super) struct Stay {
    until: Instant,
    /// Whether `until` takes the drain into account.
    is_draining: bool,
    /// Where other threads find it. Boxed: a task is allocated in steps of 128 bytes, and this would cost one.
    entry: Option<Box<ParkedEntry>>,
}

impl Stay {
    /// A stay that lasts until the connection was idle for `idle_timeout`. A generation that drains may end it earlier.
    pub(super) fn new(client: &Client, idle_timeout: Duration) -> Self {
        let until = client.idle_since + idle_timeout;
        client.timer.set_at(until);
        client.slot.set_parked(Some(client.idle_since));
        Self { until, is_draining: false, entry: None }
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
    ) -> Poll<Unparked> {
        let Poll::Ready(unparked) = self.poll_happening(thread, client, stream, cx) else {
            if self.entry.is_none() {
                self.entry = Some(Box::new(thread.park(client)));
                enters();
            }
            return Poll::Pending;
        };
        self.entry = None;
        client.slot.set_parked(None);
        client.timer.off();
        Poll::Ready(unparked)
    }

    fn poll_happening(
        &mut self,
        thread: &Thread,
        client: &mut Client,
        stream: &Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Unparked> {
        if let Some(successor) = thread.successor_of(&client.origin, &client.private) {
            return Poll::Ready(Unparked::Moves(successor));
        }
        match thread.drain.stage() {
            Stage::Cut => return Poll::Ready(Unparked::Cut),
            Stage::Draining(draining) if !self.is_draining => {
                self.is_draining = true;
                self.until = self.until.min(Instant::now() + draining.idle); // or the generation cuts it before
                client.timer.set_at(self.until);
            }
            _ => {}
        }
        if let Poll::Ready(read) = poll_first(stream, cx) {
            return Poll::Ready(match read {
                Ok(bytes) if bytes.is_empty() => Unparked::Closed,
                Ok(bytes) => Unparked::Bytes(bytes),
                Err(_) => Unparked::Lost,
            });
        }
        if client.timer.is_due() && self.until <= Instant::now() {
            return Poll::Ready(Unparked::Idle);
        }
        if client.slot.closes_private() {
            client.private.close();
        }
        if let Some(making) = client.slot.take_making()
            && stream.is_silent()
        {
            return Poll::Ready(Unparked::MakesRoom(making)); // else a request has come in this moment
        }
        client.timer.watch(cx);
        Poll::Pending
    }
}

/// Reads once there is something, and only then takes a buffer.
fn poll_first(stream: &Stream, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
    ready!(stream.poll_read_ready(cx))?;
    let mut bytes = BytesMut::with_capacity(ROOM);
    ready!(stream.poll_read_into(cx, &mut bytes))?;
    Poll::Ready(Ok(bytes))
}

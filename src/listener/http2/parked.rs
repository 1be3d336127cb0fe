//! An HTTP/2 connection on which nothing is open: as little as another process would get of it.

use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::handover::http2::{Http2Transfer, SavedHttp2};
use crate::http2::session::saved::SavedSession;
use crate::net::Stream;
use crate::proxy::idle::Making;
use crate::proxy::{Client, Thread};

/// A connection that waits for its next request.
pub(in crate::listener) struct ParkedHttp2 {
    client: Box<Client>,
    stream: Stream,
    session: SavedSession,
    since: Instant,
    until: Instant,
}

/// What a connection waits for no longer.
pub(in crate::listener) enum Unparked {
    /// Something happens to it, which is looked at with all that it has in use.
    InUse,
    /// It ends, so that another one can be opened.
    MakesRoom(Making),
}

impl ParkedHttp2 {
    /// A connection that is idle since then, until it was for too long.
    pub(super) fn new(
        client: Box<Client>,
        stream: Stream,
        session: SavedSession,
        since: Instant,
        until: Instant,
    ) -> Box<Self> {
        client.timer.set_at(until);
        client.slot.set_idle(Some(client.idle_since));
        Box::new(Self { client, stream, session, since, until })
    }

    /// Ready when something happens to the connection. `enters` is called once it could make room for another.
    pub(in crate::listener) fn poll(
        &self,
        thread: &Thread,
        cx: &mut Context<'_>,
        enters: impl FnOnce(),
    ) -> Poll<Unparked> {
        let is_due = self.client.timer.is_due() && self.until <= Instant::now();
        if thread.drain.is_ending() || is_due || self.stream.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Unparked::InUse);
        }
        if let Some(making) = self.client.slot.take_making()
            && self.stream.is_silent()
        {
            return Poll::Ready(Unparked::MakesRoom(making)); // else a request has come in this moment
        }
        self.client.timer.watch(cx);
        if self.client.slot.list() {
            enters();
        }
        Poll::Pending
    }

    /// Takes the connection apart, which is in use again.
    pub(in crate::listener) fn into_parts(self) -> (Box<Client>, Stream, Http2Transfer) {
        let Self { client, stream, session, since, .. } = self;
        client.slot.set_idle(None);
        client.timer.off();
        let idle = Some(Instant::now() - since);
        let transfer = Http2Transfer {
            session,
            client: SavedHttp2 { idle, ..SavedHttp2::default() },
            streams: Vec::new(),
            ahead: bytes::BytesMut::new(),
        };
        (client, stream, transfer)
    }
}

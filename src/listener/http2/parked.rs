//! An HTTP/2 connection on which nothing is open: as little as another process would get of it.

use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::handover::http2::{Http2Transfer, SavedHttp2};
use crate::http2::session::saved::SavedSession;
use crate::listener::idle::{dozes, set_timer};
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
    /// It becomes dormant.
    Dozes,
}

/// What is kept of a session while its connection is dormant.
#[derive(Debug)]
pub(in crate::listener) struct DormantSession {
    session: SavedSession,
    since: Instant,
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
        set_timer(&client, since, until);
        client.slot.set_idle(Some(client.idle_since));
        Box::new(Self { client, stream, session, since, until })
    }

    /// Goes on with one that was dormant.
    pub(in crate::listener) fn woken(
        client: Box<Client>,
        stream: Stream,
        session: Box<DormantSession>,
        until: Instant,
    ) -> Box<Self> {
        set_timer(&client, Instant::now(), until);
        let DormantSession { session, since } = *session;
        Box::new(Self { client, stream, session, since, until })
    }

    /// Takes the connection apart, which becomes dormant, and says until when.
    pub(in crate::listener) fn doze(self) -> (Box<Client>, Stream, Box<DormantSession>, Instant) {
        let Self { client, stream, session, since, until } = self;
        (client, stream, Box::new(DormantSession { session, since }), until)
    }

    /// Ready when something happens to the connection. `enters` is called once it could make room for another.
    pub(in crate::listener) fn poll(
        &self,
        thread: &Thread,
        cx: &mut Context<'_>,
        enters: impl FnOnce(),
    ) -> Poll<Unparked> {
        let is_due = self.client.timer.is_due();
        let is_over = is_due && self.until <= Instant::now();
        if thread.drain.is_ending()
            || is_over
            || self.client.slot.is_killed()
            || self.stream.poll_read_ready(cx).is_ready()
        {
            return Poll::Ready(Unparked::InUse);
        }
        if let Some(making) = self.client.slot.take_making()
            && self.stream.is_silent()
        {
            return Poll::Ready(Unparked::MakesRoom(making)); // else a request has come in this moment
        }
        if self.client.slot.list() {
            enters();
        }
        if is_due && dozes(thread, &self.client, &self.stream, self.until) {
            return Poll::Ready(Unparked::Dozes);
        }
        self.client.timer.watch(cx);
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

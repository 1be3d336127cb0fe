//! A connection that goes on in another generation: with what was read of the next head, or with the exchange that is
//! open on it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::half_closed::HalfClosed;
use super::reader::RequestReader;
use super::writer::ResponseWriter;
use super::{Http1, Http1State, ReadAhead};
use crate::handover::successor::{Successor, TransferPermit};
use crate::handover::transfer::{Http1Client, Http1Transfer, SavedHttp1};
use crate::http1::request::RequestHead;
use crate::listener::service::Service;
use crate::listener::timeouts::Direction;
use crate::net::Stream;
use crate::proxy::client::before;
use crate::proxy::handler::{Leaving, RequestHandler};
use crate::proxy::private::Private;
use crate::proxy::response::Then;
use crate::proxy::{Client, Thread};

/// No wait that another generation began lasts any longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A connection that moves with the exchange that is open.
pub(in crate::listener) struct OpenParts {
    pub(in crate::listener) client: Box<Client>,
    pub(in crate::listener) stream: Stream,
    pub(in crate::listener) leaving: Leaving,
    pub(in crate::listener) transfer: Box<Http1Transfer>,
}

/// An open exchange of another generation that goes on here, with the side of its client.
pub(in crate::listener) struct OpenHttp1<H> {
    handler: H,
    request: RequestHead,
    client: Http1Client,
}

impl<H> OpenHttp1<H> {
    /// Goes on with an exchange of this client.
    ///
    /// # Errors
    /// When this generation does not have what it leads to.
    pub(in crate::listener) fn resume<S: Service<Handler = H>>(
        thread: &Rc<Thread>,
        client: &mut Client,
        transfer: Http1Transfer,
    ) -> io::Result<Self> {
        let Http1Transfer { exchange, client: side, private } = transfer;
        client.private = Private::unpack(private, &thread.runtime_config);
        let (handler, request) = S::resume(thread, &client.origin, &mut client.private, exchange)?;
        Ok(Self { handler, request, client: side })
    }
}

impl<S: Service> Http1<S> {
    /// Goes on with a connection on which an exchange is open.
    pub(in crate::listener) fn resumed(
        thread: &Rc<Thread>,
        client: Box<Client>,
        listener: usize,
        stream: Stream,
        open: OpenHttp1<S::Handler>,
    ) -> Box<Self> {
        let OpenHttp1 { handler, request, client: Http1Client { state, unsent, ahead } } = open;
        let reader = RequestReader::resumed(ahead, state.request);
        let mut http1 = Self::blank(thread, client, listener, stream, reader);
        http1.writer = ResponseWriter::resumed(state.framing, &unsent, state.sent_ahead);
        (http1.closes, http1.has_head, http1.request) = (state.closes, state.has_head, Some(request));
        let now = Instant::now();
        http1.half_closed = state.half_closed.map(|saved| HalfClosed::resumed(now, saved));
        for (direction, left) in [(Direction::Read, state.read), (Direction::Write, state.write)] {
            if let Some(left) = left {
                http1.begin_wait(direction, left.min(LONGEST));
            }
        }
        http1.state = Http1State::Exchange(handler);
        http1
    }

    /// Takes the connection apart with the exchange that is open; none when that can't be, which ends both.
    pub(in crate::listener) fn into_open(mut self) -> Option<OpenParts> {
        let read = self.timeouts.left(Direction::Read);
        let write = self.timeouts.left(Direction::Write);
        self.end_wait(Direction::Read);
        self.end_wait(Direction::Write);
        let (Http1State::Exchange(handler) | Http1State::Flush { handler, .. }) = self.state else { return None };
        let (framing, unsent, sent_ahead) = self.writer.save();
        let (request, ahead) = self.reader.save();
        let state = SavedHttp1 {
            request,
            framing,
            has_head: self.has_head,
            closes: self.closes,
            sent_ahead,
            half_closed: self.half_closed.map(|client| client.save(Instant::now())),
            read,
            write,
        };
        let (leaving, exchange) = handler.into_transfer()?;
        let private = self.client.private.pack(&self.thread.runtime_config.names);
        let transfer = Box::new(Http1Transfer { exchange, client: Http1Client { state, unsent, ahead }, private });
        Some(OpenParts { client: self.client, stream: self.stream, leaving, transfer })
    }

    /// Ready when the connection moves now, with the exchange that is open.
    pub(super) fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<TransferPermit> {
        let mut wait = std::mem::take(&mut self.wait);
        let permit = wait.poll(cx, || self.successor());
        self.wait = wait;
        permit
    }

    /// What takes the connection over with the exchange that is open. A connection that ends because of what its client
    /// did ends here, within its timeouts.
    fn successor(&self) -> Option<Successor> {
        let (Http1State::Exchange(handler) | Http1State::Flush { handler, then: Then::KeepAlive | Then::Close }) =
            &self.state
        else {
            return None;
        };
        if self.early_end.is_some() || self.reader.is_finished && self.half_closed.is_none() {
            return None;
        }
        self.thread.successor_if(|reach| handler.can_move(reach) && self.client.private.is_in(reach))
    }
}

impl ReadAhead {
    /// Goes on with what another generation read, the first byte so long ago.
    pub(in crate::listener) fn resumed(bytes: BytesMut, age: Option<Duration>) -> Self {
        let began = age.filter(|_| !bytes.is_empty()).map(|age| before(Instant::now(), age));
        Self { bytes, began }
    }

    /// What was read, and how long ago the first byte came.
    pub(in crate::listener) fn save(self) -> (BytesMut, Option<Duration>) {
        (self.bytes, self.began.map(|began| began.elapsed()))
    }
}

impl From<BytesMut> for ReadAhead {
    fn from(bytes: BytesMut) -> Self {
        Self { bytes, began: None }
    }
}

//! One stream: what serves its request, and its response on its way to the client.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::body::{ReceivedBody, StreamBody};
use crate::handover::capabilities::Reach;
use crate::handover::http2::{SavedStream, SavedTrailers, StreamTransfer};
use crate::http2::Session;
use crate::http2::error::ErrorCode;
use crate::listener::service::Service;
use crate::message::body::Demand;
use crate::proxy::Thread;
use crate::proxy::client::before;
use crate::proxy::client_side::ClientSide;
use crate::proxy::handler::{Leaving, RequestHandler};
use crate::proxy::origin::Origin;
use crate::proxy::private::Private;
use crate::proxy::response::{BodyLength, Response, ResponsePart, Then};
use crate::upstream::read::WHOLE_READ;

/// Bytes of a body that are sent of one stream before the others have their turn.
const QUANTUM: usize = 16 * 1024;
/// A connection that has gathered less than this is given as much as one read from a server gives.
const MUCH: usize = 64 * 1024;

/// A stream that is open.
pub(super) struct OpenStream<H> {
    /// None for a request that was refused.
    pub(super) handler: Option<H>,
    pub(super) received: ReceivedBody,
    /// Upstream connections that a server authenticates are of no use beyond one request: on a connection with many streams
    /// none belongs to one user.
    private: Private,
    is_head: bool,
    /// What has come of the response and was not sent.
    pending: Bytes,
    trailers: Option<HeaderMap>,
    /// Bytes of the response body that are to come, where that is known.
    left: Option<u64>,
    part: Part,
    /// Since when the client lets nothing more be sent, although there is something.
    pub(super) blocked_since: Option<Instant>,
}

/// How far a response is.
///
/// ```text
///   Coming ──what serves the request gave all──▶ Whole ──its end is sent──▶ Over
///     └──all of its length is sent──▶ Sent ──what serves the request gave all──▶ Over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Coming,
    Whole,
    Sent,
    Over,
}

/// What became of a stream that had its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamOutcome {
    /// It waits for a server, the client or a window.
    Waits,
    /// It has more to send.
    More,
    /// Its response was sent whole.
    Over,
    /// Its response broke off, and it was reset.
    Broken,
}

impl<H: RequestHandler> OpenStream<H> {
    /// The stream of a request.
    pub(super) fn new(handler: H, is_head: bool) -> Self {
        Self { handler: Some(handler), is_head, ..Self::blank() }
    }

    /// The stream of a request that was refused, of whose answer the head was sent.
    pub(super) fn refused(body: Bytes) -> Self {
        let part = if body.is_empty() { Part::Over } else { Part::Whole };
        Self { pending: body, part, ..Self::blank() }
    }

    fn blank() -> Self {
        Self {
            handler: None,
            received: ReceivedBody::default(),
            private: Private::default(),
            is_head: false,
            pending: Bytes::new(),
            trailers: None,
            left: None,
            part: Part::Coming,
            blocked_since: None,
        }
    }

    /// Sends what there is, and asks for more, until as much was sent as one turn may, and no more than `most` octets.
    pub(super) fn run(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        key: usize,
        now: Instant,
        most: usize,
    ) -> StreamOutcome {
        let mut quantum = QUANTUM.min(most);
        loop {
            quantum -= self.send(session, key, quantum);
            if self.part == Part::Over {
                return StreamOutcome::Over;
            }
            if quantum == 0 {
                return StreamOutcome::More;
            }
            if !self.pending.is_empty() {
                self.settle(now);
            }
            if self.part == Part::Whole {
                return StreamOutcome::Waits;
            }
            let Poll::Ready(part) = self.poll(cx, session, key, now) else { return StreamOutcome::Waits };
            match part {
                ResponsePart::Interim(response) => {
                    session.respond(key, response.status.as_u16(), &response.fields, false);
                }
                ResponsePart::Head(response) => self.respond(session, key, &response),
                ResponsePart::Data(data) if self.part == Part::Coming => self.pending = data,
                ResponsePart::Data(_) => {}
                ResponsePart::Trailers(trailers) => self.trailers = Some(trailers),
                ResponsePart::End => self.part = if self.part == Part::Sent { Part::Over } else { Part::Whole },
                ResponsePart::Broken(_) => {
                    session.reset(key, ErrorCode::InternalError);
                    return StreamOutcome::Broken;
                }
            }
        }
    }

    /// Goes on with a stream of another generation.
    ///
    /// # Errors
    /// When this generation does not have what its exchange leads to.
    pub(super) fn resumed<S: Service<Handler = H>>(
        thread: &Rc<Thread>,
        origin: &Rc<Origin>,
        transfer: StreamTransfer,
        now: Instant,
    ) -> io::Result<Self> {
        let StreamTransfer { state, exchange, pending, received } = transfer;
        let (mut private, mut is_head, mut handler) = (Private::default(), false, None);
        if let Some(exchange) = exchange {
            let (resumed, request) = S::resume(thread, origin, &mut private, exchange)?;
            (handler, is_head) = (Some(resumed), request.method.head);
        }
        let received = ReceivedBody {
            data: received,
            trailers: state.received_trailers.map(restored),
            waits_since: state.waits.map(|age| before(now, age)),
            is_late: false,
            is_patient: state.is_tunnel,
        };
        Ok(Self {
            handler,
            received,
            private,
            is_head,
            pending: pending.freeze(),
            trailers: state.trailers.map(restored),
            left: state.left,
            // what has given all of the response says so once more
            part: if state.is_sent { Part::Sent } else { Part::Coming },
            blocked_since: state.blocked.map(|age| before(now, age)),
        })
    }

    /// Whether it can go on in a generation that takes this.
    pub(super) fn can_move(&self, reach: &Reach) -> bool {
        self.part == Part::Whole || self.handler.as_ref().is_none_or(|handler| handler.can_move(reach))
    }

    /// Whether its request is on a connection to a server that other clients share.
    pub(super) fn is_on_shared_connection(&self) -> bool {
        self.handler.as_ref().is_some_and(RequestHandler::is_on_shared_connection)
    }

    /// Takes it apart for another generation that takes `reach`. None when it can't move after all. The exchange is
    /// recorded here when it is over and can't move: the client has to take the rest of its response.
    pub(super) fn save(self, reach: Option<&Reach>, now: Instant) -> Option<(Option<Leaving>, StreamTransfer)> {
        let state = SavedStream {
            left: self.left,
            is_sent: self.part == Part::Sent,
            is_tunnel: self.received.is_patient,
            trailers: self.trailers.as_ref().map(saved),
            received_trailers: self.received.trailers.as_ref().map(saved),
            waits: self.received.waits_since.map(|since| now - since),
            blocked: self.blocked_since.map(|since| now - since),
        };
        let (pending, received) = (self.pending.into(), self.received.data);
        let (mut leaving, mut exchange) = (None, None);
        match self.handler {
            Some(handler) if reach.is_some_and(|reach| handler.can_move(reach)) => {
                (leaving, exchange) =
                    handler.into_transfer().map(|(leaving, exchange)| (Some(leaving), Some(exchange)))?;
            }
            Some(handler) if self.part == Part::Whole => {
                let _ = handler.close(true, Then::KeepAlive);
            }
            Some(_) => return None,
            None => {}
        }
        Some((leaving, StreamTransfer { state, exchange, pending, received }))
    }

    /// Until when it waits for the client, if it does: for more of the body, or for a window.
    pub(super) fn due(&self, body: Duration, write: Duration) -> Option<Instant> {
        let waits_since = self.received.waits_since.filter(|_| !self.received.is_late);
        let due = [waits_since.map(|since| since + body), self.blocked_since.map(|since| since + write)];
        due.into_iter().flatten().min()
    }

    fn respond(&mut self, session: &mut Session, key: usize, response: &Response) {
        let has_body = response.length != BodyLength::Known(0) && !self.is_head;
        self.received.is_patient = response.upgrade && response.status.is_success();
        if let BodyLength::Known(length) = response.length {
            self.left = Some(length);
        }
        session.respond(key, response.status.as_u16(), &response.fields, !has_body);
        if !has_body {
            self.part = Part::Sent;
        }
    }

    /// Sends as much as the windows and `most` let it, and the end, if it has come; gives the octets of the body.
    fn send(&mut self, session: &mut Session, key: usize, most: usize) -> usize {
        let len = self.pending.len().min(session.room(key)).min(most);
        if len > 0 {
            let data = self.pending.split_to(len);
            self.left = self.left.map(|left| left.saturating_sub(len as u64));
            let is_last = self.left == Some(0) || self.part == Part::Whole && self.trailers.is_none();
            let ends = is_last && self.pending.is_empty();
            session.send(key, &data, ends);
            self.blocked_since = None;
            if ends {
                self.part = if self.part == Part::Whole { Part::Over } else { Part::Sent };
            }
        }
        if self.part == Part::Whole && self.pending.is_empty() {
            match self.trailers.take() {
                Some(trailers) => session.trailers(key, &trailers),
                None => session.send(key, &[], true),
            }
            self.part = Part::Over;
        }
        len
    }

    /// The client lets nothing be sent. What has to wait lets go of the large buffer that it is a part of.
    fn settle(&mut self, now: Instant) {
        if self.blocked_since.is_none() {
            self.blocked_since = Some(now);
            self.pending = Bytes::copy_from_slice(&self.pending);
        }
    }

    /// Asks what serves the request. While something waits to be sent no more of the response is read, and the body of the
    /// request goes on all the same.
    fn poll(&mut self, cx: &mut Context<'_>, session: &mut Session, key: usize, now: Instant) -> Poll<ResponsePart> {
        let Some(handler) = &mut self.handler else { return Poll::Ready(ResponsePart::End) };
        // what is beyond the window would be held
        let is_roomy = session.room(key) >= WHOLE_READ && session.output().len() < MUCH;
        let demand = if is_roomy { Demand::Much } else { Demand::Little };
        let room = self.pending.is_empty().then_some(demand);
        let mut body = StreamBody { session, key, received: &mut self.received, now, is_read: false };
        let part = handler.poll(cx, &mut ClientSide { body: &mut body, room, private: &mut self.private });
        if !body.is_read {
            self.received.waits_since = None;
        }
        part
    }
}

fn saved(trailers: &HeaderMap) -> SavedTrailers {
    trailers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// The same trailers; what is none is left out.
fn restored(saved: SavedTrailers) -> HeaderMap {
    let field =
        |(name, value): (String, Vec<u8>)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    let mut trailers = HeaderMap::new();
    saved.into_iter().filter_map(field).for_each(|(name, value)| {
        trailers.append(name, value);
    });
    trailers
}

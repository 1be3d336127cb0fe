//! HTTP/1 on one client connection, from the first byte of a request until the connection is idle or at its end.
//!
//! The connection reads the heads and bodies of requests, has each request served by a [`RequestHandler`], and writes what that
//! gives. It owns all that the connection waits for; the handler gets the body of the request as an argument, and gives
//! the response as a result.
//!
//! ```text
//!   Head ──a request──▶ Exchange ──the response is written──▶ Head
//!    │ │                   │ └──────it was the last one──────▶ Last ──written──▶ ends
//!    │ └──what came is no request: a refusal is written───────▶ Last
//!    └──nothing came for a moment──▶ idle, or taken over by another generation; or HTTP/2, after its preface
//! ```

mod half_closed;
mod heads;
mod incoming;
mod moving;
mod reader;
mod writer;

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::Version;
use tokio::time::Instant;

use self::half_closed::HalfClosed;
use self::incoming::IncomingBody;
pub(super) use self::moving::{OpenHttp1, OpenParts};
use self::reader::{Position, RequestReader};
use self::writer::ResponseWriter;
use super::service::Service;
use super::timeouts::{Direction, Timeouts};
use crate::config::ListenerSettings;
use crate::handover::successor::{Successor, TransferPermit, Wait};
use crate::http1::request::RequestHead;
use crate::message::body::Demand;
use crate::net::{Departure, Stream};
use crate::observe::end::{End, Phase, Reason, Side};
use crate::proxy::client_side::ClientSide;
use crate::proxy::handler::RequestHandler;
use crate::proxy::private::Private;
use crate::proxy::response::{BodyLength, Response, ResponsePart, Then};
use crate::proxy::tunnel::Tunnel;
use crate::proxy::{Client, Thread};
use crate::turn::{TURN, Turn};

/// How long a connection keeps its buffers after its last response: a client in full swing is back sooner.
const QUIET: Duration = Duration::from_millis(16);

/// Requests that are answered in one turn without a wait, as those are that reach no server; then the other connections of
/// the thread have theirs. A client that sends such requests as fast as they are answered would keep the thread.
const REQUESTS: usize = 8;

/// One connection in use.
pub(super) struct Http1<S: Service> {
    thread: Rc<Thread>,
    client: Box<Client>,
    stream: Stream,
    /// The settings, an index into the listeners of the configuration.
    listener: usize,
    reader: RequestReader,
    writer: ResponseWriter,
    timeouts: Timeouts,
    state: Http1State<S::Handler>,
    /// What the request that is served says of the connection.
    request: Option<RequestHead>,
    /// The head of the final response was given.
    has_head: bool,
    /// The client has closed its sending side, and this request is the last or one of the last.
    half_closed: Option<HalfClosed>,
    /// No request follows the response that is being written.
    closes: bool,
    /// The client took longer than the response that is being written.
    is_late: bool,
    /// How the connection ends after that response, when not by what the response says.
    early_end: Option<End>,
    /// What of the response was written in the turn of this connection.
    turn: Turn,
    /// The connection is to move with the exchange that is open.
    wait: Wait,
}

enum Http1State<H> {
    /// Between two requests, or inside the head of one.
    Head,
    /// HTTP/2 is spoken: the connection began with its preface.
    Http2,
    /// A request is served.
    Exchange(H),
    /// The response was given whole, and is being written. Then the connection goes on as said.
    Flush { handler: H, then: Then },
    /// The last bytes are being written.
    Last(End),
}

/// What becomes of a connection that is not served any more.
pub(super) enum Next {
    /// Nothing is open on it.
    Idle,
    /// Another generation takes it over.
    Moves(Successor),
    /// Another generation takes it over, with the exchange that is open.
    MovesOpen(TransferPermit),
    /// It goes on with HTTP/2, whose first bytes were read.
    Http2,
    /// It is a tunnel from here on.
    Tunnel(Box<Tunnel>),
    /// It ends. `linger` when the client may still be sending.
    Ends { end: End, linger: bool },
}

/// The parts of a connection that is not served any more.
pub(super) struct Http1Parts {
    pub(super) client: Box<Client>,
    pub(super) stream: Stream,
    /// What was read of the next message.
    pub(super) ahead: ReadAhead,
}

/// What was read of the next message, before there is an exchange.
#[derive(Default)]
pub(super) struct ReadAhead {
    pub(super) bytes: BytesMut,
    /// When the first of them came, when they are part of a head; none when they were not looked at.
    pub(super) began: Option<Instant>,
}

impl<S: Service> Http1<S> {
    /// Serves `stream`, from which `ahead` was read already.
    pub(super) fn new(
        thread: &Rc<Thread>,
        client: Box<Client>,
        listener: usize,
        stream: Stream,
        ahead: ReadAhead,
    ) -> Box<Self> {
        let ReadAhead { bytes, began } = ahead;
        let mut http1 = Self::blank(thread, client, listener, stream, RequestReader::new(bytes));
        if let Some(began) = began {
            http1.reader.position = Position::Head { began };
            let timeout = http1.settings().header_timeout;
            http1.timeouts.renew_until(Direction::Read, began + timeout, &http1.client.timer);
        }
        http1
    }

    fn blank(
        thread: &Rc<Thread>,
        client: Box<Client>,
        listener: usize,
        stream: Stream,
        reader: RequestReader,
    ) -> Box<Self> {
        Box::new(Self {
            thread: thread.clone(),
            client,
            stream,
            listener,
            reader,
            writer: ResponseWriter::new(),
            timeouts: Timeouts::default(),
            state: Http1State::Head,
            request: None,
            has_head: false,
            half_closed: None,
            closes: false,
            is_late: false,
            early_end: None,
            turn: Turn::default(),
            wait: Wait::default(),
        })
    }

    /// Serves `stream`, from which the first bytes of a message were read: those that are a whole head need not be kept.
    pub(super) fn begun(
        thread: &Rc<Thread>,
        client: Box<Client>,
        listener: usize,
        stream: Stream,
        first: &[u8],
    ) -> Box<Self> {
        let mut http1 = Self::new(thread, client, listener, stream, ReadAhead::default());
        http1.admit(first);
        http1
    }

    /// Takes the connection apart.
    ///
    /// # Errors
    /// When the socket cannot be watched as before.
    pub(super) fn into_parts(mut self) -> io::Result<Http1Parts> {
        self.timeouts.end(Direction::Read, &self.client.timer);
        self.timeouts.end(Direction::Write, &self.client.timer);
        let stream = if self.reader.is_unwatched() { self.stream.watch_again()? } else { self.stream };
        let began = if let Position::Head { began } = self.reader.position { Some(began) } else { None };
        Ok(Http1Parts { client: self.client, stream, ahead: ReadAhead { bytes: self.reader.ahead, began } })
    }

    /// A defect of ours ends it, and the exchange that is open.
    pub(super) fn panicked(&mut self) -> End {
        self.break_off(Reason::Internal)
    }

    /// Serves requests. Ready when the connection is idle, moves or ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let polled = self.poll_next(cx);
        if polled.is_pending() {
            self.client.timer.watch(cx); // a change of the stage wakes the task by it
        }
        polled
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut answered = 0;
        loop {
            if answered == REQUESTS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(reason) = self.thread.cuts(&self.client) {
                return Poll::Ready(ends(self.break_off(reason)));
            }
            let step = match &self.state {
                Http1State::Head => ready!(self.poll_head(cx)),
                Http1State::Http2 => Some(Next::Http2),
                Http1State::Exchange(_) => ready!(self.poll_exchange(cx)),
                Http1State::Flush { .. } => {
                    answered += 1;
                    ready!(self.poll_flush(cx))
                }
                Http1State::Last(end) => {
                    let end = *end;
                    match ready!(self.poll_write(cx)) {
                        Ok(_) => Some(Next::Ends { end, linger: !self.reader.is_finished }),
                        Err(_) => Some(ends(end)),
                    }
                }
            };
            if let Some(next) = step {
                return Poll::Ready(next);
            }
        }
    }

    fn settings(&self) -> &ListenerSettings {
        &self.thread.runtime_config.config.listeners[self.listener]
    }

    /// Whether bytes of the client may be on their way, or lie unread in the kernel.
    fn may_receive(&self) -> bool {
        let said_last = self.request.as_ref().is_some_and(|request| !request.keep_alive);
        let is_whole = self.reader.is_whole() && self.reader.ahead.is_empty();
        !(self.reader.is_finished || said_last && is_whole)
    }

    /// Where the connection is.
    fn phase(&self) -> Phase {
        match &self.state {
            Http1State::Head if matches!(self.reader.position, Position::Head { .. }) => Phase::Head,
            Http1State::Head | Http1State::Http2 => Phase::Idle,
            Http1State::Exchange(handler) | Http1State::Flush { handler, .. } => handler.phase(),
            Http1State::Last(end) => end.phase,
        }
    }

    /// Ends the connection where it is, and the exchange that is open, before its response is written whole.
    fn break_off(&mut self, reason: Reason) -> End {
        let end = End::new(self.phase(), reason);
        if let Http1State::Exchange(handler) | Http1State::Flush { handler, .. } = &mut self.state {
            handler.end(end);
            self.reset_if_cut();
        }
        end
    }

    /// Has the connection end with a reset, if nothing but its end tells where the response ends: the client must not
    /// take a response that is cut for a whole one.
    fn reset_if_cut(&self) {
        if self.writer.ends_with_connection() {
            let _ = self.stream.reset_on_close(); // fails when the client is gone already
        }
    }

    /// The client is gone.
    fn lost(&mut self) -> Option<Next> {
        Some(ends(self.break_off(Reason::ClientClosed)))
    }

    fn begin_wait(&mut self, direction: Direction, after: Duration) {
        self.timeouts.begin(direction, after, &self.client.timer);
    }

    fn end_wait(&mut self, direction: Direction) {
        self.timeouts.end(direction, &self.client.timer);
    }

    fn is_over(&mut self, direction: Direction) -> bool {
        self.timeouts.is_over(direction, &self.client.timer)
    }

    /// Writes what there is. Ready once all of it is with the kernel, or with the reason why the client does not get it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let before = self.writer.len();
        let polled = self.writer.poll_flush(cx, &self.stream);
        if self.writer.len() < before {
            self.end_wait(Direction::Write);
            let timeout = self.settings().half_close_timeout;
            if let Some(client) = &mut self.half_closed {
                client.took(Instant::now(), timeout);
            }
        }
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Reason::ClientClosed)),
            Poll::Pending => {
                let timeout = self.settings().write_timeout;
                self.begin_wait(Direction::Write, timeout);
                if self.is_over(Direction::Write) { Poll::Ready(Err(Reason::ClientTimeout)) } else { Poll::Pending }
            }
        }
    }
}

fn ends(end: End) -> Next {
    Next::Ends { end, linger: false }
}

/// Exchanges.
impl<S: Service> Http1<S> {
    /// Has the request served, and writes what comes of that.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        if self.thread.drain.is_ending()
            && let Poll::Ready(place) = self.poll_place(cx)
        {
            return Poll::Ready(Some(Next::MovesOpen(place)));
        }
        loop {
            ready!(self.thread.turns.poll(cx, &mut self.turn));
            let room = self.writer.room();
            let (event, is_read) = self.poll_handler(cx, room);
            let is_pending = event.is_pending();
            if let Poll::Ready(event) = event {
                match self.take(event) {
                    Taken::More if !self.writer.is_full() => continue,
                    Taken::More => {}
                    Taken::Whole => return Poll::Ready(None),
                }
            }
            let before = self.writer.len();
            if let Poll::Ready(Err(reason)) = self.poll_write(cx) {
                return Poll::Ready(Some(ends(self.break_off(reason))));
            }
            self.turn.count(before - self.writer.len());
            // a handler that found no room is polled again once there is some
            if is_pending && (room.is_some() || self.writer.room().is_none()) {
                return self.poll_client(cx, is_read);
            }
        }
    }

    /// What the handler gives next, and whether it waits for more of the body of the request.
    fn poll_handler(&mut self, cx: &mut Context<'_>, room: Option<Demand>) -> (Poll<ResponsePart>, bool) {
        let Http1State::Exchange(handler) = &mut self.state else { return (Poll::Ready(ResponsePart::End), false) };
        let Client { timer, private, .. } = &mut *self.client;
        let mut body = IncomingBody {
            reader: &mut self.reader,
            stream: &self.stream,
            timeouts: &mut self.timeouts,
            timer,
            thread: &self.thread,
            timeout: self.thread.runtime_config.config.listeners[self.listener].body_timeout,
            early_end: &mut self.early_end,
            is_read: false,
        };
        let event = handler.poll(cx, &mut ClientSide { body: &mut body, room, private });
        (event, body.is_read)
    }

    fn take(&mut self, event: ResponsePart) -> Taken {
        match event {
            ResponsePart::Interim(response) => self.writer.interim(&response),
            ResponsePart::Head(response) if response.then == Then::Tunnel => {
                self.writer.respond(&response, Version::HTTP_11, false);
                return self.flush(Then::Tunnel);
            }
            ResponsePart::Head(response) => {
                self.has_head = true;
                self.respond(&response);
            }
            ResponsePart::Data(data) => self.writer.send(data),
            ResponsePart::Trailers(trailers) => {
                self.writer.finish(Some(&trailers));
            }
            ResponsePart::End => {
                self.writer.finish(None);
                return self.flush(if self.closes { Then::Close } else { Then::KeepAlive });
            }
            ResponsePart::Broken(end) => {
                self.reset_if_cut();
                self.early_end.get_or_insert(end);
                return self.flush(Then::Close);
            }
        }
        Taken::More
    }

    fn respond(&mut self, response: &Response) {
        let (version, keeps_alive) =
            self.request.as_ref().map_or((Version::HTTP_11, false), |request| (request.version, request.keep_alive));
        // the rest of a request that was answered too soon would be taken for the next one
        let closes = response.then == Then::Close
            || !keeps_alive
            || !self.reader.is_whole()
            || self.thread.lets_go(&mut self.client);
        self.closes = self.writer.respond(response, version, closes);
        if matches!(response.length, BodyLength::Known(length) if length > TURN as u64) {
            self.turn = Turn::of_large();
        }
    }

    fn flush(&mut self, then: Then) -> Taken {
        let Http1State::Exchange(handler) = std::mem::replace(&mut self.state, Http1State::Head) else {
            return Taken::Whole;
        };
        self.wait = Wait::default();
        self.state = Http1State::Flush { handler, then };
        Taken::Whole
    }

    /// Writes the rest of a response. The exchange is over when the client has it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        match self.poll_write(cx) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(reason)) => return Poll::Ready(Some(ends(self.break_off(reason)))),
            Poll::Pending => {
                self.is_late = true;
                if self.thread.drain.is_ending()
                    && let Poll::Ready(place) = self.poll_place(cx)
                {
                    return Poll::Ready(Some(Next::MovesOpen(place)));
                }
                // a client that did not send all of the request shows by what it takes whether it is there
                return if self.reader.is_whole() { self.poll_client(cx, false) } else { Poll::Pending };
            }
        }
        let Http1State::Flush { handler, then } = std::mem::replace(&mut self.state, Http1State::Head) else {
            return Poll::Ready(None);
        };
        self.wait = Wait::default();
        Poll::Ready(self.flushed(handler, then))
    }

    /// The client has the response.
    fn flushed(&mut self, handler: S::Handler, then: Then) -> Option<Next> {
        if then == Then::Tunnel {
            self.end_wait(Direction::Read);
            self.client.private = Private::default(); // no request follows
            return handler
                .into_tunnel()
                .map(|tunnel| Next::Tunnel(Box::new(tunnel)))
                .or(Some(ends(End::new(Phase::Tunnel, Reason::Internal))));
        }
        self.client.idle_since = handler.close(std::mem::take(&mut self.is_late), then);
        if then == Then::Close {
            let end = self.early_end.unwrap_or(End::OK);
            // after a response that was cut the reset has to come, and no FIN before it
            let linger = (end == End::OK || end.side() == Side::Client) && self.may_receive();
            return Some(Next::Ends { end, linger });
        }
        self.reader.position = Position::Between;
        // not from now on, which would be one more look at the clock
        self.timeouts.renew_until(Direction::Read, self.client.idle_since + QUIET, &self.client.timer);
        None
    }

    /// Looks whether the client is still there while its response is made. `is_read` when more of its request body is
    /// waited for, which tells the same.
    fn poll_client(&mut self, cx: &mut Context<'_>, is_read: bool) -> Poll<Option<Next>> {
        if self.reader.is_whole() {
            if ready!(self.reader.poll_finished(cx, &self.stream, &self.thread)).is_err() {
                return Poll::Ready(self.lost());
            }
            let is_made = matches!(self.state, Http1State::Flush { .. });
            return self.poll_half_closed(is_made);
        }
        if is_read {
            return Poll::Pending;
        }
        match self.reader.poll_departure(cx, &self.stream) {
            Poll::Ready(Ok(false)) => self.poll_half_closed(false),
            Poll::Ready(Ok(true) | Err(_)) => Poll::Ready(self.lost()),
            Poll::Pending => {
                self.end_wait(Direction::Read); // it is not the client that is waited for
                Poll::Pending
            }
        }
    }

    /// The client has closed its sending side: it may wait for its answer, or have left. Once the response has come whole
    /// there is nothing to end any more.
    fn poll_half_closed(&mut self, is_made: bool) -> Poll<Option<Next>> {
        if is_made {
            return Poll::Pending; // what the client takes is a wait of its own
        }
        let (now, timeout) = (Instant::now(), self.settings().half_close_timeout);
        let is_new = self.half_closed.is_none();
        let client = self.half_closed.get_or_insert_with(|| HalfClosed::new(now, timeout));
        let is_to_look = client.is_to_look(now);
        let (is_over, due) = (client.is_over(now), client.due());
        let has_left = is_over
            || (is_new || is_to_look) && self.stream.departure() == Departure::Gone // at once on a unix socket
            || is_to_look && self.writer.send_ahead(&self.stream, self.has_head).is_err();
        if has_left {
            return Poll::Ready(self.lost());
        }
        self.timeouts.renew_until(Direction::Read, due, &self.client.timer);
        Poll::Pending
    }
}

/// What an event was.
enum Taken {
    /// Others follow.
    More,
    /// The response was given whole.
    Whole,
}

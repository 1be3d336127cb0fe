//! One request on a connection of HTTP/2, as its exchange has it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::connection::{GATHERED, Http2Connection};
use super::inbox::{Inbox, ReceivedHead, StreamFault};
use super::outgoing::{OutgoingBody, ends_head, wanted_protocol};
use crate::http1::response::{self, Asked, ResponseBody, ResponseFault, ResponseHead};
use crate::http2::error::ErrorCode;
use crate::http2::session::client::RequestHints;
use crate::message::body::{Demand, Piece};
use crate::upstream::error::ResponseError;

/// Why a WebSocket does not go to a server.
const NO_PROTOCOLS: &str =
    "The server takes no WebSocket over HTTP/2: it does not say SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).";

/// What a client that takes little gets at once.
const LITTLE: usize = 16 * 1024;

/// A stream: a place for it, and what is open in that place once the head of the request is whole.
#[derive(Debug)]
pub struct UpstreamStream {
    connection: Rc<Http2Connection>,
    inbox: Rc<RefCell<Inbox>>,
    /// The connection had streams before, the last one until then.
    idle_since: Option<Instant>,
    /// Since when the request is with the server.
    began: Instant,
    /// What has come of the head of the request.
    head: Vec<u8>,
    body: OutgoingBody,
    /// What the answer to a client of HTTP/1.1 is that asks for a tunnel.
    accepts: Option<Box<Accepts>>,
    stage: StreamStage,
}

/// What is said of a tunnel to a client of HTTP/1.1.
#[derive(Debug)]
struct Accepts {
    protocol: Vec<u8>,
    key: Option<String>,
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamStage {
    /// It has a place.
    Reserved,
    /// It was opened.
    Open,
    /// The head of the response was taken.
    Answered,
}

impl UpstreamStream {
    /// A stream on a connection that has a place for it.
    pub(super) fn new(connection: Rc<Http2Connection>) -> Self {
        connection.reserve();
        let idle_since = {
            let state = connection.state.borrow();
            (state.served > 0).then_some(state.idle_since)
        };
        let (inbox, body) = (Rc::default(), OutgoingBody::Whole);
        Self {
            connection,
            inbox,
            idle_since,
            began: Instant::now(),
            head: Vec::new(),
            body,
            accepts: None,
            stage: StreamStage::Reserved,
        }
    }

    /// Since when its connection had no stream before, or was last left by one; none on a new connection.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// Whether its connection ended, and not this stream alone.
    #[must_use]
    pub fn has_lost_connection(&self) -> bool {
        matches!(self.inbox.borrow().fault, Some(StreamFault::Gone | StreamFault::Closed))
    }

    /// Whether the server has not looked at the request.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.inbox.borrow().fault, Some(StreamFault::Gone | StreamFault::Refused))
    }

    /// Takes bytes of the head of the request, as HTTP/1.1 has it. The stream is opened with the last of them.
    ///
    /// # Errors
    /// When the connection takes no stream any more, or none of this kind.
    pub fn poll_write_head(&mut self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.stage == StreamStage::Reserved
            && ends_head(bytes)
            && wanted_protocol(if self.head.is_empty() { bytes } else { &self.head }).is_some()
            && !ready!(self.connection.poll_takes_protocols(cx))
        {
            self.inbox.borrow_mut().fail(StreamFault::Rule(NO_PROTOCOLS));
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        Poll::Ready(self.write_head(bytes))
    }

    fn write_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stage != StreamStage::Reserved {
            return Ok(bytes.len());
        }
        if !ends_head(bytes) || !self.head.is_empty() {
            self.head.extend_from_slice(bytes);
        }
        if !ends_head(bytes) {
            return Ok(bytes.len());
        }
        let gathered = std::mem::take(&mut self.head);
        let head = if gathered.is_empty() { bytes } else { &gathered };
        let wanted = wanted_protocol(head);
        self.body = if wanted.is_some() { OutgoingBody::Tunnel } else { OutgoingBody::of(head) };
        let protocol = wanted.as_ref().map(|(protocol, _)| *protocol);
        let hints = RequestHints { scheme: self.connection.scheme, protocol, ends: self.body.is_whole() };
        if !self.connection.open(head, hints, &self.inbox) {
            self.inbox.borrow_mut().fail(StreamFault::Gone);
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.accepts = wanted.map(|(protocol, key)| Box::new(Accepts { protocol: protocol.to_vec(), key }));
        (self.stage, self.began) = (StreamStage::Open, Instant::now());
        Ok(bytes.len())
    }

    /// Takes bytes of the body of the request, as HTTP/1.1 frames it. `WouldBlock` when there is no room for them.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let key = self.inbox.borrow().key.ok_or(io::ErrorKind::BrokenPipe)?;
        let mut state = self.connection.state.borrow_mut();
        let gathered = GATHERED.saturating_sub(state.session.output().len());
        let room = state.session.room(key).min(gathered);
        let had = state.session.output().len();
        let taken = self.body.send(&mut state.session, key, bytes, room)?;
        if self.body.is_whole() {
            state.close_if_over(key);
        }
        let is_new = state.session.output().len() > had;
        if is_new {
            state.rotation.sent(key, taken);
        }
        drop(state);
        if is_new {
            self.connection.wake();
        }
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Ready when [`UpstreamStream::write`] may take something.
    ///
    /// # Errors
    /// None; a stream that is closed is ready.
    pub fn poll_write_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut inbox = self.inbox.borrow_mut();
        let Some(key) = inbox.key else { return Poll::Ready(Ok(())) };
        let session = self.connection.session();
        if session.room(key) > 0 && session.output().len() < GATHERED {
            return Poll::Ready(Ok(()));
        }
        inbox.watch(cx);
        Poll::Pending
    }

    /// Whether so many bytes could be sent at once.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let Some(key) = self.inbox.borrow().key else { return false };
        self.connection.session().room(key) >= bytes
    }

    /// The rest of the request will never come.
    pub fn cut_request(&mut self) {
        let key = self.inbox.borrow().key;
        if let Some(key) = key.filter(|_| !self.body.is_whole()) {
            self.connection.state.borrow_mut().reset(key, ErrorCode::Cancel);
            self.inbox.borrow_mut().fail(StreamFault::Reset(ErrorCode::Cancel));
        }
    }

    /// The head of the next response.
    ///
    /// # Errors
    /// When the stream ends before it, or it is no right one.
    pub fn poll_head(&mut self, cx: &Context<'_>, asked: Asked) -> Poll<Result<Box<ResponseHead>, ResponseError>> {
        let mut inbox = self.inbox.borrow_mut();
        if let Some(received) = inbox.heads.pop_front() {
            drop(inbox);
            let accepts = self.accepts.as_deref().filter(|_| received.status.is_success());
            let head = head_of(received, asked, accepts)?;
            if !head.informational {
                self.stage = StreamStage::Answered;
            }
            return Poll::Ready(Ok(head));
        }
        if let Some(fault) = inbox.fault {
            return Poll::Ready(Err(error(fault)));
        }
        inbox.watch(cx);
        Poll::Pending
    }

    /// The next piece of the response body, as large as its receiver has room for; `None` when the body is whole.
    ///
    /// # Errors
    /// When the stream ends before that.
    pub fn poll_body(&mut self, cx: &Context<'_>, room: Demand) -> Poll<Option<Result<Piece, ResponseError>>> {
        let mut inbox = self.inbox.borrow_mut();
        if !inbox.data.is_empty() {
            let data = take(&mut inbox.data, room);
            if let Some(key) = inbox.key {
                drop(inbox);
                self.give_back(key, data.len());
            }
            return Poll::Ready(Some(Ok(Piece::Data(data))));
        }
        if let Some(trailers) = inbox.trailers.take() {
            return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
        }
        if inbox.is_whole {
            return Poll::Ready(None);
        }
        if let Some(fault) = inbox.fault {
            return Poll::Ready(Some(Err(error(fault))));
        }
        inbox.watch(cx);
        Poll::Pending
    }

    fn give_back(&self, key: usize, octets: usize) {
        let mut session = self.connection.session();
        let had = session.output().len();
        session.give_back(key, octets);
        let is_new = session.output().len() > had;
        drop(session);
        if is_new {
            self.connection.wake();
        }
    }

    /// Nothing more goes up a tunnel.
    pub fn finish_tunnel(&mut self) {
        let key = self.inbox.borrow().key;
        if let (OutgoingBody::Tunnel, Some(key)) = (&self.body, key) {
            self.body = OutgoingBody::Whole;
            let mut state = self.connection.state.borrow_mut();
            state.session.send(key, &[], true);
            state.close_if_over(key);
            drop(state);
            self.connection.wake();
        }
    }

    /// Whether the response was taken whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.stage == StreamStage::Answered && self.inbox.borrow().is_taken()
    }
}

impl Drop for UpstreamStream {
    fn drop(&mut self) {
        let key = self.inbox.borrow().key;
        match (self.stage, key) {
            (StreamStage::Reserved, _) => self.connection.give_back_place(),
            (_, Some(key)) => {
                if !self.inbox.borrow().is_whole {
                    self.connection.waited_since(self.began);
                }
                self.connection.state.borrow_mut().reset(key, ErrorCode::Cancel);
            }
            (_, None) => {}
        }
    }
}

fn take(data: &mut BytesMut, room: Demand) -> Bytes {
    let len = if room == Demand::Little { data.len().min(LITTLE) } else { data.len() };
    let taken = data.split_to(len).freeze();
    if data.is_empty() {
        *data = BytesMut::new(); // an empty rest still holds on to the buffer
    }
    taken
}

/// The head as one of HTTP/1.1, which goes through the same checks.
fn head_of(
    received: ReceivedHead,
    asked: Asked,
    accepts: Option<&Accepts>,
) -> Result<Box<ResponseHead>, ResponseError> {
    let ReceivedHead { status, lines, has_length, ends } = received;
    if let Some(accepts) = accepts {
        return switched(accepts, &lines, asked);
    }
    let mut text = BytesMut::with_capacity(lines.len() + 64);
    for part in
        [b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", status.canonical_reason().unwrap_or_default().as_bytes()]
    {
        text.extend_from_slice(part);
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&lines);
    let has_none = asked.head || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    if !has_none && !has_length && !ends {
        text.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    text.extend_from_slice(b"\r\n");
    let len = text.len();
    let mut head = response::parse(&mut text, asked, len)?.ok_or(ResponseFault::StatusLine)?;
    if ends && !matches!(head.body, ResponseBody::None) {
        head.body = ResponseBody::Length(0);
    }
    head.keep_alive = true;
    Ok(head)
}

/// The head of a response that opens a tunnel, as HTTP/1.1 has it (RFC 8441 §5).
fn switched(accepts: &Accepts, lines: &[u8], asked: Asked) -> Result<Box<ResponseHead>, ResponseError> {
    let mut text = BytesMut::from(&b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: "[..]);
    text.extend_from_slice(&accepts.protocol);
    text.extend_from_slice(b"\r\n");
    if let Some(key) = &accepts.key {
        text.extend_from_slice(format!("sec-websocket-accept: {key}\r\n").as_bytes());
    }
    text.extend_from_slice(lines);
    text.extend_from_slice(b"\r\n");
    let len = text.len();
    Ok(response::parse(&mut text, asked, len)?.ok_or(ResponseFault::StatusLine)?)
}

fn error(fault: StreamFault) -> ResponseError {
    match fault {
        StreamFault::Reset(code) => ResponseError::Reset(code),
        StreamFault::Refused | StreamFault::Gone => ResponseError::Refused,
        StreamFault::Closed => ResponseError::Closed,
        StreamFault::Rule(rule) => ResponseError::Rule(rule),
    }
}

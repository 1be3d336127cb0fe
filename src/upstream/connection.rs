//! What a request goes over to a server: a connection of HTTP/1.1, or a stream of one of HTTP/2.
//!
//! HTTP/1.1 by our own codec: heads and bodies as slices of one buffer, polled in the task of the exchange, without a task
//! or a channel of its own.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::time::Instant;

use super::error::ResponseError;
use super::http2::{UpstreamStream, socket_of};
use super::read::{LEAST_ROOM, ReadBuffers, poll_read};
use crate::config::Address;
use crate::handover::exchange::SavedBody;
use crate::http1::chunked::{Decoded, Decoder};
use crate::http1::response::{Asked, ResponseBody, ResponseHead, ResponseSearch};
use crate::message::body::{Demand, Piece};
use crate::net::Stream;
use crate::pool::Server;
use crate::tls::upstream::Fingerprint;

/// Largest response head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A connection to a server.
pub struct Connection {
    wire: Wire,
    /// Where it leads; `None` to a unix socket.
    address: Option<SocketAddr>,
    /// The version of the addresses of its server that it was last found among.
    version: u64,
    /// Read and not yet understood.
    ahead: BytesMut,
    search: ResponseSearch,
    body: BodyState,
    keep_alive: bool,
    /// Since when it was idle before the request that is on it now.
    idle_since: Option<Instant>,
    /// What the server said of how long it keeps the connection.
    server_keeps: Option<std::time::Duration>,
    is_private: bool,
    /// The last response had no body, and some servers send one all the same.
    is_suspect: bool,
    /// What was believed of the server, and shown to it, in the TLS handshake.
    tls: Option<Fingerprint>,
}

/// What carries requests and responses.
enum Wire {
    Http1(Stream),
    Http2(Box<UpstreamStream>),
}

/// The version of addresses that no server has had: a connection that leads elsewhere serves no other request.
const NO_VERSION: u64 = u64::MAX;

/// What a connection is in the middle of, when it moves to another generation.
#[derive(Debug)]
pub struct OpenResponse {
    /// What is still to come of the body.
    pub left: SavedBody,
    /// The server keeps the connection after it.
    pub keep_alive: bool,
    /// How long the server said that it keeps the connection while idle.
    pub server_keeps: Option<std::time::Duration>,
}

/// Where the response body is.
enum BodyState {
    /// Between a request and the head of its response, and while idle.
    Head,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Done,
}

impl Connection {
    /// A connection that was opened to an address of `server`, whose addresses had this version.
    #[must_use]
    pub fn opened(stream: Stream, server: &Server, address: &Address, version: u64) -> Box<Self> {
        let address = match address {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        };
        Box::new(Self { tls: server.tls_settings(), ..Self::over(Wire::Http1(stream), address, version) })
    }

    /// A private connection to `server` that another generation had, between two requests.
    #[must_use]
    pub fn inherited(stream: Stream, server: &Server) -> Box<Self> {
        Box::new(Self { is_private: true, tls: server.tls_settings(), ..Self::over(Wire::Http1(stream), None, 0) })
    }

    /// A stream of a connection of HTTP/2.
    #[must_use]
    pub fn of_stream(stream: UpstreamStream) -> Box<Self> {
        let idle_since = stream.idle_since();
        Box::new(Self { idle_since, ..Self::over(Wire::Http2(Box::new(stream)), None, NO_VERSION) })
    }

    /// Takes a connection apart that was just opened: its socket, where it leads, and in which version of the addresses of
    /// its server.
    #[must_use]
    pub fn into_opened(self) -> Option<(Stream, Option<SocketAddr>, u64)> {
        match self.wire {
            Wire::Http1(stream) => Some((stream, self.address, self.version)),
            Wire::Http2(_) => None,
        }
    }

    /// A connection over this socket, which leads to no server that is known.
    #[cfg(test)]
    pub(super) fn over_socket(stream: Stream) -> Self {
        Self::over(Wire::Http1(stream), None, NO_VERSION)
    }

    fn over(wire: Wire, address: Option<SocketAddr>, version: u64) -> Self {
        let (ahead, search) = (BytesMut::new(), ResponseSearch::new());
        Self {
            wire,
            address,
            version,
            ahead,
            search,
            body: BodyState::Head,
            keep_alive: true,
            idle_since: None,
            server_keeps: None,
            is_private: false,
            is_suspect: false,
            tls: None,
        }
    }

    /// Whether it leads to where its server is now: DNS may have named other addresses since it was opened.
    #[must_use]
    pub fn leads_to(&mut self, server: &Server) -> bool {
        let version = server.address_version();
        if self.version != version && self.address.is_some_and(|address| server.is_at(address)) {
            self.version = version;
        }
        self.version == version
    }

    /// The socket, where this is all that goes over it.
    #[must_use]
    pub fn socket(&self) -> Option<&Stream> {
        match &self.wire {
            Wire::Http1(stream) => Some(stream),
            Wire::Http2(_) => None,
        }
    }

    /// Whether it is a stream of HTTP/2.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.wire, Wire::Http2(_))
    }

    /// Writes some of the head of a request, waiting for room.
    ///
    /// # Errors
    /// When the server takes no more.
    pub fn poll_write_head(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Http1(stream) => stream.poll_write_some(cx, bytes),
            Wire::Http2(stream) => stream.poll_write_head(cx, bytes),
        }
    }

    /// Writes what fits of a body that is framed as in HTTP/1.1. `WouldBlock` when nothing does.
    ///
    /// # Errors
    /// When the server takes no more.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Http1(stream) => stream.try_write(bytes),
            Wire::Http2(stream) => stream.write(bytes),
        }
    }

    /// The same of several slices.
    ///
    /// # Errors
    /// As [`Connection::try_write`].
    pub fn try_write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Http1(stream) => stream.try_write_vectored(slices),
            Wire::Http2(stream) => stream.write(slices.first().map_or(&[], |slice| slice)),
        }
    }

    /// Ready when a write may take bytes or give an error.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.wire {
            Wire::Http1(stream) => stream.poll_write_ready(cx),
            Wire::Http2(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Whether so many bytes may be written at once, and some to spare.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        match &self.wire {
            Wire::Http1(stream) => stream.room() >= bytes,
            Wire::Http2(stream) => stream.has_room_for(bytes),
        }
    }

    /// The rest of the request will never come.
    pub fn cut_request(&mut self) {
        match &mut self.wire {
            Wire::Http1(stream) => drop(stream.finish_writing()), // fails when the server is gone already
            Wire::Http2(stream) => stream.cut_request(),
        }
    }

    /// The client has sent all that goes up a tunnel.
    pub fn finish_tunnel(&mut self) {
        match &mut self.wire {
            Wire::Http1(stream) => drop(stream.finish_writing()), // fails when the server is gone already
            Wire::Http2(stream) => stream.finish_tunnel(),
        }
    }

    /// Takes the connection apart for a tunnel: a socket that leads to the server, what was read ahead, and whether the
    /// socket leads there by way of this process.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn into_tunnel(self) -> io::Result<(Stream, BytesMut, bool)> {
        match self.wire {
            Wire::Http1(stream) => Ok((stream, self.ahead, false)),
            Wire::Http2(stream) => Ok((socket_of(*stream)?, BytesMut::new(), true)),
        }
    }

    /// Whether a server that is reached over it has looked at nothing of the request.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(&self.wire, Wire::Http2(stream) if stream.is_refused())
    }

    /// Whether it is a stream of a connection that goes on.
    #[must_use]
    pub fn has_lost_stream_only(&self) -> bool {
        matches!(&self.wire, Wire::Http2(stream) if !stream.has_lost_connection())
    }

    /// Since when it was idle before, if that may be why no response came.
    #[must_use]
    pub fn stale_since(&self) -> Option<Instant> {
        match &self.wire {
            Wire::Http1(_) => self.idle_since,
            Wire::Http2(stream) => self.idle_since.filter(|_| stream.has_lost_connection()),
        }
    }

    /// What was believed of the server, and shown to it, by TLS; none without TLS.
    #[must_use]
    pub fn tls_settings(&self) -> Option<Fingerprint> {
        self.tls
    }

    /// It was opened by another generation with these settings of TLS: where those of `server` are others, it serves no
    /// further request.
    pub fn set_tls_settings(&mut self, tls: Option<Fingerprint>, server: &Server) {
        self.tls = tls;
        if tls != server.tls_settings() {
            (self.address, self.version) = (None, NO_VERSION);
        }
    }

    /// Whether a request was sent on it before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.idle_since.is_some()
    }

    /// It is used again, after it was idle since `since`.
    pub fn reuse(&mut self, since: Instant) {
        self.idle_since = Some(since);
    }

    /// Since when it was idle before the request that is on it now; none when that is its first.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// Whether an idle connection is still as it should be: open, and silent. A server that closed it, or said
    /// anything unasked, has spoiled it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let Wire::Http1(stream) = &self.wire else { return false };
        let silent = stream.try_read(&mut [0; 1]);
        matches!(silent, Err(fault) if fault.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same, asked of the kernel: what came since the poller last looked counts too. Costs a system call.
    #[must_use]
    pub fn is_fresh_now(&self) -> bool {
        self.is_fresh() && self.socket().is_some_and(Stream::is_silent)
    }

    /// How long the server said that it keeps the connection while idle.
    #[must_use]
    pub fn server_keeps(&self) -> Option<std::time::Duration> {
        self.server_keeps
    }

    /// Whether bytes may still come that belong to no request: the body of a response that has none.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    /// Whether it serves one client connection alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// From now on it serves one client connection alone.
    pub fn make_private(&mut self) {
        self.is_private = true;
    }

    /// The request on it is not sent whole: no other one may follow.
    pub fn spoil(&mut self) {
        self.keep_alive = false;
    }

    /// The server has switched protocols: whatever comes to its end passes as a body does.
    pub fn becomes_tunnel(&mut self) {
        (self.body, self.keep_alive) = (BodyState::UntilClose, false);
    }

    /// Whether the server keeps it after the response that is on it.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// A request begins.
    pub fn begin(&mut self) {
        self.body = BodyState::Head;
    }

    /// The head of the final response. Informational ones are given too, flagged; poll again for the next.
    ///
    /// # Errors
    /// When the connection ends or what came is no response.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        shared: &ReadBuffers,
        room: Demand,
    ) -> Poll<Result<Box<ResponseHead>, ResponseError>> {
        if let Wire::Http2(stream) = &mut self.wire {
            return stream.poll_head(cx, asked);
        }
        loop {
            if !self.ahead.is_empty()
                && let Some(head) = self.search.look(&mut self.ahead, asked, MAX_HEAD)?
            {
                if !head.informational {
                    self.begin_body(&head, asked);
                }
                self.let_go();
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_fill(cx, shared, room))? == 0 {
                return Poll::Ready(Err(ResponseError::Closed));
            }
        }
    }

    fn begin_body(&mut self, head: &ResponseHead, asked: Asked) {
        self.keep_alive = head.keep_alive;
        let announces = head.length.is_some_and(|length| length > 0);
        self.is_suspect = head.body == ResponseBody::None && (asked.head || announces);
        self.server_keeps = head.keep_alive_timeout;
        self.body = match head.body {
            ResponseBody::None | ResponseBody::Length(0) => BodyState::Done,
            ResponseBody::Length(length) => BodyState::Length(length),
            ResponseBody::Chunked => BodyState::Chunked(Decoder::response()),
            ResponseBody::UntilClose => BodyState::UntilClose,
        };
    }

    /// The next piece of the response body, as large as its receiver has room for; `None` when the body is whole.
    ///
    /// # Errors
    /// When the connection ends before that, or the body is framed wrong.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        shared: &ReadBuffers,
        room: Demand,
    ) -> Poll<Option<Result<Piece, ResponseError>>> {
        if let Wire::Http2(stream) = &mut self.wire {
            return stream.poll_body(cx, room);
        }
        loop {
            if let Some(piece) = self.take_piece() {
                self.let_go();
                return Poll::Ready(Some(piece));
            }
            if self.is_whole() {
                self.let_go();
                return Poll::Ready(None);
            }
            match ready!(self.poll_fill(cx, shared, room)) {
                Ok(0) if matches!(self.body, BodyState::UntilClose) => {
                    self.keep_alive = false;
                    self.body = BodyState::Done;
                }
                Ok(0) => return Poll::Ready(Some(Err(ResponseError::Closed))),
                Ok(_) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
            }
        }
    }

    /// An empty rest still holds on to the buffer that it was part of.
    fn let_go(&mut self) {
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
    }

    /// A piece out of what was read ahead.
    fn take_piece(&mut self) -> Option<Result<Piece, ResponseError>> {
        let is_over = matches!(&self.body, BodyState::Chunked(decoder) if decoder.is_over());
        if self.ahead.is_empty() && !is_over {
            return None;
        }
        match &mut self.body {
            BodyState::Head | BodyState::Done => None,
            BodyState::UntilClose => Some(Ok(Piece::Data(self.ahead.split().freeze()))),
            BodyState::Length(left) => {
                let taken = (self.ahead.len() as u64).min(*left);
                *left -= taken;
                let data = self.ahead.split_to(taken as usize).freeze();
                if *left == 0 {
                    self.body = BodyState::Done;
                }
                Some(Ok(Piece::Data(data)))
            }
            BodyState::Chunked(decoder) => match decoder.decode(&mut self.ahead) {
                Err(fault) => Some(Err(fault.into())),
                Ok(Decoded::Data(data)) => Some(Ok(Piece::Data(data))),
                Ok(Decoded::NeedMore) => None,
                Ok(Decoded::Trailers(fields)) => {
                    self.body = BodyState::Done;
                    Some(Ok(Piece::Trailers(fields)))
                }
                Ok(Decoded::Done) => {
                    self.body = BodyState::Done;
                    None
                }
            },
        }
    }

    /// Bytes of the body that are still to come, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.body {
            BodyState::Length(left) => Some(left),
            BodyState::Done | BodyState::Head => Some(0),
            BodyState::Chunked(_) | BodyState::UntilClose => None,
        }
    }

    /// Whether the response is whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        if let Wire::Http2(stream) = &self.wire {
            return stream.is_whole();
        }
        matches!(self.body, BodyState::Done)
    }

    /// Whether another request may be sent: the response is whole, the server keeps the connection, and it has said
    /// nothing beyond.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        !self.is_stream() && self.is_whole() && self.keep_alive && self.ahead.is_empty()
    }

    /// Takes the connection apart while the body of a response is on it: its socket, what was read ahead, and what is
    /// still to come; none when the response is whole, and for a stream.
    #[must_use]
    pub fn into_open(self) -> Option<(Stream, BytesMut, OpenResponse)> {
        let left = match self.body {
            BodyState::Head | BodyState::Done => return None,
            BodyState::Length(left) => SavedBody::Length(left),
            BodyState::Chunked(decoder) => SavedBody::Chunked(Box::new(decoder)),
            BodyState::UntilClose => SavedBody::UntilClose,
        };
        let open = OpenResponse { left, keep_alive: self.keep_alive, server_keeps: self.server_keeps };
        let Wire::Http1(stream) = self.wire else { return None };
        Some((stream, self.ahead, open))
    }

    /// Goes on with a connection to `server` that another generation had, inside the body of a response.
    #[must_use]
    pub fn resumed(stream: Stream, ahead: BytesMut, open: OpenResponse, server: &Server) -> Box<Self> {
        let OpenResponse { left, keep_alive, server_keeps } = open;
        let body = match left {
            SavedBody::Length(left) => BodyState::Length(left),
            SavedBody::Chunked(decoder) => BodyState::Chunked(*decoder),
            SavedBody::UntilClose => BodyState::UntilClose,
            SavedBody::Nothing => BodyState::Done,
        };
        Box::new(Self { ahead, body, keep_alive, server_keeps, ..Self::moved(stream, server) })
    }

    /// Goes on with a connection to `server` that another generation had, before the head of a response, of which `ahead`
    /// has come.
    #[must_use]
    pub fn resumed_before_head(stream: Stream, ahead: BytesMut, server: &Server) -> Box<Self> {
        Box::new(Self { ahead, ..Self::moved(stream, server) })
    }

    fn moved(stream: Stream, server: &Server) -> Self {
        let address = stream.peer_address();
        let version = if server.is_peer(address) { server.address_version() } else { NO_VERSION };
        Self::over(Wire::Http1(stream), address, version)
    }

    /// Takes the connection apart into its socket and what was read ahead: for a tunnel, or before the head of a response.
    /// None for a stream.
    #[must_use]
    pub fn into_parts(self) -> Option<(Stream, BytesMut)> {
        match self.wire {
            Wire::Http1(stream) => Some((stream, self.ahead)),
            Wire::Http2(_) => None,
        }
    }

    /// Reads once. What is there already is kept in front.
    fn poll_fill(&mut self, cx: &mut Context<'_>, shared: &ReadBuffers, room: Demand) -> Poll<io::Result<usize>> {
        let Wire::Http1(stream) = &self.wire else { return Poll::Ready(Ok(0)) };
        if !self.ahead.is_empty() {
            self.ahead.reserve(LEAST_ROOM);
            return stream.poll_read_into(cx, &mut self.ahead);
        }
        self.ahead = ready!(poll_read(cx, stream, shared, room))?;
        Poll::Ready(Ok(self.ahead.len()))
    }
}

#[cfg(test)]
mod tests;

//! TLS on a socket: what reads and writes a [`Stream`] sees plaintext, and needs to know nothing of records.
//!
//! A write is done when all of its records have gone to the kernel. Before that it gives `WouldBlock` and has to be tried
//! again with the same bytes, as `SSL_write(3)` has it: so nothing is held back that would have to be flushed.

mod layer;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use self::layer::Layer;
use super::Stream;
use crate::tls::record::{HEADER, LONGEST};
use crate::tls::{CompactTlsState, Established, Handshake, HandshakeError, HandshakeFacts, TlsState, UpstreamTls};
use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::server::ClientHello;

/// A socket, and the TLS connection on it.
pub struct TlsStream {
    /// None once it was taken apart.
    socket: Option<Stream>,
    facts: Arc<HandshakeFacts>,
    layer: RefCell<Layer>,
}

/// Why there is no TLS on a socket.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The two sides did not agree. An alert was sent.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The client closed the connection, or it broke, before the first byte.
    #[error("the connection ended before the handshake")]
    Silent,
    /// The client closed the connection, or it broke.
    #[error("the connection ended in the handshake")]
    Ended,
    /// It was given up, with what was received.
    #[error("the handshake was given up before it began")]
    GivenUp(BytesMut),
}

/// A TLS connection without its socket. What has it may seal records of the connection, and nothing else may.
pub struct TlsParts {
    /// The keys.
    pub state: Box<TlsState>,
    /// What the handshake agreed on.
    pub facts: Arc<HandshakeFacts>,
    /// Read from the socket and not opened: less than a record, or records that nothing has asked for.
    pub received: BytesMut,
    /// Opened and not taken.
    pub plain: BytesMut,
    /// Sealed; the socket has not taken it.
    pub sealed: BytesMut,
    /// How many bytes of plaintext in what was sealed the writer has not been told of: it will write them once more.
    pub promised: usize,
}

/// A TLS connection that is dormant: as little as [`TlsParts`] can be made of again, when it was at rest.
#[derive(Debug)]
pub struct DormantTls {
    state: CompactTlsState,
    facts: Arc<HandshakeFacts>,
}

impl DormantTls {
    /// Of a connection that was at rest ([`Stream::is_at_rest`]).
    #[must_use]
    pub fn new(parts: TlsParts) -> Self {
        Self { state: CompactTlsState::new(&parts.state), facts: parts.facts }
    }

    /// What the handshake agreed on.
    #[must_use]
    pub fn facts(&self) -> &Arc<HandshakeFacts> {
        &self.facts
    }

    /// The connection again.
    ///
    /// # Errors
    /// When the library for cryptography fails. The connection is lost.
    pub fn wake(self) -> io::Result<TlsParts> {
        let nothing = BytesMut::new;
        let state = self.state.expand().map_err(io::Error::other)?;
        Ok(TlsParts { state, facts: self.facts, received: nothing(), plain: nothing(), sealed: nothing(), promised: 0 })
    }
}

/// Does the handshake on a socket of which `received` was read already. The caller owns the deadline: what is dropped in
/// the middle is closed. Before the first record is whole `gives_up` may say that the handshake is another's.
///
/// # Errors
/// With the socket, when there is no connection.
pub async fn accept(
    socket: Stream,
    mut received: BytesMut,
    choose: impl Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>>,
    gives_up: impl Fn() -> bool,
) -> Result<Stream, (Stream, AcceptError)> {
    let mut handshake = Handshake::default();
    let mut has_begun = false;
    let mut ended = if received.is_empty() { AcceptError::Silent } else { AcceptError::Ended };
    loop {
        let mut out = Vec::new();
        let done = handshake.receive(&received, &mut out, &choose);
        if send(&socket, &out).await.is_err() {
            return Err((socket, AcceptError::Ended));
        }
        match done {
            Err(error) => return Err((socket, error.into())),
            Ok((taken, established)) => {
                received.advance(taken);
                has_begun |= taken > 0;
                if let Some(established) = established {
                    return Ok(TlsStream::open(socket, established, received));
                }
            }
        }
        received.reserve(LONGEST.saturating_sub(received.len()));
        let read = std::future::poll_fn(|cx| match !has_begun && gives_up() {
            true => Poll::Ready(None),
            false => socket.poll_read_into(cx, &mut received).map(Some),
        });
        match read.await {
            Some(Ok(1..)) => ended = AcceptError::Ended,
            Some(Ok(0) | Err(_)) => return Err((socket, ended)),
            None => return Err((socket, AcceptError::GivenUp(received))),
        }
    }
}

/// Does the handshake with a server on a socket that was just opened. The caller owns the deadline: what is dropped in the
/// middle is closed.
///
/// # Errors
/// When there is no connection.
pub async fn connect(socket: Stream, tls: &UpstreamTls) -> Result<Stream, ConnectError> {
    let mut out = Vec::new();
    let mut handshake = tls.begin(&mut out)?;
    let mut received = BytesMut::new();
    loop {
        send(&socket, &out).await?;
        received.reserve(LONGEST.saturating_sub(received.len()).max(HEADER));
        if std::future::poll_fn(|cx| socket.poll_read_into(cx, &mut received)).await? == 0 {
            return Err(ConnectError::Ended);
        }
        out.clear();
        let done = handshake.receive(&mut received, &mut out);
        match done {
            Ok(None) => {}
            Ok(Some(established)) => {
                send(&socket, &out).await?;
                return Ok(TlsStream::open(socket, established, received));
            }
            Err(error) => {
                let _ = send(&socket, &out).await; // the alert, which the server may not take
                return Err(error.into());
            }
        }
    }
}

/// Why there is no TLS to a server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The two sides did not agree. An alert was sent.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The server closed the connection.
    #[error("the server closed the connection in the TLS handshake")]
    Ended,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
}

async fn send(socket: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = std::future::poll_fn(|cx| socket.poll_write_some(cx, bytes)).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

impl TlsStream {
    fn open(socket: Stream, established: Established, received: BytesMut) -> Stream {
        let Established { state, facts, tickets } = established;
        let nothing = BytesMut::new;
        let parts = TlsParts { state, facts, received, plain: nothing(), sealed: nothing(), promised: 0 };
        let stream = Self::new(socket, parts);
        if let Some(tickets) = tickets {
            stream.layer.borrow_mut().give_tickets_to(tickets);
        }
        Stream::Tls(Box::new(stream))
    }

    /// Goes on with a connection on its socket.
    pub(super) fn from_parts(socket: Stream, parts: TlsParts) -> Stream {
        Stream::Tls(Box::new(Self::new(socket, parts)))
    }

    fn new(socket: Stream, parts: TlsParts) -> Self {
        let TlsParts { state, facts, received, plain, sealed, promised } = parts;
        let layer = RefCell::new(Layer::new(state, received, plain, sealed, promised));
        Self { socket: Some(socket), facts, layer }
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Stream {
        self.socket.as_ref().expect("there until the drop")
    }

    /// Takes the connection off its socket. None for a connection that has failed.
    pub(super) fn into_parts(mut self) -> Option<(Stream, TlsParts)> {
        let socket = self.socket.take()?;
        Some((socket, self.layer.get_mut().take_parts(self.facts.clone())?))
    }

    /// Gives up the prepared keys, which the next record makes anew, and the buffers.
    pub(super) fn park(&self) {
        self.layer.borrow_mut().park();
    }

    /// Whether nothing lies between the socket and the application, and nothing has ended.
    pub(super) fn is_at_rest(&self) -> bool {
        self.layer.borrow().is_at_rest()
    }

    /// What the handshake agreed on.
    #[must_use]
    pub fn facts(&self) -> &Arc<HandshakeFacts> {
        &self.facts
    }

    /// The same connection on the same socket, which the poller watches anew.
    pub(super) fn watch_again(mut self) -> io::Result<Self> {
        self.socket = match self.socket.take() {
            Some(Stream::Tls(inner)) => Some(Stream::Tls(inner)), // TLS in TLS is not made
            plain => plain.map(Stream::watch_again).transpose()?,
        };
        Ok(self)
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.layer.borrow().has_news() { Poll::Ready(Ok(())) } else { self.socket().poll_read_ready(cx) }
    }

    /// Whether neither plaintext nor anything in the kernel waits.
    pub(super) fn is_silent(&self) -> bool {
        let layer = self.layer.borrow();
        layer.is_empty() && self.socket().is_silent()
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(Stream::try_read_buf, |plain| copy(plain, buffer))
    }

    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.read(Stream::try_read_buf, |plain| append(plain, buffer))
    }

    /// As [`TlsStream::try_read`]; the poller is not asked.
    pub(super) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(Stream::recv_buf, |plain| copy(plain, buffer))
    }

    /// As [`TlsStream::try_read_buf`]; the poller is not asked.
    pub(super) fn recv_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.read(Stream::recv_buf, |plain| append(plain, buffer))
    }

    fn read(
        &self,
        receive: impl Fn(&Stream, &mut BytesMut) -> io::Result<usize>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> io::Result<usize> {
        let mut layer = self.layer.borrow_mut();
        layer.fill(self.socket(), receive)?;
        Ok(layer.take(take))
    }

    /// Writes some of the bytes. After `WouldBlock` the caller tries again with the same bytes.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.layer.borrow_mut().write(self.socket(), slices)
    }

    /// Says that nothing more comes, in TLS and on the socket. After `WouldBlock` the caller tries again.
    pub(super) fn finish_writing(&self) -> io::Result<()> {
        self.close_notify()?;
        self.socket().finish_writing()
    }

    /// Says in TLS that nothing more comes: what was sent is all there is. After a reset was chosen it says nothing.
    /// After `WouldBlock` the caller tries again: to a client that reads slowly, FIN alone would look like an attack
    /// that cuts off the rest (RFC 8446 §6.1), and OpenSSL 3 reports it as an error.
    pub(super) fn close_notify(&self) -> io::Result<()> {
        self.layer.borrow_mut().close_notify(self.socket())
    }

    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        self.layer.borrow_mut().resets();
        self.socket().reset_on_close()
    }
}

/// A server is told that the end is one, by the last record: many of them write a warning about a connection that ends
/// without it. What serves a client says so by itself, when all was sent.
impl Drop for TlsStream {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.layer.get_mut().say_goodbye(&socket);
        }
    }
}

fn copy(plain: &[u8], buffer: &mut [u8]) -> usize {
    let length = plain.len().min(buffer.len());
    buffer[..length].copy_from_slice(&plain[..length]);
    length
}

fn append(plain: &[u8], buffer: &mut BytesMut) -> usize {
    let length = plain.len().min(buffer.capacity() - buffer.len());
    buffer.extend_from_slice(&plain[..length]);
    length
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("TlsStream").field("socket", self.socket()).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsParts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("TlsParts").field("state", &self.state).field("facts", &self.facts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! TLS on a socket: what reads and writes a [`Stream`] sees plaintext, and needs to know nothing of records.
//!
//! A write is done when all of its records have gone to the kernel. Before that it gives `WouldBlock` and has to be tried
//! again with the same bytes, as `SSL_write(3)` has it: so nothing is held back that would have to be flushed.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::server::ClientHello;
use smallvec::SmallVec;

use super::Stream;
use crate::tls::record::{LONGEST, MOST};
use crate::tls::{Established, Handshake, HandshakeError, HandshakeFacts, OpenedRecord, RecordError, Records};

/// A socket, and the TLS connection on it.
pub struct TlsStream {
    pub(super) socket: Stream,
    facts: HandshakeFacts,
    layer: RefCell<Layer>,
}

/// Why there is no TLS on a socket.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The two sides did not agree. An alert was sent.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The client closed the connection, or it broke.
    #[error("the connection ended in the handshake")]
    Ended,
    /// The library for cryptography failed.
    #[error("{0}")]
    Records(#[from] RecordError),
}

/// The bytes between socket and application.
struct Layer {
    records: Records,
    /// Read from the socket and not opened.
    received: BytesMut,
    /// Opened and not taken.
    plain: BytesMut,
    /// Sealed; the socket has taken the first `written` bytes.
    sealed: Vec<u8>,
    written: usize,
    /// How many bytes of plaintext in `sealed` the writer has not been told of.
    promised: usize,
    has_ended: bool,
    /// The connection ends with a reset: what was sent is not all.
    resets: bool,
    error: Option<RecordError>,
}

/// How much plaintext one write takes: four records.
const AT_ONCE: usize = 4 * MOST;

/// Does the handshake on a socket of which `received` was read already. The caller owns the deadline: what is dropped in
/// the middle is closed.
///
/// # Errors
/// With the socket, when there is no connection.
pub async fn accept(
    socket: Stream,
    mut received: BytesMut,
    choose: impl Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>>,
) -> Result<Stream, (Stream, AcceptError)> {
    let mut handshake = Handshake::default();
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
                if let Some(established) = established {
                    return TlsStream::open(socket, established, received);
                }
            }
        }
        received.reserve(LONGEST.saturating_sub(received.len()));
        match std::future::poll_fn(|cx| socket.poll_read_into(cx, &mut received)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err((socket, AcceptError::Ended)),
        }
    }
}

async fn send(socket: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = std::future::poll_fn(|cx| socket.poll_write_some(cx, bytes)).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

impl TlsStream {
    fn open(socket: Stream, established: Established, received: BytesMut) -> Result<Stream, (Stream, AcceptError)> {
        let Established { state, facts } = established;
        let records = match Records::new(state) {
            Ok(records) => records,
            Err(error) => return Err((socket, error.into())),
        };
        let layer = Layer {
            records,
            received,
            plain: BytesMut::new(),
            sealed: Vec::new(),
            written: 0,
            promised: 0,
            has_ended: false,
            resets: false,
            error: None,
        };
        Ok(Stream::Tls(Box::new(Self { socket, facts, layer: RefCell::new(layer) })))
    }

    /// What the handshake agreed on.
    #[must_use]
    pub fn facts(&self) -> &HandshakeFacts {
        &self.facts
    }

    /// The same connection on the same socket, which the poller watches anew.
    pub(super) fn watch_again(self) -> io::Result<Self> {
        let Self { socket, facts, layer } = self;
        let socket = match socket {
            Stream::Tls(inner) => Stream::Tls(inner), // TLS in TLS is not made
            plain => plain.watch_again()?,
        };
        Ok(Self { socket, facts, layer })
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.layer.borrow().has_news() { Poll::Ready(Ok(())) } else { self.socket.poll_read_ready(cx) }
    }

    /// Whether neither plaintext nor anything in the kernel waits.
    pub(super) fn is_silent(&self) -> bool {
        let layer = self.layer.borrow();
        layer.plain.is_empty() && layer.received.is_empty() && self.socket.is_silent()
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(Stream::try_read_buf, |plain| copy(plain, buffer))
    }

    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.read(Stream::try_read_buf, |plain| {
            let length = plain.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&plain[..length]);
            length
        })
    }

    /// As [`TlsStream::try_read`]; the poller is not asked.
    pub(super) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let receive = |socket: &Stream, received: &mut BytesMut| {
            let length = received.len();
            received.resize(received.capacity(), 0);
            let read = socket.recv(&mut received[length..]);
            received.truncate(length + read.as_ref().map_or(0, |read| *read));
            read
        };
        self.read(receive, |plain| copy(plain, buffer))
    }

    fn read(
        &self,
        receive: impl Fn(&Stream, &mut BytesMut) -> io::Result<usize>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> io::Result<usize> {
        let mut layer = self.layer.borrow_mut();
        layer.fill(&self.socket, receive)?;
        let taken = take(&layer.plain);
        layer.plain.advance(taken);
        Ok(taken)
    }

    /// Writes up to [`AT_ONCE`] bytes. After `WouldBlock` the caller tries again with the same bytes.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.layer.borrow_mut().write(&self.socket, slices)
    }

    /// Says that nothing more comes, in TLS and on the socket. After `WouldBlock` the caller tries again.
    pub(super) fn finish_writing(&self) -> io::Result<()> {
        self.close_notify()?;
        self.socket.finish_writing()
    }

    /// Says in TLS that nothing more comes: what was sent is all there is. After a reset was chosen it says nothing.
    /// After `WouldBlock` the caller tries again: to a client that reads slowly, FIN alone would look like an attack
    /// that cuts off the rest (RFC 8446 §6.1), and OpenSSL 3 reports it as an error.
    pub(super) fn close_notify(&self) -> io::Result<()> {
        let mut layer = self.layer.borrow_mut();
        let Layer { records, sealed, resets: false, .. } = &mut *layer else { return Ok(()) };
        records.close(sealed);
        layer.flush(&self.socket)
    }

    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        self.layer.borrow_mut().resets = true;
        self.socket.reset_on_close()
    }
}

fn copy(plain: &[u8], buffer: &mut [u8]) -> usize {
    let length = plain.len().min(buffer.len());
    buffer[..length].copy_from_slice(&plain[..length]);
    length
}

impl Layer {
    /// Whether reading gives something without the socket.
    fn has_news(&self) -> bool {
        let next = self.records.length(&self.received);
        let is_whole = next.map_or(true, |length| length.is_some_and(|length| length <= self.received.len()));
        !self.plain.is_empty() || self.has_ended || self.error.is_some() || is_whole
    }

    /// Makes sure that there is plaintext; without any, the client has ended its side.
    fn fill(
        &mut self,
        socket: &Stream,
        receive: impl Fn(&Stream, &mut BytesMut) -> io::Result<usize>,
    ) -> io::Result<()> {
        while self.plain.is_empty() && !self.has_ended {
            if let Some(error) = self.error {
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            match self.open_next() {
                Ok(true) => {
                    let _ = self.flush(socket); // an answer, which the next write takes along otherwise
                }
                Ok(false) => self.receive(socket, &receive)?,
                Err(error) => {
                    self.error = Some(error);
                    self.records.fail(error, &mut self.sealed);
                    let _ = self.flush(socket); // the connection ends, with its alert or without
                }
            }
        }
        Ok(())
    }

    /// Opens the next record; `false` when it has not come yet.
    fn open_next(&mut self) -> Result<bool, RecordError> {
        let Some(length) = self.records.length(&self.received)?.filter(|length| *length <= self.received.len()) else {
            return Ok(false);
        };
        let mut record = self.received.split_to(length);
        match self.records.open(&mut record, &mut self.sealed)? {
            OpenedRecord::Nothing => {}
            OpenedRecord::Closed => self.has_ended = true,
            OpenedRecord::Data(range) => {
                record.truncate(range.end);
                record.advance(range.start);
                self.plain = record;
            }
        }
        Ok(true)
    }

    fn receive(
        &mut self,
        socket: &Stream,
        receive: &impl Fn(&Stream, &mut BytesMut) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.received.reserve(LONGEST.saturating_sub(self.received.len()));
        match receive(socket, &mut self.received) {
            // without close_notify too: HTTP tells by itself whether a message is whole
            Ok(0) => self.has_ended = true,
            Ok(_) => {}
            Err(error) => {
                if self.received.is_empty() {
                    self.received = BytesMut::new(); // an idle connection has no buffers
                    self.plain = BytesMut::new();
                }
                if self.sealed.is_empty() {
                    self.sealed = Vec::new();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(&mut self, socket: &Stream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(socket)?;
        let all = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.promised == 0 {
            let mut room = AT_ONCE;
            let pieces: SmallVec<[IoSlice<'_>; 16]> = slices
                .iter()
                .map(|slice| {
                    let piece = &slice[..slice.len().min(room)];
                    room -= piece.len();
                    IoSlice::new(piece)
                })
                .collect();
            self.records.seal(&pieces, &mut self.sealed).map_err(io::Error::other)?;
            self.promised = all.min(AT_ONCE);
            self.flush(socket)?;
        }
        // the same bytes again: the caller has them still
        let told = self.promised.min(all);
        self.promised -= told;
        Ok(told)
    }

    /// Gives the socket what is sealed.
    fn flush(&mut self, socket: &Stream) -> io::Result<()> {
        while self.written < self.sealed.len() {
            self.written += socket.try_write(&self.sealed[self.written..])?;
        }
        self.sealed.clear();
        self.written = 0;
        Ok(())
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("TlsStream").field("socket", &self.socket).field("facts", &self.facts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

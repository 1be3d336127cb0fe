//! Request bodies on their way through the gate: counted, their chunks merged, and not read while the server takes
//! none of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, ReadBuf};

use super::super::waits::Side;
use super::{Gate, Position, READ_AHEAD, Rest};
use crate::http1::chunked::ChunkFault;
use crate::http1::encode;
use crate::net::Departure;
use crate::proxy::client::Trouble;

/// The head of a chunk whose size is not known yet. Zeros before a size say nothing (RFC 9112 §7.1).
const NO_CHUNK: &[u8] = b"00000000\r\n";

/// Most that is read at once for a server that may soon take nothing. hyper makes its next buffer half as large after two
/// reads below half of it, so below this size it stays at 32 KiB.
const CAREFUL: usize = 32 * 1024 - 1;

impl Gate {
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.client.holds_body() {
            return self.poll_departure(cx);
        }
        if self.client.server_has_room() || buffer.remaining() <= CAREFUL {
            return self.poll_body_into(cx, buffer);
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(CAREFUL));
        let polled = self.poll_body_into(cx, &mut part);
        let len = part.filled().len();
        buffer.advance(len);
        polled
    }

    fn poll_body_into(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.position {
            Position::Body(Rest::Broken(fault)) => Poll::Ready(Err(self.broken(fault))),
            Position::Body(Rest::Chunked(_)) => self.poll_chunk(cx, buffer),
            _ => {
                ready!(self.poll_more(cx, buffer))?;
                let passed = self.take_body(buffer.filled());
                self.held.extend_from_slice(&buffer.filled()[passed..]);
                buffer.set_filled(passed);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Reads some of a chunked body, and gives it to hyper as one chunk, however many there are in it: hyper makes a
    /// piece of memory and a turn of its loop of each.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            buffer.clear();
            buffer.put_slice(NO_CHUNK);
            let from_held = self.held.len().min(buffer.remaining());
            if from_held > 0 {
                buffer.put_slice(&self.held[..from_held]);
            } else {
                ready!(self.poll_more(cx, buffer))?;
            }
            let Position::Body(Rest::Chunked(scanner)) = &mut self.position else {
                return Poll::Ready(Ok(())); // it was one a moment ago
            };
            let scan = match scanner.merge(&mut buffer.filled_mut()[NO_CHUNK.len()..]) {
                Ok(scan) => scan,
                Err(fault) => {
                    buffer.clear();
                    self.position = Position::Body(Rest::Broken(fault));
                    return Poll::Ready(Err(self.broken(fault)));
                }
            };
            let mut tail: SmallVec<[u8; 16]> = SmallVec::new();
            if scan.payload > 0 {
                tail.extend_from_slice(encode::CHUNK_END);
            }
            if scan.done {
                tail.extend_from_slice(b"0\r\n");
                tail.extend_from_slice(scanner.trailers());
            }
            match from_held {
                0 => self.held.extend_from_slice(&buffer.filled()[NO_CHUNK.len() + scan.consumed..]),
                _ => self.held.advance(scan.consumed),
            }
            if scan.done {
                self.body_ended();
            }
            if scan.payload == 0 && !scan.done {
                continue; // an empty read would be the end
            }
            encode::fixed_chunk_head(&mut buffer.filled_mut()[..NO_CHUNK.len()], scan.payload);
            if scan.payload == 0 {
                buffer.clear();
            } else {
                buffer.set_filled(NO_CHUNK.len() + scan.payload);
            }
            self.pass(buffer, &tail);
            return Poll::Ready(Ok(()));
        }
    }

    /// Gives hyper these bytes as well, those for which there is no room the next time that it asks.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>, bytes: &[u8]) {
        let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
        buffer.put_slice(now);
        if !later.is_empty() {
            let held = self.held.split();
            self.held = BytesMut::from(later);
            self.held.unsplit(held);
            self.released = later.len();
        }
    }

    /// Reads some of a body.
    fn poll_more(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match self.recv_unwatched(buffer) {
            Some(read) => Poll::Ready(read),
            None => Pin::new(&mut self.stream).poll_read(cx, buffer),
        };
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                self.finished = true;
                Poll::Ready(Err(self.lost(io::ErrorKind::UnexpectedEof.into())))
            }
            Poll::Ready(Ok(())) => {
                self.end_wait(Side::Read);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(fault)) => Poll::Ready(Err(self.lost(fault))),
            Poll::Pending => {
                let timeout = self.settings().body_timeout;
                self.begin_wait(Side::Read, timeout);
                if self.is_over(Side::Read) {
                    self.client.note(Trouble::ClientTimeout);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending
            }
        }
    }

    /// Reads what came while the poller was asked for news alone. None when it has to be asked again.
    fn recv_unwatched(&mut self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        if !self.unwatched {
            return None;
        }
        match self.stream.recv(buffer.initialize_unfilled()) {
            Ok(len) => {
                buffer.advance(len);
                Some(Ok(()))
            }
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                self.unwatched = false;
                None
            }
            Err(fault) => Some(Err(fault)),
        }
    }

    /// The server takes no more of the body for now, so none is read; but a client that has left is heard of at once.
    ///
    /// Where the listener has time for such clients, one may close its sending side once all of its body is sent, and wait
    /// for the answer. One whose body can't become whole any more has left.
    fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.departing && self.stream.poll_read_ready(cx)?.is_ready() {
            self.unwatched = true;
            self.stream.forget_readable();
            match (self.stream.departure(), &self.position) {
                (Departure::None, _) => {}
                (Departure::Finished { unread }, Position::Body(Rest::Length(left))) if unread < *left => {
                    self.client.left();
                    return Poll::Pending; // the caller that polls hyper looks for it
                }
                (Departure::Finished { .. }, _) => self.departing = true, // the poller has no more news than that
                (Departure::Gone, _) => {
                    self.client.left();
                    return Poll::Pending;
                }
            }
        }
        if !self.departing {
            self.end_wait(Side::Read); // it is not the client that is waited for
            return Poll::Pending;
        }
        let has_left = match self.settings().half_close_timeout {
            None => true,
            Some(timeout) => {
                self.begin_wait(Side::Read, timeout);
                self.is_over(Side::Read)
            }
        };
        if has_left {
            self.client.left();
        }
        Poll::Pending
    }

    /// Takes what came while the poller was asked for news alone, so that it can be asked for bytes again.
    pub(super) fn hold_unwatched(&mut self) -> io::Result<()> {
        let thread = self.thread.clone();
        let mut scratch = thread.scratch.borrow_mut();
        while self.unwatched && !self.finished && self.held.len() < READ_AHEAD {
            match self.stream.recv(&mut scratch[..]) {
                Ok(0) => self.finished = true,
                Ok(len) => self.held.extend_from_slice(&scratch[..len]),
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => self.unwatched = false,
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// How many of `bytes` belong to a body of known length; once it has ended, none.
    pub(super) fn take_body(&mut self, bytes: &[u8]) -> usize {
        let Position::Body(Rest::Length(left)) = &mut self.position else {
            return 0;
        };
        let len = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
        *left -= len as u64;
        if *left == 0 {
            self.body_ended();
        }
        len
    }

    fn body_ended(&mut self) {
        // the response may have been faster
        self.position = if self.client.is_quiet() { Position::Between } else { Position::Answering };
    }

    fn broken(&self, fault: ChunkFault) -> io::Error {
        self.client.note(Trouble::BadBody(fault.rule()));
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

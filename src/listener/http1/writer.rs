//! What is on its way to the client: the heads and bodies of responses, framed and not yet with the kernel.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Version};

use crate::handover::transfer::SavedFraming;
use crate::http1::encode;
use crate::message::body::Demand;
use crate::net::Stream;
use crate::proxy::response::{BodyLength, Response, Then};
use crate::upstream::read::demand_of;

/// Data up to this size is copied behind its head: one slice costs the kernel less than two.
const COPIED: usize = 4 * 1024;
/// So much is gathered before it is written.
const GATHERED: usize = 64 * 1024;
/// What the buffer of heads keeps for the next response.
const KEPT: usize = 16 * 1024;

/// Bytes that a client takes before it is looked at whether it has room for more: smaller responses need not know.
const LOOK_EVERY: usize = 80 * 1024;
/// The same for one that had too little.
const LOOK_EVERY_LITTLE: usize = 16 * 1024;

/// Zeros that may go before a chunk size; with them it has 16 digits at most, which is what clients take.
const LEADING_ZEROS: &[u8] = b"00000000";

/// How the end of a response body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// There is no body, or its length is known.
    Length,
    Chunked,
    /// With the connection: HTTP/1.0, and no length.
    UntilClose,
}

/// The output of one connection.
pub(super) struct ResponseWriter {
    /// Heads, and small data; goes before `data`.
    front: Vec<u8>,
    /// How much of `front` was written.
    written: usize,
    data: VecDeque<Bytes>,
    /// Bytes that are not written.
    len: usize,
    framing: BodyFraming,
    /// Bytes that the client took since it was last looked at whether it has room.
    taken: usize,
    /// How much it takes at once, as far as is known.
    demand: Demand,
    /// It has none at all.
    is_blocked: bool,
    /// Bytes of the next head, or of the next chunk size, that the client has already.
    sent_ahead: usize,
}

impl ResponseWriter {
    pub(super) fn new() -> Self {
        Self {
            front: Vec::new(),
            written: 0,
            data: VecDeque::new(),
            len: 0,
            framing: BodyFraming::Length,
            taken: 0,
            demand: Demand::Much,
            is_blocked: false,
            sent_ahead: 0,
        }
    }

    /// Goes on where another generation was: `unsent` is on its way, and the client has `sent_ahead` bytes of what comes next.
    pub(super) fn resumed(framing: SavedFraming, unsent: &[u8], sent_ahead: usize) -> Self {
        let framing = match framing {
            SavedFraming::Length => BodyFraming::Length,
            SavedFraming::Chunked => BodyFraming::Chunked,
            SavedFraming::UntilClose => BodyFraming::UntilClose,
        };
        let sent_ahead = sent_ahead.min(encode::VERSION.len());
        Self { front: unsent.to_vec(), len: unsent.len(), framing, sent_ahead, ..Self::new() }
    }

    /// What another generation goes on with: how the end of the body is told, what is on its way, and how many bytes the
    /// client has of what comes next.
    pub(super) fn save(&self) -> (SavedFraming, BytesMut, usize) {
        let framing = match self.framing {
            BodyFraming::Length => SavedFraming::Length,
            BodyFraming::Chunked => SavedFraming::Chunked,
            BodyFraming::UntilClose => SavedFraming::UntilClose,
        };
        let mut unsent = BytesMut::with_capacity(self.len);
        unsent.extend_from_slice(&self.front[self.written..]);
        self.data.iter().for_each(|bytes| unsent.extend_from_slice(bytes));
        (framing, unsent, self.sent_ahead)
    }

    /// Puts an informational response on its way.
    pub(super) fn interim(&mut self, response: &Response) {
        self.head(response, &[]);
    }

    /// Puts the head of a response on its way, to a client of this version. `closes` when no other one follows; says
    /// whether that is so, because the end of the body cannot be told otherwise.
    pub(super) fn respond(&mut self, response: &Response, version: Version, closes: bool) -> bool {
        (self.taken, self.demand) = (0, Demand::Much);
        self.framing = match response.length {
            BodyLength::Known(_) => BodyFraming::Length,
            BodyLength::Unknown if version == Version::HTTP_10 => BodyFraming::UntilClose,
            BodyLength::Unknown => BodyFraming::Chunked,
        };
        let is_tunnel = response.then == Then::Tunnel;
        let closes = closes || self.framing == BodyFraming::UntilClose;
        let chunked: &[u8] = match self.framing {
            BodyFraming::Chunked if !is_tunnel => b"transfer-encoding: chunked\r\n",
            _ => b"",
        };
        let connection: &[u8] = match (response.upgrade, closes) {
            (true, true) if !is_tunnel => b"connection: upgrade, close\r\n",
            (true, _) => b"connection: upgrade\r\n",
            (false, true) => b"connection: close\r\n",
            (false, false) if version == Version::HTTP_10 => b"connection: keep-alive\r\n",
            (false, false) => b"",
        };
        self.head(response, &[chunked, connection]);
        closes
    }

    /// No head follows data that is not written: the response before it is flushed first.
    fn head(&mut self, response: &Response, own: &[&[u8]]) {
        debug_assert!(self.data.is_empty(), "the response before is flushed");
        let before = self.front.len();
        self.front.reserve(response.fields.len() + 128);
        encode::status_line(&mut self.front, response.status, response.reason.as_deref());
        self.front.extend_from_slice(&response.fields);
        own.iter().for_each(|line| self.front.extend_from_slice(line));
        self.front.extend_from_slice(encode::END);
        self.front.drain(before..before + std::mem::take(&mut self.sent_ahead));
        self.len += self.front.len() - before;
    }

    /// Sends one more of the bytes that come next whatever the server says: those with which every head begins, or, once
    /// the head of the response was given, leading zeros of a chunk size (RFC 9112 §7.1). It does nothing when there is no
    /// such byte, when something else waits to be written, or when the socket is full.
    ///
    /// # Errors
    /// Whatever the socket says: the client has left.
    pub(super) fn send_ahead(&mut self, stream: &Stream, has_head: bool) -> io::Result<()> {
        let ahead: &[u8] = match has_head {
            false => encode::VERSION,
            true if self.framing == BodyFraming::Chunked => LEADING_ZEROS,
            true => b"",
        };
        let Some(byte) = ahead.get(self.sent_ahead..=self.sent_ahead).filter(|_| self.len == 0) else {
            return Ok(());
        };
        match stream.try_write(byte) {
            Ok(written) => self.sent_ahead += written,
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Puts bytes of a body on their way.
    pub(super) fn send(&mut self, data: Bytes) {
        if self.framing != BodyFraming::Chunked {
            return self.push_data(data);
        }
        self.sent_ahead = 0; // zeros before a chunk size are a part of it
        let mut line = [0_u8; 24];
        let mut rest = &mut line[..];
        encode::chunk_head(&mut rest, data.len());
        let len = 24 - rest.len();
        self.push(&line[..len]);
        self.push_data(data);
        self.push(encode::CHUNK_END);
    }

    /// Puts the end of a body on its way.
    pub(super) fn finish(&mut self, trailers: Option<&HeaderMap>) {
        match trailers {
            _ if self.framing != BodyFraming::Chunked => {}
            None => self.push(encode::END_OF_CHUNKS),
            Some(trailers) => {
                let mut end = Vec::new();
                encode::end_of_chunks(&mut end, trailers);
                self.push(&end);
            }
        }
        self.framing = BodyFraming::Length;
        self.sent_ahead = 0;
    }

    /// Whether nothing but the end of the connection tells where the response ends.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.framing == BodyFraming::UntilClose
    }

    fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.data.is_empty() {
            true => self.front.extend_from_slice(bytes),
            false => self.data.push_back(Bytes::copy_from_slice(bytes)),
        }
    }

    fn push_data(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            return self.push(&data);
        }
        self.len += data.len();
        self.data.push_back(data);
    }

    /// How much of a response may be put on its way: bytes held for a client that does not read are memory that any
    /// client could have us fill.
    pub(super) fn room(&self) -> Option<Demand> {
        let is_held = self.is_blocked || self.is_full() || self.demand == Demand::Little && self.len > 0;
        (!is_held).then_some(self.demand)
    }

    /// Whether enough is gathered to be written.
    pub(super) fn is_full(&self) -> bool {
        self.len >= GATHERED
    }

    /// Bytes that are not with the kernel yet.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Writes what there is. Ready once all is written; otherwise the client takes nothing more for now.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<()>> {
        while self.len > 0 {
            match self.write(stream) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    if stream.poll_write_ready(cx)?.is_pending() {
                        self.settle();
                        return Poll::Pending;
                    }
                }
                Err(fault) => return Poll::Ready(Err(fault)),
                Ok(written) => self.took(stream, written),
            }
        }
        self.is_blocked = false;
        self.front.clear();
        if self.front.capacity() > KEPT {
            self.front = Vec::new();
        }
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// The client takes nothing more for now. What has to wait lets go of the large buffer that it is a part of, and
    /// small pieces follow.
    fn settle(&mut self) {
        self.is_blocked = true;
        if std::mem::replace(&mut self.demand, Demand::Little) != Demand::Little {
            for bytes in &mut self.data {
                *bytes = Bytes::copy_from_slice(bytes);
            }
        }
    }

    fn write(&self, stream: &Stream) -> io::Result<usize> {
        let front = &self.front[self.written..];
        if self.data.is_empty() {
            return stream.try_write(front);
        }
        let mut slices = [IoSlice::new(&[]); 8];
        slices[0] = IoSlice::new(front);
        let parts = slices.len().min(self.data.len() + 1);
        self.data.iter().zip(&mut slices[1..]).for_each(|(bytes, slice)| *slice = IoSlice::new(bytes));
        stream.try_write_vectored(&slices[usize::from(front.is_empty())..parts])
    }

    fn took(&mut self, stream: &Stream, mut written: usize) {
        self.is_blocked = false;
        self.len -= written;
        self.taken += written;
        if self.taken >= if self.demand == Demand::Little { LOOK_EVERY_LITTLE } else { LOOK_EVERY } {
            (self.taken, self.demand) = (0, demand_of(stream));
        }
        let front = written.min(self.front.len() - self.written);
        self.written += front;
        written -= front;
        while let Some(first) = self.data.front_mut().filter(|_| written > 0) {
            if written < first.len() {
                return first.advance(written);
            }
            written -= first.len();
            self.data.pop_front();
        }
    }
}

//! Frames for the peer.

use http::HeaderMap;
use smallvec::SmallVec;

use super::{Leaving, Session, SessionRole};
use crate::http2::error::ErrorCode;
use crate::http2::frame::{self, Flags, FrameKind, HEAD, MAX_31, MAX_FRAME};

impl Session {
    /// The PING behind the first GOAWAY: its answer tells that the client has got both.
    pub(super) const LEAVE: &[u8; 8] = b"goaway\0\0";

    /// What is to be written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.rest()
    }

    /// So many octets of the output were written.
    pub fn wrote(&mut self, octets: usize) {
        self.output.wrote(octets);
    }

    /// Puts the head of a response on its way, `fields` being lines with their CRLF; or an informational one, which does
    /// not end the stream.
    pub fn respond(&mut self, key: usize, status: u16, fields: &[u8], ends: bool) {
        let Some(stream) = self.streams.get(key) else { return };
        let at = self.begin_block(stream.id, ends);
        self.encoder.status(self.output.octets(), status);
        let mut lower: SmallVec<[u8; 64]> = SmallVec::new();
        for (name, value) in lines(fields) {
            if self.encoder.repeat(self.output.octets(), name, value) {
                continue;
            }
            lower.clear();
            lower.extend_from_slice(name);
            lower.make_ascii_lowercase();
            if !is_of_http1(&lower) {
                self.encoder.literal(self.output.octets(), &lower, value);
            }
        }
        self.end_block(at);
    }

    /// Puts the fields after a body on their way, which end the stream.
    pub fn trailers(&mut self, key: usize, trailers: &HeaderMap) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.is_sent = true;
        let id = stream.id;
        let at = self.begin_block(id, true);
        for (name, value) in trailers {
            if !is_of_http1(name.as_str().as_bytes()) {
                self.encoder.field(self.output.octets(), name.as_str().as_bytes(), value.as_bytes());
            }
        }
        self.end_block(at);
    }

    pub(super) fn begin_block(&mut self, stream: u32, ends: bool) -> usize {
        let at = self.output.octets().len();
        let flags = Flags::END_HEADERS.with(Flags::END_STREAM, ends);
        self.output.octets().extend_from_slice(&frame::head(0, FrameKind::Headers, flags, stream));
        self.encoder.begin(self.output.octets());
        at
    }

    /// Completes the HEADERS that begins at `at`, and goes on in CONTINUATION where it is too large.
    pub(super) fn end_block(&mut self, at: usize) {
        let out = self.output.octets();
        let len = out.len() - at - HEAD;
        let first = len.min(MAX_FRAME);
        out[at..at + 3].copy_from_slice(&(first as u32).to_be_bytes()[1..]);
        if first == len {
            return;
        }
        let rest = out.split_off(at + HEAD + first);
        out[at + 4] &= !Flags::END_HEADERS.0;
        let stream = frame::number(&out[at + 5..]);
        let mut parts = rest.chunks(MAX_FRAME).peekable();
        while let Some(part) = parts.next() {
            let flags = Flags::NONE.with(Flags::END_HEADERS, parts.peek().is_none());
            frame::put(out, FrameKind::Continuation, flags, stream, part);
        }
    }

    /// How many octets of a body may be sent on a stream now, by the windows.
    #[must_use]
    pub fn room(&self, key: usize) -> usize {
        self.streams.get(key).map_or(0, |stream| stream.send.room().min(self.send.room()))
    }

    /// Puts bytes of a body on their way, no more than there is room for.
    pub fn send(&mut self, key: usize, data: &[u8], ends: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        debug_assert!(data.len() <= stream.send.room().min(self.send.room()), "within the windows");
        stream.send.sent(data.len());
        stream.is_sent = ends;
        self.send.sent(data.len());
        self.account.sent(data.len());
        let (out, id) = (self.output.octets(), stream.id);
        let mut parts = data.chunks(MAX_FRAME).peekable();
        if parts.peek().is_none() {
            return frame::put(out, FrameKind::Data, Flags::NONE.with(Flags::END_STREAM, ends), id, &[]);
        }
        while let Some(part) = parts.next() {
            let flags = Flags::NONE.with(Flags::END_STREAM, ends && parts.peek().is_none());
            frame::put(out, FrameKind::Data, flags, id, part);
        }
    }

    /// The response on a stream was sent whole, and the stream is closed. A client that has not sent all of its request is
    /// told that the rest is not wanted (RFC 9113 §8.1).
    pub fn finish(&mut self, key: usize) {
        if self.is_received(key) {
            self.close(key, false);
        } else {
            self.reset(key, ErrorCode::NoError);
        }
    }

    /// Resets a stream, which is closed.
    pub fn reset(&mut self, key: usize, code: ErrorCode) {
        if let Some(stream) = self.streams.get(key) {
            frame::put_reset(self.output.octets(), stream.id, code);
            self.close(key, true);
        }
    }

    pub(super) fn close(&mut self, key: usize, by_reset: bool) {
        if let Some(stream) = self.streams.remove(key, by_reset)
            && self.role == SessionRole::Server
        {
            self.give_back_connection(stream.held);
        }
    }

    /// So many octets of a body were taken, and as many may come.
    pub fn give_back(&mut self, key: usize, octets: usize) {
        let Some(stream) = self.streams.get_mut(key).filter(|_| octets > 0) else { return };
        let octets = octets.min(stream.held);
        stream.held -= octets;
        if !stream.is_received
            && let Some(by) = stream.receive.give_back(octets)
        {
            frame::put_window_update(self.output.octets(), stream.id, by);
        }
        if self.role == SessionRole::Server {
            self.give_back_connection(octets); // a client has done that when they came
        }
    }

    pub(super) fn give_back_connection(&mut self, octets: usize) {
        if let Some(by) = self.receive.give_back(octets) {
            frame::put_window_update(self.output.octets(), 0, by);
        }
    }

    /// Tells the client that it has to go on elsewhere. Streams that are on their way are served until [`Session::leave`].
    pub fn announce_leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            frame::put_go_away(self.output.octets(), MAX_31, ErrorCode::NoError);
            frame::put(self.output.octets(), FrameKind::Ping, Flags::NONE, 0, Self::LEAVE);
        }
    }

    /// Tells the client which stream is the last one that is served. Others are ignored from here on.
    pub fn leave(&mut self, code: ErrorCode) {
        if !matches!(self.leaving, Leaving::Last(_)) || code != ErrorCode::NoError {
            let last = if let Leaving::Last(last) = self.leaving { last } else { self.last };
            frame::put_go_away(self.output.octets(), last, code);
            self.leaving = Leaving::Last(last);
        }
    }

    /// Whether the client was told that it has to go on elsewhere.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// Whether the client was told which stream is the last one that is served.
    #[must_use]
    pub fn has_left(&self) -> bool {
        matches!(self.leaving, Leaving::Last(_))
    }
}

/// Names and values of lines that were found right.
pub(crate) fn lines(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = fields;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest)?;
        let (line, behind) = (&rest[..end], &rest[end + 1..]);
        rest = behind;
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// Whether a field is for one connection of HTTP/1 only (RFC 9113 §8.2.2).
pub(super) fn is_of_http1(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade")
}

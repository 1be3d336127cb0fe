//! What the client sends: where it is in the heads and bodies of requests, and what was read ahead.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::time::Instant;

use crate::handover::exchange::SavedBody;
use crate::http1::chunked::{Decoded, Decoder};
use crate::http1::request::{Framing, HeadSearch};
use crate::message::body::{Demand, Piece, RequestBodyError};
use crate::net::{Departure, Stream};
use crate::proxy::Thread;
use crate::upstream::read::{poll_read, read_now};

/// Most bytes that are read ahead while a response is open; what comes beyond waits in the kernel.
const READ_AHEAD: usize = 16 * 1024;

/// Bytes of room for one read into the buffer of what was read ahead.
const ROOM: usize = 4096;

/// The input of one connection.
pub(super) struct RequestReader {
    /// What was read, and belongs to what comes next.
    pub(super) ahead: BytesMut,
    pub(super) search: HeadSearch,
    pub(super) position: Position,
    /// The client has closed its sending side.
    pub(super) is_finished: bool,
    /// Bytes may be there of which the poller says nothing.
    is_unwatched: bool,
    /// The client has closed its sending side, and perhaps all of its body is there.
    is_departing: bool,
}

/// Where the client is in what it sends.
///
/// ```text
///   Between ──first bytes──▶ Head ──whole and valid──▶ Body ──its last byte──▶ Whole ──the response is written──▶ Between
/// ```
pub(super) enum Position {
    /// Between two messages.
    Between,
    /// Part of a head was read; all of that is in `ahead`.
    Head { began: Instant },
    /// Inside a body.
    Body(Rest),
    /// The request was read whole; its exchange is open.
    Whole,
}

/// What is still to come of a body.
pub(super) enum Rest {
    Length(u64),
    Chunked(Box<Decoder>),
}

impl RequestReader {
    pub(super) fn new(ahead: BytesMut) -> Self {
        Self {
            ahead,
            search: HeadSearch::new(),
            position: Position::Between,
            is_finished: false,
            is_unwatched: false,
            is_departing: false,
        }
    }

    /// Goes on where another generation was inside a request, or behind it.
    pub(super) fn resumed(ahead: BytesMut, rest: SavedBody) -> Self {
        let position = match rest {
            SavedBody::Length(left) if left > 0 => Position::Body(Rest::Length(left)),
            SavedBody::Chunked(decoder) => Position::Body(Rest::Chunked(decoder)),
            // no request goes on until the connection closes
            SavedBody::Length(_) | SavedBody::Nothing | SavedBody::UntilClose => Position::Whole,
        };
        Self { position, ..Self::new(ahead) }
    }

    /// What is still to come of the request, and what was read of it and behind it. What lies unread in the kernel the
    /// next generation reads.
    pub(super) fn save(self) -> (SavedBody, BytesMut) {
        let rest = match self.position {
            Position::Body(Rest::Length(left)) => SavedBody::Length(left),
            Position::Body(Rest::Chunked(decoder)) => SavedBody::Chunked(decoder),
            Position::Between | Position::Head { .. } | Position::Whole => SavedBody::Nothing,
        };
        (rest, self.ahead)
    }

    /// A head was found; what follows it is its body.
    pub(super) fn begin_body(&mut self, framing: Framing) {
        self.position = match framing {
            Framing::None | Framing::Length(0) => Position::Whole,
            Framing::Length(length) => Position::Body(Rest::Length(length)),
            Framing::Chunked => Position::Body(Rest::Chunked(Box::new(Decoder::request()))),
        };
    }

    /// Whether the request was read whole.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.position, Position::Whole)
    }

    /// The next piece of the body; `None` when it is whole.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        thread: &Thread,
        room: Demand,
    ) -> Poll<Option<Result<Piece, RequestBodyError>>> {
        loop {
            if let Some(piece) = self.take_piece() {
                return Poll::Ready(Some(piece));
            }
            if !matches!(self.position, Position::Body(_)) {
                return Poll::Ready(None);
            }
            if ready!(self.poll_fill(cx, stream, thread, room))? == 0 {
                return Poll::Ready(Some(Err(RequestBodyError::Closed)));
            }
        }
    }

    fn take_piece(&mut self) -> Option<Result<Piece, RequestBodyError>> {
        let Position::Body(rest) = &mut self.position else { return None };
        match rest {
            Rest::Length(_) if self.ahead.is_empty() => None,
            Rest::Length(left) => {
                let taken = usize::try_from(*left).map_or(self.ahead.len(), |left| left.min(self.ahead.len()));
                *left -= taken as u64;
                let is_over = *left == 0;
                let data = self.ahead.split_to(taken).freeze();
                if is_over {
                    self.body_ended();
                }
                Some(Ok(Piece::Data(data)))
            }
            Rest::Chunked(decoder) => match decoder.decode(&mut self.ahead) {
                Err(fault) => Some(Err(RequestBodyError::Framing(fault.rule()))),
                Ok(Decoded::Data(data)) => Some(Ok(Piece::Data(data))),
                Ok(Decoded::NeedMore) => None,
                Ok(Decoded::Trailers(trailers)) => {
                    self.body_ended();
                    Some(Ok(Piece::Trailers(trailers)))
                }
                Ok(Decoded::Done) => {
                    self.body_ended();
                    None
                }
            },
        }
    }

    /// What is left belongs to the next message, and would keep the large buffer that it is a small part of.
    fn body_ended(&mut self) {
        self.position = Position::Whole;
        self.ahead = BytesMut::from(&self.ahead[..]);
    }

    /// Reads more of a body; 0 at the end of what the client sends.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        thread: &Thread,
        room: Demand,
    ) -> Poll<io::Result<usize>> {
        if self.is_unwatched && self.ahead.is_empty() && room != Demand::Little {
            // A fast client fills the socket for as long as its body lasts, so the poller is not needed before its end.
            match read_now(stream, &thread.reads) {
                Ok(read) => {
                    self.is_finished = read.is_empty();
                    self.ahead = read;
                    return Poll::Ready(Ok(self.ahead.len()));
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => self.is_unwatched = false,
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
        if self.is_unwatched || !self.ahead.is_empty() {
            return self.poll_ahead(cx, stream, thread);
        }
        self.ahead = ready!(poll_read(cx, stream, &thread.reads, room))?;
        self.is_finished = self.ahead.is_empty();
        Poll::Ready(Ok(self.ahead.len()))
    }

    /// Reads into the buffer of what comes next, of which idle connections have none.
    pub(super) fn poll_ahead(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        thread: &Thread,
    ) -> Poll<io::Result<usize>> {
        if self.is_unwatched
            && let Some(read) = self.read_unwatched(stream, thread)?
        {
            return Poll::Ready(Ok(read));
        }
        ready!(stream.poll_read_ready(cx))?;
        self.ahead.reserve(ROOM);
        let read = ready!(stream.poll_read_into(cx, &mut self.ahead))?;
        self.is_finished = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Reads on while the response is made: ready once the client has closed its sending side. A client that has sent
    /// as much as is read ahead is watched all the same, without another read.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) fn poll_finished(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        thread: &Thread,
    ) -> Poll<io::Result<()>> {
        while !self.is_finished {
            if self.ahead.len() >= READ_AHEAD {
                let is_gone = ready!(self.poll_departure(cx, stream))?;
                return Poll::Ready(if is_gone { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) });
            }
            ready!(self.poll_ahead(cx, stream, thread))?;
        }
        Poll::Ready(Ok(()))
    }
}

/// A client whose body is not read for now.
impl RequestReader {
    /// Ready once the client has closed its sending side, or is gone: `false` for a client that waits for its answer, perhaps.
    pub(super) fn poll_departure(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<bool>> {
        while !self.is_departing && stream.poll_news(cx)?.is_ready() {
            self.is_unwatched = true;
            stream.forget_readable();
            match (stream.departure(), &self.position) {
                (Departure::None, _) => {}
                (Departure::Finished { unread }, Position::Body(Rest::Length(left)))
                    if unread + (self.ahead.len() as u64) < *left =>
                {
                    return Poll::Ready(Ok(true)); // the body can't become whole any more
                }
                (Departure::Finished { .. }, _) => self.is_departing = true, // the poller has no more news than that
                (Departure::Gone, _) => return Poll::Ready(Ok(true)),
            }
        }
        if self.is_departing { Poll::Ready(Ok(false)) } else { Poll::Pending }
    }

    /// Takes what came while the poller was asked for news alone, so that it can be asked for bytes again.
    pub(super) fn take_unwatched(&mut self, stream: &Stream, thread: &Thread) -> io::Result<()> {
        while self.is_unwatched && !self.is_finished && self.ahead.len() < READ_AHEAD {
            self.read_unwatched(stream, thread)?;
        }
        Ok(())
    }

    /// Whether the poller has to be told anew what to watch for.
    pub(super) fn is_unwatched(&self) -> bool {
        self.is_unwatched
    }

    /// None when there is nothing more.
    fn read_unwatched(&mut self, stream: &Stream, thread: &Thread) -> io::Result<Option<usize>> {
        let mut scratch = thread.scratch.borrow_mut();
        match stream.recv(&mut scratch[..]) {
            Ok(len) => {
                self.is_finished = len == 0;
                self.ahead.extend_from_slice(&scratch[..len]);
                Ok(Some(len))
            }
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                self.is_unwatched = false;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }
}

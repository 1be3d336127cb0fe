//! The request body on its way to a server, counted, limited, and kept for a second try while it is small.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::HeaderName;

use super::connection::Connection;
use crate::handover::exchange::SavedUpload;
use crate::http1::encode;
use crate::http1::request::Framing;
use crate::message::body::{Demand, Piece, RequestBody, RequestBodyError};
use crate::message::fields::{is_forbidden_in_trailers, underscore_twin};
use crate::turn::{TURN, Turn, Turns};

/// A body up to this size, framing included, is kept, so that an idempotent request can be sent again.
const REPLAY: usize = 64 * 1024;
/// What is shorter is copied, when it has to wait, rather than kept in a large buffer.
const SMALL: usize = 16 * 1024;
/// A server with room for so many bytes is sent large pieces: reads become small well before the server takes nothing.
const MUCH: usize = 512 * 1024;
/// Bytes that such a server takes before it is looked at whether it still has the room.
const LOOK_EVERY: usize = 64 * 1024;
/// What each further piece that a chunked body has ready counts in the turn of its connection: to decode a read of small
/// chunks takes as long as to move so many bytes, and moves few. A piece that was waited for counts its bytes alone.
const READY_PIECE: usize = 64 * 1024;

/// The body of one request.
pub struct Upload {
    chunked: bool,
    /// Largest body, in bytes.
    limit: u64,
    /// Its bytes, when that is known.
    length: Option<u64>,
    /// Bytes that came from the client.
    received: u64,
    /// The body came whole from the client.
    ended: bool,
    store: Store,
    /// Bytes of this attempt were handed to the socket.
    started: bool,
    /// The client was asked for it: a client that waits for `100 Continue` has got it.
    asked_for: bool,
    /// The server of this attempt has room for much more.
    roomy: bool,
    /// Bytes that it took since it was last looked at.
    taken: usize,
    turn: Turn,
}

/// What is held of a body.
enum Store {
    /// All that came so far, framing included, in memory of its own size; and how much of it was sent in this attempt.
    Whole { bytes: Vec<u8>, sent: usize },
    /// What is on its way. It became too much for more, or was known to.
    Passing {
        pending: VecDeque<Bytes>,
        /// It is in memory of its own size.
        settled: bool,
    },
}

/// Why the body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client went away, was silent for too long or framed it wrong.
    #[error("the request body did not come whole")]
    Client(#[source] RequestBodyError),
    /// It is larger than the site allows.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit of the site, in bytes.
        limit: u64,
    },
    /// The server took no more of it.
    #[error("sending the request failed")]
    Server(#[source] io::Error),
}

/// What an upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// More of the body from the client.
    Client,
    /// Demand in the connection to the server.
    Server,
    /// Nothing: all of it was sent.
    Nothing,
}

/// Whether a body of this framing is sure to be kept whole, however much of it was sent.
#[must_use]
pub fn is_kept(framing: Framing) -> bool {
    match framing {
        Framing::None => true,
        Framing::Length(length) => length <= REPLAY as u64,
        Framing::Chunked => false, // how much is to come is not known
    }
}

impl Upload {
    /// The body of a request with the given framing, at most `limit` bytes.
    #[must_use]
    pub fn new(framing: Framing, limit: u64) -> Self {
        let turn = match framing {
            Framing::Length(length) if length > TURN as u64 => Turn::of_large(),
            _ => Turn::default(),
        };
        let ended = matches!(framing, Framing::None | Framing::Length(0));
        let chunked = framing == Framing::Chunked;
        let length = if let Framing::Length(length) = framing { Some(length) } else { None };
        let store = match framing {
            Framing::Length(length) if length > REPLAY as u64 => Store::passing([]),
            _ => Store::Whole { bytes: Vec::new(), sent: 0 },
        };
        Self {
            chunked,
            limit,
            length,
            received: 0,
            ended,
            store,
            started: false,
            asked_for: false,
            roomy: false,
            taken: 0,
            turn,
        }
    }

    /// The bytes of a client on their way through a tunnel, to their end.
    #[must_use]
    pub fn of_tunnel() -> Self {
        let mut upload = Self::new(Framing::Length(u64::MAX), u64::MAX);
        (upload.asked_for, upload.turn) = (true, Turn::default());
        upload
    }

    /// Bytes that came from the client.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether all of it was sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended && !self.store.has_pending()
    }

    /// Whether the client was asked for it. Until then a client that waits for `100 Continue` sends nothing.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.asked_for
    }

    /// Whether another attempt can send the same body.
    #[must_use]
    pub fn can_replay(&self) -> bool {
        matches!(self.store, Store::Whole { .. })
    }

    /// Starts again from the first byte, for the next attempt.
    pub fn rewind(&mut self) {
        (self.started, self.roomy, self.taken) = (false, false, 0);
        if let Store::Whole { sent, .. } = &mut self.store {
            *sent = 0;
        }
    }

    /// Whether any byte of it was handed to the socket in this attempt.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Sends what there is, and reads more of `body` as the server takes it. `progress` is set when a byte went out.
    ///
    /// # Errors
    /// See [`UploadError`]; after one the upload is over.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn RequestBody,
        connection: &mut Connection,
        turns: &Turns,
        progress: &mut bool,
    ) -> Result<Waiting, UploadError> {
        let mut is_ready = false;
        loop {
            if self.store.has_pending() {
                match self.store.poll_write(cx, connection) {
                    Poll::Ready(Ok(written)) => {
                        (self.started, *progress) = (true, true);
                        self.turn.count(written);
                        self.took(connection, written);
                    }
                    Poll::Ready(Err(fault)) => return Err(UploadError::Server(fault)),
                    Poll::Pending => {
                        let large = std::mem::take(&mut self.roomy);
                        self.store.settle(large);
                        return Ok(Waiting::Server);
                    }
                }
                continue;
            }
            if self.ended {
                return Ok(Waiting::Nothing);
            }
            // The end of a body of known length costs no read. If it waited for a turn, a server that answers before would make
            // the rest of the request look unsent, and the client would be told "Connection: close".
            let is_read = self.length == Some(self.received);
            if !is_read && turns.poll(cx, &mut self.turn).is_pending() {
                return Ok(Waiting::Client);
            }
            self.asked_for = true;
            match body.poll_piece(cx, if self.roomy { Demand::Much } else { Demand::Little }) {
                Poll::Pending => return Ok(Waiting::Client),
                Poll::Ready(None) => self.end(None),
                Poll::Ready(Some(Err(error))) => return Err(UploadError::Client(error)),
                Poll::Ready(Some(Ok(piece))) => {
                    if std::mem::replace(&mut is_ready, true) && self.chunked {
                        self.turn.count(READY_PIECE);
                    }
                    self.take(piece)?;
                }
            }
        }
    }

    /// What another generation goes on with, and what is held of the body.
    #[must_use]
    pub fn save(self) -> (SavedUpload, BytesMut) {
        let Self { chunked, limit, length, received, ended, store, started, asked_for, .. } = self;
        let (held, sent) = match store {
            Store::Whole { bytes, sent } => (BytesMut::from(&bytes[..]), Some(sent)),
            Store::Passing { pending, .. } => {
                let mut held = BytesMut::with_capacity(pending.iter().map(Bytes::len).sum());
                pending.iter().for_each(|bytes| held.extend_from_slice(bytes));
                (held, None)
            }
        };
        let saved = SavedUpload { chunked, limit, length, received, ended, asked_for, started, sent, broken: false };
        (saved, held)
    }

    /// Goes on with a body of which another generation held this.
    #[must_use]
    pub fn resumed(saved: &SavedUpload, held: BytesMut) -> Self {
        let &SavedUpload { chunked, limit, length, received, ended, asked_for, started, sent, broken: _ } = saved;
        let store = match sent {
            Some(sent) => Store::Whole { sent: sent.min(held.len()), bytes: held.into() },
            None => Store::passing([held.freeze()]),
        };
        let turn = if received > TURN as u64 { Turn::of_large() } else { Turn::default() };
        Self { chunked, limit, length, received, ended, store, started, asked_for, roomy: false, taken: 0, turn }
    }

    /// Looks now and then whether the server has room: a body that is kept whole need not know.
    fn took(&mut self, connection: &Connection, written: usize) {
        self.taken += written;
        if !self.can_replay() && (!self.roomy || self.taken >= LOOK_EVERY) {
            (self.roomy, self.taken) = (connection.has_room_for(MUCH), 0);
        }
    }

    fn take(&mut self, piece: Piece) -> Result<(), UploadError> {
        match piece {
            Piece::Data(data) => {
                self.received += data.len() as u64;
                if self.received > self.limit {
                    return Err(UploadError::TooLarge { limit: self.limit });
                }
                self.push_data(data);
            }
            Piece::Trailers(trailers) => self.end(Some(trailers)),
        }
        Ok(())
    }

    fn push_data(&mut self, data: Bytes) {
        if !self.chunked {
            return self.store.push(data);
        }
        let mut head = Vec::with_capacity(18);
        encode::chunk_head(&mut head, data.len());
        self.store.push(head.into());
        self.store.push(data);
        self.store.push(Bytes::from_static(encode::CHUNK_END));
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.ended = true;
        if self.chunked {
            let mut trailers = trailers.unwrap_or_default();
            let is_forbidden =
                |name: &&HeaderName| is_forbidden_in_trailers(name) || underscore_twin(name.as_str().as_bytes());
            let forbidden: Vec<_> = trailers.keys().filter(is_forbidden).cloned().collect();
            forbidden.iter().for_each(|name| drop(trailers.remove(name)));
            let mut last = Vec::new();
            encode::end_of_chunks(&mut last, &trailers);
            self.store.push(last.into());
        }
    }
}

impl Store {
    fn passing<const N: usize>(pending: [Bytes; N]) -> Self {
        let pending = pending.into_iter().filter(|bytes| !bytes.is_empty()).collect();
        Self::Passing { pending, settled: false }
    }

    fn has_pending(&self) -> bool {
        match self {
            Self::Whole { bytes, sent } => *sent < bytes.len(),
            Self::Passing { pending, .. } => !pending.is_empty(),
        }
    }

    /// Puts bytes on their way.
    fn push(&mut self, more: Bytes) {
        match self {
            Self::Passing { pending, settled } => {
                pending.push_back(more);
                *settled = false;
            }
            Self::Whole { bytes, sent } => {
                let len = bytes.len() + more.len();
                if len > REPLAY {
                    let rest = Bytes::copy_from_slice(&bytes[*sent..]); // the head of the chunk, no more
                    *self = Self::passing([rest, more]);
                    return;
                }
                if len > bytes.capacity() {
                    bytes.reserve_exact((2 * bytes.capacity()).clamp(len, REPLAY) - bytes.len());
                }
                bytes.extend_from_slice(&more);
            }
        }
    }

    /// What is on its way has to wait: it lets go of the large buffers that it is a part of, as all of it may be when it
    /// came in `large` pieces.
    fn settle(&mut self, large: bool) {
        if let Self::Passing { pending, settled } = self
            && !std::mem::replace(settled, true)
        {
            for bytes in pending.iter_mut().filter(|bytes| large || bytes.len() < SMALL) {
                *bytes = Bytes::copy_from_slice(bytes);
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<io::Result<usize>> {
        loop {
            let written = match self {
                Self::Whole { bytes, sent } => connection.try_write(&bytes[*sent..]),
                Self::Passing { pending, .. } => {
                    let mut slices = [IoSlice::new(&[]); 8];
                    let count = pending.len().min(slices.len());
                    for (slice, bytes) in slices.iter_mut().zip(&*pending) {
                        *slice = IoSlice::new(bytes);
                    }
                    connection.try_write_vectored(&slices[..count])
                }
            };
            match written {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    std::task::ready!(connection.poll_write_ready(cx))?;
                }
                Err(fault) => return Poll::Ready(Err(fault)),
                Ok(written) => {
                    self.consume(written);
                    return Poll::Ready(Ok(written));
                }
            }
        }
    }

    fn consume(&mut self, mut written: usize) {
        let pending = match self {
            Self::Whole { sent, .. } => {
                *sent += written;
                return;
            }
            Self::Passing { pending, .. } => pending,
        };
        while let Some(first) = pending.front_mut() {
            if written < first.len() {
                return first.advance(written);
            }
            written -= first.len();
            pending.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::net::Stream;

    /// So many pieces of that length that are there already; then it is whole, or the client is slow.
    struct Ready {
        pieces: usize,
        length: usize,
        is_whole: bool,
    }

    /// What a read of chunks of one byte gives.
    const SMALL_CHUNKS: usize = 2700;

    impl RequestBody for Ready {
        fn poll_piece(&mut self, _: &mut Context<'_>, _: Demand) -> Poll<Option<Result<Piece, RequestBodyError>>> {
            let Some(left) = self.pieces.checked_sub(1) else {
                return if self.is_whole { Poll::Ready(None) } else { Poll::Pending };
            };
            self.pieces = left;
            Poll::Ready(Some(Ok(Piece::Data(vec![b'x'; self.length].into()))))
        }
    }

    /// Polls with a connection to a server, on a thread where all turns are another's.
    fn without_turns<T>(mut test: impl FnMut(&mut Context<'_>, &mut Connection, &Turns) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (server, _other_end) = tokio::net::UnixStream::pair().expect("a socket pair");
            let (mut server, turns) = (Connection::over_socket(Stream::Unix(server)), Turns::default());
            poll_fn(|cx| {
                while turns.poll(cx, &mut Turn::of_large()).is_ready() {}
                Poll::Ready(test(cx, &mut server, &turns))
            })
            .await
        })
    }

    /// Pieces that a chunked upload takes of so many before it waits.
    fn taken_at_once(bodies: &[usize]) -> usize {
        without_turns(|cx, server, turns| {
            let (mut upload, mut taken) = (Upload::new(Framing::Chunked, u64::MAX), 0);
            for &pieces in bodies {
                let mut body = Ready { pieces, length: SMALL_CHUNKS, is_whole: false };
                let waits = upload.poll_send(cx, &mut body, server, turns, &mut false).expect("no fault");
                assert_eq!(waits, Waiting::Client);
                taken += pieces - body.pieces;
            }
            taken
        })
    }

    /// The connection of a client whose server answered at once would be closed: the rest of its request might follow.
    #[test]
    fn a_body_of_known_length_is_whole_after_its_last_byte_although_the_next_turn_is_anothers() {
        without_turns(|cx, server, turns| {
            let mut upload = Upload::new(Framing::Length(TURN as u64), u64::MAX);
            let mut body = Ready { pieces: 1, length: TURN, is_whole: true };
            let waits = upload.poll_send(cx, &mut body, server, turns, &mut false).expect("no fault");
            assert_eq!(waits, Waiting::Nothing);
        });
        without_turns(|cx, server, turns| {
            let mut upload = Upload::new(Framing::Length(2000), u64::MAX);
            for (is_whole, waiting) in [(false, Waiting::Client), (true, Waiting::Nothing)] {
                let mut body = Ready { pieces: 1, length: 1000, is_whole };
                let waits = upload.poll_send(cx, &mut body, server, turns, &mut false).expect("no fault");
                assert_eq!(waits, waiting);
                let (saved, held) = std::mem::replace(&mut upload, Upload::of_tunnel()).save();
                upload = Upload::resumed(&saved, held);
            }
            assert!(upload.is_done());
        });
    }

    #[test]
    fn a_burst_of_small_chunks_waits_for_its_turn_after_three_reads() {
        assert_eq!(taken_at_once(&[20]), 3);
    }

    #[test]
    fn small_pieces_that_come_one_by_one_need_no_turn() {
        assert_eq!(taken_at_once(&[1; 20]), 20);
    }
}

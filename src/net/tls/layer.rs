//! The bytes between a socket and what reads and writes plaintext.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use smallvec::SmallVec;

use super::TlsParts;
use crate::buffers::FreeBuffers;
use crate::net::Stream;
use crate::tls::record::{LONGEST, MOST};
use crate::tls::sessions::SessionTickets;
use crate::tls::{HandshakeFacts, OpenedRecord, RecordError, Records, TlsState};

thread_local! {
    static BUFFERS: FreeBuffers = const { FreeBuffers::new() };
}

/// The bytes between socket and application.
pub(super) struct Layer {
    keys: RecordKeys,
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
    /// The other end is a server.
    is_client: bool,
    error: Option<RecordError>,
}

/// How much plaintext one write takes: what a relay reads at once, and the frame heads of HTTP/2. Four records a write
/// left a segment of 140 bytes after each.
const AT_ONCE: usize = 9 * MOST;

/// The keys of a connection. Prepared ones are 1.2 KB more than what they are made of.
///
/// ```text
/// Parked ──a record──▶ Ready ──park──▶ Parked
///    └─the library fails─▶ Lost
/// ```
enum RecordKeys {
    Parked(Box<TlsState>),
    Ready(Box<Records>),
    Lost,
}

impl RecordKeys {
    fn ready(&mut self) -> Result<&mut Records, RecordError> {
        if matches!(self, Self::Parked(_))
            && let Self::Parked(state) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Ready(Box::new(Records::new(state)?));
        }
        match self {
            Self::Ready(records) => Ok(records),
            Self::Parked(_) | Self::Lost => Err(RecordError::Cryptography),
        }
    }

    fn into_state(self) -> Option<Box<TlsState>> {
        match self {
            Self::Parked(state) => Some(state),
            Self::Ready(records) => Some(records.park()),
            Self::Lost => None,
        }
    }

    /// How long the next record is, once that is known.
    fn record_length(&self, bytes: &[u8]) -> Result<Option<usize>, RecordError> {
        match self {
            Self::Parked(state) => state.record_length(bytes),
            Self::Ready(records) => records.state().record_length(bytes),
            Self::Lost => Err(RecordError::Cryptography),
        }
    }
}

impl Layer {
    pub(super) fn new(
        state: Box<TlsState>,
        received: BytesMut,
        plain: BytesMut,
        sealed: BytesMut,
        promised: usize,
    ) -> Self {
        let (has_ended, is_client, sealed) = (state.has_peer_closed(), state.is_client(), sealed.into());
        let keys = RecordKeys::Parked(state);
        Self { keys, received, plain, sealed, written: 0, promised, has_ended, resets: false, is_client, error: None }
    }

    /// None for a connection that has failed, or is to end with a reset.
    pub(super) fn take_parts(&mut self, facts: Arc<HandshakeFacts>) -> Option<TlsParts> {
        let keys = std::mem::replace(&mut self.keys, RecordKeys::Lost);
        if self.resets || self.error.is_some() {
            return None;
        }
        let (received, plain) = (std::mem::take(&mut self.received), std::mem::take(&mut self.plain));
        let (sealed, promised) = (self.sealed[self.written..].into(), self.promised);
        Some(TlsParts { state: keys.into_state()?, facts, received, plain, sealed, promised })
    }

    /// As the client: says that nothing more comes, if the socket takes that at once.
    pub(super) fn say_goodbye(&mut self, socket: &Stream) {
        if self.is_client && self.error.is_none() {
            let _ = self.close_notify(socket); // a server that is gone needs none
        }
    }

    /// What the server gives for later connections goes there.
    pub(super) fn give_tickets_to(&mut self, tickets: Box<SessionTickets>) {
        if let Ok(records) = self.keys.ready() {
            records.give_tickets_to(tickets);
        }
    }

    pub(super) fn park(&mut self) {
        if let Some(state) = std::mem::replace(&mut self.keys, RecordKeys::Lost).into_state() {
            self.keys = RecordKeys::Parked(state);
        }
        self.shrink();
    }

    /// An idle connection has no buffers.
    fn shrink(&mut self) {
        if self.received.is_empty() && self.plain.is_empty() {
            self.received = BytesMut::new();
            self.plain = BytesMut::new();
        }
    }

    /// Whether nothing lies here for a reader.
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.received.is_empty()
    }

    /// Whether there is nothing here but the keys.
    pub(super) fn is_at_rest(&self) -> bool {
        let is_going_on = !self.has_ended && !self.resets && self.error.is_none();
        self.is_empty() && self.sealed.is_empty() && self.promised == 0 && is_going_on
    }

    /// Gives plaintext to `take`, which says how much of it was taken.
    pub(super) fn take(&mut self, take: impl FnOnce(&[u8]) -> usize) -> usize {
        let taken = take(&self.plain);
        self.plain.advance(taken);
        taken
    }

    /// `WouldBlock` until the socket has taken all, close_notify too.
    pub(super) fn close_notify(&mut self, socket: &Stream) -> io::Result<()> {
        if self.resets {
            return Ok(());
        }
        if let Ok(records) = self.keys.ready() {
            records.close(&mut self.sealed);
        }
        self.flush(socket)
    }

    pub(super) fn resets(&mut self) {
        self.resets = true;
    }

    /// Whether reading gives something without the socket.
    pub(super) fn has_news(&self) -> bool {
        let next = self.keys.record_length(&self.received);
        let is_whole = next.map_or(true, |length| length.is_some_and(|length| length <= self.received.len()));
        !self.plain.is_empty() || self.has_ended || self.error.is_some() || is_whole
    }

    /// Makes sure that there is plaintext; without any, the client has ended its side.
    pub(super) fn fill(
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
                    if let Ok(records) = self.keys.ready() {
                        records.fail(error, &mut self.sealed);
                    }
                    let _ = self.flush(socket); // the connection ends, with its alert or without
                }
            }
        }
        Ok(())
    }

    /// Opens the next record; `false` when it has not come yet.
    fn open_next(&mut self) -> Result<bool, RecordError> {
        let Some(length) = self.keys.record_length(&self.received)?.filter(|length| *length <= self.received.len())
        else {
            return Ok(false);
        };
        let mut record = self.received.split_to(length);
        match self.keys.ready()?.open(&mut record, &mut self.sealed)? {
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
            // a response may end with its connection, and what cuts that short must not pass for its end (RFC 9112 §9.8)
            Ok(0) if self.is_client => return Err(io::ErrorKind::UnexpectedEof.into()),
            // a request does not, without close_notify too: HTTP tells by itself whether it is whole
            Ok(0) => self.has_ended = true,
            Ok(_) => {}
            Err(error) => {
                self.shrink();
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, socket: &Stream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(socket)?;
        let all = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.promised == 0 {
            if self.sealed.capacity() == 0 {
                self.sealed = BUFFERS.with(FreeBuffers::lend);
            }
            let mut room = AT_ONCE;
            let pieces: SmallVec<[IoSlice<'_>; 16]> = slices
                .iter()
                .map(|slice| {
                    let piece = &slice[..slice.len().min(room)];
                    room -= piece.len();
                    IoSlice::new(piece)
                })
                .collect();
            self.keys.ready().and_then(|records| records.seal(&pieces, &mut self.sealed)).map_err(io::Error::other)?;
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
        self.written = 0;
        if self.sealed.capacity() > 0 {
            let sealed = std::mem::take(&mut self.sealed);
            BUFFERS.with(|buffers| buffers.take_back(sealed));
        }
        Ok(())
    }
}

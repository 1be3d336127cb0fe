//! TLS records of an open connection, as its server or its client opens and seals them: no sockets, no handshake.
//!
//! rustls does the handshake and could do this too, but it cannot give a connection to another process. So there is one
//! kind of open TLS connection, whether it stays, waits without its keys prepared ([`Records::park`]) or moves.
//!
//! What ends a connection is a [`RecordError`], which knows its alert. [`Records::fail`] seals that.

#[cfg(debug_assertions)]
mod sealed_numbers;

use std::fmt;
use std::io::IoSlice;
use std::ops::Range;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use aws_lc_rs::error::Unspecified;
use smallvec::SmallVec;

use super::sessions::SessionTickets;
use super::state::{KeyUpdatePart, TlsState};
use super::suite::{Suite, Version};

/// The records of a connection, both directions.
pub struct Records {
    state: Box<TlsState>,
    opening: LessSafeKey,
    sealing: LessSafeKey,
    /// As the client: what takes the tickets of the server.
    tickets: Option<Box<SessionTickets>>,
}

/// What a record was.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenedRecord {
    /// Nothing for the application.
    Nothing,
    /// Data, which stands decrypted in this part of the record.
    Data(Range<usize>),
    /// The peer sends nothing more. What comes all the same is not looked at (RFC 8446 §6.1).
    Closed,
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A message that has no place after the handshake, or too many records without data.
    #[error("a TLS message that has no place here")]
    UnexpectedMessage,
    /// A record that was sealed under another key, or changed on the way.
    #[error("a TLS record that cannot be opened")]
    BadRecordMac,
    /// A record longer than TLS allows.
    #[error("a TLS record that is too long")]
    RecordOverflow,
    /// A message with a value that does not exist.
    #[error("a TLS message with a value that does not exist")]
    IllegalParameter,
    /// A message that cannot be read.
    #[error("a TLS message that cannot be read")]
    DecodeError,
    /// The peer sent a fatal alert (RFC 8446 §6).
    #[error("TLS alert {0} from the other end")]
    Alert(u8),
    /// TLS 1.2: the key has sealed as many records as it may, and there is no other. Or the connection was closed.
    #[error("no more TLS records can be sealed")]
    Exhausted,
    /// The library for cryptography failed.
    #[error("the library for cryptography failed")]
    Cryptography,
}

/// `ContentType`, RFC 8446 §5.1.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// The header of a record, in bytes.
pub const HEADER: usize = 5;
/// The most plaintext in one record, in bytes.
pub const MOST: usize = 1 << 14;
/// The most bytes of one record that any connection takes: header, plaintext, and the room for compression that TLS 1.2
/// allows, which the handshake still respects.
pub const LONGEST: usize = HEADER + MOST + 2048;
const TAG: usize = 16;
/// How many records in a row may bring no data, as BoringSSL and rustls have it: KeyUpdates, warnings, empty records.
const MOST_FRUITLESS: u8 = 32;

const FATAL: u8 = 2;
const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const NO_RENEGOTIATION: u8 = 100;
const KEY_UPDATE: u8 = 24;
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
/// The header of a handshake message, in bytes.
const MESSAGE_HEADER: usize = 4;

impl RecordError {
    /// The alert that tells the peer (RFC 8446 §6); none after an alert of the peer.
    #[must_use]
    pub fn alert(self) -> Option<u8> {
        match self {
            Self::UnexpectedMessage => Some(10),
            Self::BadRecordMac => Some(20),
            Self::RecordOverflow => Some(22),
            Self::IllegalParameter => Some(47),
            Self::DecodeError => Some(50),
            Self::Alert(_) => None,
            Self::Exhausted | Self::Cryptography => Some(80),
        }
    }
}

impl From<Unspecified> for RecordError {
    fn from(_: Unspecified) -> Self {
        Self::Cryptography
    }
}

impl Records {
    /// Goes on with a connection.
    ///
    /// # Errors
    /// When the library for cryptography does not take the keys. The connection is lost.
    pub fn new(state: Box<TlsState>) -> Result<Self, RecordError> {
        let opening = state.suite.prepare(&state.reading.key)?;
        let sealing = state.suite.prepare(&state.writing.key)?;
        Ok(Self { state, opening, sealing, tickets: None })
    }

    /// From now on what the server gives for later connections goes there.
    pub fn give_tickets_to(&mut self, tickets: Box<SessionTickets>) {
        self.tickets = Some(tickets);
    }

    /// Gives up the prepared keys, and keeps what they are made of.
    #[must_use]
    pub fn park(self) -> Box<TlsState> {
        self.state
    }

    /// What these records go on from.
    #[must_use]
    pub fn state(&self) -> &TlsState {
        &self.state
    }

    /// As [`TlsState::record_length`].
    ///
    /// # Errors
    /// When the header says that the record can't be opened.
    pub fn length(&self, bytes: &[u8]) -> Result<Option<usize>, RecordError> {
        self.state.record_length(bytes)
    }

    /// Opens one whole record, as long as [`Records::length`] says, in place. What has to be sent at once is appended to
    /// `out`.
    ///
    /// # Errors
    /// The connection has to end: [`Records::fail`].
    pub fn open(&mut self, record: &mut [u8], out: &mut Vec<u8>) -> Result<OpenedRecord, RecordError> {
        if self.state.peer_closed {
            return Ok(OpenedRecord::Closed);
        }
        if self.length(record)? != Some(record.len()) {
            return Err(RecordError::DecodeError);
        }
        let (kind, data) = match self.state.version {
            Version::Tls13 => self.open13(record)?,
            Version::Tls12 => self.open12(record)?,
        };
        if (self.state.message.length > 0 || self.state.ticket_left > 0) && kind != HANDSHAKE {
            return Err(RecordError::UnexpectedMessage); // RFC 8446 §5.1: nothing between the parts of a message
        }
        let opened = match (kind, data.is_empty()) {
            (DATA, false) => {
                self.state.fruitless = 0;
                return Ok(OpenedRecord::Data(data));
            }
            (DATA, true) => OpenedRecord::Nothing,
            (ALERT, false) => self.alert(&record[data])?,
            (HANDSHAKE, false) => self.handshake(&record[data], out)?,
            _ => return Err(RecordError::UnexpectedMessage),
        };
        self.state.fruitless = self.state.fruitless.saturating_add(1);
        match self.state.fruitless > MOST_FRUITLESS {
            true => Err(RecordError::UnexpectedMessage),
            false => Ok(opened),
        }
    }

    fn open13(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), RecordError> {
        let (header, body) = record.split_first_chunk_mut::<HEADER>().ok_or(RecordError::DecodeError)?;
        let (_, nonce) = self.state.reading.step().ok_or(RecordError::Exhausted)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self.opening.open_in_place(nonce, Aad::from(&*header), body);
        let plain = plain.map_err(|_| RecordError::BadRecordMac)?;
        // RFC 8446 §5.4: zeros after the type are padding
        let at = plain.iter().rposition(|&byte| byte != 0).ok_or(RecordError::UnexpectedMessage)?;
        Ok((plain[at], HEADER..HEADER + at))
    }

    fn open12(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), RecordError> {
        let explicit = self.state.explicit_nonce();
        let (header, body) = record.split_first_chunk_mut::<HEADER>().ok_or(RecordError::DecodeError)?;
        let length = body.len().checked_sub(explicit + TAG).ok_or(RecordError::BadRecordMac)?;
        let (sequence, mut nonce) = self.state.reading.step().ok_or(RecordError::Exhausted)?;
        let (said, body) = body.split_at_mut(explicit);
        if explicit > 0 {
            // RFC 5288 §3: salt, then what the peer says
            nonce = self.state.reading.iv;
            nonce[4..].copy_from_slice(said);
        }
        let aad = Aad::from(additional_data12(sequence, header[0], length));
        let plain = self.opening.open_in_place(Nonce::assume_unique_for_key(nonce), aad, body);
        plain.map_err(|_| RecordError::BadRecordMac)?;
        let start = HEADER + explicit;
        Ok((header[0], start..start + length))
    }

    fn alert(&mut self, message: &[u8]) -> Result<OpenedRecord, RecordError> {
        match *message {
            [_, CLOSE_NOTIFY] => {
                self.state.peer_closed = true;
                Ok(OpenedRecord::Closed)
            }
            [_, USER_CANCELED] => Ok(OpenedRecord::Nothing),
            [WARNING, _] if self.state.version == Version::Tls12 => Ok(OpenedRecord::Nothing),
            [_, alert] => Err(RecordError::Alert(alert)),
            _ => Err(RecordError::DecodeError),
        }
    }

    fn handshake(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<OpenedRecord, RecordError> {
        let renegotiates = if self.state.is_client { HELLO_REQUEST } else { CLIENT_HELLO };
        match (self.state.version, part) {
            (Version::Tls13, _) if self.state.is_client => self.messages_of_server(part),
            (Version::Tls13, _) => self.key_update(part),
            (Version::Tls12, [kind, ..]) if *kind == renegotiates && !self.state.refused_renegotiation => {
                self.state.refused_renegotiation = true;
                self.seal_record(ALERT, &[&[WARNING, NO_RENEGOTIATION]], out)?;
                Ok(OpenedRecord::Nothing)
            }
            (Version::Tls12, _) => Err(RecordError::UnexpectedMessage),
        }
    }

    /// Takes what a server sends after the handshake: tickets, whole or in parts, and a KeyUpdate (RFC 8446 §4.6).
    fn messages_of_server(&mut self, mut part: &[u8]) -> Result<OpenedRecord, RecordError> {
        while !part.is_empty() {
            if self.state.ticket_left > 0 {
                let length = part.len().min(self.state.ticket_left as usize);
                let (of_ticket, rest) = part.split_at(length);
                (part, self.state.ticket_left) = (rest, self.state.ticket_left - length as u32);
                if let Some(tickets) = &mut self.tickets {
                    tickets.take(of_ticket, self.state.ticket_left == 0);
                }
                continue;
            }
            let KeyUpdatePart { bytes, length } = &mut self.state.message;
            if (if *length > 0 { bytes[0] } else { part[0] }) != NEW_SESSION_TICKET {
                return self.key_update(part);
            }
            let have = usize::from(*length);
            let (header, rest) = part.split_at(part.len().min(MESSAGE_HEADER - have));
            bytes[have..have + header.len()].copy_from_slice(header);
            part = rest;
            *length += header.len() as u8;
            if usize::from(*length) == MESSAGE_HEADER {
                let [_, high, middle, low, _] = *bytes;
                self.state.message = KeyUpdatePart::default();
                self.state.ticket_left = u32::from_be_bytes([0, high, middle, low]);
                if self.state.ticket_left == 0 {
                    return Err(RecordError::DecodeError);
                }
            }
        }
        Ok(OpenedRecord::Nothing)
    }

    /// Takes a part of a KeyUpdate, mostly all of it. The message has to end its record, because the next one is under
    /// another key (RFC 8446 §5.1).
    fn key_update(&mut self, part: &[u8]) -> Result<OpenedRecord, RecordError> {
        let KeyUpdatePart { mut bytes, length } = self.state.message;
        let have = usize::from(length);
        let place = bytes.get_mut(have..have + part.len()).ok_or(RecordError::UnexpectedMessage)?;
        place.copy_from_slice(part);
        let have = have + part.len();
        self.state.message = match bytes {
            [kind, ..] if kind != KEY_UPDATE => return Err(RecordError::UnexpectedMessage),
            [_, high, middle, low, _] if have > 3 && [high, middle, low] != [0, 0, 1] => {
                return Err(RecordError::DecodeError);
            }
            [.., asked] if have == KeyUpdatePart::MOST => {
                match asked {
                    0 => {}
                    1 => self.state.owes_key_update = true,
                    _ => return Err(RecordError::IllegalParameter),
                }
                self.state.reading.update(self.state.suite)?;
                self.opening = self.state.suite.prepare(&self.state.reading.key)?;
                KeyUpdatePart::default()
            }
            bytes => KeyUpdatePart { bytes, length: have as u8 },
        };
        Ok(OpenedRecord::Nothing)
    }

    /// Appends the bytes of `slices` to `out` as records, as few as possible. Nothing of a slice that fills a record is
    /// copied.
    ///
    /// # Errors
    /// The connection has to end. `out` then holds whole records.
    pub fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let mut slices = slices.iter().map(|slice| &**slice);
        let mut rest: &[u8] = &[];
        loop {
            let (mut pieces, mut room) = (SmallVec::<[&[u8]; 4]>::new(), MOST);
            while room > 0 {
                if rest.is_empty() {
                    let Some(next) = slices.next() else { break };
                    rest = next;
                }
                let (piece, after) = rest.split_at(rest.len().min(room));
                rest = after;
                room -= piece.len();
                if !piece.is_empty() {
                    pieces.push(piece);
                }
            }
            if pieces.is_empty() {
                return Ok(());
            }
            self.settle(out)?;
            self.seal_record(DATA, &pieces, out)?;
        }
    }

    /// Seals close_notify: nothing more is sent. Does nothing the second time.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.last_alert(WARNING, CLOSE_NOTIFY, out);
    }

    /// Seals the alert of `error`, if it has one: nothing more is sent.
    pub fn fail(&mut self, error: RecordError, out: &mut Vec<u8>) {
        match error.alert() {
            Some(alert) => self.last_alert(FATAL, alert, out),
            None => self.state.closed = true,
        }
    }

    fn last_alert(&mut self, level: u8, alert: u8, out: &mut Vec<u8>) {
        if !self.state.closed {
            // without its last alert a connection ends all the same
            let _ = self.seal_record(ALERT, &[&[level, alert]], out);
            self.state.closed = true;
        }
    }

    /// Seals a KeyUpdate before the next data, where the peer asked for it or the key has sealed enough.
    fn settle(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let is_due = self.state.writing.sequence >= self.state.suite.most_records();
        match self.state.version {
            Version::Tls13 if is_due || self.state.owes_key_update => {
                self.seal_record(HANDSHAKE, &[&[KEY_UPDATE, 0, 0, 1, 0]], out)?;
                self.state.owes_key_update = false;
                self.state.writing.update(self.state.suite)?;
                self.sealing = self.state.suite.prepare(&self.state.writing.key)?;
                Ok(())
            }
            Version::Tls12 if is_due => Err(RecordError::Exhausted),
            _ => Ok(()),
        }
    }

    /// Seals one record. Its number is used up even when that fails.
    fn seal_record(&mut self, kind: u8, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<(), RecordError> {
        if self.state.closed {
            return Err(RecordError::Exhausted);
        }
        let (sequence, nonce) = self.state.writing.step().ok_or(RecordError::Exhausted)?;
        #[cfg(debug_assertions)]
        sealed_numbers::note(&self.state.writing.key, &self.state.writing.iv, sequence);
        let start = out.len();
        let sealed = self.seal_with(kind, pieces, (sequence, nonce), out);
        if sealed.is_err() {
            out.truncate(start);
        }
        Ok(sealed?)
    }

    fn seal_with(
        &self,
        kind: u8,
        pieces: &[&[u8]],
        (sequence, nonce): (u64, [u8; 12]),
        out: &mut Vec<u8>,
    ) -> Result<(), Unspecified> {
        let plain = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        // TLS 1.2 with AES-GCM: the nonce is that of the iv and the number, as rustls has it, and its last 8 bytes are said
        let said = &nonce[nonce.len() - self.state.explicit_nonce()..];
        let (outer, inner): (u8, &[u8]) = match self.state.version {
            Version::Tls13 => (DATA, &[kind]),
            Version::Tls12 => (kind, &[]),
        };
        let length = said.len() + plain + inner.len() + TAG;
        let [high, low] = u16::try_from(length).map_err(|_| Unspecified)?.to_be_bytes();
        let header = [outer, 3, 3, high, low];
        out.reserve(HEADER + length);
        out.extend_from_slice(&header);
        out.extend_from_slice(said);
        let start = out.len();
        let data12;
        let aad = Aad::from(match self.state.version {
            Version::Tls13 => &header[..],
            Version::Tls12 => {
                data12 = additional_data12(sequence, kind, plain);
                &data12
            }
        });
        let nonce = Nonce::assume_unique_for_key(nonce);
        if let [piece] = pieces {
            out.resize(start + plain + inner.len() + TAG, 0);
            let (cipher, rest) = out[start..].split_at_mut(plain);
            return self.sealing.seal_out_of_place_scatter(nonce, aad, piece, cipher, inner, rest);
        }
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        out.extend_from_slice(inner);
        let tag = self.sealing.seal_in_place_separate_tag(nonce, aad, &mut out[start..])?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }
}

impl TlsState {
    /// How long the record at the start of `bytes` is, with its header; none when the header is not there yet.
    ///
    /// # Errors
    /// When the header says that the record can't be opened.
    pub fn record_length(&self, bytes: &[u8]) -> Result<Option<usize>, RecordError> {
        let &[kind, major, _, high, low, ..] = bytes else { return Ok(None) };
        if major != 3 {
            return Err(RecordError::DecodeError);
        }
        let (is_expected, overhead) = match self.version {
            // a record in plaintext and ChangeCipherSpec have no place after the handshake
            Version::Tls13 => (kind == DATA, 1 + TAG),
            Version::Tls12 => (matches!(kind, ALERT | HANDSHAKE | DATA), self.explicit_nonce() + TAG),
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        match () {
            () if !is_expected => Err(RecordError::UnexpectedMessage),
            () if length > MOST + overhead => Err(RecordError::RecordOverflow),
            () => Ok(Some(HEADER + length)),
        }
    }

    /// How many bytes of the nonce stand in a record: RFC 5288 §3.
    fn explicit_nonce(&self) -> usize {
        match (self.version, self.suite) {
            (Version::Tls12, Suite::Aes128Gcm | Suite::Aes256Gcm) => 8,
            _ => 0,
        }
    }
}

/// RFC 5246 §6.2.3.3.
fn additional_data12(sequence: u64, kind: u8, length: usize) -> [u8; 13] {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&sequence.to_be_bytes());
    let [high, low] = (length as u16).to_be_bytes(); // the callers' lengths come from a u16, or are bounded by one
    data[8..].copy_from_slice(&[kind, 3, 3, high, low]);
    data
}

impl fmt::Debug for Records {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Records").field(&self.state).finish()
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

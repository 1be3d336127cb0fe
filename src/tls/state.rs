//! The state of an open TLS connection as plain data: all that is needed to go on with it, here or in another process.
//!
//! What has the state may seal records, and a record number that is used twice under one key gives the key for
//! authentication away (AES-GCM). So there is one state of each connection: it is not `Clone`, [`Records::new`] consumes it
//! and [`Records::park`] gives it back. The state stands in a box from the start, because a value that moves
//! leaves copies on the stack, and it is wiped when dropped.
//!
//! [`Records::new`]: super::Records::new
//! [`Records::park`]: super::Records::park

use std::fmt;

use aws_lc_rs::error::Unspecified;
use zeroize::{Zeroize, Zeroizing};

use super::suite::{IV, KEY, SECRET, Suite, Version};

/// An open connection. Its `Debug` shows nothing secret.
pub struct TlsState {
    pub(super) version: Version,
    pub(super) suite: Suite,
    /// The peer asked for a KeyUpdate, and has not got one.
    pub(super) owes_key_update: bool,
    /// The peer has sent close_notify.
    pub(super) peer_closed: bool,
    /// A close_notify or a fatal alert was sealed: nothing may follow.
    pub(super) closed: bool,
    /// TLS 1.2: a renegotiation was refused. Another one ends the connection.
    pub(super) refused_renegotiation: bool,
    /// Records in a row that brought no data: the bound on them holds over moves too.
    pub(super) fruitless: u8,
    /// This side is the client.
    pub(super) is_client: bool,
    /// TLS 1.3, as the client: bytes that are still to come of a NewSessionTicket in several records.
    pub(super) ticket_left: u32,
    /// TLS 1.3: the first bytes of a KeyUpdate that came in several records.
    pub(super) message: KeyUpdatePart,
    /// What the peer seals.
    pub(super) reading: DirectionKeys,
    /// What is sealed here.
    pub(super) writing: DirectionKeys,
}

/// The keys of one direction. TLS 1.3: key and iv follow from the secret, and are kept beside it because they cost
/// HKDF twice. TLS 1.2: the secret is all zeros.
pub(super) struct DirectionKeys {
    pub(super) sequence: u64,
    pub(super) secret: [u8; SECRET],
    pub(super) key: [u8; KEY],
    pub(super) iv: [u8; IV],
}

/// A handshake message as far as it has come.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct KeyUpdatePart {
    pub(super) bytes: [u8; Self::MOST],
    pub(super) length: u8,
}

impl KeyUpdatePart {
    /// A whole KeyUpdate (RFC 8446 §4.6.3).
    pub(super) const MOST: usize = 5;
}

/// The first byte of a state as bytes: another one is refused.
const FORMAT: u8 = 1;
const OWES_KEY_UPDATE: u8 = 1;
const PEER_CLOSED: u8 = 2;
const CLOSED: u8 = 4;
const REFUSED_RENEGOTIATION: u8 = 8;
const IS_CLIENT: u8 = 16;
/// What stands in the place of a KeyUpdate is [`TlsState::ticket_left`].
const INSIDE_TICKET: u8 = 32;
const ALL_FLAGS: u8 = 63;
pub(super) const HEAD: usize = 12;
/// A record number, in bytes.
pub(super) const SEQUENCE: usize = 8;
pub(super) const DIRECTION: usize = SEQUENCE + SECRET + KEY + IV;

impl TlsState {
    /// How long a state is as bytes.
    pub const LENGTH: usize = HEAD + 2 * DIRECTION;

    pub(super) fn new(version: Version, suite: Suite) -> Box<Self> {
        Box::new(Self {
            version,
            suite,
            owes_key_update: false,
            peer_closed: false,
            closed: false,
            refused_renegotiation: false,
            fruitless: 0,
            is_client: false,
            ticket_left: 0,
            message: KeyUpdatePart::default(),
            reading: DirectionKeys::empty(),
            writing: DirectionKeys::empty(),
        })
    }

    /// The state of a connection that never had a handshake: both directions have keys made of this byte.
    #[cfg(test)]
    pub(crate) fn stand_in(version: Version, suite: Suite, byte: u8) -> Box<Self> {
        let mut state = Self::new(version, suite);
        let TlsState { reading, writing, .. } = &mut *state;
        for (direction, add) in [(reading, 0), (writing, 1)] {
            let mut secret = [0; SECRET];
            secret[..suite.secret_length()].fill(byte.wrapping_add(add));
            direction.set_secret(suite, &secret, 7).expect("expanded");
            if version == Version::Tls12 {
                direction.secret = [0; SECRET];
            }
        }
        state
    }

    /// TLS 1.3: makes key and iv of each direction of its traffic secret.
    pub(super) fn derive_keys(&mut self) -> Result<(), Unspecified> {
        if self.version == Version::Tls13 {
            for direction in [&mut self.reading, &mut self.writing] {
                let secret = Zeroizing::new(direction.secret);
                direction.set_secret(self.suite, &secret, direction.sequence)?;
            }
        }
        Ok(())
    }

    /// The version that the handshake agreed on.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The suite that the handshake agreed on.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Whether this side is the client.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.is_client
    }

    /// Whether the peer has said that it sends nothing more.
    #[must_use]
    pub fn has_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Writes the state for another process. The caller wipes `out`, and drops this state once the other process owns
    /// the connection.
    pub fn write(&self, out: &mut [u8; Self::LENGTH]) {
        let flags = [
            (self.owes_key_update, OWES_KEY_UPDATE),
            (self.peer_closed, PEER_CLOSED),
            (self.closed, CLOSED),
            (self.refused_renegotiation, REFUSED_RENEGOTIATION),
            (self.is_client, IS_CLIENT),
            (self.ticket_left > 0, INSIDE_TICKET),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
        out[..6].copy_from_slice(&[
            FORMAT,
            version_code(self.version),
            suite_code(self.suite),
            flags,
            self.fruitless,
            self.message.length,
        ]);
        out[6..6 + KeyUpdatePart::MOST].copy_from_slice(&self.message.bytes);
        if self.ticket_left > 0 {
            out[6..10].copy_from_slice(&self.ticket_left.to_be_bytes()); // no message begins inside another one
        }
        out[6 + KeyUpdatePart::MOST..HEAD].fill(0);
        let (reading, writing) = out[HEAD..].split_at_mut(DIRECTION);
        self.reading.write(reading);
        self.writing.write(writing);
    }

    /// Reads what another process wrote. None when the bytes are no state that this program knows.
    #[must_use]
    pub fn read(bytes: &[u8; Self::LENGTH]) -> Option<Box<Self>> {
        let [FORMAT, version, suite, flags, fruitless, length, ref rest @ ..] = *bytes else { return None };
        let version = [Version::Tls12, Version::Tls13].into_iter().find(|one| version_code(*one) == version)?;
        let suites = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Chacha20Poly1305];
        let suite = suites.into_iter().find(|one| suite_code(*one) == suite)?;
        if flags & !ALL_FLAGS != 0 || usize::from(length) >= KeyUpdatePart::MOST {
            return None;
        }
        let mut state = Self::new(version, suite);
        state.owes_key_update = flags & OWES_KEY_UPDATE != 0;
        state.peer_closed = flags & PEER_CLOSED != 0;
        state.closed = flags & CLOSED != 0;
        state.refused_renegotiation = flags & REFUSED_RENEGOTIATION != 0;
        state.fruitless = fruitless;
        state.message.length = length;
        state.is_client = flags & IS_CLIENT != 0;
        if flags & INSIDE_TICKET != 0 {
            state.ticket_left = u32::from_be_bytes(*rest.first_chunk()?);
            let is_possible = state.is_client && (1..1 << 24).contains(&state.ticket_left) && length == 0;
            is_possible.then_some(())?;
        } else {
            state.message.bytes.copy_from_slice(&rest[..KeyUpdatePart::MOST]);
        }
        let (reading, writing) = bytes[HEAD..].split_at(DIRECTION);
        state.reading.read(reading);
        state.writing.read(writing);
        Some(state)
    }
}

fn version_code(version: Version) -> u8 {
    match version {
        Version::Tls12 => 2,
        Version::Tls13 => 3,
    }
}

fn suite_code(suite: Suite) -> u8 {
    match suite {
        Suite::Aes128Gcm => 1,
        Suite::Aes256Gcm => 2,
        Suite::Chacha20Poly1305 => 3,
    }
}

impl DirectionKeys {
    fn empty() -> Self {
        Self { sequence: 0, secret: [0; SECRET], key: [0; KEY], iv: [0; IV] }
    }

    /// Sets the traffic secret of TLS 1.3, and key and iv that follow from it.
    pub(super) fn set_secret(&mut self, suite: Suite, secret: &[u8; SECRET], sequence: u64) -> Result<(), Unspecified> {
        let (key, iv) = suite.expand(secret)?;
        self.secret.copy_from_slice(secret);
        self.key.copy_from_slice(&*key);
        self.iv.copy_from_slice(&*iv);
        self.sequence = sequence;
        Ok(())
    }

    /// TLS 1.3: goes on to the next traffic secret (RFC 8446 §7.2). Records are counted from 0 again.
    pub(super) fn update(&mut self, suite: Suite) -> Result<(), Unspecified> {
        let next = suite.next(&self.secret)?;
        self.set_secret(suite, &next, 0)
    }

    /// Uses up a record number: the number, and iv XOR number. None when all are used up.
    pub(super) fn step(&mut self) -> Option<(u64, [u8; IV])> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1)?;
        let mut nonce = self.iv;
        nonce[IV - 8..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, other)| *byte ^= other);
        Some((sequence, nonce))
    }

    fn write(&self, out: &mut [u8]) {
        let parts: [&[u8]; 4] = [&self.sequence.to_be_bytes(), &self.secret, &self.key, &self.iv];
        let mut rest = out;
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut sequence = [0; 8];
        let parts: [&mut [u8]; 4] = [&mut sequence, &mut self.secret, &mut self.key, &mut self.iv];
        let mut rest = bytes;
        for part in parts {
            let (here, after) = rest.split_at(part.len());
            part.copy_from_slice(here);
            rest = after;
        }
        self.sequence = u64::from_be_bytes(sequence);
    }
}

impl Drop for DirectionKeys {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl fmt::Debug for TlsState {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("TlsState")
            .field("version", &self.version)
            .field("suite", &self.suite)
            .field("read", &self.reading.sequence)
            .field("written", &self.writing.sequence)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Box<TlsState> {
        let mut state = TlsState::new(Version::Tls13, Suite::Aes256Gcm);
        let secret: [u8; SECRET] = std::array::from_fn(|at| at as u8 + 1);
        state.reading.set_secret(Suite::Aes256Gcm, &secret, 7).expect("expanded");
        state.writing.set_secret(Suite::Aes256Gcm, &[9; SECRET], u64::MAX).expect("expanded");
        state.owes_key_update = true;
        state.refused_renegotiation = true;
        state.fruitless = 31;
        state.message = KeyUpdatePart { bytes: [24, 0, 0, 0, 0], length: 3 };
        state
    }

    #[test]
    fn a_state_is_the_same_after_it_was_bytes() {
        let (mut first, mut second) = ([0; TlsState::LENGTH], [0; TlsState::LENGTH]);
        state().write(&mut first);
        let read = TlsState::read(&first).expect("a state");
        assert!(read.owes_key_update && read.refused_renegotiation && !read.closed && !read.peer_closed);
        assert_eq!((read.fruitless, read.message.length, read.reading.sequence), (31, 3, 7));
        read.write(&mut second);
        assert_eq!(first, second);
    }

    #[test]
    fn a_state_that_this_program_does_not_know_is_refused() {
        let mut bytes = [0; TlsState::LENGTH];
        state().write(&mut bytes);
        for (at, wrong) in [(0, 2), (1, 4), (1, 0), (2, 0), (2, 4), (3, 64), (3, 32), (5, 5), (5, 255)] {
            let mut changed = bytes;
            changed[at] = wrong;
            assert!(TlsState::read(&changed).is_none(), "byte {at} is {wrong}");
        }
    }

    #[test]
    fn a_client_inside_a_ticket_is_so_after_it_was_bytes() {
        let mut state = TlsState::new(Version::Tls13, Suite::Aes128Gcm);
        (state.is_client, state.ticket_left) = (true, 70_000);
        let mut bytes = [0; TlsState::LENGTH];
        state.write(&mut bytes);
        let read = TlsState::read(&bytes).expect("a state");
        assert_eq!((read.is_client, read.ticket_left, read.message.length), (true, 70_000, 0));
        for wrong in [[0; 4], [1, 0, 0, 0]] {
            bytes[6..10].copy_from_slice(&wrong);
            assert!(TlsState::read(&bytes).is_none());
        }
    }

    #[test]
    fn the_last_record_number_is_never_used() {
        assert!(state().writing.step().is_none());
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let shown = format!("{:?}", state());
        assert_eq!(
            shown,
            format!("TlsState {{ version: Tls13, suite: Aes256Gcm, read: 7, written: {}, .. }}", u64::MAX)
        );
    }
}

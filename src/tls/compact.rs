//! The TLS state of a connection that is dormant: as few bytes as it can be made of again.
//!
//! With TLS 1.3 keys and ivs follow from the traffic secrets, and cost HKDF four times on the way back. With TLS 1.2
//! there are no such secrets. A secret or a key is as long here as its suite has it.

use std::fmt;
use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

use super::record::RecordError;
use super::state::{DIRECTION, HEAD, SEQUENCE, TlsState};
use super::suite::{IV, KEY, SECRET, Version};

/// A state without what follows from the rest; wiped when dropped.
pub struct CompactTlsState(Box<[u8]>);

impl CompactTlsState {
    /// Of a state, which nothing goes on with.
    #[must_use]
    pub fn new(state: &TlsState) -> Self {
        let mut bytes = Zeroizing::new([0; TlsState::LENGTH]);
        state.write(&mut bytes);
        // of the right length from the start: a vector that grows leaves copies
        let mut compact = Vec::with_capacity(kept(state).map(|range| range.len()).sum());
        kept(state).for_each(|range| compact.extend_from_slice(&bytes[range]));
        Self(compact.into_boxed_slice())
    }

    /// The state again.
    ///
    /// # Errors
    /// When the library for cryptography fails. The connection is lost.
    pub fn expand(self) -> Result<Box<TlsState>, RecordError> {
        let mut bytes = Zeroizing::new([0; TlsState::LENGTH]);
        bytes[..HEAD].copy_from_slice(&self.0[..HEAD]);
        let head = TlsState::read(&bytes).ok_or(RecordError::Cryptography)?; // what it says tells where the rest belongs
        let mut rest = &self.0[..];
        for range in kept(&head) {
            let (here, after) = rest.split_at_checked(range.len()).ok_or(RecordError::Cryptography)?;
            bytes[range].copy_from_slice(here);
            rest = after;
        }
        let mut state = TlsState::read(&bytes).ok_or(RecordError::Cryptography)?;
        state.derive_keys()?;
        Ok(state)
    }
}

/// Which of the bytes of a state are kept.
fn kept(state: &TlsState) -> impl Iterator<Item = Range<usize>> + use<> {
    let (secret, key) = match state.version() {
        Version::Tls13 => (state.suite().secret_length(), None),
        Version::Tls12 => (0, Some(state.suite().key_length())),
    };
    let of_direction = move |start: usize| {
        let secrets = start + SEQUENCE;
        let keys = secrets + SECRET;
        let of_keys = key.map(|key| [keys..keys + key, keys + KEY..keys + KEY + IV]);
        [start..secrets, secrets..secrets + secret].into_iter().chain(of_keys.into_iter().flatten())
    };
    std::iter::once(0..HEAD).chain([HEAD, HEAD + DIRECTION].into_iter().flat_map(of_direction))
}

impl Drop for CompactTlsState {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for CompactTlsState {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("CompactTlsState").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::suite::Suite;

    #[test]
    fn a_state_is_the_same_after_it_was_compact() {
        for (version, suite, length) in [
            (Version::Tls13, Suite::Aes128Gcm, 92),
            (Version::Tls13, Suite::Aes256Gcm, 124),
            (Version::Tls13, Suite::Chacha20Poly1305, 92),
            (Version::Tls12, Suite::Aes128Gcm, 84),
            (Version::Tls12, Suite::Aes256Gcm, 116),
        ] {
            let state = TlsState::stand_in(version, suite, 5);
            let (mut before, mut after) = ([0; TlsState::LENGTH], [0; TlsState::LENGTH]);
            state.write(&mut before);
            let compact = CompactTlsState::new(&state);
            assert_eq!(compact.0.len(), length, "{version:?} {suite:?}");
            compact.expand().expect("expanded").write(&mut after);
            assert_eq!(before, after, "{version:?} {suite:?}");
        }
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let state = TlsState::stand_in(Version::Tls13, Suite::Aes128Gcm, 5);
        assert_eq!(format!("{:?}", CompactTlsState::new(&state)), "CompactTlsState { .. }");
    }
}

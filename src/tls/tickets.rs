//! Session tickets (RFC 8446 §4.6.1, RFC 5077) under keys from outside, so that all generations, and several machines, open each other's.
//!
//! A ticket is the name of its key, a random nonce, and what rustls put in, sealed with AES-256-GCM. One key seals, all of
//! them open. A key opens for [`LEAD`] before it seals: by then each generation has it, also one that began in the moment in
//! which it was made. A key lets its holder read what was sent over connections that were resumed with TLS 1.2, so keys live
//! for two lifetimes of a ticket and are wiped.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use super::client_verifier::ClientVerifier;
use zeroize::{Zeroize, Zeroizing};

/// The keys, newest first. What has them may read and make tickets; wiped when dropped.
#[derive(Default)]
pub struct TicketKeys(Vec<TicketKey>);

struct TicketKey {
    name: [u8; NAME],
    key: Zeroizing<[u8; KEY]>,
    /// Seconds since 1970 at which the key was made.
    made: u64,
}

const NAME: usize = 16;
const KEY: usize = 32;
const NONCE: usize = 12;
/// How long a ticket can be used.
pub const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a key opens before it seals.
const LEAD: Duration = Duration::from_secs(60 * 60);
/// How many keys are kept at most: more cost time for each ticket with an unknown name, and come from nothing but a clock
/// that jumps.
const MOST_KEYS: usize = 8;

impl TicketKeys {
    /// How long one key is as bytes.
    pub const KEY_LENGTH: usize = NAME + KEY + 8;

    /// The keys after `now`: one is younger than a ticket's lifetime, and keys are dropped that no ticket can need. Whether
    /// anything changed.
    ///
    /// # Errors
    /// When the kernel gives no random bytes. The keys are as before then.
    pub fn rotate(&mut self, now: SystemTime) -> Result<bool, Unspecified> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // a key of the future is from a clock that was set back
        let age = |key: &TicketKey| now.saturating_sub(key.made);
        let before = self.0.len();
        let is_due = self.0.first().is_none_or(|newest| age(newest) >= LIFETIME.as_secs());
        if is_due {
            self.0.insert(0, TicketKey::random(now)?);
        }
        self.0.retain(|key| age(key) < (2 * LIFETIME + LEAD).as_secs());
        self.0.truncate(MOST_KEYS);
        Ok(is_due || self.0.len() != before)
    }

    /// Which of the keys seals at `now`: the newest that every process has by now, else the oldest.
    #[must_use]
    pub fn sealing(&self, now: SystemTime) -> usize {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let is_known = |key: &TicketKey| now.saturating_sub(key.made) >= LEAD.as_secs();
        self.0.iter().position(is_known).unwrap_or(self.0.len().saturating_sub(1))
    }

    /// The keys for another process. The caller must not log them or keep them in a file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.0.len() * Self::KEY_LENGTH));
        for key in &self.0 {
            bytes.extend_from_slice(&key.name);
            bytes.extend_from_slice(&*key.key);
            bytes.extend_from_slice(&key.made.to_be_bytes());
        }
        bytes
    }

    /// The keys that another process had. None when the bytes are not those of keys.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<{ Self::KEY_LENGTH }>();
        if !rest.is_empty() || keys.len() > MOST_KEYS {
            return None;
        }
        let keys = keys.iter().map(|bytes| {
            let (name, rest) = bytes.split_first_chunk::<NAME>()?;
            let (key, made) = rest.split_first_chunk::<KEY>()?;
            let mut place = Zeroizing::new([0; KEY]);
            place.copy_from_slice(key);
            Some(TicketKey { name: *name, key: place, made: u64::from_be_bytes(made.try_into().ok()?) })
        });
        keys.collect::<Option<_>>().map(Self)
    }
}

impl TicketKey {
    fn random(made: u64) -> Result<Self, Unspecified> {
        let (mut name, mut key) = ([0; NAME], Zeroizing::new([0; KEY]));
        rand::fill(&mut name)?;
        rand::fill(&mut *key)?;
        Ok(Self { name, key, made })
    }

    fn prepare(&self) -> Result<PreparedKey, Unspecified> {
        Ok(PreparedKey { name: self.name, key: RandomizedNonceKey::new(&AES_256_GCM, &*self.key)? })
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "TicketKeys({})", self.0.len())
    }
}

/// Makes and reads tickets, for all threads of a worker.
#[derive(Default)]
pub struct Tickets(RwLock<PreparedKeys>);

#[derive(Default)]
struct PreparedKeys {
    keys: Vec<PreparedKey>,
    /// The index of the one that seals.
    sealing: usize,
}

struct PreparedKey {
    name: [u8; NAME],
    key: RandomizedNonceKey,
}

impl Tickets {
    /// Goes on with these keys. Without any, no tickets are made.
    ///
    /// # Errors
    /// When the library for cryptography does not take the keys. They are as before then.
    pub fn set(&self, keys: &TicketKeys, now: SystemTime) -> Result<(), Unspecified> {
        let prepared = keys.0.iter().map(TicketKey::prepare).collect::<Result<_, _>>()?;
        let prepared = PreparedKeys { keys: prepared, sealing: keys.sealing(now) };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = prepared;
        Ok(())
    }
}

impl Tickets {
    /// Seals a session. Only the same `context` opens it.
    fn seal(&self, plain: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let PreparedKeys { keys, sealing } = &*self.0.read().unwrap_or_else(PoisonError::into_inner);
        let PreparedKey { name, key } = keys.get(*sealing)?;
        let mut sealed = plain.to_vec();
        let nonce = match key.seal_in_place_append_tag(Aad::from([name, context].concat()), &mut sealed) {
            Ok(nonce) => nonce,
            Err(Unspecified) => {
                sealed.zeroize();
                return None;
            }
        };
        Some([&name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let PreparedKey { key, .. } = keys.keys.iter().find(|key| key.name == *name)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::from([name, context].concat()), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, b"")
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, b"")
    }
}

/// Tickets for the clients of a site that show certificates. rustls takes what a ticket says of a client without another
/// look at its certificate, so a ticket counts under the rules alone under which it was made.
#[derive(Debug)]
pub struct SiteTickets {
    /// What seals.
    pub tickets: Arc<Tickets>,
    /// Whose rules count.
    pub verifier: Arc<ClientVerifier>,
}

impl SiteTickets {
    fn context(&self) -> [u8; 9] {
        let mut context = [0; 9];
        context[0] = u8::from(self.verifier.is_required());
        context[1..].copy_from_slice(&self.verifier.number().to_be_bytes());
        context
    }
}

impl ProducesTickets for SiteTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(plain, &self.context())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open(ticket, &self.context())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Tickets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((1_000_000 + hours) * 3600)
    }

    fn prepared(keys: &TicketKeys, now: SystemTime) -> Tickets {
        let tickets = Tickets::default();
        tickets.set(keys, now).expect("keys");
        tickets
    }

    #[test]
    fn a_ticket_opens_until_its_lifetime_is_over_and_not_for_ever() {
        let mut keys = TicketKeys::default();
        assert!(keys.rotate(at(0)).expect("random"));
        let tickets = prepared(&keys, at(0));
        let ticket = tickets.encrypt(b"a session").expect("sealed");
        for hours in [11, 12, 13, 24] {
            keys.rotate(at(hours)).expect("random");
            tickets.set(&keys, at(hours)).expect("keys");
            assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"a session"[..]), "after {hours} hours");
        }
        let younger = tickets.encrypt(b"another").expect("sealed");
        keys.rotate(at(25)).expect("random");
        tickets.set(&keys, at(25)).expect("keys");
        assert_eq!(tickets.decrypt(&ticket), None);
        assert_eq!(tickets.decrypt(&younger).as_deref(), Some(&b"another"[..]));
    }

    #[test]
    fn keys_change_once_in_a_lifetime_and_are_few() {
        let mut keys = TicketKeys::default();
        let changed: Vec<u64> = (0..48).filter(|&hours| keys.rotate(at(hours)).expect("random")).collect();
        assert_eq!(changed, [0, 12, 24, 25, 36, 37], "one is made, or one is dropped");
        assert_eq!(keys.0.len(), 2);
        // a clock that is set back, and one that jumps
        assert!(!keys.rotate(at(0)).expect("random"));
        assert!(keys.rotate(at(1000)).expect("random"));
        assert_eq!(keys.0.len(), 1);
    }

    #[test]
    fn a_key_opens_for_an_hour_before_it_seals_so_that_a_process_that_has_it_late_is_asked_for_none_it_has_not() {
        let mut keys = TicketKeys::default();
        keys.rotate(at(0)).expect("random");
        let late = TicketKeys::from_bytes(&keys.to_bytes()).expect("keys");
        keys.rotate(at(12)).expect("random");
        let ticket = |hours| prepared(&keys, at(hours)).encrypt(b"a session").expect("sealed");
        assert!(prepared(&late, at(12)).decrypt(&ticket(12)).is_some());
        assert!(prepared(&late, at(12)).decrypt(&ticket(13)).is_none());
        assert!(prepared(&keys, at(12)).decrypt(&ticket(13)).is_some());
    }

    #[test]
    fn another_process_with_the_keys_opens_the_tickets() {
        let mut keys = TicketKeys::default();
        keys.rotate(at(0)).expect("random");
        keys.rotate(at(12)).expect("random");
        let bytes = keys.to_bytes();
        assert_eq!(bytes.len(), 2 * TicketKeys::KEY_LENGTH);
        let ticket = prepared(&keys, at(12)).encrypt(b"a session").expect("sealed");
        let other = prepared(&TicketKeys::from_bytes(&bytes).expect("keys"), at(13));
        assert_eq!(other.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert!(TicketKeys::from_bytes(&bytes[1..]).is_none());
        assert!(TicketKeys::from_bytes(&[0; 9 * TicketKeys::KEY_LENGTH]).is_none());
    }

    #[test]
    fn a_ticket_that_was_changed_or_cut_is_no_ticket() {
        let mut keys = TicketKeys::default();
        keys.rotate(at(0)).expect("random");
        let tickets = prepared(&keys, at(0));
        let ticket = tickets.encrypt(b"a session").expect("sealed");
        for length in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..length]), None, "{length} bytes");
            let mut changed = ticket.clone();
            changed[length] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {length}");
        }
    }

    #[test]
    fn without_a_key_no_ticket_is_made() {
        assert_eq!(Tickets::default().encrypt(b"a session"), None);
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let mut keys = TicketKeys::default();
        keys.rotate(at(0)).expect("random");
        assert_eq!(format!("{keys:?} {:?}", prepared(&keys, at(0))), "TicketKeys(1) Tickets");
    }
}

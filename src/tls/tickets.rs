//! Session tickets (RFC 8446 §4.6.1, RFC 5077) under keys from outside, so that all generations, and several machines, open each other's.
//!
//! A ticket is the name of its key, a random nonce, and what rustls put in, sealed with AES-256-GCM. One key seals, all of
//! them open. A key opens for [`LEAD`] before it seals: by then each generation has it, also one that began in the moment in
//! which it was made. A key lets its holder read what was sent over connections that were resumed with TLS 1.2, so keys live
//! for two lifetimes of a ticket and are wiped.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use base64ct::{Base64, Encoding};
use rustls::server::ProducesTickets;

use super::client_verifier::ClientVerifier;
use zeroize::{Zeroize, Zeroizing};

/// The keys, newest first. What has them may read and make tickets; wiped when dropped.
#[derive(Default)]
pub struct TicketKeys {
    keys: Vec<TicketKey>,
    /// The index of the one that seals, of keys that an operator changes; else their age says which it is.
    sealing: Option<usize>,
}

struct TicketKey {
    name: [u8; NAME],
    key: Zeroizing<[u8; KEY]>,
    /// Seconds since 1970 at which the key was made.
    made: u64,
}

/// Why there are no keys in a file.
#[derive(Debug, thiserror::Error)]
pub enum TicketKeysError {
    /// The system does not give it.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// There is none.
    #[error("there is no key in it; \"openssl rand -base64 48\" writes one")]
    None,
    /// A line that is no key; counted from 1.
    #[error("line {0} is no key: it has to be 48 or 80 bytes as base64, as \"openssl rand -base64 48\" writes them")]
    Line(usize),
}

/// The lengths of a key in a file: the name, then what the key is made of. Their halves are for AES and HMAC elsewhere.
const LENGTHS: [usize; 2] = [80, 48];
/// A file that is longer is none of keys.
const LONGEST_FILE: u64 = 16 << 10;
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

    /// The keys in a file that several machines share, as HAProxy's `tls-ticket-keys` and nginx's
    /// `ssl_session_ticket_key` have it.
    ///
    /// # Errors
    /// When there are none in it.
    pub fn load(file: &Path) -> Result<Self, TicketKeysError> {
        let about = std::fs::metadata(file)?;
        if !about.is_file() || about.len() > LONGEST_FILE {
            return Err(TicketKeysError::None);
        }
        Self::from_file(&Zeroizing::new(std::fs::read(file)?))
    }

    pub(crate) fn from_file(bytes: &[u8]) -> Result<Self, TicketKeysError> {
        let mut keys = Vec::new();
        if LENGTHS.contains(&bytes.len()) && !bytes.is_ascii() {
            keys.extend(TicketKey::of_operator(bytes));
        } else {
            for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                let line = line.trim_ascii();
                if line.is_empty() || line.starts_with(b"#") {
                    continue;
                }
                let mut room = Zeroizing::new([0; LENGTHS[0]]);
                let key = Base64::decode(line, &mut *room).ok().and_then(TicketKey::of_operator);
                keys.push(key.ok_or(TicketKeysError::Line(at + 1))?);
            }
        }
        keys.reverse();
        keys.truncate(MOST_KEYS);
        match keys.len() {
            0 => Err(TicketKeysError::None),
            // the last one is for the time after the next change
            len => Ok(Self { keys, sealing: Some(1.min(len - 1)) }),
        }
    }

    /// The keys after `now`: one is younger than a ticket's lifetime, and keys are dropped that no ticket can need. Whether
    /// anything changed.
    ///
    /// # Errors
    /// When the kernel gives no random bytes. The keys are as before then.
    pub fn rotate(&mut self, now: SystemTime) -> Result<bool, Unspecified> {
        if self.sealing.is_some() {
            return Ok(false);
        }
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // a key of the future is from a clock that was set back
        let age = |key: &TicketKey| now.saturating_sub(key.made);
        let before = self.keys.len();
        let is_due = self.keys.first().is_none_or(|newest| age(newest) >= LIFETIME.as_secs());
        if is_due {
            self.keys.insert(0, TicketKey::random(now)?);
        }
        self.keys.retain(|key| age(key) < (2 * LIFETIME + LEAD).as_secs());
        self.keys.truncate(MOST_KEYS);
        Ok(is_due || self.keys.len() != before)
    }

    /// Which of the keys seals at `now`: the newest that every process has by now, else the oldest.
    #[must_use]
    pub fn sealing(&self, now: SystemTime) -> usize {
        if let Some(sealing) = self.sealing {
            return sealing;
        }
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let is_known = |key: &TicketKey| now.saturating_sub(key.made) >= LEAD.as_secs();
        self.keys.iter().position(is_known).unwrap_or(self.keys.len().saturating_sub(1))
    }

    /// The keys for another process. The caller must not log them or keep them in a file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.keys.len() * Self::KEY_LENGTH));
        for key in &self.keys {
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
        Some(Self { keys: keys.collect::<Option<_>>()?, sealing: None })
    }
}

impl TicketKey {
    fn random(made: u64) -> Result<Self, Unspecified> {
        let (mut name, mut key) = ([0; NAME], Zeroizing::new([0; KEY]));
        rand::fill(&mut name)?;
        rand::fill(&mut *key)?;
        Ok(Self { name, key, made })
    }

    /// Of the bytes of a key in a file: other programs make two keys of them, this one makes one.
    fn of_operator(bytes: &[u8]) -> Option<Self> {
        let (name, secret) = bytes.split_first_chunk::<NAME>().filter(|_| LENGTHS.contains(&bytes.len()))?;
        let mut key = Zeroizing::new([0; KEY]);
        let secret = Salt::new(HKDF_SHA256, &[]).extract(secret);
        secret
            .expand(&[b"segue ticket key"], HKDF_SHA256)
            .and_then(|key_material| key_material.fill(&mut *key))
            .ok()?;
        Some(Self { name: *name, key, made: 0 })
    }

    fn prepare(&self) -> Result<PreparedKey, Unspecified> {
        Ok(PreparedKey { name: self.name, key: RandomizedNonceKey::new(&AES_256_GCM, &*self.key)? })
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "TicketKeys({})", self.keys.len())
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
        let prepared = keys.keys.iter().map(TicketKey::prepare).collect::<Result<_, _>>()?;
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

/// Tickets that are for one site or listener alone. rustls takes what a ticket says of a client without another look at its
/// certificate, so a ticket counts under the rules alone under which it was made; and what is no site has tickets of its
/// own, since a site's name is all that rustls compares.
#[derive(Debug)]
pub struct BoundTickets {
    /// What seals.
    pub tickets: Arc<Tickets>,
    /// The listener, of clients that mean no site.
    pub listener: Option<Box<str>>,
    /// Whose rules count, of clients that show certificates.
    pub verifier: Option<Arc<ClientVerifier>>,
}

impl BoundTickets {
    /// The rules begin with a byte that stands in no name.
    fn context(&self) -> Vec<u8> {
        let mut context = Vec::new();
        if let Some(listener) = &self.listener {
            context.extend_from_slice(b"tcp:");
            context.extend_from_slice(listener.as_bytes());
        }
        if let Some(verifier) = &self.verifier {
            context.push(u8::from(verifier.is_required()));
            context.extend_from_slice(&verifier.number().to_be_bytes());
        }
        context
    }
}

impl ProducesTickets for BoundTickets {
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
        assert_eq!(keys.keys.len(), 2);
        // a clock that is set back, and one that jumps
        assert!(!keys.rotate(at(0)).expect("random"));
        assert!(keys.rotate(at(1000)).expect("random"));
        assert_eq!(keys.keys.len(), 1);
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

    fn base64(bytes: &[u8]) -> String {
        let mut text = [0; 128];
        Base64::encode(bytes, &mut text).expect("room").to_owned()
    }

    #[test]
    fn machines_with_one_file_open_each_others_tickets_also_while_its_keys_are_changed_one_machine_after_the_other() {
        let key = |byte: u8| base64(&[byte; 80]);
        let file = |keys: &[u8]| {
            let lines = keys.iter().map(|byte| key(*byte)).collect::<Vec<_>>().join("\n");
            prepared(&TicketKeys::from_file(lines.as_bytes()).expect("keys"), at(0))
        };
        let (before, after) = (file(&[1, 2, 3]), file(&[2, 3, 4]));
        for (one, other) in [(&before, &after), (&after, &before), (&file(&[2]), &before)] {
            let ticket = one.encrypt(b"a session").expect("sealed");
            assert!(other.decrypt(&ticket).is_some());
        }
        assert!(file(&[5]).decrypt(&before.encrypt(b"a session").expect("sealed")).is_none());
        let raw = TicketKeys::from_file(&[200; 48]).expect("one key of nginx");
        assert!(prepared(&raw, at(0)).encrypt(b"a session").is_some());
    }

    #[test]
    fn a_file_without_keys_says_what_is_wrong() {
        let wrong = |text: &[u8]| TicketKeys::from_file(text).expect_err("no keys").to_string();
        assert!(wrong(b"").starts_with("there is no key in it"));
        assert!(wrong(b"# keys\n\n").starts_with("there is no key in it"));
        assert!(wrong(format!("{}\nAAAA\n", base64(&[1; 48])).as_bytes()).starts_with("line 2 is no key"));
        assert!(wrong(&[b'x'; 80]).starts_with("line 1 is no key"));
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

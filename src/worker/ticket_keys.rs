//! The keys of session tickets over the generations. Each generation has those of the one before, from its secrets, and
//! makes new ones as they age: the supervisor holds them unread, so the replacement of a worker that was killed has them
//! too. Where an operator gives keys in a file, which several machines may share, those count.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::secrets::Secrets;
use crate::proxy::certificate_files::FileStamp;
use crate::tls::{TicketKeys, Tickets};

/// The name of the section of [`Secrets`].
const SECTION: &str = "ticket-keys";
/// A file that is written in place is wrong at one look, and right at the next.
const LOOKS_OF_A_REPLACEMENT: u32 = 2;

/// The keys, and the tickets that are made and read with them.
pub struct TicketKeyring {
    own: TicketKeys,
    file: Option<KeyFile>,
    tickets: Arc<Tickets>,
    /// The index of the key that seals.
    sealing: usize,
}

/// The file of an operator.
struct KeyFile {
    path: PathBuf,
    /// The file when it was read; none when it is to be read again in any case.
    seen: Option<Option<FileStamp>>,
    /// What was read last; none before there is anything that can be used.
    keys: Option<TicketKeys>,
    /// How many looks in a row found it wrong.
    looks: u32,
}

/// What a turn finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TicketKeyNews {
    /// There are other keys for the next generation.
    pub is_changed: bool,
    /// The file cannot be used, and not only for the moment in which it is replaced: what is wrong.
    pub wrong: Option<String>,
}

impl TicketKeyring {
    /// Goes on with the keys of the generation before, if there are any, or with those of the file; and says what is wrong
    /// with that.
    #[must_use]
    pub fn new(
        tickets: Arc<Tickets>,
        file: Option<PathBuf>,
        secrets: Option<&Secrets>,
        now: SystemTime,
    ) -> (Self, Option<String>) {
        let own = secrets.and_then(|secrets| secrets.section(SECTION)).and_then(TicketKeys::from_bytes);
        // what is wrong at the start is said then
        let file = file.map(|path| KeyFile { path, seen: None, keys: None, looks: LOOKS_OF_A_REPLACEMENT - 1 });
        let mut ring = Self { own: own.unwrap_or_default(), file, tickets, sealing: 0 };
        let wrong = ring.turn(now).wrong;
        ring.publish(now);
        (ring, wrong)
    }

    /// Makes a new key when it is time, has the newest one seal that all have, drops old ones, and looks at the file.
    pub fn turn(&mut self, now: SystemTime) -> TicketKeyNews {
        // without random bytes the keys stay: tickets go on, or clients do whole handshakes
        let is_changed = self.own.rotate(now).unwrap_or(false);
        let (is_read, wrong) = self.file.as_mut().map_or((false, None), |file| file.look(now));
        if is_changed || is_read || self.sealing != self.keys().sealing(now) {
            self.publish(now);
        }
        TicketKeyNews { is_changed, wrong }
    }

    /// The same secrets, with the keys that are no operator's.
    #[must_use]
    pub fn add_to(&self, secrets: Secrets) -> Secrets {
        secrets.with(SECTION, self.own.to_bytes())
    }

    fn keys(&self) -> &TicketKeys {
        self.file.as_ref().and_then(|file| file.keys.as_ref()).unwrap_or(&self.own)
    }

    fn publish(&mut self, now: SystemTime) {
        self.sealing = self.keys().sealing(now);
        let _ = self.tickets.set(self.keys(), now); // the library takes every key of its length
    }
}

impl KeyFile {
    /// Reads the file if it changed: whether there are other keys now, and what is wrong.
    fn look(&mut self, now: SystemTime) -> (bool, Option<String>) {
        let stamp = FileStamp::of(&self.path);
        if self.seen == Some(stamp) {
            return (false, None);
        }
        let is_settled = stamp.is_none_or(|stamp| stamp.is_settled(now));
        match TicketKeys::load(&self.path) {
            Ok(keys) => {
                (self.seen, self.keys, self.looks) = (is_settled.then_some(stamp), Some(keys), 0);
                (true, None)
            }
            Err(error) => {
                self.looks += 1;
                self.seen = (is_settled && self.looks >= LOOKS_OF_A_REPLACEMENT).then_some(stamp);
                let goes_on = if self.keys.is_some() { "those before count" } else { "other machines have others" };
                let why = format!(
                    "the keys of session tickets cannot be used, and {goes_on}: {}: {error}",
                    self.path.display()
                );
                (false, (self.looks == LOOKS_OF_A_REPLACEMENT).then_some(why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::server::ProducesTickets as _;

    use super::*;

    fn ring(file: Option<PathBuf>, secrets: Option<&Secrets>) -> (TicketKeyring, Option<String>) {
        TicketKeyring::new(Arc::default(), file, secrets, SystemTime::now())
    }

    #[test]
    fn a_generation_opens_the_tickets_of_the_one_before() {
        let before = ring(None, None).0;
        let ticket = before.tickets.encrypt(b"a session").expect("sealed");
        let handed = Secrets::read(&before.add_to(Secrets::default()).write().expect("written"));
        assert!(ring(None, Some(&handed)).0.tickets.decrypt(&ticket).is_some());
        assert!(ring(None, None).0.tickets.decrypt(&ticket).is_none());
        let broken = Secrets::default().with(SECTION, vec![1; 5].into());
        assert!(ring(None, Some(&broken)).0.tickets.encrypt(b"another").is_some());
    }

    #[test]
    fn the_keys_of_a_file_count_before_own_ones_and_are_taken_when_it_changes_and_kept_when_it_breaks() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("keys");
        let (mut first, wrong) = ring(Some(file.clone()), None);
        assert!(wrong.is_some_and(|wrong| wrong.contains("other machines have others: ")));
        let later = || SystemTime::now() + std::time::Duration::from_secs(60);
        std::fs::write(&file, format!("{}\n", "q83v".repeat(16))).expect("written");
        assert_eq!(first.turn(later()), TicketKeyNews::default());
        let ticket = first.tickets.encrypt(b"a session").expect("sealed");
        assert!(ring(Some(file.clone()), None).0.tickets.decrypt(&ticket).is_some());
        std::fs::write(&file, "nothing").expect("written");
        assert_eq!(first.turn(later()).wrong, None, "it may be being written");
        assert!(first.turn(later()).wrong.is_some_and(|wrong| wrong.contains("those before count: ")));
        assert!(first.tickets.decrypt(&ticket).is_some());
    }
}

//! The keys of session tickets over the generations: each has those of the one before, from its secrets, and makes new
//! ones as they age. The supervisor holds them unread, so the replacement of a worker that was killed has them too.

use std::sync::Arc;
use std::time::SystemTime;

use super::secrets::Secrets;
use crate::tls::{TicketKeys, Tickets};

/// The name of the section of [`Secrets`].
const SECTION: &str = "ticket-keys";

/// The keys, and the tickets that are made and read with them.
pub struct TicketKeyring {
    keys: TicketKeys,
    tickets: Arc<Tickets>,
    /// The index of the key that seals.
    sealing: usize,
}

impl TicketKeyring {
    /// Goes on with the keys of the generation before, if there are any.
    #[must_use]
    pub fn new(tickets: Arc<Tickets>, secrets: Option<&Secrets>, now: SystemTime) -> Self {
        let keys = secrets.and_then(|secrets| secrets.section(SECTION)).and_then(TicketKeys::from_bytes);
        let mut ring = Self { keys: keys.unwrap_or_default(), tickets, sealing: 0 };
        ring.turn(now);
        ring.publish(now);
        ring
    }

    /// Makes a new key when it is time, has the newest one seal that all have, and drops old ones. Whether there are other
    /// keys for the next generation.
    pub fn turn(&mut self, now: SystemTime) -> bool {
        // without random bytes the keys stay: tickets go on, or clients do whole handshakes
        let changed = self.keys.rotate(now).unwrap_or(false);
        if changed || self.sealing != self.keys.sealing(now) {
            self.publish(now);
        }
        changed
    }

    /// The same secrets, with the keys.
    #[must_use]
    pub fn add_to(&self, secrets: Secrets) -> Secrets {
        secrets.with(SECTION, self.keys.to_bytes())
    }

    fn publish(&mut self, now: SystemTime) {
        self.sealing = self.keys.sealing(now);
        let _ = self.tickets.set(&self.keys, now); // the library takes every key of its length
    }
}

#[cfg(test)]
mod tests {
    use rustls::server::ProducesTickets as _;

    use super::*;

    #[test]
    fn a_generation_opens_the_tickets_of_the_one_before() {
        let now = SystemTime::now();
        let ring = || (Arc::<Tickets>::default(), now);
        let (tickets, now) = ring();
        let before = TicketKeyring::new(tickets, None, now);
        let ticket = before.tickets.encrypt(b"a session").expect("sealed");
        let handed = Secrets::read(&before.add_to(Secrets::default()).write().expect("written"));
        let after = TicketKeyring::new(ring().0, Some(&handed), now);
        assert!(after.tickets.decrypt(&ticket).is_some());
        assert!(TicketKeyring::new(ring().0, None, now).tickets.decrypt(&ticket).is_none());
        let broken = Secrets::default().with(SECTION, vec![1; 5].into());
        assert!(TicketKeyring::new(ring().0, Some(&broken), now).tickets.encrypt(b"another").is_some());
    }
}

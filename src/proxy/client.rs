//! A client connection: what is known of it from accept to close. The connection owns it; tunnels and hand-overs get it
//! as an argument.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clients::{Clients, Slot};
use super::origin::Origin;
use super::private::Private;
use super::runtime_config::RuntimeConfig;
use crate::handover::transfer::ClientFacts;
use crate::net::Stream;
use crate::observe::record::Index;
use crate::timer::Timer;
use crate::tls::HandshakeFacts;

/// A client connection.
pub struct Client {
    /// Where its requests come from.
    pub origin: Rc<Origin>,
    /// The deadline of whatever the connection waits for. Its waker is the connection's task.
    pub timer: Timer,
    /// When it was accepted, by whichever generation.
    pub accepted: Instant,
    /// When its last exchange was over; before the first one, when it was accepted.
    pub idle_since: Instant,
    /// How many exchanges it had, the open one included.
    pub exchanges: u32,
    /// Which share of the time over which a drain spreads its last responses has to pass for it; drawn when it matters.
    share: Option<f64>,
    /// The upstream connections that no other client may use.
    pub private: Private,
    /// Its slot among the client connections of its thread.
    pub slot: Slot,
}

/// What is kept of a client whose connection is dormant: all that does not follow from the rest.
#[derive(Debug)]
pub struct DormantClient {
    peer: Option<SocketAddr>,
    reached: Option<Box<SocketAddr>>,
    accepted: Instant,
    idle_since: Instant,
    exchanges: u32,
    listener: Index,
    is_tls: bool,
}

impl DormantClient {
    /// The client again, in the slot that it had; `tls` is what the handshake agreed on, where TLS ends here.
    #[must_use]
    pub fn wake(
        self,
        timer: Timer,
        slot: Slot,
        tls: Option<&Arc<HandshakeFacts>>,
        config: &RuntimeConfig,
    ) -> Box<Client> {
        let Self { peer, reached, accepted, idle_since, exchanges, listener, is_tls } = self;
        let mut origin = Origin::new(listener, peer).proxied(None, is_tls);
        if let Some(reached) = reached {
            origin = origin.reaching(*reached);
        }
        if let Some(facts) = tls {
            origin = origin.over_tls(facts, config);
        }
        let (origin, private) = (Rc::new(origin), Private::default());
        Box::new(Client { origin, timer, accepted, idle_since, exchanges, share: None, private, slot })
    }
}

impl Client {
    /// What is kept of it while its connection is dormant, and its slot. Its private connections are closed, and its share
    /// is drawn anew when it matters.
    #[must_use]
    pub fn doze(self) -> (DormantClient, Slot) {
        let Self { origin, accepted, idle_since, exchanges, slot, .. } = self;
        let (peer, listener, is_tls) = (origin.peer, origin.listener, origin.is_tls);
        let reached = origin.reached().map(Box::new);
        (DormantClient { peer, reached, accepted, idle_since, exchanges, listener, is_tls }, slot)
    }

    /// A connection that was just accepted.
    #[must_use]
    pub fn new(timer: Timer, clients: &Rc<Clients>, listener: Index, peer: Option<SocketAddr>) -> Box<Self> {
        let now = Instant::now();
        let slot = clients.add(listener, timer.waking());
        Box::new(Self {
            origin: Rc::new(Origin::new(listener, peer)),
            timer,
            accepted: now,
            idle_since: now,
            exchanges: 0,
            share: None,
            private: Private::default(),
            slot,
        })
    }

    /// A connection that came from another generation.
    #[must_use]
    pub fn arrived(timer: Timer, clients: &Rc<Clients>, listener: Index, facts: &ClientFacts) -> Box<Self> {
        let mut client = Self::new(timer, clients, listener, facts.peer);
        let now = client.accepted;
        client.accepted = before(now, facts.age);
        client.idle_since = before(now, facts.idle);
        client.exchanges = facts.exchanges;
        if facts.tls {
            client.origin = Rc::new(client.origin.proxied(None, true));
        }
        if let Some(reached) = facts.reached {
            client.origin = Rc::new(client.origin.reaching(reached));
        }
        client
    }

    /// Notes the address to which it connected, unless it is known.
    pub fn reaches(&mut self, stream: &Stream) {
        if self.origin.reached().is_none()
            && let Some(reached) = stream.local_address()
        {
            self.origin = Rc::new(self.origin.reaching(reached));
        }
    }

    /// What another generation has to know of it; `listener` is the name of its listener.
    #[must_use]
    pub fn facts(&self, listener: String) -> ClientFacts {
        ClientFacts {
            listener,
            peer: self.origin.peer,
            age: self.accepted.elapsed(),
            idle: self.idle_since.elapsed(),
            exchanges: self.exchanges,
            tls: self.origin.is_tls,
            reached: self.origin.reached(),
            saved: Some(std::time::Instant::now()),
        }
    }

    /// Its share, between 0 and 1, of the time over which a drain spreads its last responses; the same each time.
    pub(super) fn share(&mut self, draw: impl FnOnce() -> f64) -> f64 {
        *self.share.get_or_insert_with(draw)
    }
}

/// The moment `time` before `now`, or `now` where the clock does not reach so far back.
pub fn before(now: Instant, time: Duration) -> Instant {
    now.checked_sub(time).unwrap_or(now)
}

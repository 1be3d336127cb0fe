//! A client connection: what is known of it from accept to close. The connection owns it; tunnels and hand-overs get it
//! as an argument.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clients::{Clients, Slot};
use super::origin::{Accepted, Origin};
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
    connection: Accepted,
    peer: Option<SocketAddr>,
    reached: Option<Box<SocketAddr>>,
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
        let Self { connection, peer, reached, idle_since, exchanges, listener, is_tls } = self;
        let mut origin = Origin::new(connection, listener, peer).proxied(None, is_tls);
        if let Some(reached) = reached {
            origin = origin.reaching(*reached);
        }
        if let Some(facts) = tls {
            origin = origin.over_tls(facts, config);
        }
        let (origin, private) = (Rc::new(origin), Private::default());
        slot.set_origin(&origin);
        Box::new(Client { origin, timer, idle_since, exchanges, share: None, private, slot })
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> Accepted {
        self.connection
    }

    /// Its address, none on a unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl Client {
    /// What is kept of it while its connection is dormant, and its slot. Its private connections are closed, and its share
    /// is drawn anew when it matters.
    #[must_use]
    pub fn doze(self) -> (DormantClient, Slot) {
        let Self { origin, idle_since, exchanges, slot, .. } = self;
        let (peer, listener, is_tls) = (origin.peer, origin.listener, origin.is_tls);
        let reached = origin.reached().map(Box::new);
        let connection = origin.connection;
        (DormantClient { connection, peer, reached, idle_since, exchanges, listener, is_tls }, slot)
    }

    /// A connection that was just accepted.
    #[must_use]
    pub fn new(timer: Timer, clients: &Rc<Clients>, listener: Index, peer: Option<SocketAddr>) -> Box<Self> {
        let connection = Accepted { id: clients.next_id(), at: Instant::now() };
        Self::opened(timer, clients, Origin::new(connection, listener, peer))
    }

    fn opened(timer: Timer, clients: &Rc<Clients>, origin: Origin) -> Box<Self> {
        let (idle_since, origin) = (origin.connection.at, Rc::new(origin));
        let slot = clients.add(origin.clone(), timer.waking());
        Box::new(Self { origin, timer, idle_since, exchanges: 0, share: None, private: Private::default(), slot })
    }

    /// A connection that came from another generation.
    #[must_use]
    pub fn arrived(timer: Timer, clients: &Rc<Clients>, listener: Index, facts: &ClientFacts) -> Box<Self> {
        let (id, now) = (facts.id.unwrap_or_else(|| clients.next_id()), Instant::now());
        let connection = Accepted { id, at: before(now, facts.age) };
        let mut origin = Origin::new(connection, listener, facts.peer).proxied(None, facts.tls);
        if let Some(reached) = facts.reached {
            origin = origin.reaching(reached);
        }
        let mut client = Self::opened(timer, clients, origin);
        client.idle_since = before(now, facts.idle);
        client.exchanges = facts.exchanges;
        client
    }

    /// Notes more about where its requests come from.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = Rc::new(origin);
        self.slot.set_origin(&self.origin);
    }

    /// Notes the address to which it connected, unless it is known.
    pub fn reaches(&mut self, stream: &Stream) {
        if self.origin.reached().is_none()
            && let Some(reached) = stream.local_address()
        {
            self.set_origin(self.origin.reaching(reached));
        }
    }

    /// What another generation has to know of it; `listener` is the name of its listener.
    #[must_use]
    pub fn facts(&self, listener: String) -> ClientFacts {
        ClientFacts {
            listener,
            peer: self.origin.peer,
            id: Some(self.origin.connection.id),
            age: self.origin.connection.at.elapsed(),
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

//! One server of a pool: its configuration, its addresses, its health, its open attempts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::administered::Administered;
use super::health::{Health, HealthState, Thresholds, Transition};
use super::passive::{self, Passive};
use super::place::{Addresses, Location};
use super::saved::SavedServer;
use crate::config::{Address, ServerScheme, ServerSettings};
use crate::control::status::ServerStatus;
use crate::tls::UpstreamTls;
use crate::tls::upstream::Fingerprint;

/// One server. Every thread reads it; checks and DNS change its health and its addresses.
#[derive(Debug)]
pub struct Server {
    /// As written in the configuration.
    pub name: String,
    /// Its share of the requests in the configuration; 0 takes none.
    pub weight: u32,
    /// What operators have set for it.
    pub admin: Administered,
    /// Used only when no other server is usable.
    pub backup: bool,
    /// Whether it may take requests.
    pub health: Health,
    /// Its passive health.
    pub passive: Passive,
    /// Since when the configuration does not have it any more; none while it does.
    pub removed: Option<SystemTime>,
    /// What is spoken with it.
    pub scheme: ServerScheme,
    /// TLS to it, where that is spoken.
    pub tls: Option<Arc<UpstreamTls>>,
    place: Location,
    moved: Notify,
    /// Its state is that of the generation before: the start does not wait for it.
    remembered: AtomicBool,
    open: OpenAttempts,
}

/// Alone on its cache line: every thread writes it for every attempt, while the rest is only read.
#[derive(Debug, Default)]
#[repr(align(64))]
struct OpenAttempts(AtomicU32);

/// A server has other addresses now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// The old ones; none before the first.
    pub from: Arc<[SocketAddr]>,
    /// The new ones.
    pub to: Arc<[SocketAddr]>,
    /// The transition of its health that this caused.
    pub transition: Option<Transition>,
}

impl Relocation {
    /// Addresses that the server no longer has.
    #[must_use]
    pub fn left(&self) -> Vec<SocketAddr> {
        self.from.iter().filter(|address| !self.to.contains(address)).copied().collect()
    }
}

impl Server {
    pub(super) fn new(
        settings: &ServerSettings,
        thresholds: Option<Thresholds>,
        limits: passive::EjectionRules,
        now: SystemTime,
    ) -> Self {
        let ServerSettings { name, address, weight, backup, scheme, removed } = settings;
        let place = Location::new(address);
        // to one that was removed no connection is opened, so there is nothing to eject it for
        let max_fails = if removed.is_some() { 0 } else { limits.max_fails };
        let limits = passive::EjectionRules { max_fails, ..limits };
        Self {
            name: name.clone(),
            weight: *weight,
            admin: Administered::new(*weight),
            backup: *backup,
            removed: *removed,
            health: Health::new(place.addresses().is_some(), thresholds, now),
            passive: Passive::new(limits),
            scheme: *scheme,
            tls: None,
            place,
            moved: Notify::new(),
            remembered: AtomicBool::new(false),
            open: OpenAttempts::default(),
        }
    }

    /// What is believed of it and shown to it by TLS; none without TLS.
    #[must_use]
    pub fn tls_settings(&self) -> Option<Fingerprint> {
        self.tls.as_ref().map(|tls| tls.fingerprint())
    }

    /// Its address; `None` while it waits for DNS. Allocates nothing.
    #[must_use]
    pub fn addresses(&self) -> Option<Addresses<'_>> {
        self.place.addresses()
    }

    /// A number that grows with each change of the set of addresses: an idle upstream connection made under another
    /// number may lead to an address that DNS no longer has. One load.
    #[inline]
    #[must_use]
    pub fn address_version(&self) -> u64 {
        self.place.version()
    }

    /// Whether DNS has this address.
    #[must_use]
    pub fn is_at(&self, address: SocketAddr) -> bool {
        matches!(&self.place, Location::Named { last, .. } if last.has(address))
    }

    /// Whether a connection with this other end, none for a unix socket, leads to where the server is.
    #[must_use]
    pub fn is_peer(&self, peer: Option<SocketAddr>) -> bool {
        match &self.place {
            Location::Fixed(Address::Ip(address)) => peer == Some(*address),
            Location::Fixed(Address::Unix(_)) => peer.is_none(),
            Location::Named { last, .. } => peer.is_some_and(|peer| last.has(peer)),
        }
    }

    /// A connection was opened to this address of a name: it is tried first from now on.
    pub fn answered_at(&self, address: SocketAddr) {
        if let Location::Named { last, .. } = &self.place {
            last.prefer(address);
        }
    }

    /// The host name and port to ask DNS for; `None` when the address is fixed.
    #[must_use]
    pub fn host(&self) -> Option<(&str, u16)> {
        match &self.place {
            Location::Fixed(_) => None,
            Location::Named { host, port, .. } => Some((host, *port)),
        }
    }

    /// Its address in the configuration: an address, or a host name with a port.
    pub(super) fn configured(&self) -> String {
        match &self.place {
            Location::Fixed(address) => address.to_string(),
            Location::Named { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// The last answer of DNS, in the order in which the addresses are tried; `None` also when the address is fixed.
    #[must_use]
    pub fn located(&self) -> Option<Arc<[SocketAddr]>> {
        match &self.place {
            Location::Fixed(_) => None,
            Location::Named { last, .. } => last.get().map(|(list, _)| list),
        }
    }

    /// Continues from the state in the generation before; `same_check` says whether its findings count. Returns the
    /// transition, when the configuration does not let the state continue.
    pub(super) fn restore(&self, known: &SavedServer, same_check: bool, now: SystemTime) -> Option<Transition> {
        self.passive.restore(&known.passive, now);
        let addresses = known.addresses();
        let located = match &self.place {
            Location::Named { last, .. } if !addresses.is_empty() => Some(last),
            _ => None,
        };
        let has_address = located.is_some() || self.addresses().is_some();
        let restored = self.health.restore(&known.health, has_address, same_check, now);
        let transition = restored?; // its state is unknown then
        if let Some(last) = located {
            last.restore(&addresses);
        }
        let is_settled = transition.is_none() && self.health.state() != HealthState::Unknown;
        self.remembered.store(is_settled, Ordering::Relaxed);
        transition
    }

    /// Whether its state is that of the generation before, so that the start does not wait for its check, or for DNS.
    #[must_use]
    pub fn is_remembered(&self) -> bool {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Sets the addresses that DNS has for the server. `None` when they are the same, or the address is fixed.
    ///
    /// The state of the server stays while its reason does: that it is up, while the address that answered last is
    /// still one of its own; that it is down, while there is no address that was not tried.
    pub fn relocate(&self, found: &[SocketAddr], now: SystemTime) -> Option<Relocation> {
        let Location::Named { last, .. } = &self.place else {
            return None;
        };
        let [from, to] = last.replace(found)?;
        let is_settled = match self.health.state() {
            HealthState::Up => from.first().is_some_and(|first| to.contains(first)),
            HealthState::Down => to.iter().all(|address| from.contains(address)),
            HealthState::Unknown | HealthState::WaitingForDns => false,
        };
        if to.iter().any(|address| !from.contains(address)) {
            self.passive.hasten(now);
        }
        let mut relocation = Relocation { from, to, transition: None };
        if !is_settled {
            let reason = match &relocation.left()[..] {
                [] => format!("DNS says {}", listed(&relocation.to)),
                left => format!("DNS says {}, no longer {}", listed(&relocation.to), listed(left)),
            };
            relocation.transition = self.health.relocated(reason, now);
        }
        self.moved.notify_one();
        Some(relocation)
    }

    /// An operator ends its maintenance, during which it was not checked: its state is unknown. One that waits for DNS goes
    /// on waiting.
    pub fn back_from_maintenance(&self, now: SystemTime) -> Option<Transition> {
        let is_settled = matches!(self.health.state(), HealthState::Up | HealthState::Down);
        is_settled.then(|| self.health.relocated("maintenance is over".to_owned(), now)).flatten()
    }

    /// Waits until [`Server::relocate`] changes the addresses. For one waiter, its check; a change since the last wait
    /// counts.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Attempts that are open now, of all threads.
    #[inline]
    #[must_use]
    pub fn open_attempts(&self) -> u32 {
        self.open.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn count_opened(&self) {
        self.open.0.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn count_closed(&self) {
        self.open.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a reload has removed it: what is under way with it goes on, and nothing new begins.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed.is_some()
    }

    /// Whether the configuration has it, or something is still open with it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        !self.is_removed() || self.open_attempts() > 0
    }

    /// Its part of the status.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        let addresses = self.addresses();
        ServerStatus {
            name: self.name.clone(),
            address: addresses.as_ref().map(|all| all.first().to_string()),
            addresses: addresses.map(|all| all.texts()).unwrap_or_default(),
            health: self.health.status(),
            ejected: self.passive.status(),
            weight: self.weight,
            backup: self.backup,
            removed: self.is_removed(),
            open_attempts: self.open_attempts() as u64,
            admin: Vec::new(), // the supervisor has it
        }
    }
}

/// Addresses for people.
#[must_use]
pub fn listed(addresses: &[SocketAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    texts.join(", ")
}

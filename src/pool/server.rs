//! One server of a pool: what the configuration says of it, where it is now, how it is, what it has open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::health::{Health, State, Thresholds, Transition};
use super::memory::ServerMemory;
use super::passive::{self, Passive};
use super::place::{Addresses, Place};
use crate::config;

/// One server. Every thread reads it; checks and DNS change its health and its addresses.
#[derive(Debug)]
pub struct Server {
    /// As written in the configuration.
    pub name: String,
    /// Its share of the requests; 0 takes none.
    pub weight: u32,
    /// Used only when no other server is usable.
    pub backup: bool,
    /// Whether it may take requests.
    pub health: Health,
    /// What real traffic says of it.
    pub passive: Passive,
    place: Place,
    moved: Notify,
    /// Its state is that of the generation before: nobody has to wait until it is known.
    remembered: AtomicBool,
    open: OpenAttempts,
}

/// Alone on its cache line: written by every thread for every attempt, while the rest is only read.
#[derive(Debug, Default)]
#[repr(align(64))]
struct OpenAttempts(AtomicU32);

/// That a server has other addresses now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Where it was; empty when that was not known.
    pub from: Arc<[SocketAddr]>,
    /// Where it is.
    pub to: Arc<[SocketAddr]>,
    /// What that did to its health.
    pub transition: Option<Transition>,
}

impl Relocation {
    /// Addresses that the server has no longer.
    #[must_use]
    pub fn left(&self) -> Vec<SocketAddr> {
        self.from.iter().filter(|address| !self.to.contains(address)).copied().collect()
    }
}

impl Server {
    pub(super) fn new(
        settings: &config::Server,
        thresholds: Option<Thresholds>,
        limits: passive::Limits,
        now: SystemTime,
    ) -> Self {
        let config::Server { name, address, weight, backup } = settings;
        let place = Place::new(address);
        Self {
            name: name.clone(),
            weight: *weight,
            backup: *backup,
            health: Health::new(place.addresses().is_some(), thresholds, now),
            passive: Passive::new(limits),
            place,
            moved: Notify::new(),
            remembered: AtomicBool::new(false),
            open: OpenAttempts::default(),
        }
    }

    /// Where it is; `None` while it waits for DNS. Nothing on the heap.
    #[must_use]
    pub fn addresses(&self) -> Option<Addresses<'_>> {
        self.place.addresses()
    }

    /// A number that moves with each change of the set of addresses: an idle upstream connection made under another
    /// one may go to a place that DNS no longer names. One load.
    #[inline]
    #[must_use]
    pub fn address_version(&self) -> u64 {
        self.place.version()
    }

    /// Whether DNS names this address.
    #[must_use]
    pub fn is_at(&self, address: SocketAddr) -> bool {
        matches!(&self.place, Place::Named { last, .. } if last.has(address))
    }

    /// A connection was opened to this address of a name: it is tried first from now on.
    pub fn answered_at(&self, address: SocketAddr) {
        if let Place::Named { last, .. } = &self.place {
            last.prefer(address);
        }
    }

    /// The host name and port to ask DNS for; `None` when the address is fixed.
    #[must_use]
    pub fn host(&self) -> Option<(&str, u16)> {
        match &self.place {
            Place::Fixed(_) => None,
            Place::Named { host, port, .. } => Some((host, *port)),
        }
    }

    /// Where it is by the configuration: an address, or a host name with a port.
    pub(super) fn configured(&self) -> String {
        match &self.place {
            Place::Fixed(address) => address.to_string(),
            Place::Named { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// What DNS said last, in the order in which the addresses are tried; `None` also when the address is fixed.
    #[must_use]
    pub fn located(&self) -> Option<Arc<[SocketAddr]>> {
        match &self.place {
            Place::Fixed(_) => None,
            Place::Named { last, .. } => last.get().map(|(list, _)| list),
        }
    }

    /// Goes on from what the generation before knew of this server; `same_check` says whether its findings count.
    /// Gives what that changed, when the configuration does not let the state go on.
    pub(super) fn recall(&self, known: &ServerMemory, same_check: bool, now: SystemTime) -> Option<Transition> {
        self.passive.recall(&known.passive, now);
        let addresses = known.addresses();
        let located = match &self.place {
            Place::Named { last, .. } if !addresses.is_empty() => Some(last),
            _ => None,
        };
        let has_address = located.is_some() || self.addresses().is_some();
        let recalled = self.health.recall(&known.health, has_address, same_check, now);
        let transition = recalled?; // nothing is known of it, then
        if let Some(last) = located {
            last.recall(&addresses);
        }
        let is_settled = transition.is_none() && self.health.state() != State::Unknown;
        self.remembered.store(is_settled, Ordering::Relaxed);
        transition
    }

    /// Whether it is as the generation before left it, so that nobody has to wait until it was checked, or until DNS
    /// has answered.
    #[must_use]
    pub fn is_remembered(&self) -> bool {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Takes in where DNS says that the server is. `None` when that is known already, or the address is fixed.
    ///
    /// What is known of the server stays while what it was learnt from does: that it is up, while the address that
    /// answered last is still one of its own; that it is down, while there is no address that was not tried.
    pub fn relocate(&self, found: &[SocketAddr], now: SystemTime) -> Option<Relocation> {
        let Place::Named { last, .. } = &self.place else {
            return None;
        };
        let [from, to] = last.replace(found)?;
        let is_settled = match self.health.state() {
            State::Up => from.first().is_some_and(|first| to.contains(first)),
            State::Down => to.iter().all(|address| from.contains(address)),
            State::Unknown | State::WaitingForDns => false,
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

    /// Everything that an operator asks of a server.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = self.health.status();
        status["name"] = json!(self.name);
        let addresses = self.addresses();
        status["address"] = json!(addresses.as_ref().map(|all| all.first().to_string()));
        status["addresses"] = json!(addresses.map(|all| all.texts()).unwrap_or_default());
        status["weight"] = json!(self.weight);
        status["backup"] = json!(self.backup);
        status["ejected"] = self.passive.status();
        status["open_attempts"] = json!(self.open_attempts());
        status
    }
}

/// Addresses for people.
#[must_use]
pub fn listed(addresses: &[SocketAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    texts.join(", ")
}

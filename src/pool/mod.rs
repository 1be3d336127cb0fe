//! A pool: a named set of equal servers with one balancing policy. No sockets, no clock: time is passed in.
//!
//! One [`Pool`] is shared by all threads of the worker; each thread picks with a [`balance::Balancer`] of its own.
//! What drives the health of the servers, checks and DNS, is in `upstream`.

pub mod admin;
mod administered;
pub mod balance;
pub mod health;
pub mod passive;
mod place;
pub mod saved;
mod server;

use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use self::health::HealthState;
pub use self::place::Addresses;
pub use self::server::{Relocation, Server, listed};
use crate::config::{Balance, PoolSettings, ServerSettings};
use crate::control::status::PoolStatus;
use crate::tls::UpstreamTls;

/// A pool with the state of its servers.
#[derive(Debug)]
pub struct Pool {
    /// The name, as in the configuration.
    pub name: String,
    /// Its settings.
    pub settings: PoolSettings,
    /// The servers, in the order of the configuration: their indexes are those of the records.
    pub servers: Vec<Server>,
    /// Since when no server takes requests, once that was noticed: see [`Pool::turn`].
    empty_since: Mutex<Option<SystemTime>>,
    /// The positions from which the balancers continue; none when they begin.
    positions: OnceLock<balance::Positions>,
}

impl Pool {
    /// The pool of these settings. Servers with a check start unknown, those without one start up.
    #[must_use]
    pub fn new(settings: PoolSettings, now: SystemTime) -> Self {
        let thresholds = health::Thresholds { rise: settings.rise, fall: settings.fall };
        let thresholds = settings.check.is_some().then_some(thresholds);
        let limits = passive::EjectionRules { max_fails: settings.max_fails, max_ejection: settings.max_ejection };
        let servers = settings.servers.iter();
        Self {
            name: settings.name.clone(),
            servers: servers.map(|server| Server::new(server, thresholds, limits, now)).collect(),
            settings,
            empty_since: Mutex::new(None),
            positions: OnceLock::new(),
        }
    }

    /// The same with what the servers have to show that speak TLS, given by `tls`.
    ///
    /// # Errors
    /// Those of `tls`.
    pub fn with_tls<E>(mut self, mut tls: impl FnMut(&ServerSettings) -> Result<UpstreamTls, E>) -> Result<Self, E> {
        for (server, settings) in self.servers.iter_mut().zip(&self.settings.servers) {
            // no connection is opened to one that was removed, and the files for it may be gone as well
            if settings.scheme.is_tls() && settings.removed.is_none() {
                server.tls = Some(Arc::new(tls(settings)?));
            }
        }
        Ok(self)
    }

    /// A connection to the server of this index could not be opened. Returns the ejection that this causes: never of
    /// the last server that takes requests.
    pub fn connection_failed(&self, index: usize, why: &str, now: SystemTime) -> Option<passive::Ejection> {
        self.servers[index].passive.failed(why, || self.is_last(index), now)
    }

    /// The same for a new connection that ended before an answer came over it.
    pub fn connection_closed(&self, index: usize, now: SystemTime) -> Option<passive::Ejection> {
        self.servers[index].passive.closed(|| self.is_last(index), now)
    }

    /// Whether only the server of this index takes requests.
    fn is_last(&self, index: usize) -> bool {
        let takes = |server: &Server| {
            let is_usable = matches!(server.health.state(), HealthState::Up | HealthState::Unknown);
            server.admin.weight() > 0 && is_usable && !server.passive.is_ejected()
        };
        !self.servers.iter().enumerate().any(|(other, server)| other != index && takes(server))
    }

    fn empty_since(&self) -> Option<SystemTime> {
        *self.empty_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_empty_since(&self, since: Option<SystemTime>) {
        *self.empty_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// The servers that the configuration has, with their indexes: those that a reload removed come after them.
    pub fn configured(&self) -> impl Iterator<Item = (usize, &Server)> {
        self.servers.iter().enumerate().filter(|(_, server)| !server.is_removed())
    }

    /// How many servers are up, and not kept from requests by an operator.
    #[must_use]
    pub fn servers_up(&self) -> usize {
        self.configured().filter(|(_, server)| server.health.is_up() && !server.admin.is_out()).count()
    }

    /// The pool and its servers, for the status.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let balance = match self.settings.balance {
            Balance::RoundRobin => "round-robin",
            Balance::LeastConnections => "least-connections",
        };
        PoolStatus {
            name: self.name.clone(),
            balance: balance.to_owned(),
            servers_up: self.servers_up() as u64,
            servers: self.servers.iter().filter(|server| server.is_in_use()).map(Server::status).collect(),
        }
    }
}

/// An open attempt: counted against its server until it is dropped.
///
/// It holds the pool in the same form as its owner: `Arc<Pool>`, `&Pool`.
#[derive(Debug)]
pub struct Open<P: Deref<Target = Pool> = Arc<Pool>> {
    pool: P,
    server: usize,
}

impl<P: Deref<Target = Pool>> Open<P> {
    /// Counts an attempt against the server of this index, which [`balance::Balancer::pick`] returned.
    #[must_use]
    pub fn new(pool: P, server: usize) -> Self {
        pool.servers[server].count_opened();
        Self { pool, server }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.pool.servers[self.server]
    }
}

impl<P: Deref<Target = Pool>> Drop for Open<P> {
    fn drop(&mut self) {
        self.pool.servers[self.server].count_closed();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::health::{CheckVerdict, Finding};
    use super::*;
    use crate::config::{Address, CheckKind, ServerAddress, ServerSettings};

    /// Settings of a pool with these servers, without a check. With a check, one result would change the state.
    pub(crate) fn settings(servers: Vec<ServerSettings>) -> PoolSettings {
        PoolSettings { name: "farm".to_owned(), servers, rise: 1, fall: 1, ..PoolSettings::default() }
    }

    /// Settings of a pool with this check.
    pub(crate) fn checked(kind: CheckKind) -> PoolSettings {
        PoolSettings { check: Some(kind), ..settings(Vec::new()) }
    }

    pub(crate) fn server(address: &str, weight: u32) -> ServerSettings {
        let fixed = address.parse().map(|ip| ServerAddress::Fixed(Address::Ip(ip)));
        let named = || {
            let (host, port) = address.rsplit_once(':').expect("host:port");
            ServerAddress::Name { host: host.to_owned(), port: port.parse().expect("a port") }
        };
        ServerSettings {
            name: address.to_owned(),
            address: fixed.unwrap_or_else(|_| named()),
            weight,
            backup: false,
            removed: None,
            scheme: crate::config::scheme(address).0,
        }
    }

    #[test]
    fn an_attempt_is_counted_until_it_is_dropped() {
        let pool = Arc::new(Pool::new(settings(vec![server("10.0.0.1:80", 1)]), SystemTime::UNIX_EPOCH));
        let owned = Open::new(pool.clone(), 0);
        let borrowed = Open::new(&*pool, 0);
        assert_eq!(owned.server().open_attempts(), 2);
        drop((owned, borrowed));
        assert_eq!(pool.servers[0].open_attempts(), 0);
    }

    #[test]
    fn a_pool_without_a_check_waits_only_for_addresses() {
        let servers = vec![server("10.0.0.1:80", 1), server("app.test:80", 1)];
        let pool = Pool::new(settings(servers), SystemTime::UNIX_EPOCH);
        assert_eq!(pool.servers_up(), 1);
        let to = ["10.0.0.2:80".parse().expect("an address")];
        let relocation = pool.servers[1].relocate(&to, SystemTime::UNIX_EPOCH).expect("news");
        assert_eq!((&*relocation.from, &*relocation.to), (&[][..], &to[..]));
        assert_eq!(pool.servers_up(), 2);
        assert_eq!(pool.servers[1].located().as_deref(), Some(&to[..]));
        assert_eq!(pool.servers[1].relocate(&to, SystemTime::UNIX_EPOCH), None);
        assert_eq!(pool.servers[0].relocate(&to, SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn the_last_server_that_takes_requests_is_never_ejected() {
        let servers = vec![server("10.0.0.1:80", 1), server("10.0.0.2:80", 1), server("10.0.0.3:80", 0)];
        let pool = Pool::new(settings(servers), SystemTime::UNIX_EPOCH);
        let fail = |index| (0..9).find_map(|_| pool.connection_failed(index, "refused", SystemTime::UNIX_EPOCH));
        assert!(fail(1).is_some());
        assert_eq!(fail(0), None);
        assert!(pool.servers[1].passive.succeeded().is_some());
        assert!(fail(0).is_some(), "there is another one again");
        let reason = |server: usize| Some(pool.status().servers[server].ejected.as_ref()?.reason.clone());
        assert_eq!(reason(0).as_deref(), Some("10 connections in a row failed: refused"));
        assert_eq!(reason(1), None);
    }

    #[test]
    fn what_is_known_of_a_server_stays_while_the_address_does_that_it_was_learnt_from() {
        let at =
            |text: &str| -> Vec<_> { text.split(' ').map(|ip| format!("{ip}:80").parse().expect("one")).collect() };
        let find = |verdict| Finding { verdict, detail: "said".into(), took: Duration::ZERO };
        for (verdict, first, then, state) in [
            (CheckVerdict::Good, "10.0.0.1 10.0.0.2", "10.0.0.1", HealthState::Up),
            (CheckVerdict::Good, "10.0.0.1 10.0.0.2", "10.0.0.3 10.0.0.1", HealthState::Up),
            (CheckVerdict::Good, "10.0.0.1 10.0.0.2", "10.0.0.2", HealthState::Unknown),
            (CheckVerdict::Bad, "10.0.0.1 10.0.0.2", "10.0.0.2", HealthState::Down),
            (CheckVerdict::Bad, "10.0.0.1", "10.0.0.1 10.0.0.2", HealthState::Unknown),
        ] {
            let mut settings = settings(vec![server("app.test:80", 1)]);
            settings.check = Some(CheckKind::Connect);
            let pool = Pool::new(settings, SystemTime::UNIX_EPOCH);
            let server = &pool.servers[0];
            server.relocate(&at(first), SystemTime::UNIX_EPOCH).expect("news");
            server.health.observe(find(verdict), SystemTime::UNIX_EPOCH).expect("the first check decides");
            server.relocate(&at(then), SystemTime::UNIX_EPOCH).expect("news");
            assert_eq!(server.health.state(), state, "{verdict:?}: {first}, then {then}");
        }
    }

    #[test]
    fn the_status_names_every_server() {
        let servers = vec![server("10.0.0.1:80", 1), server("app.test:80", 2)];
        let pool = Arc::new(Pool::new(settings(servers), SystemTime::UNIX_EPOCH));
        let _open = Open::new(pool.clone(), 0);
        let status = pool.status();
        assert_eq!(status.servers_up, 1);
        assert_eq!(status.servers[0].address.as_deref(), Some("10.0.0.1:80"));
        assert_eq!(status.servers[0].open_attempts, 1);
        assert_eq!(status.servers[1].health.state, "waiting for DNS");
        assert_eq!(status.servers[0].addresses, ["10.0.0.1:80"]);
        assert_eq!(status.servers[1].address, None);
        assert_eq!(status.servers[1].weight, 2);
    }
}

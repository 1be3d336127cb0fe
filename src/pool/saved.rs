//! The state of a pool as the next generation gets it, and how that one uses it: a changed configuration wins over
//! the remembered value, field by field.
//!
//! A server is the same when its name, as written, and its configured address are those of a server of the pool of
//! the same name. Its health counts as long as the checks ask the same; weight, thresholds and times are always those
//! of the new configuration. Unknown fields are ignored, and missing ones count as unknown.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Pool;
use super::balance::Positions;
use super::health::{self, HealthState, SavedHealth, Transition};
use super::passive::SavedPassive;
use crate::config::{CheckKind, PoolSettings, ServerSettings};

/// So many removed servers of a pool are known at most, however many a series of reloads replaces.
const MOST_REMOVED: usize = 64;

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedPool {
    /// Its name.
    pub name: String,
    /// The question of its checks; none without a check.
    pub check: Option<String>,
    /// Since when no server of it takes requests, in milliseconds since 1970.
    pub empty_since: Option<u64>,
    /// Its servers.
    pub servers: Vec<SavedServer>,
}

/// One server of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedServer {
    /// As written in the configuration.
    pub name: String,
    /// As configured: an address, or a host name with a port.
    pub address: String,
    /// The address of a name that answered last. Versions that know only one address read and write this field.
    pub located: Option<SocketAddr>,
    /// The last answer of DNS, in the order in which the addresses are tried.
    pub addresses: Vec<SocketAddr>,
    /// The weight in the configuration.
    pub weight: u32,
    /// Since when the configuration does not have it, in milliseconds since 1970; none while it does.
    pub removed: Option<u64>,
    /// Attempts that are open.
    pub open: u32,
    /// Its credit at each thread.
    pub credits: Vec<i64>,
    /// Its health.
    pub health: SavedHealth,
    /// Its passive health.
    pub passive: SavedPassive,
}

/// A pool ran out of servers, or has one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolTurn {
    /// No server takes requests.
    Empty,
    /// A server takes requests again.
    Back {
        /// How long none did.
        after: Duration,
    },
}

impl SavedServer {
    /// The last answer of DNS, whichever version wrote it down.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        let known = if self.addresses.is_empty() { self.located.as_slice() } else { &self.addresses };
        for address in known {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }
}

impl SavedPool {
    /// The servers that `settings`, of the pool of the same name, lack: exchanges and tunnels go on with them in the new
    /// generation. One is forgotten `keep` after its removal, unless something is open with it: an older generation
    /// may still have connections to give.
    #[must_use]
    pub fn removed(&self, settings: &PoolSettings, keep: Duration, now: SystemTime) -> Vec<ServerSettings> {
        let is_configured = |known: &SavedServer| settings.servers.iter().any(|server| server.name == known.name);
        let since = |known: &SavedServer| known.removed.map_or(now, |since| health::time(since, now));
        let is_kept = |known: &SavedServer| known.open > 0 || now < since(known) + keep;
        let mut lacking: Vec<_> = self.servers.iter().filter(|known| !is_configured(known) && is_kept(known)).collect();
        lacking.sort_by_key(|known| std::cmp::Reverse((known.open > 0, since(known))));
        lacking.dedup_by(|one, other| one.name == other.name);
        lacking.truncate(MOST_REMOVED);
        lacking.into_iter().filter_map(|known| ServerSettings::removed(&known.name, since(known))).collect()
    }
}

impl Pool {
    /// The state for the next generation; `positions` are those of the balancers, by thread.
    #[must_use]
    pub fn save(&self, positions: &[Vec<i64>]) -> SavedPool {
        let servers = self.servers.iter().enumerate().map(|(index, server)| SavedServer {
            name: server.name.clone(),
            address: server.configured(),
            located: server.located().map(|list| list[0]),
            addresses: server.located().map(|list| list.to_vec()).unwrap_or_default(),
            weight: server.weight,
            removed: server.removed.map(health::millis),
            open: server.open_attempts(),
            credits: positions.iter().map(|credits| credits.get(index).copied().unwrap_or_default()).collect(),
            health: server.health.save(),
            passive: server.passive.save(),
        });
        SavedPool {
            name: self.name.clone(),
            check: asked(&self.settings),
            empty_since: self.empty_since().map(health::millis),
            servers: servers.collect(),
        }
    }

    /// Continues from the state of the pool of the same name. Call it once, before any other method.
    ///
    /// Returns the index of each server whose state the changed configuration changed, with the transition.
    pub fn restore(&self, saved: &SavedPool, now: SystemTime) -> Vec<(usize, Transition)> {
        let same_check = saved.check == asked(&self.settings);
        let mut unclaimed: Vec<Option<&SavedServer>> = saved.servers.iter().map(Some).collect();
        let mut transitions = Vec::new();
        let mut credits = Vec::new();
        for (index, server) in self.servers.iter().enumerate() {
            let configured = server.configured();
            // one that comes back is as unknown as a new one: what was known of it is as old as its removal
            let is_as_before = |known: &SavedServer| known.removed.is_none() || server.is_removed();
            let is_it =
                |known: &SavedServer| known.name == server.name && known.address == configured && is_as_before(known);
            let place = unclaimed.iter_mut().find(|known| known.is_some_and(is_it));
            let Some(known) = place.and_then(Option::take) else {
                credits.push((server.weight, None));
                continue;
            };
            let transition = server.restore(known, same_check, now);
            if !server.is_removed() {
                transitions.extend(transition.map(|transition| (index, transition)));
            }
            credits.push((server.weight, (known.weight == server.weight).then_some(&known.credits[..])));
        }
        // it is set once, before the first pick
        let _ = self.positions.set(Positions::new(&credits));
        self.set_empty_since(saved.empty_since.map(|since| health::time(since, now)));
        transitions
    }

    /// Whether the pool ran out of servers, or has one again, since the last call.
    pub fn turn(&self, now: SystemTime) -> Option<PoolTurn> {
        let usable = self.configured().any(|(_, one)| {
            matches!(one.health.state(), HealthState::Up | HealthState::Unknown) && !one.admin.is_out()
        });
        match (usable, self.empty_since()) {
            (false, None) => {
                self.set_empty_since(Some(now));
                Some(PoolTurn::Empty)
            }
            (true, Some(since)) => {
                self.set_empty_since(None);
                Some(PoolTurn::Back { after: now.duration_since(since).unwrap_or_default() })
            }
            _ => None,
        }
    }
}

/// The question of a check: findings about another question do not count. How often it is asked, and how many answers
/// count, is no part of it.
fn asked(settings: &PoolSettings) -> Option<String> {
    Some(match (settings.check.as_ref()?, &settings.check_host) {
        (CheckKind::Connect, _) => "connect".to_owned(),
        (CheckKind::Http { method, path }, None) => format!("{method} {path}"),
        (CheckKind::Grpc { service }, None) => format!("grpc {service}"),
        (CheckKind::Grpc { service }, Some(host)) => format!("grpc {service} {host}"),
        (CheckKind::Http { method, path }, Some(host)) => format!("{method} {path} {host}"),
    })
}

#[cfg(test)]
mod tests;

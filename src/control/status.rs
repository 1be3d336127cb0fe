//! The status of the service, as `segue status --json` prints it: the worker describes itself to the supervisor, and
//! the supervisor adds the rest. `segue status --help` explains each key.
//!
//! Workers of other versions may know other fields: unknown ones are dropped, missing ones have their default, and one
//! of another shape counts as missing.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::counter_tree::CounterTree;

/// The whole status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceStatus {
    /// The line in `systemctl status`.
    pub line: String,
    /// What an operator should know until the next good reload.
    pub note: Option<String>,
    /// The process that systemd knows.
    pub supervisor: SupervisorStatus,
    /// Every generation that has a process, oldest first.
    pub generations: Vec<GenerationStatus>,
    /// Open connections of all generations; none before the first worker has answered a ping.
    pub connections: Option<OpenConnections>,
    /// Counters of all generations.
    pub counters: CounterTree,
}

impl ServiceStatus {
    /// The generation that serves: the last one, where another is about to be parked.
    #[must_use]
    pub fn serving(&self) -> Option<&GenerationStatus> {
        self.generations.iter().rfind(|one| one.state == "serving")
    }

    /// What its worker says of itself.
    #[must_use]
    pub fn serving_worker(&self) -> Option<&WorkerStatus> {
        self.serving()?.worker.as_ref()
    }
}

/// The supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SupervisorStatus {
    /// Its process.
    pub pid: u32,
    /// The version of its program.
    pub version: String,
}

/// One generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationStatus {
    /// Its number.
    pub generation: u64,
    /// The name of its state.
    pub state: String,
    /// Its process.
    pub pid: u32,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// Milliseconds since it was made.
    pub age_ms: u64,
    /// Whether the next one may be made from it.
    pub proven: bool,
    /// Milliseconds until the roll-back; none when it need not be confirmed.
    pub confirm_within_ms: Option<u64>,
    /// Bytes of memory; none until they were measured.
    pub memory: Option<u64>,
    /// The version of its program, from its `Ready`.
    pub version: Option<String>,
    /// Its configuration in one line, from its `Ready`.
    pub summary: Option<String>,
    /// Equal for equal configurations, from its `Ready`.
    pub config_hash: Option<String>,
    /// Client connections that it holds.
    pub connections: Option<u64>,
    /// The answer to the last ping.
    pub worker: Option<WorkerStatus>,
}

/// A worker, as it describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// The number of its generation.
    #[serde(deserialize_with = "lenient")]
    pub generation: u64,
    /// Threads that serve.
    #[serde(deserialize_with = "lenient")]
    pub threads: u64,
    /// Connections that were cut at a deadline.
    #[serde(deserialize_with = "lenient")]
    pub cut: u64,
    /// Open connections.
    #[serde(deserialize_with = "lenient")]
    pub connections: Option<OpenConnections>,
    /// Servers in all pools.
    #[serde(deserialize_with = "lenient")]
    pub servers: u64,
    /// Servers that take requests.
    #[serde(deserialize_with = "lenient")]
    pub servers_up: u64,
    /// The pools.
    #[serde(deserialize_with = "lenient")]
    pub pools: Vec<PoolStatus>,
    /// The certificates of the sites; absent from workers before TLS.
    #[serde(deserialize_with = "lenient")]
    pub certificates: Vec<CertificateStatus>,
    /// What keeps a generation that accepts no more; none while it serves.
    #[serde(deserialize_with = "lenient")]
    pub oldest: Option<Vec<OldestStatus>>,
    /// Its counters.
    pub counters: CounterTree,
}

impl WorkerStatus {
    /// A copy of all but the counters.
    #[must_use]
    pub fn without_counters(&self) -> Self {
        let Self {
            certificates,
            generation,
            threads,
            cut,
            connections,
            servers,
            servers_up,
            pools,
            oldest,
            counters: _,
        } = self;
        Self {
            certificates: certificates.clone(),
            generation: *generation,
            threads: *threads,
            cut: *cut,
            connections: connections.clone(),
            servers: *servers,
            servers_up: *servers_up,
            pools: pools.clone(),
            oldest: oldest.clone(),
            counters: CounterTree::default(),
        }
    }
}

/// Open client connections by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenConnections {
    /// All of them.
    pub open: u64,
    /// Without an exchange.
    pub idle: u64,
    /// In an exchange.
    pub exchanges: u64,
    /// Switched to another protocol.
    pub upgrades: u64,
    /// Of TCP listeners.
    pub tcp: u64,
    /// The same for each listener; empty for one listener.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<String, OpenConnections>,
}

impl OpenConnections {
    /// Adds the numbers of another worker.
    pub fn add(&mut self, more: &Self) {
        self.open += more.open;
        self.idle += more.idle;
        self.exchanges += more.exchanges;
        self.upgrades += more.upgrades;
        self.tcp += more.tcp;
        for (name, more) in &more.listeners {
            self.listeners.entry(name.clone()).or_default().add(more);
        }
    }
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Its balancing policy.
    pub balance: String,
    /// Servers that take requests.
    pub servers_up: u64,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
}

/// A server of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStatus {
    /// As written in the configuration.
    pub name: String,
    /// Its address; of several, the one that is tried first.
    pub address: Option<String>,
    /// All its addresses.
    pub addresses: Vec<String>,
    /// The state of its health, since when, and why.
    #[serde(flatten)]
    pub health: HealthStatus,
    /// Why it takes no requests although it is up.
    pub ejected: Option<EjectionStatus>,
    /// Its share of the requests.
    pub weight: u32,
    /// Whether it is used only when no other one is up.
    pub backup: bool,
    /// A reload has removed it from the configuration: what is open with it goes on, and nothing new begins.
    pub removed: bool,
    /// Attempts that are open.
    pub open_attempts: u64,
    /// What operators set for it.
    pub admin: Vec<AdminStatus>,
}

impl ServerStatus {
    /// Whether requests go to it: it is up, has a weight, and is kept from them neither by its connections nor by an operator.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        let set = |field: &str| self.admin.iter().find(|one| one.field == field);
        let weight = set("weight").map_or(self.weight > 0, |set| set.value != "0");
        weight && set("state").is_none() && !self.removed && self.ejected.is_none() && self.health.state == "up"
    }
}

/// What an operator set for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminStatus {
    /// `state` or `weight`.
    pub field: String,
    /// `drain` or `maint`, or the weight.
    pub value: String,
    /// The user that set it.
    pub uid: u32,
    /// The program that asked for it.
    pub command: String,
    /// The reason that was given.
    pub reason: Option<String>,
    /// Since when, as RFC 3339.
    pub since: String,
    /// When it undoes itself, as RFC 3339.
    pub until: Option<String>,
}

impl AdminStatus {
    /// It in a few words for people: `drain by uid 0 (segue) since …, until …: reason`.
    #[must_use]
    pub fn words(&self) -> String {
        let value = if self.field == "weight" { format!("weight {}", self.value) } else { self.value.clone() };
        let until = self.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{value} by uid {} ({}) since {}{until}{reason}", self.uid, self.command, self.since)
    }
}

/// A certificate, or a place where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// The hosts of its sites.
    pub hosts: Vec<String>,
    /// Its file.
    pub file: Option<String>,
    /// What issued it.
    pub issuer: Option<String>,
    /// The kind of its key.
    pub key: Option<String>,
    /// When it begins to hold, as RFC 3339.
    pub from: Option<String>,
    /// When it expires, as RFC 3339.
    pub until: Option<String>,
    /// Days until then, below zero when it has expired.
    pub days: Option<i64>,
    /// `good`, `expires`, `expired`, `early` or `missing`.
    pub state: String,
    /// Why its files cannot be used as they are.
    pub problem: Option<String>,
    /// Its orders, if a certificate authority issues it when asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeStatus>,
}

/// The orders for an automatic certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AcmeStatus {
    /// `ordering`, `waiting` until it is renewed, or `failed` until it is tried again.
    pub order: String,
    /// When that is, as RFC 3339.
    pub next: Option<String>,
    /// Why the last order failed.
    pub error: Option<String>,
}

impl CertificateStatus {
    /// What an operator has to know of it, in a few words; none when all is well.
    #[must_use]
    pub fn news(&self) -> Option<String> {
        let (host, days) = (self.hosts.first().map_or("*", String::as_str), self.days.unwrap_or_default());
        match self.state.as_str() {
            "missing" => Some(format!("{host} has no certificate")),
            "expired" => Some(format!("certificate of {host} has expired")),
            "early" => Some(format!("certificate of {host} is not valid yet")),
            "expires" if days == 1 => Some(format!("certificate of {host} expires within a day")),
            "expires" => Some(format!("certificate of {host} expires in {days} days")),
            _ => self.problem.as_ref().map(|_| format!("files of the certificate of {host} cannot be used")),
        }
    }
}

/// The health of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthStatus {
    /// The name of its state.
    pub state: String,
    /// When it entered the state, as RFC 3339.
    pub since: String,
    /// The last check.
    pub check: Option<CheckStatus>,
    /// The latest transitions, oldest first.
    pub history: Vec<TransitionStatus>,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckStatus {
    /// When it ended, as RFC 3339.
    pub at: String,
    /// Its verdict; none when the check could not be made.
    pub healthy: Option<bool>,
    /// The result, for people.
    pub result: String,
    /// Microseconds that it took.
    pub took_us: u64,
}

/// A change of the state of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransitionStatus {
    /// When, as RFC 3339.
    pub at: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why, for people.
    pub reason: String,
}

/// An ejection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EjectionStatus {
    /// Since when, as RFC 3339.
    pub since: String,
    /// When the next trial is due, as RFC 3339.
    pub until: String,
    /// Why, for people.
    pub reason: String,
}

/// One exchange or tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OldestStatus {
    /// What it is: a key of [`OpenConnections`].
    pub kind: String,
    /// Milliseconds since it was opened.
    pub age_ms: u64,
    /// Its description, for people.
    pub what: String,
}

/// For `#[serde(deserialize_with)]`: a value of another shape is the default.
///
/// # Errors
/// When it is no value at all.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_of_another_version_is_read_as_far_as_it_is_understood() {
        let other = json!({
            "threads": "two", "cut": 3, "pools": { "farm": 1 }, "new": [1], "connections": { "open": 2, "quic": 1 },
            "counters": { "listeners": { "http": { "accepted": 5 } } },
        });
        let status: WorkerStatus = serde_json::from_value(other).expect("a status");
        assert_eq!((status.threads, status.cut, status.pools.len()), (0, 3, 0));
        assert_eq!(status.connections.map(|connections| connections.open), Some(2));
        assert!(!status.counters.is_empty());
    }
}

//! What happened in the last hour, as the supervisor keeps it for the admin API: over reloads, crashes and upgrades.

use serde::{Deserialize, Serialize};

/// Seconds of one point.
pub const INTERVAL_S: u64 = 10;

/// The traffic of one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryPoint {
    /// The end of the interval, in seconds since 1970.
    pub at: u64,
    /// Exchanges that ended.
    pub requests: u64,
    /// Those of them with a status from 500 on.
    pub errors: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Client connections that are open at its end.
    pub connections: u64,
    /// Servers that take requests at its end.
    pub servers_up: u64,
    /// Servers at its end.
    pub servers: u64,
}

/// An event in the life of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecentEvent {
    /// Events are counted.
    pub number: u64,
    /// When, as RFC 3339.
    pub at: String,
    /// Its kind, as `PROXY_EVENT` in the journal.
    pub event: String,
    /// What the journal says of it; lines after the first say more.
    pub text: String,
    /// How urgent it is: `error`, `warning` or `notice`; empty from a worker of a program that does not say it.
    pub level: String,
    /// The generation that it is about, or that says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The listener that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The pool that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The server that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// Points and events, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recent {
    /// At most an hour of them.
    pub points: Vec<HistoryPoint>,
    /// The last ones.
    pub events: Vec<RecentEvent>,
}

//! What operators set for servers while the service runs. The admin API takes it from them, the supervisor keeps it, and each
//! worker gets all of it: at its start, and after each change.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::status::AdminStatus;

/// The name with which a worker gets the listening socket of the admin API. No listener can have it.
pub const ADMIN: &str = "[admin]";

/// The socket of the admin API, in the run directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// The same for the socket to which the proxy itself sends the requests for the status page of a site.
pub const DASHBOARD: &str = "[dashboard]";

/// That socket, in the run directory.
pub const DASHBOARD_SOCKET: &str = "dashboard.sock";

/// What an operator set for one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminChange {
    /// The supervisor counts changes; 0 before it has taken this one.
    #[serde(default)]
    pub revision: u64,
    /// The pool.
    pub pool: String,
    /// The server, as written in the configuration.
    pub server: String,
    /// What is set.
    pub value: AdminValue,
    /// What asked for it.
    pub by: Operator,
    /// The reason that was given.
    pub reason: Option<String>,
    /// When it was set, in milliseconds since 1970.
    pub since: u64,
    /// When it undoes itself, in milliseconds since 1970; none when it stays.
    pub until: Option<u64>,
}

/// What is set. The first three are the administrative states of HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminValue {
    /// The server takes requests as its health says: undoes the other two.
    Ready,
    /// It takes no new requests, and finishes what is open.
    Drain,
    /// The same, and it is not checked.
    Maint,
    /// It has another share of the requests.
    Weight {
        /// This one.
        weight: u32,
        /// That of the configuration: when this changes, the configuration wins.
        configured: u32,
    },
    /// It has the share of the configuration.
    ConfiguredWeight,
}

/// What a value is about: a server has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminField {
    /// Whether it takes requests.
    State,
    /// Its share of them.
    Weight,
}

/// The process that asked for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Its user.
    pub uid: u32,
    /// Its process.
    pub pid: u32,
    /// Its name, from /proc; empty when it had ended already.
    pub command: String,
}

impl AdminChange {
    /// Whether both set the same thing.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        self.value.field() == other.value.field() && self.server == other.server && self.pool == other.pool
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= millis(now))
    }

    /// How long it lasts from `now` on; none when it stays.
    #[must_use]
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        Some(Duration::from_millis(self.until?.saturating_sub(millis(now))))
    }

    /// Its part of the status of the server.
    #[must_use]
    pub fn status(&self) -> AdminStatus {
        AdminStatus {
            field: match self.value.field() {
                AdminField::State => "state".to_owned(),
                AdminField::Weight => "weight".to_owned(),
            },
            value: self.value.word(),
            uid: self.by.uid,
            command: self.by.command.clone(),
            reason: self.reason.clone(),
            since: written(self.since),
            until: self.until.map(written),
        }
    }
}

impl AdminValue {
    /// What it is about.
    #[must_use]
    pub fn field(self) -> AdminField {
        match self {
            Self::Ready | Self::Drain | Self::Maint => AdminField::State,
            Self::Weight { .. } | Self::ConfiguredWeight => AdminField::Weight,
        }
    }

    /// Whether nothing is set with it: it undoes what was.
    #[must_use]
    pub fn undoes(self) -> bool {
        matches!(self, Self::Ready | Self::ConfiguredWeight)
    }

    /// What is asked for to undo it.
    #[must_use]
    pub fn undone(self) -> Self {
        match self.field() {
            AdminField::State => Self::Ready,
            AdminField::Weight => Self::ConfiguredWeight,
        }
    }

    /// Whether it holds for a server with this weight in the configuration: another weight wins over what an operator set.
    #[must_use]
    pub fn holds_at(self, weight: u32) -> bool {
        match self {
            Self::Weight { configured, .. } => configured == weight,
            _ => true,
        }
    }

    /// The word for it in the status: a state or a number.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Ready => "ready".to_owned(),
            Self::Drain => "drain".to_owned(),
            Self::Maint => "maint".to_owned(),
            Self::Weight { weight, .. } => weight.to_string(),
            Self::ConfiguredWeight => "configured".to_owned(),
        }
    }

    /// It in a sentence about a server: "drain", "weight 5".
    #[must_use]
    pub fn phrase(self) -> String {
        match self.field() {
            AdminField::State => self.word(),
            AdminField::Weight => format!("weight {}", self.word()),
        }
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// RFC 3339, in seconds.
fn written(millis: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    // what no year can say stands for a time that is far away
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(time.unwrap_or(last).min(last)).to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A change of a server of the pool `farm`.
    pub(crate) fn change(server: &str, value: AdminValue) -> AdminChange {
        AdminChange {
            revision: 0,
            pool: "farm".to_owned(),
            server: server.to_owned(),
            value,
            by: Operator::default(),
            reason: None,
            since: 0,
            until: None,
        }
    }

    #[test]
    fn a_server_has_one_state_and_one_weight() {
        let change = |server, value| AdminChange { until: Some(u64::MAX), ..change(server, value) };
        let drain = change("a:80", AdminValue::Drain);
        let weight = change("a:80", AdminValue::Weight { weight: 3, configured: 1 });
        assert!(change("a:80", AdminValue::Ready).replaces(&drain) && !weight.replaces(&drain));
        assert!(!change("b:80", AdminValue::Maint).replaces(&drain));
        assert_eq!((drain.status().value.as_str(), weight.value.phrase().as_str()), ("drain", "weight 3"));
        assert_eq!(weight.status().until.as_deref(), Some("9999-12-31T23:59:59Z"));
        assert!(!weight.is_over(SystemTime::now()));
    }
}

//! What is asked of the client connections of every generation: which are open, or that one be closed. It goes from the
//! admin API to the supervisor, and from there to each worker, with the socket to which the answers go.
//!
//! ```text
//!   admin API ──request, socket──▶ supervisor ──the same──▶ each worker ──answers──▶ the other end of the socket
//! ```
//! A worker closes the socket once it has said all. The supervisor keeps none: its end is the end of the last worker.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::admin::Operator;

/// Bytes of the longest answer.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// How many connections a list has at most: each serving thread describes as many.
pub const MOST_LISTED: usize = 1_000;

/// How many of the exchanges of a connection are described.
pub const MOST_EXCHANGES: usize = 16;

/// A client connection, for as long as it is open: it keeps its id when another generation takes it. As text it is the number
/// of the generation and of the thread that accepted it, and its own number there, as in `12-0-345`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ConnectionId(u64);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionsRequest {
    /// Describe those that the filter selects, the oldest of them.
    List {
        /// Which.
        filter: ConnectionFilter,
        /// How many.
        most: usize,
    },
    /// Close one, with what is open on it.
    Close {
        /// This one.
        id: ConnectionId,
        /// What asks for it.
        by: Operator,
        /// The reason that was given.
        reason: Option<String>,
    },
}

/// Which connections: those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionFilter {
    /// The network of the client, by the address of the connection or that which its proxy named in the PROXY protocol.
    pub client: Option<IpNet>,
    /// The listener.
    pub listener: Option<String>,
    /// An exchange of this site, by the HOST of a `[site."HOST"]`, is open on it.
    pub site: Option<String>,
    /// An exchange with a server of this pool is open on it.
    pub pool: Option<String>,
    /// An exchange with this server is open on it.
    pub server: Option<String>,
    /// It was accepted so long ago at least.
    pub older: Option<Duration>,
    /// It does not wait for its next request, or does.
    pub busy: Option<bool>,
}

/// One packet on the socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionsAnswer {
    /// One of the connections; the one that is closed, where this was asked for.
    Connection(ConnectionStatus),
    /// The last packet of a generation.
    End {
        /// Its number.
        generation: u64,
        /// How many connections it has that were asked for.
        matched: u64,
        /// Each of its threads has answered.
        is_whole: bool,
    },
}

/// A client connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its name.
    pub id: ConnectionId,
    /// The generation that has it.
    pub generation: u64,
    /// The client, none on a unix socket.
    pub client: Option<SocketAddr>,
    /// Its listener.
    pub listener: String,
    /// TLS ends here, in this version.
    pub tls: Option<String>,
    /// Since it was accepted.
    pub age_ms: u64,
    /// Since it waits for its next request; none while it is busy.
    pub idle_ms: Option<u64>,
    /// How many exchanges or tunnels are open on it.
    pub open: u64,
    /// The oldest of them.
    pub exchanges: Vec<ExchangeStatus>,
}

/// An exchange or a tunnel that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExchangeStatus {
    /// `exchange`, `upgrade` or `tcp`.
    pub kind: String,
    /// The protocol of its client.
    pub protocol: String,
    /// The method; none in TCP mode.
    pub method: Option<String>,
    /// The path, without its query and what may be secret.
    pub path: Option<String>,
    /// The site, by its HOST.
    pub site: Option<String>,
    /// The pool.
    pub pool: Option<String>,
    /// The server.
    pub server: Option<String>,
    /// Since it was opened.
    pub age_ms: u64,
}

/// What there is room for; a worker has 1,024 threads at most.
const MOST_GENERATION: u64 = (1 << 22) - 1;
const MOST_THREAD: u64 = (1 << 10) - 1;

impl ConnectionId {
    /// That of the first connection of a thread. The numbers of generations grow over restarts too.
    #[must_use]
    pub fn first(generation: u64, thread: usize) -> Self {
        Self((generation & MOST_GENERATION) << 42 | (thread as u64 & MOST_THREAD) << 32)
    }

    /// That of the connection after this one. It is another one for 2³² connections of the thread.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 & !u64::from(u32::MAX) | u64::from((self.0 as u32).wrapping_add(1)))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}-{}", self.0 >> 42, self.0 >> 32 & MOST_THREAD, self.0 as u32)
    }
}

/// The text is no id of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of a connection is three numbers, as in 12-0-345: `segue connections` shows them")]
pub struct NoConnectionId;

impl FromStr for ConnectionId {
    type Err = NoConnectionId;

    fn from_str(text: &str) -> Result<Self, NoConnectionId> {
        let mut parts = text.split('-');
        let mut part = |most: u64| {
            let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            part.and_then(|part| part.parse::<u64>().ok()).filter(|number| *number <= most).ok_or(NoConnectionId)
        };
        let (generation, thread, number) = (part(MOST_GENERATION)?, part(MOST_THREAD)?, part(u32::MAX.into())?);
        parts.next().is_none().then_some(Self(generation << 42 | thread << 32 | number)).ok_or(NoConnectionId)
    }
}

impl From<ConnectionId> for String {
    fn from(id: ConnectionId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ConnectionId {
    type Error = NoConnectionId;

    fn try_from(text: String) -> Result<Self, NoConnectionId> {
        text.parse()
    }
}

impl ConnectionFilter {
    /// Whether a connection is selected by what is known without a look at its exchanges.
    #[must_use]
    pub fn selects(&self, client: Option<IpAddr>, listener: &str, age: Duration, is_busy: bool) -> bool {
        let of_client = |wanted: IpNet| client.is_some_and(|client| wanted.contains(&client.to_canonical()));
        self.client.is_none_or(of_client)
            && self.listener.as_deref().is_none_or(|wanted| wanted == listener)
            && self.older.is_none_or(|older| age >= older)
            && self.busy.is_none_or(|busy| busy == is_busy)
    }

    /// Whether it matters what is open on a connection.
    #[must_use]
    pub fn is_of_exchanges(&self) -> bool {
        self.site.is_some() || self.pool.is_some() || self.server.is_some()
    }

    /// Whether an exchange is one for which a connection is selected.
    #[must_use]
    pub fn selects_exchange(&self, site: Option<&str>, pool: Option<&str>, server: Option<&str>) -> bool {
        let is =
            |wanted: &Option<String>, own: Option<&str>| wanted.as_deref().is_none_or(|wanted| own == Some(wanted));
        let is_site =
            self.site.as_deref().is_none_or(|wanted| site.is_some_and(|own| own.eq_ignore_ascii_case(wanted)));
        is_site && is(&self.pool, pool) && is(&self.server, server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_is_another_for_each_connection() {
        let first = ConnectionId::first(12, 1);
        let second = first.next();
        assert_eq!((first.to_string(), second.to_string()), ("12-1-0".to_owned(), "12-1-1".to_owned()));
        assert_eq!("12-1-1".parse(), Ok(second));
        let last: ConnectionId = "3-1023-4294967295".parse().expect("an id");
        assert_eq!(last.next(), ConnectionId::first(3, 1023), "and not of another thread");
        for wrong in ["", "1", "1-2", "1-2-3-4", "1-1024-1", "1-+2-3", "a-b-c", "1-2-4294967296", "-1-2"] {
            assert_eq!(wrong.parse::<ConnectionId>(), Err(NoConnectionId), "{wrong}");
        }
    }

    #[test]
    fn a_filter_selects_that_for_which_all_holds() {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let filter = ConnectionFilter {
            client: "10.0.0.0/24".parse().ok(),
            older: Some(Duration::from_secs(5)),
            busy: Some(false),
            ..ConnectionFilter::default()
        };
        let six = Duration::from_secs(6);
        assert!(filter.selects(address("10.0.0.7"), "http", six, false));
        assert!(filter.selects(address("::ffff:10.0.0.7"), "http", six, false));
        assert!(!filter.selects(address("10.0.1.7"), "http", six, false) && !filter.selects(None, "http", six, false));
        assert!(!filter.selects(address("10.0.0.7"), "http", Duration::from_secs(4), false));
        assert!(!filter.selects(address("10.0.0.7"), "http", six, true));
        assert!(!filter.is_of_exchanges() && filter.selects_exchange(None, None, None));
        let of_server = ConnectionFilter { server: Some("a:1".to_owned()), ..ConnectionFilter::default() };
        assert!(of_server.is_of_exchanges() && of_server.selects_exchange(None, Some("farm"), Some("a:1")));
        assert!(!of_server.selects_exchange(None, Some("farm"), Some("b:1")));
        let of_site = ConnectionFilter { site: Some("App.test".to_owned()), ..ConnectionFilter::default() };
        assert!(of_site.selects_exchange(Some("app.test"), None, None) && !of_site.selects_exchange(None, None, None));
    }
}

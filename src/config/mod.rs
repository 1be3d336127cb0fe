//! The configuration, checked: plain data, no I/O, every value right by construction.
//!
//! `load` reads the sources with figment, `file` is the shape as a person writes it, `check` turns one into the
//! other and collects every `Problem`; everything above this module sees only the types of this file.

mod address;
mod check;
pub mod diff;
mod effective;
mod file;
mod foreign;
pub mod load;
pub mod manual;
mod merge;
mod pools;
pub mod problem;
mod read;
mod repair;
mod report;
mod rules;
mod servers;
mod sockets;
mod spot;
mod suggest;
mod syntax;
mod table;
pub mod units;
mod values;
mod words;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use load::Sources;
use problem::Problem;

/// Everything that one generation is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Listeners that speak HTTP, in the order of their names.
    pub listeners: Vec<Listener>,
    /// Sites, in the order of their host patterns.
    pub sites: Vec<Site>,
    /// Pools, in the order of their names; sites and TCP listeners refer to them by index.
    pub pools: Vec<Pool>,
    /// Listeners that relay bytes, in the order of their names.
    pub tcp: Vec<Tcp>,
    /// What goes to the journal.
    pub log: Log,
    /// How a generation ends.
    pub drain: Drain,
    /// What one worker may use.
    pub worker: Worker,
}

impl Config {
    /// Reads one text as if it were the whole of `segue.toml`: no other file, no variable. Warnings do not refuse it.
    ///
    /// # Errors
    /// Every problem, when one of them refuses the configuration.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        let checked = Sources::from_text(text).check();
        checked.config.ok_or(checked.problems)
    }

    /// Equal for equal configurations, comparable only within one version of the program.
    #[must_use]
    pub fn hash(&self) -> String {
        // FNV-1a over what `Debug` shows, which is every field: it needs no second description of the types.
        let bytes = format!("{self:?}").into_bytes();
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

/// `[listen.NAME]`: a named socket plus its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The name, the same as `FileDescriptorName=` of the socket unit.
    pub name: String,
    /// Where the supervisor binds when systemd passed no socket of this name.
    pub address: Option<Address>,
    /// Client connections open at once on this listener; more wait in the backlog of the kernel.
    pub max_connections: u32,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Longest silence inside a request body.
    pub body_timeout: Duration,
    /// Longest time that a response may wait for a client that does not read.
    pub write_timeout: Duration,
    /// How long an exchange goes on after the client closed its sending side.
    pub half_close_timeout: Option<Duration>,
    /// Largest request head, in bytes: 431 above it.
    pub max_head: usize,
    /// Longest request target, in bytes: 414 above it.
    pub max_target: usize,
    /// Most header fields in a request: 431 above it.
    pub max_fields: usize,
    /// Peers whose `X-Forwarded-*` fields are believed.
    pub trusted_proxies: Vec<TrustedProxy>,
}

/// A proxy in front of this one, by where it connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// An address of this network.
    Net(IpNet),
    /// A unix socket, which has no address: every process that may connect to it.
    Unix,
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => net.fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

/// `[site."HOST"]`: the host names that a client asks for, and the pool that answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Which hosts.
    pub host: HostPattern,
    /// Index into [`Config::pools`].
    pub pool: usize,
    /// Largest request body, in bytes: 413 above it.
    pub max_body: u64,
}

/// A host name, `*.suffix`, or `*` for any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this name, in lower case, without a port.
    Exact(String),
    /// Any name that ends in `.suffix` (stored without the leading `*.`).
    Suffix(String),
    /// Every name, also none.
    Any,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => out.write_str(name),
            Self::Suffix(suffix) => write!(out, "*.{suffix}"),
            Self::Any => out.write_str("*"),
        }
    }
}

/// `[pool.NAME]`: a named set of equal servers with one balancing policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The name; for servers written inside a site or a TCP listener, that one's name.
    pub name: String,
    /// The servers, those with `backup` last.
    pub servers: Vec<Server>,
    /// How the next server is picked.
    pub balance: Balance,
    /// The active health request, if there is one.
    pub check: Option<Check>,
    /// Connections in a row that fail until a server is ejected; 0: never.
    pub max_fails: u32,
    /// How long a server is ejected until it is tried again, at most.
    pub max_ejection: Duration,
    /// Attempts after the first one, at most.
    pub retries: u32,
    /// Whether a retry goes to another server where there is one.
    pub redispatch: bool,
    /// Time to open a connection to a server.
    pub connect_timeout: Duration,
    /// From the end of the request (or the last progress of it) to the head of the response, and the longest
    /// silence inside the response body.
    pub response_timeout: Duration,
    /// Longest silence inside a tunnel, both directions.
    pub tunnel_timeout: Duration,
    /// How long an idle upstream connection is kept for the next request.
    pub keep_alive: Duration,
    /// Idle upstream connections kept for each server, by each thread.
    pub keep_alive_connections: usize,
}

/// One address in a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// As written; this names the server in the log and keeps its identity over reloads.
    pub name: String,
    /// Where it is.
    pub address: ServerAddress,
    /// Its share of the requests, against the other servers' weights; 0 takes none.
    pub weight: u32,
    /// Used only when no other server is up.
    pub backup: bool,
}

/// Where a server is: known, or to be asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// A socket address or the path of a unix socket.
    Fixed(Address),
    /// A host name and a port; until DNS answers the server waits.
    Name {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 with a port.
    Ip(SocketAddr),
    /// A unix stream socket, written `unix:/path`.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// How the next server is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight, evenly spread.
    RoundRobin,
    /// The server with the fewest open attempts for its weight.
    LeastConnections,
}

/// The active health request of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is sent.
    pub kind: CheckKind,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// For connecting and for the whole answer.
    pub timeout: Duration,
    /// Good results in a row that make a server up.
    pub rise: u32,
    /// Bad results in a row that make a server down.
    pub fall: u32,
}

/// What a check sends.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// `check = "HEAD /path"`: 2xx and 3xx are healthy.
    Http {
        /// The method, upper case.
        method: String,
        /// The path with its query.
        path: String,
        /// The Host field; by default the server's own name.
        host: Option<String>,
    },
    /// `check = "connect"`: an accepted connection is healthy.
    Connect,
}

/// `[tcp.NAME]`: a listener that relays bytes to a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// The name, the same as `FileDescriptorName=` of the socket unit.
    pub name: String,
    /// Where the supervisor binds when systemd passed no socket of this name.
    pub address: Option<Address>,
    /// Index into [`Config::pools`].
    pub pool: usize,
    /// Client connections open at once on this listener.
    pub max_connections: u32,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Which exchanges are written.
    pub access: Access,
    /// From this duration on an exchange counts as slow.
    pub slow: Duration,
    /// Whether connections that end without a request are written too; they are always counted.
    pub empty_connections: bool,
    /// The bound of records of requests that reached no server.
    pub refused: Rate,
    /// The bound of all other records.
    pub others: Option<Rate>,
    /// Whether records have the field `User-Agent`.
    pub user_agent: bool,
    /// Whether records have the field `Referer`.
    pub referer: bool,
    /// Whether responses have the request id.
    pub request_id_in_response: bool,
}

/// A bound of how many come in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many a second, at least 1.
    pub per_second: u32,
    /// How many at once, at least 1.
    pub burst: u32,
}

/// Which exchanges are written to the journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Access {
    /// Every one.
    All,
    /// Those that failed (status 500 and above, or ended badly) and those that were slow.
    ErrorsAndSlow,
    /// As above, and this share of the rest, in parts of a million.
    Sample(u32),
    /// None.
    Off,
}

/// `[drain]`: how a generation ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// After a reload: how long the old generation may finish what it holds.
    pub timeout: Duration,
    /// At stop and restart: the same, shorter, because nobody accepts meanwhile.
    pub stop_timeout: Duration,
    /// Generations that live at once, at most.
    pub generations: usize,
    /// What all but the serving one may use together.
    pub memory: Memory,
    /// How long one may take that has to make room.
    pub hurry_timeout: Duration,
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Bytes.
    Size(u64),
    /// A share of what the service may use, in parts of a million.
    Share(u32),
}

/// `[worker]`: what one worker may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Threads that serve; none means one for each CPU that the unit may use.
    pub threads: Option<usize>,
    /// Silence on a TCP connection after which the kernel asks whether the other end is there; none for never.
    pub tcp_keep_alive: Option<Duration>,
    /// Client connections open at once, all listeners together; none means derived from the limit of open files.
    pub max_connections: Option<u32>,
}

//! How something ended, an exchange or the connection of a client: on whose side, in which phase, for which reason.

use serde::{Deserialize, Serialize};

/// How an exchange or a client connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Where it was.
    pub phase: Phase,
    /// Why it ended; [`End::side`] follows from it.
    pub reason: Reason,
}

impl End {
    /// All of it was done: an exchange is whole, or a connection ends after a response that said so.
    pub const OK: Self = Self::new(Phase::Done, Reason::Ok);
    /// The client closed a connection on which nothing was open.
    pub const CLIENT_DONE: Self = Self::new(Phase::Idle, Reason::ClientClosed);
    /// Nothing came on a connection for as long as it may be idle.
    pub const IDLE_TIMEOUT: Self = Self::new(Phase::Idle, Reason::ClientTimeout);
    /// An idle connection made room for another one.
    pub const EVICTED: Self = Self::new(Phase::Idle, Reason::Evicted);

    /// An end in `phase`, for `reason`.
    #[must_use]
    pub const fn new(phase: Phase, reason: Reason) -> Self {
        Self { phase, reason }
    }

    /// Whose doing it was.
    #[must_use]
    pub fn side(self) -> Side {
        match self.reason {
            Reason::ClientClosed
            | Reason::ClientTimeout
            | Reason::BadRequest
            | Reason::TooLarge
            | Reason::NoSite
            | Reason::Denied => Side::Client,
            Reason::NoServer
            | Reason::ServerRefused
            | Reason::ServerTimeout
            | Reason::ServerClosed
            | Reason::ServerBadResponse
            | Reason::ServerTls => Side::Server,
            Reason::Ok | Reason::Drained | Reason::Internal | Reason::Killed | Reason::Evicted | Reason::Moved => {
                Side::Proxy
            }
        }
    }
}

/// Whose act, silence or fault an end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client left, was silent, or asked for what it cannot have.
    Client,
    /// A server failed, or no server was there.
    Server,
    /// This program ended it.
    Proxy,
}

/// Why something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// All of it, both ways.
    Ok,
    /// The client went away.
    ClientClosed,
    /// The client was silent for too long, or did not read.
    ClientTimeout,
    /// The request broke a rule of HTTP.
    BadRequest,
    /// The request was above a limit; the detail names it.
    TooLarge,
    /// No site has this host.
    NoSite,
    /// No server of the pool could be tried.
    NoServer,
    /// Every server tried refused the connection, or could not be reached.
    ServerRefused,
    /// A server took too long.
    ServerTimeout,
    /// A server closed the connection before its response was whole.
    ServerClosed,
    /// A server's response broke a rule of HTTP.
    ServerBadResponse,
    /// TLS with every server tried failed, or its certificate is not right.
    ServerTls,
    /// A method or protocol that is not allowed here.
    Denied,
    /// Cut at the drain deadline.
    Drained,
    /// A defect of ours.
    Internal,
    /// An operator had the connection closed; HAProxy calls such a session killed, too.
    Killed,
    /// An idle connection made room for another one; exchanges do not end so.
    Evicted,
    /// Another generation has it now; exchanges do not end here then.
    Moved,
}

impl Reason {
    /// Every reason of exchanges, in the order of the variants.
    pub const ALL: [Self; 16] = [
        Self::Ok,
        Self::ClientClosed,
        Self::ClientTimeout,
        Self::BadRequest,
        Self::TooLarge,
        Self::NoSite,
        Self::NoServer,
        Self::ServerRefused,
        Self::ServerTimeout,
        Self::ServerClosed,
        Self::ServerBadResponse,
        Self::ServerTls,
        Self::Denied,
        Self::Drained,
        Self::Internal,
        Self::Killed,
    ];

    /// The word, as `PROXY_END` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientClosed => "client-closed",
            Self::ClientTimeout => "client-timeout",
            Self::BadRequest => "bad-request",
            Self::TooLarge => "too-large",
            Self::NoSite => "no-site",
            Self::NoServer => "no-server",
            Self::ServerRefused => "server-refused",
            Self::ServerTimeout => "server-timeout",
            Self::ServerClosed => "server-closed",
            Self::ServerBadResponse => "server-bad-response",
            Self::ServerTls => "server-tls",
            Self::Denied => "denied",
            Self::Drained => "drained",
            Self::Killed => "killed",
            Self::Internal => "internal",
            Self::Evicted => "evicted",
            Self::Moved => "moved",
        }
    }
}

/// Where an exchange or a client connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Between two requests; exchanges are never there.
    Idle,
    /// In the TLS handshake; exchanges are never there.
    Handshake,
    /// Reading the request head.
    Head,
    /// Finding the site.
    Route,
    /// Picking a server and opening a connection to it.
    Connect,
    /// Sending the request.
    Request,
    /// Waiting for the response head.
    Response,
    /// Relaying the response body.
    Body,
    /// Relaying bytes both ways.
    Tunnel,
    /// Everything was done.
    Done,
}

impl Phase {
    /// The word, as `PROXY_PHASE` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Handshake => "handshake",
            Self::Head => "head",
            Self::Route => "route",
            Self::Connect => "connect",
            Self::Request => "request",
            Self::Response => "response",
            Self::Body => "body",
            Self::Tunnel => "tunnel",
            Self::Done => "done",
        }
    }
}

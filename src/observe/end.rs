//! How an exchange ended: the reason, and how far it was.

/// Why an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// A method or protocol that is not allowed here.
    Denied,
    /// Cut at the drain deadline.
    Drained,
    /// A defect of ours.
    Internal,
}

impl Reason {
    /// Every end, in the order of the variants.
    pub const ALL: [Self; 14] = [
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
        Self::Denied,
        Self::Drained,
        Self::Internal,
    ];

    /// The word in `PROXY_END`.
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
            Self::Denied => "denied",
            Self::Drained => "drained",
            Self::Internal => "internal",
        }
    }
}

/// Where an exchange was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
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
    /// The word in `PROXY_PHASE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
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

//! One connection on its way from one process to another: plain data and descriptors, with names instead of indexes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde::{Deserialize, Deserializer, Serialize};

use super::exchange::{ExchangeTransfer, SavedBody, SavedExchange};
use super::http2::Http2Transfer;
use crate::control::connections::ConnectionId;
use crate::moment;
use crate::net::Detached;
use crate::tls::upstream::Fingerprint;

/// A connection that moves.
#[derive(Debug)]
pub struct Transfer {
    /// The client's connection, with the TLS on it whatever the load is.
    pub socket: Detached,
    /// The state of the client.
    pub client: ClientFacts,
    /// The state of the connection.
    pub load: Load,
}

/// The state of a client connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFacts {
    /// The listener that accepted it.
    pub listener: String,
    /// The client's address; none on unix sockets. A trusted proxy may have named it.
    pub peer: Option<SocketAddr>,
    /// Its name; absent in messages of older versions. One of another form is none: the connection gets another.
    #[serde(default, deserialize_with = "known_id")]
    pub id: Option<ConnectionId>,
    /// Since it was accepted.
    pub age: Duration,
    /// Since its last exchange was over, or since it was accepted.
    pub idle: Duration,
    /// Exchanges that it had.
    pub exchanges: u32,
    /// Whether the client speaks TLS, to this proxy or to the one in front of it; absent in messages of older versions.
    #[serde(default)]
    pub tls: bool,
    /// The address to which it connected, where the sender's servers are told of it.
    #[serde(default)]
    pub reached: Option<SocketAddr>,
    /// When this was written down; absent in messages of older versions.
    #[serde(default, with = "moment::optional")]
    pub saved: Option<Instant>,
}

fn known_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ConnectionId>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.and_then(|text| text.parse().ok()))
}

/// What is on a connection that moves.
#[derive(Debug)]
pub enum Load {
    /// Nothing was understood yet of what the client sent. Only to a generation that takes it.
    Accepted(AcceptedTransfer),
    /// HTTP/1 between two exchanges.
    Idle {
        /// Bytes of the next request that were read.
        ahead: BytesMut,
        /// Since the first of them came, when they are part of a head; none when they were not looked at.
        began: Option<Duration>,
        /// The private upstream connections.
        private: Vec<PrivateTransfer>,
    },
    /// Bytes both ways, after an upgrade or in TCP mode.
    Tunnel(Box<TunnelTransfer>),
    /// HTTP/1 with an open exchange. Only to a generation that takes them.
    Http1(Box<Http1Transfer>),
    /// HTTP/2, with whatever is open. Only to a generation that takes it.
    Http2(Box<Http2Transfer>),
}

/// A connection whose first message is still to come, in the clear.
#[derive(Debug)]
pub struct AcceptedTransfer {
    /// The message.
    pub first: FirstMessage,
    /// What was read of it.
    pub received: BytesMut,
    /// For how much longer it is waited for.
    pub left: Duration,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstMessage {
    /// The header of the PROXY protocol, from a trusted proxy.
    ProxyHeader,
    /// The ClientHello of TLS, which ends here or is looked at for its host.
    ClientHello,
}

/// An upstream connection that moves with the client connection to which it belongs.
#[derive(Debug)]
pub struct PrivateTransfer {
    /// The connection, with the TLS on it.
    pub socket: Detached,
    /// [`crate::tls::UpstreamTls::fingerprint`] of the connection; none without TLS.
    pub tls: Option<Fingerprint>,
    /// The pool.
    pub pool: String,
    /// The server at its other end.
    pub server: String,
}

/// A tunnel that moves.
#[derive(Debug)]
pub struct TunnelTransfer {
    /// The connection to the server, with the TLS on it.
    pub server: Detached,
    /// The exchange so far.
    pub exchange: SavedExchange,
    /// From the client to the server.
    pub up: SavedDirection,
    /// From the server to the client.
    pub down: SavedDirection,
}

/// An HTTP/1 connection with an open exchange.
#[derive(Debug)]
pub struct Http1Transfer {
    /// The exchange.
    pub exchange: ExchangeTransfer,
    /// The side of the client.
    pub client: Http1Client,
    /// The private upstream connections that are not in use.
    pub private: Vec<PrivateTransfer>,
}

/// The side of the client of an HTTP/1 connection with an open exchange.
#[derive(Debug)]
pub struct Http1Client {
    /// Where it is in its messages.
    pub state: SavedHttp1,
    /// What is on its way to the client.
    pub unsent: BytesMut,
    /// What was read of the rest of the request, and of the next one.
    pub ahead: BytesMut,
}

/// Where a client of HTTP/1 is in its request and its response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedHttp1 {
    /// What is still to come of the body of the request.
    pub request: SavedBody,
    /// How the client is told where the body of the response ends.
    pub framing: SavedFraming,
    /// The head of the final response was given.
    pub has_head: bool,
    /// No request follows on the connection.
    pub closes: bool,
    /// Bytes that the client has already of what comes next.
    #[serde(default)]
    pub sent_ahead: usize,
    /// The client has closed its sending side.
    #[serde(default)]
    pub half_closed: Option<SavedHalfClosed>,
    /// How long the client may still send nothing, if it is its turn.
    #[serde(default)]
    pub read: Option<Duration>,
    /// How long the client may still take nothing, if it is its turn.
    #[serde(default)]
    pub write: Option<Duration>,
}

/// A client that has closed its sending side, and waits for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHalfClosed {
    /// Since when.
    pub age: Duration,
    /// For how much longer it is waited for.
    pub left: Duration,
}

/// How the client is told where the body of a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedFraming {
    /// By its length.
    Length,
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// One direction of a tunnel.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SavedDirection {
    /// Bytes that were read and are not written yet.
    pub pending: BytesMut,
    /// The reading side has ended.
    pub ended: bool,
    /// The end was passed on.
    pub finished: bool,
    /// Bytes that passed.
    pub bytes: u64,
}

impl Transfer {
    /// Counts the time of the move in what records tell. Deadlines do not: the pause was not the client's, nor its server's.
    pub fn count_move(&mut self) {
        let Some(saved) = self.client.saved.take() else { return };
        let time = saved.elapsed();
        self.client.age += time;
        match &mut self.load {
            Load::Accepted(accepted) => accepted.left = accepted.left.saturating_sub(time), // else reloads prolong it
            Load::Idle { .. } => {}
            Load::Tunnel(tunnel) => tunnel.exchange.age += time,
            Load::Http1(http1) => http1.exchange.count_move(time),
            Load::Http2(http2) => {
                let exchanges = http2.streams.iter_mut().filter_map(|stream| stream.exchange.as_mut());
                exchanges.for_each(|exchange| exchange.count_move(time));
            }
        }
    }

    /// How many descriptors it has.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        match &self.load {
            Load::Accepted(_) => 1,
            Load::Idle { private, .. } => 1 + private.len(),
            Load::Tunnel(_) => 2,
            Load::Http1(http1) => 1 + http1.exchange.descriptors() + http1.private.len(),
            Load::Http2(http2) => 1 + http2.descriptors(),
        }
    }

    /// How many bytes were read and not passed on.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let private = |all: &[PrivateTransfer]| all.iter().map(|one| one.socket.bytes()).sum::<usize>();
        self.socket.bytes()
            + match &self.load {
                Load::Accepted(accepted) => accepted.received.len(),
                Load::Idle { ahead, private: all, .. } => ahead.len() + private(all),
                Load::Tunnel(tunnel) => tunnel.server.bytes() + tunnel.up.pending.len() + tunnel.down.pending.len(),
                Load::Http1(http1) => {
                    let Http1Transfer { exchange, client, private: all } = &**http1;
                    exchange.bytes() + client.unsent.len() + client.ahead.len() + private(all)
                }
                Load::Http2(http2) => http2.bytes(),
            }
    }

    /// How many of its connections have TLS: with any, [`super::tls_states`] decides which process has all of it.
    #[must_use]
    pub fn tls_states(&self) -> usize {
        let private = |all: &[PrivateTransfer]| all.iter().filter(|one| one.socket.tls.is_some()).count();
        let load = match &self.load {
            Load::Accepted(_) => 0,
            Load::Idle { private: all, .. } => private(all),
            Load::Tunnel(tunnel) => usize::from(tunnel.server.tls.is_some()),
            Load::Http1(http1) => usize::from(http1.exchange.has_tls()) + private(&http1.private),
            Load::Http2(http2) => {
                let exchanges = http2.streams.iter().flat_map(|stream| &stream.exchange);
                exchanges.filter(|exchange| exchange.has_tls()).count()
            }
        };
        load + usize::from(self.socket.tls.is_some())
    }
}

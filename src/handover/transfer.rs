//! One connection on its way from one process to another: plain data and descriptors, with names instead of indexes.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::http1::chunked::Decoder;
use crate::observe::record::{Outcome, Protocol, RequestId, Timers};

/// A connection that moves.
#[derive(Debug)]
pub struct Transfer {
    /// The client's connection.
    pub socket: OwnedFd,
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
}

/// What is on a connection that moves.
#[derive(Debug)]
pub enum Load {
    /// HTTP/1 between two exchanges.
    Idle {
        /// Bytes of the next request that were read.
        ahead: BytesMut,
        /// The private upstream connections.
        private: Vec<PrivateTransfer>,
    },
    /// Bytes both ways, after an upgrade or in TCP mode.
    Tunnel(Box<TunnelTransfer>),
    /// HTTP/1 while the body of a response passes. Only to a generation that takes them.
    Response(Box<ResponseTransfer>),
}

/// An upstream connection that moves with the client connection to which it belongs.
#[derive(Debug)]
pub struct PrivateTransfer {
    /// The connection.
    pub socket: OwnedFd,
    /// The pool.
    pub pool: String,
    /// The server at its other end.
    pub server: String,
}

/// A tunnel that moves.
#[derive(Debug)]
pub struct TunnelTransfer {
    /// The connection to the server.
    pub server: OwnedFd,
    /// The exchange so far.
    pub exchange: SavedExchange,
    /// From the client to the server.
    pub up: SavedDirection,
    /// From the server to the client.
    pub down: SavedDirection,
}

/// An exchange that moves while the body of its response passes; its request is whole.
#[derive(Debug)]
pub struct ResponseTransfer {
    /// The connection to the server; none once the response came whole.
    pub server: Option<OwnedFd>,
    /// The exchange so far.
    pub exchange: SavedExchange,
    /// The states of both connections.
    pub state: SavedResponse,
    /// What was read of the response and not yet understood.
    pub unread: BytesMut,
    /// What is on its way to the client.
    pub unsent: BytesMut,
    /// What was read of the next request.
    pub ahead: BytesMut,
}

/// Where a response is between its server and its client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedResponse {
    /// What is still to come of its body.
    pub left: SavedBody,
    /// The server keeps the connection after it.
    pub server_keeps: bool,
    /// How long the server said that it keeps the connection while idle.
    pub server_keeps_for: Option<Duration>,
    /// How the client is told where the body ends.
    pub framing: SavedFraming,
    /// No request follows on the connection of the client.
    pub closes: bool,
    /// The client takes trailers.
    pub takes_trailers: bool,
    /// Bytes of the body of the request.
    pub bytes_in: u64,
    /// Bytes of the body of the response that went to the client.
    pub bytes_out: u64,
}

/// What is still to come of the body of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedBody {
    /// So many bytes.
    Length(u64),
    /// Chunks, from where the decoder is.
    Chunked(Box<Decoder>),
    /// Whatever comes until the server closes.
    UntilClose,
    /// Nothing: the client has to take the rest.
    Nothing,
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

/// What the record of an exchange that moves needs from its beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedExchange {
    /// The request id.
    pub id: RequestId,
    /// Since the exchange opened.
    pub age: Duration,
    /// Since anything passed.
    pub silent: Duration,
    /// The host pattern of the site; none in TCP mode.
    pub site: Option<String>,
    /// The pool.
    pub pool: String,
    /// The server at its other end.
    pub server: String,
    /// The protocol of the client.
    pub protocol: Protocol,
    /// The method; none in TCP mode.
    pub method: Option<String>,
    /// The target as it came; empty in TCP mode.
    pub target: String,
    /// The host asked for.
    pub host: String,
    /// The status sent to the client; 0 when none was.
    pub status: u16,
    /// Durations until the tunnel was there.
    pub timers: Timers,
    /// Every try against a server, in order.
    pub attempts: Vec<SavedAttempt>,
    /// The address of the client, as the trusted proxies named it; absent in stories of older versions.
    #[serde(default)]
    pub client: Option<SocketAddr>,
}

/// One try against a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAttempt {
    /// The server.
    pub server: String,
    /// Whether an idle upstream connection was used.
    pub reused: bool,
    /// Its outcome.
    pub outcome: Outcome,
    /// Microseconds until the outcome.
    pub took: u32,
}

impl Transfer {
    /// How many descriptors it has.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        match &self.load {
            Load::Idle { private, .. } => 1 + private.len(),
            Load::Tunnel(_) => 2,
            Load::Response(response) => 1 + usize::from(response.server.is_some()),
        }
    }

    /// How many bytes were read and not passed on.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.load {
            Load::Idle { ahead, .. } => ahead.len(),
            Load::Tunnel(tunnel) => tunnel.up.pending.len() + tunnel.down.pending.len(),
            Load::Response(response) => response.unread.len() + response.unsent.len() + response.ahead.len(),
        }
    }
}

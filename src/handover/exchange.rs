//! One HTTP exchange on its way from one process to another: how far it is, and its connection to the server.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::http1::chunked::Decoder;
use crate::net::Detached;
use crate::observe::end::End;
use crate::observe::record::{Outcome, Protocol, RequestId, Timers};
use crate::tls::upstream::Fingerprint;

/// An exchange that moves, whatever it waits for: a server, the head or the body of a response, the body of its request,
/// or several of these. It says nothing of how its client sends and receives: what goes on with it polls
/// [`crate::proxy::handler::Handler`] as the connection before did, with the body of the request from wherever that was.
///
/// An HTTP/1 connection has one, beside its own state ([`super::transfer::Http1Transfer`]). A session of HTTP/2 has one
/// for each open stream, beside the state of that stream: what was received of the body of the request and not taken by the
/// handler, what the handler gave and was not sent, and how much of both is still to come. Body bytes that a handler has
/// taken are here ([`ExchangeTransfer::body`]); body bytes that a handler has given belong to the stream.
/// `Handler::can_move` says for each stream whether it moves, `Handler::into_transfer` makes it this, and
/// `Handler::resumed` makes this a handler again.
#[derive(Debug)]
pub struct ExchangeTransfer {
    /// The connection to the server, with the TLS on it: from when an attempt has it until the response came whole.
    pub server: Option<Detached>,
    /// What the record of it needs.
    pub exchange: SavedExchange,
    /// How far it is.
    pub state: SavedState,
    /// The head of the request, as the client sent it or as HTTP/1.1 has it.
    pub head: BytesMut,
    /// The head of the request as servers get it; empty once a server answered.
    pub sent_head: BytesMut,
    /// What is held of the body of the request, as it goes to the server: see [`SavedUpload::sent`].
    pub body: BytesMut,
    /// What was read from the server and not yet understood.
    pub unread: BytesMut,
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
    /// The pool; empty when none was found for a request that is answered without one.
    pub pool: String,
    /// The server at its other end, or the one that is connected to; empty before there is one.
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
    /// Every try against a server that is over, in order.
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

/// How far an exchange is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedState {
    /// Bytes of the body of the request that came from the client.
    pub bytes_in: u64,
    /// Bytes of the body of the response that went to the client.
    pub bytes_out: u64,
    /// The client waits for `100 Continue`, and has not got it.
    #[serde(default)]
    pub waits_for_continue: bool,
    /// The client has got `100 Continue`.
    #[serde(default)]
    pub continued: bool,
    /// How it ended, once the response was given whole; absent before.
    #[serde(default)]
    pub end: Option<End>,
    /// The details beyond that.
    #[serde(default)]
    pub detail: Option<String>,
    /// What it waits for.
    pub stage: SavedStage,
}

/// What an exchange waits for.
///
/// ```text
///   Dispatch ──connected──▶ Ask ──response──▶ Response ──its last byte──▶ Whole
///      ▲                     │
///      └────────failed───────┘
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedStage {
    /// A server: no attempt is under way of which a server has anything. The next generation dispatches it.
    Dispatch {
        /// The attempts so far.
        retries: SavedRetries,
        /// The body of the request.
        upload: SavedUpload,
        /// How long the connection to [`SavedExchange::server`] was being opened.
        connecting: Duration,
        /// The pause before the next attempt, what is left of it.
        #[serde(default)]
        pause: Option<Duration>,
    },
    /// The head of the response, or the rest of the request before it.
    Ask {
        /// The attempts so far.
        retries: SavedRetries,
        /// The body of the request.
        upload: SavedUpload,
        /// The attempt that is under way.
        attempt: SavedAsking,
    },
    /// The body of the response, and perhaps the rest of the request.
    Response {
        /// The body of the response.
        response: SavedResponse,
        /// What is left of the request; none when it was sent whole, or never will be.
        #[serde(default)]
        upload: Option<SavedUpload>,
    },
    /// Nothing: the client has to take the rest of the response.
    Whole,
}

/// The attempts of an exchange: which were made, and which may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRetries {
    /// How many were retries.
    pub made: u32,
    /// How many retries the pool allows.
    pub most: u32,
    /// The servers that failed.
    pub tried: Vec<String>,
    /// No idle connection is used any more.
    pub fresh_only: bool,
    /// How long a server may be silent.
    pub timeout: Duration,
    /// Since the attempt that is under way, or comes next, began.
    pub age: Duration,
}

/// The body of a request on its way to a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedUpload {
    /// It goes to the server as chunks.
    pub chunked: bool,
    /// Most bytes that it may have.
    pub limit: u64,
    /// The bytes that it has, when that is known.
    #[serde(default)]
    pub length: Option<u64>,
    /// Bytes that came from the client.
    pub received: u64,
    /// It came whole from the client.
    pub ended: bool,
    /// The client was asked for it.
    pub asked_for: bool,
    /// The server has a part of it.
    pub started: bool,
    /// How much of [`ExchangeTransfer::body`] the server has, when that is all that came of the body: it can be sent
    /// again. None when it is what is still to be sent.
    #[serde(default)]
    pub sent: Option<usize>,
    /// The rest of it will never come: the server was shown the end of the request.
    #[serde(default)]
    pub broken: bool,
}

/// A request on its connection, and the wait for the head of its response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedAsking {
    /// Bytes of the head that the server has.
    pub written: usize,
    /// The head goes out with an `Expect`.
    pub expects: bool,
    /// When the body may follow.
    pub go: SavedGo,
    /// The server takes no more of the request.
    pub refuses: bool,
    /// The pool of the server is lenient.
    pub lenient: bool,
    /// Bytes of informational responses so far.
    pub informational: usize,
    /// Since when the server is silent, if it is its turn.
    pub silent: Option<Duration>,
    /// Since when the connection was idle before; none when the request is its first.
    pub idle: Option<Duration>,
    /// The connection belongs to the client connection.
    #[serde(default)]
    pub private: bool,
    /// [`crate::tls::UpstreamTls::fingerprint`] of the connection; none without TLS.
    #[serde(default)]
    pub tls: Option<Fingerprint>,
}

/// When the body of a request may follow its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedGo {
    /// Now.
    Now,
    /// Once the server says `100 Continue`, or some time after it has the head, which it has not.
    Asked,
    /// Once the server says `100 Continue`, or after this time.
    Within(Duration),
}

/// Where the body of a response is between its server and the handler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedResponse {
    /// What is still to come of it.
    pub left: SavedBody,
    /// The server keeps the connection after it.
    pub server_keeps: bool,
    /// How long the server said that it keeps the connection while idle.
    pub server_keeps_for: Option<Duration>,
    /// How long the server may still be silent, if it is its turn.
    pub patience: Option<Duration>,
    /// How long it may be silent.
    pub timeout: Duration,
    /// It is no body: bytes pass both ways.
    #[serde(default)]
    pub is_tunnel: bool,
    /// The connection belongs to the client connection.
    #[serde(default)]
    pub private: bool,
    /// [`crate::tls::UpstreamTls::fingerprint`] of the connection; none without TLS.
    #[serde(default)]
    pub tls: Option<Fingerprint>,
}

/// What is still to come of a body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedBody {
    /// So many bytes.
    Length(u64),
    /// Chunks, from where the decoder is.
    Chunked(Box<Decoder>),
    /// Whatever comes until the connection ends.
    UntilClose,
    /// Nothing.
    Nothing,
}

impl ExchangeTransfer {
    /// Adds the time of a move to the ages.
    pub(super) fn count_move(&mut self, time: Duration) {
        self.exchange.age += time;
        if let SavedStage::Dispatch { retries, .. } | SavedStage::Ask { retries, .. } = &mut self.state.stage {
            retries.age += time;
        }
    }

    /// How many descriptors it has.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        usize::from(self.server.is_some())
    }

    /// Whether TLS is spoken with the server.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.tls.is_some())
    }

    /// How many bytes it has beside its state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let server = self.server.as_ref().map_or(0, Detached::bytes);
        server + self.head.len() + self.sent_head.len() + self.body.len() + self.unread.len()
    }
}

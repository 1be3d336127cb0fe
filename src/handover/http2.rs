//! A connection of HTTP/2 on its way from one process to another, with its open streams.

use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::exchange::ExchangeTransfer;
use crate::control::channel::MOST_DESCRIPTORS;
use crate::http2::session::saved::SavedSession;

/// Streams with which a connection can move: each has a descriptor at most, beside that of the client, one with the bytes
/// of all and one with the states of TLS.
pub const MOST_STREAMS: usize = MOST_DESCRIPTORS - 3;

/// A connection of HTTP/2.
#[derive(Debug)]
pub struct Http2Transfer {
    /// What its client counts on.
    pub session: SavedSession,
    /// What it waits for.
    pub client: SavedHttp2,
    /// Its open streams, in the order in which the session has them.
    pub streams: Vec<StreamTransfer>,
    /// What was read of the next frame.
    pub ahead: BytesMut,
}

/// What a connection of HTTP/2 waits for, beside its streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHttp2 {
    /// The head that has come in part, by the number of its stream, and since when.
    pub inside: Option<(u32, Duration)>,
    /// Since when the client takes nothing.
    pub write: Option<Duration>,
    /// Since when nothing is open.
    pub idle: Option<Duration>,
    /// The place of the stream that is the next to send of a window.
    #[serde(default)]
    pub next: usize,
}

/// One open stream.
#[derive(Debug)]
pub struct StreamTransfer {
    /// Where it is.
    pub state: SavedStream,
    /// Its exchange; none when that is over and recorded, and for a request that was refused.
    pub exchange: Option<ExchangeTransfer>,
    /// What came of the response and was not sent.
    pub pending: BytesMut,
    /// What was received of the body of the request and was not taken.
    pub received: BytesMut,
}

/// Where one open stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStream {
    /// Bytes of the body of the response that are to be sent, where that is known.
    pub left: Option<u64>,
    /// The response was sent whole.
    pub is_sent: bool,
    /// It is a tunnel.
    #[serde(default)]
    pub is_tunnel: bool,
    /// The trailers of the response.
    #[serde(default)]
    pub trailers: Option<SavedTrailers>,
    /// The trailers of the request, which were not taken.
    #[serde(default)]
    pub received_trailers: Option<SavedTrailers>,
    /// Since when more of the request is waited for.
    pub waits: Option<Duration>,
    /// Since when the client lets nothing more be sent.
    pub blocked: Option<Duration>,
}

/// Names and values.
pub type SavedTrailers = Vec<(String, Vec<u8>)>;

impl Http2Transfer {
    /// How many descriptors it has beside that of the client.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.streams.iter().flat_map(|stream| &stream.exchange).map(ExchangeTransfer::descriptors).sum()
    }

    /// How many bytes it has beside its state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let SavedSession { table, block, unsent, .. } = &self.session;
        let of_streams = self.streams.iter().map(|stream| {
            let exchange = stream.exchange.as_ref().map_or(0, ExchangeTransfer::bytes);
            exchange + stream.pending.len() + stream.received.len()
        });
        table.len() + block.len() + unsent.len() + self.ahead.len() + of_streams.sum::<usize>()
    }
}

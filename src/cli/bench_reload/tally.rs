//! What the clients saw, before the reloads and from the first one on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::lost::LostRequest;
use super::waits::Waits;

/// The kinds of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientKind {
    /// A connection for each request.
    Fresh,
    /// One request after the other on a connection.
    Busy,
    /// A request now and then on a connection.
    Idle,
    /// A large answer that is read slowly.
    Download,
    /// A WebSocket.
    Tunnel,
}

impl ClientKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Download => "download",
            Self::Tunnel => "websocket",
        }
    }
}

/// What the clients saw in one phase.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// Requests without a whole answer, or with a status that is not right.
    pub(super) lost: u64,
    /// Keep-alive connections that the proxy closed without having said so, while no request was out.
    pub(super) closed: u64,
    /// Answers that say that the connection will be closed, to a client that wanted to keep it.
    pub(super) told: u64,
    /// WebSockets that were opened.
    pub(super) tunnels: u64,
    pub(super) tunnels_closed: u64,
    /// Connections opened in the place of one that was lost, closed or told to close.
    pub(super) again: u64,
    waits: Waits,
    why: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn waited(&mut self, wait: Duration) {
        self.waits.add(wait);
    }

    pub(super) fn lose(&mut self, kind: ClientKind, why: &LostRequest) {
        self.lost += 1;
        self.note(kind, &why.to_string());
    }

    pub(super) fn close(&mut self, kind: ClientKind) {
        self.closed += 1;
        self.note(kind, &LostRequest::NotSent.to_string());
    }

    pub(super) fn close_tunnel(&mut self, why: &str) {
        self.tunnels_closed += 1;
        self.note(ClientKind::Tunnel, why);
    }

    fn note(&mut self, kind: ClientKind, why: &str) {
        *self.why.entry(format!("{}: {why}", kind.name())).or_default() += 1;
    }

    /// Whether any client noticed anything.
    pub(super) fn is_unseen(&self) -> bool {
        self.lost + self.closed + self.told + self.tunnels_closed == 0
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Each reason with its count, the most frequent first.
    pub(super) fn reasons(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.why.iter().map(|(why, count)| (why.as_str(), *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "lost": self.lost,
            "closed": self.closed,
            "told": self.told,
            "tunnels": self.tunnels,
            "tunnels_closed": self.tunnels_closed,
            "opened_again": self.again,
            "wait_ms": self.waits.json(),
            "why": self.why,
        })
    }
}

//! The record of a connection on which no request came.

use smallvec::SmallVec;
use tokio::time::Instant;

use super::client::Client;
use super::thread::Thread;
use crate::observe::RecordFacts;
use crate::observe::end::{End, Phase, Reason};
use crate::observe::record::{Protocol, Record, Text, Timers};

/// Writes that a connection ended before the first byte of a request, where the configuration wants that.
pub fn record_empty(thread: &Thread, client: &Client) {
    record(thread, client, End::new(Phase::Head, Reason::ClientClosed), None);
}

/// Writes that a connection was refused before its first request, and why.
pub fn record_refused(thread: &Thread, client: &Client, reason: Reason, detail: &str) {
    record(thread, client, End::new(Phase::Head, reason), Some(detail));
}

/// Writes that there is no TLS on a connection, and why.
pub fn record_handshake(thread: &Thread, client: &Client, reason: Reason, detail: &str) {
    record(thread, client, End::new(Phase::Handshake, reason), Some(detail));
}

fn record(thread: &Thread, client: &Client, end: End, detail: Option<&str>) {
    let (accepted, now) = (client.origin.connection.at, Instant::now());
    let (id, took) = (thread.request_id(accepted), now.saturating_duration_since(accepted));
    let empty = detail.is_none();
    if !thread.selects(&RecordFacts { id, status: 0, end, took, empty, refused: true }, now) {
        return;
    }
    let is_tcp = usize::from(client.origin.listener) >= thread.runtime_config.config.listeners.len();
    thread.record(Record {
        id,
        started: thread.wall(accepted, now),
        listener: client.origin.listener,
        site: None,
        pool: None,
        client: client.origin.peer,
        protocol: if is_tcp { Protocol::Tcp } else { Protocol::Http11 },
        tls: client.origin.tls.as_ref().map(|tls| tls.facts.clone()),
        method: None,
        target: Text::default(),
        host: Text::default(),
        user_agent: None,
        referer: None,
        status: 0,
        end,
        detail: detail.map(Into::into),
        timers: Timers { total: took.as_micros() as u64, ..Timers::default() },
        bytes_in: 0,
        grpc_status: None,
        bytes_out: 0,
        attempts: SmallVec::new(),
    });
}

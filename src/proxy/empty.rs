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
    let (accepted, now) = (client.accepted, Instant::now());
    let (id, took) = (thread.request_id(accepted), now.saturating_duration_since(accepted));
    let end = End::new(Phase::Head, Reason::ClientClosed);
    if !thread.selects(&RecordFacts { id, status: 0, end, took, empty: true, refused: true }, now) {
        return;
    }
    thread.record(Record {
        id,
        started: thread.wall(accepted, now),
        listener: client.origin.listener,
        site: None,
        pool: None,
        client: client.origin.peer,
        protocol: Protocol::Http11,
        method: None,
        target: Text::default(),
        host: Text::default(),
        user_agent: None,
        referer: None,
        status: 0,
        end,
        detail: None,
        timers: Timers { total: took.as_micros() as u64, ..Timers::default() },
        bytes_in: 0,
        bytes_out: 0,
        attempts: SmallVec::new(),
    });
}

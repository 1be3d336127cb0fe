//! What the supervisor asks of the client connections of this generation.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use tokio::task::spawn_local;

use super::threads::Threads;
use crate::control::connections::{ConnectionStatus, ConnectionsAnswer, ConnectionsRequest};

/// The time for the threads to look.
const LOOK: Duration = Duration::from_secs(1);
/// The time in which the other end takes the answers.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// Has the threads look, and sends what they say. Returns at once.
pub(super) fn answer(threads: &Threads, request: ConnectionsRequest, socket: OwnedFd) {
    let (generation, count) = (threads.runtime_config().generation, threads.count());
    let answers = threads.ask(move |thread| match &request {
        ConnectionsRequest::List { filter, most } => {
            let list = thread.connections(filter, *most);
            (list.matched, list.oldest)
        }
        ConnectionsRequest::Close(id) => {
            let killed = thread.kill_connection(*id);
            (killed.iter().count() as u64, Vec::from_iter(killed))
        }
    });
    spawn_local(async move {
        let answers = answers.within(LOOK).await;
        let (is_whole, matched) = (answers.len() == count, answers.iter().map(|(matched, _)| matched).sum());
        let end = ConnectionsAnswer::End { generation, matched, is_whole };
        let connections = answers.into_iter().flat_map(|(_, connections)| connections).collect();
        // the other end may read slowly
        tokio::task::spawn_blocking(move || send(&socket, connections, &end));
    });
}

/// Sends the answers, unless the other end does not take them.
fn send(socket: &OwnedFd, connections: Vec<ConnectionStatus>, end: &ConnectionsAnswer) {
    let until = Instant::now() + TAKEN_WITHIN;
    for answer in connections.into_iter().map(ConnectionsAnswer::Connection).chain([end.clone()]) {
        let packet = serde_json::to_vec(&answer).unwrap_or_default();
        // the socket has a timeout of its own
        let sent = rustix::net::send(socket, &packet, SendFlags::NOSIGNAL);
        if sent.is_err() || Instant::now() > until {
            return;
        }
    }
}

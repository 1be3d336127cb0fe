//! What the supervisor asks of the client connections of this generation.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use rustix::net::sockopt::{self, Timeout};
use tokio::task::spawn_local;

use super::threads::Threads;
use crate::control::connections::{ConnectionStatus, ConnectionsAnswer, ConnectionsRequest, MOST_LISTED};
use crate::proxy::connections::ConnectionList;

/// The time for the threads to look.
const LOOK: Duration = Duration::from_secs(1);
/// The time in which the other end takes the answers.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// Has the threads look, and sends what they say. Returns at once.
pub(super) fn answer(threads: &Threads, request: ConnectionsRequest, socket: OwnedFd) {
    let generation = threads.runtime_config().generation;
    let most = match &request {
        ConnectionsRequest::List { most, .. } => MOST_LISTED.min(*most),
        ConnectionsRequest::Close { .. } => 1,
    };
    let answers = threads.ask(move |thread| match &request {
        ConnectionsRequest::List { filter, .. } => thread.connections(filter, most),
        ConnectionsRequest::Close { id, by, reason } => {
            let killed = thread.kill_connection(*id, by, reason.as_ref());
            ConnectionList { matched: killed.iter().count() as u64, oldest: killed.into_iter().collect() }
        }
    });
    spawn_local(async move {
        let (answers, is_whole) = answers.within(LOOK).await;
        let matched = answers.iter().map(|list| list.matched).sum();
        let end = ConnectionsAnswer::End { generation, matched, is_whole };
        let mut connections: Vec<_> = answers.into_iter().flat_map(|list| list.oldest).collect();
        connections.sort_by_key(|one| std::cmp::Reverse(one.age_ms));
        connections.truncate(most);
        // the other end may read slowly
        tokio::task::spawn_blocking(move || send(&socket, connections, &end));
    });
}

/// Sends the answers, unless the other end does not take them.
fn send(socket: &OwnedFd, connections: Vec<ConnectionStatus>, end: &ConnectionsAnswer) {
    let until = Instant::now() + TAKEN_WITHIN;
    if sockopt::set_socket_timeout(socket, Timeout::Send, Some(TAKEN_WITHIN)).is_err() {
        return; // a send could take for ever
    }
    for answer in connections.into_iter().map(ConnectionsAnswer::Connection).chain([end.clone()]) {
        let packet = serde_json::to_vec(&answer).unwrap_or_default();
        let sent = rustix::net::send(socket, &packet, SendFlags::NOSIGNAL);
        if sent.is_err() || Instant::now() > until {
            return;
        }
    }
}

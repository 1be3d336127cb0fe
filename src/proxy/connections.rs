//! The client connections of a thread, for operators: which are open, and that one is closed.

use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use super::clients::ConnectionView;
use super::thread::Thread;
use crate::control::admin::Operator;
use crate::control::connections::{ConnectionFilter, ConnectionId, ConnectionStatus};
use crate::observe::event::Event;
use crate::tls::Version;

/// Connections of one thread.
#[derive(Debug, Default)]
pub struct ConnectionList {
    /// How many were asked for.
    pub matched: u64,
    /// The oldest of them, in any order.
    pub oldest: Vec<ConnectionStatus>,
}

impl Thread {
    /// The connections that the filter selects: how many, and the oldest, `most` at most.
    #[must_use]
    pub fn connections(&self, filter: &ConnectionFilter, most: usize) -> ConnectionList {
        let (now, names) = (Instant::now(), &self.runtime_config.names);
        let with_exchange = filter.is_of_exchanges().then(|| self.underway.connections_of(filter, names));
        let (mut matched, mut oldest) = (0, BinaryHeap::new());
        self.clients.each(|one| {
            let listener = names.listeners.get(usize::from(one.listener)).map_or("", String::as_str);
            let age = now.saturating_duration_since(one.accepted.at);
            let is_selected = filter.selects(one.peer.map(|peer| peer.ip()), listener, age, one.idle.is_none())
                && with_exchange.as_ref().is_none_or(|ids| ids.contains(&one.accepted.id));
            if is_selected {
                matched += 1;
                oldest.push(ByAge(one));
                if oldest.len() > most {
                    oldest.pop();
                }
            }
        });
        ConnectionList { matched, oldest: self.describe(oldest.into_iter().map(|ByAge(one)| one), now) }
    }

    /// Has the connection of this name closed, with what is open on it, which is recorded. Gives what it was; none if it is
    /// not here.
    #[must_use]
    pub fn kill_connection(
        &self,
        id: ConnectionId,
        by: &Operator,
        reason: Option<&String>,
    ) -> Option<ConnectionStatus> {
        let killed = self.clients.kill(id)?;
        let client = killed.peer.map_or_else(|| "a unix socket".to_owned(), |peer| peer.to_string());
        let (connection, Operator { uid, command, .. }) = (id.to_string(), by.clone());
        self.event(Event::ConnectionKilled { connection, client, uid, command, reason: reason.cloned() });
        self.describe([killed].into_iter(), Instant::now()).pop()
    }

    fn describe(&self, connections: impl Iterator<Item = ConnectionView>, now: Instant) -> Vec<ConnectionStatus> {
        let names = &self.runtime_config.names;
        let since = |then: Instant| millis(now.saturating_duration_since(then));
        let status = |one: ConnectionView| ConnectionStatus {
            id: one.accepted.id,
            generation: self.runtime_config.generation,
            client: one.peer,
            listener: names.listeners.get(usize::from(one.listener)).cloned().unwrap_or_default(),
            tls: one.tls.map(Version::as_str).map(str::to_owned),
            age_ms: since(one.accepted.at),
            idle_ms: one.idle.map(since),
            open: 0,
            exchanges: Vec::new(),
        };
        let mut described = connections.map(|one| (one.accepted.id, status(one))).collect();
        self.underway.describe(&mut described, names);
        described.into_values().collect()
    }
}

/// The youngest is the greatest.
struct ByAge(ConnectionView);

impl ByAge {
    fn key(&self) -> (Instant, ConnectionId) {
        (self.0.accepted.at, self.0.accepted.id)
    }
}

impl PartialEq for ByAge {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByAge {}

impl PartialOrd for ByAge {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByAge {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

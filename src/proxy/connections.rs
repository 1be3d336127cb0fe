//! The client connections of a thread, for operators: which are open, and that one is closed.

use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::clients::ConnectionView;
use super::thread::Thread;
use super::underway::Entry;
use crate::control::connections::{ConnectionFilter, ConnectionId, ConnectionStatus, MOST_EXCHANGES};
use crate::tls::Version;

/// Connections of one thread.
#[derive(Debug, Default)]
pub struct ConnectionList {
    /// How many were asked for.
    pub matched: u64,
    /// The oldest of them.
    pub oldest: Vec<ConnectionStatus>,
}

/// Open exchanges, by the connections on which they are.
type OpenExchanges<'a> = HashMap<ConnectionId, Vec<&'a Entry>>;

impl Thread {
    /// The connections that the filter selects: how many, and the oldest, `most` at most.
    #[must_use]
    pub fn connections(&self, filter: &ConnectionFilter, most: usize) -> ConnectionList {
        self.underway.by_connection(|open| self.select(filter, most, open))
    }

    /// Has the connection of this name closed, with what is open on it. Gives what it was; none if it is not here.
    #[must_use]
    pub fn kill_connection(&self, id: ConnectionId) -> Option<ConnectionStatus> {
        let killed = self.clients.kill(id)?;
        Some(self.underway.by_connection(|open| self.describe(&killed, open, Instant::now())))
    }

    fn select(&self, filter: &ConnectionFilter, most: usize, open: &OpenExchanges<'_>) -> ConnectionList {
        let (now, names) = (Instant::now(), &self.runtime_config.names);
        let (mut matched, mut oldest) = (0, BinaryHeap::new());
        self.clients.each(|one| {
            let listener = names.listeners.get(usize::from(one.listener)).map_or("", String::as_str);
            let age = now.saturating_duration_since(one.accepted.at);
            let entries = || open.get(&one.accepted.id).into_iter().flatten();
            let is_selected = filter.selects(one.peer.map(|peer| peer.ip()), listener, age, one.idle.is_none())
                && (!filter.is_of_exchanges() || entries().any(|entry| entry.is_selected(filter, names)));
            if is_selected {
                matched += 1;
                oldest.push(ByAge(one));
                if oldest.len() > most {
                    oldest.pop();
                }
            }
        });
        let oldest = oldest.into_sorted_vec().into_iter();
        ConnectionList { matched, oldest: oldest.map(|ByAge(one)| self.describe(&one, open, now)).collect() }
    }

    fn describe(&self, one: &ConnectionView, open: &OpenExchanges<'_>, now: Instant) -> ConnectionStatus {
        let names = &self.runtime_config.names;
        let since = |then: Instant| millis(now.saturating_duration_since(then));
        let mut entries = open.get(&one.accepted.id).cloned().unwrap_or_default();
        entries.sort_by_key(|entry| entry.opened);
        ConnectionStatus {
            id: one.accepted.id,
            generation: self.runtime_config.generation,
            client: one.peer,
            listener: names.listeners.get(usize::from(one.listener)).cloned().unwrap_or_default(),
            tls: one.tls.map(Version::as_str).map(str::to_owned),
            age_ms: since(one.accepted.at),
            idle_ms: one.idle.map(since),
            open: entries.len() as u64,
            exchanges: entries.iter().take(MOST_EXCHANGES).map(|entry| entry.status(names)).collect(),
        }
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

//! The exchanges and tunnels that are under way on one thread, which keep a generation alive.
//!
//! An exchange has its place here from the moment that it goes to a server until it is dropped. Only what cannot be
//! read from elsewhere is kept, and nothing is copied: names and text are made for each list.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use slab::Slab;
use tokio::time::Instant;

use super::origin::Origin;
use crate::config::{HostPattern, SiteSettings};
use crate::control::connections::{ConnectionFilter, ConnectionId, ConnectionStatus, ExchangeStatus, MOST_EXCHANGES};
use crate::message::head::RawHead;
use crate::observe::metrics::Busy;
use crate::observe::record::{Index, Protocol, RecordNames};
use crate::observe::{Plain, journal};

/// Everything that is under way on one thread.
#[derive(Default)]
pub struct Underway {
    entries: RefCell<Slab<Entry>>,
}

/// One exchange or tunnel.
pub(super) struct Entry {
    pub(super) opened: Instant,
    pub(super) origin: Rc<Origin>,
    pub(super) busy: Busy,
    pub(super) protocol: Protocol,
    pub(super) site: Option<Index>,
    pub(super) pool: Option<Index>,
    /// That of the last attempt.
    pub(super) server: Option<Index>,
    pub(super) method: Option<Method>,
    pub(super) head: Rc<RawHead>,
}

/// The same as text for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderwayLine {
    /// What kind of thing it is.
    pub busy: Busy,
    /// Since when.
    pub age: Duration,
    /// What it is and whose: never a query, never what may be secret.
    pub what: String,
}

impl Underway {
    /// Adds one; gives its key.
    pub(super) fn add(&self, entry: Entry) -> usize {
        self.entries.borrow_mut().insert(entry)
    }

    /// It is something else from now on.
    pub(super) fn turn(&self, key: usize, busy: Busy) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key) {
            entry.busy = busy;
        }
    }

    /// It goes to this server.
    pub(super) fn attempt(&self, key: usize, server: Index) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key) {
            entry.server = Some(server);
        }
    }

    /// Removes one.
    pub(super) fn remove(&self, key: usize) {
        self.entries.borrow_mut().try_remove(key);
    }

    /// The oldest of them, oldest first, `most` at most.
    #[must_use]
    pub fn oldest(&self, most: usize, names: &RecordNames, sites: &[SiteSettings]) -> Vec<UnderwayLine> {
        let all = self.entries.borrow();
        let mut entries: Vec<&Entry> = all.iter().map(|(_, entry)| entry).collect();
        if entries.len() > most && most > 0 {
            entries.select_nth_unstable_by_key(most - 1, |entry| entry.opened);
        }
        entries.truncate(most);
        entries.sort_by_key(|entry| entry.opened);
        entries.into_iter().map(|entry| entry.line(names, sites)).collect()
    }

    /// The connections on which there is one that the filter selects.
    pub(super) fn connections_of(&self, filter: &ConnectionFilter, names: &RecordNames) -> HashSet<ConnectionId> {
        let all = self.entries.borrow();
        let selected = all.iter().filter(|(_, entry)| entry.is_selected(filter, names));
        selected.map(|(_, entry)| entry.origin.connection.id).collect()
    }

    /// Notes with connections, by their ids, what is on them: how many, and the oldest ones.
    pub(super) fn describe(&self, connections: &mut HashMap<ConnectionId, ConnectionStatus>, names: &RecordNames) {
        let all = self.entries.borrow();
        let mut entries: Vec<_> = all.iter().map(|(_, entry)| entry).collect();
        entries.retain(|entry| connections.contains_key(&entry.origin.connection.id));
        entries.sort_by_key(|entry| entry.opened);
        for entry in entries {
            let Some(connection) = connections.get_mut(&entry.origin.connection.id) else { continue };
            connection.open += 1;
            if connection.exchanges.len() < MOST_EXCHANGES {
                connection.exchanges.push(entry.status(names));
            }
        }
    }
}

impl Entry {
    /// Whether a connection is selected for it.
    fn is_selected(&self, filter: &ConnectionFilter, names: &RecordNames) -> bool {
        let (pool, server) = self.server_names(names);
        filter.selects_exchange(self.site_name(names), pool, server)
    }

    /// All that is told of it to operators.
    fn status(&self, names: &RecordNames) -> ExchangeStatus {
        let (pool, server) = self.server_names(names);
        let owned = |name: Option<&str>| name.map(str::to_owned);
        ExchangeStatus {
            kind: match self.busy {
                Busy::Exchange => "exchange".to_owned(),
                Busy::Upgrade => "upgrade".to_owned(),
                Busy::Tcp => "tcp".to_owned(),
            },
            protocol: self.protocol.as_str().to_owned(),
            method: self.method.as_ref().map(Method::to_string),
            path: self.method.is_some().then(|| self.path()),
            site: owned(self.site_name(names)),
            pool: owned(pool),
            server: owned(server),
            age_ms: self.opened.elapsed().as_millis() as u64,
        }
    }

    fn site_name<'a>(&self, names: &'a RecordNames) -> Option<&'a str> {
        names.sites.get(usize::from(self.site?)).map(String::as_str)
    }

    fn server_names<'a>(&self, names: &'a RecordNames) -> (Option<&'a str>, Option<&'a str>) {
        let pool = self.pool.and_then(|pool| names.pools.get(usize::from(pool)));
        let server = pool.and_then(|(_, servers)| servers.get(usize::from(self.server?)));
        (pool.map(|(name, _)| name.as_str()), server.map(String::as_str))
    }

    fn line(&self, names: &RecordNames, sites: &[SiteSettings]) -> UnderwayLine {
        let listener = || names.listeners.get(usize::from(self.origin.listener)).map_or("", String::as_str);
        let mut what = match self.busy {
            Busy::Tcp => format!("tcp tunnel of {}", listener()),
            Busy::Upgrade => format!("tunnel of {}", self.asked(sites)),
            Busy::Exchange if self.method.is_none() => format!("connection of {}", listener()),
            Busy::Exchange => self.asked(sites),
        };
        if !self.origin.address().is_empty() {
            what.push_str(" from ");
            what.push_str(self.origin.address());
        }
        UnderwayLine { busy: self.busy, age: self.opened.elapsed(), what }
    }

    /// `GET app.example.com/path`; the host only where the site is for one.
    fn asked(&self, sites: &[SiteSettings]) -> String {
        let method = self.method.as_ref().map_or("-", Method::as_str);
        let site = self.site.and_then(|site| sites.get(usize::from(site))).map(|site| &site.host);
        let host = site.filter(|host| **host != HostPattern::Any).map(ToString::to_string).unwrap_or_default();
        format!("{method} {host}{}", Plain(&self.path()))
    }

    /// The path without its query and what may be secret, of bounded length.
    fn path(&self) -> String {
        let path = self.head.path().split(|byte| *byte == b'?').next().unwrap_or_default();
        // a character has four bytes at most
        let path = &path[..path.len().min(4 * LONGEST_PATH)];
        journal::redacted_path(&String::from_utf8_lossy(path)).chars().take(LONGEST_PATH).collect()
    }
}

/// Characters of a path that are shown; the rest helps little to find the client.
const LONGEST_PATH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::proxy::origin::Accepted;

    fn entry(age: u64, busy: Busy, path: &'static str) -> Entry {
        let peer = Some("10.0.0.5:1234".parse().expect("an address"));
        let accepted = Accepted { id: ConnectionId::default(), at: Instant::now() };
        let opened = Instant::now() - Duration::from_secs(age);
        Entry {
            opened,
            origin: Rc::new(Origin::new(accepted, 0, peer)),
            busy,
            protocol: Protocol::Http11,
            site: Some(0),
            pool: Some(0),
            server: None,
            method: (busy != Busy::Tcp).then_some(Method::GET),
            head: Rc::new(RawHead::of_target(path)),
        }
    }

    fn lines(underway: &Underway) -> Vec<(u64, String)> {
        let config = Config::from_toml("[site.'app.test']\nto = ['a:1']\n").expect("good");
        let names = RecordNames { listeners: vec!["front".to_owned()], ..RecordNames::default() };
        let oldest = underway.oldest(3, &names, &config.sites);
        oldest.into_iter().map(|line| (line.age.as_secs(), line.what)).collect()
    }

    #[test]
    fn the_oldest_are_told_first_and_without_what_may_be_secret() {
        let underway = Underway::default();
        underway.add(entry(5, Busy::Exchange, "/x;key=1/y?token=2"));
        underway.add(entry(1, Busy::Exchange, "/young"));
        underway.add(entry(14, Busy::Upgrade, "/ws?secret"));
        underway.add(entry(9, Busy::Tcp, "/"));
        assert_eq!(
            lines(&underway),
            [
                (14, "tunnel of GET app.test/ws from 10.0.0.5".to_owned()),
                (9, "tcp tunnel of front from 10.0.0.5".to_owned()),
                (5, "GET app.test/x;key=*/y from 10.0.0.5".to_owned()),
            ]
        );
    }

    #[test]
    fn places_are_used_again() {
        let underway = Underway::default();
        let first = underway.add(entry(1, Busy::Exchange, "/one"));
        let second = underway.add(entry(2, Busy::Exchange, "/two"));
        underway.remove(first);
        underway.remove(first);
        assert_eq!(underway.add(entry(3, Busy::Exchange, "/three")), first);
        underway.turn(second, Busy::Upgrade);
        assert_eq!(lines(&underway).len(), 2);
        assert_eq!(lines(&underway)[1].1, "tunnel of GET app.test/two from 10.0.0.5");
    }
}

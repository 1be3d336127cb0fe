//! The addresses of a server, for the threads that connect to it: fixed, or the last answer of DNS.
//!
//! A name can have several addresses. They are kept in the order in which they are tried: the one that answered last
//! comes first. A request over an idle connection reads only a version number, one load; a new connection takes a
//! lock while it copies a pointer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{Address, ServerAddress};

/// Addresses of one name, at most: what a resolver gives beyond them is not used.
const MOST: usize = 64;

/// Where one server is.
#[derive(Debug)]
pub(super) enum Location {
    Fixed(Address),
    Named { host: String, port: u16, last: Located },
}

/// The addresses of one server, at one moment; never none.
#[derive(Clone, Debug)]
pub enum Addresses<'a> {
    /// The address of the configuration.
    Fixed(&'a Address),
    /// The last answer of DNS.
    Named {
        /// In the order in which they are to be tried.
        list: Arc<[SocketAddr]>,
        /// The version of the set: see [`super::Server::address_version`].
        version: u64,
    },
}

/// The last addresses of DNS. Many readers; writers take turns.
#[derive(Debug)]
pub(super) struct Located {
    /// Grows with each change of the set, not of the order. 0: there are none yet.
    version: AtomicU64,
    /// Empty until there are some.
    list: Mutex<Arc<[SocketAddr]>>,
}

impl Location {
    pub(super) fn new(address: &ServerAddress) -> Self {
        match address {
            ServerAddress::Fixed(address) => Self::Fixed(address.clone()),
            ServerAddress::Name { host, port } => {
                Self::Named { host: host.clone(), port: *port, last: Located::default() }
            }
        }
    }

    pub(super) fn addresses(&self) -> Option<Addresses<'_>> {
        match self {
            Self::Fixed(address) => Some(Addresses::Fixed(address)),
            Self::Named { last, .. } => last.get().map(|(list, version)| Addresses::Named { list, version }),
        }
    }

    /// Grows by one with each change of the set of addresses.
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Named { last, .. } => last.version.load(Ordering::Acquire),
        }
    }
}

impl Addresses<'_> {
    /// The address that is tried first.
    #[must_use]
    pub fn first(&self) -> Address {
        match self {
            Self::Fixed(address) => (*address).clone(),
            Self::Named { list, .. } => Address::Ip(list[0]),
        }
    }

    /// Their version: that of a connection that is opened to one of them.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Named { version, .. } => *version,
        }
    }

    /// All of them as text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Fixed(address) => vec![address.to_string()],
            Self::Named { list, .. } => list.iter().map(SocketAddr::to_string).collect(),
        }
    }
}

impl Default for Located {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), list: Mutex::new(Arc::new([])) }
    }
}

impl Located {
    /// The addresses in their order, and the version of the set.
    pub(super) fn get(&self) -> Option<(Arc<[SocketAddr]>, u64)> {
        let list = self.list();
        (!list.is_empty()).then(|| (list.clone(), self.version.load(Ordering::Relaxed)))
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.list().contains(&address)
    }

    /// Replaces the addresses; returns both sets, when they differ. The address that is first now stays first for as
    /// long as it is among them.
    pub(super) fn replace(&self, found: &[SocketAddr]) -> Option<[Arc<[SocketAddr]>; 2]> {
        let mut list = self.list();
        let mut found = interleaved(found);
        found.truncate(MOST);
        if found.is_empty() || found.len() == list.len() && found.iter().all(|address| list.contains(address)) {
            return None;
        }
        if let Some(at) = list.first().and_then(|first| found.iter().position(|address| address == first)) {
            found[..=at].rotate_right(1);
        }
        let found: Arc<[SocketAddr]> = found.into();
        let before = std::mem::replace(&mut *list, found.clone());
        self.version.fetch_add(1, Ordering::Release);
        Some([before, found])
    }

    /// Starts with these addresses in this order.
    pub(super) fn restore(&self, known: &[SocketAddr]) {
        let mut list = self.list();
        *list = known[..known.len().min(MOST)].into();
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The address is tried first from now on.
    pub(super) fn prefer(&self, address: SocketAddr) {
        let mut list = self.list();
        if let Some(at) = list.iter().position(|known| *known == address).filter(|at| *at > 0) {
            let mut order = list.to_vec();
            order[..=at].rotate_right(1);
            *list = order.into();
        }
    }

    /// A panic elsewhere leaves nothing half made: the list is replaced as a whole.
    fn list(&self) -> MutexGuard<'_, Arc<[SocketAddr]>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses alternate between the two families, beginning with the family of the first (RFC 8305 §4): the
/// resolver has sorted them by what this machine can reach (RFC 6724). Each occurs once.
fn interleaved(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = found.first() else { return Vec::new() };
    let of = |family: bool| found.iter().filter(move |address| address.is_ipv6() == family);
    let (mut one, mut other) = (of(first.is_ipv6()), of(!first.is_ipv6()));
    let mut order = Vec::with_capacity(found.len());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return order;
        }
        for address in pair.into_iter().flatten() {
            if !order.contains(address) {
                order.push(*address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace().map(|text| text.parse().expect("an address")).collect()
    }

    fn known(located: &Located) -> Vec<SocketAddr> {
        located.get().map(|(list, _)| list.to_vec()).unwrap_or_default()
    }

    #[test]
    fn the_families_take_turns_and_each_address_comes_once() {
        for (found, order) in [
            ("", ""),
            ("1.1.1.1:1", "1.1.1.1:1"),
            ("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1 1.1.1.2:1", "[::1]:1 1.1.1.1:1 [::2]:1 1.1.1.2:1 [::3]:1"),
            ("1.1.1.1:1 1.1.1.2:1 [::1]:1", "1.1.1.1:1 [::1]:1 1.1.1.2:1"),
            ("[::1]:1 1.1.1.1:1 [::1]:1 1.1.1.1:1 [::2]:1", "[::1]:1 1.1.1.1:1 [::2]:1"),
        ] {
            assert_eq!(interleaved(&all(found)), all(order), "of {found}");
        }
    }

    #[test]
    fn the_address_that_answered_last_is_first_for_as_long_as_dns_names_it() {
        let located = Located::default();
        assert!(located.replace(&all("[::1]:1 1.1.1.1:1")).is_some());
        located.prefer(all("1.1.1.1:1")[0]);
        assert_eq!(known(&located), all("1.1.1.1:1 [::1]:1"));
        assert!(located.replace(&all("[::1]:1 1.1.1.1:1")).is_none(), "the same set");
        assert_eq!(known(&located), all("1.1.1.1:1 [::1]:1"));
        assert!(located.replace(&all("[::1]:1 [::2]:1 1.1.1.1:1")).is_some());
        assert_eq!(known(&located), all("1.1.1.1:1 [::1]:1 [::2]:1"));
        assert!(located.replace(&all("[::1]:1 [::2]:1")).is_some());
        assert_eq!(known(&located), all("[::1]:1 [::2]:1"));
        located.prefer(all("9.9.9.9:1")[0]);
        assert_eq!(known(&located), all("[::1]:1 [::2]:1"), "of an address that is gone nothing is made");
    }

    #[test]
    fn no_answer_and_an_empty_one_leave_what_is_known() {
        let located = Located::default();
        assert!(located.get().is_none() && located.replace(&[]).is_none());
        located.replace(&all("1.1.1.1:1"));
        assert!(located.replace(&[]).is_none());
        assert_eq!(known(&located), all("1.1.1.1:1"));
    }

    #[test]
    fn a_name_with_very_many_addresses_is_cut() {
        let located = Located::default();
        let many: Vec<SocketAddr> = (1..200).map(|port| SocketAddr::from(([1, 1, 1, 1], port))).collect();
        located.replace(&many);
        assert_eq!(known(&located), many[..MOST]);
        assert!(located.replace(&many).is_none());
    }

    #[test]
    fn the_version_moves_with_each_change_of_the_set_and_only_then() {
        let place = Location::new(&ServerAddress::Name { host: "a".to_owned(), port: 1 });
        let Location::Named { last, .. } = &place else { unreachable!("made from a name") };
        assert!(place.version() == 0 && place.addresses().is_none());
        last.replace(&all("1.1.1.1:1 1.1.1.2:1"));
        last.replace(&all("1.1.1.2:1 1.1.1.1:1"));
        last.prefer(all("1.1.1.2:1")[0]);
        assert_eq!(place.version(), 1);
        last.replace(&all("1.1.1.2:1"));
        assert_eq!(place.version(), 2);
        assert_eq!(place.addresses().map(|all| (all.version(), all.texts())), Some((2, vec!["1.1.1.2:1".to_owned()])));
    }
}

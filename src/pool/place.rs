//! Where a server is, as the threads that connect to it see it: fixed, or what DNS said last.
//!
//! The address that DNS gave lies in a few atomics behind a sequence number, so the way of a request reads it
//! without a lock and without a copy on the heap, and never sees half of a change.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use crate::config::{Address, ServerAddress};

/// Where one server is.
#[derive(Debug)]
pub(super) enum Place {
    Fixed(Address),
    Named { host: String, port: u16, last: Located },
}

/// The address that DNS gave last. Many readers; writers take turns.
#[derive(Debug, Default)]
pub(super) struct Located {
    /// 0: none yet. Odd: being changed.
    version: AtomicU64,
    words: [AtomicU64; 3],
    writer: Mutex<()>,
}

impl Place {
    pub(super) fn new(address: &ServerAddress) -> Self {
        match address {
            ServerAddress::Fixed(address) => Self::Fixed(address.clone()),
            ServerAddress::Name { host, port } => {
                Self::Named { host: host.clone(), port: *port, last: Located::default() }
            }
        }
    }

    pub(super) fn address(&self) -> Option<Cow<'_, Address>> {
        match self {
            Self::Fixed(address) => Some(Cow::Borrowed(address)),
            Self::Named { last, .. } => last.get().map(|address| Cow::Owned(Address::Ip(address))),
        }
    }

    /// Moves by one step with each change of the address.
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Named { last, .. } => last.version.load(Ordering::Acquire).div_ceil(2),
        }
    }
}

impl Located {
    pub(super) fn get(&self) -> Option<SocketAddr> {
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let words = [0, 1, 2].map(|at| self.words[at].load(Ordering::Relaxed));
            fence(Ordering::Acquire); // the words are read before the second look at the version
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return Some(unpack(words));
            }
            std::thread::yield_now(); // a writer is between its first store and its last, which is rare and short
        }
    }

    /// Puts `address` in the place of the last one, which it returns.
    pub(super) fn replace(&self, address: SocketAddr) -> Option<SocketAddr> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.get();
        if last == Some(address) {
            return last;
        }
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release); // nobody sees a new word with the old version
        for (word, value) in self.words.iter().zip(pack(address)) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
        last
    }
}

const V6: u64 = 1 << 63;

/// The flow label is left out: DNS gives none.
fn pack(address: SocketAddr) -> [u64; 3] {
    let port = u64::from(address.port()) << 32;
    match address {
        SocketAddr::V4(v4) => [0, u64::from(v4.ip().to_bits()), port],
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            [(bits >> 64) as u64, bits as u64, V6 | port | u64::from(v6.scope_id())]
        }
    }
}

fn unpack([high, low, rest]: [u64; 3]) -> SocketAddr {
    let port = (rest >> 32) as u16;
    if rest & V6 == 0 {
        return SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(low as u32)), port);
    }
    let ip = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    SocketAddr::V6(SocketAddrV6::new(ip, port, 0, rest as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_kind_of_address_comes_back_as_it_was() {
        let located = Located::default();
        assert_eq!(located.get(), None);
        for text in [
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "127.0.0.1:80",
            "[::]:0",
            "[2001:db8::1]:65535",
            "[fe80::1%7]:443",
            "[::ffff:10.0.0.1]:80",
        ] {
            located.replace(address(text));
            assert_eq!(located.get(), Some(address(text)));
        }
    }

    #[test]
    fn readers_never_see_half_of_a_change() {
        let located = Located::default();
        let both = [address("1.1.1.1:1"), address("[2222:2222:2222:2222:2222:2222:2222:2222%2]:2")];
        located.replace(both[0]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..200_000 {
                        let seen = located.get().expect("located before");
                        assert!(both.contains(&seen), "{seen}");
                    }
                });
            }
            for round in 0..200_000 {
                located.replace(both[round % 2]);
            }
        });
    }

    #[test]
    fn the_version_moves_with_each_change_and_only_then() {
        let place = Place::new(&ServerAddress::Name { host: "a".to_owned(), port: 1 });
        let Place::Named { last, .. } = &place else { unreachable!("made from a name") };
        assert_eq!((place.version(), place.address()), (0, None));
        assert_eq!(last.replace(address("1.1.1.1:1")), None);
        assert_eq!(last.replace(address("1.1.1.1:1")), Some(address("1.1.1.1:1")));
        assert_eq!(place.version(), 1);
        assert_eq!(last.replace(address("1.1.1.2:1")), Some(address("1.1.1.1:1")));
        assert_eq!(place.version(), 2);
    }
}

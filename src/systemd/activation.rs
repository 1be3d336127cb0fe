//! The listening sockets that systemd passed, by name (sd_listen_fds(3)).
//!
//! The order over several socket units is undefined and differs between versions of systemd, so only names count.
//! Sockets that Segue bound itself come back from systemd's store in the same list; [`stored_name`] marks them. So does
//! the memory file with what is in no other file, under the name [`SECRETS`].

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::sys::{never_block, take_passed};

/// A listening socket that came with the process.
#[derive(Debug)]
pub struct Passed {
    /// The `FileDescriptorName=` of its unit, or the name of the listener that it was stored under.
    pub name: String,
    /// The process that bound it.
    pub origin: SocketOrigin,
    /// The socket; closed on exec, does not block.
    pub socket: OwnedFd,
}

/// The origin of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOrigin {
    /// A socket unit of systemd.
    Unit,
    /// A supervisor, this one or an earlier one.
    Bound,
}

/// The descriptors that systemd passed.
#[derive(Debug, Default)]
pub struct Activation {
    /// Listening stream sockets, in the order in which they came.
    pub sockets: Vec<Passed>,
    /// One sentence for each descriptor that is no listening stream socket; it was closed.
    pub refused: Vec<String>,
    /// What the supervisor before gave to systemd under the name [`SECRETS`].
    pub secrets: Option<OwnedFd>,
}

/// The name of certificates with their private keys and of the keys of session tickets in systemd's store.
///
/// As in [`stored_name`], the slash tells it from every socket unit.
pub const SECRETS: &str = "kept/secrets";

/// The name of a socket in systemd's store that Segue bound for `listener`.
///
/// Names of listeners contain no slash, so that the name of a socket unit cannot equal it by chance.
#[must_use]
pub fn stored_name(listener: &str) -> String {
    format!("{STORED}{listener}")
}

/// How many sockets systemd stores for the service: `FDSTORE`, which systemd 254 and later set; else the limit in
/// the unit of the package; less one descriptor for [`SECRETS`].
#[must_use]
pub fn store_room() -> usize {
    let room = std::env::var("FDSTORE").ok().and_then(|room| room.parse().ok());
    room.unwrap_or(FILE_DESCRIPTOR_STORE_MAX).saturating_sub(1)
}

/// Takes every socket that systemd passed. The second call finds none.
///
/// Call it before any thread exists: it removes `LISTEN_PID` and `LISTEN_FDS` from the environment.
#[must_use]
pub fn take() -> Activation {
    let names = names();
    let mut passed = ListenFd::from_env();
    let mut activation = Activation::default();
    for index in 0..passed.len() {
        let name = names.get(index).map_or("unknown", String::as_str);
        if name == SECRETS {
            // its reader looks at what it is
            activation.secrets = take_passed(&mut passed, index);
            continue;
        }
        match take_socket(&mut passed, index) {
            Ok(socket) => activation.sockets.push(named(name, socket)),
            Err(fault) => activation.refused.push(format!("descriptor {name:?} that systemd passed: {fault}")),
        }
    }
    activation
}

/// The names, in the order of the descriptors. Must run before `ListenFd`, which removes the variables.
fn names() -> Vec<String> {
    // this also sets close-on-exec on every descriptor, which listenfd does only for those that are taken
    let by_pid = sd_notify::listen_fds_with_names().map(|all| all.map(|(_, name)| name).collect::<Vec<_>>());
    match by_pid {
        Ok(names) if !names.is_empty() => names,
        // tools like systemfd set no LISTEN_PID
        _ => std::env::var("LISTEN_FDNAMES").map_or_else(|_| Vec::new(), |names| split_names(&names)),
    }
}

fn split_names(names: &str) -> Vec<String> {
    names.split(':').map(str::to_owned).collect()
}

fn take_socket(passed: &mut ListenFd, index: usize) -> io::Result<OwnedFd> {
    let socket = match passed.take_tcp_listener(index) {
        Ok(Some(socket)) => OwnedFd::from(socket),
        _ => match passed.take_unix_listener(index) {
            Ok(Some(socket)) => OwnedFd::from(socket),
            Ok(None) => return Err(io::Error::other("it was taken already")),
            // listenfd's message is only that it is no unix socket
            Err(_) => return Err(io::Error::other("it is no stream socket (ListenStream=)")),
        },
    };
    if !socket_acceptconn(&socket)? {
        return Err(io::Error::other("it is a socket that does not listen"));
    }
    never_block(&socket)?;
    Ok(socket)
}

fn named(name: &str, socket: OwnedFd) -> Passed {
    let (name, origin) = match name.strip_prefix(STORED) {
        Some(listener) => (listener, SocketOrigin::Bound),
        None => (name, SocketOrigin::Unit),
    };
    Passed { name: name.to_owned(), origin, socket }
}

/// `FileDescriptorStoreMax=` of proxy.service.
const FILE_DESCRIPTOR_STORE_MAX: usize = 65;

const STORED: &str = "bound/";

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> OwnedFd {
        std::net::TcpListener::bind("127.0.0.1:0").expect("bind").into()
    }

    #[test]
    fn stored_names_come_back_as_listeners_that_segue_bound() {
        let stored = named(&stored_name("metrics"), listening());
        assert_eq!((stored.name.as_str(), stored.origin), ("metrics", SocketOrigin::Bound));
        let unit = named("http", listening());
        assert_eq!((unit.name.as_str(), unit.origin), ("http", SocketOrigin::Unit));
    }

    #[test]
    fn names_are_split_at_colons() {
        assert_eq!(split_names("http:bound/metrics:"), ["http", "bound/metrics", ""]);
    }
}

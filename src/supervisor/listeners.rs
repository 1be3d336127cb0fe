//! Every listening socket of the service. The supervisor holds them for ever and accepts on none.
//!
//! Nothing here calls `shutdown(2)`, or `listen(2)` on a socket that is in use: both reach every process that has it.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::upgrade::descriptors::{Carrier, Inherited};
use crate::control::message::{BindAddress, Held};
use crate::observe::event::Event;
use crate::sys::never_block;
use crate::systemd::activation::{Activation, Origin};
use crate::systemd::notify::Notify;

/// The sockets, by the names of their listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    list: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    held: Held,
    socket: OwnedFd,
}

impl Listeners {
    /// Takes over what systemd passed.
    #[must_use]
    pub fn adopt(activation: Activation) -> (Self, Vec<Event>) {
        let mut listeners = Self::default();
        let warnings = activation.refused.into_iter().map(|text| Event::SupervisorWarning { text });
        let mut events: Vec<_> = warnings.collect();
        for passed in activation.sockets {
            let address = local_address(&passed.socket);
            let shown = address.as_ref().map_or_else(|_| "?".to_owned(), ToString::to_string);
            events.push(Event::ListenerInherited { listener: passed.name.clone(), address: shown });
            let bound = match passed.origin {
                Origin::Unit => None,
                Origin::Bound => address.ok(),
            };
            let held = Held { listener: passed.name, bound };
            listeners.list.push(Listener { held, socket: passed.socket });
        }
        (listeners, events)
    }

    /// Every socket by its name, for another program to go on with.
    pub fn carry<'a>(&'a self, carrier: &mut Carrier<'a>) -> Vec<(Held, RawFd)> {
        self.list.iter().map(|one| (one.held.clone(), carrier.carry(&one.socket))).collect()
    }

    /// Goes on with the sockets of another program. One that is missing is said, and bound anew when it is asked for.
    #[must_use]
    pub fn go_on(carried: Vec<(Held, RawFd)>, inherited: &mut Inherited) -> (Self, Vec<Event>) {
        let mut listeners = Self::default();
        let mut events = Vec::new();
        for (held, number) in carried {
            match inherited.take(number) {
                Some(socket) => listeners.list.push(Listener { held, socket }),
                None => {
                    let text = format!("the socket of listener {} was lost in the upgrade", held.listener);
                    events.push(Event::SupervisorWarning { text });
                }
            }
        }
        (listeners, events)
    }

    /// Every socket, as a worker is told of it. They do not block, whatever somebody did to them meanwhile.
    pub fn all(&self) -> Vec<(Held, &OwnedFd)> {
        for listener in &self.list {
            // fails only for a descriptor that is none
            let _ = never_block(&listener.socket);
        }
        self.list.iter().map(|one| (one.held.clone(), &one.socket)).collect()
    }

    /// The socket of `listener` at `address`: the one held already, else a new one, which systemd gets too.
    ///
    /// # Errors
    /// Whatever `bind(2)` says.
    pub fn bind(
        &mut self,
        listener: &str,
        address: &BindAddress,
        notify: &mut Notify,
    ) -> io::Result<(&OwnedFd, Vec<Event>)> {
        let held = Held { listener: listener.to_owned(), bound: Some(address.clone()) };
        let mut events = Vec::new();
        let index = match self.list.iter().position(|one| one.held == held) {
            Some(index) => index,
            None => {
                let socket = bind(address)?;
                let local = local_address(&socket)?;
                events.push(Event::ListenerBound { listener: listener.to_owned(), address: local.to_string() });
                if let Err(fault) = notify.store(listener, socket.as_fd()) {
                    let text = format!(
                        "the socket of listener {listener} was not stored with systemd ({fault}): a restart closes it"
                    );
                    events.push(Event::SupervisorWarning { text });
                }
                self.list.push(Listener { held, socket });
                self.list.len() - 1
            }
        };
        Ok((&self.list[index].socket, events))
    }

    /// Lets go of the sockets that were bound here and are not among `used`; those of socket units stay, they are
    /// systemd's. Returns what an operator should know.
    pub fn keep(&mut self, used: &[Held], notify: &mut Notify) -> Vec<Event> {
        let (kept, dropped) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|one: &Listener| one.held.bound.is_none() || used.contains(&one.held));
        self.list = kept;
        for listener in dropped {
            self.forget(&listener, notify);
        }
        let unused = self.list.iter().filter(|one| !used.contains(&one.held));
        unused
            .map(|one| Event::ListenerUnused {
                listener: one.held.listener.clone(),
                address: local_address(&one.socket).map_or_else(|_| "?".to_owned(), |address| address.to_string()),
            })
            .collect()
    }

    /// Closes the socket everywhere outside the workers.
    fn forget(&self, dropped: &Listener, notify: &mut Notify) {
        let name = &dropped.held.listener;
        notify.forget(name);
        // that went by name: what else has the name goes back in
        let same_name = self.list.iter().filter(|one| one.held.listener == *name && one.held.bound.is_some());
        for listener in same_name {
            // should it fail: a restart closes this one socket, and binds it again
            let _ = notify.store(name, listener.socket.as_fd());
        }
        if let Some(BindAddress::Unix(path)) = &dropped.held.bound {
            // a path that nobody listens on any more; if it is gone, so much the better
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(address: &BindAddress) -> io::Result<OwnedFd> {
    let (domain, address) = match address {
        BindAddress::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        BindAddress::Unix(path) => {
            remove_stale(path);
            (Domain::UNIX, SockAddr::unix(path)?)
        }
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    if domain != Domain::UNIX {
        socket.set_reuse_address(true)?; // connections of an earlier run that linger are no reason to fail
    }
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A path that nobody listens on is left from an earlier run.
fn remove_stale(path: &Path) {
    let refused = UnixStream::connect(path).err().map(|fault| fault.kind());
    if refused == Some(io::ErrorKind::ConnectionRefused) {
        let _ = std::fs::remove_file(path); // bind says what is wrong if it cannot be removed
    }
}

fn local_address(socket: &OwnedFd) -> io::Result<BindAddress> {
    let address = socket2::SockRef::from(socket).local_addr()?;
    match (address.as_socket(), address.as_pathname()) {
        (Some(ip), _) => Ok(BindAddress::Ip(ip)),
        (None, Some(path)) => Ok(BindAddress::Unix(path.to_owned())),
        (None, None) => Err(io::Error::other("neither an internet nor a unix address")),
    }
}

/// What the kernel allows at most is up to net.core.somaxconn.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn anywhere() -> BindAddress {
        BindAddress::Ip("127.0.0.1:0".parse().expect("address"))
    }

    #[test]
    fn a_listener_is_bound_once_and_then_found_again() {
        let mut notify = Notify::silent();
        let mut listeners = Listeners::default();
        let (socket, events) = listeners.bind("http", &anywhere(), &mut notify).expect("bind");
        let first = local_address(socket).expect("address");
        assert!(matches!(&events[..], [Event::ListenerBound { .. }]), "{events:?}");
        let (socket, events) = listeners.bind("http", &anywhere(), &mut notify).expect("bind");
        assert_eq!(local_address(socket).expect("address"), first);
        assert!(events.is_empty());
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = BindAddress::Ip(taken.local_addr().expect("address"));
        let fault = Listeners::default().bind("http", &address, &mut Notify::silent()).expect_err("taken");
        assert_eq!(fault.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_unix_path_left_from_an_earlier_run_is_bound_again_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("listener");
        let address = BindAddress::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
        let mut listeners = Listeners::default();
        listeners.bind("one", &address, &mut Notify::silent()).expect("stale");
        let fault = listeners.bind("other", &address, &mut Notify::silent()).expect_err("in use");
        assert_eq!(fault.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn unused_sockets_are_closed_if_bound_here_and_kept_if_of_a_unit() {
        let mut notify = Notify::silent();
        let (mut listeners, _) = Listeners::adopt(Activation {
            sockets: vec![crate::systemd::activation::Passed {
                name: "unit".to_owned(),
                origin: Origin::Unit,
                socket: bind(&anywhere()).expect("bind"),
            }],
            refused: Vec::new(),
        });
        let address = local_address(listeners.bind("own", &anywhere(), &mut notify).expect("bind").0).expect("address");
        let events = listeners.keep(&[], &mut notify);
        assert!(matches!(&events[..], [Event::ListenerUnused { listener, .. }] if listener == "unit"), "{events:?}");
        assert_eq!(listeners.all().len(), 1);
        bind(&address).expect("free again");
    }
}

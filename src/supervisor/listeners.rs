//! Every listening socket of the service. The supervisor holds them for its whole life and accepts on none.
//!
//! Nothing here calls `shutdown(2)`, or `listen(2)` on a socket that is in use: both reach every process that has it.

mod carry;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

pub use self::carry::CarriedListeners;
use super::place::SocketFile;
use crate::control::message::{BindAddress, Held};
use crate::observe::event::Event;
use crate::sys::never_block;
use crate::systemd::activation::{self, Activation, SocketOrigin};
use crate::systemd::notify::Notify;

/// The sockets, by the names of their listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    list: Vec<HeldListener>,
    /// The sockets that the last proven generation uses: the next worker may be made from it. None before the first
    /// one.
    proven: Option<Vec<Held>>,
}

#[derive(Debug)]
struct HeldListener {
    held: Held,
    socket: OwnedFd,
    /// The file of a unix socket that was bound here; none for one that came from systemd's store, because nothing
    /// says whether its file still exists.
    place: Option<SocketFile>,
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
            events.push(Event::ListenerInherited { listener: passed.name.clone(), address: shown(&passed.socket) });
            let bound = match passed.origin {
                SocketOrigin::Unit => None,
                SocketOrigin::Bound => address.ok(),
            };
            let held = Held { listener: passed.name, bound };
            listeners.list.push(HeldListener { held, socket: passed.socket, place: None });
        }
        (listeners, events)
    }

    /// Every socket, as a worker is told of it. `O_NONBLOCK` is set again, because any holder can clear it.
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
    /// The error of `bind(2)`.
    pub fn bind(
        &mut self,
        listener: &str,
        address: &BindAddress,
        notify: &mut Notify,
    ) -> io::Result<(&OwnedFd, Vec<Event>)> {
        let held = Held { listener: listener.to_owned(), bound: Some(address.clone()) };
        if let Some(index) = self.list.iter().position(|one| one.held == held) {
            return Ok((&self.list[index].socket, Vec::new()));
        }
        let (socket, place) = match self.list.iter().find(|one| is_at(one.held.bound.as_ref(), address)) {
            // the listener was renamed: the same address cannot be bound twice
            Some(renamed) => (renamed.socket.try_clone()?, renamed.place),
            None => (bind(address)?, place(address)),
        };
        let local = local_address(&socket)?;
        let mut events = vec![Event::ListenerBound { listener: listener.to_owned(), address: local.to_string() }];
        events.extend(self.store(listener, &socket, notify).map(|text| Event::SupervisorWarning { text }));
        self.list.push(HeldListener { held, socket, place });
        Ok((&self.list[self.list.len() - 1].socket, events))
    }

    /// Gives a new socket to systemd. Returns why systemd does not keep it.
    fn store(&self, listener: &str, socket: &OwnedFd, notify: &mut Notify) -> Option<String> {
        if let Err(fault) = notify.store(listener, socket.as_fd()) {
            return Some(format!(
                "the socket of listener {listener} cannot be given to systemd ({fault}): a restart closes it"
            ));
        }
        let stored = self.list.iter().filter(|one| one.held.bound.is_some()).count() + 1;
        let room = activation::store_room();
        (stored > room && !notify.is_silent()).then(|| {
            format!("systemd keeps {room} sockets, and {listener} is one more: a restart closes it (FileDescriptorStoreMax=)")
        })
    }

    /// A generation proved good that uses these.
    pub fn prove(&mut self, used: Vec<Held>) {
        self.proven = Some(used);
    }

    /// Closes sockets that were bound here and are unused: the proven generation does not use them, and neither does
    /// one of `living`, which are the generations that serve or can resume. Sockets of units stay, they are
    /// systemd's.
    pub fn keep(&mut self, living: &[&Held], notify: &mut Notify) {
        let Some(proven) = &self.proven else { return };
        let needed = |one: &Held| proven.contains(one) || living.contains(&one);
        let (kept, dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|one: &HeldListener| one.held.bound.is_none() || needed(&one.held));
        self.list = kept;
        for listener in dropped {
            self.forget(&listener, notify);
        }
    }

    /// Closes the socket everywhere outside the workers.
    fn forget(&self, dropped: &HeldListener, notify: &mut Notify) {
        let name = &dropped.held.listener;
        notify.forget(name);
        // systemd removes by name, so other sockets of that name are stored again. And systemd stores no socket
        // twice: a renamed socket was stored under its old name.
        let address = &dropped.held.bound;
        let same = |one: &&HeldListener| {
            one.held.bound.is_some() && (one.held.listener == *name || one.held.bound == *address)
        };
        for listener in self.list.iter().filter(same) {
            // if it fails, a restart closes this one socket and binds it again
            let _ = notify.store(&listener.held.listener, listener.socket.as_fd());
        }
        if let (Some(BindAddress::Unix(path)), Some(place)) = (address, &dropped.place)
            && !self.list.iter().any(|one| one.held.bound == *address)
        {
            // a path on which no process listens any more; that it is missing already is fine
            let _ = place.remove(path);
        }
    }
}

/// Whether a socket bound at `bound` serves `wanted` too: a wildcard socket may have IPv4 alone.
fn is_at(bound: Option<&BindAddress>, wanted: &BindAddress) -> bool {
    match (bound, wanted) {
        (Some(BindAddress::Ip(bound)), BindAddress::Ip(wanted)) if bound != wanted => {
            wanted.ip() == Ipv6Addr::UNSPECIFIED
                && *bound == SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()))
                && is_without_ipv6(&Socket::new(Domain::IPV6, Type::STREAM, None))
        }
        (bound, wanted) => bound == Some(wanted),
    }
}

fn place(address: &BindAddress) -> Option<SocketFile> {
    match address {
        BindAddress::Ip(_) => None,
        BindAddress::Unix(path) => SocketFile::of(path),
    }
}

fn bind(address: &BindAddress) -> io::Result<OwnedFd> {
    bind_with(address, |domain| Socket::new(domain, Type::STREAM.nonblocking(), None))
}

fn is_without_ipv6(socket: &io::Result<Socket>) -> bool {
    let code = socket.as_ref().err().and_then(io::Error::raw_os_error);
    code == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_with(address: &BindAddress, open: impl Fn(Domain) -> io::Result<Socket>) -> io::Result<OwnedFd> {
    let (mut domain, mut at) = match address {
        BindAddress::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        BindAddress::Unix(path) => {
            remove_stale(path);
            (Domain::UNIX, SockAddr::unix(path)?)
        }
    };
    let mut socket = open(domain);
    if let BindAddress::Ip(every) = address
        && every.ip() == Ipv6Addr::UNSPECIFIED
        && is_without_ipv6(&socket)
    {
        // every address of this machine is one of IPv4
        (domain, at) = (Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, every.port())).into());
        socket = open(domain);
    }
    let (socket, address) = (socket?, at);
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    if domain != Domain::UNIX {
        socket.set_reuse_address(true)?; // connections of an earlier run that linger must not make bind fail
    }
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// An earlier run left a path on which no process listens.
fn remove_stale(path: &Path) {
    let Some(left) = SocketFile::of(path) else { return };
    // nonblocking: a socket whose queue is full is alive, and must not stop the supervisor
    let knock = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?.connect(&SockAddr::unix(path)?);
    let refused = knock().err().map(|fault| fault.kind());
    if refused == Some(io::ErrorKind::ConnectionRefused) {
        // connecting to another kind of file is refused, too; such a file stays. bind reports it if it is in the way
        let _ = left.remove(path);
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

/// Its address, as people write it.
fn shown(socket: &OwnedFd) -> String {
    match local_address(socket) {
        Ok(address) => address.to_string(),
        Err(_) => abstract_name(socket).map_or_else(|| "?".to_owned(), |name| format!("unix:@{name}")),
    }
}

/// The name of a unix socket that is in no directory, without the zero byte in front.
fn abstract_name(socket: &OwnedFd) -> Option<String> {
    let address = socket2::SockRef::from(socket).local_addr().ok()?;
    Some(String::from_utf8_lossy(address.as_abstract_namespace()?).into_owned())
}

/// net.core.somaxconn limits the queue.
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
    fn a_socket_that_is_in_no_directory_is_shown_with_its_name() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("segue-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("name");
        let socket = std::os::unix::net::UnixListener::bind_addr(&address).expect("bind");
        assert_eq!(shown(&socket.into()), format!("unix:@{name}"));
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
        let fault = Listeners::default().bind("one", &address, &mut Notify::silent()).expect_err("in use");
        assert_eq!(fault.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_removed_to_bind_at_its_path() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("listener");
        std::fs::write(&path, "mine").expect("write");
        let fault = Listeners::default()
            .bind("one", &BindAddress::Unix(path.clone()), &mut Notify::silent())
            .expect_err("taken");
        assert_eq!(fault.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "mine");
    }

    #[test]
    fn a_path_that_another_service_has_taken_over_is_left_to_it() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("listener");
        let address = BindAddress::Unix(path.clone());
        let mut notify = Notify::silent();
        let mut listeners = Listeners::default();
        listeners.bind("one", &address, &mut notify).expect("bind");
        std::fs::remove_file(&path).expect("remove");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        listeners.prove(Vec::new());
        listeners.keep(&[], &mut notify);
        assert!(names(&listeners).is_empty());
        std::os::unix::net::UnixStream::connect(&path).expect("the other one listens there");
    }

    #[test]
    fn every_address_is_every_ipv4_address_where_there_is_no_ipv6() {
        let every = BindAddress::Ip("[::]:0".parse().expect("address"));
        let without = |domain| match domain {
            Domain::IPV6 => Err(rustix::io::Errno::AFNOSUPPORT.into()),
            domain => Socket::new(domain, Type::STREAM.nonblocking(), None),
        };
        let socket = bind_with(&every, without).expect("bind");
        let BindAddress::Ip(bound) = local_address(&socket).expect("address") else { panic!("no address") };
        assert_eq!(bound.ip(), std::net::IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let one = BindAddress::Ip("[::1]:0".parse().expect("address"));
        bind_with(&one, without).expect_err("there is no such address");
    }

    fn held(listener: &str, address: &BindAddress) -> Held {
        Held { listener: listener.to_owned(), bound: Some(address.clone()) }
    }

    fn names(listeners: &Listeners) -> Vec<&str> {
        listeners.list.iter().map(|one| one.held.listener.as_str()).collect()
    }

    #[test]
    fn unused_sockets_are_closed_if_bound_here_and_kept_if_of_a_unit() {
        let mut notify = Notify::silent();
        let (mut listeners, _) = Listeners::adopt(Activation {
            sockets: vec![crate::systemd::activation::Passed {
                name: "unit".to_owned(),
                origin: SocketOrigin::Unit,
                socket: bind(&anywhere()).expect("bind"),
            }],
            ..Activation::default()
        });
        let address = local_address(listeners.bind("own", &anywhere(), &mut notify).expect("bind").0).expect("address");
        listeners.prove(Vec::new());
        listeners.keep(&[], &mut notify);
        assert_eq!(names(&listeners), ["unit"]);
        bind(&address).expect("free again");
    }

    #[test]
    fn nothing_is_closed_before_a_generation_proved_good_nor_while_one_could_be_gone_back_to() {
        let mut notify = Notify::silent();
        let mut listeners = Listeners::default();
        listeners.bind("old", &anywhere(), &mut notify).expect("bind");
        listeners.keep(&[], &mut notify);
        assert_eq!(names(&listeners), ["old"], "the first generation is about to say that it uses it");
        listeners.prove(Vec::new());
        listeners.keep(&[&held("old", &anywhere())], &mut notify);
        assert_eq!(names(&listeners), ["old"]);
        listeners.keep(&[], &mut notify);
        assert!(names(&listeners).is_empty());
    }

    #[test]
    fn a_listener_that_gets_another_name_keeps_its_socket() {
        let directory = tempfile::tempdir().expect("directory");
        let address = BindAddress::Unix(directory.path().join("listener"));
        let mut notify = Notify::silent();
        let mut listeners = Listeners::default();
        listeners.bind("old", &address, &mut notify).expect("bind");
        listeners.bind("new", &address, &mut notify).expect("the address is our own");
        listeners.prove(vec![held("new", &address)]);
        listeners.keep(&[], &mut notify);
        assert_eq!(names(&listeners), ["new"]);
        assert!(directory.path().join("listener").exists(), "the path is still listened on");
        listeners.prove(Vec::new());
        listeners.keep(&[], &mut notify);
        assert!(!directory.path().join("listener").exists());
    }

    #[test]
    fn a_unix_socket_whose_queue_is_full_is_in_use_and_blocks_nothing() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("listener");
        let address = BindAddress::Unix(path.clone());
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).expect("socket");
        busy.bind(&SockAddr::unix(&path).expect("address")).expect("bind");
        busy.listen(0).expect("listen");
        let _waiting = std::os::unix::net::UnixStream::connect(&path).expect("the one that fits");
        let fault = Listeners::default().bind("one", &address, &mut Notify::silent()).expect_err("in use");
        assert_eq!(fault.kind(), io::ErrorKind::AddrInUse);
    }
}

//! Taking client connections from a listening socket: one task for each thread and socket.
//!
//! The socket is shared with systemd, the supervisor and other generations, so nothing here changes it but its keep-alive
//! and `TCP_NODELAY`, which connections take over from it: to stop accepting is to take it out of the poller, and connections wait in its
//! backlog for the process that accepts next.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, acceptfrom_with, recv, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection::ClientConnection;
use super::kind::Kind;
use super::limits::{Limits, Permit};
use super::service::{Proxy, Service};
use crate::net::{self, Stream};
use crate::observe::record::Index;
use crate::proxy::idle::IdleConnections;
use crate::proxy::{Client, Thread};
use crate::sys;

/// Connections taken in one go; then the others of the thread have their turn, and other threads theirs.
const BATCH: usize = 8;

/// The same while connections wait for a turn to move large bodies: each connection that is taken costs about as much as a
/// turn, and what the poller finds waits for all of them.
const BUSY_BATCH: usize = 2;

/// How many connections more than an equal share a thread may have, and an eighth of the share, before it lets the
/// others go first, and for how long. All threads are woken for each connection, and the one that runs already would
/// take a whole burst. Short connections never come so far: the pause would cost them dearly.
const AHEAD: usize = 8;
const AFTER_YOU: Duration = Duration::from_millis(1);

/// How long to wait when the kernel has no descriptor or memory for one more connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The same fault of a listener is logged once in this time: at a limit it comes and goes with every connection.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// Accepts on one socket for one thread, from [`Acceptor::start`] until it is parked or dropped.
pub struct Acceptor {
    socket: Rc<Socket>,
    task: JoinHandle<()>,
    limits: Arc<Limits>,
    idle: Arc<IdleConnections>,
}

/// The listening socket, as long as this thread watches it.
struct Socket(RefCell<Option<AsyncFd<OwnedFd>>>);

/// What a try to accept gave.
enum Opened<C = ()> {
    Connection(C),
    /// No connection waits, or the one that did is gone.
    None,
    /// The kernel has nothing to make a connection of, or the socket is of no use.
    Stalled(io::Error),
    /// The socket is not watched any more.
    Parked,
}

impl Acceptor {
    /// Starts to accept on `socket`, a listening socket that does not block. `listener` is its index in the names of
    /// the log. Must be called inside the runtime of the thread.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn start(
        thread: Rc<Thread>,
        listener: Index,
        kind: Kind,
        socket: OwnedFd,
        limits: Arc<Limits>,
    ) -> io::Result<Self> {
        Self::start_on::<Proxy>(thread, listener, kind, socket, limits)
    }

    pub(super) fn start_on<S: Service>(
        thread: Rc<Thread>,
        listener: Index,
        kind: Kind,
        socket: OwnedFd,
        limits: Arc<Limits>,
    ) -> io::Result<Self> {
        // connections begin as their listener is; what the kernel refuses here is no reason not to serve
        let _ = net::keep_alive(&socket, thread.runtime_config.config.worker.tcp_keep_alive);
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let _ = net::limit_unsent(&socket);
        let socket = sys::watch_readable(socket)?;
        let socket = Rc::new(Socket(RefCell::new(Some(socket))));
        limits.enter(&thread.idle);
        let (stalled, full) = (Seldom::default(), Seldom::default());
        let idle = thread.idle.clone();
        let accepting =
            Accepting { thread, listener, kind, socket: socket.clone(), limits: limits.clone(), stalled, full };
        let task = tokio::task::spawn_local(accepting.run::<S>());
        Ok(Self { socket, task, limits, idle })
    }

    /// Stops accepting before it returns, and gives the socket back as it came.
    #[must_use = "the socket is closed when it is dropped"]
    pub fn park(self) -> Option<OwnedFd> {
        self.socket.0.take().map(AsyncFd::into_inner)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // the task may be waiting for something else; it must not be what takes the socket out of the poller
        self.socket.0.take();
        self.task.abort();
        self.limits.leave(&self.idle);
    }
}

/// The task.
struct Accepting {
    thread: Rc<Thread>,
    listener: Index,
    kind: Kind,
    socket: Rc<Socket>,
    limits: Arc<Limits>,
    stalled: Seldom,
    full: Seldom,
}

/// Something that is said now and then.
#[derive(Default)]
struct Seldom(Cell<Option<Instant>>);

impl Seldom {
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let due = self.0.get().is_none_or(|logged| now - logged >= LOG_AGAIN);
        if due {
            self.0.set(Some(now));
        }
        due
    }
}

impl Accepting {
    async fn run<S: Service>(self) {
        while self.batch::<S>().await {}
    }

    /// Timeouts for connections and takes some; `false` once the socket is not watched any more.
    async fn batch<S: Service>(&self) -> bool {
        if !poll_fn(|cx| self.socket.poll_readable(cx)).await {
            return false;
        }
        if self.is_ahead() {
            tokio::time::sleep(AFTER_YOU).await; // a connection that is still there was wanted by no other thread
        }
        let most = if self.thread.turns.are_awaited() { BUSY_BATCH } else { BATCH };
        for _ in 0..most {
            let _turn;
            // not before a connection waits: a permit kept in store would be one connection less for others
            let permit = match self.limits.try_take() {
                Some(permit) => permit,
                None if !self.socket.has_connection() => return true,
                None => {
                    // all threads hear of one connection that comes, and two would have two closed for it
                    let _full = self.thread.full();
                    _turn = self.limits.turn().await;
                    if !self.socket.has_connection() {
                        return true;
                    }
                    match self.wait_for_permit().await {
                        Some(permit) => permit,
                        None => return false,
                    }
                }
            };
            match self.open_next::<S>(permit) {
                Opened::Connection(()) => {}
                Opened::None => return true,
                Opened::Stalled(error) => return self.stall(&error).await,
                Opened::Parked => return false,
            }
        }
        tokio::task::yield_now().await;
        true
    }

    /// Gives the kernel time to recover. Says so now and then, not each time.
    async fn stall(&self, error: &io::Error) -> bool {
        if self.stalled.is_due() {
            self.thread.accept_stalled(self.listener, error);
        }
        self.thread.close_idle_upstream(); // descriptors that no exchange needs now
        self.thread.timer_wheel.sleep(BACK_OFF).await;
        true
    }

    fn is_ahead(&self) -> bool {
        let share = self.limits.share();
        self.thread.clients.len() > share + share / 8 + AHEAD
    }

    /// At the limit nothing is accepted before there is room: connections wait in the backlog, the one that has been idle
    /// longest is closed for them, and those that are busy make room with their next response.
    async fn wait_for_permit(&self) -> Option<Permit> {
        if self.full.is_due() {
            let (limit, value) = self.limits.reached();
            self.thread.limit_reached(self.listener, limit, value);
        }
        self.limits.take(self.listener).await
    }

    /// Takes a connection and has it served.
    fn open_next<S: Service>(&self, permit: Permit) -> Opened {
        let mut first = self.thread.scratch.borrow_mut();
        let (stream, peer, len) = match self.socket.accept(&mut first[..]) {
            Opened::Connection(connection) => connection,
            Opened::None => return Opened::None,
            Opened::Stalled(error) => return Opened::Stalled(error),
            Opened::Parked => return Opened::Parked,
        };
        self.thread.counters.accepted(self.listener);
        let client = Client::new(self.thread.timer_wheel.timer(), &self.thread.clients, self.listener, peer);
        let connection = ClientConnection::<S>::new(&self.thread, client, self.kind, stream, &first[..len], permit);
        tokio::task::spawn_local(connection);
        Opened::Connection(())
    }
}

impl Socket {
    /// Whether there may be a connection; `false` once the socket is not watched any more.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let socket = self.0.borrow();
        let Some(socket) = &*socket else {
            return Poll::Ready(false);
        };
        // an error means that the runtime is about to end
        socket.poll_read_ready(cx).map(|ready| ready.is_ok())
    }

    /// Whether a connection waits. The poller only knows that one came since it was last asked.
    fn has_connection(&self) -> bool {
        let socket = self.0.borrow();
        let Some(socket) = &*socket else { return true }; // which the next look at it tells
        let mut polled = [PollFd::new(socket, PollFlags::IN)];
        let waits = poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
        if !waits {
            let nothing = |_: &OwnedFd| Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = socket.try_io(Interest::READABLE, nothing); // forgets what the poller knew
        }
        waits
    }

    /// Takes a connection, and reads its first bytes into `first`; gives how many. Most clients send with the handshake, and
    /// what is read before the poller watches the connection costs no turn of the poller.
    fn accept(&self, first: &mut [u8]) -> Opened<(Stream, Option<SocketAddr>, usize)> {
        let socket = self.0.borrow();
        let Some(socket) = &*socket else {
            return Opened::Parked;
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let taken =
            socket.try_io(Interest::READABLE, |socket| acceptfrom_with(socket.as_fd(), flags).map_err(io::Error::from));
        match taken {
            Ok((fd, peer)) => {
                // an end or an error is told again, by the next read
                let len = recv(&fd, first, RecvFlags::DONTWAIT).map_or(0, |(_, len)| len);
                match adopt(fd, peer.and_then(|peer| SocketAddr::try_from(peer).ok())) {
                    Ok((stream, peer)) => Opened::Connection((stream, peer, len)),
                    Err(error) => Opened::Stalled(error),
                }
            }
            Err(error) if is_passing(&error) => Opened::None,
            Err(error) => Opened::Stalled(error),
        }
    }
}

/// Registers an accepted socket. IPv4 clients of an IPv6 socket keep their IPv4 address.
fn adopt(fd: OwnedFd, peer: Option<SocketAddr>) -> io::Result<(Stream, Option<SocketAddr>)> {
    let Some(peer) = peer else {
        return Ok((Stream::Unix(UnixStream::from_std(fd.into())?), None));
    };
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    Ok((Stream::Tcp(TcpStream::from_std(fd.into())?), Some(peer)))
}

/// Errors of the one connection that was to be accepted, and not of the socket: accept(2) says to go on.
fn is_passing(error: &io::Error) -> bool {
    // tokio's own "would block" has no number
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(
            Errno::from_io_error(error),
            Some(
                Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PERM
                    | Errno::PROTO
                    | Errno::NOPROTOOPT
                    | Errno::OPNOTSUPP
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NONET
                    | Errno::TIMEDOUT
            )
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_connection_do_not_stall_the_listener() {
        for errno in [Errno::AGAIN, Errno::INTR, Errno::CONNABORTED, Errno::PROTO, Errno::HOSTUNREACH, Errno::PERM] {
            assert!(is_passing(&errno.into()), "{errno}");
        }
        assert!(is_passing(&io::ErrorKind::WouldBlock.into()), "as tokio says it");
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL, Errno::BADF] {
            assert!(!is_passing(&errno.into()), "{errno}");
        }
    }
}

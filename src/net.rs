//! A stream socket, TCP or unix, with TLS on it or without, and the few operations that the data path needs.
//!
//! Reads and writes take `&self`, so that both directions of one connection can be driven from one task without a
//! split; readiness is tokio's.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Address;
use crate::sys;

pub mod tls;

pub use tls::{DormantTls, TlsParts, TlsStream};

/// A connected stream socket, registered with the runtime of the thread that made it.
#[derive(Debug)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
    /// TLS on one of the two.
    Tls(Box<TlsStream>),
}

/// Whether the other end has ended its side, independent of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It has not.
    None,
    /// It has closed its sending side, after the bytes that are unread.
    Finished {
        /// How many there are.
        unread: u64,
    },
    /// It has reset the connection.
    Gone,
}

/// A connection without the runtime, on its way to another thread or process.
#[derive(Debug)]
pub struct Detached {
    /// The socket, which does not block.
    pub socket: OwnedFd,
    /// The TLS on it.
    pub tls: Option<Box<TlsParts>>,
}

impl Detached {
    /// Bytes that were read or sealed for it and did not pass, and those of what the client showed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Some(tls) = self.tls.as_deref() else { return 0 };
        let client: usize = tls.facts.client.iter().flat_map(|shown| shown.chain()).map(|one| one.len()).sum();
        tls.received.len() + tls.plain.len() + tls.sealed.len() + client
    }

    /// Registers the connection with the runtime of this thread.
    ///
    /// # Errors
    /// When it is no socket, or cannot be watched.
    pub fn attach(self) -> io::Result<Stream> {
        let socket = Stream::from_fd(self.socket)?;
        Ok(match self.tls {
            Some(parts) => TlsStream::from_parts(socket, *parts),
            None => socket,
        })
    }
}

macro_rules! each {
    ($stream:expr, $socket:ident => $body:expr, $tls:ident => $tls_body:expr) => {
        match $stream {
            Stream::Tcp($socket) => $body,
            Stream::Unix($socket) => $body,
            Stream::Tls($tls) => $tls_body,
        }
    };
}

/// Keep-alive probes in a row without an answer, after which a connection has ended.
const PROBES: u32 = 4;

/// Sets TCP keep-alive: the kernel probes the other end once it has been silent for `after`, and [`PROBES`] times in
/// as long again (tcp(7), `TCP_KEEPIDLE`); none switches it off. Accepted connections inherit it from the listening
/// socket. `TCP_USER_TIMEOUT` is not set: it would also end a connection whose other end is there and does not read
/// for a while.
///
/// # Errors
/// The error of `setsockopt(2)`; on a unix socket nothing is done.
pub fn keep_alive(socket: &impl AsFd, after: Option<Duration>) -> io::Result<()> {
    match rustix::net::sockopt::socket_domain(socket)? {
        rustix::net::AddressFamily::UNIX => Ok(()),
        _ => set_keep_alive(socket, after),
    }
}

fn set_keep_alive(socket: &impl AsFd, after: Option<Duration>) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    let Some(after) = after else { return socket.set_keepalive(false) };
    let after = after.clamp(Duration::from_secs(1), LONGEST_KEEP_ALIVE);
    let between = (after / PROBES).max(Duration::from_secs(1));
    let times = socket2::TcpKeepalive::new().with_time(after).with_interval(between).with_retries(PROBES);
    socket.set_tcp_keepalive(&times)
}

/// Bytes that the kernel takes beyond those it has sent. Without a limit it takes up to 4 MiB for each connection
/// (`tcp_wmem`), and a thousand clients that read nothing of a large response fill what all of TCP may hold (`tcp_mem`):
/// then packets of every connection of the machine are dropped, and others waited 2 s.
const MOST_UNSENT: u32 = 256 * 1024;

/// Has the kernel refuse more than it can send soon (tcp(7), `TCP_NOTSENT_LOWAT`). Accepted connections inherit it from
/// the listening socket.
///
/// # Errors
/// The error of `setsockopt(2)`, which a unix socket has too.
pub fn limit_unsent(socket: &impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_notsent_lowat(MOST_UNSENT)
}

/// What the kernel takes at most.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(32_767);

impl Stream {
    /// Opens a connection. The caller owns the deadline: this waits for room in the full queue of a unix socket, as
    /// the kernel does for TCP.
    ///
    /// # Errors
    /// The error of `connect(2)`.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Ip(address) => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                let _ = limit_unsent(&socket); // a kernel without it serves all the same
                Ok(Self::Tcp(socket))
            }
            Address::Unix(path) => Ok(Self::Unix(connect_unix(path).await?)),
        }
    }

    /// Registers a connected socket, which does not block, with the runtime of this thread.
    ///
    /// # Errors
    /// When it is no socket, or cannot be watched.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_domain(&fd)? == rustix::net::AddressFamily::UNIX {
            return Ok(Self::Unix(UnixStream::from_std(fd.into())?));
        }
        Ok(Self::Tcp(TcpStream::from_std(fd.into())?))
    }

    /// Takes the socket back from the runtime.
    ///
    /// # Errors
    /// When the runtime is gone, and for a connection with TLS.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(socket) => Ok(socket.into_std()?.into()),
            Self::Unix(socket) => Ok(socket.into_std()?.into()),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()), // the socket alone is not the connection
        }
    }

    /// Takes the connection back from the runtime, with the TLS on it.
    ///
    /// # Errors
    /// When the runtime is gone, and for TLS that has failed.
    pub fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Tls(tls) => {
                let (socket, parts) = tls.into_parts().ok_or(io::ErrorKind::NotConnected)?;
                Ok(Detached { socket: socket.into_fd()?, tls: Some(Box::new(parts)) })
            }
            plain => Ok(Detached { socket: plain.into_fd()?, tls: None }),
        }
    }

    /// Keeps only what an idle connection needs.
    pub fn park(&self) {
        if let Self::Tls(tls) = self {
            tls.park();
        }
    }

    /// Whether nothing that was read or sealed is kept here, so that it can be detached and attached again at any time.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.tls().is_none_or(TlsStream::is_at_rest)
    }

    /// Registers the socket anew: the poller then reports again what it has reported already.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn watch_again(self) -> io::Result<Self> {
        match self {
            Self::Tls(tls) => Ok(Self::Tls(Box::new(tls.watch_again()?))),
            plain => Self::from_fd(plain.into_fd()?),
        }
    }

    /// The TLS on it.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Tls(tls) => Some(tls),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The address at the other end; none on a unix socket, and for a peer that is gone.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(tls) => tls.socket().peer_address(),
        }
    }

    /// The local address; none on a unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(tls) => tls.socket().local_address(),
        }
    }

    /// The local address and port, as HTTP writes them; for a unix socket, `localhost`.
    #[must_use]
    pub fn reached_at(&self) -> String {
        self.local_address().map_or_else(
            || "localhost".to_owned(),
            |address| SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
        )
    }

    /// Ready when a read may give bytes, an end or an error.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => socket.poll_read_ready(cx), tls => tls.poll_read_ready(cx))
    }

    /// Ready when a write may take bytes or give an error.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => socket.poll_write_ready(cx), tls => tls.socket().poll_write_ready(cx))
    }

    /// Ready when the kernel has something to say, which may be a part of a record and nothing to read.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_news(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => socket.poll_read_ready(cx), tls => tls.socket().poll_news(cx))
    }

    /// Waits until a read may give bytes, an end or an error.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_read_ready(cx)).await
    }

    /// Reads what is there. `WouldBlock` when nothing is; 0 is the end.
    ///
    /// # Errors
    /// The error of `recv(2)`.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, socket => socket.try_read(buffer), tls => tls.try_read(buffer))
    }

    /// Whether the kernel holds neither bytes nor an end nor an error. The poller is not asked.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        if let Self::Tls(tls) = self {
            return tls.is_silent();
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(self.as_fd(), &mut [0; 1], flags), Err(Errno::AGAIN))
    }

    /// For how many bytes the kernel has room, with as much to spare; none when it has not sent most of what it was given.
    /// Costs two system calls.
    #[must_use]
    pub fn room(&self) -> usize {
        let unsent = sys::unsent(self.as_fd()).unwrap_or(0); // other sockets than TCP's have no such limit
        if unsent > MOST_UNSENT as usize / 4 { 0 } else { sys::send_room(self.as_fd()).unwrap_or(0) / 2 }
    }

    /// Clears the read readiness after a read that gave less than it had room for: the socket is empty, which another read
    /// would have to say. With TLS such a read is one record of many, and this does nothing.
    pub fn note_drained(&self) {
        if self.tls().is_none() {
            self.forget_readable();
        }
    }

    /// Clears the read readiness, so that [`Stream::poll_read_ready`] reports only what comes later. The caller must
    /// read what is there already with [`Stream::recv`], until that returns `WouldBlock`.
    pub fn forget_readable(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let readable = tokio::io::Interest::READABLE;
        each!(self, socket => drop(socket.try_io(readable, nothing)), tls => tls.socket().forget_readable());
    }

    /// Reads what is there. The poller is not asked.
    ///
    /// # Errors
    /// The error of `recv(2)`, `WouldBlock` when nothing is there.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(tls) => tls.recv(buffer),
            plain => Ok(rustix::net::recv(plain, buffer, RecvFlags::DONTWAIT)?.0),
        }
    }

    /// The same, into the spare capacity of `buffer`.
    ///
    /// # Errors
    /// As [`Stream::recv`].
    pub fn recv_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tls(tls) => tls.recv_buf(buffer),
            plain => sys::receive(plain.as_fd(), buffer),
        }
    }

    /// Asks the kernel whether the other end has ended its side.
    #[must_use]
    pub fn departure(&self) -> Departure {
        let mut polled = [PollFd::new(self, PollFlags::RDHUP)];
        // a failure says nothing about the socket
        let _ = rustix::event::poll(&mut polled, Some(&Timespec::default()));
        let told = polled[0].revents();
        if told.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Departure::Gone;
        }
        if !told.contains(PollFlags::RDHUP) {
            return Departure::None;
        }
        Departure::Finished { unread: rustix::io::ioctl_fionread(self).unwrap_or(u64::MAX) }
    }

    /// Reads what is there into the spare capacity of `buffer`.
    ///
    /// # Errors
    /// As [`Stream::try_read`].
    pub fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let read = each!(self, socket => socket.try_read_buf(buffer), tls => return tls.try_read_buf(buffer))?;
        if 0 < read && read < room {
            // a short read emptied the socket: clearing its readiness saves the read that would return EAGAIN
            let emptied = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let readable = tokio::io::Interest::READABLE;
            each!(self, socket => drop(socket.try_io(readable, emptied)), _tls => ());
        }
        Ok(read)
    }

    /// Writes what fits. `WouldBlock` when nothing does.
    ///
    /// # Errors
    /// The error of `send(2)`.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, socket => socket.try_write(bytes), tls => tls.try_write(&[io::IoSlice::new(bytes)]))
    }

    /// Writes what fits of several slices. `WouldBlock` when nothing does.
    ///
    /// # Errors
    /// The error of `writev(2)`.
    pub fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        each!(self, socket => socket.try_write_vectored(slices), tls => tls.try_write(slices))
    }

    /// Reads into the spare capacity of `buffer`, waiting for readiness.
    ///
    /// # Errors
    /// The error of `recv(2)`.
    pub fn poll_read_into(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read_buf(buffer) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_read_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    /// Writes some of `bytes`, waiting for readiness.
    ///
    /// # Errors
    /// The error of `send(2)`.
    pub fn poll_write_some(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(bytes) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    /// Ready when [`Stream::finish_writing`] is done. The caller owns the deadline.
    ///
    /// # Errors
    /// As [`Stream::finish_writing`].
    pub fn poll_finish_writing(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.finish_writing() {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    /// Sends FIN: nothing more will be written. With TLS, close_notify goes before it.
    ///
    /// # Errors
    /// `WouldBlock` with TLS, while the kernel has no room for close_notify: FIN is not sent, and the caller tries again.
    /// The error of `shutdown(2)`, including `ENOTCONN`.
    pub fn finish_writing(&self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.finish_writing(),
            plain => rustix::net::shutdown(plain, rustix::net::Shutdown::Write).map_err(Into::into),
        }
    }

    /// Sets keep-alive on a connection that was not accepted here: see [`keep_alive`].
    ///
    /// # Errors
    /// The error of `setsockopt(2)`.
    pub fn keep_alive(&self, after: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => set_keep_alive(socket, after),
            Self::Unix(_) => Ok(()),
            Self::Tls(tls) => tls.socket().keep_alive(after),
        }
    }

    /// Makes the socket end with a reset instead of FIN when it is dropped. What the kernel has not sent by then is
    /// lost.
    ///
    /// # Errors
    /// The error of `setsockopt(2)`.
    pub fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.reset_on_close(),
            plain => rustix::net::sockopt::set_socket_linger(plain, Some(Duration::ZERO)).map_err(Into::into),
        }
    }

    /// Says that what was sent is all there is, where TLS is spoken: before a socket is closed without
    /// [`Stream::finish_writing`].
    ///
    /// # Errors
    /// `WouldBlock` while the kernel has no room for it; the error of `send(2)`.
    pub fn close_notify(&self) -> io::Result<()> {
        self.tls().map_or(Ok(()), TlsStream::close_notify)
    }
}

/// The pauses before a full queue is tried again: the kernel does not report a free place (`connect(2)`, `EAGAIN`).
const FULL_QUEUE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// A server that takes connections slower than they come has not refused them.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let [mut pause, longest] = FULL_QUEUE;
    loop {
        match UnixStream::connect(path).await {
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = longest.min(pause * 2);
            }
            done => return done,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, socket => socket.as_fd(), tls => tls.socket().as_fd())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_read(cx, buffer), tls => loop {
            match tls.try_read(buffer.initialize_unfilled()) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => ready!(tls.poll_read_ready(cx))?,
                done => return Poll::Ready(done.map(|read| buffer.advance(read))),
            }
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            tls @ Self::Tls(_) => tls.poll_write_some(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; JOINED];
        if let Some(joined) = join(slices, &mut joined) {
            return self.poll_write(cx, joined);
        }
        each!(self.get_mut(), socket => Pin::new(socket).poll_write_vectored(cx, slices), tls => loop {
            match tls.try_write(slices) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => ready!(tls.socket().poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // a socket has no buffer to flush, and a write with TLS ends when its records are written
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish_writing(cx)
    }
}

/// Slices up to this size together are written as one: `writev(2)` costs the kernel more than `send(2)` by more than the
/// copy takes.
const JOINED: usize = 2048;

/// Copies slices into one, if they fit.
fn join<'j>(slices: &[io::IoSlice<'_>], joined: &'j mut [u8]) -> Option<&'j [u8]> {
    let mut len = 0;
    for slice in slices {
        joined.get_mut(len..len + slice.len())?.copy_from_slice(slice);
        len += slice.len();
    }
    Some(&joined[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_joined_as_far_as_they_fit() {
        let slices = [io::IoSlice::new(b"head"), io::IoSlice::new(b""), io::IoSlice::new(b"body")];
        assert_eq!(join(&slices, &mut [0; 8]), Some(&b"headbody"[..]));
        assert_eq!(join(&slices, &mut [0; 7]), None);
        assert_eq!(join(&[], &mut [0; 7]), Some(&b""[..]));
    }

    #[test]
    fn the_kernel_takes_little_for_a_client_that_reads_nothing() {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        limit_unsent(&listener).expect("an option");
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        client.set_recv_buffer_size(4096).expect("an option");
        client.connect(&listener.local_addr().expect("address").into()).expect("connect");
        let (mut accepted, _) = listener.accept().expect("accept");
        accepted.set_nonblocking(true).expect("an option");
        let (mut taken, block) = (0, [0; 64 * 1024]);
        while let Ok(written) = accepted.write(&block) {
            taken += written;
        }
        let unsent = sys::unsent(accepted.as_fd()).expect("a number");
        assert!((1..=MOST_UNSENT as usize + block.len()).contains(&unsent), "{unsent} unsent");
        assert!(taken < 2 * MOST_UNSENT as usize, "{taken} taken");
    }

    #[test]
    fn what_a_listener_accepts_has_its_keep_alive() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let accept = || {
            let _client = std::net::TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
            listener.accept().expect("accept").0
        };
        for (after, times) in [(60, (60, 15)), (2, (2, 1)), (100_000, (32_767, 8_191))] {
            keep_alive(&listener, Some(Duration::from_secs(after))).expect("an option");
            let accepted = accept();
            let socket = socket2::SockRef::from(&accepted);
            assert!(socket.keepalive().expect("an option"));
            let [idle, interval] = [socket.tcp_keepalive_time(), socket.tcp_keepalive_interval()]
                .map(|time| time.expect("an option").as_secs());
            assert_eq!(
                (idle, interval, socket.tcp_keepalive_retries().expect("an option")),
                (times.0, times.1, PROBES)
            );
        }
        keep_alive(&listener, None).expect("an option");
        assert!(!socket2::SockRef::from(&accept()).keepalive().expect("an option"));
        let (unix, _) = std::os::unix::net::UnixStream::pair().expect("a pair");
        keep_alive(&unix, Some(Duration::from_secs(60))).expect("nothing is done");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_unix_socket_whose_queue_is_full_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app.sock");
        let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
        listener.bind(&socket2::SockAddr::unix(&path).expect("a path")).expect("bind");
        listener.listen(0).expect("listen");
        let _first = std::os::unix::net::UnixStream::connect(&path).expect("the one that fits");
        let address = Address::Unix(path);
        let mut second = std::pin::pin!(Stream::connect(&address));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
        assert!(early.is_err(), "it waits: {early:?}");
        let _taken = listener.accept().expect("accept");
        tokio::time::timeout(Duration::from_secs(10), second).await.expect("in time").expect("connected");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn end_of_writing_is_seen_by_the_peer_while_reading_goes_on() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = Address::Ip(listener.local_addr().expect("address"));
        let client = Stream::connect(&address).await.expect("connect");
        let (server, _) = listener.accept().await.expect("accept");
        client.finish_writing().expect("FIN");
        server.readable().await.expect("readable");
        assert_eq!(server.try_read(&mut [0; 1]).expect("end"), 0);
        server.writable().await.expect("writable");
        assert_eq!(server.try_write(b"x").expect("write"), 1);
        client.readable().await.expect("readable");
        assert_eq!(client.try_read(&mut [0; 4]).expect("read"), 1);
    }
}

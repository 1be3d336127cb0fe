//! Datagrams to journald: many in one system call, large ones as sealed memory.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use smallvec::SmallVec;

/// Datagrams in one system call.
pub(super) const BURST: usize = 32;
/// Longest wait inside one send.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
/// The size of the kernel's send buffer; the kernel limits it.
const ROOM: usize = 8 << 20;

/// A datagram socket connected to journald, made again when journald comes back.
#[derive(Debug)]
pub(super) struct JournalSocket {
    path: PathBuf,
    connected: Option<UnixDatagram>,
}

/// Why nothing was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendRefusal {
    /// journald does not read; try again, this call has waited already.
    Busy,
    /// journald's socket is not there, or the kernel has no memory: wait and try again.
    Gone,
    /// The first message cannot be sent.
    Unsendable,
}

impl JournalSocket {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), connected: Some(connect(path)?) })
    }

    /// Sends the first of `messages`, at most [`BURST`], and returns how many.
    pub(super) fn send(&mut self, messages: &[&[u8]]) -> Result<usize, SendRefusal> {
        let socket = self.socket()?;
        let sent = match send_burst(socket, messages) {
            Err(Errno::MSGSIZE) => send_large(socket, messages[0]).map(|()| 1),
            // sendmmsg(2) would wait anew for each message that journald makes room for
            Err(Errno::AGAIN) => wait_for_room(socket).and(Err(Errno::AGAIN)),
            sent => sent,
        };
        self.judge(sent)
    }

    /// Waits until a datagram would not block.
    pub(super) fn wait(&mut self) -> Result<(), SendRefusal> {
        let socket = self.socket()?;
        let ready = match wait_for_room(socket) {
            // a connected socket reports that its peer left only when something is sent; an empty datagram is
            // discarded by journald
            Ok(true) => rustix::net::send(socket, &[], SendFlags::DONTWAIT),
            Ok(false) => Err(Errno::AGAIN),
            Err(fault) => Err(fault),
        };
        self.judge(ready).map(|_| ())
    }

    fn socket(&mut self) -> Result<&UnixDatagram, SendRefusal> {
        if self.connected.is_none() {
            self.connected = connect(&self.path).ok();
        }
        self.connected.as_ref().ok_or(SendRefusal::Gone)
    }

    fn judge(&mut self, sent: Result<usize, Errno>) -> Result<usize, SendRefusal> {
        sent.map_err(|fault| match fault {
            Errno::AGAIN | Errno::INTR => SendRefusal::Busy,
            Errno::NOBUFS | Errno::NOMEM => SendRefusal::Gone,
            Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOTCONN | Errno::NOENT | Errno::PIPE => {
                self.connected = None;
                SendRefusal::Gone
            }
            _ => SendRefusal::Unsendable,
        })
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    // if this fails, the default size stays
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, ROOM);
    Ok(socket)
}

/// Whether a datagram would not block, now or soon.
fn wait_for_room(socket: &UnixDatagram) -> Result<bool, Errno> {
    let timeout = Timespec::try_from(PATIENCE).ok();
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    rustix::event::poll(&mut polled, timeout.as_ref())?;
    Ok(polled[0].revents().contains(PollFlags::OUT))
}

fn send_burst(socket: &UnixDatagram, messages: &[&[u8]]) -> Result<usize, Errno> {
    let slices: SmallVec<[[IoSlice<'_>; 1]; BURST]> =
        messages.iter().take(BURST).map(|message| [IoSlice::new(message)]).collect();
    let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; BURST]> =
        slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: SmallVec<[MMsgHdr<'_>; BURST]> =
        slices.iter().zip(&mut controls).map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
    rustix::net::sendmmsg(socket, &mut headers, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// Messages above the size of a datagram: a sealed memfd, which journald maps.
fn send_large(socket: &UnixDatagram, message: &[u8]) -> Result<(), Errno> {
    let memory = rustix::fs::memfd_create("segue-journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = std::fs::File::from(memory);
    memory.write_all(message).map_err(|fault| Errno::from_io_error(&fault).unwrap_or(Errno::IO))?;
    seal(&memory)?;
    let fds = [memory.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[], &mut control, SendFlags::NOSIGNAL).map(|_| ())
}

/// Keeps memory as it is.
pub(super) fn seal(memory: impl AsFd) -> Result<(), Errno> {
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(memory, seals)
}

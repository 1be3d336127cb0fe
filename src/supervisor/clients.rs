//! Connections to `control.sock`: the callers that ask for a reload or for the status.

mod carry;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub use self::carry::CarriedClients;
use super::place::SocketFile;
use crate::control::PROTOCOL;
use crate::control::channel::{Channel, Received};
use crate::control::request::{ControlReply, Request, Wish, socket_path};

/// The socket and its clients.
#[derive(Debug)]
pub struct ControlClients {
    socket: OwnedFd,
    path: PathBuf,
    /// A file of the run directory that stays locked for the life of this supervisor, so that two supervisors never
    /// share the directory. Only its owner can open it: a user that can open a file can lock it.
    lock: File,
    /// The file of the socket; a later one at the same path is not removed.
    place: Option<SocketFile>,
    last: u64,
    /// No new connection can be taken before then: no descriptor was free.
    deaf_until: Option<Instant>,
    connected: HashMap<u64, ControlClient>,
}

#[derive(Debug)]
struct ControlClient {
    channel: Channel,
    /// The peer is root or the user that this process runs as. Any other member of the group may only read the
    /// status.
    may_change: bool,
    /// The deadline for the request; none once it has come.
    until: Option<Instant>,
}

/// Why `control.sock` cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or opened.
    #[error("the run directory {path} cannot be used")]
    RunDir {
        /// The directory.
        path: PathBuf,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
    /// Another supervisor holds the lock.
    #[error("another supervisor of segue runs with the run directory {path}")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The socket cannot be bound.
    #[error("{path} cannot be bound")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
}

impl ControlClients {
    /// Opens `control.sock` in `run_dir`, which is made if it is missing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(run_dir: &Path) -> Result<Self, OpenError> {
        let lock = lock(run_dir)?;
        let path = socket_path(run_dir);
        let socket = bind(&path).map_err(|source| OpenError::Bind { path: path.clone(), source })?;
        let place = SocketFile::of(&path);
        Ok(Self { socket, path, lock, place, last: 0, deaf_until: None, connected: HashMap::new() })
    }

    /// Takes new connections. The mode of the socket admits root, and the user and the group of this process.
    pub fn accept(&mut self, now: Instant) {
        while self.connected.len() < MOST_CLIENTS {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(socket) => self.accepted(socket, now),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                // it stays readable: asking again at once would be a busy loop
                Err(_) => return self.deaf_until = Some(now + DEAF),
            }
        }
    }

    fn accepted(&mut self, socket: OwnedFd, now: Instant) {
        let may_change = may_change(&socket);
        let lookers = self.connected.values().filter(|client| !client.may_change).count();
        if !may_change && lookers >= MOST_LOOKERS {
            return; // closed: such peers must not keep root from asking
        }
        if let Ok(channel) = Channel::from_socket(socket) {
            self.last += 1;
            self.connected.insert(self.last, ControlClient { channel, may_change, until: Some(now + TIME_TO_ASK) });
        }
    }

    /// The request of client `number` with its descriptors, if one has come.
    pub fn receive(&mut self, number: u64) -> Option<(Wish, Vec<OwnedFd>)> {
        let client = self.connected.get_mut(&number)?;
        match client.channel.receive::<Request>() {
            Ok(Received::Nothing) => None,
            Ok(Received::Message(request, with)) if request.protocol == PROTOCOL => {
                client.until = None;
                if !client.may_change && !request.wish.only_looks() {
                    let text = "only root and the user of the service may ask for that; members of its group may look";
                    self.reply(number, &ControlReply::Declined(text.to_owned()));
                    return None;
                }
                Some((request.wish, with))
            }
            Ok(Received::Message(request, _)) => {
                let theirs = request.protocol;
                let text = format!("the command speaks version {theirs} of the protocol, the supervisor {PROTOCOL}");
                self.reply(number, &ControlReply::Declined(text));
                None
            }
            Ok(Received::End) | Err(_) => {
                self.connected.remove(&number);
                None
            }
        }
    }

    /// Answers client `number` and closes its connection. A client that left before is no fault.
    pub fn reply(&mut self, number: u64, reply: &ControlReply) {
        self.reply_with(number, reply, &[]);
    }

    /// The same, with descriptors.
    pub fn reply_with(&mut self, number: u64, reply: &ControlReply, with: &[BorrowedFd<'_>]) {
        if let Some(client) = self.connected.remove(&number) {
            let _ = client.channel.send(reply, with);
        }
    }

    /// Closes connections that send no request.
    pub fn expire(&mut self, now: Instant) {
        self.deaf_until = self.deaf_until.filter(|until| now < *until);
        self.connected.retain(|_, client| client.until.is_none_or(|until| now < until));
    }

    /// When [`ControlClients::expire`] is due.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.connected.values().filter_map(|client| client.until).chain(self.deaf_until).min()
    }

    /// What to poll for new connections; nothing while they cannot be taken. They wait in the queue meanwhile; none
    /// is refused.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        let takes = self.deaf_until.is_none() && self.connected.len() < MOST_CLIENTS;
        takes.then(|| self.socket.as_fd())
    }

    /// What to poll for requests, and for clients that leave.
    pub fn channels(&self) -> impl Iterator<Item = (u64, &Channel)> {
        self.connected.iter().map(|(number, client)| (*number, &client.channel))
    }
}

impl Drop for ControlClients {
    fn drop(&mut self) {
        // if it is gone already that is fine
        let _ = self.place.as_ref().map(|place| place.remove(&self.path));
    }
}

fn lock(run_dir: &Path) -> Result<File, OpenError> {
    let path = run_dir.to_owned();
    let opened = std::fs::create_dir_all(run_dir).and_then(|()| {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(run_dir.join(LOCK), flags, Mode::from_raw_mode(0o600))?);
        // a file that an administrator made could be open to other users
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600))?;
        Ok(file)
    });
    let lock = match opened {
        Ok(lock) => lock,
        Err(source) => return Err(OpenError::RunDir { path, source }),
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::AGAIN) => Err(OpenError::InUse { path }),
        Err(fault) => Err(OpenError::RunDir { path, source: fault.into() }),
    }
}

fn bind(path: &Path) -> io::Result<OwnedFd> {
    // a socket that exists belongs to a supervisor that died, because the lock is ours; any other kind of file stays
    if let Some(left) = SocketFile::of(path) {
        left.remove(path)?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Linux gives the file the mode of the socket, less the umask: at no moment can any other user connect
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o660))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(0o660))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn may_change(socket: &OwnedFd) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(socket);
    peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

/// The file in the run directory that is locked.
pub const LOCK: &str = "supervisor.lock";
const MOST_CLIENTS: usize = 256;
/// Of these, clients that may only read the status.
const MOST_LOOKERS: usize = 64;
/// More callers than this wait in connect(2).
const BACKLOG: i32 = 1024;
const DEAF: Duration = Duration::from_millis(100);
const TIME_TO_ASK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn two_supervisors_never_share_a_directory() {
        let run_dir = tempfile::tempdir().expect("directory");
        let first = ControlClients::open(run_dir.path()).expect("open");
        let fault = ControlClients::open(run_dir.path()).expect_err("locked");
        assert!(matches!(fault, OpenError::InUse { .. }), "{fault}");
        assert!(socket_path(run_dir.path()).exists());
        drop(first);
        assert!(!socket_path(run_dir.path()).exists());
        ControlClients::open(run_dir.path()).expect("free again");
    }

    #[test]
    fn a_lock_on_the_directory_that_any_user_can_take_blocks_no_supervisor() {
        let run_dir = tempfile::tempdir().expect("directory");
        let directory = File::open(run_dir.path()).expect("open");
        rustix::fs::flock(&directory, FlockOperation::LockShared).expect("locked");
        let _clients = ControlClients::open(run_dir.path()).expect("open");
        let mode = std::fs::metadata(run_dir.path().join(LOCK)).expect("the lock").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    }

    #[test]
    fn a_file_that_is_no_socket_is_in_the_way_and_stays() {
        let run_dir = tempfile::tempdir().expect("directory");
        let path = socket_path(run_dir.path());
        std::fs::write(&path, "mine").expect("write");
        assert!(matches!(ControlClients::open(run_dir.path()), Err(OpenError::Bind { .. })));
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "mine");
    }

    #[test]
    fn a_socket_that_another_process_bound_at_the_same_path_is_not_removed() {
        let run_dir = tempfile::tempdir().expect("directory");
        let clients = ControlClients::open(run_dir.path()).expect("open");
        let path = socket_path(run_dir.path());
        std::fs::remove_file(&path).expect("remove");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        drop(clients);
        assert!(path.exists());
    }

    #[test]
    fn others_cannot_connect() {
        let run_dir = tempfile::tempdir().expect("directory");
        let _clients = ControlClients::open(run_dir.path()).expect("open");
        let mode = std::fs::metadata(socket_path(run_dir.path())).expect("socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    }

    #[test]
    fn a_client_without_a_request_is_dropped() {
        let run_dir = tempfile::tempdir().expect("directory");
        let mut clients = ControlClients::open(run_dir.path()).expect("open");
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("socket");
        let address = SocketAddrUnix::new(socket_path(run_dir.path())).expect("address");
        rustix::net::connect(&socket, &address).expect("connect");
        let now = Instant::now();
        clients.accept(now);
        assert_eq!(clients.channels().count(), 1);
        clients.expire(now + TIME_TO_ASK);
        assert_eq!(clients.channels().count(), 0);
    }
}

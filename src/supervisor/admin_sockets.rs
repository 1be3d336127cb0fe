//! The listening sockets of the admin API and of the status page. Every worker has them, and the one that serves accepts.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::descriptors::{Carrier, Inherited};
use super::listeners::Listeners;
use super::place::SocketFile;
use crate::control::admin::{ADMIN, ADMIN_SOCKET, DASHBOARD, DASHBOARD_SOCKET};
use crate::control::message::{BindAddress, Held};

/// Name, file and mode of each. Any user can connect to that of the API, and each is looked at: only so the journal says of
/// what was refused. To that of the page only the proxy itself connects.
const ALL: [(&str, &str, u32); 2] = [(ADMIN, ADMIN_SOCKET, 0o666), (DASHBOARD, DASHBOARD_SOCKET, 0o600)];
/// More callers than this wait in connect(2).
const BACKLOG: i32 = 128;

/// Those that could be opened.
#[derive(Debug, Default)]
pub(super) struct AdminSockets(Vec<AdminSocket>);

#[derive(Debug)]
struct AdminSocket {
    name: &'static str,
    socket: OwnedFd,
    path: PathBuf,
    place: Option<SocketFile>,
}

/// A socket for the next program: its name and its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedAdminSocket(String, RawFd);

impl AdminSockets {
    /// Opens them in `run_dir`, in the place of those that an earlier supervisor left: the lock on the directory is ours. Says
    /// why one is missing; the service serves all the same.
    pub(super) fn open(run_dir: &Path) -> (Self, Vec<String>) {
        Self::with(run_dir, |_| None)
    }

    /// Goes on with those of the program before, and opens those that it did not have.
    pub(super) fn go_on(
        carried: &[CarriedAdminSocket],
        inherited: &mut Inherited,
        run_dir: &Path,
    ) -> (Self, Vec<String>) {
        Self::with(run_dir, |name| {
            let CarriedAdminSocket(_, number) = carried.iter().find(|CarriedAdminSocket(known, _)| known == name)?;
            inherited.take(*number)
        })
    }

    fn with(run_dir: &Path, mut before: impl FnMut(&str) -> Option<OwnedFd>) -> (Self, Vec<String>) {
        let (mut sockets, mut problems) = (Vec::new(), Vec::new());
        for (name, file, mode) in ALL {
            let path = run_dir.join(file);
            match before(name).map_or_else(|| bind(&path, mode), Ok) {
                Ok(socket) => sockets.push(AdminSocket { name, socket, place: SocketFile::of(&path), path }),
                Err(fault) => {
                    let path = path.display();
                    problems
                        .push(format!("{path} cannot be bound, so there is no admin API or no status page: {fault}"));
                }
            }
        }
        (Self(sockets), problems)
    }

    /// They for the next program.
    pub(super) fn carry<'a>(&'a self, carrier: &mut Carrier<'a>) -> Vec<CarriedAdminSocket> {
        self.0.iter().map(|one| CarriedAdminSocket(one.name.to_owned(), carrier.carry(&one.socket))).collect()
    }

    /// Every listening socket of the service, as a worker gets them.
    pub(super) fn with_listeners<'a>(&'a self, listeners: &'a Listeners) -> Vec<(Held, &'a OwnedFd)> {
        let held = |one: &AdminSocket| Held {
            listener: one.name.to_owned(),
            bound: Some(BindAddress::Unix(one.path.clone())),
        };
        let mut sockets = listeners.all();
        sockets.extend(self.0.iter().map(|one| (held(one), &one.socket)));
        sockets
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // if it is gone already that is fine
        let _ = self.place.as_ref().map(|place| place.remove(&self.path));
    }
}

fn bind(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    if let Some(left) = SocketFile::of(path) {
        left.remove(path)?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux gives the file the mode of the socket, less the umask: at no moment can more users connect
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

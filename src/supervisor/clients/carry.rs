//! The connections to `control.sock` over an upgrade of the supervisor: each client that waits for a verdict gets it.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{ControlClient, ControlClients, OpenError, lock};
use crate::control::channel::Channel;
use crate::moment;
use crate::supervisor::descriptors::{Carrier, Inherited};
use crate::supervisor::place::SocketFile;

/// [`ControlClients`], with numbers in the place of descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedClients {
    path: PathBuf,
    socket: RawFd,
    /// The locked file. The kernel ties the lock to the open file and not to the program, so the lock stays held.
    /// Supervisors of 0.1 lock the directory itself.
    directory: RawFd,
    /// Absent in the state of a supervisor of 0.1.
    #[serde(default)]
    place: Option<SocketFile>,
    last: u64,
    connected: Vec<CarriedClient>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedClient {
    number: u64,
    channel: RawFd,
    #[serde(with = "moment::optional")]
    until: Option<Instant>,
    /// With a supervisor of 0.1 no other user can connect.
    #[serde(default = "yes")]
    may_change: bool,
}

fn yes() -> bool {
    true
}

impl ControlClients {
    /// The state for the next program.
    pub fn carry<'a>(&'a self, carrier: &mut Carrier<'a>) -> CarriedClients {
        let Self { socket, path, lock, place, last, deaf_until: _, connected } = self;
        let connected = connected.iter().map(|(number, client)| CarriedClient {
            number: *number,
            channel: carrier.carry(&client.channel),
            until: client.until,
            may_change: client.may_change,
        });
        let connected = connected.collect();
        CarriedClients {
            path: path.clone(),
            socket: carrier.carry(socket),
            directory: carrier.carry(lock),
            place: *place,
            last: *last,
            connected,
        }
    }

    /// Restores the clients that another program wrote down. A client whose connection is missing is dropped.
    ///
    /// # Errors
    /// When the socket is missing and cannot be opened anew.
    pub fn go_on(carried: CarriedClients, inherited: &mut Inherited) -> Result<Self, OpenError> {
        let CarriedClients { path, socket, directory, place, last, connected } = carried;
        let mut clients = match (inherited.take(socket), inherited.take(directory)) {
            (Some(socket), Some(locked)) => {
                let lock = lock_of(locked, path.parent().unwrap_or(&path));
                let place = place.or_else(|| SocketFile::of(&path));
                Self { socket, path, lock, place, last, deaf_until: None, connected: HashMap::new() }
            }
            (_, directory) => {
                drop(directory); // an existing lock on the directory would block the new one
                Self::open(path.parent().unwrap_or(&path))?
            }
        };
        clients.last = last;
        for CarriedClient { number, channel, until, may_change } in connected {
            if let Some(channel) = inherited.take(channel).and_then(|socket| Channel::from_socket(socket).ok()) {
                clients.connected.insert(number, ControlClient { channel, may_change, until });
            }
        }
        Ok(clients)
    }
}

/// Locks the file of the run directory, in the place of the directory that a supervisor of 0.1 locked. If that fails,
/// the old lock stays.
fn lock_of(locked: OwnedFd, run_dir: &Path) -> File {
    let locked = File::from(locked);
    let is_directory = locked.metadata().is_ok_and(|about| about.is_dir());
    let better = if is_directory { lock(run_dir).ok() } else { None };
    better.unwrap_or(locked)
}

//! The connections to `control.sock` over an upgrade of the supervisor: whoever waits for a verdict gets it.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Client, Clients, OpenError};
use crate::control::channel::Channel;
use crate::supervisor::upgrade::descriptors::{Carrier, Inherited};
use crate::supervisor::upgrade::moment;

/// [`Clients`], with numbers in the place of descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct Carried {
    path: PathBuf,
    socket: RawFd,
    /// The lock belongs to what was opened, not to the program: it is held on.
    directory: RawFd,
    last: u64,
    connected: Vec<CarriedClient>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedClient {
    number: u64,
    channel: RawFd,
    #[serde(with = "moment::optional")]
    until: Option<Instant>,
}

impl Clients {
    /// All of it, for another program to go on with.
    pub fn carry<'a>(&'a self, carrier: &mut Carrier<'a>) -> Carried {
        let Self { socket, path, directory, last, deaf_until: _, connected } = self;
        let connected = connected.iter().map(|(number, client)| CarriedClient {
            number: *number,
            channel: carrier.carry(&client.channel),
            until: client.until,
        });
        let connected = connected.collect();
        Carried {
            path: path.clone(),
            socket: carrier.carry(socket),
            directory: carrier.carry(directory),
            last: *last,
            connected,
        }
    }

    /// Goes on with the clients of another program. One whose connection is missing is let go of.
    ///
    /// # Errors
    /// When the socket is missing and cannot be opened anew.
    pub fn go_on(carried: Carried, inherited: &mut Inherited) -> Result<Self, OpenError> {
        let Carried { path, socket, directory, last, connected } = carried;
        let mut clients = match (inherited.take(socket), inherited.take(directory)) {
            (Some(socket), Some(directory)) => {
                let directory = directory.into();
                Self { socket, path, directory, last, deaf_until: None, connected: HashMap::new() }
            }
            (_, directory) => {
                drop(directory); // the lock, if it is there, would be in the way
                Self::open(path.parent().unwrap_or(&path))?
            }
        };
        clients.last = last;
        for CarriedClient { number, channel, until } in connected {
            if let Some(channel) = inherited.take(channel).and_then(|socket| Channel::from_socket(socket).ok()) {
                clients.connected.insert(number, Client { channel, until });
            }
        }
        Ok(clients)
    }
}

//! The listening sockets over an upgrade of the supervisor: no process closes them, and none binds them again.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::{HeldListener, Listeners};
use crate::control::message::Held;
use crate::observe::event::Event;
use crate::supervisor::descriptors::{Carrier, Inherited};
use crate::supervisor::place::SocketFile;

/// [`Listeners`], with numbers in the place of descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedListeners {
    list: Vec<(Held, RawFd)>,
    proven: Option<Vec<Held>>,
    /// The files of those that have one, in the order of the list; supervisors of 0.1 do not say.
    #[serde(default)]
    places: Vec<Option<SocketFile>>,
}

impl Listeners {
    /// The state for the next program.
    pub fn carry<'a>(&'a self, carrier: &mut Carrier<'a>) -> CarriedListeners {
        let Self { list, proven } = self;
        let list = list.iter().map(|one| (one.held.clone(), carrier.carry(&one.socket))).collect();
        let places = self.list.iter().map(|one| one.place).collect();
        CarriedListeners { list, proven: proven.clone(), places }
    }

    /// Restores the sockets that another program wrote down. A missing one is logged, and bound anew when it is asked
    /// for.
    #[must_use]
    pub fn go_on(carried: CarriedListeners, inherited: &mut Inherited) -> (Self, Vec<Event>) {
        let mut listeners = Self { list: Vec::new(), proven: carried.proven };
        let mut events = Vec::new();
        let mut places = carried.places.into_iter();
        for (held, number) in carried.list {
            let place = places.next().flatten();
            match inherited.take(number) {
                Some(socket) => listeners.list.push(HeldListener { held, socket, place }),
                None => {
                    let text = format!("the socket of listener {} was lost in the upgrade", held.listener);
                    events.push(Event::SupervisorWarning { text });
                }
            }
        }
        (listeners, events)
    }
}

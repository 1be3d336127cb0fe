//! What happens to the generations, and what is done about it.

use serde::{Deserialize, Serialize};

use crate::control::message::{ToSupervisor, ToWorker};
use crate::control::request::{Conditions, ReloadVerdict};
use crate::observe::event::Event;
use crate::supervisor::process::Program;

/// The caller of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// A connection to `control.sock`, by its number: it waits for the verdict.
    Client(u64),
    /// SIGHUP: the verdict stands in the journal.
    Signal,
}

/// What happened.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one is handled at a time, and none is kept")]
pub enum Input {
    /// The service starts.
    Begin,
    /// A reload was asked for.
    ReloadRequested(Caller, Conditions),
    /// The caller on this connection confirms the generation that serves.
    Confirmed(u64),
    /// The process of a generation runs; its pid and its program.
    Spawned(u64, u32, Program),
    /// How many bytes of memory generations use.
    MemoryUsed(Vec<(u64, u64)>),
    /// The process of a generation could not be started; why.
    SpawnFailed(u64, String),
    /// A message from a worker.
    Message(u64, ToSupervisor),
    /// A worker closed its channel. Its exit is expected.
    ChannelClosed(u64),
    /// An invalid message from a worker; why it is invalid.
    InvalidMessage(u64, String),
    /// The process of a generation exited; how.
    Exited(u64, String),
    /// The service must end; a second time, at once.
    Stop,
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Start a worker.
    Spawn(u64, Recipe),
    /// Send a message to a worker.
    Send(u64, ToWorker),
    /// Connect two workers, so that the connections of the one that drains can move to the other.
    Link {
        /// The one that drains.
        from: u64,
        /// The one that takes over.
        to: u64,
    },
    /// End a worker: with a core dump.
    Abort(u64),
    /// End a worker at once.
    Kill(u64),
    /// Make later workers from this one's binary and configuration, and close what it does not use.
    Prove(u64),
    /// Send the verdict of a reload to a caller.
    Answer(u64, ReloadVerdict),
    /// Tell systemd where the service stands.
    Notify(Notice),
    /// Write to the journal.
    Log(Event),
    /// End this process with this exit status.
    Exit(u8),
}

/// What a worker is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The binary and the configuration as they are on disk now.
    Installed,
    /// Those that last proved good.
    Proven,
}

/// The state of the service that systemd is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It serves, and no reload is under way.
    Ready,
    /// A reload began.
    Reloading,
    /// It ends.
    Stopping,
}

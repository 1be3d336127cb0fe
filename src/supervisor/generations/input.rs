//! What happens to the generations, and what is done about it.

use serde::{Deserialize, Serialize};

use crate::control::message::{ToSupervisor, ToWorker};
use crate::control::request::{Conditions, Verdict};
use crate::observe::event::Event;
use crate::supervisor::process::Program;

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// A connection to `control.sock`, by its number: wants the verdict.
    Client(u64),
    /// SIGHUP: the verdict stands in the journal.
    Signal,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The service starts.
    Begin,
    /// A reload was asked for.
    Asked(Caller, Conditions),
    /// Somebody, by the number of the connection, confirms the generation that serves.
    Confirmed(u64),
    /// The process of a generation runs; its pid and its program.
    Spawned(u64, u32, Program),
    /// How many bytes of memory generations use.
    Weighed(Vec<(u64, u64)>),
    /// The process of a generation could not be started; why.
    SpawnFailed(u64, String),
    /// A worker said something.
    Said(u64, ToSupervisor),
    /// A worker closed its channel. Its exit is expected.
    Closed(u64),
    /// What a worker said makes no sense; why.
    Nonsense(u64, String),
    /// The process of a generation is gone; how it ended.
    Exited(u64, String),
    /// The service is to end; the second time at once.
    Stop,
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Start a worker.
    Spawn(u64, Recipe),
    /// Say something to a worker.
    Tell(u64, ToWorker),
    /// Connect two workers, so that the connections of the one that drains can move to the other.
    Link {
        /// Who drains.
        from: u64,
        /// Who takes over.
        to: u64,
    },
    /// End a worker: with a core dump.
    Abort(u64),
    /// End a worker at once.
    Kill(u64),
    /// Make later workers from this one's binary and configuration, and let go of what it does not use.
    Prove(u64),
    /// Tell the verdict of a reload to a caller.
    Answer(u64, Verdict),
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

/// Where the service stands, as systemd hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It serves, and no reload is under way.
    Ready,
    /// A reload began.
    Reloading,
    /// It ends.
    Stopping,
}

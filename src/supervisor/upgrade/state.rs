//! Everything that the supervisor knows, written down for the program that continues in its place.
//!
//! It travels as JSON in a sealed memory file. Descriptors stand in it by their numbers, moments as [`moment`](crate::moment) has
//! them. The two programs are of different versions, always: a field that may be missing has a default, and whatever else
//! changes the shape raises [`VERSION`]. A program reads its own version and those before it that were released.

use std::io;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use crate::control::payload::Payload;
use crate::supervisor::generations::Generations;
use crate::supervisor::recent::RecentHistory;
use crate::supervisor::state_requests::StateRequests;
use crate::supervisor::totals::Totals;
use crate::supervisor::{admin, admin_sockets, clients, debug, listeners, workers};
use crate::systemd::notify::Talk;

/// The version of the shape.
pub const VERSION: u32 = 1;

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
pub struct SupervisorState<K = Knowledge> {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// The process that it belongs to.
    pub pid: u32,
    /// Every descriptor that is named below.
    pub descriptors: Vec<RawFd>,
    /// What is known, wherever it runs; it is borrowed while it is written.
    pub knowledge: K,
    /// Their processes.
    pub workers: workers::CarriedWorkers,
    /// The listening sockets.
    pub listeners: listeners::CarriedListeners,
    /// The clients of `control.sock`.
    pub clients: clients::CarriedClients,
    /// What systemd was told.
    pub talk: Talk<RawFd>,
    /// What `segue debug` asks for; programs before this one knew none.
    #[serde(default)]
    pub debug: Vec<debug::CarriedDebug>,
    /// Records that the journal did not take yet; programs before this one kept none.
    #[serde(default)]
    pub records: Vec<CarriedRecords>,
    /// What a generation that serves gives the next one beside its state; programs before this one held none.
    #[serde(default)]
    pub secrets: Option<RawFd>,
    /// The listening sockets of the admin API; programs before this one had none.
    #[serde(default)]
    pub admin_sockets: Vec<admin_sockets::CarriedAdminSocket>,
    /// What operators have set; programs before this one knew nothing of that.
    #[serde(default)]
    pub admin: Option<admin::KeptChanges>,
    /// The last hour; programs before this one did not keep it.
    #[serde(default)]
    pub recent: RecentHistory,
}

/// Records that are to be written.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedRecords {
    /// Their memory.
    pub memory: RawFd,
    /// See [`LeftRecords::position`](crate::observe::journal::LeftRecords::position).
    pub position: (u64, u64),
}

/// The part that does not depend on this process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Knowledge<G = Generations, R = StateRequests, T = Totals> {
    /// The generations, and the callers that wait for them.
    pub generations: G,
    /// The generations that wait for the state of another one.
    #[serde(rename = "recalls")]
    pub state_requests: R,
    /// What all of them have counted.
    pub totals: T,
}

/// Why a program cannot continue with a state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is none.
    #[error("the state of the supervisor cannot be read")]
    Read(#[source] io::Error),
    /// Only a newer program can read it, or none.
    #[error("the state of the supervisor has version {theirs}, and this program reads only version {VERSION}")]
    Version {
        /// The version that it has.
        theirs: u32,
    },
    /// It has another shape than its version says.
    #[error("the state of the supervisor is not understood")]
    NotUnderstood(#[source] serde_json::Error),
    /// It belongs to another process: its descriptors are not here.
    #[error("the state is that of the supervisor with process id {theirs}")]
    OtherProcess {
        /// The process that it belongs to.
        theirs: u32,
    },
}

impl<K: Serialize> SupervisorState<K> {
    /// Writes it down.
    ///
    /// # Errors
    /// When there is no memory or no descriptor left.
    pub fn write(&self) -> io::Result<Payload> {
        Payload::new(&serde_json::to_vec(self)?)
    }
}

impl SupervisorState {
    /// Reads the state of process `pid`.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn read(payload: &Payload, pid: u32) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct StateVersion {
            version: u32,
        }
        let json = payload.read().map_err(StateError::Read)?;
        let StateVersion { version } = serde_json::from_slice(&json).map_err(StateError::NotUnderstood)?;
        if version != VERSION {
            return Err(StateError::Version { theirs: version });
        }
        let state: Self = serde_json::from_slice(&json).map_err(StateError::NotUnderstood)?;
        if state.pid != pid {
            return Err(StateError::OtherProcess { theirs: state.pid });
        }
        Ok(state)
    }
}

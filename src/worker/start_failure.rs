//! The end of a worker before it serves.

use crate::control::message::Refused;

/// Why a worker does not come to serve.
#[derive(Debug)]
pub enum StartFailure {
    /// The configuration cannot be served, for the reasons in the message to the supervisor.
    Refused(Refused),
    /// The supervisor is gone.
    SupervisorGone,
    /// The generation that serves is made of the same.
    NotNeeded,
    /// A message of the supervisor is invalid, or one is missing.
    Confused(String),
}

impl From<Refused> for StartFailure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

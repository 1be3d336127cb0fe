//! Why the supervisor gives no answer to the admin API.

use std::io;

use crate::control::request::RequestError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SupervisorError {
    /// The supervisor does not do it; why.
    #[error("{0}")]
    Declined(String),
    /// It cannot be asked.
    #[error(transparent)]
    Unheard(#[from] RequestError),
    /// There is no socket for the answer.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

//! Why an attempt failed, as far as that decides whether another one follows.

use tokio::time::Instant;

use crate::observe::record::Outcome;

/// Why an attempt failed.
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) cause: Option<Box<dyn std::error::Error>>,
    /// The server may have acted on the request.
    pub(super) sent: Sent,
    /// This machine lacked something: no server is to blame.
    pub(super) shortage: bool,
    /// The connection had been idle, since then: that it is gone, or that something else came over it than a response,
    /// says nothing about the server.
    pub(super) stale: Option<Instant>,
    /// One stream ended, and its connection goes on: it says nothing about other requests.
    pub(super) of_stream: bool,
}

/// What a server may have seen of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    Something,
}

/// What a connection failed of at every address, as one.
pub(super) struct ConnectFault {
    pub(super) outcome: Outcome,
    pub(super) cause: Box<dyn std::error::Error>,
}

impl Failure {
    /// No connection was opened.
    pub(super) fn connect(outcome: Outcome) -> Self {
        Self { outcome, cause: None, sent: Sent::Nothing, shortage: false, stale: None, of_stream: false }
    }

    /// The same, for this reason.
    pub(super) fn of_connecting(ConnectFault { outcome, cause }: ConnectFault) -> Self {
        Self { cause: Some(cause), ..Self::connect(outcome) }
    }
}

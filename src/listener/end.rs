//! How a client connection ended.

use crate::proxy::tunnel::Left;

/// Which side ended a connection, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The client closed it while nothing was open on it.
    ClientDone,
    /// The client closed it inside a request head.
    ClientLeftHead,
    /// The client went away inside an exchange.
    ClientLost,
    /// We closed it after a response that said so.
    Announced,
    /// We closed it because nothing came for too long.
    Idle,
    /// We closed it while nothing was open on it, because a limit was reached and another one came.
    Evicted,
    /// We refused what came, and said so.
    Refused,
    /// The head of a request did not come whole in time, and we said so.
    SlowHead,
    /// The client was silent inside a request body, or did not read, for too long.
    ClientTimeout,
    /// The client's request body broke a rule of HTTP.
    BadBody,
    /// An exchange failed after its response had begun; the missing end says so.
    Broken,
    /// The tunnel on it has ended.
    Tunnel,
    /// Another generation has it now.
    Moved,
    /// The generation cut it at its deadline.
    Drained,
    /// A defect of ours.
    Internal,
}

impl From<Left> for ConnectionEnd {
    fn from(left: Left) -> Self {
        match left {
            Left::Ended => Self::Tunnel,
            Left::Cut => Self::Drained,
            Left::Moved => Self::Moved,
        }
    }
}

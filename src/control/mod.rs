//! What processes of Segue say to each other.
//!
//! [`message`] is the talk of the supervisor with its workers, [`request`] that of the command line with the
//! supervisor. Both travel over a [`channel`]: a SOCK_SEQPACKET socket, one JSON message and its descriptors per
//! packet; a [`link`] is one that a task can wait for. [`payload`] is how large or opaque bytes travel: as a sealed
//! memory file; [`tally`] is what a worker leaves behind when it dies.

pub mod channel;
pub mod link;
pub mod message;
pub mod payload;
pub mod request;
pub mod tally;

/// The version of the messages. Worker and supervisor may come from different packages for as long as a reload after
/// an upgrade takes; a worker that speaks another version is refused with a clear verdict.
pub const PROTOCOL: u32 = 2;

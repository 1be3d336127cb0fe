//! The messages between processes of Segue.
//!
//! [`message`] has the messages between the supervisor and its workers, [`request`] those between the command line
//! and the supervisor, [`debug`], [`connections`] and [`admin`] what goes from one to the other. Both travel over a [`channel`]: a SOCK_SEQPACKET socket, one JSON message and its descriptors
//! per packet; a [`link`] is one that a task can wait for. [`payload`] carries large or opaque bytes: a sealed memory
//! file; [`statistics`] are shared memory: a worker that dies leaves its counts there.

pub mod admin;
pub mod channel;
pub mod connections;
pub mod counter_tree;
pub mod debug;
pub mod link;
pub mod message;
pub mod payload;
pub mod recent;
pub mod request;
pub mod statistics;
pub mod status;

/// The version of the messages. Worker and supervisor may come from different packages until the reload after an
/// upgrade has ended; a worker that uses another version is refused, and the verdict says so.
pub const PROTOCOL: u32 = 2;

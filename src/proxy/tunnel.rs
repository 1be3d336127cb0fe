//! Bytes both ways, after an upgrade or in TCP mode.

use std::rc::Rc;

use bytes::Bytes;

use super::{Client, Thread};
use crate::net::Stream;

/// What an exchange leaves that switched protocols: the upstream connection and what it read ahead.
pub struct Tunnel {}

#[cfg(test)]
impl Tunnel {
    /// One that leads nowhere, for tests of the client's side.
    pub(crate) fn stand_in() -> Self {
        Self {}
    }
}

/// Stand-in: a tunnel.
pub async fn run(_: &Rc<Thread>, _: &Rc<Client>, _: Stream, _: Bytes, _: Tunnel) {}

/// Stand-in: a connection in TCP mode.
pub async fn relay(_: &Rc<Thread>, _: &Rc<Client>, _: usize, _: Stream) {}

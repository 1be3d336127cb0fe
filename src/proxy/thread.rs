//! Everything that one serving thread has of its own.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::client::{Client, Clients};
use crate::config::Config;
use crate::drain::Drain;
use crate::observe::record::Index;
use crate::wheel::Wheel;

/// One serving thread: nothing here crosses threads on the way of a request.
pub struct Thread {
    /// The configuration of the generation.
    pub config: Arc<Config>,
    /// Its deadlines.
    pub wheel: Rc<Wheel>,
    /// What the generation does with its connections.
    pub drain: Drain,
    /// Its client connections.
    pub clients: Rc<Clients>,
}

impl Thread {
    /// A connection ended by a panic.
    pub fn panicked(&self, client: &Client) {
        tracing::error!(listener = client.listener, "a client connection ended by a panic");
    }

    /// A listening socket gives no connections for now. Said once until it does again.
    pub fn accept_stalled(&self, listener: Index, error: &io::Error) {
        tracing::error!(listener, %error, "no connection can be accepted");
    }
}

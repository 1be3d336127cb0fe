//! Everything that one serving thread has of its own.

use std::rc::Rc;
use std::sync::Arc;

use super::client::Clients;
use crate::config::Config;
use crate::drain::Drain;
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

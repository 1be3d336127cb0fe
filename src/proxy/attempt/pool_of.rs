//! The pool that the attempts of one exchange go to.

use std::rc::Rc;

use crate::pool::health::HealthState;
use crate::pool::{Pool, Server};
use crate::proxy::thread::Thread;
use crate::upstream::idle::Idle;

/// A pool of the runtime configuration, which all threads share; the handle is one thread's.
#[derive(Clone)]
pub(in crate::proxy) struct PoolOf {
    pub(super) thread: Rc<Thread>,
    pub(super) pool: usize,
}

impl PoolOf {
    /// The pool of this index.
    pub(in crate::proxy) fn new(thread: &Rc<Thread>, pool: usize) -> Self {
        Self { thread: thread.clone(), pool }
    }

    /// The idle connections to its servers.
    pub(super) fn idle(&self) -> &Idle {
        &self.thread.pools[self.pool].idle
    }

    /// Whether the server went down or was ejected, and another one takes requests: a connection that is still not open
    /// is not worth the wait.
    pub(super) fn has_trusted_instead_of(&self, server: usize) -> bool {
        let is_trusted =
            |server: &Server| server.health.is_up() && !server.passive.is_ejected() && server.admin.weight() > 0;
        !is_trusted(&self.servers[server]) && self.servers.iter().any(is_trusted)
    }

    /// Whether the server went down and another one is up.
    pub(super) fn has_better_than(&self, server: usize) -> bool {
        self.servers[server].health.state() == HealthState::Down
            && self.configured().any(|(_, other)| other.health.is_up() && other.admin.weight() > 0)
    }
}

impl std::ops::Deref for PoolOf {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.thread.runtime_config.pools[self.pool]
    }
}

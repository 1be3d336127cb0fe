//! The idle client connections of one thread, by how long they have been idle. When no more connections may be
//! opened, another thread finds the oldest one here, and has it closed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::observe::record::Index;

/// The idle connections of one thread.
#[derive(Debug, Default)]
pub struct IdleConnections(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Those of each listener.
    idle: Vec<BTreeSet<IdleConnection>>,
    /// Those that are to be closed, which the thread has not heard of.
    chosen: Vec<(IdleConnection, Making)>,
    waker: Option<Waker>,
}

/// One idle connection: since when nothing is open on it, and its slot among the connections of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdleConnection {
    /// When its last exchange was over.
    pub since: Instant,
    slot: usize,
}

/// Room that is being made for a new connection. The thread that waits for it is told on drop: a connection was closed, or it
/// could not be.
#[derive(Debug)]
pub struct Making(Arc<Notify>);

impl IdleConnections {
    /// Adds a connection that has nothing open since `since`, and its slot among the connections of its thread.
    pub(super) fn add(&self, listener: Index, since: Instant, slot: usize) {
        let mut inner = self.lock();
        let listeners = inner.idle.len().max(usize::from(listener) + 1);
        inner.idle.resize_with(listeners, BTreeSet::new);
        inner.idle[usize::from(listener)].insert(IdleConnection { since, slot });
    }

    /// Removes a connection, if it is there still.
    pub(super) fn remove(&self, listener: Index, since: Instant, slot: usize) {
        if let Some(of_listener) = self.lock().idle.get_mut(usize::from(listener)) {
            of_listener.remove(&IdleConnection { since, slot });
        }
    }

    /// The connection that has been idle longest, of one listener or of all.
    #[must_use]
    pub fn oldest(&self, listener: Option<Index>) -> Option<IdleConnection> {
        let inner = self.lock();
        match listener {
            Some(listener) => inner.idle.get(usize::from(listener))?.first().copied(),
            None => inner.idle.iter().filter_map(BTreeSet::first).min().copied(),
        }
    }

    /// Has a connection closed that [`IdleConnections::oldest`] found. Not, and `false`, if it is no longer idle.
    #[must_use]
    pub fn close(&self, idle: IdleConnection, made: &Arc<Notify>) -> bool {
        let mut inner = self.lock();
        let was_idle = inner.idle.iter_mut().any(|of_listener| of_listener.remove(&idle));
        if was_idle {
            inner.chosen.push((idle, Making(made.clone())));
            inner.waker.take().into_iter().for_each(Waker::wake);
        }
        was_idle
    }

    /// Ready with the connections that are to be closed, once there are any.
    pub(super) fn poll_chosen(&self, cx: &Context<'_>) -> Poll<Vec<(IdleConnection, Making)>> {
        let mut inner = self.lock();
        if inner.chosen.is_empty() {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut inner.chosen))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleConnection {
    /// Its slot among the connections of its thread.
    pub(super) fn slot(&self) -> usize {
        self.slot
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

//! The idle client connections of one thread, by how long they have been idle. When no more connections may be
//! opened, another thread finds the oldest one here, and has it closed.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::clients::{Clients, Making, Slot};
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

/// A connection among those that are idle; on drop it is none.
pub struct IdleEntry {
    connections: Arc<IdleConnections>,
    listener: Index,
    idle: IdleConnection,
}

impl IdleConnections {
    /// Adds a connection that has nothing open.
    #[must_use]
    pub fn enter(self: &Arc<Self>, listener: Index, since: Instant, slot: &Slot) -> IdleEntry {
        let idle = IdleConnection { since, slot: slot.key() };
        let mut inner = self.lock();
        let listeners = inner.idle.len().max(usize::from(listener) + 1);
        inner.idle.resize_with(listeners, BTreeSet::new);
        inner.idle[usize::from(listener)].insert(idle);
        IdleEntry { connections: self.clone(), listener, idle }
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
            inner.chosen.push((idle, Making::new(made)));
            inner.waker.take().into_iter().for_each(Waker::wake);
        }
        was_idle
    }

    fn poll_chosen(&self, cx: &Context<'_>) -> Poll<Vec<(IdleConnection, Making)>> {
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

impl Drop for IdleEntry {
    fn drop(&mut self) {
        if let Some(of_listener) = self.connections.lock().idle.get_mut(usize::from(self.listener)) {
            of_listener.remove(&self.idle);
        }
    }
}

/// Asks the connections of a thread that are to be closed to do so.
pub(super) async fn close_chosen(idle: Arc<IdleConnections>, clients: Rc<Clients>) {
    loop {
        let chosen = std::future::poll_fn(|cx| idle.poll_chosen(cx)).await;
        for (idle, making) in chosen {
            clients.make_room(idle.slot, idle.since, making); // unless another connection has the slot by now
        }
    }
}

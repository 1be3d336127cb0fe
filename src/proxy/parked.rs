//! The parked client connections of one thread, by how long they have been idle. When no more connections may be
//! opened, another thread finds the oldest one here, and has it closed.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::clients::{Clients, Making, Slot};
use crate::observe::record::Index;

/// The parked connections of one thread.
#[derive(Debug, Default)]
pub struct Parked(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Those of each listener.
    idle: Vec<BTreeSet<ParkedConnection>>,
    /// Those that are to be closed, which the thread has not heard of.
    chosen: Vec<(ParkedConnection, Making)>,
    waker: Option<Waker>,
}

/// One parked connection: since when nothing is open on it, and its slot among the connections of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParkedConnection {
    /// When its last exchange was over.
    pub since: Instant,
    slot: usize,
}

/// A connection as one of those parked; on drop it is none.
pub struct ParkedEntry {
    parked: Arc<Parked>,
    listener: Index,
    idle: ParkedConnection,
}

impl Parked {
    /// Adds a connection that has nothing open.
    #[must_use]
    pub fn enter(self: &Arc<Self>, listener: Index, since: Instant, slot: &Slot) -> ParkedEntry {
        let idle = ParkedConnection { since, slot: slot.key() };
        let mut inner = self.lock();
        let listeners = inner.idle.len().max(usize::from(listener) + 1);
        inner.idle.resize_with(listeners, BTreeSet::new);
        inner.idle[usize::from(listener)].insert(idle);
        ParkedEntry { parked: self.clone(), listener, idle }
    }

    /// The connection that has been idle longest, of one listener or of all.
    #[must_use]
    pub fn oldest(&self, listener: Option<Index>) -> Option<ParkedConnection> {
        let inner = self.lock();
        match listener {
            Some(listener) => inner.idle.get(usize::from(listener))?.first().copied(),
            None => inner.idle.iter().filter_map(BTreeSet::first).min().copied(),
        }
    }

    /// Has a connection closed that [`Parked::oldest`] found. Not, and `false`, if it is no longer idle.
    #[must_use]
    pub fn close(&self, idle: ParkedConnection, made: &Arc<Notify>) -> bool {
        let mut inner = self.lock();
        let was_idle = inner.idle.iter_mut().any(|of_listener| of_listener.remove(&idle));
        if was_idle {
            inner.chosen.push((idle, Making::new(made)));
            inner.waker.take().into_iter().for_each(Waker::wake);
        }
        was_idle
    }

    fn poll_chosen(&self, cx: &Context<'_>) -> Poll<Vec<(ParkedConnection, Making)>> {
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

impl Drop for ParkedEntry {
    fn drop(&mut self) {
        if let Some(of_listener) = self.parked.lock().idle.get_mut(usize::from(self.listener)) {
            of_listener.remove(&self.idle);
        }
    }
}

/// Asks the connections of a thread that are to be closed to do so.
pub(super) async fn close_chosen(parked: Arc<Parked>, clients: Rc<Clients>) {
    loop {
        let chosen = std::future::poll_fn(|cx| parked.poll_chosen(cx)).await;
        for (idle, making) in chosen {
            clients.make_room(idle.slot, idle.since, making); // unless another connection has the slot by now
        }
    }
}

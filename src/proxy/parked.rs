//! The parked client connections of one thread, by how long they have been idle. When no more connections may be
//! opened, another thread finds the oldest one here, and has it closed.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Client;
use super::thread::Thread;
use crate::observe::record::Index;

/// The parked connections of one thread.
#[derive(Debug, Default)]
pub struct Parked(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Those of each listener.
    idle: Vec<BTreeSet<Idle>>,
    /// Those that are to be closed, which the thread has not heard of.
    chosen: Vec<(Idle, Making)>,
    waker: Option<Waker>,
}

/// One parked connection: since when nothing is open on it, and its place among the clients of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Idle {
    /// When its last exchange was over.
    pub since: Instant,
    place: u32,
}

/// Room that is being made for a new connection. The thread that waits for it is told on drop: a connection was closed, or it
/// could not be.
#[derive(Debug)]
pub struct Making(Arc<Notify>);

/// A connection as one of those parked; on drop it is none.
pub struct Entry {
    parked: Arc<Parked>,
    listener: Index,
    idle: Idle,
}

impl Parked {
    /// Adds a connection that has nothing open.
    #[must_use]
    pub fn enter(self: &Arc<Self>, client: &Client) -> Entry {
        let (listener, idle) = (client.listener, Idle { since: client.closed(), place: client.place() });
        let mut inner = self.lock();
        let listeners = inner.idle.len().max(usize::from(listener) + 1);
        inner.idle.resize_with(listeners, BTreeSet::new);
        inner.idle[usize::from(listener)].insert(idle);
        Entry { parked: self.clone(), listener, idle }
    }

    /// The connection that has been idle longest, of one listener or of all.
    #[must_use]
    pub fn oldest(&self, listener: Option<Index>) -> Option<Idle> {
        let inner = self.lock();
        match listener {
            Some(listener) => inner.idle.get(usize::from(listener))?.first().copied(),
            None => inner.idle.iter().filter_map(BTreeSet::first).min().copied(),
        }
    }

    /// Has a connection closed that [`Parked::oldest`] found. Not, and `false`, if it is no longer idle.
    #[must_use]
    pub fn close(&self, idle: Idle, made: &Arc<Notify>) -> bool {
        let mut inner = self.lock();
        let was_idle = inner.idle.iter_mut().any(|of_listener| of_listener.remove(&idle));
        if was_idle {
            inner.chosen.push((idle, Making(made.clone())));
            inner.waker.take().into_iter().for_each(Waker::wake);
        }
        was_idle
    }

    fn poll_chosen(&self, cx: &Context<'_>) -> Poll<Vec<(Idle, Making)>> {
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

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(of_listener) = self.parked.lock().idle.get_mut(usize::from(self.listener)) {
            of_listener.remove(&self.idle);
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Asks the connections of the thread that are to be closed to do so.
pub(super) async fn close_chosen(thread: Rc<Thread>) {
    loop {
        let chosen = std::future::poll_fn(|cx| thread.parked.poll_chosen(cx)).await;
        for (idle, making) in chosen {
            // its place may have been taken by another connection since
            let client = thread.clients.at(idle.place);
            if let Some(client) = client.filter(|client| client.is_parked() && client.closed() == idle.since) {
                client.make_room(making);
            }
        }
    }
}

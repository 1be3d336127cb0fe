//! The client connections of one thread, for those that wake all of them or have an idle one closed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::trim::Trim;
use crate::timer::Waking;

/// Every client connection of one thread.
pub struct Clients {
    slots: RefCell<Slab<Connected>>,
    /// Woken when the last connection closes.
    waiter: RefCell<Option<Waker>>,
    trim: Rc<Trim>,
}

/// A connection, as the rest of the thread sees it.
struct Connected {
    /// Wakes its task.
    waking: Waking,
    /// Since when no exchange is open on it and it waits for the next one; none while it is busy.
    parked: Option<Instant>,
    /// It is to be closed, so that another one can be opened.
    making: Option<Making>,
    /// Its private upstream connections are to be closed.
    closes_private: bool,
}

/// The slot of one connection; given up on drop.
pub struct Slot {
    clients: Rc<Clients>,
    key: usize,
}

/// Room that is being made for a new connection. The thread that waits for it is told on drop: a connection was closed, or it
/// could not be.
#[derive(Debug)]
pub struct Making(Arc<Notify>);

impl Clients {
    /// None yet. What they leave free is given back by `trim`.
    pub(super) fn new(trim: Rc<Trim>) -> Rc<Self> {
        Rc::new(Self { slots: RefCell::default(), waiter: RefCell::default(), trim })
    }

    /// Adds a connection.
    #[must_use]
    pub fn add(self: &Rc<Self>, waking: Waking) -> Slot {
        let connected = Connected { waking, parked: None, making: None, closes_private: false };
        Slot { clients: self.clone(), key: self.slots.borrow_mut().insert(connected) }
    }

    /// Has the connection in this slot closed, if it is parked since `since`, so that another one can be opened.
    pub(super) fn make_room(&self, key: usize, since: Instant, making: Making) {
        if let Some(connected) = self.slots.borrow_mut().get_mut(key)
            && connected.parked == Some(since)
        {
            connected.making = Some(making);
            connected.waking.wake();
        }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ready when no connection is open.
    pub fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_empty() {
            return Poll::Ready(());
        }
        *self.waiter.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How many are parked.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.slots.borrow().iter().filter(|(_, connected)| connected.parked.is_some()).count()
    }

    /// Closes the private upstream connections of every connection that is parked: their clients have to authenticate
    /// again.
    pub(super) fn close_private(&self) {
        for (_, connected) in self.slots.borrow_mut().iter_mut().filter(|(_, connected)| connected.parked.is_some()) {
            connected.closes_private = true;
            connected.waking.wake();
        }
    }

    /// Wakes the task of every connection, so that it looks at the stage of the generation.
    pub fn wake_all(&self) {
        self.slots.borrow().iter().for_each(|(_, connected)| connected.waking.wake());
    }
}

impl Slot {
    /// Its key among the connections of the thread.
    pub(super) fn key(&self) -> usize {
        self.key
    }

    /// Notes since when the connection is parked; none when it is busy again. What it was asked to do while parked is
    /// forgotten then.
    pub fn set_idle(&self, since: Option<Instant>) {
        if let Some(connected) = self.clients.slots.borrow_mut().get_mut(self.key) {
            (connected.parked, connected.making, connected.closes_private) = (since, None, false);
        }
    }

    /// What the connection is to be closed for, if it is. What is taken has to be kept until it is closed.
    #[must_use]
    pub fn take_making(&self) -> Option<Making> {
        self.clients.slots.borrow_mut().get_mut(self.key)?.making.take()
    }

    /// Whether its private upstream connections are to be closed.
    #[must_use]
    pub fn closes_private(&self) -> bool {
        let mut slots = self.clients.slots.borrow_mut();
        slots.get_mut(self.key).is_some_and(|connected| std::mem::take(&mut connected.closes_private))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connected = self.clients.slots.borrow_mut().try_remove(self.key);
        drop(connected);
        self.clients.trim.soon();
        if self.clients.is_empty()
            && let Some(waiter) = self.clients.waiter.borrow_mut().take()
        {
            waiter.wake();
        }
    }
}

impl Making {
    /// Room for a connection, for which `made` timeouts.
    pub(super) fn new(made: &Arc<Notify>) -> Self {
        Self(made.clone())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

//! One client connection, as the exchanges on it and the listener that serves it both see it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::tunnel::Tunnel;
use crate::http1::request::RequestHead;
use crate::observe::record::{End, Index};
use crate::wheel::Alarm;

/// A client connection.
pub struct Client {
    /// The listener that accepted it, an index into the names of the plan.
    pub listener: Index,
    /// The other end; `None` on unix sockets.
    pub peer: Option<SocketAddr>,
    /// The deadline of whatever the connection waits for on the client's side. Its waker is the connection's task.
    pub alarm: Alarm,
    /// An exchange is open: from the head of a request to the last byte of its response.
    open: Cell<bool>,
    /// The head that the gate let through last, for the exchange that opens with it.
    head: Cell<Option<HeadSeen>>,
    /// Why the client's side ended, when it did not just go away.
    gone: Cell<End>,
    /// The last response was broken off.
    truncated: Cell<bool>,
    /// Left by an exchange that switched protocols, for the listener to go on with.
    switch: RefCell<Option<Tunnel>>,
}

/// A request head that was found valid, with its times.
#[derive(Clone, Copy)]
pub struct HeadSeen {
    /// What the bytes say.
    pub facts: RequestHead,
    /// When its first byte came.
    pub began: Instant,
    /// When its last byte came.
    pub complete: Instant,
}

impl Client {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(listener: Index, peer: Option<SocketAddr>, alarm: Alarm) -> Self {
        Self {
            listener,
            peer,
            alarm,
            open: Cell::new(false),
            head: Cell::new(None),
            gone: Cell::new(End::ClientClosed),
            truncated: Cell::new(false),
            switch: RefCell::new(None),
        }
    }

    /// The gate notes the head that it lets through.
    pub fn saw_head(&self, head: HeadSeen) {
        self.head.set(Some(head));
    }

    /// The exchange takes the head that it opens with, and the connection is busy from here on.
    ///
    /// Called when hyper *calls* the service, not when the future is first polled: between the two hyper may poll the
    /// read side, and must not find the connection idle.
    pub(super) fn open_exchange(&self) -> Option<HeadSeen> {
        self.open.set(true);
        self.head.take()
    }

    /// The exchange is over.
    pub(super) fn close_exchange(&self) {
        self.open.set(false);
    }

    /// Whether no exchange is open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.open.get()
    }

    /// Says why the client's side ends: of an exchange that is still open this will be the end.
    pub fn gone(&self, end: End) {
        self.gone.set(end);
    }

    /// How an exchange ends that is dropped open.
    pub(super) fn end_of_client(&self) -> End {
        self.gone.get()
    }

    /// The last response was broken off: the client must not take the end of the connection for the end of the body.
    pub(super) fn truncate(&self) {
        self.truncated.set(true);
    }

    /// Whether the last response was broken off.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated.get()
    }

    /// An exchange leaves the tunnel that it turned into; the connection stays busy.
    pub(super) fn switch_to(&self, tunnel: Tunnel) {
        *self.switch.borrow_mut() = Some(tunnel);
    }

    /// The tunnel that the last exchange turned into, if it did.
    #[must_use]
    pub fn take_switch(&self) -> Option<Tunnel> {
        self.switch.borrow_mut().take()
    }
}

/// Every client connection of one thread.
#[derive(Default)]
pub struct Clients {
    places: RefCell<Places>,
    /// Who waits for the last one to leave.
    waiter: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Places {
    taken: Vec<Weak<Client>>,
    free: Vec<u32>,
}

/// The place of one connection among the [`Clients`]; given up on drop.
pub struct Place {
    clients: Rc<Clients>,
    index: u32,
}

impl Clients {
    /// Adds a connection.
    #[must_use]
    pub fn add(self: &Rc<Self>, client: &Rc<Client>) -> Place {
        let mut places = self.places.borrow_mut();
        let index = match places.free.pop() {
            Some(index) => {
                places.taken[index as usize] = Rc::downgrade(client);
                index
            }
            None => {
                places.taken.push(Rc::downgrade(client));
                u32::try_from(places.taken.len() - 1).expect("connections are bounded by open files")
            }
        };
        Place {
            clients: self.clone(),
            index,
        }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        let places = self.places.borrow();
        places.taken.len() - places.free.len()
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

    /// Wakes the task of every connection, so that it looks at the stage of the generation.
    pub fn wake_all(&self) {
        for client in self.places.borrow().taken.iter().filter_map(Weak::upgrade) {
            client.alarm.wake();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.clients.places.borrow_mut();
        places.taken[self.index as usize] = Weak::new();
        places.free.push(self.index);
        drop(places);
        if self.clients.is_empty()
            && let Some(waiter) = self.clients.waiter.borrow_mut().take()
        {
            waiter.wake();
        }
    }
}

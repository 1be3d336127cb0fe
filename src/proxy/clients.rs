//! The client connections of one thread, for those that wake all of them or have an idle one closed. Those that are
//! dormant are kept here too.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::time::Instant;

use super::dormant::{AT_ONCE, DormantPoller};
use super::idle::{IdleConnections, Making};
use super::origin::{Accepted, Origin};
use super::trim::Trim;
use crate::control::connections::ConnectionId;
use crate::observe::record::Index;
use crate::timer::{Timer, TimerWheel, Waking};
use crate::tls::Version;

/// Every client connection of one thread.
pub struct Clients {
    slots: RefCell<Slab<Connected>>,
    /// Woken when the last connection closes.
    waiter: RefCell<Option<Waker>>,
    idle: Arc<IdleConnections>,
    trim: Rc<Trim>,
    timer_wheel: Rc<TimerWheel>,
    dormant: DormantPoller,
    /// The name of the next connection that is accepted.
    next_id: Cell<ConnectionId>,
    /// How many connections are to be closed because an operator wants it.
    killed: Cell<usize>,
}

/// A connection that has been idle for so long that no task waits for it: as little as it can come back from.
pub trait DormantConnection: AsFd {
    /// When it has been idle for too long.
    fn until(&self) -> Instant;

    /// The connection.
    fn accepted(&self) -> Accepted;

    /// The address of its client, none on a unix socket.
    fn peer(&self) -> Option<SocketAddr>;

    /// The version of the TLS that ends here.
    fn tls_version(&self) -> Option<Version>;

    /// Goes on with it as a task, in its slot and with this timer.
    fn wake(self: Box<Self>, slot: Slot, timer: Timer);
}

/// Where a connection is.
enum ConnectedState {
    /// In a task, which `waking` wakes.
    Task {
        waking: Waking,
        origin: Rc<Origin>,
    },
    Dormant(Box<dyn DormantConnection>),
}

/// A connection, as the rest of the thread sees it.
struct Connected {
    state: ConnectedState,
    /// Its listener.
    listener: Index,
    /// Since when no exchange is open on it and it waits for the next one; none while it is busy.
    idle: Option<Instant>,
    /// Other threads find it among the idle connections.
    is_listed: bool,
    /// It is to be closed, so that another one can be opened.
    making: Option<Making>,
    /// Its private upstream connections are to be closed.
    closes_private: bool,
    /// An operator has it closed.
    is_killed: bool,
}

/// A connection, for a list of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionView {
    pub(super) accepted: Accepted,
    pub(super) peer: Option<SocketAddr>,
    pub(super) listener: Index,
    pub(super) tls: Option<Version>,
    /// Since when it waits for its next exchange.
    pub(super) idle: Option<Instant>,
}

/// The slot of one connection; given up on drop.
pub struct Slot {
    clients: Rc<Clients>,
    key: usize,
}

impl Clients {
    /// None yet. The first one will have this name. Those that are idle are listed in `idle`, and what they leave free is
    /// given back by `trim`.
    pub(super) fn new(
        first: ConnectionId,
        idle: Arc<IdleConnections>,
        trim: Rc<Trim>,
        timer_wheel: &Rc<TimerWheel>,
    ) -> Rc<Self> {
        let (timer_wheel, dormant) = (timer_wheel.clone(), DormantPoller::new(timer_wheel));
        Rc::new(Self {
            slots: RefCell::default(),
            waiter: RefCell::default(),
            idle,
            trim,
            timer_wheel,
            dormant,
            next_id: Cell::new(first),
            killed: Cell::new(0),
        })
    }

    /// The name for a connection that is accepted now.
    pub(super) fn next_id(&self) -> ConnectionId {
        self.next_id.replace(self.next_id.get().next())
    }

    /// Adds a connection.
    #[must_use]
    pub fn add(self: &Rc<Self>, origin: Rc<Origin>, waking: Waking) -> Slot {
        let listener = origin.listener;
        let connected = Connected {
            state: ConnectedState::Task { waking, origin },
            listener,
            idle: None,
            is_listed: false,
            making: None,
            closes_private: false,
            is_killed: false,
        };
        Slot { clients: self.clone(), key: self.slots.borrow_mut().insert(connected) }
    }

    /// Has the connection of this name closed, with what is open on it. Gives what is known of it, if it is here.
    pub(super) fn kill(&self, id: ConnectionId) -> Option<ConnectionView> {
        let mut slots = self.slots.borrow_mut();
        let (key, connected) = slots.iter_mut().find(|(_, connected)| connected.accepted().id == id)?;
        if !std::mem::replace(&mut connected.is_killed, true) {
            self.killed.set(self.killed.get() + 1);
        }
        connected.state.wake(&self.dormant, key);
        Some(connected.view())
    }

    /// Looks at each.
    pub(super) fn each(&self, mut look: impl FnMut(ConnectionView)) {
        self.slots.borrow().iter().for_each(|(_, connected)| look(connected.view()));
    }

    /// Has the connection in this slot closed, if it is idle since `since`, so that another one can be opened.
    pub(super) fn make_room(&self, key: usize, since: Instant, making: Making) {
        if let Some(connected) = self.slots.borrow_mut().get_mut(key)
            && connected.idle == Some(since)
        {
            connected.making = Some(making);
            connected.state.wake(&self.dormant, key);
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

    /// How many are idle.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.slots.borrow().iter().filter(|(_, connected)| connected.idle.is_some()).count()
    }

    /// How many are dormant.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn dormant(&self) -> usize {
        self.dormant.len()
    }

    /// Closes the private upstream connections of every connection that is idle: their clients have to authenticate
    /// again. One that is dormant has none.
    pub(super) fn close_private(&self) {
        for (_, connected) in self.slots.borrow_mut().iter_mut().filter(|(_, connected)| connected.idle.is_some()) {
            if let ConnectedState::Task { waking, .. } = &connected.state {
                connected.closes_private = true;
                waking.wake();
            }
        }
    }

    /// Wakes every connection, so that it looks at the stage of the generation.
    pub fn wake_all(&self) {
        self.slots.borrow().iter().for_each(|(key, connected)| connected.state.wake(&self.dormant, key));
    }

    /// Has a dormant connection go on as a task. One that is a task by now is left alone.
    fn wake_dormant(self: &Rc<Self>, key: usize) {
        let mut slots = self.slots.borrow_mut();
        let Some(connected) = slots.get_mut(key) else { return };
        let ConnectedState::Dormant(dormant) = &connected.state else { return };
        let timer = self.timer_wheel.timer();
        // the task notes more of it
        let origin = Rc::new(Origin::new(dormant.accepted(), connected.listener, dormant.peer()));
        let state = ConnectedState::Task { waking: timer.waking(), origin };
        if let ConnectedState::Dormant(connection) = std::mem::replace(&mut connected.state, state) {
            drop(slots);
            self.dormant.forget(connection.as_fd(), key, connection.until());
            connection.wake(Slot { clients: self.clone(), key }, timer);
        }
    }
}

impl ConnectedState {
    fn wake(&self, dormant: &DormantPoller, key: usize) {
        match self {
            Self::Task { waking, .. } => waking.wake(),
            Self::Dormant(_) => dormant.wake(key),
        }
    }
}

impl Connected {
    fn accepted(&self) -> Accepted {
        match &self.state {
            ConnectedState::Task { origin, .. } => origin.connection,
            ConnectedState::Dormant(connection) => connection.accepted(),
        }
    }

    fn view(&self) -> ConnectionView {
        let (accepted, listener, idle) = (self.accepted(), self.listener, self.idle);
        let (peer, tls) = match &self.state {
            ConnectedState::Task { origin, .. } => (origin.peer, origin.tls.as_ref().map(|tls| tls.facts.version)),
            ConnectedState::Dormant(connection) => (connection.peer(), connection.tls_version()),
        };
        ConnectionView { accepted, peer, listener, tls, idle }
    }

    fn unlist(&mut self, idle: &IdleConnections, key: usize) {
        if let Some(since) = self.idle.filter(|_| std::mem::take(&mut self.is_listed)) {
            idle.remove(self.listener, since, key);
        }
    }
}

impl Slot {
    /// Notes since when the connection is idle; none when it is busy again. What it was asked to do while idle is forgotten
    /// then.
    pub fn set_idle(&self, since: Option<Instant>) {
        if let Some(connected) = self.clients.slots.borrow_mut().get_mut(self.key) {
            connected.unlist(&self.clients.idle, self.key);
            (connected.idle, connected.making, connected.closes_private) = (since, None, false);
        }
    }

    /// Lists the connection among those that are idle, if it is not there yet: other threads find it from here on, and
    /// what it has left free is given back soon. `true` when that is new.
    pub fn list(&self) -> bool {
        let mut slots = self.clients.slots.borrow_mut();
        let Some(connected) = slots.get_mut(self.key) else { return false };
        let Some(since) = connected.idle.filter(|_| !connected.is_listed) else { return false };
        connected.is_listed = true;
        self.clients.idle.add(connected.listener, since, self.key);
        self.clients.trim.soon();
        true
    }

    /// Has the poller of the dormant connections watch this one, which is about to become one of them; `false` when the
    /// kernel does not let it.
    #[must_use]
    pub fn watch(&self, socket: BorrowedFd<'_>) -> bool {
        self.clients.dormant.watch(socket, self.key).is_ok()
    }

    /// Keeps the connection, which is watched, as a dormant one.
    pub fn keep(self, connection: Box<dyn DormantConnection>) {
        if let Some(connected) = self.clients.slots.borrow_mut().get_mut(self.key) {
            self.clients.dormant.wake_at(self.key, connection.until());
            connected.state = ConnectedState::Dormant(connection);
        }
    }

    /// What the connection is to be closed for, if it is. What is taken has to be kept until it is closed.
    #[must_use]
    pub fn take_making(&self) -> Option<Making> {
        self.clients.slots.borrow_mut().get_mut(self.key)?.making.take()
    }

    /// Notes more about where the requests of the connection come from.
    pub(super) fn set_origin(&self, origin: &Rc<Origin>) {
        if let Some(Connected { state: ConnectedState::Task { origin: own, .. }, .. }) =
            self.clients.slots.borrow_mut().get_mut(self.key)
        {
            *own = origin.clone();
        }
    }

    /// Whether an operator has the connection closed.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        // looked at with each turn of each connection
        self.clients.killed.get() > 0
            && self.clients.slots.borrow().get(self.key).is_some_and(|connected| connected.is_killed)
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
        self.clients.trim.soon();
        let mut slots = self.clients.slots.borrow_mut();
        if slots.get(self.key).is_some_and(|connected| matches!(connected.state, ConnectedState::Dormant(_))) {
            return; // it goes on in its slot
        }
        let connected = slots.try_remove(self.key);
        drop(slots);
        if let Some(mut connected) = connected {
            connected.unlist(&self.clients.idle, self.key);
            if connected.is_killed {
                self.clients.killed.set(self.clients.killed.get() - 1);
            }
        }
        if self.clients.is_empty()
            && let Some(waiter) = self.clients.waiter.borrow_mut().take()
        {
            waiter.wake();
        }
    }
}

/// Wakes the dormant connections of a thread that have something to do.
pub(super) async fn wake_dormant(clients: Rc<Clients>) {
    loop {
        let woken = std::future::poll_fn(|cx| clients.dormant.poll_woken(cx)).await;
        for some in woken.chunks(AT_ONCE) {
            some.iter().for_each(|key| clients.wake_dormant(*key));
            tokio::task::yield_now().await; // a connection that got another one's slot meanwhile is woken for nothing
        }
    }
}

/// Asks the idle connections of a thread that are to be closed to do so.
pub(super) async fn close_chosen(idle: Arc<IdleConnections>, clients: Rc<Clients>) {
    loop {
        let chosen = std::future::poll_fn(|cx| idle.poll_chosen(cx)).await;
        for (idle, making) in chosen {
            clients.make_room(idle.slot(), idle.since, making); // unless another connection has the slot by now
        }
    }
}

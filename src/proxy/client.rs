//! One client connection, as the exchanges on it and the listener that serves it both see it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::parked::Making;
use super::private::Private;
use super::trim::Trim;
use super::tunnel::Tunnel;
use crate::handover::parcel::ClientFacts;
use crate::http1::raw::RawHead;
use crate::http1::request::RequestHead;
use crate::observe::record::{End, Index};
use crate::wheel::Alarm;

/// A client connection.
pub struct Client {
    /// The listener that accepted it, an index into the names of the plan.
    pub listener: Index,
    /// The other end; `None` on unix sockets.
    pub peer: Option<SocketAddr>,
    /// The address of the peer as text, without the port; empty on unix sockets.
    address: Box<str>,
    /// The deadline of whatever the connection waits for on the client's side. Its waker is the connection's task.
    pub alarm: Alarm,
    /// When it was accepted, by whichever generation.
    accepted: Instant,
    /// Which share of the time over which a drain spreads its last responses has to pass for it; drawn when it matters.
    share: Cell<Option<f64>>,
    /// An exchange is open: from the head of a request to the last byte of its response.
    open: Cell<bool>,
    /// When the last exchange was over.
    closed: Cell<Instant>,
    /// Everything that was answered so far is with the kernel.
    flushed: Cell<bool>,
    /// The connection is to leave hyper at the first moment that nothing is open on it.
    leaving: Cell<bool>,
    /// It is in the lot.
    parked: Cell<bool>,
    /// It is to be closed, so that another one can be opened.
    makes_room: Cell<Option<Making>>,
    /// Its place among the clients of its thread.
    place: Cell<u32>,
    exchanges: Cell<u32>,
    /// What the connection came to grief of, when it did.
    trouble: Cell<Option<Trouble>>,
    /// The last response was broken off, and only a reset can say so.
    truncated: Cell<bool>,
    /// A response body waits until hyper has written what it holds of it.
    awaits_flush: Cell<bool>,
    /// How the client takes what is written to it.
    taking: Cell<Taking>,
    /// The server does not take the request body for now, so no more of it is to be read.
    holds_body: Cell<bool>,
    /// The server has room for much more of it, so that it may be read in large pieces.
    server_has_room: Cell<bool>,
    /// The client left while nothing of its body was being read.
    gone: Cell<bool>,
    /// The head that the gate let through last, for the exchange that opens with it.
    head: Cell<Option<Box<HeadSeen>>>,
    /// What the head that hyper writes next is to say besides; nothing when it says all itself.
    fields: Cell<Vec<u8>>,
    /// Left by an exchange that switched protocols, for the listener to go on with.
    switch: RefCell<Option<Box<Tunnel>>>,
    /// The upstream connections that no other client may use.
    pub(super) private: RefCell<Private>,
}

/// How a client takes what is written to it.
#[derive(Clone, Copy, Debug, Default)]
struct Taking {
    /// Bytes of the response that it took since it was last looked at whether it has room.
    taken: u32,
    /// It may not have room for as much as is read at once from a server.
    scarce: bool,
    /// It has none at all.
    blocked: bool,
    /// hyper holds some of the response.
    held: bool,
}

/// Bytes that a client takes before it is looked at whether it has room for more: smaller responses need not know.
const LOOK_EVERY: u32 = 80 * 1024;
/// The same for one that had too little.
const LOOK_EVERY_SCARCE: u32 = 16 * 1024;

/// What ends a connection, and the exchange open on it, before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The client went away.
    ClientClosed,
    /// The client was silent inside a request, or did not read.
    ClientTimeout,
    /// The body of the request broke this rule of HTTP.
    BadBody(&'static str),
    /// The generation cut what was still open at its deadline.
    Drained,
    /// A defect of ours.
    Internal,
}

/// How large a piece of a response body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Any,
    Small,
}

/// A request head that was found valid, with its times.
pub struct HeadSeen {
    /// What the bytes say.
    pub facts: RequestHead,
    /// The bytes, which hyper does not get to see.
    pub raw: Rc<RawHead>,
    /// Where the client reached us, when it did not say which host it asks for.
    pub reached: Option<Box<str>>,
    /// When its first byte came.
    pub began: Instant,
    /// When its last byte came.
    pub complete: Instant,
}

impl Client {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(listener: Index, peer: Option<SocketAddr>, alarm: Alarm) -> Self {
        let now = Instant::now();
        Self {
            listener,
            peer,
            address: peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default().into(),
            alarm,
            accepted: now,
            share: Cell::new(None),
            open: Cell::new(false),
            closed: Cell::new(now),
            flushed: Cell::new(true),
            leaving: Cell::new(false),
            parked: Cell::new(false),
            makes_room: Cell::new(None),
            place: Cell::new(u32::MAX),
            exchanges: Cell::new(0),
            trouble: Cell::new(None),
            truncated: Cell::new(false),
            awaits_flush: Cell::new(false),
            taking: Cell::default(),
            holds_body: Cell::new(false),
            server_has_room: Cell::new(false),
            gone: Cell::new(false),
            head: Cell::new(None),
            fields: Cell::default(),
            switch: RefCell::new(None),
            private: RefCell::default(),
        }
    }

    /// A connection that came from another generation.
    #[must_use]
    pub fn arrived(listener: Index, facts: &ClientFacts, alarm: Alarm) -> Self {
        let mut client = Self::new(listener, facts.peer, alarm);
        let now = client.accepted;
        client.accepted = before(now, facts.age);
        client.closed.set(before(now, facts.idle));
        client.exchanges.set(facts.exchanges);
        client
    }

    /// What another generation has to know of it; `listener` is the name of its listener.
    #[must_use]
    pub fn facts(&self, listener: &str) -> ClientFacts {
        ClientFacts {
            listener: listener.to_owned(),
            peer: self.peer,
            age: self.accepted.elapsed(),
            idle: self.closed.get().elapsed(),
            exchanges: self.exchanges.get(),
        }
    }

    /// Its share, between 0 and 1, of the time over which a drain spreads its last responses; the same each time.
    pub(super) fn share(&self, draw: impl FnOnce() -> f64) -> f64 {
        let share = self.share.get().unwrap_or_else(draw);
        self.share.set(Some(share));
        share
    }

    /// The address of the client as text, without the port; IPv4 as IPv4 whatever the socket. Empty on unix sockets.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The gate notes the head that it lets through. The connection is busy from here on: what the gate does next
    /// must not depend on how soon hyper calls the service.
    pub fn saw_head(&self, head: Box<HeadSeen>) {
        self.open.set(true);
        self.flushed.set(false);
        self.head.set(Some(head));
    }

    /// The exchange takes the head that it opens with. Called when hyper *calls* the service, not when the future is
    /// first polled: between the two hyper may poll the read side, and must not find the connection idle.
    pub(crate) fn open_exchange(&self) -> Option<Box<HeadSeen>> {
        self.open.set(true);
        self.flushed.set(false);
        self.truncated.set(false);
        self.awaits_flush.set(false);
        self.taking.set(Taking::default());
        self.fields.take();
        self.exchanges.set(self.exchanges.get().wrapping_add(1));
        self.head.take()
    }

    /// An exchange that another generation opened goes on.
    pub(super) fn resume_exchange(&self) {
        self.open.set(true);
        self.flushed.set(false);
    }

    /// How many exchanges there were, the open one included.
    #[must_use]
    pub fn exchanges(&self) -> u32 {
        self.exchanges.get()
    }

    /// Has the gate put these fields, each a line with its CRLF, into the head of the response that hyper writes next.
    /// hyper itself knows of no more than it needs to.
    pub(super) fn carry(&self, fields: Vec<u8>) {
        self.fields.set(fields);
    }

    /// The fields for the head that hyper writes next.
    pub(crate) fn take_carried(&self) -> Vec<u8> {
        self.fields.take()
    }

    /// The head could not be written yet.
    pub(crate) fn keep_carried(&self, fields: Vec<u8>) {
        self.fields.set(fields);
    }

    /// The exchange is over; the end of its response is still with hyper.
    pub(crate) fn close_exchange(&self, now: Instant) {
        self.open.set(false);
        self.closed.set(now);
        self.flushed.set(false);
        self.hold_body(false);
        self.note_server_room(false);
    }

    /// When it was accepted, by whichever generation.
    #[must_use]
    pub fn accepted(&self) -> Instant {
        self.accepted
    }

    /// When the last exchange was over; before the first one, when the connection was accepted.
    pub(crate) fn closed(&self) -> Instant {
        self.closed.get()
    }

    /// The gate notes that hyper has nothing left to write; `true` when that was news and nothing is open.
    pub(crate) fn flushed(&self) -> bool {
        !self.open.get() && !self.flushed.replace(true)
    }

    /// The gate notes that the client took `bytes` of what was to be written; `has_room` looks whether it has room for a
    /// large piece more, and is asked now and then.
    pub(crate) fn took(&self, bytes: usize, has_room: impl FnOnce() -> bool) {
        let mut taking = self.taking.get();
        taking.blocked = false;
        taking.taken = taking.taken.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if taking.taken >= if taking.scarce { LOOK_EVERY_SCARCE } else { LOOK_EVERY } {
            (taking.taken, taking.scarce) = (0, !has_room());
        }
        self.taking.set(taking);
    }

    /// The gate notes that the client takes nothing for now.
    pub(crate) fn took_nothing(&self) {
        self.taking.set(Taking { blocked: true, ..self.taking.get() });
    }

    /// Whether a response body may hand out a piece, and then whether it has to be a small one: bytes that hyper holds
    /// for a client that does not read are memory that any client could have us fill.
    pub(super) fn may_have(&self) -> Option<Piece> {
        match self.taking.get() {
            Taking { blocked: true, .. } | Taking { scarce: true, held: true, .. } => None,
            Taking { scarce: true, .. } => Some(Piece::Small),
            _ => Some(Piece::Any),
        }
    }

    /// A response body has handed out a piece.
    pub(super) fn was_given(&self) {
        self.taking.set(Taking { held: true, ..self.taking.get() });
    }

    /// The server takes no more of the request body for now, or does again: until then no more of it is read.
    pub(super) fn hold_body(&self, hold: bool) {
        if self.holds_body.replace(hold) && !hold {
            self.alarm.wake(); // the gate has not looked for more of it
        }
    }

    /// Whether the server has room for much more of the request body. Until that is known it is read in small pieces.
    pub(super) fn note_server_room(&self, much: bool) {
        self.server_has_room.set(much);
    }

    /// Whether the request body may be read in large pieces.
    pub(crate) fn server_has_room(&self) -> bool {
        self.server_has_room.get()
    }

    /// Whether more of the request body is to be read.
    pub(crate) fn holds_body(&self) -> bool {
        self.holds_body.get()
    }

    /// The gate notes that the client has left although not all that it sent was read.
    pub(crate) fn left(&self) {
        self.note(Trouble::ClientClosed);
        self.gone.set(true);
    }

    /// Whether it has.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// A response body asks to be polled again once hyper has written what it holds of it.
    pub(super) fn await_flush(&self) {
        self.awaits_flush.set(true);
    }

    /// Whether it still waits.
    pub(super) fn awaits_flush(&self) -> bool {
        self.awaits_flush.get()
    }

    /// The gate notes that hyper has nothing left to write; `true` when a body waits for that.
    pub(crate) fn end_flush(&self) -> bool {
        self.taking.set(Taking { held: false, ..self.taking.get() });
        self.awaits_flush.replace(false)
    }

    /// Whether an exchange is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Whether no exchange is open and its response is with the kernel: the connection is between two messages.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.open.get() && self.flushed.get()
    }

    /// Has the connection leave hyper at the first moment that nothing is open on it, instead of after a while.
    pub fn leave(&self) {
        self.leaving.set(true);
        self.alarm.wake();
    }

    /// The connection enters the lot, out of hyper, or comes back from it.
    pub(crate) fn set_parked(&self, parked: bool) {
        self.parked.set(parked);
        self.leaving.set(false);
    }

    /// Has the connection closed, if it still has nothing open when it hears of it.
    pub(super) fn make_room(&self, making: Making) {
        self.makes_room.set(Some(making));
        self.alarm.wake();
    }

    /// What the connection is to be closed for, if it is. What is taken has to be kept until it is closed.
    pub(crate) fn take_making(&self) -> Option<Making> {
        self.makes_room.take()
    }

    /// Its place among the clients of its thread.
    pub(super) fn place(&self) -> u32 {
        self.place.get()
    }

    /// Whether the connection is in the lot: nothing is open on it.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.parked.get()
    }

    /// Whether the connection was asked to leave.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Notes what goes wrong with the connection; the first trouble stays.
    pub fn note(&self, trouble: Trouble) {
        self.trouble.set(self.trouble.get().or(Some(trouble)));
    }

    /// What went wrong with the connection. An exchange whose reply is dropped unfinished finds the reason here.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.get()
    }

    /// How an exchange ends that is dropped before its end was said.
    pub(super) fn end_of_client(&self) -> End {
        match self.trouble.get() {
            None | Some(Trouble::ClientClosed) => End::ClientClosed,
            Some(Trouble::ClientTimeout) => End::ClientTimeout,
            Some(Trouble::BadBody(_)) => End::BadRequest,
            Some(Trouble::Drained) => End::Drained,
            Some(Trouble::Internal) => End::Internal,
        }
    }

    /// The last response was broken off, and nothing in its framing says so: the client must not take the end of the
    /// connection for the end of the body.
    pub(super) fn truncate(&self) {
        self.truncated.set(true);
    }

    /// Whether the last response was broken off, so that the connection has to end with a reset.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated.get()
    }

    /// An exchange leaves the tunnel that it turned into; the connection stays busy.
    pub(crate) fn switch_to(&self, tunnel: Tunnel) {
        self.private.take(); // no request follows
        *self.switch.borrow_mut() = Some(Box::new(tunnel));
    }

    /// The tunnel that the last exchange turned into, if it did.
    #[must_use]
    pub fn take_switch(&self) -> Option<Tunnel> {
        self.switch.borrow_mut().take().map(|tunnel| *tunnel)
    }
}

/// The moment `time` before `now`, or `now` where the clock does not reach so far back.
pub(super) fn before(now: Instant, time: Duration) -> Instant {
    now.checked_sub(time).unwrap_or(now)
}

/// Every client connection of one thread.
pub struct Clients {
    places: RefCell<Places>,
    /// Who waits for the last one to leave.
    waiter: RefCell<Option<Waker>>,
    trim: Rc<Trim>,
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
    /// None yet. What they leave free is given back by `trim`.
    pub(super) fn new(trim: Rc<Trim>) -> Rc<Self> {
        Rc::new(Self { places: RefCell::default(), waiter: RefCell::default(), trim })
    }

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
        client.place.set(index);
        Place { clients: self.clone(), index }
    }

    /// The connection at this place.
    pub(super) fn at(&self, place: u32) -> Option<Rc<Client>> {
        self.places.borrow().taken.get(place as usize)?.upgrade()
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

    /// How many are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        let places = self.places.borrow();
        places.taken.iter().filter_map(Weak::upgrade).filter(|client| client.is_parked()).count()
    }

    /// Closes the private upstream connections of every connection that is parked: their clients have to authenticate
    /// again.
    pub(super) fn close_private(&self) {
        for client in self.places.borrow().taken.iter().filter_map(Weak::upgrade) {
            if client.is_parked() {
                client.private.borrow_mut().close();
            }
        }
    }

    /// Asks every connection to leave hyper as soon as nothing is open on it.
    pub fn leave_all(&self) {
        for client in self.places.borrow().taken.iter().filter_map(Weak::upgrade) {
            client.leave();
        }
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
        self.clients.trim.soon();
        if self.clients.is_empty()
            && let Some(waiter) = self.clients.waiter.borrow_mut().take()
        {
            waiter.wake();
        }
    }
}

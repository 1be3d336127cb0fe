//! One client connection, from accept to close.
//!
//! ```text
//!   accepted ──▶ Parked ──first bytes──▶ Busy: requests ──101──▶ Busy: tunnel ──┐
//!                 ▲ │ │                   │    │                      │         │
//!                 │ │ └─idle for too long─│────┼──▶ Busy: farewell ───┤         │
//!                 ├─│──nothing is open────┘    └──────────────────────┴▶ closed │
//!                 │ └─another generation takes it──▶ Busy: hand-over ──┐        │
//!                 └────────────it does not─────────────────┘           └────────┴──▶ moved
//! ```
//! A parked connection that makes room for another one is closed at once.
//!
//! A connection that another generation began starts as parked, in requests when part of one was read already, or as
//! a tunnel.
//!
//! Whatever is large exists only while the connection is busy, in a box of its own: the task of a parked connection is
//! two hundred bytes. A connection in TCP mode is busy from the start.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::limits::Permit;
use super::lot::{Stay, Unparked};
use super::serve::{Served, Serving};
use super::way::{Local, Way};
use crate::net::Stream;
use crate::proxy::client::{Place, Trouble};
use crate::proxy::parked::Making;
use crate::proxy::tunnel::{Left, Tunnel};
use crate::proxy::{Client, Thread};

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1; an index into the listeners of the configuration.
    Http(usize),
    /// Bytes; an index into the TCP listeners of the configuration.
    Tcp(usize),
}

/// Who ended a connection, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed it while nothing was open on it.
    ClientDone,
    /// The client closed it inside a request head.
    ClientLeftHead,
    /// The client went away inside an exchange.
    ClientLost,
    /// We closed it after a response that said so.
    Announced,
    /// We closed it because nothing came for too long.
    Idle,
    /// We closed it while nothing was open on it, because a limit was reached and another one came.
    Evicted,
    /// We refused what came, and said so.
    Refused,
    /// The head of a request did not come whole in time, and we said so.
    SlowHead,
    /// The client was silent inside a request body, or did not read, for too long.
    ClientTimeout,
    /// The client's request body broke a rule of HTTP.
    BadBody,
    /// An exchange failed after its response had begun; the missing end says so.
    Broken,
    /// The tunnel on it has ended.
    Tunnel,
    /// Another generation has it now.
    Moved,
    /// The generation cut it at its deadline.
    Drained,
    /// A defect of ours.
    Internal,
}

/// A client connection and what it holds to its end; a task of its thread.
pub(super) struct Connection<W> {
    serving: Serving<W>,
    kind: Kind,
    state: State,
    _place: Place,
    permit: Permit,
    /// Dropped after the permit, for which the new connection waits.
    making: Option<Making>,
}

/// What came from another generation.
pub(super) enum Arrival {
    Idle(Stream, BytesMut),
    Tunnel(Stream, Tunnel),
}

enum State {
    Parked(Stream, Stay),
    Busy(Local<'static, Served>),
    Closed,
}

impl<W: Way> Connection<W> {
    pub(super) fn new(thread: &Rc<Thread>, client: Client, kind: Kind, stream: Stream, permit: Permit) -> Self {
        let client = Rc::new(client);
        let place = thread.clients.add(&client);
        let serving = Serving::new(thread, &client);
        let state = match kind {
            Kind::Http(listener) => State::Parked(stream, serving.stay(listener)),
            Kind::Tcp(tcp) => State::Busy(Box::pin(serving.clone().relay(tcp, stream))),
        };
        Self { serving, kind, state, _place: place, permit, making: None }
    }

    /// A connection that another generation began, with what was read of its next request.
    ///
    /// # Errors
    /// Those of `arrival`.
    pub(super) fn arrived(
        thread: &Rc<Thread>,
        client: Rc<Client>,
        kind: Kind,
        arrival: impl FnOnce(&Rc<Client>) -> io::Result<Arrival>,
        permit: Permit,
    ) -> io::Result<Self> {
        let arrival = arrival(&client)?;
        let place = thread.clients.add(&client);
        let serving = Serving::new(thread, &client);
        let mut connection = Self { serving, kind, state: State::Closed, _place: place, permit, making: None };
        connection.state = match arrival {
            Arrival::Idle(stream, ahead) => connection.resting(stream, ahead),
            Arrival::Tunnel(stream, tunnel) => {
                State::Busy(Box::pin(connection.serving.clone().tunnel(stream, tunnel, Bytes::new())))
            }
        };
        Ok(connection)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match &mut self.state {
                State::Parked(stream, stay) => {
                    let enters = || self.permit.is_idle();
                    let unparked = std::task::ready!(self.serving.poll_stay(stay, stream, cx, enters));
                    if let Some(end) = self.unpark(unparked) {
                        return Poll::Ready(end);
                    }
                }
                State::Busy(serving) => match std::task::ready!(serving.as_mut().poll(cx)) {
                    Served::Idle(stream, ahead) => self.park(stream, ahead),
                    Served::Ended(end) => return Poll::Ready(end),
                },
                State::Closed => return Poll::Ready(End::Internal), // nobody polls a task that has ended
            }
        }
    }

    fn park(&mut self, stream: Stream, ahead: BytesMut) {
        self.serving.client.set_parked(false); // it has left hyper, as it was perhaps asked to
        self.state = self.resting(stream, ahead);
    }

    /// The state of a connection on which no exchange is open.
    fn resting(&self, stream: Stream, ahead: BytesMut) -> State {
        let (Kind::Http(listener) | Kind::Tcp(listener)) = self.kind;
        if ahead.is_empty() {
            return State::Parked(stream, self.serving.stay(listener)); // which asks for an heir by itself
        }
        let serving = self.serving.clone();
        match serving.thread.heir_of(&serving.client) {
            Some(heir) => State::Busy(Box::pin(serving.hand_over(stream, ahead, heir))),
            None => State::Busy(Box::pin(serving.requests(listener, stream, ahead))),
        }
    }

    fn unpark(&mut self, unparked: Unparked) -> Option<End> {
        let State::Parked(stream, _) = std::mem::replace(&mut self.state, State::Closed) else {
            return Some(End::Internal);
        };
        let (Kind::Http(listener) | Kind::Tcp(listener)) = self.kind;
        let serving = self.serving.clone();
        match unparked {
            Unparked::Bytes(first) => self.state = State::Busy(Box::pin(serving.requests(listener, stream, first))),
            Unparked::Idle => self.state = State::Busy(Box::pin(serving.farewell(stream, End::Idle))),
            Unparked::Moves(heir) => {
                self.state = State::Busy(Box::pin(serving.hand_over(stream, BytesMut::new(), heir)));
            }
            Unparked::MakesRoom(making) => {
                self.making = Some(making);
                return Some(End::Evicted);
            }
            Unparked::Closed => return Some(End::ClientDone),
            Unparked::Lost => return Some(End::ClientLost),
            Unparked::Cut => self.state = State::Busy(Box::pin(serving.cut(stream))),
        }
        None
    }
}

impl<W: Way> Future for Connection<W> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.get_mut();
        // an exchange that panics ends its own connection and nothing else
        let end = match catch_unwind(AssertUnwindSafe(|| connection.poll_end(cx))) {
            Ok(polled) => std::task::ready!(polled),
            Err(panic) => {
                connection.serving.thread.panicked(text_of(&*panic));
                End::Internal
            }
        };
        connection.state = State::Closed;
        W::closed(&connection.serving.thread, &connection.serving.client, end);
        Poll::Ready(())
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or("a panic without words").to_owned()
}

impl From<Left> for End {
    fn from(left: Left) -> Self {
        match left {
            Left::Ended => Self::Tunnel,
            Left::Cut => Self::Drained,
            Left::Moved => Self::Moved,
        }
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::ClientClosed => Self::ClientLost,
            Trouble::ClientTimeout => Self::ClientTimeout,
            Trouble::BadBody(_) => Self::BadBody,
            Trouble::Drained => Self::Drained,
            Trouble::Internal => Self::Internal,
        }
    }
}

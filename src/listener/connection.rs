//! One client connection, from accept to close.
//!
//! ```text
//!                dormant
//!                 ▲ │ seconds later, and back
//!                 │ ▼
//!   accepted ──▶ Idle ──first bytes──▶ Http1: requests ──101──▶ Busy: tunnel ──┐
//!                 ▲ │ │                   │    │                      │         │
//!                 │ │ └─idle for too long─│────┼──▶ Busy: linger ─────┤         │
//!                 ├─│──nothing is open────┘    └──────────────────────┴▶ closed │
//!                 │ └─another generation takes it──▶ Busy: hand-over ──┐        │
//!                 └────────────it does not─────────────────┘           └────────┴──▶ moved
//! ```
//! While an exchange is open, `Http1` becomes `Busy: hand-over` when another generation can take both, and is `Http1` again
//! when that one does not. It becomes `Http2` when the connection begins with its preface, and stays it, or
//! `ParkedHttp2` while nothing is open; it ends in `Busy: linger`.
//!
//! With TLS a connection starts as `Busy: handshake`, which ends in `Idle`, or in TCP mode goes on as a tunnel; before it, from a trusted proxy, comes the
//! header of the PROXY protocol. While the client has said nothing that was understood, another generation may take the
//! connection.
//!
//! An idle connection that makes room for another one is closed at once. One that is idle for seconds becomes dormant: the
//! task ends, and there is another one when something happens to the connection.
//!
//! A connection that another generation began starts as idle, in requests when part of one was read already, or as a
//! tunnel.
//!
//! Whatever is large exists only while the connection is busy, in a box of its own: the task of an idle connection is
//! two hundred bytes. A connection in TCP mode is busy from the start.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::after::{
    Served, end_contradicted, hand_over, hand_over_accepted, hand_over_open, hand_over_session, linger,
};
use super::dormant::{self, Wake, Woken};
use super::http1::{Http1, Http1Parts, Next, OpenHttp1, ReadAhead};
use super::http2::{DormantSession, Http2, Http2Next, ParkedHttp2, Unparked};
use super::idle::{IdleOutcome, IdleWait};
use super::kind::Kind;
use super::limits::Permit;
use super::lingering;
use super::service::{Local, Service};
use super::{proxy_protocol, sni, tls};
use crate::handover::http2::Http2Transfer;
use crate::handover::transfer::{AcceptedTransfer, FirstMessage, Http1Transfer};
use crate::http2::session::saved::Contradiction;
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::observe::record::Index;
use crate::proxy::idle::Making;
use crate::proxy::origin::is_proxy;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::{Client, Thread};

/// The time for the header of the PROXY protocol on a TCP listener.
const TCP_HEADER: Duration = Duration::from_secs(10);

/// A client connection and what it holds to its end; a task of its thread.
pub(super) struct ClientConnection<S: Service> {
    thread: Rc<Thread>,
    /// Of its listener, in the names of the log.
    index: Index,
    kind: Kind,
    state: ConnectionState<S>,
    /// None once the connection is dormant, which has it then.
    permit: Option<Permit>,
    /// Dropped after the permit, for which the new connection waits.
    making: Option<Making>,
}

/// What came from another generation.
pub(super) enum Arrival<H> {
    Accepted(AcceptedTransfer),
    Idle(ReadAhead),
    Tunnel(Box<Tunnel>),
    Http1(Box<OpenHttp1<H>>),
    Http2(Box<Http2Transfer>),
}

enum ConnectionState<S: Service> {
    Idle(Stream, Box<Client>, IdleWait),
    Http1(Box<Http1<S>>),
    Http2(Box<Http2<S>>),
    /// HTTP/2 on which nothing is open.
    ParkedHttp2(Box<ParkedHttp2>),
    Busy(Local<'static, Served>),
    Closed,
}

/// What a turn of a connection led to.
enum ConnectionTurn<S: Service> {
    ConnectionState(ConnectionState<S>),
    Ended(Option<Box<Client>>, End),
    Dormant,
}

/// How the task of a connection ended.
enum TaskEnd {
    /// With the connection; the client is none when a panic took it along.
    Closed(Option<Box<Client>>, End),
    Dormant,
}

/// The time for the header of the PROXY protocol, where the connection has to begin with one.
fn header_within(thread: &Thread, client: &Client, kind: Kind) -> Option<Duration> {
    let config = &thread.runtime_config.config;
    let (accepts, trusted, within) = match kind {
        Kind::Http(at) => {
            let listener = config.listeners.get(at)?;
            (listener.accept_proxy, &listener.trusted_proxies, listener.header_timeout)
        }
        Kind::Tcp(at) => config.tcp.get(at).map(|tcp| (tcp.accept_proxy, &tcp.trusted_proxies, TCP_HEADER))?,
    };
    (accepts && is_proxy(trusted, client.origin.peer)).then_some(within)
}

/// Takes the first messages of a connection: the header of the PROXY protocol, then the handshake of TLS; then it is an idle
/// one of HTTP, or relays bytes.
async fn begin<S: Service>(
    thread: Rc<Thread>,
    client: Box<Client>,
    kind: Kind,
    stream: Stream,
    accepted: AcceptedTransfer,
) -> Served {
    let AcceptedTransfer { first, received, left } = accepted;
    let (client, stream, received, left) = match first {
        FirstMessage::ProxyHeader => match proxy_protocol::header(&thread, client, left, stream, received).await {
            Ok((client, stream, received)) => (client, stream, received, tls::handshake_timeout(&thread, kind)),
            Err(ended) => return ended,
        },
        FirstMessage::ClientHello => (client, stream, received, left),
    };
    match kind {
        Kind::Http(listener) if kind.speaks_tls(&thread.runtime_config.config) => {
            tls::handshake_of_http(thread, client, listener, stream, received, left).await
        }
        Kind::Http(_) => Served::Idle(client, stream, received.into()),
        Kind::Tcp(tcp) => relayed::<S>(thread, client, tcp, stream, received, left).await,
    }
}

/// TCP mode: TLS, where it ends here, then the choice of a pool, then bytes both ways. What the client sends first has to
/// come within this time, where it is looked at.
async fn relayed<S: Service>(
    thread: Rc<Thread>,
    client: Box<Client>,
    tcp: usize,
    stream: Stream,
    first: BytesMut,
    within: Duration,
) -> Served {
    let kind = Kind::Tcp(tcp);
    let (client, stream, first) = if kind.speaks_tls(&thread.runtime_config.config) {
        match tls::handshake(&thread, client, kind, stream, first, within).await {
            Ok((client, stream)) => (client, stream, BytesMut::new()),
            Err(ended) => return ended,
        }
    } else {
        (client, stream, first)
    };
    let sni::Routed { client, stream, received, pool, host } =
        match sni::route(&thread, client, tcp, stream, first, within).await {
            Ok(routed) => routed,
            Err(ended) => return ended,
        };
    let (client, end) = S::relay(thread, client, pool, host, stream, received.freeze()).await;
    Served::Ended(client, end)
}

impl<S: Service> ClientConnection<S> {
    /// A connection that was just accepted; `first_bytes` were read from it.
    pub(super) fn new(
        thread: &Rc<Thread>,
        mut client: Box<Client>,
        kind: Kind,
        stream: Stream,
        first_bytes: &[u8],
        permit: Permit,
    ) -> Self {
        if thread.runtime_config.sends_proxy {
            client.reaches(&stream);
        }
        let mut connection = Self::closed(thread, &client, kind, permit);
        connection.state = match kind {
            kind if let Some(left) = header_within(thread, &client, kind) => {
                let first = FirstMessage::ProxyHeader;
                connection.begin(client, stream, AcceptedTransfer { first, received: first_bytes.into(), left })
            }
            Kind::Http(listener) if !kind.speaks_tls(&thread.runtime_config.config) => match first_bytes {
                [] => connection.idle(client, stream),
                bytes => ConnectionState::Http1(Http1::begun(thread, client, listener, stream, bytes)),
            },
            Kind::Http(_) | Kind::Tcp(_) => {
                let (first, left) = (FirstMessage::ClientHello, tls::handshake_timeout(thread, kind));
                connection.begin(client, stream, AcceptedTransfer { first, received: first_bytes.into(), left })
            }
        };
        connection
    }

    /// A connection that another generation began, with what was on it.
    pub(super) fn arrived(
        thread: &Rc<Thread>,
        mut client: Box<Client>,
        kind: Kind,
        stream: Stream,
        arrival: Arrival<S::Handler>,
        permit: Permit,
    ) -> Self {
        if thread.runtime_config.sends_proxy {
            client.reaches(&stream);
        }
        let mut connection = Self::closed(thread, &client, kind, permit);
        connection.state = match arrival {
            Arrival::Accepted(accepted) => connection.begin(client, stream, accepted),
            Arrival::Idle(ahead) => connection.resting(client, stream, ahead),
            Arrival::Tunnel(tunnel) => connection.tunnel(client, stream, Bytes::new(), tunnel),
            Arrival::Http1(open) => {
                let listener = connection.settings();
                ConnectionState::Http1(Http1::resumed(thread, client, listener, stream, *open))
            }
            Arrival::Http2(transfer) => connection.session(client, stream, *transfer),
        };
        connection
    }

    fn closed(thread: &Rc<Thread>, client: &Client, kind: Kind, permit: Permit) -> Self {
        let (thread, index) = (thread.clone(), client.origin.listener);
        Self { thread, index, kind, state: ConnectionState::Closed, permit: Some(permit), making: None }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<TaskEnd> {
        loop {
            let turn = match &mut self.state {
                ConnectionState::Idle(stream, client, wait) => {
                    let enters = || self.permit.iter().for_each(Permit::is_idle);
                    let unparked = std::task::ready!(wait.poll(&self.thread, client, stream, cx, enters));
                    self.unpark(unparked)
                }
                ConnectionState::Http1(http1) => {
                    let next = std::task::ready!(http1.poll(cx));
                    self.served(next)
                }
                ConnectionState::Http2(http2) => {
                    let next = std::task::ready!(http2.poll(cx));
                    self.served_http2(next)
                }
                ConnectionState::ParkedHttp2(parked) => {
                    let enters = || self.permit.iter().for_each(Permit::is_idle);
                    let unparked = std::task::ready!(parked.poll(&self.thread, cx, enters));
                    self.unpark_http2(unparked)
                }
                ConnectionState::Busy(busy) => match std::task::ready!(busy.as_mut().poll(cx)) {
                    Served::Accepted(client, stream, accepted) => {
                        ConnectionTurn::ConnectionState(self.accepted(client, stream, accepted))
                    }
                    Served::Idle(client, stream, ahead) => {
                        ConnectionTurn::ConnectionState(self.resting(client, stream, ahead))
                    }
                    Served::Http1(client, stream, transfer) => self.goes_on(client, stream, *transfer),
                    Served::Http2(client, stream, transfer) => {
                        ConnectionTurn::ConnectionState(self.session(client, stream, *transfer))
                    }
                    Served::Ended(client, end) => ConnectionTurn::Ended(Some(client), end),
                },
                // a task that has ended is not polled
                ConnectionState::Closed => ConnectionTurn::Ended(None, End::new(Phase::Done, Reason::Internal)),
            };
            match turn {
                ConnectionTurn::ConnectionState(state) => self.state = state,
                ConnectionTurn::Ended(client, end) => return Poll::Ready(TaskEnd::Closed(client, end)),
                ConnectionTurn::Dormant => return Poll::Ready(TaskEnd::Dormant),
            }
        }
    }

    fn settings(&self) -> usize {
        let (Kind::Http(listener) | Kind::Tcp(listener)) = self.kind;
        listener
    }

    /// A connection whose first message is still to come.
    fn begin(&self, client: Box<Client>, stream: Stream, accepted: AcceptedTransfer) -> ConnectionState<S> {
        ConnectionState::Busy(Box::pin(begin::<S>(self.thread.clone(), client, self.kind, stream, accepted)))
    }

    /// The same, for which another generation may be there.
    fn accepted(&self, client: Box<Client>, stream: Stream, accepted: AcceptedTransfer) -> ConnectionState<S> {
        match self.thread.successor_of_accepted(&client.origin) {
            Some(successor) if !client.slot.is_killed() => {
                let hand_over = hand_over_accepted(self.thread.clone(), client, stream, accepted, successor);
                ConnectionState::Busy(Box::pin(hand_over))
            }
            _ => self.begin(client, stream, accepted),
        }
    }

    /// A connection on which nothing is open, and of which nothing was read.
    fn idle(&self, client: Box<Client>, stream: Stream) -> ConnectionState<S> {
        let timeout = self.thread.runtime_config.config.listeners[self.settings()].idle_timeout;
        stream.park();
        let wait = IdleWait::new(&client, timeout);
        ConnectionState::Idle(stream, client, wait)
    }

    /// A connection on which no exchange is open.
    fn resting(&self, client: Box<Client>, stream: Stream, ahead: ReadAhead) -> ConnectionState<S> {
        if ahead.bytes.is_empty() {
            return self.idle(client, stream); // which asks for a successor by itself
        }
        match self.thread.successor_of(&client.origin, &client.private) {
            Some(successor) if !client.slot.is_killed() => {
                ConnectionState::Busy(Box::pin(hand_over(self.thread.clone(), client, stream, ahead, successor)))
            }
            _ => ConnectionState::Http1(Http1::new(&self.thread, client, self.settings(), stream, ahead)),
        }
    }

    fn tunnel(&self, client: Box<Client>, stream: Stream, ahead: Bytes, tunnel: Box<Tunnel>) -> ConnectionState<S> {
        let tunnel = S::tunnel(self.thread.clone(), client, stream, ahead, *tunnel);
        ConnectionState::Busy(Box::pin(async move {
            let (client, end) = tunnel.await;
            Served::Ended(client, end)
        }))
    }

    /// An idle connection is not idle any more.
    fn unpark(&mut self, unparked: IdleOutcome) -> ConnectionTurn<S> {
        let ConnectionState::Idle(stream, client, wait) = std::mem::replace(&mut self.state, ConnectionState::Closed)
        else {
            return ConnectionTurn::Ended(None, End::new(Phase::Idle, Reason::Internal));
        };
        let thread = self.thread.clone();
        ConnectionTurn::ConnectionState(match unparked {
            IdleOutcome::Bytes(first) if client.origin.speaks_http2() => {
                ConnectionState::Http2(Http2::new(&thread, client, self.settings(), stream, first))
            }
            IdleOutcome::Bytes(first) => {
                ConnectionState::Http1(Http1::new(&thread, client, self.settings(), stream, first.into()))
            }
            IdleOutcome::Moves(successor) => {
                ConnectionState::Busy(Box::pin(hand_over(thread, client, stream, ReadAhead::default(), successor)))
            }
            IdleOutcome::Ends(end) => match end.reason {
                Reason::ClientClosed => return ConnectionTurn::Ended(Some(client), end),
                Reason::Drained => {
                    thread.connection_cut(&client);
                    ConnectionState::Busy(Box::pin(linger(thread, client, stream, end, lingering::BRIEF)))
                }
                Reason::Killed => {
                    ConnectionState::Busy(Box::pin(linger(thread, client, stream, end, lingering::BRIEF)))
                }
                _ => ConnectionState::Busy(Box::pin(linger(thread, client, stream, end, lingering::PATIENT))),
            },
            IdleOutcome::MakesRoom(making) => {
                self.making = Some(making);
                return ConnectionTurn::Ended(Some(client), End::EVICTED);
            }
            IdleOutcome::Dozes => return self.doze(client, stream, wait.until(), None),
        })
    }

    /// An idle connection becomes dormant.
    fn doze(
        &mut self,
        client: Box<Client>,
        stream: Stream,
        until: Instant,
        session: Option<Box<DormantSession>>,
    ) -> ConnectionTurn<S> {
        let listener = self.settings();
        let (Ok(detached), Some(permit)) = (stream.detach(), self.permit.take()) else {
            return ConnectionTurn::Ended(Some(client), End::new(Phase::Idle, Reason::Internal)); // the runtime ends
        };
        dormant::doze::<Self>(&self.thread, *client, detached, Woken { listener, permit, until, session });
        ConnectionTurn::Dormant
    }

    /// No requests are served on the connection any more.
    fn served(&mut self, next: Next) -> ConnectionTurn<S> {
        let ConnectionState::Http1(http1) = std::mem::replace(&mut self.state, ConnectionState::Closed) else {
            return ConnectionTurn::Ended(None, End::new(Phase::Idle, Reason::Internal));
        };
        if let Next::MovesOpen(place) = next {
            let Some(open) = http1.into_open() else {
                return ConnectionTurn::Ended(None, End::new(Phase::Body, Reason::Internal));
            };
            let hand_over = hand_over_open(self.thread.clone(), open, place);
            return ConnectionTurn::ConnectionState(ConnectionState::Busy(Box::pin(hand_over)));
        }
        let Ok(Http1Parts { client, stream, ahead }) = http1.into_parts() else {
            return ConnectionTurn::Ended(None, End::new(Phase::Idle, Reason::Internal)); // the runtime ends
        };
        let thread = self.thread.clone();
        ConnectionTurn::ConnectionState(match next {
            Next::Idle => self.resting(client, stream, ahead),
            Next::Moves(successor) => {
                ConnectionState::Busy(Box::pin(hand_over(thread, client, stream, ahead, successor)))
            }
            Next::MovesOpen(_) => return ConnectionTurn::Ended(Some(client), End::new(Phase::Body, Reason::Internal)),
            Next::Http2 => ConnectionState::Http2(Http2::new(&thread, client, self.settings(), stream, ahead.bytes)),
            Next::Tunnel(tunnel) => self.tunnel(client, stream, ahead.bytes.freeze(), tunnel),
            Next::Ends { end, linger: true } => {
                ConnectionState::Busy(Box::pin(linger(thread, client, stream, end, lingering::PATIENT)))
            }
            Next::Ends { end, linger: false } => match stream.close_notify() {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                    ConnectionState::Busy(Box::pin(linger(thread, client, stream, end, lingering::PATIENT)))
                }
                Ok(()) | Err(_) => return ConnectionTurn::Ended(Some(client), end),
            },
        })
    }
}

impl<S: Service> ClientConnection<S> {
    /// The open exchange goes on here, since no other generation took it.
    fn goes_on(&self, mut client: Box<Client>, stream: Stream, transfer: Http1Transfer) -> ConnectionTurn<S> {
        let Ok(open) = OpenHttp1::<S::Handler>::resume::<S>(&self.thread, &mut client, transfer) else {
            return ConnectionTurn::Ended(Some(client), End::new(Phase::Body, Reason::Internal));
        };
        let http1 = Http1::resumed(&self.thread, client, self.settings(), stream, open);
        ConnectionTurn::ConnectionState(ConnectionState::Http1(http1))
    }
}

/// HTTP/2.
impl<S: Service> ClientConnection<S> {
    /// Goes on with a connection that another generation had, or this one before it was to move. It ends when its state
    /// contradicts itself.
    fn session(&self, client: Box<Client>, stream: Stream, transfer: Http2Transfer) -> ConnectionState<S> {
        match Http2::resumed(&self.thread, client, self.settings(), stream, transfer) {
            Ok(http2) => ConnectionState::Http2(http2),
            Err(contradicted) => {
                let listener = self.thread.listener_name(self.index);
                self.thread.arrival_failed(listener, &io::Error::other(Contradiction));
                ConnectionState::Busy(Box::pin(end_contradicted(self.thread.clone(), contradicted)))
            }
        }
    }

    /// An idle connection is in use again, or ends.
    fn unpark_http2(&mut self, unparked: Unparked) -> ConnectionTurn<S> {
        let ConnectionState::ParkedHttp2(parked) = std::mem::replace(&mut self.state, ConnectionState::Closed) else {
            return ConnectionTurn::Ended(None, End::new(Phase::Idle, Reason::Internal));
        };
        match unparked {
            Unparked::InUse => {
                let (client, stream, transfer) = parked.into_parts();
                ConnectionTurn::ConnectionState(self.session(client, stream, transfer))
            }
            Unparked::MakesRoom(making) => {
                self.making = Some(making);
                ConnectionTurn::Ended(Some(parked.into_parts().0), End::EVICTED)
            }
            Unparked::Dozes => {
                let (client, stream, session, until) = parked.doze();
                self.doze(client, stream, until, Some(session))
            }
        }
    }

    /// No requests are served on the connection any more.
    fn served_http2(&mut self, next: Http2Next) -> ConnectionTurn<S> {
        let ConnectionState::Http2(http2) = std::mem::replace(&mut self.state, ConnectionState::Closed) else {
            return ConnectionTurn::Ended(None, End::new(Phase::Idle, Reason::Internal));
        };
        if let Http2Next::Moves(place) = next {
            let hand_over = hand_over_session(self.thread.clone(), http2.into_open(), place);
            return ConnectionTurn::ConnectionState(ConnectionState::Busy(Box::pin(hand_over)));
        }
        if matches!(next, Http2Next::Rests) {
            return ConnectionTurn::ConnectionState(ConnectionState::ParkedHttp2(http2.park()));
        }
        let (client, stream) = http2.into_parts();
        match next {
            Http2Next::Moves(_) | Http2Next::Rests => {
                ConnectionTurn::Ended(Some(client), End::new(Phase::Idle, Reason::Internal))
            }
            Http2Next::Ends { end, linger: true } => {
                let linger = linger(self.thread.clone(), client, stream, end, lingering::PATIENT);
                ConnectionTurn::ConnectionState(ConnectionState::Busy(Box::pin(linger)))
            }
            Http2Next::Ends { end, linger: false } => ConnectionTurn::Ended(Some(client), end),
        }
    }
}

/// What was dormant is idle again, and a task.
impl<S: Service> Wake for ClientConnection<S> {
    fn woken(thread: Rc<Thread>, client: Box<Client>, stream: io::Result<Stream>, woken: Woken) {
        let Woken { listener, permit, until, session } = woken;
        let Ok(stream) = stream else {
            let end = End::new(Phase::Idle, Reason::Internal);
            return S::closed(&thread, client.origin.listener, Some(&client), end);
        };
        let mut connection = Self::closed(&thread, &client, Kind::Http(listener), permit);
        connection.state = match session {
            Some(session) => ConnectionState::ParkedHttp2(ParkedHttp2::woken(client, stream, session, until)),
            None => {
                let wait = IdleWait::woken(&client, until);
                ConnectionState::Idle(stream, client, wait)
            }
        };
        tokio::task::spawn_local(connection);
    }
}

impl<S: Service> Future for ClientConnection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.get_mut();
        // an exchange that panics ends its own connection and nothing else
        let (client, end) = match catch_unwind(AssertUnwindSafe(|| connection.poll_end(cx))) {
            Ok(polled) => match std::task::ready!(polled) {
                TaskEnd::Closed(client, end) => (client, end),
                TaskEnd::Dormant => return Poll::Ready(()),
            },
            Err(panic) => {
                connection.thread.panicked(&*panic);
                let end = match &mut connection.state {
                    ConnectionState::Http1(http1) => http1.panicked(),
                    ConnectionState::Http2(http2) => http2.panicked(),
                    ConnectionState::Idle(..) | ConnectionState::ParkedHttp2(_) | ConnectionState::Closed => {
                        End::new(Phase::Idle, Reason::Internal)
                    }
                    ConnectionState::Busy(_) => End::new(Phase::Tunnel, Reason::Internal),
                };
                (None, end)
            }
        };
        connection.state = ConnectionState::Closed;
        S::closed(&connection.thread, connection.index, client.as_deref(), end);
        Poll::Ready(())
    }
}

impl<S: Service> Unpin for ClientConnection<S> {}

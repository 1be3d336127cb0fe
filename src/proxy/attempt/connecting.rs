//! The opening of a connection to a server, which nothing else of an exchange waits beside.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::{ConnectFault, Failure};
use super::lent::Lent;
use super::{LOOK, PoolOf};
use crate::observe::record::Outcome;
use crate::proxy::client::before;
use crate::upstream::connect::{self, DialError, Faults, TlsError};
use crate::upstream::connection::Connection;

/// How long to wait when this machine had no descriptor or port for a connection: the kernel does not tell when there is
/// one.
const SHORTAGE: Duration = Duration::from_millis(20);

type Opening = Pin<Box<dyn Future<Output = Result<Box<Connection>, Faults<DialError>>>>>;

/// A connection that is being opened.
///
/// ```text
///   opening ──▶ open, or refused
///     ▲  │
///     │  └──this machine lacks a descriptor, port or memory──▶ short ──▶ given up at `connect_timeout`
///     └───────────────────────after a moment──────────────────────┘
/// ```
pub(super) struct Connecting {
    pool: PoolOf,
    server: usize,
    started: Instant,
    /// None while it waits for what the machine lacks.
    opening: Option<Opening>,
    /// What the machine lacked last; no server is to blame.
    shortage: Option<ConnectFault>,
    /// When it is tried again.
    again: Instant,
    timer: Lent,
    /// No retry follows.
    last: bool,
    /// What goes to the server before the request.
    header: Option<Rc<[u8]>>,
}

impl Connecting {
    pub(super) fn new(pool: PoolOf, server: usize, last: bool, header: Option<Vec<u8>>) -> Self {
        let now = Instant::now();
        let timer = Lent::after(&pool.thread, pool.settings.connect_timeout.min(LOOK));
        let header = header.map(Rc::from);
        let opening = (!pool.servers[server].scheme.is_http2()).then(|| open(&pool, server, header.clone()));
        Self { pool, server, started: now, opening, shortage: None, again: now, timer, last, header }
    }

    /// The same, for which another generation has waited so long already.
    pub(super) fn after(self, waited: Duration) -> Self {
        self.timer.set(self.pool.settings.connect_timeout.saturating_sub(waited).min(LOOK));
        Self { started: before(self.started, waited), ..self }
    }

    /// How long it has been waited for.
    pub(super) fn waited(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ready with the connection, or with why there is none. `take_idle` gives an idle connection that another exchange
    /// gave back, which does as well when there is no descriptor for a new one.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        take_idle: impl Fn() -> Option<Box<Connection>>,
    ) -> Poll<Result<Box<Connection>, Failure>> {
        loop {
            if let Poll::Ready(connection) = self.poll_shared(cx, &take_idle) {
                return Poll::Ready(Ok(connection));
            }
            if let Some(opening) = &mut self.opening
                && let Poll::Ready(opened) = opening.as_mut().poll(cx)
            {
                self.opening = None;
                match opened {
                    Ok(connection) => {
                        let after = self.pool.thread.runtime_config.config.worker.tcp_keep_alive;
                        let _ = connection.socket().map(|socket| socket.keep_alive(after)); // fails for one that is gone
                        return Poll::Ready(self.share(connection));
                    }
                    Err(faults) if !faults.is_empty() && connect::is_shortage(&faults) => self.is_short(faults),
                    Err(faults) => return Poll::Ready(Err(Failure::of_connecting(one_fault(faults)))),
                }
            }
            ready!(self.timer.poll_due(cx));
            if self.shortage.is_some() && self.again <= Instant::now() {
                if let Some(connection) = take_idle() {
                    return Poll::Ready(Ok(connection));
                }
                self.shortage = None;
                if !self.pool.servers[self.server].scheme.is_http2() {
                    self.opening = Some(open(&self.pool, self.server, self.header.clone()));
                }
            }
            let (timeout, waited) = (self.pool.settings.connect_timeout, self.started.elapsed());
            if waited >= timeout || !self.last && self.pool.has_trusted_instead_of(self.server) {
                return Poll::Ready(Err(self.gives_up()));
            }
            let mut pause = (timeout - waited).min(LOOK);
            if self.shortage.is_some() {
                pause = pause.min(SHORTAGE);
            }
            self.timer.set(pause);
        }
    }

    /// A place on a connection of HTTP/2, which another exchange may open. Opens one where none is being opened.
    fn poll_shared(
        &mut self,
        cx: &Context<'_>,
        take_idle: impl Fn() -> Option<Box<Connection>>,
    ) -> Poll<Box<Connection>> {
        let pool = &self.pool;
        if !pool.servers[self.server].scheme.is_http2() || self.opening.is_some() || self.shortage.is_some() {
            return Poll::Pending;
        }
        if let Some(hold) = pool.thread.stream_hold() {
            self.timer.set(hold);
            return Poll::Pending;
        }
        if let Some(connection) = take_idle() {
            return Poll::Ready(connection);
        }
        if let Some(shared) = pool.idle().shared(self.server)
            && !shared.is_opening(cx)
        {
            let (guard, opening) = (shared.begin(), open(pool, self.server, None));
            self.opening = Some(Box::pin(async move {
                let opened = opening.await;
                drop(guard);
                opened
            }));
        }
        Poll::Pending
    }

    /// A connection to a server of HTTP/2 was opened: from now on others share it.
    fn share(&self, opened: Box<Connection>) -> Result<Box<Connection>, Failure> {
        if !self.pool.servers[self.server].scheme.is_http2() {
            return Ok(opened);
        }
        let shared = self.pool.idle().share(&self.pool.thread.timer_wheel, self.server, opened);
        shared.ok_or_else(|| Failure::connect(Outcome::ConnectFailed))
    }

    fn is_short(&mut self, faults: Faults<DialError>) {
        if connect::lack_descriptors(&faults) {
            self.pool.thread.close_idle_upstream();
        }
        self.shortage = Some(one_fault(faults));
        self.again = Instant::now() + SHORTAGE;
        self.timer.set(SHORTAGE);
    }

    fn gives_up(&mut self) -> Failure {
        match self.shortage.take() {
            Some(fault) => Failure { shortage: true, ..Failure::of_connecting(fault) },
            None => Failure::connect(Outcome::ConnectTimeout),
        }
    }
}

fn open(pool: &PoolOf, server: usize, header: Option<Rc<[u8]>>) -> Opening {
    let pool = pool.clone();
    Box::pin(async move {
        let server = &pool.servers[server];
        let Some(addresses) = server.addresses() else {
            return Err(Faults::default()); // no balancer picks one that waits for DNS
        };
        connect::open(server, &addresses, pool.settings.connect_timeout, header.as_deref()).await
    })
}

/// What a connection failed of at every address, as one fault; the kind is that of the last one.
fn one_fault(mut faults: Faults<DialError>) -> ConnectFault {
    let outcome = match faults.last() {
        Some((_, DialError::Tls(TlsError::Untrusted(_)))) => Outcome::TlsUntrusted,
        Some((_, DialError::Tls(TlsError::Handshake(_)))) => Outcome::TlsFailed,
        Some((_, DialError::Socket(_))) | None => Outcome::ConnectFailed,
    };
    let cause: Box<dyn std::error::Error> = match (faults.pop(), faults.is_empty()) {
        (Some((_, DialError::Socket(last))), true) => last.into(),
        (Some((_, last)), true) => last.into(),
        (Some(last), false) => {
            faults.push(last);
            connect::joined(&faults, ToString::to_string).into()
        }
        (None, _) => io::Error::from(io::ErrorKind::NotFound).into(),
    };
    ConnectFault { outcome, cause }
}

//! Attempts: one try against one server, and when there is another.

mod asking;
mod lent;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use http::Version;
use smallvec::SmallVec;
use tokio::time::Instant;

pub(super) use self::asking::finish_upload;
use self::asking::{AskError, Asking, MayGo, expecting};
use self::lent::Lent;
use super::exchange::Exchange;
use super::fault::Fault;
use super::private::Found;
use super::thread::Thread;
use crate::http1::auth::Credentials;
use crate::http1::response::{Asked, ResponseHead};
use crate::net::Stream;
use crate::observe::WithCauses;
use crate::observe::record::Outcome;
use crate::pool::health::HealthState;
use crate::pool::{Addresses, Open, Pool, Server};
use crate::upstream::connect::{self, Faults};
use crate::upstream::connection::Connection;
use crate::upstream::idle::Wanted;
use crate::upstream::upload::Upload;

/// The first pause before the same server is tried again; each further one is as much longer.
const PAUSE: Duration = Duration::from_millis(200);

/// How long to wait when this machine had no descriptor or port for a connection: the kernel does not tell when there is
/// one.
const SHORTAGE: Duration = Duration::from_millis(20);

/// While a server is silent for longer than this, it is looked at whether it was found down, or is ejected.
const LOOK: Duration = Duration::from_secs(1);

/// A server answered.
pub(super) struct Answer {
    pub head: Box<ResponseHead>,
    pub connection: Box<Connection>,
    pub server: usize,
    /// What of the request body is still to be sent, when the server answered before it had all of it.
    pub upload: Option<Upload>,
    /// The client was not asked for the request body, and need not be any more.
    pub unasked: bool,
    /// The attempt counts as open for its server until the response is whole.
    pub open: Open<PoolOf>,
}

/// Why an attempt failed.
struct Failure {
    outcome: Outcome,
    cause: Option<Box<dyn std::error::Error>>,
    /// The server may have acted on the request.
    sent: Sent,
    /// This machine lacked something: no server is to blame.
    shortage: bool,
    /// The connection had been idle, since then: that it is gone, or that something else came over it than a response,
    /// says nothing about the server.
    stale: Option<Instant>,
}

/// What a server may have seen of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    Something,
}

/// The end of one attempt.
enum Ended {
    /// Perhaps another.
    Failed(Failure),
    /// The exchange is over: it is the client's fault.
    Client(Fault),
}

/// Sends the request to servers of the pool until one answers.
///
/// # Errors
/// When no server can be tried, when the last attempt failed or no further one is safe, and when the client failed to
/// send its body.
pub(super) async fn run(
    exchange: &mut Exchange,
    pool: usize,
    head: &[u8],
    upload: &mut Upload,
) -> Result<Answer, Fault> {
    let mut course = Course::new(exchange, pool);
    course.find_private(exchange)?;
    loop {
        let server = course.next()?;
        let open = Open::new(course.plan.clone(), server);
        let mut attempt = course.attempt(exchange, server);
        let failure = match attempt.run(head, upload).await {
            Ok((head, connection)) => {
                match connection.is_reused() {
                    true => course.plan.servers[server].passive.answered(),
                    false => course.connection_served(server),
                }
                return Ok(Answer { head, connection, server, upload: None, unasked: false, open });
            }
            Err(Ended::Client(fault)) => return Err(fault),
            Err(Ended::Failed(failure)) => failure,
        };
        course.connection_failed(server, &failure);
        if let Some(since) = failure.stale {
            course.closed_unasked(server, since);
        }
        let safe = is_safe(exchange, &failure, upload);
        course.go_on(exchange, server, failure, safe).await?;
        upload.rewind();
    }
}

/// Opens a connection to a server of the pool, for a tunnel.
///
/// # Errors
/// When no server can be tried, or the last attempt failed.
pub(super) async fn dial(exchange: &mut Exchange, pool: usize) -> Result<(Box<Connection>, Open<PoolOf>), Fault> {
    let mut course = Course::new(exchange, pool);
    course.fresh_only = true;
    loop {
        let server = course.next()?;
        let open = Open::new(course.plan.clone(), server);
        exchange.begin_attempt(server, course.began);
        let connected = course.attempt(exchange, server).connect().await;
        let now = Instant::now();
        exchange.end_attempt(connected.as_ref().map_or_else(|failure| failure.outcome, |_| Outcome::Responded), now);
        match connected {
            Ok(connection) => {
                exchange.connected(false, now);
                course.connection_served(server);
                return Ok((connection, open));
            }
            Err(failure) => {
                course.connection_failed(server, &failure);
                course.go_on(exchange, server, failure, true).await?;
            }
        }
    }
}

/// The attempts of one exchange: which server comes next, and whether one does.
struct Course {
    plan: PoolOf,
    tried: SmallVec<[u16; 4]>,
    retries: u32,
    /// The server of the next attempt, when that is known already.
    again: Option<usize>,
    /// The private connection of the client to that server.
    private: Option<Box<Connection>>,
    /// No idle connection is used any more.
    fresh_only: bool,
    /// When the attempt before failed; of the first one, when the exchange opened, since nothing waits before it.
    began: Instant,
}

impl Course {
    fn new(exchange: &Exchange, pool: usize) -> Self {
        let plan = PoolOf::new(&exchange.thread, pool);
        Self {
            plan,
            tried: SmallVec::new(),
            retries: 0,
            again: None,
            private: None,
            fresh_only: false,
            began: exchange.opened,
        }
    }

    /// The first attempt goes over the private connection of the client, if it has one to this pool.
    ///
    /// # Errors
    /// When that is gone and the request goes on with what was said on it.
    fn find_private(&mut self, exchange: &Exchange) -> Result<(), Fault> {
        let lost = match exchange.client.private.borrow_mut().take(self.plan.pool) {
            Found::Nothing => {
                self.fresh_only = answers_on_it(exchange); // it is not repeated when an idle one has ended
                return Ok(());
            }
            Found::Kept(server, connection) if answers_on_it(exchange) || !self.plan.has_better_than(server) => {
                self.again = Some(server);
                self.private = Some(connection);
                return Ok(());
            }
            Found::Kept(server, _) | Found::Lost(server) => server,
        };
        match answers_on_it(exchange) {
            true => Err(Fault::Handshake { server: self.plan.servers[lost].name.clone() }),
            false => Ok(()),
        }
    }

    /// The server of the next attempt.
    fn next(&mut self) -> Result<usize, Fault> {
        if let Some(server) = self.again.take() {
            return Ok(server);
        }
        self.pick().ok_or_else(|| Fault::NoServer { pool: self.plan.name.clone() })
    }

    fn pick(&self) -> Option<usize> {
        let PoolOf { thread, pool } = &self.plan;
        thread.pools[*pool].balancer.borrow_mut().pick(&self.plan, &self.tried)
    }

    fn attempt<'a>(&'a mut self, exchange: &'a mut Exchange, server: usize) -> Attempt<'a> {
        let last = self.retries >= self.plan.settings.retries;
        let private = self.private.take();
        Attempt { exchange, plan: &self.plan, server, private, began: self.began, fresh_only: self.fresh_only, last }
    }

    /// A connection to the server that was idle since `since` had ended.
    fn closed_unasked(&self, server: usize, since: Instant) {
        self.plan.thread.pools[self.plan.pool].idle.closed_unasked(server, since);
    }

    /// A new connection to the server did its work.
    fn connection_served(&self, server: usize) {
        if let Some(ejection) = self.plan.servers[server].passive.succeeded() {
            self.plan.thread.server_back(&self.plan, server, &ejection);
        }
    }

    /// An attempt failed: if that is the fault of a new connection, it speaks against the server.
    fn connection_failed(&self, server: usize, failure: &Failure) {
        let ejection = match (failure.outcome, &failure.cause) {
            _ if failure.shortage || failure.stale.is_some() => None,
            (Outcome::ConnectTimeout, _) => {
                let within = humantime::format_duration(self.plan.settings.connect_timeout);
                self.plan.connection_failed(server, &format!("no connection within {within}"), SystemTime::now())
            }
            (Outcome::ConnectFailed, Some(cause)) => {
                self.plan.connection_failed(server, &cause.to_string(), SystemTime::now())
            }
            (Outcome::Closed, _) => self.plan.connection_closed(server, SystemTime::now()),
            _ => None,
        };
        if let Some(ejection) = ejection {
            self.plan.thread.server_ejected(&self.plan, server, ejection);
        }
    }

    /// After a failure: returns when the next attempt may begin.
    ///
    /// # Errors
    /// When there is none, with the failure as the client is told it.
    async fn go_on(
        &mut self,
        exchange: &mut Exchange,
        server: usize,
        failure: Failure,
        safe: bool,
    ) -> Result<(), Fault> {
        let stale = failure.stale.is_some() && !self.fresh_only;
        if !safe || (!stale && self.retries >= self.plan.settings.retries) {
            if let Some(cause) = &failure.cause {
                exchange.explain(&WithCauses(&**cause));
            }
            if failure.outcome == Outcome::Closed && answers_on_it(exchange) {
                return Err(Fault::Handshake { server: self.plan.servers[server].name.clone() });
            }
            return Err(fault(&self.plan, server, failure.outcome));
        }
        self.fresh_only |= !failure.shortage; // that idle connections are fewer than requests says nothing against them
        if stale {
            self.again = Some(server); // an idle connection had ended: no failure of the server, so no retry
            self.began = Instant::now();
            return Ok(());
        }
        self.retries += 1;
        self.tried.push(server as u16);
        let Some(next) = self.pick() else { return Err(fault(&self.plan, server, failure.outcome)) };
        if self.tried.contains(&(next as u16)) {
            self.plan.thread.wheel.sleep(PAUSE * self.retries).await; // it needs a moment
        }
        self.again = Some(next);
        self.began = Instant::now();
        Ok(())
    }
}

/// Whether another attempt can do no harm: the server saw nothing, or the request may be repeated and its body can be
/// (RFC 9110 §9.2.2). A server that is slow is not asked twice.
fn is_safe(exchange: &Exchange, failure: &Failure, upload: &Upload) -> bool {
    match failure.outcome {
        Outcome::ConnectFailed | Outcome::ConnectTimeout => true,
        Outcome::Closed if failure.sent == Sent::Nothing => upload.can_replay() && !answers_on_it(exchange),
        Outcome::Closed | Outcome::WentDown => can_repeat(exchange, upload),
        Outcome::BadResponse if failure.stale.is_some() => can_repeat(exchange, upload),
        Outcome::Responded | Outcome::ResponseTimeout | Outcome::BadResponse | Outcome::Abandoned => false,
    }
}

/// Whether the credentials of the request answer what a server said on the connection that they go over: another one
/// cannot take them, and must not get them.
fn answers_on_it(exchange: &Exchange) -> bool {
    exchange.facts.credentials == Credentials::Answering
}

/// Whether the request may be sent again although a server may have acted on it.
fn can_repeat(exchange: &Exchange, upload: &Upload) -> bool {
    exchange.is_idempotent() && upload.can_replay() && !answers_on_it(exchange)
}

fn fault(pool: &Pool, server: usize, outcome: Outcome) -> Fault {
    let settings = &pool.settings;
    let timeout = if outcome == Outcome::ConnectTimeout { settings.connect_timeout } else { settings.response_timeout };
    Fault::Server { outcome, server: pool.servers[server].name.clone(), timeout }
}

/// One try against one server.
struct Attempt<'a> {
    exchange: &'a mut Exchange,
    plan: &'a PoolOf,
    server: usize,
    /// The connection to use.
    private: Option<Box<Connection>>,
    began: Instant,
    /// No idle connection is used.
    fresh_only: bool,
    /// No retry follows.
    last: bool,
}

impl Attempt<'_> {
    async fn run(&mut self, head: &[u8], upload: &mut Upload) -> Result<(Box<ResponseHead>, Box<Connection>), Ended> {
        self.exchange.begin_attempt(self.server, self.began);
        let answered = self.connect_and_ask(head, upload).await;
        let outcome = match &answered {
            Ok(_) => Outcome::Responded,
            Err(Ended::Failed(failure)) => failure.outcome,
            Err(Ended::Client(_)) => Outcome::Abandoned,
        };
        let now = Instant::now();
        self.exchange.end_attempt(outcome, now);
        if outcome == Outcome::Responded {
            self.exchange.responds(now);
        }
        answered
    }

    async fn connect_and_ask(
        &mut self,
        head: &[u8],
        upload: &mut Upload,
    ) -> Result<(Box<ResponseHead>, Box<Connection>), Ended> {
        let mut connection = self.connect().await.map_err(Ended::Failed)?;
        let reused = connection.is_reused();
        self.exchange.connected(reused, if reused { self.began } else { Instant::now() });
        let asks_first = self.asks_first(upload);
        let response = match asks_first {
            true => self.ask(&mut connection, &expecting(head), upload, asks_first).await?,
            false => self.ask(&mut connection, head, upload, asks_first).await?,
        };
        self.plan.thread.pools[self.plan.pool].idle.answered(self.server, response.version == Version::HTTP_10);
        if response.binds || self.exchange.facts.credentials != Credentials::Portable {
            connection.make_private();
            self.exchange.client.private.borrow_mut().begin(self.plan.pool, self.server);
        }
        Ok((response, connection))
    }

    /// Whether the server is to say if it wants the request body: the client waits for that, and the server can.
    fn asks_first(&self, upload: &Upload) -> bool {
        self.exchange.facts.expects_continue
            && !upload.is_asked_for()
            && !self.plan.thread.pools[self.plan.pool].idle.is_old(self.server)
    }

    /// The client's own connection, an idle one or a new one.
    async fn connect(&mut self) -> Result<Box<Connection>, Failure> {
        if let Some(private) = self.private.take() {
            return Ok(private);
        }
        if let Some(connection) = self.take_idle() {
            return Ok(connection);
        }
        let server = &self.plan.servers[self.server];
        let Some(addresses) = server.addresses() else {
            return Err(Failure::connect(Outcome::ConnectFailed, None)); // no balancer picks one that waits for DNS
        };
        let (alarm, timeout, started) =
            (Lent::new(&self.plan.thread), self.plan.settings.connect_timeout, Instant::now());
        alarm.set(timeout.min(LOOK));
        let shortage = Cell::new(None);
        let mut opening = pin!(self.open(server, &addresses, &shortage));
        let opened = poll_fn(|cx| {
            loop {
                if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                    return Poll::Ready(Some(opened));
                }
                ready!(alarm.poll_due(cx));
                let waited = started.elapsed();
                if waited >= timeout || !self.last && self.plan.has_trusted_instead_of(self.server) {
                    return Poll::Ready(None);
                }
                alarm.set((timeout - waited).min(LOOK));
            }
        });
        match (opened.await, shortage.take()) {
            (Some(Ok(connection)), _) => Ok(connection),
            (Some(Err(fault)), _) => Err(Failure::connect(Outcome::ConnectFailed, Some(fault))),
            (None, Some(fault)) => {
                Err(Failure { shortage: true, ..Failure::connect(Outcome::ConnectFailed, Some(fault)) })
            }
            (None, None) => Err(Failure::connect(Outcome::ConnectTimeout, None)),
        }
    }

    fn take_idle(&self) -> Option<Box<Connection>> {
        if self.fresh_only {
            return None;
        }
        let wanted = if self.exchange.is_repeatable() { Wanted::Any } else { Wanted::Fresh };
        let idle = &self.plan.thread.pools[self.plan.pool].idle;
        idle.take(self.server, &self.plan.servers[self.server], wanted, self.began)
    }

    /// Waits while this machine has no descriptor, port or memory for it, and leaves in `shortage` that it does: no
    /// server is to blame, and others end meanwhile.
    async fn open(
        &self,
        server: &Server,
        addresses: &Addresses<'_>,
        shortage: &Cell<Option<io::Error>>,
    ) -> io::Result<Box<Connection>> {
        loop {
            let opened = connect::open(server, addresses, self.plan.settings.connect_timeout).await;
            let faults = match opened {
                Ok(connection) => {
                    let after = self.plan.thread.plan.config.worker.tcp_keep_alive;
                    let _ = connection.stream().keep_alive(after); // fails for one that is gone again
                    return Ok(connection);
                }
                Err(faults) => faults,
            };
            if !connect::is_shortage(&faults) {
                return Err(one_fault(faults));
            }
            if connect::lack_descriptors(&faults) {
                self.plan.thread.close_idle_upstream();
            }
            shortage.set(Some(one_fault(faults)));
            self.plan.thread.wheel.sleep(SHORTAGE).await;
            if let Some(connection) = self.take_idle() {
                return Ok(connection); // what another exchange gave back will do as well
            }
            shortage.set(None);
        }
    }

    /// Sends the request and waits for the head of the final response.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        head: &[u8],
        upload: &mut Upload,
        asks_first: bool,
    ) -> Result<Box<ResponseHead>, Ended> {
        let alarm = Lent::new(&self.plan.thread);
        let stale = connection.idle_since();
        let mut asking = Asking {
            head,
            written: 0,
            body: if asks_first { MayGo::Waits(None) } else { MayGo::Now },
            server_refuses: false,
            asked: Asked { head: self.exchange.is_head(), upgrade: self.exchange.facts.upgrade },
            plan: self.plan,
            server: self.server,
            last: self.last,
            alarm: &alarm,
            informational: 0,
            since: None,
            met_leftovers: false,
        };
        connection.begin();
        let mut stuck = Stuck { stream: connection.stream().clone(), is_stuck: false };
        let answered = poll_fn(|cx| {
            let polled = asking.poll(cx, self.exchange, connection, upload);
            stuck.is_stuck = polled.is_pending() && self.exchange.client.holds_body();
            polled
        });
        let answered = answered.await;
        self.exchange.client.hold_body(false);
        answered.map_err(|error| match error {
            AskError::Client(fault) => Ended::Client(fault),
            AskError::Server(outcome, cause) => {
                let sent = if asking.written == 0 && !upload.is_started() { Sent::Nothing } else { Sent::Something };
                let stale = stale.filter(|_| outcome == Outcome::Closed || asking.met_leftovers);
                Ended::Failed(Failure { outcome, cause, sent, shortage: false, stale })
            }
        })
    }
}

/// A request that is dropped while its server takes no more of it: without a reset the kernel would keep for minutes
/// what it has of it.
struct Stuck {
    stream: Rc<Stream>,
    is_stuck: bool,
}

impl Drop for Stuck {
    fn drop(&mut self) {
        if self.is_stuck {
            let _ = self.stream.reset_on_close(); // fails for a server that is gone
        }
    }
}

/// A pool of the thread's plan: the plan is shared by all threads, the handle by nobody.
#[derive(Clone)]
pub(super) struct PoolOf {
    thread: Rc<Thread>,
    pool: usize,
}

impl PoolOf {
    /// The pool of this index.
    pub(super) fn new(thread: &Rc<Thread>, pool: usize) -> Self {
        Self { thread: thread.clone(), pool }
    }

    /// Whether the server went down or was ejected, and another one takes requests: a connection that is still not open
    /// is not worth the wait.
    fn has_trusted_instead_of(&self, server: usize) -> bool {
        let is_trusted = |server: &Server| server.health.is_up() && !server.passive.is_ejected() && server.weight > 0;
        !is_trusted(&self.servers[server]) && self.servers.iter().any(is_trusted)
    }

    /// Whether the server went down and another one is up.
    fn has_better_than(&self, server: usize) -> bool {
        self.servers[server].health.state() == HealthState::Down
            && self.servers.iter().any(|other| other.health.is_up())
    }
}

impl std::ops::Deref for PoolOf {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.thread.plan.pools[self.pool]
    }
}

impl Failure {
    fn connect(outcome: Outcome, cause: Option<io::Error>) -> Self {
        Self { outcome, cause: cause.map(Into::into), sent: Sent::Nothing, shortage: false, stale: None }
    }
}

/// What a connection failed of at every address, as one fault.
fn one_fault(mut faults: Faults<io::Error>) -> io::Error {
    match (faults.pop(), faults.is_empty()) {
        (Some((_, last)), true) => last,
        (Some(last), false) => {
            let kind = last.1.kind();
            faults.push(last);
            io::Error::new(kind, connect::told(&faults, ToString::to_string))
        }
        (None, _) => io::ErrorKind::NotFound.into(),
    }
}

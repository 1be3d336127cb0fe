//! Whether there is another attempt after one that failed, and against which server.

use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::connecting::Connecting;
use super::failure::{Failure, Sent};
use super::pool_of::PoolOf;
use crate::config::Balance;
use crate::message::auth::Credentials;
use crate::observe::WithCauses;
use crate::observe::record::{Outcome, Protocol};
use crate::pool::balance::Pick;
use crate::pool::{Open, Server};
use crate::proxy::exchange::Exchange;
use crate::proxy::fault::Fault;
use crate::proxy::private::{Found, Private};
use crate::upstream::connection::Connection;
use crate::upstream::idle::Wanted;
use crate::upstream::send_proxy;
use crate::upstream::upload::Upload;

/// The first pause before the same server is tried again; each further one is as much longer.
const PAUSE: Duration = Duration::from_millis(200);

/// The attempts of one exchange: which server comes next, and whether one does.
pub(super) struct RetryState {
    pub(super) pool: PoolOf,
    pub(super) tried: SmallVec<[u16; 4]>,
    pub(super) retries: u32,
    /// The server of the next attempt, when that is known already.
    pub(super) again: Option<usize>,
    /// The private connection of the client to that server.
    pub(super) private: Option<Box<Connection>>,
    /// No idle connection is used any more.
    pub(super) fresh_only: bool,
    /// When the attempt before failed; of the first one, when the exchange opened, since nothing waits before it.
    pub(super) began: Instant,
    /// Retries that the pool allows, and how long a server may be silent: of the configuration with which the exchange began.
    pub(super) most: u32,
    pub(super) timeout: Duration,
    /// How long another generation waited for the connection of the attempt.
    pub(super) waited: Duration,
}

impl RetryState {
    pub(super) fn new(exchange: &Exchange, pool: usize) -> Self {
        Self {
            pool: PoolOf::new(&exchange.thread, pool),
            tried: SmallVec::new(),
            retries: 0,
            again: None,
            private: None,
            fresh_only: false,
            began: exchange.opened,
            most: exchange.thread.runtime_config.pools[pool].settings.retries,
            timeout: exchange.thread.runtime_config.pools[pool].settings.response_timeout,
            waited: Duration::ZERO,
        }
    }

    /// The first attempt goes over the private connection of the client, if it has one to this pool.
    ///
    /// # Errors
    /// When that is gone and the request goes on with what was said on it.
    pub(super) fn find_private(&mut self, exchange: &Exchange, private: &mut Private) -> Result<(), Fault> {
        let lost = match private.take(self.pool.pool) {
            Found::Nothing => {
                self.fresh_only = answers_on_it(exchange); // it is not repeated when an idle one has ended
                return Ok(());
            }
            Found::Kept(server, connection) if answers_on_it(exchange) || self.may_keep(server) => {
                self.again = Some(server);
                self.private = Some(connection);
                return Ok(());
            }
            Found::Kept(server, _) | Found::Lost(server) => server,
        };
        match answers_on_it(exchange) {
            true => Err(Fault::Handshake { server: self.pool.servers[lost].name.clone() }),
            false => Ok(()),
        }
    }

    /// Whether a client goes on with the server at which it has authenticated its connection. One that is drained finishes with
    /// its clients; one in maintenance may be switched off.
    fn may_keep(&self, server: usize) -> bool {
        let one = &self.pool.servers[server];
        !one.is_removed() && !one.admin.is_in_maint() && !self.pool.has_better_than(server)
    }

    /// An attempt begins.
    ///
    /// # Errors
    /// When no server can be tried.
    pub(super) fn begin(&mut self, exchange: &mut Exchange) -> Result<(usize, Open<PoolOf>), Fault> {
        let again = self.again.take();
        let server = again.or_else(|| self.pick(exchange));
        let server = server.ok_or_else(|| Fault::NoServer { pool: self.pool.name.clone() })?;
        exchange.begin_attempt(server, self.began);
        exchange.debug(|| format!("server {} picked: {}", exchange.server_under_way(), self.why(again.is_some())));
        Ok((server, Open::new(self.pool.clone(), server)))
    }

    fn pick(&self, exchange: &Exchange) -> Option<usize> {
        let head = (exchange.protocol != Protocol::Tcp).then_some(&*exchange.head);
        let PoolOf { thread, pool } = &self.pool;
        let leaving = thread.leaving_servers(*pool);
        let by = Pick { head, client: exchange.origin.peer, tried: &self.tried, leaving: &leaving };
        thread.pools[*pool].balancer.borrow_mut().pick(&self.pool, &by)
    }

    /// Why the server of the attempt that begins was picked, in words.
    fn why(&self, known: bool) -> String {
        if self.private.is_some() {
            return "the client has authenticated its connection to it".to_owned();
        }
        let attempt = match self.retries {
            0 => "first attempt".to_owned(),
            retry => format!("retry {retry} of {}", self.most),
        };
        if known && self.retries == 0 {
            return format!("once more, because an idle connection had ended ({attempt})");
        }
        let is_open =
            |server: &&Server| server.health.is_up() && !server.passive.is_ejected() && server.admin.weight() > 0;
        let (open, all) = (self.pool.servers.iter().filter(is_open).count(), self.pool.configured().count());
        let policy = match self.pool.settings.balance {
            Balance::RoundRobin => "round-robin",
            Balance::LeastConnections => "least-connections",
        };
        format!("{policy}, {open} of {all} servers take requests ({attempt})")
    }

    /// How long a server may be silent, and whether no retry follows.
    pub(super) fn limits(&self) -> (Duration, bool) {
        (self.timeout, self.is_last())
    }

    /// No retry follows.
    fn is_last(&self) -> bool {
        self.retries >= self.most
    }

    /// The client's own connection, an idle one or a new one.
    pub(super) fn poll_connection(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        server: usize,
        connecting: &mut Option<Box<Connecting>>,
    ) -> Poll<Result<Box<Connection>, Failure>> {
        if let Some(private) = self.private.take() {
            return Poll::Ready(Ok(private));
        }
        let take_idle = || self.take_idle(exchange, server);
        if connecting.is_none() {
            let waits = self.pool.servers[server].scheme.is_http2() && self.pool.thread.stream_hold().is_some();
            if let Some(connection) = (!waits).then(take_idle).flatten() {
                return Poll::Ready(Ok(connection));
            }
            if self.pool.servers[server].addresses().is_none() {
                return Poll::Ready(Err(Failure::connect(Outcome::ConnectFailed)));
            }
        }
        let waited = self.waited; // none for the next server
        let new = || {
            let version = self.pool.settings.send_proxy;
            let header = version.map(|version| send_proxy::header(version, exchange.origin.proxied_client()));
            Box::new(Connecting::new(self.pool.clone(), server, self.is_last(), header).after(waited))
        };
        connecting.get_or_insert_with(new).poll(cx, take_idle)
    }

    fn take_idle(&self, exchange: &Exchange, server: usize) -> Option<Box<Connection>> {
        if self.fresh_only {
            return None;
        }
        let wanted = if exchange.is_repeatable() { Wanted::Any } else { Wanted::Fresh };
        self.pool.idle().take(server, &self.pool.servers[server], wanted, self.began)
    }

    /// A connection to the server that was idle since `since` had ended.
    pub(super) fn closed_unasked(&self, server: usize, since: Instant) {
        self.pool.idle().closed_unasked(server, since);
    }

    /// A new connection to the server did its work.
    pub(super) fn connection_served(&self, server: usize) {
        if let Some(ejection) = self.pool.servers[server].passive.succeeded() {
            self.pool.thread.server_back(&self.pool, server, &ejection);
        }
    }

    /// An attempt failed: if that is the fault of a new connection, it speaks against the server.
    pub(super) fn connection_failed(&self, server: usize, failure: &Failure) {
        let ejection = match (failure.outcome, &failure.cause) {
            _ if failure.shortage || failure.stale.is_some() || failure.of_stream => None,
            (Outcome::ConnectTimeout, _) => {
                let within = humantime::format_duration(self.pool.settings.connect_timeout);
                self.pool.connection_failed(server, &format!("no connection within {within}"), SystemTime::now())
            }
            (Outcome::ConnectFailed | Outcome::TlsFailed | Outcome::TlsUntrusted, Some(cause)) => {
                self.pool.connection_failed(server, &cause.to_string(), SystemTime::now())
            }
            (Outcome::Closed, _) => self.pool.connection_closed(server, SystemTime::now()),
            _ => None,
        };
        if let Some(ejection) = ejection {
            self.pool.thread.server_ejected(&self.pool, server, ejection);
        }
    }

    /// After a failure: chooses the server of the next attempt. Gives the pause before that attempt, if it needs one.
    ///
    /// # Errors
    /// When there is none, with the failure as the client is told it.
    pub(super) fn go_on(
        &mut self,
        exchange: &mut Exchange,
        server: usize,
        failure: Failure,
        safe: bool,
    ) -> Result<Option<Duration>, Fault> {
        let stale = failure.stale.is_some() && !self.fresh_only;
        if !safe || (!stale && self.is_last()) {
            if let Some(cause) = &failure.cause {
                exchange.explain(&WithCauses(&**cause));
            }
            if failure.outcome == Outcome::Closed && answers_on_it(exchange) {
                return Err(Fault::Handshake { server: self.pool.servers[server].name.clone() });
            }
            return Err(self.fault(server, failure.outcome));
        }
        self.waited = Duration::ZERO;
        self.fresh_only |= !failure.shortage; // that idle connections are fewer than requests says nothing against them
        self.began = Instant::now();
        if stale {
            // an idle connection had ended: no failure of the server, so no retry
            self.again = Some(server).filter(|server| !self.pool.servers[*server].is_removed());
            return Ok(None);
        }
        self.retries += 1;
        self.tried.push(server as u16);
        let Some(next) = self.pick(exchange) else { return Err(self.fault(server, failure.outcome)) };
        self.again = Some(next);
        Ok(self.tried.contains(&(next as u16)).then(|| PAUSE * self.retries)) // it needs a moment
    }

    pub(super) fn fault(&self, server: usize, outcome: Outcome) -> Fault {
        let connect_timeout = self.pool.settings.connect_timeout;
        let timeout = if outcome == Outcome::ConnectTimeout { connect_timeout } else { self.timeout };
        Fault::Server { outcome, server: self.pool.servers[server].name.clone(), timeout }
    }
}

/// Whether another attempt can do no harm: the server saw nothing, or the request may be repeated and its body can be
/// (RFC 9110 §9.2.2). A server that is slow is not asked twice.
pub(super) fn is_safe(exchange: &Exchange, failure: &Failure, upload: &Upload) -> bool {
    match failure.outcome {
        Outcome::ConnectFailed | Outcome::ConnectTimeout | Outcome::TlsFailed | Outcome::TlsUntrusted => true,
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
pub(super) fn can_repeat(exchange: &Exchange, upload: &Upload) -> bool {
    exchange.is_idempotent() && upload.can_replay() && !answers_on_it(exchange)
}

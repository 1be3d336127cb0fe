//! One request on its connection: it is sent, and the head of its response awaited. Plain data, but for the deadline.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::lent::Lent;
use super::retry::can_repeat;
use super::{LOOK, PoolOf};
use crate::handover::exchange::{SavedAsking, SavedGo};
use crate::http1::encode;
use crate::http1::response::{Asked, ResponseFault, ResponseHead};
use crate::message::body::{Demand, RequestBody};
use crate::message::upgrade;
use crate::net::Stream;
use crate::observe::end::Phase;
use crate::observe::record::Outcome;
use crate::proxy::client::before;
use crate::proxy::exchange::Exchange;
use crate::proxy::fault::Fault;
use crate::turn::Turns;
use crate::upstream::connection::Connection;
use crate::upstream::error::ResponseError;
use crate::upstream::upload::{Upload, UploadError, Waiting};

/// Bytes of informational responses that a server may send before the final one.
const MOST_INFORMATIONAL: usize = 256 * 1024;

/// How long a server that is asked whether it wants a request body may be silent: then the client is told to go on, and
/// most clients go on by themselves after that time.
const EXPECT: Duration = Duration::from_secs(1);

/// What a server is told in the place of the empty line, when it is to say whether it wants the body.
const EXPECTATION: &[u8] = b"expect: 100-continue\r\n\r\n";

/// The state of sending a request and waiting for its response.
pub(super) struct Asking {
    connection: InUse,
    server: usize,
    /// Bytes of the head that were written.
    written: usize,
    /// The head goes out with an `Expect`.
    expects: bool,
    /// Whether the body may follow.
    body: MayGo,
    /// The server takes no more of the request; it may have answered all the same.
    server_refuses: bool,
    asked: Asked,
    /// How long the server may be silent.
    timeout: Duration,
    /// No retry follows.
    last: bool,
    timer: Lent,
    /// Bytes of informational responses so far.
    informational: usize,
    /// Since when the server has been silent.
    since: Option<Instant>,
    /// What came first is no response: on a connection that was idle it is what the server said too much before.
    met_leftovers: bool,
}

/// Whether a request body may be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MayGo {
    Now,
    /// Once the server says `100 Continue`, or at this moment; none before the server has the head.
    Timeouts(Option<Instant>),
}

/// A head that the server sent, or that is to be sent in its name.
pub(super) enum Heard {
    /// 1xx other than 101, for the client.
    Interim(Box<ResponseHead>),
    /// The client may send the request body.
    Continue,
    /// The final response.
    Response(Box<ResponseHead>),
}

/// What the server has of the request, and what it is a part of.
pub(super) struct Sending<'a> {
    pub(super) head: &'a [u8],
    pub(super) upload: &'a mut Upload,
    pub(super) body: &'a mut dyn RequestBody,
    /// How much the client takes of what comes with the head of the response.
    pub(super) demand: Demand,
}

pub(super) enum AskError {
    Client(Fault),
    Server(Outcome, Option<Box<dyn std::error::Error>>),
}

impl Asking {
    pub(super) fn new(
        mut connection: Box<Connection>,
        pool: &PoolOf,
        server: usize,
        exchange: &Exchange,
        expects: bool,
        (timeout, last): (Duration, bool),
    ) -> Self {
        connection.begin();
        Self {
            connection: InUse::new(connection),
            server,
            written: 0,
            expects,
            body: if expects { MayGo::Timeouts(None) } else { MayGo::Now },
            server_refuses: false,
            asked: Asked { head: exchange.is_head(), upgrade: exchange.facts.upgrade, lenient: pool.settings.lenient },
            timeout,
            last,
            timer: Lent::new(&pool.thread),
            informational: 0,
            since: None,
            met_leftovers: false,
        }
    }

    /// Goes on with a request that another generation sent, or began to send, over this connection. `head` is what goes to
    /// the server.
    pub(super) fn resumed(
        mut connection: Box<Connection>,
        pool: &PoolOf,
        server: usize,
        exchange: &Exchange,
        saved: &SavedAsking,
        head: &[u8],
        (timeout, last): (Duration, bool),
    ) -> Self {
        let now = Instant::now();
        if let Some(idle) = saved.idle {
            connection.reuse(before(now, idle));
        }
        if saved.private {
            connection.make_private();
        }
        connection.set_tls_settings(saved.tls, &pool.servers[server]);
        let timer = Lent::new(&pool.thread);
        let until = |left: Duration| now + left.min(EXPECT);
        let body = match saved.go {
            SavedGo::Now => MayGo::Now,
            SavedGo::Asked => MayGo::Timeouts(None),
            SavedGo::Within(left) => MayGo::Timeouts(Some(until(left))),
        };
        let since = saved.silent.map(|silent| before(now, silent));
        match (body, since) {
            (MayGo::Timeouts(Some(until)), _) => timer.set_at(until),
            (_, Some(since)) => timer.set(timeout.saturating_sub(now - since).min(LOOK)),
            (_, None) => {}
        }
        let mut asking = Self {
            connection: InUse::new(connection),
            server,
            written: 0,
            expects: saved.expects,
            body,
            server_refuses: saved.refuses,
            asked: Asked { head: exchange.is_head(), upgrade: exchange.facts.upgrade, lenient: saved.lenient },
            timeout,
            last,
            timer,
            informational: saved.informational,
            since,
            met_leftovers: false,
        };
        asking.written = saved.written.min(asking.len(head));
        asking
    }

    /// What another generation goes on with, the connection to the server, and what was read from it. `private` when the
    /// connection belongs to the client connection whatever the server says on it.
    /// None for a stream of HTTP/2.
    pub(super) fn save(self, private: bool) -> Option<(SavedAsking, Stream, BytesMut)> {
        let Self { connection, written, expects, body, server_refuses: refuses, asked, .. } = self;
        let now = Instant::now();
        let go = match body {
            MayGo::Now => SavedGo::Now,
            MayGo::Timeouts(None) => SavedGo::Asked,
            MayGo::Timeouts(Some(until)) => SavedGo::Within(until.saturating_duration_since(now)),
        };
        let connection = connection.into_inner();
        let saved = SavedAsking {
            written,
            expects,
            go,
            refuses,
            lenient: asked.lenient,
            informational: self.informational,
            silent: self.since.map(|since| now.saturating_duration_since(since)),
            idle: connection.idle_since().map(|since| now.saturating_duration_since(since)),
            private: private || connection.is_private(),
            tls: connection.tls_settings(),
        };
        let (stream, unread) = connection.into_parts()?;
        Some((saved, stream, unread))
    }

    /// Whether a stream of HTTP/2 ended, and its connection goes on.
    pub(super) fn has_lost_stream_only(&self) -> bool {
        self.connection.has_lost_stream_only()
    }

    /// Whether the request is on a stream of HTTP/2.
    pub(super) fn is_stream(&self) -> bool {
        self.connection.is_stream()
    }

    /// The connection, once the server has answered on it.
    pub(super) fn into_connection(mut self) -> InUse {
        self.connection.is_stuck = false; // it was not for want of room that nothing more was sent
        self.connection
    }

    /// Whether a byte of the request was written.
    pub(super) fn has_sent(&self, upload: &Upload) -> bool {
        (self.written > 0 || upload.is_started()) && !self.connection.is_refused()
    }

    /// Since when the connection was idle before, if that may be why the attempt failed.
    pub(super) fn stale(&self, outcome: Outcome) -> Option<Instant> {
        self.connection.stale_since().filter(|_| outcome == Outcome::Closed || self.met_leftovers)
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pool: &PoolOf,
        exchange: &mut Exchange,
        sending: &mut Sending<'_>,
    ) -> Poll<Result<Heard, AskError>> {
        loop {
            let mut progress = false;
            let waiting = match self.poll_send_head(cx, sending.head, &mut progress) {
                Waiting::Nothing if self.server_refuses => Ok(Waiting::Nothing),
                Waiting::Nothing if self.body != MayGo::Now => Ok(Waiting::Server),
                Waiting::Nothing if exchange.waits_for_continue && !sending.upload.is_done() => {
                    (exchange.waits_for_continue, exchange.continued) = (false, true);
                    return Poll::Ready(Ok(Heard::Continue));
                }
                Waiting::Nothing => self.poll_send_body(cx, sending, &exchange.thread.turns, &mut progress),
                waiting => Ok(waiting),
            };
            exchange.bytes_in = sending.upload.received(); // whenever it ends, by whatever it is cut
            let waiting = waiting.map_err(|fault| AskError::Client(fault.into()))?;
            self.connection.is_stuck = waiting == Waiting::Server;
            if progress {
                self.since = Some(Instant::now());
            }
            if waiting == Waiting::Nothing && exchange.phase == Phase::Request {
                exchange.sent(self.since.unwrap_or_else(Instant::now));
            }
            let waited = self.body;
            match self.poll_head(cx, exchange, sending, &mut progress) {
                Poll::Ready(heard) => return Poll::Ready(heard),
                Poll::Pending if self.body != waited => {} // the server wants the body
                Poll::Pending if waiting == Waiting::Client => {
                    // while the client is the one to act, the server may be silent
                    self.since = None;
                    self.timer.off();
                    return Poll::Pending;
                }
                Poll::Pending if self.body != MayGo::Now && self.written == self.len(sending.head) => {
                    ready!(self.poll_go(cx));
                }
                Poll::Pending => {
                    let upload = &*sending.upload;
                    return self
                        .poll_patience(cx, pool, progress, |asking| !asking.last && can_repeat(exchange, upload));
                }
            }
        }
    }

    /// The head of the next response.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        sending: &Sending<'_>,
        progress: &mut bool,
    ) -> Poll<Result<Heard, AskError>> {
        loop {
            let head = match ready!(self.connection.poll_head(cx, self.asked, &exchange.thread.reads, sending.demand)) {
                Ok(head) => head,
                Err(error) => {
                    self.met_leftovers = matches!(error, ResponseError::Invalid(ResponseFault::StatusLine));
                    return Poll::Ready(Err(failed(error)));
                }
            };
            if head.informational {
                self.informational += head.len;
                if self.informational > MOST_INFORMATIONAL {
                    return Poll::Ready(Err(failed(ResponseFault::HeadTooLarge.into())));
                }
                self.since = Some(Instant::now());
                *progress = true;
                if head.status != StatusCode::CONTINUE {
                    return Poll::Ready(Ok(Heard::Interim(head)));
                }
                (self.body, exchange.waits_for_continue) = (MayGo::Now, false);
                if !std::mem::replace(&mut exchange.continued, true) {
                    return Poll::Ready(Ok(Heard::Interim(head)));
                }
                continue; // more of them say nothing more
            }
            let is_farewell = head.status == StatusCode::REQUEST_TIMEOUT && !head.keep_alive;
            if is_farewell && self.connection.is_reused() && can_repeat(exchange, sending.upload) {
                // it was sent to the connection while that was idle, and not to this request (RFC 9110 §15.5.9)
                return Poll::Ready(Err(AskError::Server(Outcome::Closed, None)));
            }
            if head.upgraded && !switches_as_asked(exchange, &head) {
                return Poll::Ready(Err(failed(ResponseFault::UpgradeToOther.into())));
            }
            return Poll::Ready(Ok(Heard::Response(head)));
        }
    }

    /// Ready when the server was silent for long enough.
    fn poll_go(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.body == MayGo::Timeouts(None) {
            let until = Instant::now() + EXPECT;
            self.body = MayGo::Timeouts(Some(until));
            self.timer.set_at(until);
        }
        ready!(self.timer.poll_due(cx));
        self.body = MayGo::Now;
        self.since = Some(Instant::now());
        Poll::Ready(())
    }

    fn poll_send_head(&mut self, cx: &mut Context<'_>, head: &[u8], progress: &mut bool) -> Waiting {
        while !self.server_refuses && self.written < self.len(head) {
            match self.poll_write_rest(cx, head) {
                Poll::Ready(Ok(written)) => {
                    self.written += written;
                    *progress = true;
                }
                Poll::Ready(Err(_)) => self.server_refuses = true,
                Poll::Pending => return Waiting::Server,
            }
        }
        Waiting::Nothing
    }

    fn poll_write_rest(&mut self, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        let rest = rest(head, self.written, self.expects);
        self.connection.poll_write_head(cx, rest)
    }

    fn poll_send_body(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut Sending<'_>,
        turns: &Turns,
        progress: &mut bool,
    ) -> Result<Waiting, UploadError> {
        match sending.upload.poll_send(cx, sending.body, &mut self.connection, turns, progress) {
            Err(UploadError::Server(_)) => {
                self.server_refuses = true;
                Ok(Waiting::Nothing)
            }
            other => other,
        }
    }

    /// Bytes of the head as this server gets it.
    fn len(&self, head: &[u8]) -> usize {
        if self.expects { head.len() - encode::END.len() + EXPECTATION.len() } else { head.len() }
    }

    /// The server may be silent for as long as its timeout; less, when its checks find it down meanwhile and the
    /// request can go elsewhere.
    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        pool: &PoolOf,
        progress: bool,
        can_go: impl Fn(&Self) -> bool,
    ) -> Poll<Result<Heard, AskError>> {
        let timeout = self.timeout;
        if progress || self.since.is_none() {
            self.timer.set_at(*self.since.get_or_insert_with(Instant::now) + timeout.min(LOOK));
            self.timer.watch(cx); // it was set a moment ago: it is not due
            return Poll::Pending;
        }
        loop {
            ready!(self.timer.poll_due(cx));
            let silent = self.since.map_or(timeout, |since| since.elapsed());
            if silent >= timeout {
                return Poll::Ready(Err(AskError::Server(Outcome::ResponseTimeout, None)));
            }
            if pool.has_better_than(self.server) && can_go(self) {
                return Poll::Ready(Err(AskError::Server(Outcome::WentDown, None)));
            }
            self.timer.set((timeout - silent).min(LOOK));
        }
    }
}

/// What is left to be written of a head, or the first part of that.
fn rest(head: &[u8], written: usize, expects: bool) -> &[u8] {
    let fields = head.len() - encode::END.len();
    match written.checked_sub(fields) {
        _ if !expects => &head[written..],
        None => &head[written..fields],
        Some(written) => &EXPECTATION[written..],
    }
}

/// A connection to a server on which a request is open.
///
/// When it is dropped while the server takes no more of the request, it ends with a reset: the kernel would keep for
/// minutes what it has of the request.
pub(in crate::proxy) struct InUse {
    connection: Option<Box<Connection>>,
    /// The server took nothing more of the request when that was last tried.
    pub(in crate::proxy) is_stuck: bool,
}

impl InUse {
    pub(in crate::proxy) fn new(connection: Box<Connection>) -> Self {
        Self { connection: Some(connection), is_stuck: false }
    }

    /// The connection, on which no request is open any more.
    pub(in crate::proxy) fn into_inner(mut self) -> Box<Connection> {
        self.connection.take().expect("there until the drop")
    }
}

impl std::ops::Deref for InUse {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_deref().expect("there until the drop")
    }
}

impl std::ops::DerefMut for InUse {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_deref_mut().expect("there until the drop")
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.as_ref().filter(|_| self.is_stuck) {
            let _ = connection.socket().map(Stream::reset_on_close); // fails for a server that is gone
        }
    }
}

fn failed(error: ResponseError) -> AskError {
    let outcome = if error.is_invalid() { Outcome::BadResponse } else { Outcome::Closed };
    AskError::Server(outcome, Some(Box::new(error)))
}

/// Whether the server switches to nothing but what the client offered.
fn switches_as_asked(exchange: &Exchange, head: &ResponseHead) -> bool {
    let offered: SmallVec<[&[u8]; 4]> = exchange.head.upgrades().flat_map(upgrade::offers).collect();
    head.upgrades().all(|chosen| upgrade::is_offered(chosen, offered.iter().copied()))
}

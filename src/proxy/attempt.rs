//! The attempts of one exchange: one try against one server, and whether there is another. Plain data, but for the
//! deadlines and a connection that is being opened.

mod asking;
mod connecting;
mod failure;
mod lent;
mod pool_of;
mod retry;
mod saved;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use tokio::time::Instant;

pub(super) use self::asking::InUse;
use self::asking::{AskError, Asking, Heard, Sending};
use self::connecting::Connecting;
use self::failure::{Failure, Sent};
pub(super) use self::lent::Lent;
pub(super) use self::pool_of::PoolOf;
use self::retry::{RetryState, is_safe};
pub(super) use self::saved::{SavedDispatch, SavedStep};
use super::client_side::ClientSide;
use super::exchange::Exchange;
use super::fault::Fault;
use super::private::Private;
use crate::http1::request::Framing;
use crate::http1::response::ResponseHead;
use crate::message::auth::Credentials;
use crate::message::body::Demand;
use crate::observe::record::Outcome;
use crate::observe::{Took, WithCauses};
use crate::pool::Open;
use crate::upstream::connection::Connection;
use crate::upstream::upload::{Upload, UploadError, Waiting};

/// From one look at the health of a server to the next, while its connection or response is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// A server answered.
pub(super) struct Answer {
    pub head: Box<ResponseHead>,
    pub connection: InUse,
    pub server: usize,
    /// The attempt counts as open for its server until the response is whole.
    pub open: Open<PoolOf>,
}

/// A connection to a server, for a tunnel, and the attempt that counts for its server.
type Dialled = (Box<Connection>, Open<PoolOf>);

/// A server that an attempt has reached.
struct Reached {
    server: usize,
    open: Open<PoolOf>,
    connection: Box<Connection>,
}

/// What an attempt gives for the client.
pub(super) enum Dispatched {
    /// An informational response; others follow.
    Interim(Box<ResponseHead>),
    /// The client may send the body of the request; a response follows.
    Continue,
    /// The final response.
    Answer(Answer),
}

/// Where the attempts of an exchange are.
///
/// ```text
///   Next ──▶ Connect ──▶ Ask ──response──▶ Done
///    ▲          │         │  └─101─▶ Finish ──the body is sent──▶ Done
///    │          └─failed──┤
///    ├──────another───────┤
///    └── Pause ◀──the same┘
/// ```
enum DispatchStep {
    Next,
    Pause(Lent),
    Connect {
        server: usize,
        open: Open<PoolOf>,
        connecting: Option<Box<Connecting>>,
    },
    Ask {
        open: Open<PoolOf>,
        server: usize,
        asking: Asking,
    },
    /// The server switches protocols: what comes after the request body is of the other protocol (RFC 9110 §7.8).
    Finish {
        answer: Answer,
        timer: Lent,
    },
    Done,
}

/// The attempts of one exchange.
pub(super) struct Dispatch {
    course: RetryState,
    /// The head of the request, as servers get it.
    head: Vec<u8>,
    /// The body of the request. What is left of it once a server has answered is the relay's.
    pub(super) upload: Upload,
    step: DispatchStep,
}

impl Dispatch {
    /// The attempts to send a request to servers of the pool.
    pub(super) fn new(exchange: &Exchange, pool: usize, head: Vec<u8>, upload: Upload) -> Self {
        Self { course: RetryState::new(exchange, pool), head, upload, step: DispatchStep::Next }
    }

    /// The attempts to open a connection to a server of the pool, for a tunnel.
    pub(super) fn dialling(exchange: &Exchange, pool: usize) -> Self {
        Self::new(exchange, pool, Vec::new(), Upload::new(Framing::None, 0))
    }

    /// The first attempt goes over the private connection of the client, if it has one to this pool.
    ///
    /// # Errors
    /// When that is gone and the request goes on with what was said on it.
    pub(super) fn find_private(&mut self, exchange: &Exchange, private: &mut Private) -> Result<(), Fault> {
        self.course.find_private(exchange, private)
    }

    /// Sends the request to servers of the pool until one answers. The head buffer is given back when all is done.
    ///
    /// # Errors
    /// When no server can be tried, when the last attempt failed or no further one is safe, and when the client failed
    /// to send its body.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        side: &mut ClientSide<'_>,
    ) -> Poll<Result<Dispatched, Fault>> {
        loop {
            match &mut self.step {
                DispatchStep::Next | DispatchStep::Pause(_) | DispatchStep::Connect { .. } => {
                    let connected = ready!(self.poll_connected(cx, exchange))?;
                    self.step = self.asks(exchange, connected);
                }
                DispatchStep::Ask { asking, .. } => {
                    let mut sending = Sending {
                        head: &self.head,
                        upload: &mut self.upload,
                        body: &mut *side.body,
                        demand: side.room.unwrap_or(Demand::Little),
                    };
                    match ready!(asking.poll(cx, &self.course.pool, exchange, &mut sending)) {
                        Ok(Heard::Interim(head)) => return Poll::Ready(Ok(Dispatched::Interim(head))),
                        Ok(Heard::Continue) => return Poll::Ready(Ok(Dispatched::Continue)),
                        Ok(Heard::Response(head)) => {
                            let answer = self.answered(exchange, side.private, head)?;
                            if !answer.head.upgraded {
                                return Poll::Ready(Ok(Dispatched::Answer(answer)));
                            }
                            let timer = Lent::after(&exchange.thread, self.course.timeout);
                            self.step = DispatchStep::Finish { answer, timer };
                        }
                        Err(AskError::Client(fault)) => {
                            exchange.end_attempt(Outcome::Abandoned, Instant::now());
                            return Poll::Ready(Err(fault));
                        }
                        Err(AskError::Server(outcome, cause)) => self.ask_failed(exchange, outcome, cause)?,
                    }
                }
                DispatchStep::Finish { .. } => return self.poll_finish(cx, exchange, side).map_ok(Dispatched::Answer),
                DispatchStep::Done => return Poll::Ready(Err(Fault::Internal("an exchange was polled after its end"))),
            }
        }
    }

    /// Opens a connection to a server of the pool, for a tunnel.
    ///
    /// # Errors
    /// When no server can be tried, or the last attempt failed.
    pub(super) fn poll_dial(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) -> Poll<Result<Dialled, Fault>> {
        self.course.fresh_only = true;
        let Reached { server, open, connection } = ready!(self.poll_connected(cx, exchange))?;
        let now = Instant::now();
        exchange.end_attempt(Outcome::Responded, now);
        exchange.connected(false, now);
        exchange.debug(|| format!("connection to the server opened in {}", Took(self.course.began.elapsed())));
        self.course.connection_served(server);
        Poll::Ready(Ok((connection, open)))
    }

    /// How long a server may be silent.
    pub(super) fn timeout(&self) -> Duration {
        self.course.timeout
    }

    /// Takes the head buffer back.
    pub(super) fn take_head(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    /// A connection to a server: attempts begin, wait and fail until there is one.
    ///
    /// # Errors
    /// When no server can be tried, or the last attempt failed.
    fn poll_connected(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) -> Poll<Result<Reached, Fault>> {
        loop {
            match std::mem::replace(&mut self.step, DispatchStep::Done) {
                DispatchStep::Next => {
                    let (server, open) = self.course.begin(exchange)?;
                    self.step = DispatchStep::Connect { server, open, connecting: None };
                }
                DispatchStep::Pause(timer) => {
                    if timer.poll_due(cx).is_pending() {
                        self.step = DispatchStep::Pause(timer);
                        return Poll::Pending;
                    }
                    self.course.began = Instant::now();
                    self.step = DispatchStep::Next;
                }
                DispatchStep::Connect { server, open, mut connecting } => {
                    let polled = self.course.poll_connection(cx, exchange, server, &mut connecting);
                    if let Poll::Ready(Ok(connection)) = polled {
                        return Poll::Ready(Ok(Reached { server, open, connection }));
                    }
                    self.step = DispatchStep::Connect { server, open, connecting };
                    if let Err(failure) = ready!(polled) {
                        self.failed(exchange, server, failure, true)?;
                    }
                }
                DispatchStep::Ask { .. } | DispatchStep::Finish { .. } | DispatchStep::Done => {
                    return Poll::Ready(Err(Fault::Internal("a connection was asked for twice")));
                }
            }
        }
    }

    /// The request goes over this connection.
    fn asks(&self, exchange: &mut Exchange, connected: Reached) -> DispatchStep {
        let Reached { server, open, connection } = connected;
        let reused = connection.is_reused();
        exchange.connected(reused, if reused { self.course.began } else { Instant::now() });
        exchange.debug(|| match connection.idle_since() {
            Some(since) => format!("connection to the server reused, idle for {}", Took(since.elapsed())),
            None => format!("connection to the server opened in {}", Took(self.course.began.elapsed())),
        });
        let pool = &self.course.pool;
        // the server says whether it wants the request body: the client waits for that, and the server can
        let expects = exchange.waits_for_continue && !pool.idle().is_old(server);
        let asking = Asking::new(connection, pool, server, exchange, expects, self.course.limits());
        DispatchStep::Ask { open, server, asking }
    }

    /// The server of the attempt answered.
    fn answered(
        &mut self,
        exchange: &mut Exchange,
        private: &mut Private,
        head: Box<ResponseHead>,
    ) -> Result<Answer, Fault> {
        let DispatchStep::Ask { open, server, asking } = std::mem::replace(&mut self.step, DispatchStep::Done) else {
            return Err(Fault::Internal("a response came that was not asked for"));
        };
        let mut connection = asking.into_connection();
        let pool = &self.course.pool;
        pool.idle().answered(server, head.version == Version::HTTP_10);
        let tells = pool.settings.send_proxy.is_some(); // of this client, and of no other one
        let binds = tells || head.binds || exchange.facts.credentials != Credentials::Portable;
        if binds && !connection.is_stream() {
            connection.make_private();
            private.begin(pool.pool, server);
        }
        let now = Instant::now();
        exchange.responds(now);
        match connection.is_reused() {
            true => pool.servers[server].passive.answered(),
            false => self.course.connection_served(server),
        }
        Ok(Answer { head, connection, server, open })
    }

    fn ask_failed(
        &mut self,
        exchange: &mut Exchange,
        outcome: Outcome,
        cause: Option<Box<dyn std::error::Error>>,
    ) -> Result<(), Fault> {
        let DispatchStep::Ask { server, asking, .. } = &self.step else { return Ok(()) };
        let sent = if asking.has_sent(&self.upload) { Sent::Something } else { Sent::Nothing };
        let (stale, of_stream) = (asking.stale(outcome), asking.has_lost_stream_only());
        let failure = Failure { outcome, cause, sent, shortage: false, stale, of_stream };
        let server = *server;
        let safe = is_safe(exchange, &failure, &self.upload);
        self.failed(exchange, server, failure, safe)
    }

    /// An attempt failed: the next one begins, at once or after a pause.
    ///
    /// # Errors
    /// When there is none, with the failure as the client is told it.
    fn failed(&mut self, exchange: &mut Exchange, server: usize, failure: Failure, safe: bool) -> Result<(), Fault> {
        // the attempt counts for its server until the next one is chosen
        let _failed = std::mem::replace(&mut self.step, DispatchStep::Next);
        exchange.end_attempt(failure.outcome, Instant::now());
        exchange.debug(|| {
            let cause = failure.cause.as_ref().map(|cause| format!(" ({})", WithCauses(&**cause))).unwrap_or_default();
            let may = if safe { "may go to a server again" } else { "must not go to a server again" };
            format!("attempt failed: {}{cause}; the request {may}", failure.outcome.as_str())
        });
        self.course.connection_failed(server, &failure);
        if let Some(since) = failure.stale {
            self.course.closed_unasked(server, since);
        }
        if let Some(time) = self.course.go_on(exchange, server, failure, safe)? {
            exchange.debug(|| format!("no other server: the same one is tried again after {}", Took(time)));
            self.step = DispatchStep::Pause(Lent::after(&exchange.thread, time));
        }
        self.upload.rewind();
        Ok(())
    }

    /// Sends what is left of the request body to a server that switches protocols.
    ///
    /// # Errors
    /// When the client does not send it whole, or the server does not take it.
    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        side: &mut ClientSide<'_>,
    ) -> Poll<Result<Answer, Fault>> {
        let DispatchStep::Finish { answer, timer } = &mut self.step else {
            return Poll::Ready(Err(Fault::Internal("a request was finished twice")));
        };
        let mut progress = false;
        let waiting =
            self.upload.poll_send(cx, side.body, &mut answer.connection, &exchange.thread.turns, &mut progress);
        exchange.bytes_in = self.upload.received();
        answer.connection.is_stuck = matches!(waiting, Ok(Waiting::Server));
        match waiting {
            Ok(Waiting::Nothing) => {
                return match std::mem::replace(&mut self.step, DispatchStep::Done) {
                    DispatchStep::Finish { answer, .. } => Poll::Ready(Ok(answer)),
                    _ => Poll::Ready(Err(Fault::Internal("a request was finished twice"))),
                };
            }
            Err(UploadError::Server(_)) => return Poll::Ready(Err(self.course.fault(answer.server, Outcome::Closed))),
            Err(error) => return Poll::Ready(Err(error.into())),
            Ok(Waiting::Client) => timer.off(), // it has a deadline of its own
            Ok(Waiting::Server) if progress => timer.set(self.course.timeout),
            Ok(Waiting::Server) => {}
        }
        timer.poll_due(cx).map(|()| Err(self.course.fault(answer.server, Outcome::ResponseTimeout)))
    }
}

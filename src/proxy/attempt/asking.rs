//! One request on its connection: it is sent, and the head of its response awaited.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::lent::Lent;
use super::{Answer, LOOK, PoolOf, can_repeat, fault};
use crate::http1::encode;
use crate::http1::response::{Asked, ResponseFault, ResponseHead};
use crate::http1::upgrade;
use crate::observe::record::{Outcome, Phase};
use crate::proxy::exchange::Exchange;
use crate::proxy::fault::Fault;
use crate::upstream::connection::{Connection, ResponseError};
use crate::upstream::upload::{Upload, UploadError, Waiting};
use crate::wheel::Alarm;

/// Bytes of informational responses that a server may send before the final one.
const MOST_INFORMATIONAL: usize = 256 * 1024;

/// How long a server that is asked whether it wants a request body may be silent: then the client is told to go on, and
/// most clients go on by themselves after that time.
const EXPECT: Duration = Duration::from_secs(1);

/// The state of sending a request and waiting for its response.
pub(super) struct Asking<'a> {
    pub(super) head: &'a [u8],
    pub(super) written: usize,
    /// Whether the body may follow.
    pub(super) body: MayGo,
    /// The server takes no more of the request; it may have answered all the same.
    pub(super) server_refuses: bool,
    pub(super) asked: Asked,
    pub(super) plan: &'a PoolOf,
    pub(super) server: usize,
    /// No retry follows.
    pub(super) last: bool,
    pub(super) alarm: &'a Alarm,
    /// Bytes of informational responses so far.
    pub(super) informational: usize,
    /// Since when the server has been silent.
    pub(super) since: Option<Instant>,
    /// What came first is no response: on a connection that was idle it is what the server said too much before.
    pub(super) met_leftovers: bool,
}

/// Whether a request body may be sent. Polled for it, hyper tells the client to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MayGo {
    Now,
    /// Once the server says `100 Continue`, or at this moment; none before the server has the head.
    Waits(Option<Instant>),
}

pub(super) enum AskError {
    Client(Fault),
    Server(Outcome, Option<Box<dyn std::error::Error>>),
}

impl Asking<'_> {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        connection: &mut Connection,
        upload: &mut Upload,
    ) -> Poll<Result<Box<ResponseHead>, AskError>> {
        loop {
            let mut progress = false;
            let waiting = self.poll_send(cx, connection, upload, &mut progress);
            exchange.bytes_in = upload.received(); // whenever it ends, by whatever it is cut
            let waiting = waiting.map_err(|fault| AskError::Client(fault.into()))?;
            exchange.client.hold_body(waiting == Waiting::Server);
            exchange.client.note_server_room(upload.has_room());
            if progress {
                self.since = Some(Instant::now());
            }
            if waiting == Waiting::Nothing && exchange.phase == Phase::Request {
                exchange.sent(self.since.unwrap_or_else(Instant::now));
            }
            let waited = self.body;
            match self.poll_head(cx, exchange, connection, upload, &mut progress) {
                Poll::Ready(answered) => return Poll::Ready(answered),
                Poll::Pending if self.body != waited => {} // the server wants the body
                Poll::Pending if waiting == Waiting::Client => {
                    // while the client is the one to act, the server may be silent
                    self.since = None;
                    self.alarm.off();
                    return Poll::Pending;
                }
                Poll::Pending if self.body != MayGo::Now && self.written == self.head.len() => {
                    ready!(self.poll_go(cx));
                }
                Poll::Pending => {
                    return self.poll_patience(cx, progress, |asking| !asking.last && can_repeat(exchange, upload));
                }
            }
        }
    }

    /// The head of the final response. Informational ones end here: hyper cannot pass them on (see docs/decisions), but
    /// that it tells the client to go on.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        connection: &mut Connection,
        upload: &Upload,
        progress: &mut bool,
    ) -> Poll<Result<Box<ResponseHead>, AskError>> {
        loop {
            let head = match ready!(connection.poll_head(cx, self.asked, &exchange.thread.reads)) {
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
                if head.status == StatusCode::CONTINUE {
                    self.body = MayGo::Now;
                }
                self.since = Some(Instant::now());
                *progress = true;
                continue;
            }
            let is_farewell = head.status == StatusCode::REQUEST_TIMEOUT && !head.keep_alive && connection.is_reused();
            if is_farewell && can_repeat(exchange, upload) {
                // it was sent to the connection while that was idle, and not to this request (RFC 9110 §15.5.9)
                return Poll::Ready(Err(AskError::Server(Outcome::Closed, None)));
            }
            if head.upgraded && !switches_as_asked(exchange, &head) {
                return Poll::Ready(Err(failed(ResponseFault::UpgradeToOther.into())));
            }
            return Poll::Ready(Ok(head));
        }
    }

    /// Ready when the server was silent for long enough.
    fn poll_go(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.body == MayGo::Waits(None) {
            let until = Instant::now() + EXPECT;
            self.body = MayGo::Waits(Some(until));
            self.alarm.set_at(until);
        }
        ready!(self.alarm.poll_due(cx));
        self.body = MayGo::Now;
        self.since = Some(Instant::now());
        Poll::Ready(())
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection,
        upload: &mut Upload,
        progress: &mut bool,
    ) -> Result<Waiting, UploadError> {
        if self.server_refuses {
            return Ok(Waiting::Nothing);
        }
        while self.written < self.head.len() {
            match connection.stream().poll_write_some(cx, &self.head[self.written..]) {
                Poll::Ready(Ok(written)) => {
                    self.written += written;
                    *progress = true;
                }
                Poll::Ready(Err(_)) => {
                    self.server_refuses = true;
                    return Ok(Waiting::Nothing);
                }
                Poll::Pending => return Ok(Waiting::Server),
            }
        }
        if self.body != MayGo::Now {
            return Ok(Waiting::Server);
        }
        match upload.poll_send(cx, connection.stream(), progress) {
            Err(UploadError::Server(_)) => {
                self.server_refuses = true;
                Ok(Waiting::Nothing)
            }
            other => other,
        }
    }

    /// The server may be silent for as long as its timeout; less, when its checks find it down meanwhile and the
    /// request can go elsewhere.
    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        progress: bool,
        can_go: impl Fn(&Self) -> bool,
    ) -> Poll<Result<Box<ResponseHead>, AskError>> {
        let timeout = self.plan.settings.response_timeout;
        if progress || self.since.is_none() {
            self.alarm.set_at(*self.since.get_or_insert_with(Instant::now) + timeout.min(LOOK));
            self.alarm.watch(cx); // it was set a moment ago: it is not due
            return Poll::Pending;
        }
        loop {
            ready!(self.alarm.poll_due(cx));
            let silent = self.since.map_or(timeout, |since| since.elapsed());
            if silent >= timeout {
                return Poll::Ready(Err(AskError::Server(Outcome::ResponseTimeout, None)));
            }
            if self.plan.has_better_than(self.server) && can_go(self) {
                return Poll::Ready(Err(AskError::Server(Outcome::WentDown, None)));
            }
            self.alarm.set((timeout - silent).min(LOOK));
        }
    }
}

/// The head of a request, of which the server is to say whether it wants the body.
pub(super) fn expecting(head: &[u8]) -> Vec<u8> {
    let fields = head.strip_suffix(encode::END).unwrap_or(head);
    [fields, b"expect: 100-continue\r\n", encode::END].concat()
}

fn failed(error: ResponseError) -> AskError {
    let outcome = match &error {
        ResponseError::Closed | ResponseError::Io(_) => Outcome::Closed,
        ResponseError::Invalid(_) | ResponseError::Chunk(_) => Outcome::BadResponse,
    };
    AskError::Server(outcome, Some(Box::new(error)))
}

/// Whether the server switches to nothing but what the client offered.
fn switches_as_asked(exchange: &Exchange, head: &ResponseHead) -> bool {
    let offered: SmallVec<[&[u8]; 4]> = exchange.head.upgrades().flat_map(upgrade::offers).collect();
    head.upgrades().all(|chosen| upgrade::is_offered(chosen, offered.iter().copied()))
}

/// Sends what is left of the request body to a server that switches protocols: what comes after it is of the other
/// protocol (RFC 9110 §7.8).
///
/// # Errors
/// When the client does not send it whole, or the server does not take it.
pub(in crate::proxy) async fn finish_upload(
    exchange: &mut Exchange,
    pool: usize,
    answer: &Answer,
    upload: &mut Upload,
) -> Result<(), Fault> {
    let plan = PoolOf::new(&exchange.thread, pool);
    let alarm = Lent::new(&plan.thread);
    let timeout = plan.settings.response_timeout;
    alarm.set(timeout);
    let failed = |outcome| fault(&plan, answer.server, outcome);
    poll_fn(|cx| {
        let mut progress = false;
        let waiting = upload.poll_send(cx, answer.connection.stream(), &mut progress);
        exchange.bytes_in = upload.received();
        match waiting {
            Ok(Waiting::Nothing) => return Poll::Ready(Ok(())),
            Err(UploadError::Server(_)) => return Poll::Ready(Err(failed(Outcome::Closed))),
            Err(fault) => return Poll::Ready(Err(fault.into())),
            Ok(Waiting::Client) => alarm.off(), // it has a deadline of its own
            Ok(Waiting::Server) if progress => alarm.set(timeout),
            Ok(Waiting::Server) => {}
        }
        alarm.poll_due(cx).map(|()| Err(failed(Outcome::ResponseTimeout)))
    })
    .await
}

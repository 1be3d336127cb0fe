//! One client connection, from accept to close.
//!
//! ```text
//!   accepted ──▶ parked ──first bytes──▶ served ──101──▶ tunnel
//!                  │ ▲                    │ │              │
//!                  │ └─ nothing is open ──┘ │              │
//!                  └─────────┬──────────────┘              │
//!                            ▼                             ▼
//!                       FIN, linger ────────────────────▶ closed
//! ```
//! Whatever is large exists only while the connection is served: the task of a parked one is small.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::farewell;
use super::gate::{Gate, Over, Remains};
use super::limits::Permit;
use super::lot::{self, Unparked};
use super::way::{Local, Way};
use crate::config::Listener;
use crate::drain::Stage;
use crate::net::Stream;
use crate::proxy::client::{Place, Trouble};
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
    /// The generation cut it at its deadline.
    Drained,
    /// A defect of ours.
    Internal,
}

/// Serves a connection to its end, which is told to the thread.
pub(super) async fn run<W: Way>(connection: Connection<W>, stream: Stream) {
    let (thread, client) = (connection.thread.clone(), connection.client.clone());
    let mut serving = pin!(connection.serve(stream));
    // an exchange that panics ends its own connection and nothing else
    let end = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(cx))) {
        Ok(polled) => polled,
        Err(panic) => {
            thread.panicked(text_of(&*panic));
            Poll::Ready(End::Internal)
        }
    })
    .await;
    W::closed(&thread, &client, end);
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// A client connection and what it holds to its end.
pub(super) struct Connection<W> {
    thread: Rc<Thread>,
    client: Rc<Client>,
    kind: Kind,
    _place: Place,
    _permit: Permit,
    _way: PhantomData<fn() -> W>,
}

/// How the serving of a connection ended.
enum Served {
    /// It is whole and nothing is open on it.
    Idle(Stream),
    Ended(End),
}

impl<W: Way> Connection<W> {
    pub(super) fn new(thread: &Rc<Thread>, client: Client, kind: Kind, permit: Permit) -> Self {
        let client = Rc::new(client);
        Self {
            _place: thread.clients.add(&client),
            thread: thread.clone(),
            client,
            kind,
            _permit: permit,
            _way: PhantomData,
        }
    }

    async fn serve(self, stream: Stream) -> End {
        match self.kind {
            Kind::Http(listener) => self.serve_http(listener, stream).await,
            Kind::Tcp(tcp) => {
                let relay = W::relay(self.thread.clone(), self.client.clone(), tcp, stream);
                self.until_cut(relay).await.map_or(End::Drained, |()| End::Tunnel)
            }
        }
    }

    async fn serve_http(&self, listener: usize, mut stream: Stream) -> End {
        let idle_timeout = self.thread.plan.config.listeners[listener].idle_timeout;
        let mut since = Instant::now();
        loop {
            let unparked = lot::park(&self.thread.drain, &self.client, &mut stream, since, idle_timeout).await;
            let first = match unparked {
                Unparked::Bytes(first) => first,
                Unparked::Closed => return End::ClientDone,
                Unparked::Lost => return End::ClientLost,
                Unparked::Cut => return End::Drained,
                Unparked::Idle => {
                    let farewell: Local<'_, ()> = Box::pin(farewell::linger(&self.client, &mut stream));
                    self.until_cut(farewell).await;
                    return End::Idle;
                }
            };
            let serving: Local<'_, Served> = Box::pin(self.serve_requests(listener, stream, first));
            match serving.await {
                Served::Idle(left) => stream = left,
                Served::Ended(end) => return end,
            }
            since = Instant::now();
        }
    }

    /// Serves requests until the connection is idle or at its end.
    async fn serve_requests(&self, listener: usize, stream: Stream, first: BytesMut) -> Served {
        let settings = &self.thread.plan.config.listeners[listener];
        let gate = Gate::new(&self.thread, &self.client, listener, stream, first);
        let exchanges = Exchanges::<W> { thread: self.thread.clone(), client: self.client.clone(), _way: PhantomData };
        let mut http = builder(settings).serve_connection(TokioIo::new(gate), exchanges);
        let outcome = self.until_cut(poll_fn(|cx| http.poll_without_shutdown(cx))).await;
        let parts = http.into_parts();
        let mut remains = parts.io.into_inner().take_apart();
        if self.client.is_truncated() {
            let _ = remains.stream.reset_on_close(); // fails when the client is gone already
        }
        match outcome {
            None => Served::Ended(End::Drained),
            Some(Err(error)) => Served::Ended(self.classify(&error)),
            Some(Ok(())) => {
                if !parts.read_buf.is_empty() {
                    let mut held = BytesMut::from(parts.read_buf);
                    held.unsplit(remains.held);
                    remains.held = held;
                }
                self.go_on(settings, remains).await
            }
        }
    }

    /// Goes on with what hyper left: every byte that was to be answered is, and flushed.
    async fn go_on(&self, settings: &Listener, remains: Remains) -> Served {
        let Remains { mut stream, over, held, may_receive } = remains;
        if let Some(tunnel) = self.client.take_switch() {
            let tunnel = W::tunnel(self.thread.clone(), self.client.clone(), stream, held.freeze(), tunnel);
            let is_whole = self.until_cut(tunnel).await.is_some();
            return Served::Ended(if is_whole { End::Tunnel } else { End::Drained });
        }
        let (end, last_words) = match over {
            Some(Over::Left) => return Served::Idle(stream),
            Some(Over::Closed) => (End::ClientDone, None),
            Some(Over::ClosedInHead) => (End::ClientLeftHead, None),
            Some(Over::Refused { refusal, began }) => {
                (End::Refused, Some(W::refuse(&self.thread, &self.client, &refusal, &held, began)))
            }
            Some(Over::SlowHead { began }) => {
                (End::SlowHead, Some(W::refuse_slow_head(&self.thread, &self.client, &held, began)))
            }
            None => (self.client.trouble().map_or(End::Announced, End::from), None),
        };
        drop(held);
        let farewell = async {
            if let Some(bytes) = last_words
                && farewell::say(&self.client, &mut stream, &bytes, settings.write_timeout).await.is_err()
            {
                return;
            }
            if may_receive {
                farewell::linger(&self.client, &mut stream).await;
            }
        };
        self.until_cut(pin!(farewell)).await;
        Served::Ended(end)
    }

    /// Drives a future until it is done, or until the generation is at its deadline.
    async fn until_cut<F: Future + Unpin>(&self, mut future: F) -> Option<F::Output> {
        poll_fn(|cx| {
            if self.thread.drain.stage() == Stage::Cut {
                self.client.note(Trouble::Drained);
                return Poll::Ready(None);
            }
            let polled = Pin::new(&mut future).poll(cx);
            if polled.is_pending() {
                self.client.alarm.watch(cx); // whoever moves the stage wakes us by it
            }
            polled.map(Some)
        })
        .await
    }

    /// Who is to blame when hyper gives up. Its own refusals of requests would be a gap in the gate.
    fn classify(&self, error: &hyper::Error) -> End {
        if let Some(trouble) = self.client.trouble() {
            return trouble.into();
        }
        if error.is_user() || error.is_body_write_aborted() {
            return End::Broken;
        }
        self.client.note(Trouble::Internal);
        self.thread.panicked(format!("hyper ended a connection that the gate had no objection to: {error}"));
        End::Internal
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::ClientClosed => Self::ClientLost,
            Trouble::ClientTimeout => Self::ClientTimeout,
            Trouble::BadBody => Self::BadBody,
            Trouble::Drained => Self::Drained,
            Trouble::Internal => Self::Internal,
        }
    }
}

/// hyper's service: every request opens an exchange.
struct Exchanges<W> {
    thread: Rc<Thread>,
    client: Rc<Client>,
    _way: PhantomData<fn() -> W>,
}

impl<W: Way> hyper::service::Service<Request<Incoming>> for Exchanges<W> {
    type Response = Response<W::Body>;
    type Error = Infallible;
    type Future = Local<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        W::handle(&self.thread, &self.client, request)
    }
}

/// Bodies move in chunks up to this size, and so much of a response is gathered before it must be written.
const CHUNK: usize = 256 * 1024;

/// Fields that hyper takes without a table on the heap; it has to be told of more.
const FIELDS: usize = 100;

/// hyper without its own clock and limits: the gate has them. Half-closed connections look open to hyper, so that it
/// goes on asking the gate whether the client is there.
fn builder(settings: &Listener) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.half_close(false).header_read_timeout(None).writev(true).max_buf_size(CHUNK.max(2 * settings.max_head));
    if settings.max_fields > FIELDS {
        builder.max_headers(settings.max_fields);
    }
    builder
}

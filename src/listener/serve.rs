//! The serving of a client connection while it is busy: hyper, what comes after it, and the farewell.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;

use super::connection::End;
use super::farewell;
use super::gate::{Gate, Over, Remains};
use super::lot::{Stay, Unparked};
use super::way::{Local, Way};
use crate::config::ListenerSettings;
use crate::handover::heir::{Heir, Returned};
use crate::handover::parcel::{Load, Parcel};
use crate::net::Stream;
use crate::proxy::client::Trouble;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::{Client, Thread};

/// What a connection is served with.
pub(super) struct Serving<W> {
    pub(super) thread: Rc<Thread>,
    pub(super) client: Rc<Client>,
    _way: PhantomData<fn() -> W>,
}

/// How the serving of a connection ended.
pub(super) enum Served {
    /// It is whole and nothing is open on it; with what was read of the next request.
    Idle(Stream, BytesMut),
    Ended(End),
}

impl<W: Way> Serving<W> {
    pub(super) fn new(thread: &Rc<Thread>, client: &Rc<Client>) -> Self {
        let (thread, client, _way) = (thread.clone(), client.clone(), PhantomData);
        Self { thread, client, _way }
    }

    fn settings(&self, listener: usize) -> &ListenerSettings {
        &self.thread.plan.config.listeners[listener]
    }

    /// A stay in the lot that begins now.
    pub(super) fn stay(&self, listener: usize) -> Stay {
        Stay::new(&self.client, self.settings(listener).idle_timeout)
    }

    pub(super) fn poll_stay(
        &self,
        stay: &mut Stay,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        enters: impl FnOnce(),
    ) -> Poll<Unparked> {
        stay.poll(&self.thread, &self.client, stream, cx, enters)
    }

    /// Relays bytes in TCP mode, to the end.
    pub(super) async fn relay(self, tcp: usize, stream: Stream) -> Served {
        let relay = W::relay(self.thread.clone(), self.client.clone(), tcp, stream);
        Served::Ended(relay.await.into())
    }

    /// Goes on with a tunnel that another generation began.
    pub(super) async fn tunnel(self, stream: Stream, tunnel: Tunnel, read_ahead: Bytes) -> Served {
        let tunnel = W::tunnel(self.thread.clone(), self.client.clone(), stream, read_ahead, tunnel);
        Served::Ended(tunnel.await.into())
    }

    /// Gives the connection to another generation, or goes on with it when that fails.
    pub(super) async fn hand_over(self, stream: Stream, ahead: BytesMut, heir: Heir) -> Served {
        let Some(Some(place)) = self.until_cut(pin!(heir.place())).await else {
            return Served::Idle(stream, ahead);
        };
        let Ok(socket) = stream.into_fd() else { return Served::Ended(End::Internal) };
        let client = self.client.facts(&self.thread.listener_name(self.client.listener));
        let private = self.client.pack_private(&self.thread);
        let given = place.give(Parcel { socket, client, load: Load::Idle { ahead, private } });
        match self.until_cut(pin!(given)).await {
            Some(Ok(())) => Served::Ended(End::Moved),
            Some(Err(Returned::Whole(parcel))) => match (Stream::from_fd(parcel.socket), parcel.load) {
                (Ok(stream), Load::Idle { ahead, private }) => {
                    self.client.bring_private(private, &self.thread);
                    Served::Idle(stream, ahead)
                }
                (Ok(_), Load::Tunnel(_)) | (Err(_), _) => Served::Ended(End::Internal),
            },
            Some(Err(Returned::Lost)) | None => Served::Ended(End::Drained),
        }
    }

    /// Serves requests until the connection is idle or at its end.
    pub(super) async fn requests(self, listener: usize, stream: Stream, first: BytesMut) -> Served {
        let gate = Gate::new(&self.thread, &self.client, listener, stream, first);
        let mut http = builder().serve_connection(TokioIo::new(gate), self.clone());
        let serving = poll_fn(|cx| match http.poll_without_shutdown(cx) {
            Poll::Pending if self.client.is_gone() => Poll::Ready(None),
            polled => polled.map(Some),
        });
        let outcome = self.until_cut(serving).await;
        let parts = http.into_parts();
        let Ok(mut remains) = parts.io.into_inner().take_apart() else {
            return Served::Ended(End::Internal); // the runtime ends
        };
        if self.client.is_truncated() {
            let _ = remains.stream.reset_on_close(); // fails when the client is gone already
        }
        match outcome {
            None => Served::Ended(End::Drained),
            Some(None) => Served::Ended(End::ClientLost),
            Some(Some(Err(error))) => Served::Ended(self.classify(&error)),
            Some(Some(Ok(()))) => {
                if !parts.read_buf.is_empty() {
                    let mut held = BytesMut::from(parts.read_buf);
                    held.unsplit(remains.held);
                    remains.held = held;
                }
                self.go_on(listener, remains).await
            }
        }
    }

    /// Goes on with what hyper left: every byte that was to be answered is, and flushed.
    async fn go_on(self, listener: usize, remains: Remains) -> Served {
        let Remains { mut stream, over, held, may_receive } = remains;
        if let Some(tunnel) = self.client.take_switch() {
            return self.tunnel(stream, tunnel, held.freeze()).await;
        }
        let (end, last_words) = match over {
            Some(Over::Left) => return Served::Idle(stream, held),
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
        if let Some(bytes) = last_words {
            let timeout = self.settings(listener).write_timeout;
            let said = self.until_cut(pin!(farewell::say(&self.client, &mut stream, &bytes, timeout))).await;
            if !matches!(said, Some(Ok(()))) {
                return Served::Ended(end);
            }
        }
        if may_receive { self.farewell(stream, end).await } else { Served::Ended(end) }
    }

    /// Ends the connection so that nothing that was sent is lost.
    pub(super) async fn farewell(self, stream: Stream, end: End) -> Served {
        let mut stream = stream;
        self.until_cut(pin!(farewell::linger(&self.client, &mut stream, farewell::PATIENT))).await;
        Served::Ended(end)
    }

    /// Ends an idle connection at the deadline of the generation: its client may just be sending.
    pub(super) async fn cut(self, stream: Stream) -> Served {
        self.thread.connection_cut(&self.client);
        let mut stream = stream;
        farewell::linger(&self.client, &mut stream, farewell::BRIEF).await;
        Served::Ended(End::Drained)
    }

    async fn until_cut<F: Future + Unpin>(&self, future: F) -> Option<F::Output> {
        self.thread.until_cut(&self.client, future).await
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

impl<W> Clone for Serving<W> {
    fn clone(&self) -> Self {
        let (thread, client, _way) = (self.thread.clone(), self.client.clone(), PhantomData);
        Self { thread, client, _way }
    }
}

/// hyper's service: every request opens an exchange.
impl<W: Way> hyper::service::Service<Request<Incoming>> for Serving<W> {
    type Response = Response<W::Body>;
    type Error = Infallible;
    type Future = Local<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        W::handle(&self.thread, &self.client, request)
    }
}

/// Bodies move in pieces up to this size while their receiver takes them, and so much of a response is gathered before it
/// must be written.
const CHUNK: usize = 256 * 1024;

/// hyper without its own clocks and limits: the gate has them, and responses come with their `Date`. Half-closed
/// connections look open to hyper, so that it goes on asking the gate whether the client is there.
fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.auto_date_header(false).half_close(false).header_read_timeout(None).writev(true);
    builder.max_buf_size(CHUNK);
    builder
}

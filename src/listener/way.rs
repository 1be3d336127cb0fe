//! The seam between a connection and the way of a request.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connection::End;
use crate::http1::request::Refusal;
use crate::net::Stream;
use crate::proxy::tunnel::{self, Left, Tunnel};
use crate::proxy::{self, Client, Reply, Thread};

/// A future of one thread.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a connection needs of the layer below. [`Proxy`] is it; the tests of this module put another one in its place.
pub trait Way: 'static {
    /// The body of a response; the exchange is closed when it is dropped.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static;

    /// Serves one exchange. It is open when this returns.
    fn handle(
        thread: &Rc<Thread>,
        client: &Rc<Client>,
        request: Request<Incoming>,
    ) -> Local<'static, Result<Response<Self::Body>, Infallible>>;

    /// Records a request that was refused, and gives the whole response to it.
    fn refuse(thread: &Rc<Thread>, client: &Rc<Client>, refusal: &Refusal, seen: &[u8], began: Instant) -> Bytes;

    /// Records a request head that did not come whole in time, and gives the whole response to it.
    fn refuse_slow_head(thread: &Rc<Thread>, client: &Rc<Client>, seen: &[u8], began: Instant) -> Bytes;

    /// Relays bytes after a `101`, until the tunnel has left this process.
    fn tunnel(
        thread: Rc<Thread>,
        client: Rc<Client>,
        stream: Stream,
        read_ahead: Bytes,
        tunnel: Tunnel,
    ) -> Local<'static, Left>;

    /// Relays the bytes of a connection in TCP mode; `tcp` is an index into the TCP listeners of the configuration.
    fn relay(thread: Rc<Thread>, client: Rc<Client>, tcp: usize, stream: Stream) -> Local<'static, Left>;

    /// Hears how a connection ended.
    fn closed(thread: &Thread, client: &Client, end: End);
}

/// The way of a request through this proxy.
pub struct Proxy;

impl Way for Proxy {
    type Body = Reply;

    fn handle(
        thread: &Rc<Thread>,
        client: &Rc<Client>,
        request: Request<Incoming>,
    ) -> Local<'static, Result<Response<Reply>, Infallible>> {
        proxy::handle(thread, client, request)
    }

    fn refuse(thread: &Rc<Thread>, client: &Rc<Client>, refusal: &Refusal, seen: &[u8], began: Instant) -> Bytes {
        proxy::refuse(thread, client, refusal, seen, began)
    }

    fn refuse_slow_head(thread: &Rc<Thread>, client: &Rc<Client>, seen: &[u8], began: Instant) -> Bytes {
        proxy::refuse_slow_head(thread, client, seen, began)
    }

    fn tunnel(
        thread: Rc<Thread>,
        client: Rc<Client>,
        stream: Stream,
        read_ahead: Bytes,
        tunnel: Tunnel,
    ) -> Local<'static, Left> {
        Box::pin(async move { tunnel::run(&thread, &client, stream, read_ahead, tunnel).await })
    }

    fn relay(thread: Rc<Thread>, client: Rc<Client>, tcp: usize, stream: Stream) -> Local<'static, Left> {
        Box::pin(async move { tunnel::relay(&thread, &client, tcp, stream).await })
    }

    fn closed(thread: &Thread, client: &Client, end: End) {
        if end == End::Moved {
            return thread.counters.left(client.listener);
        }
        thread.counters.closed(client.listener);
        if end == End::Evicted {
            thread.counters.evicted(client.listener);
        }
        if client.exchanges() == 0 && matches!(end, End::ClientDone | End::ClientLost | End::Idle) {
            thread.counters.empty(client.listener);
            proxy::record_empty(thread, client);
        }
    }
}

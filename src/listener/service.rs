//! The seam between a connection and what serves the requests on it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use crate::handover::exchange::ExchangeTransfer;
use crate::http1::request::RequestHead;
use crate::net::Stream;
use crate::observe::end::{End, Reason};
use crate::observe::record::Index;
use crate::proxy::handler::{Handler, RequestHandler};
use crate::proxy::origin::Origin;
use crate::proxy::private::Private;
use crate::proxy::request::{ClientRequest, RefusedHead};
use crate::proxy::response::Response;
use crate::proxy::tunnel::{self, Tunnel};
use crate::proxy::{self, Client, Thread};

/// A future of one thread.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a connection needs of the layer below. [`Proxy`] is it; the tests of this module put another one in its place.
pub trait Service: 'static {
    /// Serves one request.
    type Handler: RequestHandler;

    /// Opens the exchange of a request.
    fn call(thread: &Rc<Thread>, origin: &Rc<Origin>, request: ClientRequest) -> Self::Handler;

    /// Goes on with an exchange of another generation, and gives what the head of its request says. A connection to a
    /// server that belongs to the client connection is noted in `private`.
    ///
    /// # Errors
    /// When this generation does not have what it leads to.
    fn resume(
        thread: &Rc<Thread>,
        origin: &Rc<Origin>,
        private: &mut Private,
        exchange: ExchangeTransfer,
    ) -> io::Result<(Self::Handler, RequestHead)> {
        let _ = (thread, origin, private, exchange);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Records a request whose head is not right, and gives the response to it with its body.
    fn refuse(thread: &Rc<Thread>, origin: &Rc<Origin>, refused: &RefusedHead<'_>) -> (Response, Bytes);

    /// Relays bytes after a `101`, until the tunnel has left this process.
    fn tunnel(
        thread: Rc<Thread>,
        client: Box<Client>,
        stream: Stream,
        read_ahead: Bytes,
        tunnel: Tunnel,
    ) -> Local<'static, (Box<Client>, End)>;

    /// Relays the bytes of a connection in TCP mode, from which `first` was read already, to a server of this pool, an index
    /// into those of the configuration; `host` is what its client asked for by TLS.
    fn relay(
        thread: Rc<Thread>,
        client: Box<Client>,
        pool: usize,
        host: Option<String>,
        stream: Stream,
        first: Bytes,
    ) -> Local<'static, (Box<Client>, End)>;

    /// Counts and records how a connection of this listener ended; `client` is none when a panic took it along.
    fn closed(thread: &Thread, listener: Index, client: Option<&Client>, end: End);
}

/// The way of a request through this proxy.
pub struct Proxy;

impl Service for Proxy {
    type Handler = Handler;

    fn call(thread: &Rc<Thread>, origin: &Rc<Origin>, request: ClientRequest) -> Handler {
        Handler::new(thread, origin, request)
    }

    fn resume(
        thread: &Rc<Thread>,
        origin: &Rc<Origin>,
        private: &mut Private,
        exchange: ExchangeTransfer,
    ) -> io::Result<(Handler, RequestHead)> {
        Handler::resumed(thread, origin, private, exchange)
    }

    fn refuse(thread: &Rc<Thread>, origin: &Rc<Origin>, refused: &RefusedHead<'_>) -> (Response, Bytes) {
        Handler::refuse(thread, origin, refused)
    }

    fn tunnel(
        thread: Rc<Thread>,
        mut client: Box<Client>,
        stream: Stream,
        read_ahead: Bytes,
        tunnel: Tunnel,
    ) -> Local<'static, (Box<Client>, End)> {
        Box::pin(async move {
            let end = tunnel::run(&thread, &mut client, stream, read_ahead, tunnel).await;
            (client, end)
        })
    }

    fn relay(
        thread: Rc<Thread>,
        mut client: Box<Client>,
        pool: usize,
        host: Option<String>,
        stream: Stream,
        first: Bytes,
    ) -> Local<'static, (Box<Client>, End)> {
        Box::pin(async move {
            let end = tunnel::relay(&thread, &mut client, pool, host.as_deref(), stream, first).await;
            (client, end)
        })
    }

    fn closed(thread: &Thread, listener: Index, client: Option<&Client>, end: End) {
        if end.reason == Reason::Moved {
            return thread.counters.left(listener);
        }
        thread.counters.closed(listener);
        if end.reason == Reason::Evicted {
            thread.counters.evicted(listener);
        }
        if let Some(client) = client.filter(|client| client.exchanges == 0)
            && matches!(end, End::CLIENT_DONE | End::IDLE_TIMEOUT)
        {
            thread.counters.empty(listener);
            proxy::record_empty(thread, client);
        }
    }
}

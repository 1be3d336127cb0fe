//! A small HTTP server beside the proxy, for `[metrics]`.
//!
//! The supervisor holds its listening sockets, as all others, and one worker accepts on them: the one that serves. A client
//! that comes while one worker takes over from another waits in the backlog of the kernel.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockRef};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::format::TextFormat;
use super::metrics;
use crate::control::request::{ControlReply, RequestError, Wish, ask};
use crate::net::Stream;

/// Connections open at once: each scrape is one, and more of them wait in the backlog.
const MOST_OPEN: usize = 16;
/// The time for the head of the request: what says nothing keeps others waiting.
const HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// The time for a connection, from accept to its end.
const DEADLINE: Duration = Duration::from_secs(10);
/// The time for the answer of the supervisor.
const SUPERVISOR_DEADLINE: Duration = Duration::from_secs(5);
/// The time for what is open when the worker ends.
const PATIENCE: Duration = Duration::from_millis(250);
/// No descriptor is free: the time until the next try.
const BACK_OFF: Duration = Duration::from_secs(1);
/// The most that is read of a request, in bytes; hyper takes no less.
const LONGEST_HEAD: usize = 8192;

/// The sockets, and what accepts on them.
#[derive(Debug)]
pub struct AdminServer {
    sockets: Vec<Rc<OwnedFd>>,
    open: Arc<Semaphore>,
    scrapes: Scrapes,
    accepting: Vec<JoinHandle<()>>,
}

/// The scrapes, of which one at a time asks the supervisor, whatever becomes of its client: the supervisor answers each with the
/// whole status, and has more to do.
#[derive(Clone, Debug)]
struct Scrapes {
    run_dir: Rc<Path>,
    turn: Arc<Semaphore>,
}

/// A listening socket that the runtime watches.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AdminServer {
    /// On these sockets, for the service with this run directory. Nothing is accepted before [`AdminServer::set_serves`].
    #[must_use]
    pub fn new(sockets: Vec<OwnedFd>, run_dir: &Path) -> Self {
        let scrapes = Scrapes { run_dir: run_dir.into(), turn: Arc::new(Semaphore::new(1)) };
        let sockets = sockets.into_iter().map(Rc::new).collect();
        Self { sockets, open: Arc::new(Semaphore::new(MOST_OPEN)), scrapes, accepting: Vec::new() }
    }

    /// Accepts from now on, or leaves that to another worker. What is open is answered.
    pub fn set_serves(&mut self, serves: bool) {
        self.accepting.drain(..).for_each(|task| task.abort());
        if serves {
            let accept = |socket: &Rc<OwnedFd>| accept(socket.clone(), self.open.clone(), self.scrapes.clone());
            self.accepting = self.sockets.iter().map(|socket| tokio::task::spawn_local(accept(socket))).collect();
        }
    }

    /// Closes the sockets: this process accepts no more, and the address may be needed otherwise.
    pub fn close(&mut self) {
        self.set_serves(false);
        self.sockets.clear();
    }

    /// Waits until nothing is open, but not for long: a client that reads slowly keeps no process.
    pub async fn finished(&self) {
        // the semaphore is never closed
        let _ = tokio::time::timeout(PATIENCE, self.open.acquire_many(MOST_OPEN as u32)).await;
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.set_serves(false);
    }
}

impl Listening {
    fn watch(socket: &OwnedFd) -> io::Result<Self> {
        let own = socket.try_clone()?;
        match SockRef::from(&own).domain()? {
            Domain::UNIX => UnixListener::from_std(own.into()).map(Self::Unix),
            _ => TcpListener::from_std(own.into()).map(Self::Tcp),
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

async fn accept(socket: Rc<OwnedFd>, open: Arc<Semaphore>, scrapes: Scrapes) {
    let listening = loop {
        match Listening::watch(&socket) {
            Ok(listening) => break listening,
            Err(_) => tokio::time::sleep(BACK_OFF).await, // no descriptor is free
        }
    };
    loop {
        let Ok(permit) = open.clone().acquire_owned().await else { return };
        match listening.accept().await {
            Ok(stream) => spawn(stream, scrapes.clone(), permit),
            Err(_) => tokio::time::sleep(BACK_OFF).await,
        }
    }
}

fn spawn(stream: Stream, scrapes: Scrapes, permit: OwnedSemaphorePermit) {
    tokio::task::spawn_local(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let scrapes = scrapes.clone();
            async move { Ok::<_, Infallible>(answer(&request, scrapes).await) }
        });
        // no connection is kept: it would end with its worker, in the middle of a request by chance
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .keep_alive(false)
            .half_close(true)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let _ = tokio::time::timeout(DEADLINE, connection).await; // a client may break off
        drop(permit);
    });
}

impl Scrapes {
    async fn text(&self, format: TextFormat) -> Result<String, RequestError> {
        let Ok(turn) = self.turn.clone().acquire_owned().await else { return Err(RequestError::Closed) };
        let run_dir = self.run_dir.to_path_buf();
        // the supervisor may take a moment, and text of many servers takes a processor
        let text = tokio::task::spawn_blocking(move || {
            let _turn = turn; // nothing ends this once it has begun
            match ask(&run_dir, Wish::Status, SUPERVISOR_DEADLINE)? {
                ControlReply::Status(status) => Ok(metrics::text(&status, format)),
                _ => Err(RequestError::Closed),
            }
        });
        text.await.unwrap_or(Err(RequestError::Closed))
    }
}

async fn answer(request: &Request<Incoming>, scrapes: Scrapes) -> Response<String> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "There is nothing here but /metrics.\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Metrics can be read, by GET.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let format = TextFormat::accepted(request.headers());
    match scrapes.text(format).await {
        Ok(text) => {
            let mut response = Response::new(text);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
            response.headers_mut().insert(VARY, HeaderValue::from(ACCEPT));
            response
        }
        Err(error) => unavailable(&format!("The numbers are not to be had: {error}.\n")),
    }
}

fn unavailable(why: &str) -> Response<String> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

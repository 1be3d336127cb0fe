//! A listener on loopback, a client that reads responses, and answers by path.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{Access, Config, DrainSettings, ListenerSettings, LogSettings, WorkerSettings};
use crate::drain::{Draining, Stage};
use crate::http1::request::Refusal;
use crate::listener::accept::Acceptor;
use crate::listener::connection::{End, Kind};
use crate::listener::limits::{Limits, WorkerLimit};
use crate::listener::way::{Local, Way};
use crate::net::Stream;
use crate::observe::journal::{Identity, Journal, Role};
use crate::observe::metrics::Counters;
use crate::proxy::tunnel::{Left, Tunnel};
use crate::proxy::{Client, Plan, Thread};

/// Long for a test, and never waited for by one that passes.
pub(super) const LONG: Duration = Duration::from_secs(30);
/// A timeout that a test waits for.
pub(super) const SHORT: Duration = Duration::from_millis(120);

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static ENDS: RefCell<Vec<End>> = const { RefCell::new(Vec::new()) };
    static NEWS: Rc<Notify> = Rc::new(Notify::new());
    static GO: Rc<Notify> = Rc::new(Notify::new());
}

/// Runs a test on one thread as the worker has them, within a bound.
pub(super) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("runtime");
    let outcome = runtime.block_on(async { tokio::time::timeout(LONG, test()).await });
    assert!(outcome.is_ok(), "the test did not end");
}

/// A thread with one listener.
pub(super) struct Fixture {
    pub(super) thread: Rc<Thread>,
    pub(super) address: SocketAddr,
    pub(super) listening: std::net::TcpListener,
    pub(super) limits: Arc<Limits>,
    pub(super) acceptor: Option<Acceptor>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut ListenerSettings)) -> Self {
        let mut listener = listener();
        change(&mut listener);
        let max_connections = listener.max_connections;
        let plan = Arc::new(Plan::new(1, config(listener)));
        let journal = Journal::start(Identity { role: Role::Worker, generation: Some(1) }, None).expect("a journal");
        let counters = Counters::alone(&plan.names);
        let thread = Thread::start(0, plan, counters, journal);
        let listening = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listening.set_nonblocking(true).expect("nonblocking");
        let mut fixture = Self {
            thread,
            address: listening.local_addr().expect("address"),
            listening,
            limits: Arc::new(Limits::new(max_connections, &Arc::new(WorkerLimit::new(1000)))),
            acceptor: None,
        };
        fixture.accept();
        fixture
    }

    /// Starts to accept, on a duplicate of the socket as in the worker.
    pub(super) fn accept(&mut self) {
        let socket: OwnedFd = self.listening.try_clone().expect("duplicate").into();
        let (thread, limits) = (self.thread.clone(), self.limits.clone());
        let acceptor = Acceptor::start_on::<Answers>(thread, 0, Kind::Http(0), socket, limits);
        self.acceptor = Some(acceptor.expect("start"));
    }

    pub(super) async fn connect(&self) -> Peer {
        let stream = TcpStream::connect(self.address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        Peer { stream, read: BytesMut::new() }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.thread.drain.enter(stage);
        self.thread.clients.wake_all();
    }

    pub(super) fn drain(&self, idle: Duration) {
        let (began, spread) = (Instant::now(), Duration::ZERO);
        self.enter(Stage::Draining(Draining { began, deadline: began + LONG, spread, idle }));
    }

    /// Waits until so many requests were seen, and gives them.
    pub(super) async fn seen(&self, count: usize) -> Vec<String> {
        until(|| SEEN.with_borrow(|seen| (seen.len() >= count).then(|| seen.clone()))).await
    }

    /// Waits until so many connections are parked.
    pub(super) async fn parked(&self, count: usize) {
        let mut tick = tokio::time::interval(Duration::from_millis(4));
        while self.thread.clients.parked() != count {
            tick.tick().await;
        }
    }

    /// Waits until a connection has ended, and says how.
    pub(super) async fn end(&self) -> End {
        until(|| ENDS.with_borrow_mut(|ends| (!ends.is_empty()).then(|| ends.remove(0)))).await
    }

    /// Lets an exchange go on that waits.
    pub(super) fn go(&self) {
        GO.with(|go| go.notify_one());
    }
}

async fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let news = NEWS.with(Rc::clone);
    loop {
        let notified = news.notified();
        if let Some(answer) = ask() {
            return answer;
        }
        notified.await;
    }
}

fn tell_news() {
    NEWS.with(|news| news.notify_waiters());
}

/// The client's side of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    read: BytesMut,
}

impl Peer {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("write");
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await;
        self.answer().await
    }

    /// Reads one response: its head, then as much as `Content-Length` says.
    pub(super) async fn answer(&mut self) -> Answer {
        let len = loop {
            if let Some(end) = memchr::memmem::find(&self.read, b"\r\n\r\n") {
                break end + 4;
            }
            assert_ne!(self.more().await.expect("read"), 0, "the end instead of a response");
        };
        let head = String::from_utf8(self.read.split_to(len).to_vec()).expect("a head");
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        while self.read.len() < length {
            assert_ne!(self.more().await.expect("read"), 0, "the end instead of the body");
        }
        let body = self.read.split_to(length);
        Answer { head, body }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.read.reserve(64 * 1024);
        self.stream.read_buf(&mut self.read).await
    }

    /// What comes to the end of the stream.
    pub(super) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more().await? > 0 {}
        Ok(self.read.split().to_vec())
    }

    /// The connection must end here, without another byte and without a reset.
    pub(super) async fn expect_end(&mut self) {
        assert_eq!(self.rest().await.expect("an end, no reset"), b"");
    }
}

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: BytesMut,
}

impl Answer {
    pub(super) fn status(&self) -> &str {
        &self.head[9..12]
    }

    pub(super) fn closes(&self) -> bool {
        self.head.to_ascii_lowercase().contains("connection: close")
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

fn listener() -> ListenerSettings {
    ListenerSettings {
        name: "http".to_owned(),
        max_connections: 100,
        header_timeout: LONG,
        idle_timeout: LONG,
        body_timeout: LONG,
        write_timeout: LONG,
        half_close_timeout: Some(LONG),
        max_head: 16 * 1024,
        ..ListenerSettings::default()
    }
}

fn config(listener: ListenerSettings) -> Config {
    Config {
        listeners: vec![listener],
        sites: Vec::new(),
        pools: Vec::new(),
        tcp: Vec::new(),
        log: LogSettings { access: Access::Off, ..LogSettings::default() },
        drain: DrainSettings { timeout: LONG, stop_timeout: LONG, hurry_timeout: LONG, ..DrainSettings::default() },
        worker: WorkerSettings { tcp_keep_alive: None, ..WorkerSettings::default() },
    }
}

/// Answers in place of the proxy.
///
/// `/echo` gives the body back, `/bytes/N` gives N bytes in chunks of 64 KiB, `/wait` answers when told to, `/early`
/// answers without reading the body, `/panic` panics, `/upgrade` switches protocols. Anything else is named back.
pub(super) struct Answers;

impl Way for Answers {
    type Body = Content;

    fn handle(
        thread: &Rc<Thread>,
        client: &Rc<Client>,
        request: Request<Incoming>,
    ) -> Local<'static, Result<Response<Content>, Infallible>> {
        let head = client.open_exchange().expect("the gate saw the head").raw;
        let open = Open(client.clone());
        let [method, path] = [head.method(), head.path()].map(|part| String::from_utf8_lossy(part).into_owned());
        SEEN.with_borrow_mut(|seen| seen.push(format!("{method} {path}")));
        tell_news();
        let (thread, client) = (thread.clone(), client.clone());
        Box::pin(async move {
            let mut response = answer(&thread, &path, request, open).await;
            if thread.lets_go(&client) {
                close(&mut response);
            }
            Ok(response)
        })
    }

    fn refuse(_: &Rc<Thread>, _: &Rc<Client>, refusal: &Refusal, seen: &[u8], _: Instant) -> Bytes {
        assert!(!seen.is_empty());
        page(refusal.status(), refusal.rule())
    }

    fn refuse_slow_head(_: &Rc<Thread>, _: &Rc<Client>, seen: &[u8], _: Instant) -> Bytes {
        assert!(!seen.is_empty());
        page(408, "The request head did not come whole in time.")
    }

    fn tunnel(
        thread: Rc<Thread>,
        client: Rc<Client>,
        stream: Stream,
        read_ahead: Bytes,
        _: Tunnel,
    ) -> Local<'static, Left> {
        Box::pin(async move {
            let mut stream = stream;
            let _ = stream.write_all(&read_ahead).await;
            let mut buffer = [0; 1024];
            let echo = async {
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(&buffer[..len]).await;
                }
            };
            thread.until_cut(&client, std::pin::pin!(echo)).await.map_or(Left::Cut, |()| Left::Ended)
        })
    }

    fn relay(_: Rc<Thread>, _: Rc<Client>, tcp: usize, stream: Stream) -> Local<'static, Left> {
        Box::pin(async move {
            let mut stream = stream;
            let _ = stream.write_all(format!("tcp {tcp}").as_bytes()).await;
            Left::Ended
        })
    }

    fn closed(_: &Thread, _: &Client, end: End) {
        ENDS.with_borrow_mut(|ends| ends.push(end));
        tell_news();
    }
}

fn page(status: u16, rule: &str) -> Bytes {
    let len = rule.len();
    format!("HTTP/1.1 {status} Refused\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{rule}").into()
}

fn close(response: &mut Response<Content>) {
    let value = http::HeaderValue::from_static("close");
    response.headers_mut().insert(http::header::CONNECTION, value);
}

async fn answer(thread: &Rc<Thread>, path: &str, request: Request<Incoming>, open: Open) -> Response<Content> {
    match path {
        "/echo" => match request.into_body().collect().await {
            Ok(body) => content(body.to_bytes(), open),
            Err(_) => status(400, content(Bytes::from_static(b"bad body"), open)),
        },
        "/wait" => {
            GO.with(Rc::clone).notified().await;
            content(Bytes::from_static(b"waited"), open)
        }
        "/early" => {
            let mut response = content(Bytes::from(vec![b'e'; 100_000]), open);
            close(&mut response);
            response
        }
        "/panic" => panic!("as asked"),
        "/upgrade" => {
            let client = open.0.clone();
            std::mem::forget(open); // the connection stays busy
            client.switch_to(Tunnel::stand_in(thread, &client));
            let body = Content { left: 0, now: Bytes::new(), _open: None };
            status(101, Response::new(body))
        }
        _ => match path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
            Some(left) => Response::new(Content { left, now: Bytes::new(), _open: Some(open) }),
            None => content(path.to_owned().into(), open),
        },
    }
}

fn status(status: u16, mut response: Response<Content>) -> Response<Content> {
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    response
}

fn content(bytes: Bytes, open: Open) -> Response<Content> {
    Response::new(Content { left: 0, now: bytes, _open: Some(open) })
}

/// Keeps an exchange open.
struct Open(Rc<Client>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close_exchange(tokio::time::Instant::now());
    }
}

/// `now`, then `left` bytes more.
pub(super) struct Content {
    left: u64,
    now: Bytes,
    _open: Option<Open>,
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let content = self.get_mut();
        if content.now.is_empty() {
            let len = content.left.min(64 * 1024);
            content.left -= len;
            content.now = vec![b'x'; len as usize].into();
        }
        let now = std::mem::take(&mut content.now);
        Poll::Ready((!now.is_empty()).then(|| Ok(Frame::data(now))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.now.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left + self.now.len() as u64)
    }
}

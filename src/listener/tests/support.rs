//! A listener on loopback, a client that reads responses, and answers by path.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{
    Access, AcmeSettings, Config, DashboardSettings, DrainSettings, ListenerSettings, LogSettings, MetricsSettings,
    TlsSettings, WorkerSettings,
};
use crate::drain::{Draining, Stage};
use crate::listener::accept::Acceptor;
use crate::listener::kind::Kind;
use crate::listener::limits::{Limits, WorkerLimit};
use crate::listener::service::{Local, Service};
use crate::message::body::{Demand, Piece, RequestBodyError};
use crate::net::Stream;
use crate::observe::end::{End, Phase};
use crate::observe::journal::{Identity, Journal, Role};
use crate::observe::metrics::Counters;
use crate::observe::record::Index;
use crate::proxy::client_side::ClientSide;
use crate::proxy::fault::Fault;
use crate::proxy::handler::RequestHandler;
use crate::proxy::origin::Origin;
use crate::proxy::request::{ClientRequest, RefusedHead};
use crate::proxy::response::{BodyLength, Response, ResponsePart, Then};
use crate::proxy::tunnel::Tunnel;
use crate::proxy::{Client, RuntimeConfig, Thread};

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
    run_for(LONG, test);
}

/// Runs a test that may take so long.
pub(super) fn run_for<F: Future<Output = ()>>(bound: Duration, test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("runtime");
    let outcome = runtime.block_on(async { tokio::time::timeout(bound, test()).await });
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
        let runtime_config = Arc::new(RuntimeConfig::new(1, config(listener)));
        let journal = Journal::start(Identity { role: Role::Worker, generation: Some(1) }, None).expect("a journal");
        let counters = Counters::alone(&runtime_config.names);
        let thread = Thread::start(0, runtime_config, counters, journal);
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

    /// Timeouts until so many requests were seen, and gives them.
    pub(super) async fn seen(&self, count: usize) -> Vec<String> {
        until(|| SEEN.with_borrow(|seen| (seen.len() >= count).then(|| seen.clone()))).await
    }

    /// Timeouts until so many connections are parked.
    pub(super) async fn parked(&self, count: usize) {
        let mut tick = tokio::time::interval(Duration::from_millis(4));
        while self.thread.clients.idle() != count {
            tick.tick().await;
        }
    }

    /// Timeouts until so many connections are dormant.
    pub(super) async fn dormant(&self, count: usize) {
        let mut tick = tokio::time::interval(Duration::from_millis(4));
        while self.thread.clients.dormant() != count {
            tick.tick().await;
        }
    }

    /// Timeouts until a connection has ended, and says how.
    pub(super) async fn end(&self) -> End {
        until(|| ENDS.with_borrow_mut(|ends| (!ends.is_empty()).then(|| ends.remove(0)))).await
    }

    /// Lets an exchange go on that waits.
    pub(super) fn go(&self) {
        GO.with(|go| go.notify_one());
    }
}

/// Timeouts of seconds, for a clock that is paused.
#[cfg(fuzzing)]
pub(super) fn short(listener: &mut ListenerSettings) {
    listener.h2c = true;
    for timeout in [
        &mut listener.header_timeout,
        &mut listener.idle_timeout,
        &mut listener.body_timeout,
        &mut listener.write_timeout,
        &mut listener.half_close_timeout,
    ] {
        *timeout = Duration::from_secs(5);
    }
}

/// Forgets what was seen of the connection before.
#[cfg(fuzzing)]
pub(super) fn forget() {
    SEEN.take();
    ENDS.take();
}

/// The requests that were seen, each with its method and path.
#[cfg(fuzzing)]
pub(super) fn requests() -> Vec<String> {
    SEEN.take()
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

    /// Lets the proxy have some turns.
    pub(super) async fn rest_a_moment(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Ends the connection with a reset.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().expect("linger");
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
        half_close_timeout: LONG,
        max_head: 16 * 1024,
        ..ListenerSettings::default()
    }
}

fn config(listener: ListenerSettings) -> Config {
    Config {
        listeners: vec![listener],
        sites: Vec::new(),
        pools: Vec::new(),
        tcp: Config::from_toml("[tcp.bytes]\nlisten = ':1'\nto = ['a:1']\n").expect("good").tcp,
        tls: TlsSettings::default(),
        metrics: MetricsSettings::default(),
        dashboard: DashboardSettings::default(),
        acme: AcmeSettings::default(),
        log: LogSettings { access: Access::Off, ..LogSettings::default() },
        drain: DrainSettings { timeout: LONG, stop_timeout: LONG, hurry_timeout: LONG, ..DrainSettings::default() },
        worker: WorkerSettings { tcp_keep_alive: None, ..WorkerSettings::default() },
    }
}

/// Answers in place of the proxy.
///
/// `/echo` gives the body back, `/patient` too when told to, `/bytes/N` gives N bytes in pieces of 64 KiB, `/wait` answers
/// when told to, `/deaf` too after a piece of the body, `/early` answers without reading the body, `/panic` panics, `/upgrade` switches protocols. Anything else is named back.
pub(super) struct Answers;

/// What answers one request.
pub(super) struct Answering {
    thread: Rc<Thread>,
    origin: Rc<Origin>,
    path: String,
    /// The client waits for `100 Continue`.
    waits: bool,
    /// What came of the body.
    body: Vec<u8>,
    go: Pin<Box<dyn Future<Output = ()>>>,
    /// Bytes of the answer that are still to come, once its head was given.
    left: Option<u64>,
    content: Bytes,
    /// No body follows the head of the response.
    is_head: bool,
}

impl Service for Answers {
    type Handler = Answering;

    fn call(thread: &Rc<Thread>, origin: &Rc<Origin>, request: ClientRequest) -> Answering {
        let [method, path] =
            [request.head.method(), request.head.path()].map(|part| String::from_utf8_lossy(part).into_owned());
        SEEN.with_borrow_mut(|seen| seen.push(format!("{method} {path}")));
        tell_news();
        let go = GO.with(Rc::clone);
        Answering {
            thread: thread.clone(),
            origin: origin.clone(),
            path,
            waits: request.facts.expects_continue,
            body: Vec::new(),
            go: Box::pin(async move { go.notified().await }),
            left: None,
            content: Bytes::new(),
            is_head: method == "HEAD",
        }
    }

    fn refuse(_: &Rc<Thread>, _: &Rc<Origin>, refused: &RefusedHead<'_>) -> (Response, Bytes) {
        assert!(!refused.seen.is_empty() || refused.version == Version::HTTP_2);
        let (code, rule) = match refused.fault {
            Fault::Refused(refusal) => (refusal.status(), refusal.rule()),
            _ => (408, "The request head did not come whole in time."),
        };
        (head(code, rule.len() as u64, Then::Close), Bytes::from_static(rule.as_bytes()))
    }

    fn tunnel(
        thread: Rc<Thread>,
        client: Box<Client>,
        stream: Stream,
        read_ahead: Bytes,
        _: Tunnel,
    ) -> Local<'static, (Box<Client>, End)> {
        Box::pin(async move {
            let mut stream = stream;
            let _ = stream.write_all(&read_ahead).await;
            let mut buffer = [0; 1024];
            let echo = async {
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(&buffer[..len]).await;
                }
            };
            let ended = thread.until_cut(&client, std::pin::pin!(echo)).await;
            (client, ended.map_or_else(|reason| End::new(Phase::Tunnel, reason), |()| End::OK))
        })
    }

    fn relay(
        _: Rc<Thread>,
        client: Box<Client>,
        pool: usize,
        _: Option<String>,
        stream: Stream,
        _: Bytes,
    ) -> Local<'static, (Box<Client>, End)> {
        Box::pin(async move {
            let mut stream = stream;
            let _ = stream.write_all(format!("tcp {pool}").as_bytes()).await;
            (client, End::OK)
        })
    }

    fn closed(_: &Thread, _: Index, _: Option<&Client>, end: End) {
        ENDS.with_borrow_mut(|ends| ends.push(end));
        tell_news();
    }
}

impl RequestHandler for Answering {
    fn poll(&mut self, cx: &mut Context<'_>, side: &mut ClientSide<'_>) -> Poll<ResponsePart> {
        if self.left.is_some() {
            return self.poll_content(side.room);
        }
        if self.waits && self.path == "/echo" {
            self.waits = false;
            return Poll::Ready(ResponsePart::Interim(head(100, 0, Then::KeepAlive)));
        }
        let (code, content, then) = match self.path.as_str() {
            "/echo" => match ready!(self.poll_collect(cx, side)) {
                Ok(()) => (200, std::mem::take(&mut self.body).into(), Then::KeepAlive),
                Err(_) => (400, Bytes::from_static(b"bad body"), Then::Close),
            },
            "/patient" => {
                ready!(self.go.as_mut().poll(cx));
                self.path = "/echo".to_owned();
                return self.poll(cx, side);
            }
            "/deaf" if self.body.is_empty() => match ready!(side.body.poll_piece(cx, Demand::Much)) {
                Some(Ok(Piece::Data(data))) => {
                    self.body.extend_from_slice(&data);
                    return self.poll(cx, side);
                }
                _ => (400, Bytes::from_static(b"no body"), Then::Close),
            },
            "/wait" | "/deaf" => {
                ready!(self.go.as_mut().poll(cx));
                (200, Bytes::from_static(b"waited"), Then::KeepAlive)
            }
            "/early" => (200, Bytes::from(vec![b'e'; 100_000]), Then::Close),
            "/panic" if !cfg!(fuzzing) => panic!("as asked"),
            "/upgrade" => (101, Bytes::new(), Then::Tunnel),
            _ => (200, self.path.clone().into(), Then::KeepAlive),
        };
        let count = self.path.strip_prefix("/bytes/").and_then(|count| count.parse().ok());
        self.content = if count.is_some() { Bytes::new() } else { content };
        let length = count.unwrap_or(self.content.len() as u64);
        self.left = Some(count.unwrap_or(0));
        if self.is_head {
            (self.content, self.left) = (Bytes::new(), Some(0));
        }
        Poll::Ready(ResponsePart::Head(head(code, length, then)))
    }

    fn phase(&self) -> Phase {
        Phase::Response
    }

    fn end(&mut self, _: End) {}

    fn close(self, _: bool, _: Then) -> Instant {
        Instant::now()
    }

    fn into_tunnel(self) -> Option<Tunnel> {
        Some(Tunnel::stand_in(&self.thread, &self.origin))
    }
}

impl Answering {
    fn poll_collect(&mut self, cx: &mut Context<'_>, side: &mut ClientSide<'_>) -> Poll<Result<(), RequestBodyError>> {
        while let Some(piece) = ready!(side.body.poll_piece(cx, Demand::Much)) {
            if let Piece::Data(data) = piece? {
                self.body.extend_from_slice(&data);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What is there, then as much more as is left.
    fn poll_content(&mut self, room: Option<Demand>) -> Poll<ResponsePart> {
        if room.is_none() {
            return Poll::Pending;
        }
        let left = self.left.unwrap_or(0);
        if self.content.is_empty() {
            let len = left.min(64 * 1024);
            self.left = Some(left - len);
            self.content = vec![b'x'; len as usize].into();
        }
        let now = std::mem::take(&mut self.content);
        Poll::Ready(if now.is_empty() { ResponsePart::End } else { ResponsePart::Data(now) })
    }
}

fn head(code: u16, length: u64, then: Then) -> Response {
    let fields = if code < 200 { String::new() } else { format!("Content-Length: {length}\r\n") };
    Response {
        status: http::StatusCode::from_u16(code).expect("a status"),
        reason: None,
        fields: fields.into_bytes(),
        length: BodyLength::Known(length),
        then,
        upgrade: then == Then::Tunnel,
    }
}

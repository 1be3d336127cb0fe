//! Exchanges that stay open for as long as the fact wants: in each step one piece goes over each of them.
//!
//! Downloads with a length, chunked streams of events, uploads and long polls, over HTTP/1.1 and HTTP/2, with TLS and
//! without. Clients and servers are in this process: each step is a handshake, so that no time has to be guessed.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};

use super::content::Content;
use super::tls::{HTTP_1, HTTP_2, TlsDoor};
use super::wire::{Duplex, Head, Wire};
use super::{Door, Lost, Place, in_time};

const PIECE: u64 = HeldOpen::PIECE;
/// The longest that a step may take; an exchange that is lost ends it at once.
const STEP: Duration = Duration::from_secs(120);

/// What an exchange does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Download,
    Events,
    Upload,
    Poll,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Download, Self::Events, Self::Upload, Self::Poll];

    fn of_target(target: &str) -> Option<(Self, Content)> {
        let (kind, key) = target.strip_prefix('/')?.split_once('/')?;
        let kind = Self::ALL.into_iter().find(|one| one.word() == kind)?;
        Some((kind, Content { key: key.parse().ok()? }))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Events => "events",
            Self::Upload => "upload",
            Self::Poll => "poll",
        }
    }
}

/// How far all of them are.
#[derive(Default)]
struct Progress {
    /// Exchanges whose request came to the server.
    open: AtomicU64,
    /// Pieces that arrived at the other end.
    pieces: AtomicU64,
    /// Exchanges that came to their end, every byte as it should be.
    whole: AtomicU64,
    lost: Mutex<Vec<String>>,
}

/// The steps, as clients and servers see them.
#[derive(Clone)]
struct Steps {
    now: watch::Receiver<u64>,
    /// The last one, after which every exchange ends.
    last: u64,
    progress: Arc<Progress>,
}

impl Steps {
    async fn reached(&mut self, step: u64) -> Result<(), Lost> {
        let reached = self.now.wait_for(|now| *now >= step).await;
        reached.map(drop).map_err(|_| Lost::new("the fact has ended"))
    }
}

/// Open exchanges, and the server that they go to.
pub struct HeldOpen {
    pub server: SocketAddr,
    now: watch::Sender<u64>,
    steps: Steps,
    /// Exchanges, and those over which pieces go.
    all: u64,
    in_pieces: u64,
}

impl HeldOpen {
    /// Bytes that go over each exchange in each step.
    pub const PIECE: u64 = 3000;

    /// A server, for exchanges of so many steps.
    pub fn serve(place: Place, address: IpAddr, last: u64) -> Self {
        let (now, receiver) = watch::channel(0);
        let steps = Steps { now: receiver, last, progress: Arc::default() };
        let (say, listening) = std::sync::mpsc::channel();
        let served = steps.clone();
        place.run("servers of open exchanges", move || async move {
            let listener = TcpListener::bind((address, 0)).await.expect("a free port");
            say.send(listener.local_addr().expect("bound")).expect("the fact waits");
            let mut over = served.now.clone();
            tokio::select! {
                () = accept(listener, served) => {}
                _ = over.wait_for(|now| *now == u64::MAX) => {}
            }
        });
        let server = listening.recv().expect("a server that listens");
        Self { server, now, steps, all: 0, in_pieces: 0 }
    }

    /// Opens `connections` of each way in: each of HTTP/1 with one exchange, each of HTTP/2 with two of each kind.
    #[track_caller]
    pub fn open(&mut self, place: Place, door: Door, connections: usize) {
        let ways: u64 = if door.tls.is_some() { 2 } else { 1 };
        let exchanges = ways * (connections + connections * 2 * Kind::ALL.len()) as u64;
        (self.all, self.in_pieces) = (self.all + exchanges, self.in_pieces + exchanges * 3 / 4);
        let steps = self.steps.clone();
        place.run("clients of open exchanges", move || clients(door, connections, steps));
        self.wait("every exchange open", |progress| &progress.open, self.all);
    }

    /// A piece goes over each exchange.
    #[track_caller]
    pub fn step(&self) {
        self.now.send_modify(|now| *now += 1);
        let step = *self.now.borrow();
        assert!(step <= self.steps.last, "an exchange has {} steps", self.steps.last);
        self.wait("a piece over each exchange", |progress| &progress.pieces, self.in_pieces * step);
    }

    /// Every exchange has come to its end. How many there were.
    #[track_caller]
    pub fn end(self) -> u64 {
        assert_eq!(*self.now.borrow(), self.steps.last, "all steps were made");
        self.wait("the end of each exchange", |progress| &progress.whole, self.all);
        self.all
    }

    #[track_caller]
    fn wait(&self, what: &str, count: impl Fn(&Progress) -> &AtomicU64, wanted: u64) {
        let (progress, until) = (&self.steps.progress, Instant::now() + STEP);
        loop {
            let lost = progress.lost.lock().expect("losses");
            assert!(
                lost.is_empty(),
                "{} of {} exchanges were lost: {:?}",
                lost.len(),
                self.all,
                &lost[..lost.len().min(9)]
            );
            drop(lost);
            let now = count(progress).load(Ordering::Relaxed);
            if now >= wanted {
                return;
            }
            assert!(Instant::now() < until, "waited in vain for {what}: {now} of {wanted}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for HeldOpen {
    fn drop(&mut self) {
        self.now.send_replace(u64::MAX);
    }
}

async fn accept(listener: TcpListener, steps: Steps) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            spawn_local(serve(Wire::new(stream), steps.clone()));
        }
    }
}

// how an exchange ended is the client's to say, and what the server got wrong is in its answer
async fn serve(mut wire: Wire, steps: Steps) -> Result<(), Lost> {
    while let Some(head) = wire.next_head().await? {
        let target = head.line.split(' ').nth(1).and_then(Kind::of_target);
        let Some((kind, content)) = target else {
            wire.send("HTTP/1.1 204 No Content\r\n\r\n").await?;
            continue;
        };
        steps.progress.open.fetch_add(1, Ordering::Relaxed);
        answer(&mut wire, &head, kind, content, steps.clone()).await?;
    }
    Ok(())
}

async fn answer(wire: &mut Wire, head: &Head, kind: Kind, content: Content, mut steps: Steps) -> Result<(), Lost> {
    let last = steps.last;
    let of_length = |length: u64| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    match kind {
        Kind::Poll => {
            steps.reached(last).await?;
            wire.send(of_length(PIECE)).await?;
            wire.send(content.answer().bytes(0, PIECE as usize)).await
        }
        Kind::Upload => {
            let whole = head.field("content-length").and_then(|length| length.parse().ok()) == Some(last * PIECE);
            let mut received = if whole { Ok(()) } else { Err(Lost::new("an upload without its length")) };
            for step in 0..last {
                steps.reached(step + 1).await?;
                if received.is_ok() {
                    received = wire.expect(content, step * PIECE, PIECE).await;
                }
                steps.progress.pieces.fetch_add(1, Ordering::Relaxed);
            }
            if let Err(lost) = received {
                return wire.send(format!("HTTP/1.1 422 {lost}\r\nContent-Length: 0\r\n\r\n")).await;
            }
            wire.send(of_length(PIECE)).await?;
            wire.send(content.answer().bytes(0, PIECE as usize)).await
        }
        Kind::Download | Kind::Events => {
            let chunked = kind == Kind::Events;
            let framing = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            wire.send(if chunked { framing.to_owned() } else { of_length(last * PIECE) }).await?;
            for step in 0..last {
                steps.reached(step + 1).await?;
                let piece = content.answer().bytes(step * PIECE, PIECE as usize);
                let size = format!("{PIECE:x}\r\n");
                wire.send(if chunked { [size.as_bytes(), &piece, b"\r\n"].concat() } else { piece }).await?;
            }
            if chunked { wire.send("0\r\n\r\n").await } else { Ok(()) }
        }
    }
}

/// Every client, to the end of its exchanges. It stays while others are not done: a connection that is dropped early
/// would look like one that was closed.
async fn clients(door: Door, connections: usize, steps: Steps) {
    let mut all = JoinSet::new();
    let ways: &[bool] = if door.tls.is_some() { &[false, true] } else { &[false] };
    for &over_tls in ways {
        for number in 0..connections {
            let kind = Kind::ALL[number % Kind::ALL.len()];
            let (version, http1, http2) = (number as u64 / 4, door.clone(), door.clone());
            let (of_one, of_many) = (steps.clone(), steps.clone());
            all.spawn_local(async move {
                one(connect(&http1, over_tls, version, HTTP_1).await, &http1, kind, of_one).await
            });
            all.spawn_local(
                async move { many(connect(&http2, over_tls, version, HTTP_2).await, &http2, of_many).await },
            );
        }
    }
    while all.join_next().await.is_some() {}
    let mut over = steps.now.clone();
    let _ = over.wait_for(|now| *now == u64::MAX).await;
}

async fn connect(door: &Door, over_tls: bool, version: u64, protocol: &[u8]) -> Result<Box<dyn Duplex>, Lost> {
    match &door.tls {
        Some(tls) if over_tls => {
            Ok(Box::new(tls.connect(&door.host, TlsDoor::version(version), protocol, |_| ()).await?))
        }
        _ => Ok(Box::new(in_time("connection", async { Ok(TcpStream::connect(door.http).await?) }).await?)),
    }
}

fn note(steps: &Steps, kind: Kind, way: &str, done: Result<(), Lost>) {
    match done {
        Ok(()) => drop(steps.progress.whole.fetch_add(1, Ordering::Relaxed)),
        Err(lost) => steps.progress.lost.lock().expect("losses").push(format!("{kind:?} over {way}: {lost}")),
    }
}

/// One exchange of HTTP/1.1.
async fn one(stream: Result<Box<dyn Duplex>, Lost>, door: &Door, kind: Kind, mut steps: Steps) {
    let told = steps.clone();
    let done = async {
        let mut wire = Wire::over(stream?);
        let content = Content::new();
        let method = if kind == Kind::Upload { "POST" } else { "GET" };
        let length = format!("Content-Length: {}\r\n", steps.last * PIECE);
        let framing = if kind == Kind::Upload { &length[..] } else { "" };
        let target = format!("/{}/{}", kind.word(), content.key);
        wire.send(format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{framing}\r\n", door.host)).await?;
        if kind == Kind::Upload {
            for step in 0..steps.last {
                steps.reached(step + 1).await?;
                wire.send(content.bytes(step * PIECE, PIECE as usize)).await?;
            }
        } else if kind == Kind::Poll {
            steps.reached(steps.last).await?;
        }
        let Some(head) = in_time("answer", wire.next_head()).await? else {
            return Err(Lost::new("closed without an answer"));
        };
        if head.line != "HTTP/1.1 200 OK" || head.says("connection", "close") {
            return Err(Lost::new(format!("{}, Connection: {:?}", head.line, head.field("connection"))));
        }
        match kind {
            Kind::Upload | Kind::Poll => wire.body(&head, content.answer()).await.map(drop),
            Kind::Download | Kind::Events => {
                let chunked = kind == Kind::Events;
                for step in 0..steps.last {
                    steps.reached(step + 1).await?;
                    let at = step * PIECE;
                    if chunked {
                        wire.chunk(content.answer(), at).await.map(drop)?
                    } else {
                        wire.expect(content.answer(), at, PIECE).await?
                    }
                    steps.progress.pieces.fetch_add(1, Ordering::Relaxed);
                }
                match chunked && wire.chunk(content.answer(), 0).await? != 0 {
                    true => Err(Lost::new("more than all chunks")),
                    false => Ok(()),
                }
            }
        }
    };
    note(&told, kind, "HTTP/1.1", done.await);
}

/// Streams of one connection of HTTP/2.
async fn many(stream: Result<Box<dyn Duplex>, Lost>, door: &Door, steps: Steps) {
    let connected = async {
        let stream = stream?;
        in_time("connection of HTTP/2", async { h2::client::handshake(stream).await.map_err(lost) }).await
    };
    let (sender, connection) = match connected.await {
        Ok(connected) => connected,
        Err(lost) => return note(&steps, Kind::Poll, "HTTP/2", Err(lost)),
    };
    let ended = spawn_local(connection);
    let mut all = JoinSet::new();
    for kind in Kind::ALL.into_iter().chain(Kind::ALL) {
        let (sender, host, steps, told) = (sender.clone(), door.host.clone(), steps.clone(), steps.clone());
        all.spawn_local(async move { note(&told, kind, "HTTP/2", stream_of(sender, &host, kind, steps).await) });
    }
    while all.join_next().await.is_some() {}
    // a connection that was told to go away ends when its last stream has
    if ended.is_finished() {
        note(&steps, Kind::Poll, "HTTP/2", Err(Lost::new("GOAWAY")));
    }
    drop(sender);
}

async fn stream_of(sender: SendRequest<Bytes>, host: &str, kind: Kind, mut steps: Steps) -> Result<(), Lost> {
    let mut sender = in_time("room for a stream", async { sender.ready().await.map_err(lost) }).await?;
    let content = Content::new();
    let request = Request::builder().uri(format!("https://{host}/{}/{}", kind.word(), content.key));
    let request = match kind {
        Kind::Upload => request.method("POST").header("content-length", steps.last * PIECE),
        _ => request,
    };
    let request = request.body(()).map_err(|fault| Lost::new(fault.to_string()))?;
    let (response, mut body) = sender.send_request(request, kind != Kind::Upload).map_err(lost)?;
    drop(sender);
    if kind == Kind::Upload {
        for step in 0..steps.last {
            steps.reached(step + 1).await?;
            body.reserve_capacity(PIECE as usize);
            while body.capacity() < PIECE as usize {
                let room = poll_fn(|cx| body.poll_capacity(cx));
                in_time("room to write", async { room.await.transpose().map_err(lost) }).await?;
            }
            let piece = content.bytes(step * PIECE, PIECE as usize);
            body.send_data(piece.into(), step + 1 == steps.last).map_err(lost)?;
        }
    } else if kind == Kind::Poll {
        steps.reached(steps.last).await?;
    }
    let (head, mut body) = in_time("answer", async { response.await.map_err(lost) }).await?.into_parts();
    if head.status != 200 {
        return Err(Lost::new(format!("status {}", head.status)));
    }
    let pieces = if matches!(kind, Kind::Download | Kind::Events) { steps.last } else { 1 };
    let (mut at, mut ahead) = (0, Bytes::new());
    for step in 0..pieces {
        if pieces > 1 {
            steps.reached(step + 1).await?;
        }
        while at < (step + 1) * PIECE {
            if ahead.is_empty() {
                let data = in_time("more of a body", async { body.data().await.transpose().map_err(lost) }).await?;
                ahead = data.ok_or_else(|| Lost::new(format!("the end after {at} bytes")))?;
                body.flow_control().release_capacity(ahead.len()).map_err(lost)?;
            }
            let now = ahead.split_to(ahead.len().min(((step + 1) * PIECE - at) as usize));
            content.answer().check(at, &now)?;
            at += now.len() as u64;
        }
        if pieces > 1 {
            steps.progress.pieces.fetch_add(1, Ordering::Relaxed);
        }
    }
    match in_time("the end of a body", async { body.data().await.transpose().map_err(lost) }).await? {
        Some(more) if !more.is_empty() => Err(Lost::new("more than the body")),
        _ => Ok(()),
    }
}

fn lost(fault: h2::Error) -> Lost {
    Lost::new(fault.to_string())
}

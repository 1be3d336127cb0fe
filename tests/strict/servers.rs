//! The servers behind the proxy: they send what is wanted of them, check what they get, and echo in tunnels.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::answers::Wanted;
use super::tunnels::{Temper, WEBSOCKET_ACCEPT};
use super::wire::{Head, Wire};
use super::{Lost, Place};

/// In how many pieces a late tunnel answers, and how long is between them.
const LATE_PIECES: usize = 8;
const LATE_PAUSE: Duration = Duration::from_millis(50);

/// Servers on free ports of one address, half of them for HTTP and half for plain bytes. Dropping it ends them.
pub struct Servers {
    pub http: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often each request was seen, by its key.
#[derive(Default)]
struct Seen(Mutex<HashMap<u64, u32>>);

impl Servers {
    /// So many servers of either kind.
    pub fn start(place: Place, address: IpAddr, count: usize) -> Self {
        let (say, listening) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let seen = Arc::new(Seen::default());
        let noted = seen.clone();
        let thread = place.run("servers", move || async move {
            let (http, tcp) = (listen(address, count).await, listen(address, count).await);
            let addresses = |all: &[TcpListener]| all.iter().map(|one| one.local_addr().expect("bound")).collect();
            let _ = say.send((addresses(&http), addresses(&tcp)));
            for listener in http {
                let seen = noted.clone();
                spawn_local(accept(listener, move |wire| serve(wire, seen.clone())));
            }
            for listener in tcp {
                spawn_local(accept(listener, |wire| async { tunnel(wire).await }));
            }
            let _ = stopped.await;
        });
        let (http, tcp) = listening.recv().expect("servers that listen");
        Self { http, tcp, seen, stop: Some(stop), thread: Some(thread) }
    }

    /// How many requests came more than once.
    pub fn served_twice(&self) -> usize {
        self.seen.0.lock().expect("keys").values().filter(|times| **times > 1).count()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))) || std::thread::panicking(), "a server failed");
    }
}

async fn listen(address: IpAddr, count: usize) -> Vec<TcpListener> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(TcpListener::bind((address, 0)).await.expect("a free port"));
    }
    all
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(Wire) -> F)
where
    F: Future<Output = Result<(), Lost>> + 'static,
{
    loop {
        match listener.accept().await {
            // how it ended is the client's to say
            Ok((stream, _)) => drop(spawn_local(serve(Wire::new(stream)))),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Serves one connection until its other end closes it.
async fn serve(mut wire: Wire, seen: Arc<Seen>) -> Result<(), Lost> {
    while let Some(head) = wire.next_head().await? {
        let target = head.line.split(' ').nth(1).unwrap_or_default();
        let wanted = Wanted::of_target(target);
        if let Some(wanted) = &wanted {
            *seen.0.lock().expect("keys").entry(wanted.content.key).or_default() += 1;
        }
        if head.field("upgrade").is_some() {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
            wire.send(format!("{switch}Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n")).await?;
            return tunnel(wire).await;
        }
        match wanted {
            Some(wanted) => answer(&mut wire, &head, wanted).await?,
            None => wire.send("HTTP/1.1 204 No Content\r\n\r\n").await?,
        }
        if head.says("connection", "close") {
            return Ok(());
        }
    }
    Ok(())
}

async fn answer(wire: &mut Wire, head: &Head, wanted: Wanted) -> Result<(), Lost> {
    let got = wire.body(head, wanted.content).await;
    if !matches!(got, Ok(length) if length == wanted.up) {
        let reason = match got {
            Ok(length) => format!("the server got {length} bytes instead of {}", wanted.up),
            Err(lost) => format!("the server got a wrong body: {lost}"),
        };
        // in the status line, where clients look for why they lost something
        let refusal = format!("HTTP/1.1 422 {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        wire.send(refusal).await?;
        return Err(Lost::new(reason));
    }
    wire.send(format!("HTTP/1.1 200 OK\r\n{}\r\n", wanted.framing(wanted.down))).await?;
    // slow in one direction is enough
    let pace = if wanted.up > 0 { Wanted { pieces: 1, pause: Duration::ZERO, ..wanted } } else { wanted };
    pace.send(wire, wanted.content.answer(), wanted.down).await
}

/// One tunnel: the first byte says how it is.
async fn tunnel(mut wire: Wire) -> Result<(), Lost> {
    let mut got = wire.some().await?;
    let late = got.first() == Some(&Temper::Late.letter());
    let mut kept = Vec::new();
    while !got.is_empty() {
        if late {
            kept.append(&mut got);
        } else {
            wire.send(&got).await?;
        }
        got = wire.some().await?;
    }
    for piece in kept.chunks(kept.len().div_ceil(LATE_PIECES).max(1)) {
        wire.send(piece).await?;
        tokio::time::sleep(LATE_PAUSE).await;
    }
    wire.finish().await
}

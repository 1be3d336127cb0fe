//! The event streams of pages that are open (`GET /v1/live`): the status every two seconds, points of the history and events
//! when they come.
//!
//! hyper serves what has an end. A stream of events has none, and a reload must not close it: so these connections are plain
//! sockets, written to here, and go to the next worker between two events. Format: server-sent events (WHATWG HTML 9.2) in
//! chunks (RFC 9112 7.1).

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SendFlags;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

use super::asker::Asker;
use crate::control::message::LivePosition;
use crate::control::recent::Recent;

/// From one status to the next.
const INTERVAL: Duration = Duration::from_secs(2);
/// A client that does not take what comes in this time is cut off, and comes again.
const SLOWEST: Duration = Duration::from_secs(1);
/// Streams that are open at once: as many go with one message.
const MOST: usize = 64;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                    Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
/// Milliseconds until a browser comes again.
const RETRY: &str = "retry: 1000\n\n";

/// The streams of this process.
#[derive(Clone, Debug)]
pub(super) struct LiveStreams(Rc<OpenStreams>);

#[derive(Debug)]
struct OpenStreams {
    asker: Asker,
    waiting: RefCell<Vec<LiveStream>>,
    /// Streams that are open, also those that are written to.
    open: Cell<usize>,
    changed: Notify,
    /// Another worker goes on with them.
    ends: Cell<bool>,
    /// Runs while there is a stream.
    pump: RefCell<Option<JoinHandle<()>>>,
}

/// One stream, between two events.
#[derive(Debug)]
struct LiveStream {
    stream: UnixStream,
    position: LivePosition,
}

impl LiveStreams {
    pub(super) fn new(asker: Asker) -> Self {
        Self(Rc::new(OpenStreams {
            asker,
            waiting: RefCell::default(),
            open: Cell::new(0),
            changed: Notify::new(),
            ends: Cell::new(false),
            pump: RefCell::default(),
        }))
    }

    /// Opens a stream on a connection whose request was read. It gets everything that is still known.
    pub(super) async fn open(&self, mut stream: UnixStream, user: Option<(String, u64)>) {
        if self.0.open.get() >= MOST || self.0.ends.get() {
            let why =
                if self.0.ends.get() { "another generation takes over" } else { "so many streams are open already" };
            let busy = busy(why);
            let _ = timeout(SLOWEST, stream.write_all(busy.as_bytes())).await;
            return;
        }
        let first = format!("{HEAD}{}", chunk(RETRY));
        if let Ok(Ok(())) = timeout(SLOWEST, stream.write_all(first.as_bytes())).await {
            self.add(LiveStream { stream, position: LivePosition { user, ..LivePosition::default() } });
        }
    }

    /// Streams may be opened, also after they were given away.
    pub(super) fn go_on(&self) {
        self.0.ends.set(false);
    }

    /// Goes on with streams of another worker, but for those of users that may not log in any more, as `knows` has it.
    pub(super) fn take(&self, sockets: Vec<OwnedFd>, positions: Vec<LivePosition>, knows: impl Fn(&str, u64) -> bool) {
        for (socket, position) in sockets.into_iter().zip(positions) {
            if position.user.as_ref().is_some_and(|(user, mark)| !knows(user, *mark)) || self.0.open.get() >= MOST {
                continue;
            }
            let stream = std::os::unix::net::UnixStream::from(socket);
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) {
                self.add(LiveStream { stream, position });
            }
        }
    }

    /// Ends the writing; then gives all streams away, each between two events.
    pub(super) async fn give(&self) -> Vec<(OwnedFd, LivePosition)> {
        self.0.ends.set(true);
        self.0.changed.notify_one();
        let pump = self.0.pump.take();
        if let Some(pump) = pump {
            let _ = pump.await; // a panic there costs the streams that were written to
        }
        let streams = self.0.waiting.take();
        self.0.open.set(0);
        let given = |one: LiveStream| Ok::<_, io::Error>((OwnedFd::from(one.stream.into_std()?), one.position));
        streams.into_iter().filter_map(|one| given(one).ok()).collect()
    }

    /// Ends all streams, as a response ends.
    pub(super) async fn end(&self) {
        for (socket, _) in self.give().await {
            // a client that takes nothing sees the end of the connection
            let _ = rustix::net::send(&socket, b"0\r\n\r\n", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    fn add(&self, stream: LiveStream) {
        if self.0.ends.get() {
            return; // it was opened while the others were given away: its browser comes again
        }
        self.0.open.set(self.0.open.get() + 1);
        self.0.waiting.borrow_mut().push(stream);
        self.0.changed.notify_one();
        let mut pump = self.0.pump.borrow_mut();
        if pump.as_ref().is_none_or(JoinHandle::is_finished) {
            *pump = Some(spawn_local(pump_events(self.0.clone())));
        }
    }
}

/// Writes to all streams until there are none, or another worker goes on with them.
async fn pump_events(shared: Rc<OpenStreams>) {
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(next) => next = Instant::now() + INTERVAL,
            () = shared.changed.notified() => {}
        }
        if shared.ends.get() {
            return;
        }
        let asked = tokio::select! {
            asked = ask(&shared) => asked,
            () = ended(&shared) => return,
        };
        // a stream that waits for its first status does not make that of the others come early
        if let Some((status, recent)) = asked {
            write_all(&shared, &status, &recent).await;
        }
        if shared.waiting.borrow().is_empty() {
            return;
        }
    }
}

/// The status as an event, and what is new for any of the streams. The id of the event is the time of the status, in
/// milliseconds of a clock that goes on over reloads: a page that was held up gets several at once, and makes rates of them.
async fn ask(shared: &OpenStreams) -> Option<(Arc<str>, Arc<Recent>)> {
    let status = shared.asker.status(|status| serde_json::to_string(status).unwrap_or_default()).await.ok()?;
    let now = clock_gettime(ClockId::Monotonic);
    let status = format!("event: status\nid: {}\ndata: {status}\n\n", now.tv_sec * 1000 + now.tv_nsec / 1_000_000);
    let oldest = |of: fn(&LivePosition) -> u64| {
        shared.waiting.borrow().iter().map(|one| of(&one.position)).min().unwrap_or_default()
    };
    let recent = shared.asker.recent(oldest(|one| one.points_after), oldest(|one| one.events_after)).await.ok()?;
    Some((status.into(), Arc::new(recent)))
}

async fn ended(shared: &OpenStreams) {
    while !shared.ends.get() {
        shared.changed.notified().await;
    }
}

async fn write_all(shared: &OpenStreams, status: &Arc<str>, recent: &Arc<Recent>) {
    let mut writing = JoinSet::new();
    for mut one in shared.waiting.take() {
        let (status, recent) = (status.clone(), recent.clone());
        writing.spawn_local(async move {
            let text = one.text(&status, &recent);
            let written = timeout(SLOWEST, one.stream.write_all(chunk(&text).as_bytes())).await;
            matches!(written, Ok(Ok(()))).then_some(one)
        });
    }
    let mut left = 0;
    while let Some(written) = writing.join_next().await {
        match written {
            Ok(Some(one)) if !one.has_gone() => shared.waiting.borrow_mut().push(one),
            _ => left += 1,
        }
    }
    shared.open.set(shared.open.get() - left);
}

impl LiveStream {
    /// The events that it has not got yet; from now on it has.
    fn text(&mut self, status: &str, recent: &Recent) -> String {
        let mut text = status.to_owned();
        let mut event = |name: &str, data: &str| {
            let _ = write!(text, "event: {name}\ndata: {data}\n\n"); // a string takes everything
        };
        // a page that is new asks for what was before by itself
        let (points, events) = (self.position.points_after, self.position.events_after);
        if self.position.has_status {
            recent
                .points
                .iter()
                .filter(|one| one.at > points)
                .for_each(|one| event("point", &serde_json::to_string(one).unwrap_or_default()));
            recent
                .events
                .iter()
                .filter(|one| one.number > events)
                .for_each(|one| event("event", &serde_json::to_string(one).unwrap_or_default()));
        }
        self.position.has_status = true;
        self.position.points_after = recent.points.last().map_or(points, |last| last.at.max(points));
        self.position.events_after = recent.events.last().map_or(events, |last| last.number.max(events));
        text
    }

    /// Whether the client has closed its side.
    fn has_gone(&self) -> bool {
        match self.stream.try_read(&mut [0; 64]) {
            Ok(read) => read == 0,
            Err(fault) => fault.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// The answer to a client that is to come again.
fn busy(why: &str) -> String {
    let body = format!("{{\"error\":\"{why}\"}}");
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// One chunk (RFC 9112 7.1).
fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

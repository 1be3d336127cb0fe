//! The idle upstream connections of one thread, by pool and server.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::http2::SharedConnections;
use crate::pool::Server;
use crate::timer::TimerWheel;

/// A request that may not or cannot be sent again takes only a connection that was idle for less than this: the longer it
/// was, the likelier the server is just closing it.
const FRESH: Duration = Duration::from_secs(1);

/// How long a server that closed a kept connection unasked gets no such request on a kept one: between its FIN and the
/// moment that we see it, it is not known whether the request was read.
const WARY: Duration = Duration::from_secs(60);

/// From one look for old connections to the next.
const SWEEP: Duration = Duration::from_secs(1);

/// Idle connections to the servers of one pool.
pub struct Idle {
    servers: Vec<ServerIdle>,
    keep: Duration,
    most: usize,
    /// A task is on its way to close those that are too old.
    sweeping: Cell<bool>,
}

/// The side of one server.
#[derive(Default)]
struct ServerIdle {
    kept: RefCell<VecDeque<Kept>>,
    /// When it was last found to have closed a connection that was in use a moment before.
    closed_unasked: Cell<Option<Instant>>,
    /// Its last response was of HTTP/1.0.
    is_old: Cell<bool>,
    /// Connections of HTTP/2, with their streams.
    shared: SharedConnections,
}

struct Kept {
    connection: Box<Connection>,
    until: Instant,
    since: Instant,
}

/// Which idle connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any: the request can be repeated on another.
    Any,
    /// One that was in use a moment ago.
    Fresh,
}

impl Idle {
    /// For `servers` servers: at most `most` connections each, for at most `keep`. Those that were in use in the last
    /// second do not count.
    #[must_use]
    pub fn new(servers: usize, keep: Duration, most: usize) -> Rc<Self> {
        let servers = std::iter::repeat_with(ServerIdle::default).take(servers).collect();
        Rc::new(Self { servers, keep, most, sweeping: Cell::new(false) })
    }

    /// The connection to the server of this index that was used last, if there is one in order.
    pub fn take(&self, index: usize, server: &Server, wanted: Wanted, now: Instant) -> Option<Box<Connection>> {
        let side = self.servers.get(index)?;
        if server.scheme.is_http2() {
            return side.shared.take(server).map(Connection::of_stream);
        }
        if wanted == Wanted::Fresh && side.is_wary(now) {
            return None;
        }
        let mut kept = side.kept.borrow_mut();
        while let Some(mut last) = kept.pop_back() {
            if last.until <= now || !last.connection.leads_to(server) {
                continue;
            }
            if wanted == Wanted::Fresh && now.saturating_duration_since(last.since) >= FRESH {
                kept.push_back(last);
                return None; // those below are older
            }
            if wanted == Wanted::Fresh && last.connection.is_suspect() {
                continue; // what the server sends too much would be taken for the response
            }
            let is_fresh = match wanted {
                Wanted::Any => last.connection.is_fresh(),
                Wanted::Fresh => last.connection.is_fresh_now(),
            };
            if is_fresh {
                last.connection.reuse(last.since);
                return Some(last.connection);
            }
            side.was_closed(last.since, now);
            if wanted == Wanted::Fresh && side.is_wary(now) {
                return None;
            }
        }
        None
    }

    /// The connections of HTTP/2 to the server of this index.
    #[must_use]
    pub fn shared(&self, server: usize) -> Option<&SharedConnections> {
        self.servers.get(server).map(|side| &side.shared)
    }

    /// Takes a connection of HTTP/2 that was just opened to the server of this index, and gives its first stream.
    #[must_use]
    pub fn share(
        &self,
        timer_wheel: &Rc<TimerWheel>,
        server: usize,
        opened: Box<Connection>,
    ) -> Option<Box<Connection>> {
        let (stream, address, version) = opened.into_opened()?;
        let shared = self.shared(server)?;
        Some(Connection::of_stream(shared.put(stream, address, version, self.keep, timer_wheel)))
    }

    /// Notes that a request met the end of a connection which was idle since `since`.
    pub fn closed_unasked(&self, server: usize, since: Instant) {
        if let Some(side) = self.servers.get(server) {
            side.was_closed(since, Instant::now());
        }
    }

    /// Notes whether a server answers in HTTP/1.0.
    pub fn answered(&self, server: usize, is_old: bool) {
        if let Some(side) = self.servers.get(server) {
            side.is_old.set(is_old);
        }
    }

    /// Whether a server answered in HTTP/1.0 last, which knows no `100 Continue`.
    #[must_use]
    pub fn is_old(&self, server: usize) -> bool {
        self.servers.get(server).is_some_and(|side| side.is_old.get())
    }

    /// Keeps a connection for the next request.
    pub fn put(
        self: &Rc<Self>,
        timer_wheel: &Rc<TimerWheel>,
        server: usize,
        connection: Box<Connection>,
        now: Instant,
    ) {
        // a little less than what the server promises, so that it does not close while a request is on its way
        let promised = connection.server_keeps().map(|time| time.saturating_sub(Duration::from_secs(1)));
        let keep = promised.map_or(self.keep, |time| time.min(self.keep));
        let Some(side) = self.servers.get(server) else { return };
        if keep.is_zero() || self.most == 0 {
            return;
        }
        let mut kept = side.kept.borrow_mut();
        ServerIdle::close_beyond(&mut kept, self.most.saturating_sub(1), now);
        kept.push_back(Kept { connection, until: now + keep, since: now });
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(self.clone(), timer_wheel.clone()));
        }
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.iter().map(|side| side.kept.borrow().len()).sum()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes all that are kept, because nothing will ask for them again.
    pub fn clear(&self) {
        for side in &self.servers {
            side.kept.borrow_mut().clear();
            side.shared.close_idle();
        }
    }

    fn close_old(&self) {
        let now = Instant::now();
        for side in &self.servers {
            side.kept.borrow_mut().retain(|kept| {
                let is_old = kept.until <= now;
                let is_closed = !is_old && !kept.connection.is_fresh();
                if is_closed {
                    side.was_closed(kept.since, now);
                }
                !(is_old || is_closed)
            });
            ServerIdle::close_beyond(&mut side.kept.borrow_mut(), self.most, now);
        }
    }
}

impl ServerIdle {
    /// Closes the connections beyond `most` that were not in use a moment ago. Those that were are as many as requests
    /// came at once, and the next ones want as many: with 320 at once, and 128 kept, every fifth request opened a
    /// connection, which was half of all work.
    fn close_beyond(kept: &mut VecDeque<Kept>, most: usize, now: Instant) {
        while kept.len() > most && kept.front().is_some_and(|first| now.saturating_duration_since(first.since) >= FRESH)
        {
            kept.pop_front();
        }
    }

    /// Notes that a connection which was idle since `since` was found closed. One that was closed after a long time
    /// says nothing about those that were in use a moment ago.
    fn was_closed(&self, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) < FRESH + SWEEP {
            self.closed_unasked.set(Some(now));
        }
    }

    /// Whether a request must not meet a FIN of this server.
    fn is_wary(&self, now: Instant) -> bool {
        self.closed_unasked.get().is_some_and(|then| now - then < WARY)
    }
}

/// Closes old connections until none is left; ends by itself then.
async fn sweep(idle: Rc<Idle>, timer_wheel: Rc<TimerWheel>) {
    while !idle.is_empty() {
        timer_wheel.sleep(SWEEP).await;
        idle.close_old();
    }
    idle.sweeping.set(false);
}

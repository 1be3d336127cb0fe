//! HTTP/2 on one client connection, from its preface to its end.
//!
//! The connection reads frames, has each request served by a [`RequestHandler`], and writes what those give, all that one
//! turn made in one go. [`Session`] has the rules; everything that the connection waits for is here.
//!
//! ```text
//!   Serving ──GOAWAY without an end, and PING──▶ Leaving ──answered, or late: GOAWAY──▶ Left ──nothing is open──▶ Last
//!      └──a rule is broken: GOAWAY──────────────────────────────────────────────────────────────────────────────▶ Last
//! ```
//! The first three are states of the session, and streams open in all but `Left`. A connection on which nothing is open
//! for a moment is parked: what is left of it is what would move, and from that it comes back.

mod body;
mod deadlines;
mod moving;
mod parked;
mod reading;
mod ready;
mod stream;

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use self::deadlines::{Deadlines, is_over};
pub(super) use self::moving::{Contradicted, OpenSession};
pub(super) use self::parked::{DormantSession, ParkedHttp2, Unparked};
use self::ready::ReadyStreams;
use self::stream::{OpenStream, StreamOutcome};
use super::service::Service;
use crate::config::ListenerSettings;
use crate::handover::successor::{TransferPermit, Wait};
use crate::http2::error::ErrorCode;
use crate::http2::priority::Priority;
use crate::http2::rotation::SendRotation;
use crate::http2::session::Session;
use crate::http2::settings::LocalSettings;
use crate::net;
use crate::observe::end::{End, Phase, Reason};
use crate::proxy::handler::RequestHandler;
use crate::proxy::response::Then;
use crate::proxy::{Client, Thread};
use crate::turn::Turn;

/// So much is gathered before it is written; beyond it nothing is read for the client, on either side.
const GATHERED: usize = 128 * 1024;
/// How long a connection keeps its buffers after its last response.
const QUIET: Duration = Duration::from_millis(16);
/// Reads from the client in one turn; then the other connections of the thread have theirs.
const READS: usize = 8;
/// How long an answer to our PING is waited for, after which the client must have got what was sent before it.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// One connection in use.
pub(super) struct Http2<S: Service> {
    thread: Rc<Thread>,
    client: Box<Client>,
    stream: net::Stream,
    /// The settings, an index into the listeners of the configuration.
    listener: usize,
    session: Session,
    /// What was read of the next frame.
    ahead: BytesMut,
    /// By key.
    streams: Vec<Option<Box<OpenStream<S::Handler>>>>,
    /// What served requests whose responses the kernel does not have whole.
    finished: Vec<S::Handler>,
    ready: Arc<ReadyStreams>,
    /// By key, made when they are needed.
    wakers: Vec<Waker>,
    /// Those that have their turn.
    turns: Vec<usize>,
    rotation: SendRotation,
    /// The head that has come in part, and since when: the number of its stream, 0 for the beginning of the connection,
    /// and `u32::MAX` for a frame of which that is not known.
    inside: Option<(u32, Instant)>,
    deadlines: Deadlines,
    /// A response waits for the client to take it.
    is_late: bool,
    /// The client has closed its sending side.
    is_finished: bool,
    /// What was written in the turn of this connection.
    turn: Turn,
    /// How the connection ends, once the last bytes are written.
    last: Option<End>,
    /// The connection is to move, and waits for its place.
    wait: Wait,
    /// Since when a stream keeps it from moving.
    stays_since: Option<Instant>,
}

/// What becomes of a connection that is not served any more.
pub(super) enum Http2Next {
    /// It ends. `linger` when the client may still be sending.
    Ends { end: End, linger: bool },
    /// Nothing is open on it.
    Rests,
    /// Another generation takes it over, with all that is open on it.
    Moves(TransferPermit),
}

impl<S: Service> Http2<S> {
    /// Serves `stream`, from which `ahead` was read already: the preface, or the beginning of it.
    pub(super) fn new(
        thread: &Rc<Thread>,
        client: Box<Client>,
        listener: usize,
        stream: net::Stream,
        ahead: BytesMut,
    ) -> Box<Self> {
        let session = Session::new(local_settings(thread, listener));
        let mut http2 = Self::blank(thread, client, listener, stream, session);
        http2.take(&ahead, Instant::now());
        http2
    }

    fn blank(
        thread: &Rc<Thread>,
        client: Box<Client>,
        listener: usize,
        stream: net::Stream,
        session: Session,
    ) -> Box<Self> {
        client.timer.off();
        Box::new(Self {
            // those that are open may be more than may be opened
            ready: ReadyStreams::new(session.open().max(session.max_streams() as usize)),
            thread: thread.clone(),
            client,
            stream,
            listener,
            session,
            ahead: BytesMut::new(),
            streams: Vec::new(),
            finished: Vec::new(),
            wakers: Vec::new(),
            turns: Vec::new(),
            rotation: SendRotation::default(),
            inside: None,
            deadlines: Deadlines::default(),
            is_late: false,
            is_finished: false,
            turn: Turn::default(),
            last: None,
            wait: Wait::default(),
            stays_since: None,
        })
    }

    /// Takes the connection apart.
    pub(super) fn into_parts(self) -> (Box<Client>, net::Stream) {
        self.client.timer.off();
        (self.client, self.stream)
    }

    /// Says how the exchanges that are open end, when a defect of ours ends them.
    pub(super) fn panicked(&mut self) -> End {
        self.break_off(Reason::Internal)
    }

    fn settings(&self) -> &ListenerSettings {
        &self.thread.runtime_config.config.listeners[self.listener]
    }

    /// Serves requests. Ready when the connection rests, moves or ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Http2Next> {
        self.ready.watch(cx);
        let now = Instant::now();
        if let Poll::Ready(next) = self.poll_next(cx, now) {
            return Poll::Ready(next);
        }
        // what was read in this turn may have been what kept it from moving
        if let Poll::Ready(place) = self.poll_place(cx) {
            return Poll::Ready(Http2Next::Moves(place));
        }
        if self.is_at_rest(now) {
            return Poll::Ready(Http2Next::Rests);
        }
        self.set_timer(now);
        self.client.timer.watch(cx); // a change of the stage wakes the task by it
        Poll::Pending
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Http2Next> {
        if let Some(reason) = self.thread.cuts(&self.client) {
            return Poll::Ready(ends(self.break_off(reason)));
        }
        if let Poll::Ready(place) = self.poll_place(cx) {
            return Poll::Ready(Http2Next::Moves(place));
        }
        self.look_at_drain(now);
        if self.deadlines.is_due(&self.client.timer) {
            self.look_at_deadlines(now);
        }
        let mut reads = 0;
        loop {
            ready!(self.thread.turns.poll(cx, &mut self.turn));
            let mut is_busy = false;
            if self.last.is_none() && self.has_room() && reads < READS {
                is_busy = self.poll_read(cx, now).is_ready();
                reads += 1;
            }
            if self.is_finished {
                return Poll::Ready(ends(self.break_off(Reason::ClientClosed)));
            }
            if self.last.is_none() && self.has_room() {
                is_busy |= self.run_streams(now);
            }
            if is_busy && self.has_room() && self.last.is_none() && reads < READS {
                continue;
            }
            let before = self.session.output().len();
            let flushed = self.poll_flush(cx, now);
            self.turn.count(before - self.session.output().len());
            match flushed {
                Poll::Ready(Ok(())) => {
                    if let Some(end) = self.last {
                        return Poll::Ready(Http2Next::Ends { end, linger: true });
                    }
                    self.look_at_end(now);
                }
                Poll::Ready(Err(reason)) => return Poll::Ready(ends(self.break_off(reason))),
                Poll::Pending => return Poll::Pending,
            }
            if reads >= READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !is_busy && !self.ready.any() && self.last.is_none() && self.session.output().is_empty() {
                return Poll::Pending;
            }
        }
    }

    /// Whether more may be gathered for the client.
    fn has_room(&self) -> bool {
        self.session.output().len() < GATHERED
    }

    /// Gives each stream that has something to do its turn. Whether there was one.
    fn run_streams(&mut self, now: Instant) -> bool {
        if !self.ready.any() {
            return false;
        }
        let mut turns = std::mem::take(&mut self.turns);
        self.ready.take(self.rotation.next(), &mut turns);
        let has_priorities = self.session.has_priorities();
        if has_priorities {
            turns.sort_by_key(|key| self.rank(*key));
        }
        let mut before = None;
        for &key in &turns {
            // one that has more to send goes on before those behind it
            let waits = before.is_some_and(|before| has_priorities && before < self.rank(key));
            if waits || !self.has_room() {
                self.ready.set(key);
            } else if self.run_stream(key, now) == StreamOutcome::More {
                before = before.or(Some(self.rank(key)));
            }
        }
        let has_run = !turns.is_empty();
        self.turns = turns;
        has_run
    }

    /// First what is urgent (RFC 9218 §10). Of what is equally urgent those come first that are of use only when whole, one
    /// after the other; the rest take turns, and so do those of a client that says nothing.
    fn rank(&self, key: usize) -> (u8, u32) {
        match self.session.priority(key) {
            Some(priority) if !priority.is_incremental => (priority.urgency, self.session.id(key)),
            Some(priority) => (priority.urgency, u32::MAX),
            None => (Priority::default().urgency, u32::MAX),
        }
    }

    fn run_stream(&mut self, key: usize, now: Instant) -> StreamOutcome {
        while self.wakers.len() <= key {
            self.wakers.push(self.ready.waker(self.wakers.len()));
        }
        let Some(Some(stream)) = self.streams.get_mut(key) else { return StreamOutcome::Waits };
        let most = GATHERED.saturating_sub(self.session.output().len());
        let room = self.session.room(key);
        let settings = &self.thread.runtime_config.config.listeners[self.listener];
        let outcome = stream.run(&mut Context::from_waker(&self.wakers[key]), &mut self.session, key, now, most);
        self.rotation.sent(key, room.saturating_sub(self.session.room(key)));
        match outcome {
            StreamOutcome::Waits => self.deadlines.wait(stream.due(settings.body_timeout, settings.write_timeout)),
            StreamOutcome::More => self.ready.set(key),
            StreamOutcome::Over => {
                self.session.finish(key);
                self.close_stream(key);
            }
            StreamOutcome::Broken => self.close_stream(key),
        }
        outcome
    }

    /// A stream is closed. What served its request is kept until the client has the response.
    fn close_stream(&mut self, key: usize) {
        let stream = self.streams.get_mut(key).and_then(Option::take);
        self.finished.extend(stream.and_then(|stream| stream.handler));
    }

    /// Ends the exchange of a stream that the client has ended.
    fn drop_stream(&mut self, key: usize, reason: Reason) {
        if let Some(mut handler) = self.streams.get_mut(key).and_then(Option::take).and_then(|stream| stream.handler) {
            handler.end(End::new(handler.phase(), reason));
        }
    }

    /// Ends the connection where it is, and the exchanges that are open, before their responses are written whole.
    fn break_off(&mut self, reason: Reason) -> End {
        let mut phase = if self.inside.is_some() { Phase::Head } else { Phase::Idle };
        let open = self.streams.drain(..).flatten().filter_map(|stream| stream.handler);
        for mut handler in self.finished.drain(..).chain(open) {
            phase = handler.phase();
            handler.end(End::new(phase, reason));
        }
        End::new(phase, reason)
    }

    /// Writes what there is. Ready once all of it is with the kernel.
    fn poll_flush(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), Reason>> {
        while !self.session.output().is_empty() {
            match self.stream.try_write(self.session.output()) {
                Ok(written) => {
                    self.session.wrote(written);
                    self.deadlines.write_since = None;
                }
                Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.stream.poll_write_ready(cx).map_err(|_| Reason::ClientClosed)?.is_pending() {
                        self.is_late = true;
                        let since = *self.deadlines.write_since.get_or_insert(now);
                        let is_over = is_over(Some(since), self.settings().write_timeout, now);
                        return if is_over { Poll::Ready(Err(Reason::ClientTimeout)) } else { Poll::Pending };
                    }
                }
                Err(_) => return Poll::Ready(Err(Reason::ClientClosed)),
            }
        }
        let is_late = std::mem::take(&mut self.is_late);
        for handler in self.finished.drain(..) {
            self.client.idle_since = handler.close(is_late, Then::KeepAlive);
            self.session.served();
        }
        Poll::Ready(Ok(()))
    }
}

/// The end of a connection, and its rest.
impl<S: Service> Http2<S> {
    /// A generation that drains tells the clients whose connections do not move to go on elsewhere, each at a time of its
    /// own.
    fn look_at_drain(&mut self, now: Instant) {
        if self.session.is_leaving() || self.last.is_some() {
            return;
        }
        let Some(at) = self.thread.leaves_at(&mut self.client) else { return };
        if self.is_to_move(now) {
            self.deadlines.leaves_at = Some(self.look_again(now));
            return;
        }
        self.deadlines.leaves_at = Some(at);
        if at <= now {
            self.announce(now);
        }
    }

    fn announce(&mut self, now: Instant) {
        self.session.announce_leave();
        self.deadlines.leaves_at = Some(now + ROUND_TRIP);
    }

    /// Everything is written. A connection that is to leave ends once nothing is open on it.
    fn look_at_end(&mut self, now: Instant) {
        if self.session.has_left() && self.session.open() == 0 {
            self.last = Some(End::OK);
        } else if !self.session.is_leaving() && self.thread.has_waiting() {
            self.announce(now); // others wait for its place
        }
    }

    fn look_at_deadlines(&mut self, now: Instant) {
        let settings = &self.thread.runtime_config.config.listeners[self.listener];
        let (body, write, head, idle) =
            (settings.body_timeout, settings.write_timeout, settings.header_timeout, settings.idle_timeout);
        if self.session.is_leaving() && self.deadlines.leaves_at.is_some_and(|at| at <= now) {
            self.session.leave(ErrorCode::NoError);
            self.deadlines.leaves_at = None;
        }
        if is_over(self.inside.map(|(_, began)| began), head, now) {
            self.fail_slow(now);
        }
        let is_quiet = self.session.open() == 0 && self.session.output().is_empty();
        if is_quiet && is_over(self.deadlines.idle_since, idle, now) {
            self.session.leave(ErrorCode::NoError);
            self.last = Some(End::IDLE_TIMEOUT);
        }
        self.deadlines.forget_streams();
        for key in 0..self.streams.len() {
            let Some(Some(stream)) = self.streams.get_mut(key) else { continue };
            if is_over(stream.received.waits_since, body, now) {
                stream.received.is_late = true;
                self.ready.set(key);
            }
            if is_over(stream.blocked_since, write, now) {
                self.session.reset(key, ErrorCode::Cancel);
                self.drop_stream(key, Reason::ClientTimeout);
            } else {
                self.deadlines.wait(stream.due(body, write));
            }
        }
    }

    /// Notes that nothing is open. Whether that lasts, so that the connection needs nothing of what it has in use.
    fn is_at_rest(&mut self, now: Instant) -> bool {
        let is_quiet = self.session.open() == 0
            && self.finished.is_empty()
            && self.session.output().is_empty()
            && self.last.is_none()
            && self.inside.is_none();
        if !is_quiet {
            self.deadlines.idle_since = None;
            return false;
        }
        let since = *self.deadlines.idle_since.get_or_insert(now);
        since + QUIET <= now && !self.is_to_end(now)
    }

    /// Whether an idle connection is to end or to move, and stays in use for that.
    fn is_to_end(&self, now: Instant) -> bool {
        let is_over = self.deadlines.idle_since.is_some_and(|since| self.idle_until(since) <= now);
        is_over || self.session.is_leaving() || self.thread.drain.is_ending()
    }

    fn idle_until(&self, since: Instant) -> Instant {
        since + self.settings().idle_timeout
    }

    /// Keeps what an idle connection needs.
    pub(super) fn park(mut self) -> Box<ParkedHttp2> {
        let since = self.deadlines.idle_since.unwrap_or_else(Instant::now);
        let until = self.idle_until(since);
        self.session.shrink();
        self.stream.park();
        ParkedHttp2::new(self.client, self.stream, self.session.save(), since, until)
    }

    fn set_timer(&mut self, now: Instant) {
        let settings = &self.thread.runtime_config.config.listeners[self.listener];
        // an idle connection that is in use is one of which something ends
        let idle_due = |since: Instant| if self.is_to_end(now) { since + settings.idle_timeout } else { since + QUIET };
        let of_connection = [
            self.inside.map(|(_, began)| began + settings.header_timeout),
            self.deadlines.write_since.map(|since| since + settings.write_timeout),
            self.deadlines.idle_since.map(idle_due),
            self.deadlines.leaves_at,
        ];
        if let Some(due) = of_connection.into_iter().chain([self.deadlines.streams_at()]).flatten().min() {
            self.deadlines.set(due, &self.client.timer);
        }
    }
}

/// What a client is told of its limits.
fn local_settings(thread: &Thread, listener: usize) -> LocalSettings {
    let settings = &thread.runtime_config.config.listeners[listener];
    LocalSettings {
        max_streams: settings.max_streams,
        max_fields: settings.max_head as u32, // checked: it is a megabyte at most
        ..LocalSettings::default()
    }
}

fn ends(end: End) -> Http2Next {
    Http2Next::Ends { end, linger: false }
}

//! Everything that one serving thread has of its own: nothing here crosses threads on the way of a request.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::client::Client;
use super::clients::{self, Clients};
use super::debug::DebugSessions;
use super::idle::IdleConnections;
use super::origin::Origin;
use super::private::Private;
use super::runtime_config::RuntimeConfig;
use super::trim::Trim;
use super::underway::Underway;
use crate::control::connections::ConnectionId;
use crate::drain::{DrainState, Stage};
use crate::handover::capabilities::Reach;
use crate::handover::successor::Successor;
use crate::http1::request::HeadSearch;
use crate::http2::FieldSection;
use crate::observe::end::Reason;
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::observe::metrics::Counters;
use crate::observe::record::{Index, Record, RequestId};
use crate::observe::{self, RecordFacts};
use crate::pool::Pool;
use crate::pool::balance::Balancer;
use crate::pool::passive::Ejection;
use crate::sys;
use crate::timer::{Timer, TimerWheel};
use crate::turn::Turns;
use crate::upstream::idle::Idle;
use crate::upstream::read::ReadBuffers;

/// Records are handed to the journal in batches of at most this many.
const BATCH: usize = 128;
/// A record waits for its batch at most this long.
const BATCH_TIME: Duration = Duration::from_millis(16);

/// For so long after a drain has begun requests to servers of HTTP/2 wait for their client connections to move.
const STREAM_HOLD: Duration = Duration::from_millis(300);

/// How long what was to move waits for another successor: a worker that died is replaced sooner.
const NEXT_SUCCESSOR: Duration = Duration::from_secs(5);
/// Bytes that are read of a message at first: most heads, with small bodies.
const SCRATCH: usize = 8 * 1024;

/// Bytes that are read of an HTTP/2 connection at once: some frames of the largest size.
const FRAMES: usize = 64 * 1024;

/// What a thread lends to the HTTP/2 connection that reads.
#[derive(Default)]
pub(crate) struct FrameBuffers {
    octets: Vec<u8>,
    pub(crate) fields: FieldSection,
    pub(crate) heads: HeadSearch,
}

impl FrameBuffers {
    /// The buffer for frames; not there before the first use, since many services have no such connection.
    pub(crate) fn lend(&mut self) -> (&mut [u8], &mut FieldSection, &mut HeadSearch) {
        self.octets.resize(FRAMES, 0);
        (&mut self.octets, &mut self.fields, &mut self.heads)
    }
}

/// One serving thread.
pub struct Thread {
    /// What the generation serves by.
    pub runtime_config: Arc<RuntimeConfig>,
    /// The deadlines of the thread.
    pub timer_wheel: Rc<TimerWheel>,
    /// What the generation does with its connections.
    pub drain: DrainState,
    /// What takes the connections of a generation that drains, if there is one.
    successor: RefCell<Option<Successor>>,
    /// Since when it was found to be gone.
    successor_missed: Cell<Option<Instant>>,
    /// The client connections of the thread.
    pub clients: Rc<Clients>,
    /// Those of them that are idle, for other threads.
    pub idle: Arc<IdleConnections>,
    /// What the thread counts.
    pub counters: Arc<Counters>,
    /// The exchanges and tunnels of the thread.
    pub underway: Underway,
    pub(super) pools: Vec<PoolSide>,
    /// The sessions of `segue debug` that watch exchanges of the thread.
    pub debug: DebugSessions,
    /// Which of its connections that move large bodies goes on next.
    pub turns: Rc<Turns>,
    /// What the connections of the thread read bodies into, on either side.
    pub(crate) reads: ReadBuffers,
    /// What client connections read the beginning of a message into, to be looked at in the same turn: always the same
    /// memory, which the processor has in its cache.
    pub scratch: RefCell<Box<[u8; SCRATCH]>>,
    /// What HTTP/2 connections read frames into, and the fields of one block of them.
    pub(crate) frames: RefCell<FrameBuffers>,
    heads: RefCell<Vec<Vec<u8>>>,
    timers: RefCell<Vec<Timer>>,
    /// Listeners whose next connection waits for one to close.
    full: Cell<u32>,
    clock: Cell<Clock>,
    date: Cell<Date>,
    random: Cell<u64>,
    journal: Journal,
    records: RefCell<Vec<Record>>,
    records_due: Timer,
}

/// What the thread has of one pool.
pub(super) struct PoolSide {
    pub balancer: RefCell<Balancer>,
    pub idle: Rc<Idle>,
}

/// The wall clock, read from time to time: one that was set right meanwhile is followed by what begins a second later.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    /// Microseconds since 1970 at `started`.
    wall: u64,
}

/// The wall clock as text, good for one second.
#[derive(Clone, Copy)]
struct Date {
    text: [u8; 29],
    until: Instant,
}

impl Thread {
    /// The thread of this number. Spawns the tasks that drive its deadlines and hand over its records, so it must be
    /// called inside the thread's runtime.
    #[must_use]
    pub fn start(
        number: usize,
        runtime_config: Arc<RuntimeConfig>,
        counters: Arc<Counters>,
        journal: Journal,
    ) -> Rc<Self> {
        let timer_wheel = TimerWheel::new();
        let first = ConnectionId::first(runtime_config.generation, number);
        let (trim, idle) = (Trim::new(&timer_wheel), Arc::<IdleConnections>::default());
        let pools = runtime_config.pools.iter().map(|pool| PoolSide {
            balancer: RefCell::new(Balancer::new(pool, number)),
            idle: Idle::new(pool.servers.len(), pool.settings.keep_alive, pool.settings.keep_alive_connections),
        });
        let thread = Rc::new(Self {
            pools: pools.collect(),
            records_due: timer_wheel.timer(),
            timer_wheel: timer_wheel.clone(),
            runtime_config,
            drain: DrainState::default(),
            debug: DebugSessions::default(),
            successor: RefCell::default(),
            successor_missed: Cell::new(None),
            clients: Clients::new(first, idle.clone(), trim.clone(), &timer_wheel),
            idle,
            counters,
            underway: Underway::default(),
            turns: Rc::default(),
            reads: ReadBuffers::default(),
            scratch: RefCell::new(Box::new([0; SCRATCH])),
            frames: RefCell::default(),
            heads: RefCell::default(),
            timers: RefCell::default(),
            full: Cell::new(0),
            clock: Cell::new(Clock::now()),
            date: Cell::new(Date::now()),
            random: Cell::new(seed()),
            journal,
            records: RefCell::default(),
        });
        tokio::task::spawn_local(timer_wheel.run());
        tokio::task::spawn_local(thread.turns.clone().give());
        tokio::task::spawn_local(hand_over_records(thread.clone()));
        tokio::task::spawn_local(clients::close_chosen(thread.idle.clone(), thread.clients.clone()));
        tokio::task::spawn_local(clients::wake_dormant(thread.clients.clone()));
        tokio::task::spawn_local(trim.run(sys::collect_free_memory));
        thread
    }

    /// A new request id for something that began at `began`.
    pub(super) fn request_id(&self, began: Instant) -> RequestId {
        let random = (u128::from(self.random()) << 64) | u128::from(self.random());
        RequestId::new(self.clock(began).micros(began) / 1000, random)
    }

    /// The wall clock at `instant`, in microseconds since 1970, as it goes `now`.
    pub(super) fn wall(&self, instant: Instant, now: Instant) -> u64 {
        self.clock(now).micros(instant)
    }

    fn clock(&self, now: Instant) -> Clock {
        let mut clock = self.clock.get();
        if clock.is_old(now) {
            clock = Clock::now();
            self.clock.set(clock);
        }
        clock
    }

    /// The time as the field `Date` has it (RFC 9110 §6.6.1).
    pub(super) fn date(&self) -> [u8; 29] {
        if self.date.get().until <= Instant::now() {
            self.date.set(Date::now());
        }
        self.date.get().text
    }

    /// 64 bits that differ each time; not for secrets. (wyrand)
    pub(super) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.random.set(state);
        let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
    }

    /// An empty buffer for a request head.
    pub(super) fn head_buffer(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    /// Takes a buffer back.
    pub(super) fn keep_head_buffer(&self, mut buffer: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < 64 && buffer.capacity() <= 16 * 1024 {
            buffer.clear();
            heads.push(buffer);
        }
    }

    /// A deadline for a wait on a server. They are lent again and again: a new one for each exchange would fill the
    /// slots of the timer wheel faster than time empties them.
    pub(super) fn lend_timer(&self) -> Timer {
        self.timers.borrow_mut().pop().unwrap_or_else(|| self.timer_wheel.timer())
    }

    /// Takes a deadline back.
    pub(super) fn return_timer(&self, timer: Timer) {
        timer.off();
        self.timers.borrow_mut().push(timer);
    }

    /// As long as this is held, connections that come wait for others to close.
    #[must_use]
    pub fn full(self: &Rc<Self>) -> Full {
        self.full.set(self.full.get() + 1);
        Full(self.clone())
    }

    /// Whether the next response on a connection is to be the last one: others wait for its place, or the generation
    /// ends, it can't move, and its turn has come.
    pub(crate) fn lets_go(&self, client: &mut Client) -> bool {
        self.full.get() > 0 || self.drain.is_ending() && self.is_last_time(client)
    }

    /// When a connection that can't move is to be told that the generation ends; none while it serves.
    pub(crate) fn leaves_at(&self, client: &mut Client) -> Option<Instant> {
        let Stage::Draining(draining) = self.drain.stage() else { return None };
        let draw = || self.random() as f64 / u64::MAX as f64;
        Some(draining.began + draining.spread.mul_f64(client.share(draw)).min(draining.idle))
    }

    /// Whether connections that come wait for others to close.
    pub(crate) fn has_waiting(&self) -> bool {
        self.full.get() > 0
    }

    fn is_last_time(&self, client: &mut Client) -> bool {
        let Stage::Draining(draining) = self.drain.stage() else { return true };
        if self.successor_of(&client.origin, &client.private).is_some() || self.is_between_successors() {
            return false;
        }
        let draw = || self.random() as f64 / u64::MAX as f64;
        draining.spread.is_zero() || draining.began.elapsed() >= draining.spread.mul_f64(client.share(draw))
    }

    /// The servers of a pool that the successor lacks: an exchange with one of them keeps its connection here.
    pub(super) fn leaving_servers(&self, pool: usize) -> SmallVec<[Index; 4]> {
        if !matches!(self.drain.stage(), Stage::Draining(_)) {
            return SmallVec::new();
        }
        let successor = self.successor.borrow();
        let Some(reach) = successor.as_ref().and_then(Successor::reach) else { return SmallVec::new() };
        let servers = 0..self.runtime_config.pools[pool].servers.len();
        servers.filter(|server| !reach.has_server(pool, *server)).map(|server| server as Index).collect()
    }

    /// Whether the successor has not said yet what it takes, or is gone and another one may come: what is to move need not
    /// hear of the end yet.
    pub(crate) fn is_between_successors(&self) -> bool {
        match &*self.successor.borrow() {
            None => return false,
            Some(successor) if !successor.is_gone() => return successor.reach().is_none(),
            Some(_) => {}
        }
        let now = Instant::now();
        let missed = self.successor_missed.get().unwrap_or(now);
        self.successor_missed.set(Some(missed));
        now - missed < NEXT_SUCCESSOR
    }

    /// From now on connections go to this successor; the one before gets no more.
    pub fn set_successor(&self, successor: Successor) {
        *self.successor.borrow_mut() = Some(successor);
        self.successor_missed.set(None);
    }

    /// Where a connection goes that is between two exchanges: while the generation drains, if the successor takes it.
    #[must_use]
    pub fn successor_of(&self, origin: &Origin, private: &Private) -> Option<Successor> {
        self.successor_if(|reach| origin.is_in(reach) && private.is_in(reach))
    }

    /// Where a connection goes whose first message is still to come.
    #[must_use]
    pub fn successor_of_accepted(&self, origin: &Origin) -> Option<Successor> {
        self.successor_if(|reach| reach.has_accepted(origin.listener.into()))
    }

    /// Writes an event to the journal.
    pub(super) fn event(&self, event: Event) {
        self.journal.event(event);
    }

    /// Why a connection ends now, with what is open on it: the generation is at its deadline, or an operator has it closed.
    #[must_use]
    pub fn cuts(&self, client: &Client) -> Option<Reason> {
        match self.drain.stage() {
            Stage::Cut => Some(Reason::Drained),
            _ => client.slot.is_killed().then_some(Reason::Killed),
        }
    }

    /// Drives a future of a client's connection until it is done.
    ///
    /// # Errors
    /// Why the connection ends before that, as [`Thread::cuts`] has it.
    pub async fn until_cut<F: Future + Unpin>(&self, client: &Client, future: F) -> Result<F::Output, Reason> {
        self.until(&client.timer, future, || self.cuts(client)).await
    }

    /// The same for a connection that is on its way to another generation: it may be there already, so that an operator can
    /// have it closed there alone.
    pub async fn until_drained<F: Future + Unpin>(&self, client: &Client, future: F) -> Result<F::Output, Reason> {
        let is_cut = || (self.drain.stage() == Stage::Cut).then_some(Reason::Drained);
        self.until(&client.timer, future, is_cut).await
    }

    async fn until<F: Future + Unpin>(
        &self,
        timer: &Timer,
        mut future: F,
        ends: impl Fn() -> Option<Reason>,
    ) -> Result<F::Output, Reason> {
        poll_fn(|cx| {
            if let Some(reason) = ends() {
                return Poll::Ready(Err(reason));
            }
            let polled = Pin::new(&mut future).poll(cx);
            if polled.is_pending() {
                timer.watch(cx); // a change of the stage, and what has it closed, wakes the task by it
            }
            polled.map(Ok)
        })
        .await
    }

    /// How long a request to a server of HTTP/2 waits yet, so that the exchanges beside it end and its client connection
    /// moves: one that is with such a server already keeps the connection here. None when there is nothing to wait for.
    pub(super) fn stream_hold(&self) -> Option<Duration> {
        let Stage::Draining(draining) = self.drain.stage() else { return None };
        let left = STREAM_HOLD.checked_sub(draining.began.elapsed()).filter(|left| !left.is_zero())?;
        self.successor.borrow().as_ref().is_some_and(|successor| !successor.is_gone()).then_some(left)
    }

    /// Whether there is a successor for what moves.
    pub(super) fn has_successor(&self) -> bool {
        self.successor_if(|_| true).is_some()
    }

    /// The successor, while there is one whose reach is what `reaches` tells.
    pub fn successor_if(&self, reaches: impl FnOnce(&Reach) -> bool) -> Option<Successor> {
        if !matches!(self.drain.stage(), Stage::Draining(_)) {
            return None;
        }
        let successor = self.successor.borrow();
        successor.as_ref().filter(|successor| !successor.is_gone() && successor.reach().is_some_and(reaches)).cloned()
    }

    /// Where events go.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A listening socket gives no connections for now. Said once until it does again.
    pub fn accept_stalled(&self, listener: Index, error: &io::Error) {
        self.journal.event(Event::AcceptFailed { listener: self.listener_name(listener), why: error.to_string() });
    }

    /// A limit holds connections back. Said once until it no longer does.
    pub fn limit_reached(&self, listener: Index, limit: &'static str, value: u64) {
        self.journal.event(Event::LimitReached { listener: self.listener_name(listener), limit, value });
    }

    /// A connection on which nothing is open is cut at the deadline of the generation.
    pub fn connection_cut(&self, client: &Client) {
        let Origin { listener, .. } = *client.origin;
        let (listener, address) = (self.listener_name(listener), client.origin.address().to_owned());
        self.journal.event(Event::ConnectionCut { listener, client: address, idle: client.idle_since.elapsed() });
    }

    /// A connection of another generation cannot be served, and is closed.
    pub fn arrival_failed(&self, listener: String, error: &io::Error) {
        self.journal.event(Event::ArrivalFailed { listener, why: error.to_string() });
    }

    /// Connections to a server of a pool failed so often that it takes no exchanges for a while.
    pub(super) fn server_ejected(&self, pool: &Pool, server: usize, Ejection { reason, pause, .. }: Ejection) {
        let (pool, server) = (pool.name.clone(), pool.servers[server].name.clone());
        self.journal.event(Event::ServerEjected { pool, server, reason, pause });
    }

    /// A server that was ejected gave an answer.
    pub(super) fn server_back(&self, pool: &Pool, server: usize, ejection: &Ejection) {
        let (pool, server) = (pool.name.clone(), pool.servers[server].name.clone());
        let after = ejection.since.elapsed().unwrap_or_default(); // the clock may have been set back
        self.journal.event(Event::ServerBack { pool, server, after });
    }

    /// A tunnel that was to move stays: the successor has not what it leads by or to.
    pub(super) fn tunnel_stays(&self, origin: &Origin, server: String) {
        let (generation, client) = (self.runtime_config.generation, origin.address().to_owned());
        self.journal.event(Event::TunnelStays { generation, client, server });
    }

    /// A connection ended by a panic.
    pub fn panicked(&self, panic: &(dyn Any + Send)) {
        let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        let why = why.unwrap_or("a panic without words").to_owned();
        self.journal.event(Event::ExchangePanicked { request: None, why });
    }

    /// The name of a listener.
    #[must_use]
    pub fn listener_name(&self, listener: Index) -> String {
        self.runtime_config.names.listeners.get(usize::from(listener)).cloned().unwrap_or_default()
    }

    /// Whether the configuration wants the record of an exchange that ends now. One that is too many is counted.
    pub(super) fn selects(&self, facts: &RecordFacts, now: Instant) -> bool {
        if !observe::selects(&self.runtime_config.config.log, facts) {
            return false;
        }
        let admitted = self.runtime_config.bounds.admit(facts, now.into_std());
        if !admitted {
            self.journal.limit_one(facts.end.reason);
        }
        admitted
    }

    /// Writes the record of an exchange to the journal, soon.
    pub(super) fn record(&self, record: Record) {
        let mut records = self.records.borrow_mut();
        if records.is_empty() {
            self.records_due.set(BATCH_TIME);
        }
        records.push(record);
        if records.len() >= BATCH {
            self.journal.records(std::mem::replace(&mut records, Vec::with_capacity(BATCH)));
        }
    }

    /// Hands the records that wait for their batch to the journal.
    pub fn flush_records(&self) {
        let records = std::mem::take(&mut *self.records.borrow_mut());
        if !records.is_empty() {
            self.journal.records(records);
        }
    }

    /// Where the balancer of each pool stands: the credit of each server.
    #[must_use]
    pub fn positions(&self) -> Vec<Vec<i64>> {
        self.pools.iter().map(|pool| pool.balancer.borrow().position()).collect()
    }

    /// Closes every upstream connection that is idle.
    pub fn close_idle_upstream(&self) {
        self.pools.iter().for_each(|pool| pool.idle.clear());
        self.clients.close_private();
    }
}

#[cfg(test)]
impl Thread {
    /// The wall clock was read when it was behind, a second ago.
    pub(super) fn was_wrong_by(&self, time: Duration) {
        let clock = self.clock.get();
        let wall = clock.wall - time.as_micros() as u64;
        self.clock.set(Clock { started: clock.started - GOOD_FOR, wall });
    }
}

/// A listener is at a limit of connections.
pub struct Full(Rc<Thread>);

impl Drop for Full {
    fn drop(&mut self) {
        self.0.full.set(self.0.full.get() - 1);
    }
}

async fn hand_over_records(thread: Rc<Thread>) {
    loop {
        poll_fn(|cx| thread.records_due.poll_due(cx)).await;
        thread.records_due.off();
        thread.flush_records();
    }
}

/// How long the clock is good for once it was read.
const GOOD_FOR: Duration = Duration::from_secs(1);

impl Clock {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        Self { started: Instant::now(), wall }
    }

    /// Whether it was read so long before `now` that it may have been set since.
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) >= GOOD_FOR
    }

    fn micros(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.started) {
            Some(after) => self.wall + after.as_micros() as u64,
            None => self.wall.saturating_sub(self.started.duration_since(instant).as_micros() as u64),
        }
    }
}

impl Date {
    fn now() -> Self {
        let wall = SystemTime::now();
        let text = httpdate::fmt_http_date(wall).into_bytes();
        let past = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        Self {
            text: text.try_into().unwrap_or([b' '; 29]),
            until: Instant::now() + (Duration::from_secs(1) - Duration::from_nanos(past.into())),
        }
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // what the kernel cannot give the clock does: ids need to differ, not to be secret
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK).is_err() {
        return SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_was_set_is_followed_by_what_begins_a_second_later() {
        let began = Instant::now();
        let clock = Clock { started: began, wall: 5_000_000 };
        assert!(!clock.is_old(began + Duration::from_millis(999)) && clock.is_old(began + GOOD_FOR));
        assert_eq!(clock.micros(began + Duration::from_micros(7)), 5_000_007);
        assert!(Clock::now().wall > clock.wall, "it was wrong");
    }
}

//! Counters: each thread increments its own, and a reader sums over the threads.
//!
//! Each data thread has one [`Counters`], and no cache line of them is shared. There is one writer, so an increment
//! is a plain load and store; readers may see a count a moment late. Everything only grows, except the gauges of what
//! is open now. The counts themselves are in the worker's shared statistics, which outlive the worker.

use std::array;
use std::sync::Arc;

pub use super::busy::Busy;
use super::classes::{StatusClass, StatusClasses};
use super::end::Reason;
use super::journal::Unwritten;
use super::latency::{Histogram, PhaseLatency, PhaseTimes, Timed};
use super::record::{AttemptRecord, Index, Outcome, RecordNames, Timers};
use crate::control::counter_tree::CounterTree;
use crate::control::statistics::{Count, CounterNames, ThreadStatistics, add_each};
use crate::control::status::OpenConnections;

/// The counters of one thread. Indexes are those of [`RecordNames`]; unknown ones are ignored.
#[derive(Debug)]
pub struct Counters {
    listeners: Box<[ListenerCounters<Count>]>,
    sites: Box<[SiteCounters<Count>]>,
    pools: Box<[PoolCounters<Count>]>,
    /// The place of the counts, and the numbers of what is open.
    statistics: ThreadStatistics,
}

/// What is counted of an exchange; the fields are those of a [`Record`](super::record::Record).
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "see there")]
pub struct Counted<'a> {
    pub listener: Index,
    pub site: Option<Index>,
    pub pool: Option<Index>,
    pub status: u16,
    pub timers: Timers,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub attempts: &'a [AttemptRecord],
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshaken {
    /// With certificates.
    Full,
    /// With a session ticket in their place.
    Resumed,
    /// Without a connection.
    Failed(Reason),
}

/// Sums over the threads of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterTotals {
    listeners: Box<[ListenerCounters<u64>]>,
    sites: Box<[SiteCounters<u64>]>,
    pools: Box<[PoolCounters<u64>]>,
}

impl Counters {
    /// Counters for everything that `names` has, all 0, in statistics with the [`counter_names`] of the same names.
    #[must_use]
    pub fn new(names: &RecordNames, statistics: ThreadStatistics) -> Arc<Self> {
        let (listeners, sites, pools) = everything(names, |place| statistics.count(place));
        Arc::new(Self { listeners, sites, pools, statistics })
    }

    /// A client connection was accepted.
    pub fn accepted(&self, listener: Index) {
        self.statistics.opened();
        self.listener(listener, |counts| counts.accepted.add(1));
    }

    /// A client connection ended.
    pub fn closed(&self, listener: Index) {
        self.statistics.closed();
        self.listener(listener, |counts| counts.closed.add(1));
    }

    /// It was closed because another one needed its room.
    pub fn evicted(&self, listener: Index) {
        self.listener(listener, |counts| counts.evicted.add(1));
    }

    /// A client connection came from another generation.
    pub fn arrived(&self, listener: Index) {
        self.statistics.opened();
        self.listener(listener, |counts| counts.moved_in.add(1));
    }

    /// A client connection went to another generation.
    pub fn left(&self, listener: Index) {
        self.statistics.closed();
        self.listener(listener, |counts| counts.moved_out.add(1));
    }

    /// A client connection is busy from now on, until [`Counters::idle`].
    pub fn busy(&self, listener: Index, with: Busy) {
        self.statistics.busy();
        self.listener(listener, |counts| counts.busy[with as usize].add(1));
    }

    /// A client connection is no longer busy with this.
    pub fn idle(&self, listener: Index, with: Busy) {
        self.statistics.idle();
        self.listener(listener, |counts| counts.busy[with as usize].take(1));
    }

    /// A client connection ended without a byte.
    pub fn empty(&self, listener: Index) {
        self.listener(listener, |counts| counts.empty.add(1));
    }

    /// A request head was refused with `status` before it became an exchange.
    pub fn head_refused(&self, listener: Index, status: u16) {
        self.listener(listener, |counts| counts.heads_refused[refusal(status)].add(1));
    }

    /// A TLS handshake came to its end, or to another one.
    pub fn handshake(&self, listener: Index, end: Handshaken) {
        let name = match end {
            Handshaken::Full => HANDSHAKES[0],
            Handshaken::Resumed => HANDSHAKES[1],
            Handshaken::Failed(reason) => reason.as_str(),
        };
        let place = HANDSHAKES.iter().position(|known| *known == name).unwrap_or(HANDSHAKES.len() - 1);
        self.listener(listener, |counts| counts.handshakes[place].add(1));
    }

    /// An exchange ended: counts its status, bytes, attempts and retries.
    pub fn exchange(&self, counted: &Counted<'_>) {
        let (class, times) = (StatusClass::of(counted.status), counted.times());
        self.listener(counted.listener, |counts| {
            counts.exchanges.count(class);
            counts.bytes_in.add(counted.bytes_in);
            counts.bytes_out.add(counted.bytes_out);
            times.whole.into_iter().for_each(|whole| counts.latency.observe(whole));
        });
        if let Some(site) = counted.site.and_then(|site| self.sites.get(usize::from(site))) {
            site.exchanges.count(class);
            site.latency.observe(&times);
        }
        let Some(pool) = counted.pool.and_then(|pool| self.pools.get(usize::from(pool))) else {
            return;
        };
        pool.exchanges.count(class);
        let Some((last, before)) = counted.attempts.split_last() else {
            return times.whole.into_iter().for_each(|whole| pool.unserved.observe(whole));
        };
        if !before.is_empty() {
            pool.count_retried(before);
        }
        if let Some(server) = pool.servers.get(usize::from(last.server)) {
            server.attempts[last.outcome as usize].add(1);
            server.exchanges.count(class);
            server.latency.observe(&times);
        }
    }

    fn listener(&self, index: Index, count: impl FnOnce(&ListenerCounters<Count>)) {
        if let Some(counts) = self.listeners.get(usize::from(index)) {
            count(counts);
        }
    }
}

impl CounterTotals {
    /// The sum over the counters of all threads; they must have been made from equal names.
    #[must_use]
    pub fn sum(counters: &[Arc<Counters>]) -> Self {
        let listeners = counters.iter().map(|one| one.listeners.len()).max().unwrap_or_default();
        let pools = counters.iter().max_by_key(|one| one.pools.len());
        let sites = counters.iter().map(|one| one.sites.len()).max().unwrap_or_default();
        let mut totals = Self {
            listeners: (0..listeners).map(|_| ListenerCounters::default()).collect(),
            sites: (0..sites).map(|_| SiteCounters::default()).collect(),
            pools: pools
                .map(|one| one.pools.iter().map(|pool| PoolCounters::of(pool.servers.len(), &mut || 0)).collect())
                .unwrap_or_default(),
        };
        for one in counters {
            totals.listeners.iter_mut().zip(&one.listeners).for_each(|(sum, more)| sum.add(more));
            totals.sites.iter_mut().zip(&one.sites).for_each(|(sum, more)| sum.add(more));
            totals.pools.iter_mut().zip(&one.pools).for_each(|(sum, more)| sum.add(more));
        }
        totals
    }

    /// Client connections open now on all listeners.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.listeners.iter().map(ListenerCounters::open).sum()
    }

    /// Client connections open now on one listener.
    #[must_use]
    pub fn open_on(&self, listener: usize) -> u64 {
        self.listeners.get(listener).map_or(0, ListenerCounters::open)
    }

    /// Client connections that went to another generation.
    #[must_use]
    pub fn moved_out(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.moved_out).sum()
    }

    /// Exchanges ended on all listeners.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.exchanges.sum()).sum()
    }

    /// Client connections open now, by kind: of all listeners and of each.
    #[must_use]
    pub fn connections(&self, names: &RecordNames) -> OpenConnections {
        let mut all = OpenConnections::default();
        for (name, counts) in names.listeners.iter().zip(&self.listeners) {
            let one =
                OpenConnections { listeners: [(name.clone(), counts.connections())].into(), ..counts.connections() };
            all.add(&one);
        }
        all
    }

    /// Everything that only grows, by name; `unwritten` is what the journal reports of itself.
    #[must_use]
    pub fn tree(&self, names: &RecordNames, unwritten: &Unwritten) -> CounterTree {
        let listeners = names.listeners.iter().zip(&self.listeners);
        let listeners: CounterTree = listeners.map(|(name, counts)| (name.clone(), counts.tree())).collect();
        let sites = names.sites.iter().zip(&self.sites);
        let sites: CounterTree = sites.map(|(name, counts)| (name.clone(), counts.tree())).collect();
        let pools = names.pools.iter().zip(&self.pools);
        let pools: CounterTree = pools.map(|((name, servers), counts)| (name.clone(), counts.tree(servers))).collect();
        let reasons = Reason::ALL.iter().zip(unwritten.limited).filter(|(_, count)| *count > 0);
        let limited: CounterTree = reasons.map(|(reason, count)| (reason.as_str(), count)).collect();
        [
            ("listeners", listeners),
            ("sites", sites),
            ("pools", pools),
            ("records_dropped", unwritten.dropped.into()),
            ("records_limited", limited),
        ]
        .into_iter()
        .collect()
    }
}

/// The tree of counts for `names`, as [`CounterTotals::tree`] has it: the supervisor reads the counts of a killed worker
/// by it. The last place is that of `records_dropped`, which the journal of the worker keeps.
#[must_use]
pub fn counter_names(names: &RecordNames) -> CounterNames {
    let mut counts = 0;
    let (listeners, sites, pools) = everything(names, |place| {
        counts = place + 1;
        place as u64
    });
    // the number of dropped records is its place here
    let unwritten = Unwritten { dropped: counts as u64, ..Unwritten::default() };
    CounterNames { counts: counts + 1, tree: CounterTotals { listeners, sites, pools }.tree(names, &unwritten) }
}

/// The counts of listeners, of sites and of pools.
type Everything<T> = (Box<[ListenerCounters<T>]>, Box<[SiteCounters<T>]>, Box<[PoolCounters<T>]>);

/// The counts of `names`, each made from its place.
fn everything<T>(names: &RecordNames, make: impl FnMut(usize) -> T) -> Everything<T> {
    let (mut make, mut places) = (make, 0..);
    let mut next = || make(places.next().unwrap_or_default());
    let listeners = names.listeners.iter().map(|_| ListenerCounters::of(&mut next)).collect();
    let sites = names.sites.iter().map(|_| SiteCounters::of(&mut next)).collect();
    let pools = names.pools.iter().map(|(_, servers)| PoolCounters::of(servers.len(), &mut next)).collect();
    (listeners, sites, pools)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ListenerCounters<T> {
    accepted: T,
    closed: T,
    evicted: T,
    moved_in: T,
    moved_out: T,
    busy: [T; Busy::ALL.len()],
    empty: T,
    heads_refused: [T; REFUSALS.len() + 1],
    exchanges: StatusClasses<T>,
    bytes_in: T,
    bytes_out: T,
    handshakes: [T; HANDSHAKES.len()],
    /// Of exchanges that had a response, from their opening to their end.
    latency: Histogram<T>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SiteCounters<T> {
    exchanges: StatusClasses<T>,
    latency: PhaseLatency<T>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PoolCounters<T> {
    exchanges: StatusClasses<T>,
    retries: T,
    /// Of exchanges with a response that no server was asked for. That of all others counts for the server of the last attempt.
    unserved: Histogram<T>,
    servers: Box<[ServerCounters<T>]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ServerCounters<T> {
    exchanges: StatusClasses<T>,
    attempts: [T; Outcome::ALL.len()],
    latency: PhaseLatency<T>,
}

impl<T> ListenerCounters<T> {
    fn of(next: &mut impl FnMut() -> T) -> Self {
        Self {
            accepted: next(),
            closed: next(),
            evicted: next(),
            moved_in: next(),
            moved_out: next(),
            busy: array::from_fn(|_| next()),
            empty: next(),
            heads_refused: array::from_fn(|_| next()),
            exchanges: StatusClasses::of(next),
            bytes_in: next(),
            bytes_out: next(),
            handshakes: array::from_fn(|_| next()),
            latency: Histogram::of(next),
        }
    }
}

impl<T> SiteCounters<T> {
    fn of(next: &mut impl FnMut() -> T) -> Self {
        Self { exchanges: StatusClasses::of(next), latency: PhaseLatency::of(next) }
    }
}

impl<T> ServerCounters<T> {
    fn of(next: &mut impl FnMut() -> T) -> Self {
        Self {
            exchanges: StatusClasses::of(next),
            attempts: array::from_fn(|_| next()),
            latency: PhaseLatency::of(next),
        }
    }
}

impl<T> PoolCounters<T> {
    fn of(servers: usize, next: &mut impl FnMut() -> T) -> Self {
        Self {
            exchanges: StatusClasses::of(next),
            retries: next(),
            unserved: Histogram::of(next),
            servers: (0..servers).map(|_| ServerCounters::of(next)).collect(),
        }
    }
}

impl ListenerCounters<u64> {
    fn add(&mut self, more: &ListenerCounters<Count>) {
        self.accepted += more.accepted.now();
        self.closed += more.closed.now();
        self.evicted += more.evicted.now();
        self.moved_in += more.moved_in.now();
        self.moved_out += more.moved_out.now();
        add_each(&mut self.busy, &more.busy);
        self.empty += more.empty.now();
        add_each(&mut self.heads_refused, &more.heads_refused);
        self.exchanges.add(&more.exchanges);
        self.bytes_in += more.bytes_in.now();
        self.bytes_out += more.bytes_out.now();
        add_each(&mut self.handshakes, &more.handshakes);
        self.latency.add(&more.latency);
    }

    /// Never below 0, in whatever order the counts were read.
    fn open(&self) -> u64 {
        (self.accepted + self.moved_in).saturating_sub(self.closed + self.moved_out)
    }

    fn connections(&self) -> OpenConnections {
        let [exchanges, upgrades, tcp] = self.busy;
        let (open, busy) = (self.open(), exchanges + upgrades + tcp);
        let idle = open.saturating_sub(busy);
        OpenConnections { open, idle, exchanges, upgrades, tcp, ..OpenConnections::default() }
    }

    fn tree(&self) -> CounterTree {
        let connections: CounterTree = [
            ("accepted", self.accepted),
            ("closed", self.closed),
            ("empty", self.empty),
            ("evicted", self.evicted),
            ("moved_in", self.moved_in),
            ("moved_out", self.moved_out),
        ]
        .into_iter()
        .collect();
        let statuses = REFUSALS.iter().map(ToString::to_string).chain(["other".into()]);
        let refused: CounterTree = statuses.zip(self.heads_refused).collect();
        [
            ("connections", connections),
            ("heads_refused", refused),
            ("exchanges", self.exchanges.tree()),
            ("handshakes", HANDSHAKES.into_iter().zip(self.handshakes).collect()),
            ("bytes_in", self.bytes_in.into()),
            ("bytes_out", self.bytes_out.into()),
            ("latency", self.latency.tree()),
        ]
        .into_iter()
        .collect()
    }
}

impl SiteCounters<u64> {
    fn add(&mut self, more: &SiteCounters<Count>) {
        self.exchanges.add(&more.exchanges);
        self.latency.add(&more.latency);
    }

    fn tree(&self) -> CounterTree {
        [("exchanges", self.exchanges.tree()), ("latency", self.latency.tree())].into_iter().collect()
    }
}

impl PoolCounters<Count> {
    /// Counts the attempts that were followed by another one.
    #[cold]
    fn count_retried(&self, attempts: &[AttemptRecord]) {
        self.retries.add(attempts.len() as u64);
        for attempt in attempts {
            if let Some(server) = self.servers.get(usize::from(attempt.server)) {
                server.attempts[attempt.outcome as usize].add(1);
            }
        }
    }
}

impl PoolCounters<u64> {
    fn add(&mut self, more: &PoolCounters<Count>) {
        self.exchanges.add(&more.exchanges);
        self.retries += more.retries.now();
        self.unserved.add(&more.unserved);
        for (sum, more) in self.servers.iter_mut().zip(&more.servers) {
            sum.exchanges.add(&more.exchanges);
            add_each(&mut sum.attempts, &more.attempts);
            sum.latency.add(&more.latency);
        }
    }

    fn tree(&self, names: &[String]) -> CounterTree {
        let servers = names.iter().zip(&self.servers);
        let servers: CounterTree = servers.map(|(name, counts)| (name.clone(), counts.tree())).collect();
        [
            ("exchanges", self.exchanges.tree()),
            ("retries", self.retries.into()),
            ("unserved", self.unserved.tree()),
            ("servers", servers),
        ]
        .into_iter()
        .collect()
    }
}

impl ServerCounters<u64> {
    fn tree(&self) -> CounterTree {
        let attempts: CounterTree = Outcome::ALL.iter().map(|outcome| outcome.as_str()).zip(self.attempts).collect();
        [("exchanges", self.exchanges.tree()), ("attempts", attempts), ("latency", self.latency.tree())]
            .into_iter()
            .collect()
    }
}

impl Counted<'_> {
    fn times(&self) -> PhaseTimes {
        let Timers { connected, responded, total, .. } = self.timers;
        let timed = |took: u32| Timed::new(took.into());
        let opened = connected > 0 && self.attempts.last().is_some_and(|last| !last.reused);
        let connect = opened.then(|| timed(connected.saturating_sub(self.lost())));
        let response = (responded > 0).then(|| timed(responded.saturating_sub(connected)));
        // a tunnel lasts for as long as both sides like, and says nothing of latency
        let whole = (self.status >= 200).then(|| Timed::new(total));
        PhaseTimes { connect, response, whole }
    }

    /// The time of the attempts before the last one.
    fn lost(&self) -> u32 {
        let before = self.attempts.split_last().map(|(_, before)| before).unwrap_or_default();
        before.iter().fold(0, |sum, attempt| sum.saturating_add(attempt.took))
    }
}

/// How TLS handshakes end: those that come to their end, and the reasons why others do not.
const HANDSHAKES: [&str; 9] =
    ["full", "resumed", "client-closed", "client-timeout", "bad-request", "no-site", "denied", "drained", "internal"];

/// Statuses of refused heads with a count of their own.
const REFUSALS: [u16; 9] = [400, 405, 408, 413, 414, 417, 431, 501, 505];

fn refusal(status: u16) -> usize {
    REFUSALS.iter().position(|known| *known == status).unwrap_or(REFUSALS.len())
}

#[cfg(any(test, fuzzing))]
impl Counters {
    /// Of a single thread.
    pub(crate) fn alone(names: &RecordNames) -> Arc<Self> {
        let statistics = crate::control::statistics::SharedStatistics::new(1, &counter_names(names)).expect("memory");
        Self::new(names, statistics.of_thread(0))
    }
}

#[cfg(test)]
mod tests;

//! The serving threads of a worker: one for each CPU, each with a runtime, clients and upstream connections of its
//! own. The worker's main thread gives orders, and they answer; [`super::serving`] is their side.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::arrivals::{Arrivals, ThreadHandles};
use super::order::Order;
use super::serving::{ServingThread, Shared};
use crate::config::Config;
use crate::control::admin::DASHBOARD;
use crate::control::debug::shows;
use crate::control::statistics::SharedStatistics;
use crate::control::status::{OldestStatus, WorkerStatus};
use crate::drain::{Draining, Stage};
use crate::handover::successor::Successor;
use crate::listener::{Limits, WorkerLimit};
use crate::observe::event::Event;
use crate::observe::journal::{Journal, Unwritten};
use crate::observe::metrics::{CounterTotals, Counters, counter_names};
use crate::observe::record::Index;
use crate::proxy::debug::DebugSession;
use crate::proxy::underway::UnderwayLine;
use crate::proxy::{RuntimeConfig, Thread};

/// How many of the oldest exchanges and tunnels the status names.
const OLDEST: usize = 5;
/// How long a thread may take to name them.
const LOOK: Duration = Duration::from_millis(300);

/// Descriptors for other purposes than connections.
const SPARE_FILES: u64 = 128;

/// What threads will answer. One that has ended owes no answer.
pub struct Answers<T> {
    asked: Vec<oneshot::Receiver<T>>,
    /// A thread has no room for the question.
    is_one_missing: bool,
}

impl<T> Answers<T> {
    /// The answers that come within `deadline`, and whether they are all.
    pub async fn within(self, deadline: Duration) -> (Vec<T>, bool) {
        let deadline = Instant::now() + deadline;
        let (mut given, mut is_whole) = (Vec::new(), !self.is_one_missing);
        for answer in self.asked {
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => given.push(answer),
                Ok(Err(_)) => {} // the thread ended
                Err(_) => is_whole = false,
            }
        }
        (given, is_whole)
    }
}

/// Which threads a heartbeat asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// Those that run. A thread that waits for events hangs in no task, and to wake it is most of the work of an idle
    /// worker: 50 µs for each thread, and as much for the main thread that hears the answer.
    OfBusy,
    /// Those that wait for events too: they prove that they can be woken.
    OfAll,
}

/// The serving threads.
pub struct Threads {
    runtime_config: Arc<RuntimeConfig>,
    threads: Vec<ServingThread>,
    journal: Journal,
    /// Connections that were open at the deadline of the drain.
    cut: Arc<AtomicU64>,
    /// The number of links over which connections may come.
    links: Arc<AtomicUsize>,
    /// The drain has begun: threads end.
    ending: AtomicBool,
    ended: Arc<Notify>,
    statistics: SharedStatistics,
}

impl Threads {
    /// Starts the threads; they accept nothing yet.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(runtime_config: Arc<RuntimeConfig>, journal: Journal) -> io::Result<Self> {
        let limits = limits(&runtime_config.config);
        let (cut, links) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let ended = Arc::new(Notify::new());
        let count = count(&runtime_config);
        let counter_names = counter_names(&runtime_config.names);
        let statistics = SharedStatistics::new(count, &counter_names)?;
        journal.count_in(statistics.of_thread(0).count(counter_names.counts - 1));
        let shared = Shared {
            runtime_config: runtime_config.clone(),
            journal: journal.clone(),
            limits,
            cut: cut.clone(),
            links: links.clone(),
            ended: ended.clone(),
            statistics: statistics.clone(),
        };
        let threads = (0..count).map(|number| ServingThread::start(number, shared.clone()));
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            runtime_config,
            journal,
            cut,
            links,
            ending: AtomicBool::new(false),
            ended,
            statistics,
        })
    }

    /// Their runtime configuration.
    #[must_use]
    pub fn runtime_config(&self) -> &Arc<RuntimeConfig> {
        &self.runtime_config
    }

    /// Accepts on these sockets, by the names of their listeners. Returns when every thread does.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub async fn serve(&self, sockets: Vec<(String, OwnedFd)>) -> io::Result<()> {
        let named = |name: &str| self.runtime_config.names.listeners.iter().position(|listener| listener == name);
        let mut answers = Vec::new();
        for thread in &self.threads {
            let mut own = Vec::new();
            for (name, socket) in &sockets {
                if let Some(listener) = named(name) {
                    own.push((listener as Index, socket.try_clone()?));
                }
            }
            answers.push(thread.order(|done| Order::Serve(own, done)).await);
        }
        if all(answers).await { Ok(()) } else { Err(io::Error::other("a thread cannot accept")) }
    }

    /// Stops accepting, keeps serving what is open. Returns when no thread accepts any more.
    pub async fn park(&self) {
        self.order_all(Order::Park).await;
    }

    /// Accepts again. Returns whether every thread does.
    pub async fn resume(&self) -> bool {
        self.order_all(Order::Resume).await
    }

    /// The shared counts of what the threads have open, for the supervisor.
    #[must_use]
    pub fn statistics(&self) -> &SharedStatistics {
        &self.statistics
    }

    /// Notified whenever a thread ends, for whatever reason.
    #[must_use]
    pub fn ended(&self) -> Arc<Notify> {
        self.ended.clone()
    }

    /// Stops accepting and releases what is open: it moves to the successor, or ends with the next response, over `spread`
    /// from now; `timeout` from now the rest is cut, and an idle connection is kept for `idle` at most.
    pub async fn drain(&self, timeout: Duration, spread: Duration, idle: Duration) {
        let began = Instant::now();
        let draining = Draining { began, deadline: began + timeout, spread, idle };
        self.ending.store(true, Ordering::Relaxed);
        self.order_all(|done| Order::Drain(draining, done)).await;
    }

    /// Shows exchanges as `session` wants them, and says so there once every thread does.
    pub async fn debug(&self, session: DebugSession) {
        let session = Arc::new(session);
        if self.order_all(|done| Order::Debug(session.clone(), done)).await {
            session.send(Instant::now(), &shows(self.runtime_config.generation));
        }
    }

    /// Connections go to `successor` once this generation drains, and [`ThreadHandles::successor_ready`] was called.
    pub async fn set_successor(&self, successor: &Successor) {
        self.order_all(|done| Order::SetSuccessor(successor.clone(), done)).await;
    }

    /// Tells the threads that the capabilities of their successor have come.
    #[must_use]
    pub fn handles(&self) -> ThreadHandles {
        let threads = self.threads.iter().map(|thread| thread.orders.clone()).collect();
        ThreadHandles { threads, counters: self.counters() }
    }

    /// The route of connections that come from another generation.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        let threads = self.threads.iter().map(|thread| thread.orders.clone());
        Arrivals::new(threads.collect(), self.links.clone())
    }

    /// Connections that went to another generation.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.totals().moved_out()
    }

    /// Exchanges that ended.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.totals().exchanges()
    }

    /// Whether every one of these threads answers within `deadline`. A thread that has finished its drain owes no
    /// answer.
    pub async fn heartbeat(&self, of: Heartbeat, deadline: Duration) -> bool {
        let asked = |thread: &&ServingThread| of == Heartbeat::OfAll || !thread.waits.load(Ordering::Relaxed);
        let threads = self.threads.iter().filter(asked);
        let answered = tokio::time::timeout(deadline, order_each(threads, Order::Answer)).await;
        answered.is_ok_and(|answered| answered || self.ending.load(Ordering::Relaxed))
    }

    /// The answers of every thread to this question. A thread that does not answer within `deadline` is left out.
    pub async fn look<T: Send + 'static>(
        &self,
        ask: impl Fn(&Thread) -> T + Clone + Send + 'static,
        deadline: Duration,
    ) -> Vec<T> {
        self.ask(ask).within(deadline).await.0
    }

    /// Asks every thread this question.
    pub fn ask<T: Send + 'static>(&self, ask: impl Fn(&Thread) -> T + Clone + Send + 'static) -> Answers<T> {
        let mut answers = Answers { asked: Vec::new(), is_one_missing: false };
        for thread in &self.threads {
            let (sender, answer) = oneshot::channel();
            let ask = ask.clone();
            // the caller may have given up waiting
            let look = Order::Look(Box::new(move |thread| drop(sender.send(ask(thread)))));
            match thread.orders.try_send(look) {
                Ok(()) => answers.asked.push(answer),
                Err(TrySendError::Closed(_)) => {}
                // a thread whose orders pile up hangs, and does not answer in time
                Err(TrySendError::Full(_)) => answers.is_one_missing = true,
            }
        }
        answers
    }

    /// The oldest exchanges and tunnels that keep a generation alive which accepts no more; none for one that serves.
    pub async fn oldest(&self) -> Option<Vec<OldestStatus>> {
        let of_thread = |thread: &Thread| {
            let runtime_config = &thread.runtime_config;
            let serves = thread.drain.stage() == Stage::Serving;
            (!serves).then(|| thread.underway.oldest(OLDEST, &runtime_config.names, &runtime_config.config.sites))
        };
        let all = self.look(of_thread, LOOK).await.into_iter().reduce(|all, more| {
            let (mut all, more) = (all?, more?);
            all.extend(more);
            Some(all)
        });
        let mut all = all??;
        all.sort_by_key(|line| std::cmp::Reverse(line.age));
        all.truncate(OLDEST);
        let status = |line: &UnderwayLine| {
            let age_ms = u64::try_from(line.age.as_millis()).unwrap_or(u64::MAX);
            OldestStatus { kind: line.busy.as_str().to_owned(), age_ms, what: line.what.clone() }
        };
        Some(all.iter().map(status).collect())
    }

    /// Waits until every thread has finished its drain, and joins them. Cancel-safe.
    pub async fn finished(&mut self) {
        for thread in &mut self.threads {
            if let Some(finished) = &mut thread.finished {
                let _ = finished.await; // the sender is only ever dropped
                thread.finished = None;
            }
            if let Some(handle) = thread.handle.take()
                && handle.join().is_err()
            {
                let text = "A serving thread ended by a panic".to_owned();
                self.journal.event(Event::SupervisorWarning { text });
            }
        }
    }

    /// What the threads counted, and the state of the pools.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        let totals = self.totals();
        let pools = || self.runtime_config.pools.iter().filter(|pool| pool.name != DASHBOARD);
        WorkerStatus {
            certificates: Vec::new(), // the main thread has them
            generation: self.runtime_config.generation,
            threads: self.threads.len() as u64,
            cut: self.cut.load(Ordering::Relaxed),
            connections: Some(totals.connections(&self.runtime_config.names)),
            servers: pools().map(|pool| pool.configured().count() as u64).sum(),
            servers_up: pools().map(|pool| pool.servers_up() as u64).sum(),
            pools: pools().map(|pool| pool.status()).collect(),
            oldest: None,
            counters: totals.tree(&self.runtime_config.names, &self.journal.unwritten()),
        }
    }

    /// Whether servers are checked: each check changes their status.
    #[must_use]
    pub fn has_checks(&self) -> bool {
        self.runtime_config.pools.iter().any(|pool| pool.settings.check.is_some())
    }

    /// What the journal did not write.
    #[must_use]
    pub fn unwritten(&self) -> Unwritten {
        self.journal.unwritten()
    }

    /// The counters, summed over the threads.
    #[must_use]
    pub fn totals(&self) -> CounterTotals {
        CounterTotals::sum(&self.counters())
    }

    fn counters(&self) -> Vec<Arc<Counters>> {
        self.threads.iter().map(|thread| thread.counters.clone()).collect()
    }

    /// Gives every thread an order; returns whether all of them answered.
    async fn order_all(&self, order: impl Fn(oneshot::Sender<()>) -> Order) -> bool {
        order_each(self.threads.iter(), order).await
    }
}

async fn order_each(
    threads: impl Iterator<Item = &ServingThread>,
    order: impl Fn(oneshot::Sender<()>) -> Order,
) -> bool {
    let mut answers = Vec::new();
    for thread in threads {
        answers.push(thread.order(&order).await);
    }
    all(answers).await
}

async fn all(answers: Vec<oneshot::Receiver<()>>) -> bool {
    let mut answered = true;
    for answer in answers {
        answered &= answer.await.is_ok();
    }
    answered
}

/// The limits of every listener, in the order of the names.
fn limits(config: &Config) -> Arc<[Arc<Limits>]> {
    // more connections than there are files for would end without a descriptor for a server
    let most = most_connections();
    let worker = Arc::new(WorkerLimit::new(config.worker.max_connections.map_or(most, |wanted| wanted.min(most))));
    let http = config.listeners.iter().map(|listener| listener.max_connections);
    let all = http.chain(config.tcp.iter().map(|tcp| tcp.max_connections));
    all.map(|max| Arc::new(Limits::new(max, &worker))).collect()
}

/// What the limit of open files allows. An exchange takes two, the client's connection and the server's, but most
/// connections are idle most of the time: where more than half are not, their exchanges wait for a descriptor.
fn most_connections() -> u32 {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(files.saturating_sub(SPARE_FILES) / 3 * 2).unwrap_or(u32::MAX).max(1)
}

/// One for each CPU that the unit may use, unless the configuration sets a number.
fn count(runtime_config: &RuntimeConfig) -> usize {
    let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    runtime_config.config.worker.threads.unwrap_or_else(cpus).max(1)
}

#[cfg(test)]
mod tests;

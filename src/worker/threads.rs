//! The serving threads of a worker: one for each CPU, each with a runtime, clients and upstream connections of its
//! own. The worker's main thread tells them what to do, and they answer.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::arrivals::{self, Arrivals};
use crate::config::Config;
use crate::control::tally::Tally;
use crate::drain::{Draining, Stage};
use crate::handover::heir::Heir;
use crate::handover::parcel::Parcel;
use crate::listener::{self, Acceptor, Kind, Limit, Limits};
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::observe::metrics::{Counters, Totals};
use crate::observe::record::Index;
use crate::proxy::underway::Told;
use crate::proxy::{Plan, Thread};

/// Orders that wait for a thread, at most; the main thread gives one and waits for its answer.
const ORDERS: usize = 16;

/// How many of the oldest exchanges and tunnels are told.
const OLDEST: usize = 5;
/// How long a thread may take to tell them.
const LOOK: Duration = Duration::from_millis(300);

/// Files that are open for other purposes than connections.
const SPARE_FILES: u64 = 128;

/// The serving threads.
pub struct Threads {
    plan: Arc<Plan>,
    threads: Vec<Serving>,
    journal: Journal,
    /// Connections that were open at the deadline of the drain.
    cut: Arc<AtomicU64>,
    /// Over how many links connections may come.
    links: Arc<AtomicUsize>,
    /// The drain has begun: threads end.
    ending: AtomicBool,
    ended: Arc<Notify>,
    tally: Tally,
}

/// What all threads have in common.
#[derive(Clone)]
struct Shared {
    plan: Arc<Plan>,
    journal: Journal,
    limits: Arc<[Arc<Limits>]>,
    cut: Arc<AtomicU64>,
    links: Arc<AtomicUsize>,
    ended: Arc<Notify>,
    tally: Tally,
}

struct Serving {
    orders: mpsc::Sender<Order>,
    counters: Arc<Counters>,
    handle: Option<JoinHandle<()>>,
    /// Dropped by the thread when it is through.
    finished: Option<oneshot::Receiver<()>>,
}

/// What the main thread asks of a serving thread. Each answers through its sender when it is done.
pub(super) enum Order {
    /// Accept on these sockets, each with the index of its listener.
    Serve(Vec<(Index, OwnedFd)>, oneshot::Sender<()>),
    /// Accept nothing for now.
    Park(oneshot::Sender<()>),
    /// Accept again.
    Resume(oneshot::Sender<()>),
    /// Accept nothing any more and let go of what is open.
    Drain(Draining, oneshot::Sender<()>),
    /// Connections go to this heir, once you drain.
    Bequeath(Heir, oneshot::Sender<()>),
    /// Serve these connections of another generation.
    Arrive(Vec<Parcel>, oneshot::Sender<()>),
    /// Say that you are there.
    Answer(oneshot::Sender<()>),
    /// Have a look at the thread from inside.
    Look(Box<dyn FnOnce(&Thread) + Send>),
}

impl Threads {
    /// Starts the threads; they accept nothing yet.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(plan: Arc<Plan>, journal: Journal) -> io::Result<Self> {
        let limits = limits(&plan.config);
        let (cut, links) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let ended = Arc::new(Notify::new());
        let tally = Tally::new()?;
        let shared = Shared {
            plan: plan.clone(),
            journal: journal.clone(),
            limits,
            cut: cut.clone(),
            links: links.clone(),
            ended: ended.clone(),
            tally: tally.clone(),
        };
        let threads = (0..count(&plan)).map(|number| Serving::start(number, shared.clone()));
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            plan,
            journal,
            cut,
            links,
            ending: AtomicBool::new(false),
            ended,
            tally,
        })
    }

    /// What they serve by.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Accepts on these sockets, by the names of their listeners. Returns when every thread does.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub async fn serve(&self, sockets: Vec<(String, OwnedFd)>) -> io::Result<()> {
        let named = |name: &str| self.plan.names.listeners.iter().position(|listener| listener == name);
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

    /// Accepts again. Whether every thread does.
    pub async fn resume(&self) -> bool {
        self.order_all(Order::Resume).await
    }

    /// What the threads have open, for the supervisor.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Notified whenever a thread ends, for whatever reason.
    #[must_use]
    pub fn ended(&self) -> Arc<Notify> {
        self.ended.clone()
    }

    /// Stops accepting and lets go of what is open: it moves to the heir, or ends with the next response, over `spread`
    /// from now; `timeout` from now the rest is cut, and an idle connection is kept for `idle` at most.
    pub async fn drain(&self, timeout: Duration, spread: Duration, idle: Duration) {
        let began = Instant::now();
        let draining = Draining { began, deadline: began + timeout, spread, idle };
        self.ending.store(true, Ordering::Relaxed);
        self.order_all(|done| Order::Drain(draining, done)).await;
    }

    /// Connections go to `heir` once this generation drains.
    pub async fn bequeath(&self, heir: &Heir) {
        self.order_all(|done| Order::Bequeath(heir.clone(), done)).await;
    }

    /// The way of connections that come from another generation.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        let threads = self.threads.iter().map(|thread| thread.orders.clone());
        Arrivals::new(threads.collect(), self.links.clone())
    }

    /// Connections that went to another generation.
    #[must_use]
    pub fn moved(&self) -> u64 {
        let counters: Vec<_> = self.threads.iter().map(|thread| thread.counters.clone()).collect();
        Totals::sum(&counters).moved_out()
    }

    /// Whether every thread answers within `deadline`. One that is through with its drain owes no answer.
    pub async fn heartbeat(&self, deadline: Duration) -> bool {
        let answered = tokio::time::timeout(deadline, self.order_all(Order::Answer)).await;
        answered.is_ok_and(|answered| answered || self.ending.load(Ordering::Relaxed))
    }

    /// What every thread answers when it is asked this. One that does not within `deadline` is left out.
    pub async fn look<T: Send + 'static>(
        &self,
        ask: impl Fn(&Thread) -> T + Clone + Send + 'static,
        deadline: Duration,
    ) -> Vec<T> {
        let deadline = Instant::now() + deadline;
        let mut answers = Vec::new();
        for thread in &self.threads {
            let (told, answer) = oneshot::channel();
            let ask = ask.clone();
            // whoever asked may have given up waiting
            let look = Order::Look(Box::new(move |thread| drop(told.send(ask(thread)))));
            // one whose orders pile up hangs, and answers nothing in time
            if thread.orders.try_send(look).is_ok() {
                answers.push(answer);
            }
        }
        let mut told = Vec::new();
        for answer in answers {
            told.extend(tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok));
        }
        told
    }

    /// The oldest things that keep a generation alive which accepts nothing any more; null of one that serves.
    pub async fn oldest(&self) -> Value {
        let of_thread = |thread: &Thread| {
            let plan = &thread.plan;
            let serves = thread.drain.stage() == Stage::Serving;
            (!serves).then(|| thread.underway.oldest(OLDEST, &plan.names, &plan.config.sites))
        };
        let Some(mut all) = self.look(of_thread, LOOK).await.into_iter().reduce(|all, more| {
            let (mut all, more) = (all?, more?);
            all.extend(more);
            Some(all)
        }) else {
            return Value::Null;
        };
        if let Some(all) = &mut all {
            all.sort_by_key(|told| std::cmp::Reverse(told.age));
            all.truncate(OLDEST);
        }
        let told = |told: &Told| {
            let age_ms = u64::try_from(told.age.as_millis()).unwrap_or(u64::MAX);
            json!({ "kind": told.busy.as_str(), "age_ms": age_ms, "what": told.what })
        };
        json!(all.map(|all| all.iter().map(told).collect::<Vec<_>>()))
    }

    /// Waits until every thread is through with its drain, and joins them. May be dropped and called again.
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

    /// What the threads counted, and the pools as they are.
    #[must_use]
    pub fn status(&self) -> Value {
        let counters: Vec<_> = self.threads.iter().map(|thread| thread.counters.clone()).collect();
        let totals = Totals::sum(&counters);
        let pools: Vec<_> = self.plan.pools.iter().map(|pool| pool.status()).collect();
        json!({
            "generation": self.plan.generation,
            "threads": self.threads.len(),
            "connections": totals.connections(&self.plan.names),
            "cut": self.cut.load(Ordering::Relaxed),
            "servers": self.plan.pools.iter().map(|pool| pool.servers.len()).sum::<usize>(),
            "servers_up": self.plan.pools.iter().map(|pool| pool.servers_up()).sum::<usize>(),
            "pools": pools,
            "counters": totals.snapshot(&self.plan.names, self.journal.dropped()),
        })
    }

    /// Gives every thread an order; whether all of them answered.
    async fn order_all(&self, order: impl Fn(oneshot::Sender<()>) -> Order) -> bool {
        let mut answers = Vec::new();
        for thread in &self.threads {
            answers.push(thread.order(&order).await);
        }
        all(answers).await
    }
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
    // more than there are files for would end in connections that no server can be found for
    let most = most_connections();
    let worker = Arc::new(Limit::new(config.worker.max_connections.map_or(most, |wanted| wanted.min(most))));
    let http = config.listeners.iter().map(|listener| listener.max_connections);
    let all = http.chain(config.tcp.iter().map(|tcp| tcp.max_connections));
    all.map(|max| Arc::new(Limits::new(max, &worker))).collect()
}

/// What the limit of open files allows: an exchange takes two, the client's connection and the server's.
fn most_connections() -> u32 {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(files.saturating_sub(SPARE_FILES) / 2).unwrap_or(u32::MAX).max(1)
}

/// One for each CPU that the unit may use, unless the configuration says how many.
fn count(plan: &Plan) -> usize {
    let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    plan.config.worker.threads.unwrap_or_else(cpus).max(1)
}

/// Says that a thread is through when it is dropped: at its end, and also by a panic.
struct Through {
    _finished: oneshot::Sender<()>,
    ended: Arc<Notify>,
}

impl Drop for Through {
    fn drop(&mut self) {
        self.ended.notify_one();
    }
}

impl Serving {
    fn start(number: usize, shared: Shared) -> io::Result<Self> {
        let counters = Counters::with_tally(&shared.plan.names, shared.tally.part(number));
        let (orders, incoming) = mpsc::channel(ORDERS);
        let (through, finished) = oneshot::channel::<()>();
        let through = Through { _finished: through, ended: shared.ended.clone() };
        let own_counters = counters.clone();
        let (started, starts) = std::sync::mpsc::sync_channel(1);
        let handle = std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            let _through = through;
            // made here, because a local runtime cannot change threads
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(fault) => return drop(started.send(Err(fault))),
            };
            if started.send(Ok(())).is_ok() {
                runtime.block_on(run(number, shared, own_counters, incoming));
            }
        })?;
        starts.recv().map_err(io::Error::other)??;
        Ok(Self { orders, counters, handle: Some(handle), finished: Some(finished) })
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) -> oneshot::Receiver<()> {
        arrivals::order(&self.orders, order).await
    }
}

/// The life of one serving thread.
async fn run(number: usize, shared: Shared, counters: Arc<Counters>, mut orders: mpsc::Receiver<Order>) {
    let Shared { plan, journal, limits, cut, links, .. } = shared;
    let thread = Thread::start(number, plan, counters, journal);
    let mut acceptors = Acceptors { thread: thread.clone(), limits, watched: Vec::new(), parked: Vec::new() };
    let mut deadline = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => follow(order, &thread, &mut acceptors, &mut deadline),
                None => break, // the main thread is gone
            },
            () = until(deadline) => {
                deadline = None;
                thread.drain.enter(Stage::Cut);
                cut.fetch_add(thread.clients.len() as u64, Ordering::Relaxed);
                thread.clients.wake_all();
            }
            () = poll_fn(|cx| thread.clients.poll_empty(cx)), if is_through(&thread, &links) => break,
        }
    }
    thread.close_idle_upstream();
    thread.flush_records();
}

/// Whether nothing is left to be done once no connection is open.
fn is_through(thread: &Thread, links: &AtomicUsize) -> bool {
    match thread.drain.stage() {
        Stage::Serving | Stage::Parked => false,
        Stage::Draining(_) => links.load(Ordering::Relaxed) == 0,
        Stage::Cut => true,
    }
}

fn follow(order: Order, thread: &Rc<Thread>, acceptors: &mut Acceptors, deadline: &mut Option<Instant>) {
    let (followed, done) = match order {
        Order::Serve(sockets, done) => (acceptors.start(sockets), done),
        Order::Park(done) => {
            acceptors.park();
            thread.drain.enter(Stage::Parked);
            (Ok(()), done)
        }
        Order::Resume(done) => {
            thread.drain.enter(Stage::Serving);
            (acceptors.resume(), done)
        }
        Order::Drain(draining, done) => {
            acceptors.close();
            thread.drain.enter(Stage::Draining(draining));
            thread.clients.leave_all();
            *deadline = Some(draining.deadline);
            (Ok(()), done)
        }
        Order::Bequeath(heir, done) => {
            thread.set_heir(heir);
            if thread.drain.is_ending() {
                thread.clients.leave_all();
            }
            (Ok(()), done)
        }
        Order::Arrive(parcels, done) => {
            acceptors.arrive(parcels);
            (Ok(()), done)
        }
        Order::Answer(done) => (Ok(()), done),
        Order::Look(look) => return look(thread),
    };
    if followed.is_ok() {
        // whoever asked may have given up waiting
        let _ = done.send(());
    }
}

/// The listening sockets that a thread has.
struct Acceptors {
    thread: Rc<Thread>,
    limits: Arc<[Arc<Limits>]>,
    watched: Vec<(Index, Acceptor)>,
    parked: Vec<(Index, OwnedFd)>,
}

impl Acceptors {
    /// Watches these sockets.
    fn start(&mut self, sockets: Vec<(Index, OwnedFd)>) -> io::Result<()> {
        for (listener, socket) in sockets {
            let limits = self.limits[usize::from(listener)].clone();
            let kind = kind(&self.thread, listener);
            let acceptor = Acceptor::start(self.thread.clone(), listener, kind, socket, limits)
                .inspect_err(|fault| self.thread.accept_stalled(listener, fault))?;
            self.watched.push((listener, acceptor));
        }
        Ok(())
    }

    /// Serves connections of another generation. One that cannot be served is closed, and said.
    fn arrive(&self, parcels: Vec<Parcel>) {
        let names = &self.thread.plan.names.listeners;
        for parcel in parcels {
            let name = parcel.client.listener.clone();
            let Some(listener) = names.iter().position(|own| *own == name) else {
                self.thread.arrival_failed(name, &io::Error::other("no such listener"));
                continue;
            };
            let (index, kind) = (listener as Index, kind(&self.thread, listener as Index));
            if let Err(fault) = listener::arrive(&self.thread, index, kind, &self.limits[listener], parcel) {
                self.thread.arrival_failed(name, &fault);
            }
        }
    }

    /// Stops watching, and keeps the sockets for later.
    fn park(&mut self) {
        let sockets = self.watched.drain(..).filter_map(|(listener, acceptor)| Some((listener, acceptor.park()?)));
        self.parked.extend(sockets);
    }

    /// Watches again what was parked.
    fn resume(&mut self) -> io::Result<()> {
        let parked = std::mem::take(&mut self.parked);
        self.start(parked)
    }

    /// Gives the sockets up.
    fn close(&mut self) {
        self.watched.clear();
        self.parked.clear();
    }
}

/// What a listener speaks: those of the configuration's `listeners` come first, then those of `tcp`.
fn kind(thread: &Thread, listener: Index) -> Kind {
    let (index, http) = (usize::from(listener), thread.plan.config.listeners.len());
    if index < http { Kind::Http(index) } else { Kind::Tcp(index - http) }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

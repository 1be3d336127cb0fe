//! One serving thread: a runtime that executes the orders of the main thread, until nothing is left to serve.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::order::{self, Order};
use crate::control::statistics::SharedStatistics;
use crate::drain::Stage;
use crate::handover::transfer::Transfer;
use crate::listener::{self, Acceptor, Kind, Limits};
use crate::observe::journal::Journal;
use crate::observe::metrics::Counters;
use crate::observe::record::Index;
use crate::proxy::{RuntimeConfig, Thread};

/// Tasks that a thread runs before it looks at the poller again: of tokio's 61, each with its turn of 128 KiB in both
/// directions, a client that comes meanwhile would wait for 16 MB of others.
const TURNS: u32 = 16;

/// Orders that wait for a thread, at most; the main thread gives one and waits for its answer.
const ORDERS: usize = 16;

/// What all threads have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) runtime_config: Arc<RuntimeConfig>,
    pub(super) journal: Journal,
    pub(super) limits: Arc<[Arc<Limits>]>,
    pub(super) cut: Arc<AtomicU64>,
    pub(super) links: Arc<AtomicUsize>,
    pub(super) ended: Arc<Notify>,
    pub(super) statistics: SharedStatistics,
}

/// One serving thread, as the main thread has it.
pub(super) struct ServingThread {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) counters: Arc<Counters>,
    pub(super) handle: Option<JoinHandle<()>>,
    /// It waits for events: no task of it runs, so none hangs.
    pub(super) waits: Arc<AtomicBool>,
    /// Dropped by the thread when it has finished.
    pub(super) finished: Option<oneshot::Receiver<()>>,
}

/// Reports that a thread has finished when it is dropped: at its end, and also by a panic.
struct Through {
    _finished: oneshot::Sender<()>,
    ended: Arc<Notify>,
}

impl Drop for Through {
    fn drop(&mut self) {
        self.ended.notify_one();
    }
}

impl ServingThread {
    /// Starts the thread of this number.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(super) fn start(number: usize, shared: Shared) -> io::Result<Self> {
        let counters = Counters::new(&shared.runtime_config.names, shared.statistics.of_thread(number));
        let (orders, incoming) = mpsc::channel(ORDERS);
        let (through, finished) = oneshot::channel::<()>();
        let through = Through { _finished: through, ended: shared.ended.clone() };
        let own_counters = counters.clone();
        let waits = Arc::new(AtomicBool::new(false));
        let (begins, ends) = (waits.clone(), waits.clone());
        let (started, starts) = std::sync::mpsc::sync_channel(1);
        let handle = std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            let _through = through;
            // made here, because a local runtime cannot change threads
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(TURNS)
                .on_thread_park(move || begins.store(true, Ordering::Relaxed))
                .on_thread_unpark(move || ends.store(false, Ordering::Relaxed))
                .build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(fault) => return drop(started.send(Err(fault))),
            };
            if started.send(Ok(())).is_ok() {
                runtime.block_on(run(number, shared, own_counters, incoming));
            }
        })?;
        starts.recv().map_err(io::Error::other)??;
        Ok(Self { orders, counters, handle: Some(handle), waits, finished: Some(finished) })
    }

    /// Gives it an order; the answer is an error when the thread has ended.
    pub(super) async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) -> oneshot::Receiver<()> {
        order::give(&self.orders, order).await
    }
}

/// The life of one serving thread.
async fn run(number: usize, shared: Shared, counters: Arc<Counters>, mut orders: mpsc::Receiver<Order>) {
    let Shared { runtime_config, journal, limits, cut, links, .. } = shared;
    let thread = Thread::start(number, runtime_config, counters, journal);
    let mut acceptors = Acceptors { thread: thread.clone(), limits, watched: Vec::new(), parked: Vec::new() };
    let mut deadline = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => follow(order, &thread, &mut acceptors, &mut deadline),
                None => break, // the main thread has ended
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

/// Whether nothing is left to do once no connection is open.
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
            thread.clients.wake_all();
            *deadline = Some(draining.deadline);
            (Ok(()), done)
        }
        Order::SetSuccessor(successor, done) => {
            thread.set_successor(successor);
            (Ok(()), done)
        }
        Order::SuccessorReady(done) => {
            if thread.drain.is_ending() {
                thread.clients.wake_all();
            }
            (Ok(()), done)
        }
        Order::Arrive(transfers, done) => {
            acceptors.arrive(transfers);
            (Ok(()), done)
        }
        Order::Debug(session, done) => {
            thread.debug.add(session);
            (Ok(()), done)
        }
        Order::Answer(done) => (Ok(()), done),
        Order::Look(look) => return look(thread),
    };
    if followed.is_ok() {
        // the caller may have given up waiting
        let _ = done.send(());
    }
}

/// The listening sockets of a thread.
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

    /// Serves connections of another generation. A connection that cannot be served is closed and logged.
    fn arrive(&self, transfers: Vec<Transfer>) {
        let names = &self.thread.runtime_config.names.listeners;
        for transfer in transfers {
            let name = transfer.client.listener.clone();
            let Some(listener) = names.iter().position(|own| *own == name) else {
                self.thread.arrival_failed(name, &io::Error::other("no such listener"));
                continue;
            };
            let (index, kind) = (listener as Index, kind(&self.thread, listener as Index));
            if let Err(fault) = listener::arrive(&self.thread, index, kind, &self.limits[listener], transfer) {
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
    let (index, http) = (usize::from(listener), thread.runtime_config.config.listeners.len());
    if index < http { Kind::Http(index) } else { Kind::Tcp(index - http) }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

//! How many client connections may be open, over all threads.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::observe::record::Index;
use crate::proxy::idle::IdleConnections;

/// A number of connections that may be open at once, shared by threads.
#[derive(Debug)]
pub struct Limit {
    free: Semaphore,
    max: usize,
    /// Connections above the limit: they were open already when they came here.
    excess: AtomicUsize,
}

/// The limit of a worker, and where the idle connections are that can make room when it is reached.
#[derive(Debug)]
pub struct WorkerLimit {
    limit: Limit,
    /// What each thread has idle, once for each listener on which it accepts.
    idle: Mutex<Vec<Arc<IdleConnections>>>,
    /// How many wait for room.
    waiting: AtomicUsize,
    /// A connection became idle while a thread waits for room.
    news: Notify,
}

/// The limits of one listener: its own and the worker's.
#[derive(Debug)]
pub struct Limits {
    listener: Limit,
    worker: Arc<WorkerLimit>,
    /// Threads that accept on this listener.
    threads: AtomicUsize,
    /// One of them at a time waits for room.
    turn: Semaphore,
}

/// The right to have one connection open; given up on drop, which wakes the thread that waits for it.
#[derive(Debug)]
pub struct Permit(Arc<Limits>);

impl Limit {
    /// A limit of `max` connections.
    #[must_use]
    pub fn new(max: u32) -> Self {
        let max = (max as usize).min(Semaphore::MAX_PERMITS);
        Self { free: Semaphore::new(max), max, excess: AtomicUsize::new(0) }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.max - self.free.available_permits() + self.excess.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.open() >= self.max
    }

    fn try_take(&self) -> bool {
        self.free.try_acquire().map(SemaphorePermit::forget).is_ok()
    }

    /// Takes one of those that are free, or goes above the limit.
    fn take_anyway(&self) {
        if !self.try_take() {
            self.excess.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn give_back(&self) {
        let less = |excess: usize| excess.checked_sub(1);
        if self.excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            self.free.add_permits(1);
        }
    }
}

impl Limits {
    /// At most `max` connections on this listener, and no more than the worker may have.
    #[must_use]
    pub fn new(max: u32, worker: &Arc<WorkerLimit>) -> Self {
        Self {
            listener: Limit::new(max),
            worker: worker.clone(),
            threads: AtomicUsize::new(0),
            turn: Semaphore::new(1),
        }
    }

    /// The listener's own limit.
    #[must_use]
    pub fn listener(&self) -> &Limit {
        &self.listener
    }

    /// The limit that is in the way, by its name in the configuration, and its value.
    pub(super) fn reached(&self) -> (&'static str, u64) {
        let own = self.listener.is_full();
        let (name, limit) =
            if own { ("max_connections", &self.listener) } else { ("worker.max_connections", &self.worker.limit) };
        (name, limit.max as u64)
    }

    /// One more thread accepts on this listener; these are its idle connections.
    pub(super) fn enter(&self, idle: &Arc<IdleConnections>) {
        self.threads.fetch_add(1, Ordering::Relaxed);
        self.worker.idle().push(idle.clone());
    }

    /// One thread less.
    pub(super) fn leave(&self, idle: &Arc<IdleConnections>) {
        self.threads.fetch_sub(1, Ordering::Relaxed);
        let mut all = self.worker.idle();
        if let Some(at) = all.iter().position(|one| Arc::ptr_eq(one, idle)) {
            all.swap_remove(at);
        }
    }

    /// How many of the worker's open connections make an equal share for one thread.
    pub(super) fn share(&self) -> usize {
        self.worker.limit.open().div_ceil(self.threads.load(Ordering::Relaxed).max(1))
    }

    /// Timeouts for the turn of a thread to wait for room; it ends on drop, after the connection was accepted.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// Takes a permit if there is one.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        if !self.listener.try_take() {
            return None;
        }
        if !self.worker.limit.try_take() {
            self.listener.give_back();
            return None;
        }
        Some(Permit(self.clone()))
    }

    /// A permit for a connection that is open already, whatever the limits say: nothing new is accepted until they hold
    /// again.
    pub(super) fn take_anyway(self: &Arc<Self>) -> Permit {
        self.listener.take_anyway();
        self.worker.limit.take_anyway();
        Permit(self.clone())
    }

    /// Timeouts for a permit, in the order of asking, and has the connections closed for it that have been idle longest,
    /// one after the other. `listener` is the index of this listener. There is always a permit in the end: the semaphores
    /// stay open.
    pub(super) async fn take(self: &Arc<Self>, listener: Index) -> Option<Permit> {
        let worker = &self.worker;
        let _waiting = WaitingForRoom::new(&worker.waiting);
        let mut taking = pin!(self.acquire());
        let made = Arc::new(Notify::new());
        let mut is_making = false;
        loop {
            let mut news = pin!(worker.news.notified());
            news.as_mut().enable(); // what becomes idle from here on is news
            if let Poll::Ready(permit) = poll_fn(|cx| Poll::Ready(taking.as_mut().poll(cx))).await {
                return permit;
            }
            is_making = is_making || self.make_room(listener, &made);
            tokio::select! {
                biased;
                permit = &mut taking => return permit,
                () = made.notified() => is_making = false,
                () = news, if !is_making => {}
            }
        }
    }

    async fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let listener = self.listener.free.acquire().await.ok()?;
        let worker = self.worker.limit.free.acquire().await.ok()?;
        listener.forget();
        worker.forget();
        Some(Permit(self.clone()))
    }

    /// Has the connection closed that has been idle longest, on whichever thread: one of this listener where its own limit
    /// is in the way. `made` is notified when it is closed, or turns out not to be idle. `false` when there is none.
    fn make_room(&self, listener: Index, made: &Arc<Notify>) -> bool {
        let own = self.listener.is_full() && self.worker.close_oldest(Some(listener), made);
        own || self.worker.limit.is_full() && self.worker.close_oldest(None, made)
    }
}

impl WorkerLimit {
    /// A limit of `max` connections for all listeners together.
    #[must_use]
    pub fn new(max: u32) -> Self {
        let (idle, waiting, news) = (Mutex::default(), AtomicUsize::new(0), Notify::new());
        Self { limit: Limit::new(max), idle, waiting, news }
    }

    fn close_oldest(&self, listener: Option<Index>, made: &Arc<Notify>) -> bool {
        loop {
            let idle = self.idle();
            let oldest = idle.iter().filter_map(|one| Some((one.oldest(listener)?, one)));
            let Some((idle, of)) = oldest.min_by_key(|(idle, _)| *idle) else { return false };
            if of.close(idle, made) {
                return true;
            } // else it got busy in this moment: the next one
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<IdleConnections>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The connection has nothing open from now on: it can make room for another one.
    pub(super) fn is_idle(&self) {
        let worker = &self.0.worker;
        if worker.waiting.load(Ordering::Relaxed) > 0 {
            worker.news.notify_waiters();
        }
    }
}

/// One more waits for room; one less on drop.
struct WaitingForRoom<'a>(&'a AtomicUsize);

impl<'a> WaitingForRoom<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for WaitingForRoom<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.worker.limit.give_back();
        self.0.listener.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_that_is_given_up_wakes_who_waits_for_either_limit() {
        let worker = Arc::new(WorkerLimit::new(2));
        let limits = Arc::new(Limits::new(1, &worker));
        let others = Arc::new(Limits::new(5, &worker));
        let first = limits.try_take().expect("the first");
        assert!(limits.try_take().is_none(), "the listener is full");
        assert_eq!(limits.reached(), ("max_connections", 1));
        let second = others.try_take().expect("the worker has one left");
        assert!(others.try_take().is_none(), "the worker is full");
        assert_eq!(others.reached(), ("worker.max_connections", 2));
        assert_eq!((limits.listener().open(), worker.limit.open()), (1, 2));
        let (third, ()) = tokio::join!(others.take(0), async { drop(first) });
        let fourth = tokio::join!(limits.take(0), async { drop(second) }).0;
        assert!(third.is_some() && fourth.is_some());
        assert_eq!((limits.listener().open(), worker.limit.open()), (1, 2));
    }

    #[test]
    fn connections_that_moved_here_may_be_more_than_the_limit_and_then_nothing_is_accepted() {
        let limits = Arc::new(Limits::new(1, &Arc::new(WorkerLimit::new(5))));
        let moved: Vec<_> = (0..3).map(|_| limits.take_anyway()).collect();
        assert_eq!(limits.listener().open(), 3);
        let mut moved = moved.into_iter();
        for _ in 0..2 {
            moved.next();
            assert!(limits.try_take().is_none(), "still at the limit");
        }
        moved.next();
        assert_eq!(limits.listener().open(), 0);
        assert!(limits.try_take().is_some());
    }

    #[test]
    fn a_share_is_what_the_worker_has_open_over_the_threads_that_accept() {
        let limits = Arc::new(Limits::new(10, &Arc::new(WorkerLimit::new(10))));
        let permits: Vec<_> = (0..5).map(|_| limits.try_take()).collect();
        let idle = Arc::default();
        assert_eq!(limits.share(), 5, "nobody has entered yet");
        limits.enter(&idle);
        limits.enter(&idle);
        assert_eq!(limits.share(), 3);
        limits.leave(&idle);
        drop(permits);
        assert_eq!(limits.share(), 0);
    }
}

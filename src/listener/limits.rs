//! How many client connections may be open, over all threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// A number of connections that may be open at once, shared by threads.
#[derive(Debug)]
pub struct Limit {
    free: Semaphore,
    max: usize,
    /// Connections above the limit: they were open already when they came here.
    excess: AtomicUsize,
}

/// The limits of one listener: its own and the worker's.
#[derive(Debug)]
pub struct Limits {
    listener: Limit,
    worker: Arc<Limit>,
    /// Threads that accept on this listener.
    threads: AtomicUsize,
}

/// The right to have one connection open; given up on drop, which wakes whoever waits for it on any thread.
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
    pub fn new(max: u32, worker: &Arc<Limit>) -> Self {
        Self { listener: Limit::new(max), worker: worker.clone(), threads: AtomicUsize::new(0) }
    }

    /// The listener's own limit.
    #[must_use]
    pub fn listener(&self) -> &Limit {
        &self.listener
    }

    /// The limit that is in the way, by its name in the configuration, and its value.
    pub(super) fn reached(&self) -> (&'static str, u64) {
        let own = self.listener.open() >= self.listener.max;
        let (name, limit) =
            if own { ("max_connections", &self.listener) } else { ("worker.max_connections", &*self.worker) };
        (name, limit.max as u64)
    }

    /// One more thread accepts on this listener.
    pub(super) fn enter(&self) {
        self.threads.fetch_add(1, Ordering::Relaxed);
    }

    /// One thread less.
    pub(super) fn leave(&self) {
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many of the worker's open connections make an equal share for one thread.
    pub(super) fn share(&self) -> usize {
        self.worker.open().div_ceil(self.threads.load(Ordering::Relaxed).max(1))
    }

    /// Takes a permit if there is one.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        if !self.listener.try_take() {
            return None;
        }
        if !self.worker.try_take() {
            self.listener.give_back();
            return None;
        }
        Some(Permit(self.clone()))
    }

    /// A permit for a connection that is open already, whatever the limits say: nothing new is accepted until they hold
    /// again.
    pub(super) fn take_anyway(self: &Arc<Self>) -> Permit {
        self.listener.take_anyway();
        self.worker.take_anyway();
        Permit(self.clone())
    }

    /// Waits for a permit, in the order of asking. There is always one in the end: nobody closes the semaphores.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Permit> {
        let listener = self.listener.free.acquire().await.ok()?;
        let worker = self.worker.free.acquire().await.ok()?;
        listener.forget();
        worker.forget();
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.worker.give_back();
        self.0.listener.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_that_is_given_up_wakes_who_waits_for_either_limit() {
        let worker = Arc::new(Limit::new(2));
        let limits = Arc::new(Limits::new(1, &worker));
        let others = Arc::new(Limits::new(5, &worker));
        let first = limits.try_take().expect("the first");
        assert!(limits.try_take().is_none(), "the listener is full");
        assert_eq!(limits.reached(), ("max_connections", 1));
        let second = others.try_take().expect("the worker has one left");
        assert!(others.try_take().is_none(), "the worker is full");
        assert_eq!(others.reached(), ("worker.max_connections", 2));
        assert_eq!((limits.listener().open(), worker.open()), (1, 2));
        let (third, ()) = tokio::join!(others.take(), async { drop(first) });
        let fourth = tokio::join!(limits.take(), async { drop(second) }).0;
        assert!(third.is_some() && fourth.is_some());
        assert_eq!((limits.listener().open(), worker.open()), (1, 2));
    }

    #[test]
    fn connections_that_moved_here_may_be_more_than_the_limit_and_then_nothing_is_accepted() {
        let limits = Arc::new(Limits::new(1, &Arc::new(Limit::new(5))));
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
        let limits = Arc::new(Limits::new(10, &Arc::new(Limit::new(10))));
        let permits: Vec<_> = (0..5).map(|_| limits.try_take()).collect();
        assert_eq!(limits.share(), 5, "nobody has entered yet");
        limits.enter();
        limits.enter();
        assert_eq!(limits.share(), 3);
        limits.leave();
        drop(permits);
        assert_eq!(limits.share(), 0);
    }
}

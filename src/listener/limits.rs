//! How many client connections may be open, over all threads.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// A number of connections that may be open at once, shared by threads.
#[derive(Debug)]
pub struct Limit {
    free: Arc<Semaphore>,
    max: usize,
}

/// The limits of one listener: its own and the worker's.
#[derive(Debug)]
pub struct Limits {
    listener: Limit,
    worker: Arc<Limit>,
}

/// The right to have one connection open; given up on drop, which wakes whoever waits for it on any thread.
#[derive(Debug)]
pub struct Permit {
    _listener: OwnedSemaphorePermit,
    _worker: OwnedSemaphorePermit,
}

impl Limit {
    /// A limit of `max` connections.
    #[must_use]
    pub fn new(max: u32) -> Self {
        let max = (max as usize).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(max)), max }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.max - self.free.available_permits()
    }

    fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.free.clone().acquire_owned().await
    }
}

impl Limits {
    /// At most `max` connections on this listener, and no more than the worker may have.
    #[must_use]
    pub fn new(max: u32, worker: &Arc<Limit>) -> Self {
        Self { listener: Limit::new(max), worker: worker.clone() }
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

    /// Takes a permit if there is one.
    pub(super) fn try_take(&self) -> Option<Permit> {
        Some(Permit { _listener: self.listener.try_take()?, _worker: self.worker.try_take()? })
    }

    /// Waits for a permit, in the order of asking.
    ///
    /// # Errors
    /// Never in practice: nobody closes the semaphores.
    pub(super) async fn take(&self) -> Result<Permit, AcquireError> {
        Ok(Permit { _listener: self.listener.take().await?, _worker: self.worker.take().await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_that_is_given_up_wakes_who_waits_for_either_limit() {
        let worker = Arc::new(Limit::new(2));
        let limits = Limits::new(1, &worker);
        let others = Limits::new(5, &worker);
        let first = limits.try_take().expect("the first");
        assert!(limits.try_take().is_none(), "the listener is full");
        assert_eq!(limits.reached(), ("max_connections", 1));
        let second = others.try_take().expect("the worker has one left");
        assert!(others.try_take().is_none(), "the worker is full");
        assert_eq!(others.reached(), ("worker.max_connections", 2));
        assert_eq!((limits.listener().open(), worker.open()), (1, 2));
        let (third, ()) = tokio::join!(others.take(), async { drop(first) });
        let fourth = tokio::join!(limits.take(), async { drop(second) }).0;
        assert!(third.is_ok() && fourth.is_ok());
        assert_eq!((limits.listener().open(), worker.open()), (1, 2));
    }
}

//! Connections of another generation on their way to the threads that will serve them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::order::{self, Order};
use crate::handover::transfer::Transfer;
use crate::observe::metrics::{CounterTotals, Counters};

/// The route from one link to the threads. While there is one, no thread of a draining generation ends, even if it
/// has no connections: acknowledged connections must find a thread.
pub struct Arrivals {
    threads: Vec<mpsc::Sender<Order>>,
    links: Arc<AtomicUsize>,
    next: Cell<usize>,
}

impl Arrivals {
    pub(super) fn new(threads: Vec<mpsc::Sender<Order>>, links: Arc<AtomicUsize>) -> Self {
        links.fetch_add(1, Ordering::Relaxed);
        Self { threads, links, next: Cell::new(0) }
    }

    /// Gives each thread its share; returns when all of them have taken it.
    pub(super) async fn give(&self, transfers: Vec<Transfer>) {
        let mut shares: Vec<Vec<Transfer>> = self.threads.iter().map(|_| Vec::new()).collect();
        for transfer in transfers {
            let next = self.next.get();
            self.next.set((next + 1) % self.threads.len());
            shares[next].push(transfer);
        }
        let mut answers = Vec::new();
        for (thread, share) in self.threads.iter().zip(shares) {
            answers.push(order::give(thread, |done| Order::Arrive(share, done)).await);
        }
        for answer in answers {
            let _ = answer.await; // a thread that ended closes its share
        }
    }

    /// The link has ended.
    pub(super) async fn end(self) {
        self.links.fetch_sub(1, Ordering::Relaxed);
        for thread in &self.threads {
            // a thread that waited for this checks again
            drop(order::give(thread, Order::Answer).await);
        }
    }
}

/// Tells the threads that the successor takes connections.
pub struct ThreadHandles {
    pub(super) threads: Vec<mpsc::Sender<Order>>,
    pub(super) counters: Vec<Arc<Counters>>,
}

impl ThreadHandles {
    /// How many connections of this listener are open.
    pub(super) fn open_on(&self, listener: usize) -> u64 {
        CounterTotals::sum(&self.counters).open_on(listener)
    }

    /// The successor's capabilities have come: connections go to it from now on.
    pub(super) async fn successor_ready(&self) {
        for thread in &self.threads {
            drop(order::give(thread, Order::SuccessorReady).await); // a thread that has finished has none left to give
        }
    }
}

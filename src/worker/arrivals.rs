//! Connections of another generation on their way to the threads that will serve them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::serving::Order;
use crate::handover::parcel::Parcel;
use crate::observe::metrics::{Counters, Totals};

/// The way of one link to the threads. While there is one, no thread of a generation that drains ends, empty as it may
/// be: what was acknowledged has to find somebody.
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
    pub(super) async fn give(&self, parcels: Vec<Parcel>) {
        let mut shares: Vec<Vec<Parcel>> = self.threads.iter().map(|_| Vec::new()).collect();
        for parcel in parcels {
            let next = self.next.get();
            self.next.set((next + 1) % self.threads.len());
            shares[next].push(parcel);
        }
        let mut answers = Vec::new();
        for (thread, share) in self.threads.iter().zip(shares) {
            answers.push(order(thread, |done| Order::Arrive(share, done)).await);
        }
        for answer in answers {
            let _ = answer.await; // a thread that is gone closes what it had
        }
    }

    /// Nothing more comes over the link.
    pub(super) async fn end(self) {
        self.links.fetch_sub(1, Ordering::Relaxed);
        for thread in &self.threads {
            // one that waited for this looks again
            drop(order(thread, Order::Answer).await);
        }
    }
}

/// The way of the word that the heir takes connections.
pub struct Herald {
    pub(super) threads: Vec<mpsc::Sender<Order>>,
    pub(super) counters: Vec<Arc<Counters>>,
}

impl Herald {
    /// How many connections of this listener are open.
    pub(super) fn open_on(&self, listener: usize) -> u64 {
        Totals::sum(&self.counters).open_on(listener)
    }

    /// The heir has said what it takes: connections go to it from now on.
    pub(super) async fn welcomed(&self) {
        for thread in &self.threads {
            drop(order(thread, Order::Welcomed).await); // one that is through has nothing left to give
        }
    }
}

/// Gives a thread an order; the answer is an error when it is gone.
pub(super) async fn order(
    thread: &mpsc::Sender<Order>,
    order: impl FnOnce(oneshot::Sender<()>) -> Order,
) -> oneshot::Receiver<()> {
    let (done, answer) = oneshot::channel();
    // a thread that is through drops the order with its sender, which the receiver sees
    let _ = thread.send(order(done)).await;
    answer
}

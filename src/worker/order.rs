//! What the main thread has a serving thread do.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::drain::Draining;
use crate::handover::successor::Successor;
use crate::handover::transfer::Transfer;
use crate::observe::record::Index;
use crate::proxy::Thread;
use crate::proxy::debug::DebugSession;

/// The orders for a serving thread. Each answers through its sender when it is done.
pub(super) enum Order {
    /// Accept on these sockets, each with the index of its listener.
    Serve(Vec<(Index, OwnedFd)>, oneshot::Sender<()>),
    /// Accept nothing for now.
    Park(oneshot::Sender<()>),
    /// Accept again.
    Resume(oneshot::Sender<()>),
    /// Accept nothing any more and let go of what is open.
    Drain(Draining, oneshot::Sender<()>),
    /// Connections go to this successor, once the thread drains and the successor's capabilities have come.
    SetSuccessor(Successor, oneshot::Sender<()>),
    /// The successor's capabilities have come.
    SuccessorReady(oneshot::Sender<()>),
    /// Serve these connections of another generation.
    Arrive(Vec<Transfer>, oneshot::Sender<()>),
    /// Show exchanges as this session wants them.
    Debug(Arc<DebugSession>, oneshot::Sender<()>),
    /// Answer.
    Answer(oneshot::Sender<()>),
    /// Run a closure on the thread.
    Look(Box<dyn FnOnce(&Thread) + Send>),
}

/// Gives a thread an order; the answer is an error when the thread has ended.
pub(super) async fn give(
    thread: &mpsc::Sender<Order>,
    order: impl FnOnce(oneshot::Sender<()>) -> Order,
) -> oneshot::Receiver<()> {
    let (done, answer) = oneshot::channel();
    // a thread that has finished drops the order with its sender, which the receiver sees
    let _ = thread.send(order(done)).await;
    answer
}

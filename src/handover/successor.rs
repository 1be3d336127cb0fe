//! A thread's way to the generation that takes its connections.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};

use super::capabilities::Reach;
use super::transfer::Transfer;

/// The generation that takes connections. Each thread has one while there is one.
#[derive(Clone, Debug)]
pub struct Successor {
    offers: mpsc::Sender<Offer>,
    /// Empty until the capabilities have come.
    reach: Arc<OnceLock<Reach>>,
}

/// A connection that is offered, and where the answer goes.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) transfer: Transfer,
    pub(super) answer: oneshot::Sender<Result<(), Transfer>>,
}

/// Room for one connection on the way to the successor.
#[derive(Debug)]
pub struct TransferPermit(mpsc::OwnedPermit<Offer>);

/// The wait for room on the way to a successor; the connection runs on meanwhile.
#[derive(Default)]
pub struct Wait(Option<Pin<Box<dyn Future<Output = Option<TransferPermit>>>>>);

/// A connection did not move, and is still ours.
#[derive(Debug, thiserror::Error)]
pub enum Returned {
    /// The successor closed; here is the connection.
    #[error("the generation that was to take the connection is gone")]
    Whole(Box<Transfer>),
    /// The link to the successor broke, and the connection with it.
    #[error("the connection was lost on its way to another generation")]
    Lost,
}

impl Successor {
    /// A successor that takes what is put into `reach`, and the receiver from which its sender takes the offers: two
    /// batches at most, so that no offer waits for long.
    #[must_use]
    pub(super) fn new(reach: Arc<OnceLock<Reach>>) -> (Self, mpsc::Receiver<Offer>) {
        let (offers, taken) = mpsc::channel(MOST_OFFERS);
        (Self { offers, reach }, taken)
    }

    /// What it can take, once its capabilities have come.
    #[must_use]
    pub fn reach(&self) -> Option<&Reach> {
        self.reach.get()
    }

    /// Whether it takes no more connections.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.offers.is_closed()
    }

    /// Waits for room; none when the successor closed. The task need not stop its connection before there is room.
    pub fn place(&self) -> impl Future<Output = Option<TransferPermit>> + use<> {
        let offers = self.offers.clone();
        async move { offers.reserve_owned().await.ok().map(TransferPermit) }
    }
}

impl Wait {
    /// Ready with room on the way to what `successor` gives, which is asked again when that one has closed. Without a
    /// successor the wait is over.
    pub fn poll(&mut self, cx: &mut Context<'_>, successor: impl Fn() -> Option<Successor>) -> Poll<TransferPermit> {
        while let Some(successor) = successor() {
            let wait = self.0.get_or_insert_with(|| Box::pin(successor.place()));
            let permit = ready!(wait.as_mut().poll(cx));
            self.0 = None;
            if let Some(permit) = permit {
                return Poll::Ready(permit);
            }
        }
        self.0 = None;
        Poll::Pending
    }
}

impl TransferPermit {
    /// Gives the connection away; done when the other process owns it.
    ///
    /// # Errors
    /// When it stays ours.
    pub async fn give(self, transfer: Transfer) -> Result<(), Returned> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Offer { transfer, answer });
        match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(transfer)) => Err(Returned::Whole(Box::new(transfer))),
            // the main thread ended before this one, or the owner is unknown
            Err(_) => Err(Returned::Lost),
        }
    }
}

/// Two batches of connections without a tunnel.
const MOST_OFFERS: usize = 500;

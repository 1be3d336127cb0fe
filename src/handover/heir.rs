//! The way of a thread to the generation that takes its connections.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::parcel::Parcel;
use super::welcome::Reach;

/// Who takes connections. Each thread has one while there is somebody.
#[derive(Clone, Debug)]
pub struct Heir {
    offers: mpsc::Sender<Offer>,
    /// Empty until it has said what it takes.
    reach: Arc<OnceLock<Reach>>,
}

/// A connection that is offered, and where the answer goes.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) parcel: Parcel,
    pub(super) answer: oneshot::Sender<Result<(), Parcel>>,
}

/// Room for one connection on the way to the heir.
#[derive(Debug)]
pub struct Place(mpsc::OwnedPermit<Offer>);

/// A connection did not move, and is still ours.
#[derive(Debug, thiserror::Error)]
pub enum Returned {
    /// The heir is gone; here is the connection.
    #[error("the generation that was to take the connection is gone")]
    Whole(Box<Parcel>),
    /// The way to the heir broke off, and the connection with it.
    #[error("the connection was lost on its way to another generation")]
    Lost,
}

impl Heir {
    /// An heir that will take what is put into `reach`, and what its giver takes the offers from: as many at once as go
    /// into two batches, so that nothing waits for long on its way.
    #[must_use]
    pub(super) fn new(reach: Arc<OnceLock<Reach>>) -> (Self, mpsc::Receiver<Offer>) {
        let (offers, taken) = mpsc::channel(MOST_OFFERS);
        (Self { offers, reach }, taken)
    }

    /// What it can take, once it has said so.
    #[must_use]
    pub fn reach(&self) -> Option<&Reach> {
        self.reach.get()
    }

    /// Whether it takes nothing any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.offers.is_closed()
    }

    /// Waits for room; none when the heir is gone. What is to move need not stop before there is room.
    pub fn place(&self) -> impl Future<Output = Option<Place>> + use<> {
        let offers = self.offers.clone();
        async move { offers.reserve_owned().await.ok().map(Place) }
    }
}

impl Place {
    /// Gives the connection away; done when it is somebody else's.
    ///
    /// # Errors
    /// When it stays ours.
    pub async fn give(self, parcel: Parcel) -> Result<(), Returned> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Offer { parcel, answer });
        match answered.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(parcel)) => Err(Returned::Whole(Box::new(parcel))),
            // the main thread ended before us, or nothing says who has it
            Err(_) => Err(Returned::Lost),
        }
    }
}

/// Two batches of connections without a tunnel.
const MOST_OFFERS: usize = 500;

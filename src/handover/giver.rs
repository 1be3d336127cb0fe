//! Sends the connections of a draining worker away, on its main thread. See the parent for who owns them when.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::heir::{Heir, Offer};
use super::message::{Room, ToGiver, VERSION, pack};
use super::welcome::{Reach, Welcome};
use crate::config::Config;
use crate::control::channel::{Channel, ChannelError};
use crate::control::link::Link;
use crate::control::tally::Tally;

/// The sending end of a link.
pub struct Giver {
    link: Link,
    /// What the other generation takes, once it is known.
    reach: Arc<OnceLock<Reach>>,
    offers: mpsc::Receiver<Offer>,
    /// Taken from `offers`, and did not go into the last batch.
    next: Option<Offer>,
    /// Batches on their way, oldest first.
    sent: VecDeque<Sent>,
    number: u64,
    moved: u64,
    /// Tells the supervisor which connections are not lost with this process.
    tally: Option<Tally>,
    /// The other end said what makes no sense: what was sent and not acknowledged may be its own or ours.
    confused: bool,
}

struct Sent {
    number: u64,
    offers: Vec<Offer>,
}

/// What became of the connections on one link.
#[derive(Debug)]
pub struct Report {
    /// How many moved.
    pub moved: u64,
    /// How many were on their way when the link ended, and stayed.
    pub returned: u64,
    /// How many may be with either side, and were closed here.
    pub lost: u64,
    /// Why the link ended before the connections did.
    pub broken: Option<GiveError>,
}

/// Why nothing moves, or nothing more.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// The link cannot be used.
    #[error("the link cannot be watched")]
    Link(#[source] std::io::Error),
    /// The other generation did not say what it takes, in time.
    #[error("the other generation did not say what it takes")]
    Silent,
    /// The other generation's program is another version.
    #[error("the other generation speaks version {0} of the messages, and this one {VERSION}")]
    Foreign(u32),
    /// The other generation is gone.
    #[error("the other generation is gone")]
    Gone,
    /// What it says is out of order.
    #[error("the other generation acknowledged what was not sent")]
    Confused,
    /// It cannot take more, for lack of descriptors or the like.
    #[error("the other generation cannot take more: {0}")]
    Refused(String),
    /// The link failed.
    #[error("the link failed")]
    Failed(#[from] ChannelError),
    /// There is no memory or descriptor left to send with.
    #[error("a batch of connections cannot be made")]
    Batch(#[source] std::io::Error),
}

impl Giver {
    /// The sending end of a link, and the heir at its other end, of which nothing is known yet.
    ///
    /// # Errors
    /// When the link cannot be used.
    pub fn open(channel: Channel) -> Result<(Self, Heir), GiveError> {
        let link = Link::new(channel).map_err(GiveError::Link)?;
        let reach = Arc::new(OnceLock::new());
        let (heir, offers) = Heir::new(reach.clone());
        Ok((
            Self {
                link,
                reach,
                offers,
                next: None,
                sent: VecDeque::new(),
                number: 0,
                moved: 0,
                tally: None,
                confused: false,
            },
            heir,
        ))
    }

    /// Counts what is on its way in `tally`.
    #[must_use]
    pub fn counting(self, tally: Tally) -> Self {
        Self { tally: Some(tally), ..self }
    }

    /// Hears what the other generation takes of ours, which is made from `config` and welcomes as `own`. It may be slow:
    /// what is to move goes on meanwhile as if it had not been asked to.
    ///
    /// # Errors
    /// When nothing can move over this link.
    pub async fn hear(&self, config: &Config, own: &Welcome) -> Result<&Reach, GiveError> {
        let welcome = match timeout(WELCOME, self.link.hear()).await {
            Ok(Ok(Some((ToGiver::Welcome(welcome), _)))) => welcome,
            Ok(Ok(Some(_))) => return Err(GiveError::Confused),
            Ok(Ok(None)) => return Err(GiveError::Gone),
            Ok(Err(fault)) => return Err(fault.into()),
            Err(_) => return Err(GiveError::Silent),
        };
        if welcome.version != VERSION {
            return Err(GiveError::Foreign(welcome.version));
        }
        Ok(self.reach.get_or_init(|| own.reach(config, &welcome)))
    }

    /// Whether nobody has the heir any more, so that nothing will be offered.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.offers.is_closed()
    }

    /// Sends what is offered, until nobody can offer anything any more or the link ends. Every offer is answered.
    pub async fn run(mut self) -> Report {
        let broken = self.give().await.err();
        self.offers.close();
        let mut returned = 0;
        if let Some(offer) = self.next.take() {
            returned += 1;
            give_back(offer);
        }
        // these were never sent either; who has a place already may still offer
        while let Some(offer) = self.offers.recv().await {
            returned += 1;
            give_back(offer);
        }
        self.settle().await;
        let mut lost = 0;
        for offer in std::mem::take(&mut self.sent).into_iter().flat_map(|batch| batch.offers) {
            self.tally.iter().for_each(|tally| tally.settled(1));
            if self.confused {
                lost += 1;
                drop(offer);
            } else {
                returned += 1;
                give_back(offer);
            }
        }
        Report { moved: self.moved, returned, lost, broken }
    }

    /// What was sent is ours again only once the other end is gone: until then it may be taken. And only if all that it
    /// said made sense.
    async fn settle(&mut self) {
        while !self.sent.is_empty() {
            let heard = self.link.hear().await;
            let failed = matches!(heard, Err(ChannelError::Receive(_) | ChannelError::Send(_)));
            match self.heard(heard) {
                Ok(Some(word)) => drop(self.acknowledged(word)),
                Ok(None) => return,
                Err(_) if failed => return,
                Err(_) => {}
            }
        }
    }

    /// A word, or the end. One that is not understood may have been an acknowledgement.
    fn heard<D>(&mut self, heard: Result<Option<(ToGiver, D)>, ChannelError>) -> Result<Option<ToGiver>, GiveError> {
        match heard {
            Ok(heard) => Ok(heard.map(|(word, _)| word)),
            Err(fault) => {
                self.confused = true;
                Err(fault.into())
            }
        }
    }

    async fn give(&mut self) -> Result<(), GiveError> {
        loop {
            let has_room = self.sent.len() < MOST_BATCHES;
            if has_room && self.next.is_some() {
                self.send().await?;
                continue;
            }
            tokio::select! {
                biased;
                heard = self.link.hear() => match self.heard(heard)? {
                    Some(word) => self.acknowledged(word)?,
                    None => return Err(GiveError::Gone),
                },
                offer = self.offers.recv(), if has_room => match offer {
                    Some(offer) => self.next = Some(offer),
                    None if self.sent.is_empty() => return Ok(()),
                    None => {
                        let heard = self.link.hear().await;
                        let word = self.heard(heard)?.ok_or(GiveError::Gone)?;
                        self.acknowledged(word)?;
                    }
                },
            }
        }
    }

    /// Sends one batch of what is offered now.
    async fn send(&mut self) -> Result<(), GiveError> {
        let mut room = Room::default();
        let mut offers = Vec::new();
        while let Some(offer) = self.next.take().or_else(|| self.offers.try_recv().ok()) {
            if !room.take(&offer.parcel) {
                self.next = Some(offer);
                break;
            }
            offers.push(offer);
        }
        let number = self.number;
        self.number += 1;
        self.tally.iter().for_each(|tally| tally.on_their_way(offers.len()));
        match self.send_batch(number, &offers).await {
            Ok(()) => {
                self.sent.push_back(Sent { number, offers });
                Ok(())
            }
            Err(fault) => {
                self.tally.iter().for_each(|tally| tally.settled(offers.len()));
                offers.into_iter().for_each(give_back); // a packet goes whole or not at all
                Err(fault)
            }
        }
    }

    async fn send_batch(&self, number: u64, offers: &[Offer]) -> Result<(), GiveError> {
        let packed = pack(number, offers.iter().map(|offer| &offer.parcel)).map_err(GiveError::Batch)?;
        self.link.send(&packed.batch, &packed.descriptors()).await?;
        Ok(())
    }

    fn acknowledged(&mut self, word: ToGiver) -> Result<(), GiveError> {
        let number = match word {
            ToGiver::Taken { number } => number,
            ToGiver::Refused { why } => return Err(GiveError::Refused(why)),
            ToGiver::Welcome(_) => {
                self.confused = true;
                return Err(GiveError::Confused);
            }
        };
        if self.sent.front().is_none_or(|oldest| oldest.number != number) {
            self.confused = true;
            return Err(GiveError::Confused);
        }
        let Some(batch) = self.sent.pop_front() else { return Ok(()) };
        self.moved += batch.offers.len() as u64;
        self.tally.iter().for_each(|tally| tally.settled(batch.offers.len()));
        for Offer { parcel, answer } in batch.offers {
            drop(parcel); // theirs
            let _ = answer.send(Ok(())); // who offered it may have been cut meanwhile
        }
        Ok(())
    }
}

/// The connection goes on where it was; one that was cut meanwhile closes.
fn give_back(Offer { parcel, answer }: Offer) {
    let _ = answer.send(Err(parcel));
}

/// How long the other generation may take to say what it takes. One that serves and hangs is ended before that, and its
/// link with it; one that is only slow, on a machine that is busy, must not cost anybody a connection.
const WELCOME: Duration = Duration::from_secs(60);
/// Batches that wait for their acknowledgement at the same time.
const MOST_BATCHES: usize = 2;

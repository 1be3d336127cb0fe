//! Sends the connections of a draining worker away, on its main thread. The parent module says which side owns them
//! when.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::capabilities::{Capabilities, Reach, VERSION};
use super::message::{Room, ToSender, pack};
use super::successor::{Offer, Successor};
use super::tls_states::SharedTlsStates;
use crate::config::Config;
use crate::control::channel::{Channel, ChannelError};
use crate::control::link::Link;
use crate::control::statistics::SharedStatistics;

/// The sending end of a link.
pub struct Sender {
    link: Link,
    /// What the other generation takes, once it is known.
    reach: Arc<OnceLock<Reach>>,
    offers: mpsc::Receiver<Offer>,
    /// Taken from `offers`; did not fit into the last batch.
    next: Option<Offer>,
    /// Batches without acknowledgement, oldest first.
    sent: VecDeque<SentBatch>,
    number: u64,
    moved: u64,
    /// Sent, and back before the link ended.
    returned: u64,
    /// Tells the supervisor which connections are not lost with this process.
    statistics: Option<SharedStatistics>,
    /// The other end sent something invalid: what was sent and not acknowledged may belong to either side.
    confused: bool,
}

struct SentBatch {
    number: u64,
    offers: Vec<Offer>,
    /// What decides of the connections with TLS among them.
    states: Option<SharedTlsStates>,
}

/// Which process has a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Here,
    There,
    /// Either may.
    Unknown,
}

/// What became of the connections of a batch.
#[derive(Default)]
struct Decided {
    moved: u64,
    returned: u64,
    lost: u64,
    /// It was acknowledged, and connections with TLS in it were not taken.
    left: bool,
}

/// What happened to the connections on one link.
#[derive(Debug)]
pub struct TransferReport {
    /// How many moved.
    pub moved: u64,
    /// How many were unacknowledged when the link ended, and stayed here.
    pub returned: u64,
    /// How many may be with either side, and were closed here.
    pub lost: u64,
    /// Why the link ended before the connections did.
    pub broken: Option<SendError>,
}

/// Why no connection moves, or no more of them.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The link cannot be used.
    #[error("the link cannot be watched")]
    Link(#[source] std::io::Error),
    /// The other generation did not say in time what it takes.
    #[error("the other generation did not say what it takes")]
    Silent,
    /// The other generation's program is another version.
    #[error("the other generation speaks version {0} of the messages, and this one {VERSION}")]
    Foreign(u32),
    /// The other generation closed the link.
    #[error("the other generation is gone")]
    Gone,
    /// Its message is out of order.
    #[error("the other generation acknowledged what was not sent")]
    Confused,
    /// It cannot take more, for lack of descriptors or similar.
    #[error("the other generation cannot take more: {0}")]
    Refused(String),
    /// It acknowledged connections with TLS and did not take them.
    #[error("the other generation did not take connections with TLS, which go on here")]
    Left,
    /// The link failed.
    #[error("the link failed")]
    Failed(#[from] ChannelError),
    /// There is no memory or descriptor left to send with.
    #[error("a batch of connections cannot be made")]
    Batch(#[source] std::io::Error),
}

impl Sender {
    /// The sending end of a link, and the successor at its other end, whose capabilities have not come yet.
    ///
    /// # Errors
    /// When the link cannot be used.
    pub fn open(channel: Channel) -> Result<(Self, Successor), SendError> {
        let link = Link::new(channel).map_err(SendError::Link)?;
        let reach = Arc::new(OnceLock::new());
        let (successor, offers) = Successor::new(reach.clone());
        Ok((
            Self {
                link,
                reach,
                offers,
                next: None,
                sent: VecDeque::new(),
                number: 0,
                moved: 0,
                returned: 0,
                statistics: None,
                confused: false,
            },
            successor,
        ))
    }

    /// Counts unacknowledged connections in `statistics`.
    #[must_use]
    pub fn counting(self, statistics: SharedStatistics) -> Self {
        Self { statistics: Some(statistics), ..self }
    }

    /// Receives what the other generation takes of ours, which is made from `config` and has `own`. The answer may be
    /// late: connections continue as before until it comes.
    ///
    /// # Errors
    /// When no connection can move over this link.
    pub async fn receive_capabilities(&self, config: &Config, own: &Capabilities) -> Result<&Reach, SendError> {
        let capabilities = match timeout(CAPABILITIES, self.link.receive()).await {
            Ok(Ok(Some((ToSender::Capabilities(capabilities), _)))) => capabilities,
            Ok(Ok(Some(_))) => return Err(SendError::Confused),
            Ok(Ok(None)) => return Err(SendError::Gone),
            Ok(Err(fault)) => return Err(fault.into()),
            Err(_) => return Err(SendError::Silent),
        };
        if capabilities.version != VERSION {
            return Err(SendError::Foreign(capabilities.version));
        }
        Ok(self.reach.get_or_init(|| own.reach(config, &capabilities)))
    }

    /// Whether every thread has dropped the successor, so that no more offers come.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.offers.is_closed()
    }

    /// Sends what is offered, until no thread can offer any more or the link ends. Every offer is answered.
    pub async fn run(mut self) -> TransferReport {
        let broken = self.give().await.err();
        self.offers.close();
        let mut returned = 0;
        if let Some(offer) = self.next.take() {
            returned += 1;
            give_back(offer);
        }
        // these were never sent either; a thread that has a place already may still offer
        while let Some(offer) = self.offers.recv().await {
            returned += 1;
            give_back(offer);
        }
        self.settle().await;
        let mut lost = 0;
        for batch in std::mem::take(&mut self.sent) {
            let decided = self.decide(batch, if self.confused { Owner::Unknown } else { Owner::Here });
            self.moved += decided.moved;
            returned += decided.returned;
            lost += decided.lost;
        }
        TransferReport { moved: self.moved, returned: returned + self.returned, lost, broken }
    }

    /// What was sent is ours again only once the other end is closed: until then it may be acknowledged. And only if
    /// all its messages were valid.
    async fn settle(&mut self) {
        while !self.sent.is_empty() {
            let received = self.link.receive().await;
            let failed = matches!(received, Err(ChannelError::Receive(_) | ChannelError::Send(_)));
            match self.received(received) {
                Ok(Some(message)) => drop(self.acknowledged(message)),
                Ok(None) => return,
                Err(_) if failed => return,
                Err(_) => {}
            }
        }
    }

    /// A message, or the end. A message that is not understood may have been an acknowledgement.
    fn received<D>(
        &mut self,
        received: Result<Option<(ToSender, D)>, ChannelError>,
    ) -> Result<Option<ToSender>, SendError> {
        match received {
            Ok(received) => Ok(received.map(|(message, _)| message)),
            Err(fault) => {
                self.confused = true;
                Err(fault.into())
            }
        }
    }

    async fn give(&mut self) -> Result<(), SendError> {
        loop {
            let has_room = self.sent.len() < MOST_BATCHES;
            if has_room && self.next.is_some() {
                self.send().await?;
                continue;
            }
            tokio::select! {
                biased;
                received = self.link.receive() => match self.received(received)? {
                    Some(message) => self.acknowledged(message)?,
                    None => return Err(SendError::Gone),
                },
                offer = self.offers.recv(), if has_room => match offer {
                    Some(offer) => self.next = Some(offer),
                    None if self.sent.is_empty() => return Ok(()),
                    None => {
                        let received = self.link.receive().await;
                        let message = self.received(received)?.ok_or(SendError::Gone)?;
                        self.acknowledged(message)?;
                    }
                },
            }
        }
    }

    /// Sends one batch of what is offered now.
    async fn send(&mut self) -> Result<(), SendError> {
        let mut room = Room::default();
        let mut offers = Vec::new();
        while let Some(offer) = self.next.take().or_else(|| self.offers.try_recv().ok()) {
            if !room.take(&offer.transfer) {
                self.next = Some(offer);
                break;
            }
            offers.push(offer);
        }
        let number = self.number;
        self.number += 1;
        self.statistics.iter().for_each(|statistics| statistics.on_their_way(offers.len()));
        let (states, sent) = self.send_batch(number, &offers).await;
        let batch = SentBatch { number, offers, states };
        match sent {
            Ok(()) => {
                self.sent.push_back(batch);
                Ok(())
            }
            Err(fault) => {
                let decided = self.decide(batch, Owner::Here); // a packet goes whole or not at all
                self.returned += decided.returned;
                Err(fault)
            }
        }
    }

    async fn send_batch(&self, number: u64, offers: &[Offer]) -> (Option<SharedTlsStates>, Result<(), SendError>) {
        let packed = match pack(number, offers.iter().map(|offer| &offer.transfer)) {
            Ok(packed) => packed,
            Err(fault) => return (None, Err(SendError::Batch(fault))),
        };
        let sent = self.link.send(&packed.batch, &packed.descriptors()).await;
        (packed.into_states(), sent.map_err(SendError::from))
    }

    /// Answers the offers of a batch, of which `owner` has those without TLS. Those with TLS say it themselves.
    fn decide(&self, batch: SentBatch, owner: Owner) -> Decided {
        let SentBatch { number: _, offers, states } = batch;
        self.statistics.iter().for_each(|statistics| statistics.settled(offers.len()));
        let (mut decided, mut index) = (Decided::default(), 0);
        for offer in offers {
            let own = index..index + offer.transfer.tls_states();
            index = own.end;
            let owner = match &states {
                Some(states) if !own.is_empty() => {
                    let is_ours = states.withdraw(own);
                    decided.left |= is_ours && owner == Owner::There;
                    if is_ours { Owner::Here } else { Owner::There }
                }
                _ if !own.is_empty() => Owner::Here, // no memory was made for it
                _ => owner,
            };
            match owner {
                Owner::Here => {
                    decided.returned += 1;
                    give_back(offer);
                }
                Owner::There => {
                    decided.moved += 1;
                    let Offer { transfer, answer } = offer;
                    drop(transfer);
                    let _ = answer.send(Ok(())); // the task that offered it may have been cut meanwhile
                }
                Owner::Unknown => decided.lost += 1,
            }
        }
        decided
    }

    fn acknowledged(&mut self, message: ToSender) -> Result<(), SendError> {
        let number = match message {
            ToSender::Taken { number } => number,
            ToSender::Refused { why } => return Err(SendError::Refused(why)),
            ToSender::Capabilities(_) => {
                self.confused = true;
                return Err(SendError::Confused);
            }
        };
        if self.sent.front().is_none_or(|oldest| oldest.number != number) {
            self.confused = true;
            return Err(SendError::Confused);
        }
        let Some(batch) = self.sent.pop_front() else { return Ok(()) };
        let Decided { moved, returned, left, .. } = self.decide(batch, Owner::There);
        self.moved += moved;
        self.returned += returned;
        // what it does not take of what it said that it takes would be offered again and again
        if left { Err(SendError::Left) } else { Ok(()) }
    }
}

/// The connection continues here; one that was cut meanwhile closes.
fn give_back(Offer { transfer, answer }: Offer) {
    let _ = answer.send(Err(transfer));
}

/// How long the other generation may take to say what it takes. One that serves and hangs is ended before that, and
/// its link with it; one that is only slow, on a busy machine, must not cost a client its connection.
const CAPABILITIES: Duration = Duration::from_secs(60);
/// Batches without acknowledgement at the same time.
const MOST_BATCHES: usize = 2;

//! Receives the connections of another generation, on the main thread of the worker that serves. The parent module
//! says which side owns them when.

use std::io;

use super::capabilities::Capabilities;
use super::message::{Batch, BatchError, ToSender, unpack};
use super::transfer::Transfer;
use crate::control::channel::{Channel, ChannelError};
use crate::control::link::Link;
use crate::observe::WithCauses;

/// The receiving end of a link.
#[derive(Debug)]
pub struct Receiver {
    link: Link,
}

/// Why no more connections come. Unacknowledged ones stay with the sender.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The link cannot be used.
    #[error("the link cannot be watched")]
    Link(#[source] io::Error),
    /// The link failed, or descriptors were lost because there are too many.
    #[error("connections of another generation cannot be received")]
    Failed(#[from] ChannelError),
    /// A batch is invalid.
    #[error("connections of another generation came incomplete")]
    Batch(#[from] BatchError),
}

impl Receiver {
    /// Sends what this generation takes.
    ///
    /// # Errors
    /// When the link cannot be used.
    pub fn open(channel: Channel, capabilities: &Capabilities) -> Result<Self, ReceiveError> {
        let link = Link::new(channel).map_err(ReceiveError::Link)?;
        match link.try_send(&ToSender::Capabilities(Box::new(capabilities.clone())), &[]) {
            Ok(()) => Ok(Self { link }),
            // and has nothing left to give: it would have waited for this message
            Err(ChannelError::Send(fault)) if is_gone(&fault) => Ok(Self { link }),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The next connections, which belong to this process from now on; none when the sender has no more.
    ///
    /// # Errors
    /// When the link cannot be used any more.
    pub async fn next(&self) -> Result<Option<Vec<Transfer>>, ReceiveError> {
        let batch = match self.link.receive::<Batch>().await {
            Ok(batch) => batch,
            Err(fault) => return Err(self.refuse(fault.into())),
        };
        let Some((batch, descriptors)) = batch else { return Ok(None) };
        let number = batch.number;
        let transfers = unpack(batch, descriptors).map_err(|fault| self.refuse(fault.into()))?;
        match self.link.send(&ToSender::Taken { number }, &[]).await {
            Ok(()) => Ok(Some(transfers)),
            // a sender that closed has left them to this process alone
            Err(ChannelError::Send(fault)) if is_gone(&fault) => Ok(Some(transfers)),
            Err(fault) => {
                // those without TLS stay with the sender
                let own: Vec<_> = transfers.into_iter().filter(|transfer| transfer.tls_states() > 0).collect();
                match own.is_empty() {
                    true => Err(fault.into()),
                    false => Ok(Some(own)),
                }
            }
        }
    }
}

impl Receiver {
    /// Says why no more connections are taken: without it the sender would think that this process ended.
    fn refuse(&self, fault: ReceiveError) -> ReceiveError {
        let why = WithCauses(&fault).to_string();
        // a sender that does not read sees the end of the link
        let _ = self.link.try_send(&ToSender::Refused { why }, &[]);
        fault
    }
}

fn is_gone(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

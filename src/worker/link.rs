//! The channel to the supervisor, awaited.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::control::channel::{Channel, ChannelError, Received};
use crate::control::message::{ToSupervisor, ToWorker};

/// The worker's end of the channel.
#[derive(Debug)]
pub struct Link {
    channel: Channel,
    /// The same socket, only to be told when something can be received: no bytes are read here.
    readiness: UnixStream,
}

impl Link {
    /// The channel that the supervisor put in the place of standard input.
    ///
    /// # Errors
    /// When standard input is something else.
    pub fn from_stdin() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        Self::new(Channel::from_socket(socket)?)
    }

    fn new(channel: Channel) -> io::Result<Self> {
        let socket = channel.as_fd().try_clone_to_owned()?;
        crate::sys::never_block(&socket)?;
        let readiness = UnixStream::from_std(socket.into())?;
        Ok(Self { channel, readiness })
    }

    /// Says `word`, with descriptors.
    ///
    /// # Errors
    /// When the supervisor is gone, or reads nothing any more.
    pub fn say(&self, word: &ToSupervisor, with: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.channel.send(word, with)
    }

    /// The next word of the supervisor; none when it is gone. Loses nothing when it is not awaited to its end.
    ///
    /// # Errors
    /// When the word is not understood.
    pub async fn hear(&self) -> Result<Option<(ToWorker, Vec<OwnedFd>)>, ChannelError> {
        loop {
            self.readiness.readable().await.map_err(ChannelError::Receive)?;
            match self.channel.receive()? {
                Received::Message(word, descriptors) => return Ok(Some((word, descriptors))),
                Received::End => return Ok(None),
                Received::Nothing => self.nothing_yet(),
            }
        }
    }

    /// Makes the runtime wait for the next packet.
    fn nothing_yet(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.readiness.try_io(Interest::READABLE, nothing); // gives back what the closure gave
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn words_are_heard_in_order_and_then_the_end() {
        let (supervisor, worker) = Channel::pair().expect("pair");
        let link = Link::new(worker).expect("link");
        supervisor.send(&ToWorker::Serve, &[]).expect("send");
        supervisor.send(&ToWorker::Park, &[]).expect("send");
        drop(supervisor);
        assert_eq!(link.hear().await.expect("word").expect("word").0, ToWorker::Serve);
        assert_eq!(link.hear().await.expect("word").expect("word").0, ToWorker::Park);
        assert!(link.hear().await.expect("end").is_none());
        assert!(link.say(&ToSupervisor::Serving, &[]).is_err());
    }
}

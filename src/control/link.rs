//! One end of a channel, for tasks of one thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::channel::{Channel, ChannelError, Received};

/// A channel that a task can wait for.
#[derive(Debug)]
pub struct Link {
    channel: Channel,
    /// The same socket, registered only for readiness: no bytes pass here.
    readiness: UnixStream,
}

impl Link {
    /// Watches `channel`; must be called inside a runtime.
    ///
    /// # Errors
    /// When the socket cannot be watched.
    pub fn new(channel: Channel) -> io::Result<Self> {
        let socket = channel.as_fd().try_clone_to_owned()?;
        crate::sys::never_block(&socket)?;
        let readiness = UnixStream::from_std(socket.into())?;
        Ok(Self { channel, readiness })
    }

    /// Sends `message` with descriptors, at once.
    ///
    /// # Errors
    /// When the other end closed, or does not read any more.
    pub fn try_send<M: Serialize>(&self, message: &M, with: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.channel.send(message, with)
    }

    /// Sends `message` with descriptors, once there is room for it.
    ///
    /// # Errors
    /// When the other end closed.
    pub async fn send<M: Serialize>(&self, message: &M, with: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        loop {
            self.readiness.writable().await.map_err(ChannelError::Send)?;
            match self.channel.send(message, with) {
                Err(ChannelError::Send(full)) if full.kind() == io::ErrorKind::WouldBlock => {
                    self.not_now(Interest::WRITABLE);
                }
                done => return done,
            }
        }
    }

    /// The next message of the other end with its descriptors; none when it closed. Cancel-safe.
    ///
    /// # Errors
    /// When the message is not understood.
    pub async fn receive<M: DeserializeOwned>(&self) -> Result<Option<(M, Vec<OwnedFd>)>, ChannelError> {
        loop {
            self.readiness.readable().await.map_err(ChannelError::Receive)?;
            match self.channel.receive()? {
                Received::Message(message, descriptors) => return Ok(Some((message, descriptors))),
                Received::End => return Ok(None),
                Received::Nothing => self.not_now(Interest::READABLE),
            }
        }
    }

    /// Makes the runtime wait for the socket to change.
    fn not_now(&self, interest: Interest) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.readiness.try_io(interest, nothing); // returns what the closure returned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn words_are_heard_in_order_and_then_the_end() {
        let (here, there) = Channel::pair().expect("pair");
        let link = Link::new(there).expect("link");
        here.send(&"one", &[]).expect("send");
        here.send(&"two", &[]).expect("send");
        drop(here);
        assert_eq!(link.receive::<String>().await.expect("message").expect("message").0, "one");
        assert_eq!(link.receive::<String>().await.expect("message").expect("message").0, "two");
        assert!(link.receive::<String>().await.expect("end").is_none());
        assert!(link.try_send(&"three", &[]).is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_word_waits_for_room() {
        let (here, there) = Channel::pair().expect("pair");
        let (here, there) = (Link::new(here).expect("link"), Link::new(there).expect("link"));
        let message = "x".repeat(8000);
        let mut said = 0;
        while here.try_send(&message, &[]).is_ok() {
            said += 1;
        }
        let receive_all = async {
            for _ in 0..=said {
                assert_eq!(there.receive::<String>().await.expect("message").expect("message").0, message);
            }
        };
        let (sent, ()) = tokio::join!(here.send(&message, &[]), receive_all);
        sent.expect("sent");
    }
}

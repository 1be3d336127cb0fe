//! The channel to the supervisor, for tasks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::control::channel::{Channel, ChannelError};
use crate::control::link;
use crate::control::message::{ToSupervisor, ToWorker};

/// The worker's end of the channel.
#[derive(Debug)]
pub struct Link(link::Link);

impl Link {
    /// The channel that the supervisor put in the place of standard input.
    ///
    /// # Errors
    /// When standard input is something else.
    pub fn from_stdin() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(link::Link::new(Channel::from_socket(socket)?)?))
    }

    /// Sends `word`, with descriptors.
    ///
    /// # Errors
    /// When the supervisor is gone, or does not read any more.
    pub fn say(&self, word: &ToSupervisor, with: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.0.say(word, with)
    }

    /// The next message of the supervisor; none when it is gone. Cancel-safe.
    ///
    /// # Errors
    /// When the message is not understood.
    pub async fn hear(&self) -> Result<Option<(ToWorker, Vec<OwnedFd>)>, ChannelError> {
        self.0.hear().await
    }
}

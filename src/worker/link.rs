//! The channel to the supervisor, for tasks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::control::channel::{Channel, ChannelError};
use crate::control::link;
use crate::control::message::{ToSupervisor, ToWorker};

/// The worker's end of the channel.
#[derive(Debug)]
pub struct SupervisorLink(link::Link);

impl SupervisorLink {
    /// The channel that the supervisor put in the place of standard input.
    ///
    /// # Errors
    /// When standard input is something else.
    pub fn from_stdin() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(link::Link::new(Channel::from_socket(socket)?)?))
    }

    /// Sends `message`, with descriptors.
    ///
    /// # Errors
    /// When the supervisor is gone, or does not read any more.
    pub fn try_send(&self, message: &ToSupervisor, with: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.0.try_send(message, with)
    }

    /// The next message of the supervisor; none when it is gone. Cancel-safe.
    ///
    /// # Errors
    /// When the message is not understood.
    pub async fn receive(&self) -> Result<Option<(ToWorker, Vec<OwnedFd>)>, ChannelError> {
        self.0.receive().await
    }
}

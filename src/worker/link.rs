//! The channel to the supervisor, for tasks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;

use crate::control::channel::{Channel, ChannelError, Received};
use crate::control::message::{ToSupervisor, ToWorker};
use crate::sys;

/// The worker's end of the channel. The worker never waits for room in it: a watch for that would wake the worker once
/// more after each message that it sends.
#[derive(Debug)]
pub struct SupervisorLink {
    channel: Channel,
    /// The same socket, registered only for readiness: no bytes pass here.
    readiness: AsyncFd<OwnedFd>,
}

impl SupervisorLink {
    /// The channel that the supervisor put in the place of standard input.
    ///
    /// # Errors
    /// When standard input is something else.
    pub fn from_stdin() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        sys::never_block(&socket)?;
        let readiness = sys::watch_readable(socket.try_clone()?)?;
        Ok(Self { channel: Channel::from_socket(socket)?, readiness })
    }

    /// Sends `message`, with descriptors.
    ///
    /// # Errors
    /// When the supervisor is gone, or does not read any more.
    pub fn try_send(&self, message: &ToSupervisor, with: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.channel.send(message, with)
    }

    /// The next message of the supervisor; none when it is gone. Cancel-safe.
    ///
    /// # Errors
    /// When the message is not understood.
    pub async fn receive(&self) -> Result<Option<(ToWorker, Vec<OwnedFd>)>, ChannelError> {
        loop {
            let mut ready = self.readiness.readable().await.map_err(ChannelError::Receive)?;
            match self.channel.receive()? {
                Received::Message(message, descriptors) => return Ok(Some((message, descriptors))),
                Received::End => return Ok(None),
                Received::Nothing => ready.clear_ready(),
            }
        }
    }
}

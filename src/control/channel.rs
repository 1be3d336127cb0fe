//! One end of a SOCK_SEQPACKET connection: a JSON message and its descriptors per packet.
//!
//! A message that would make a packet large travels in a [`Payload`] instead, and its packet only says so. No call
//! here blocks: the caller polls.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::payload::{self, Payload};

/// The most descriptors that go with one message. The kernel takes 253; one is kept for the message itself.
pub const MOST_DESCRIPTORS: usize = 250;

/// One end of a connection between two processes of Segue.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<M> {
    /// A message with its descriptors.
    Message(M, Vec<OwnedFd>),
    /// Nothing yet.
    Nothing,
    /// The other end is closed and everything that it sent was received.
    End,
}

/// Why a message could not be sent or understood. The connection must be closed after it.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed, or its buffer is full because the other end reads nothing.
    #[error("sending a control message")]
    Send(#[source] io::Error),
    /// The socket failed.
    #[error("receiving a control message")]
    Receive(#[source] io::Error),
    /// The message has another shape: the other end has another version.
    #[error("a control message that is not understood")]
    NotUnderstood(#[source] serde_json::Error),
    /// The packet was longer than any that is sent, or descriptors were lost because no descriptor was free.
    #[error("a control message arrived incomplete")]
    Incomplete,
}

impl Channel {
    /// Two ends, connected; close-on-exec, never blocking.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// Takes over a connected socket.
    ///
    /// # Errors
    /// When it is no SOCK_SEQPACKET socket.
    pub fn from_socket(socket: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_type(&socket)? != SocketType::SEQPACKET {
            return Err(io::Error::other("not a control channel"));
        }
        Ok(Self { socket })
    }

    /// Sends `message` with copies of `descriptors`, at most [`MOST_DESCRIPTORS`].
    ///
    /// # Errors
    /// Also when it would have to wait.
    pub fn send<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        debug_assert!(descriptors.len() <= MOST_DESCRIPTORS, "more descriptors than one packet takes");
        let json = serde_json::to_vec(message).map_err(ChannelError::NotUnderstood)?;
        if json.len() <= LARGEST_INLINE {
            return self.send_packet(&json, descriptors).map_err(ChannelError::Send);
        }
        let payload = Payload::new(&json).map_err(ChannelError::Send)?;
        let mut descriptors = descriptors.to_vec();
        descriptors.push(payload.as_fd());
        self.send_packet(IN_PAYLOAD, &descriptors).map_err(ChannelError::Send)
    }

    /// The next message.
    ///
    /// # Errors
    /// See [`ChannelError`]; a full descriptor table is one of them.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<Received<M>, ChannelError> {
        self.receive_at_most(payload::LARGEST)
    }

    /// The same, for a message of at most so many bytes.
    ///
    /// # Errors
    /// As above.
    pub fn receive_at_most<M: DeserializeOwned>(&self, most: u64) -> Result<Received<M>, ChannelError> {
        PACKET.with_borrow_mut(|buffer| {
            let Some((length, mut descriptors)) = self.receive_packet(buffer)? else {
                return Ok(Received::Nothing);
            };
            if length == 0 {
                return Ok(Received::End); // no process of Segue sends empty packets
            }
            let message = match &buffer[..length] {
                IN_PAYLOAD => {
                    let payload = Payload::from(descriptors.pop().ok_or(ChannelError::Incomplete)?);
                    serde_json::from_slice(&payload.read_at_most(most).map_err(ChannelError::Receive)?)
                }
                packet => serde_json::from_slice(packet),
            };
            Ok(Received::Message(message.map_err(ChannelError::NotUnderstood)?, descriptors))
        })
    }

    fn send_packet(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("more descriptors than one packet takes"));
        }
        // a peer that exited must cause an error here, not a signal
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut ancillary, flags)
        })?;
        Ok(())
    }

    fn receive_packet(&self, buffer: &mut [u8]) -> Result<Option<(usize, Vec<OwnedFd>)>, ChannelError> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut received = receive(&self.socket, buffer, &mut ancillary);
        if matches!(received, Err(Errno::CONNRESET)) {
            // a peer died with messages unread; the kernel reports this before what that peer itself has sent
            received = receive(&self.socket, buffer, &mut ancillary);
        }
        let received = match received {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET) => return Ok(Some((0, Vec::new()))),
            Err(fault) => return Err(ChannelError::Receive(fault.into())),
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ChannelError::Incomplete);
        }
        Ok(Some((received.bytes, descriptors)))
    }
}

fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    ancillary: &mut RecvAncillaryBuffer<'_>,
) -> rustix::io::Result<RecvMsg> {
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], ancillary, flags))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.socket
    }
}

thread_local! {
    /// Where packets are received: to clear a new buffer for each would be most of the work of a ping.
    static PACKET: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST_INLINE + 1]);
}

const LARGEST_INLINE: usize = 16 << 10;
const SPACE: usize = rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS + 1));
/// The message is in the last descriptor; this is no JSON value.
const IN_PAYLOAD: &[u8] = b"+";

#[cfg(test)]
mod tests {
    use super::*;

    fn message<M>(received: Received<M>) -> (M, Vec<OwnedFd>) {
        match received {
            Received::Message(message, descriptors) => (message, descriptors),
            Received::Nothing => panic!("nothing"),
            Received::End => panic!("end"),
        }
    }

    #[test]
    fn messages_keep_their_order_their_bounds_and_their_descriptors() {
        let (here, there) = Channel::pair().expect("pair");
        let payload = Payload::new(b"opaque").expect("memfd");
        here.send(&"first", &[payload.as_fd()]).expect("send");
        here.send(&"second", &[]).expect("send");
        let (text, descriptors) = message(there.receive::<String>().expect("receive"));
        assert_eq!(text, "first");
        let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).expect("one descriptor");
        assert_eq!(Payload::from(descriptor).read().expect("read"), b"opaque");
        assert_eq!(message(there.receive::<String>().expect("receive")).0, "second");
        assert!(matches!(there.receive::<String>().expect("receive"), Received::Nothing));
    }

    #[test]
    fn a_large_message_arrives_whole_and_after_it_only_its_own_descriptors() {
        let (here, there) = Channel::pair().expect("pair");
        let long = "x".repeat(3 << 20);
        let payload = Payload::new(b"opaque").expect("memfd");
        here.send(&long, &[payload.as_fd()]).expect("send");
        let (text, descriptors) = message(there.receive::<String>().expect("receive"));
        assert_eq!(text, long);
        assert_eq!(descriptors.len(), 1);
    }

    #[test]
    fn the_most_descriptors_go_through_with_a_large_message_too() {
        let (here, there) = Channel::pair().expect("pair");
        let payload = Payload::new(b"").expect("memfd");
        let many = vec![payload.as_fd(); MOST_DESCRIPTORS];
        here.send(&"x".repeat(LARGEST_INLINE), &many).expect("send");
        let (_, descriptors) = message(there.receive::<String>().expect("receive"));
        assert_eq!(descriptors.len(), MOST_DESCRIPTORS);
        assert!(rustix::io::fcntl_getfd(&descriptors[0]).expect("flags").contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn a_message_larger_than_wanted_is_not_read() {
        let (here, there) = Channel::pair().expect("pair");
        here.send(&"x".repeat(2 << 20), &[]).expect("send");
        assert!(matches!(there.receive_at_most::<String>(1 << 20), Err(ChannelError::Receive(_))));
    }

    #[test]
    fn the_end_comes_after_the_last_message() {
        let (here, there) = Channel::pair().expect("pair");
        here.send(&1, &[]).expect("send");
        drop(here);
        assert_eq!(message(there.receive::<u8>().expect("receive")).0, 1);
        assert!(matches!(there.receive::<u8>().expect("receive"), Received::End));
        assert!(matches!(there.send(&1, &[]), Err(ChannelError::Send(_))));
    }

    #[test]
    fn a_peer_that_died_with_messages_unread_is_at_its_end() {
        let (here, there) = Channel::pair().expect("pair");
        there.send(&1, &[]).expect("send");
        drop(here);
        assert!(matches!(there.receive::<u8>().expect("receive"), Received::End));
    }

    #[test]
    fn what_a_peer_said_before_it_died_is_received_though_it_left_messages_unread() {
        let (here, there) = Channel::pair().expect("pair");
        here.send(&7, &[]).expect("send");
        there.send(&1, &[]).expect("send");
        drop(here);
        assert_eq!(message(there.receive::<u8>().expect("receive")).0, 7);
        assert!(matches!(there.receive::<u8>().expect("receive"), Received::End));
    }

    #[test]
    fn a_message_of_another_shape_is_an_error() {
        let (here, there) = Channel::pair().expect("pair");
        here.send(&"text", &[]).expect("send");
        assert!(matches!(there.receive::<u8>(), Err(ChannelError::NotUnderstood(_))));
    }
}

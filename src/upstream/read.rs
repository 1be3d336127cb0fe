//! Reads into buffers that the connections of a thread share.

use std::cell::{RefCell, RefMut};
use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use crate::message::body::Demand;
use crate::net::Stream;

/// Least room for a read; with less a new buffer is taken.
pub(super) const LEAST_ROOM: usize = 8 * 1024;
/// What one read has room for: one of a large body fills it when the server is fast, and it serves many small ones.
pub const WHOLE_READ: usize = 128 * 1024;
/// The same for a receiver that takes as much at once. A response of 10 MiB costs 30 % less CPU with it than with reads of
/// half the size, and one of 64 KiB a twentieth less; twice the size brings nothing more.
const LARGE_READ: usize = 256 * 1024;
/// How much is read at once for a receiver that takes less than comes.
const CAREFUL: usize = 16 * 1024;

/// Buffers that the connections of one thread read into. What they read is split off them. When nothing holds the pieces
/// any more, and with small responses that is so at each read, the memory of a buffer is used again from the start, which is
/// still in the processor's cache. That is why the large one is used only where it is filled.
#[derive(Debug, Default)]
pub struct ReadBuffers {
    usual: RefCell<BytesMut>,
    large: RefCell<BytesMut>,
}

/// How much `receiver` may be given at once. What it does not take would be held here.
#[must_use]
pub fn demand_of(receiver: &Stream) -> Demand {
    match receiver.room() {
        LARGE_READ.. => Demand::Most,
        WHOLE_READ.. => Demand::Much,
        _ => Demand::Little,
    }
}

/// Reads once, as much as `demand` says, and takes out of the shared buffer what came: whatever becomes of it, the next one
/// to read finds nothing there that was meant for another. Empty at the end of the stream.
///
/// # Errors
/// Whatever `recv(2)` says.
pub fn poll_read(
    cx: &mut Context<'_>,
    stream: &Stream,
    shared: &ReadBuffers,
    demand: Demand,
) -> Poll<io::Result<BytesMut>> {
    let mut buffer = match demand {
        Demand::Little => return poll_read_careful(cx, stream),
        Demand::Much => with_room(&shared.usual, WHOLE_READ),
        Demand::Most => with_room(&shared.large, LARGE_READ),
    };
    ready!(stream.poll_read_into(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.split()))
}

/// As [`poll_read`] of [`Demand::Much`], of what is there now; the poller is not asked.
///
/// # Errors
/// The error of `recv(2)`, `WouldBlock` when nothing is there.
pub fn read_now(stream: &Stream, shared: &ReadBuffers) -> io::Result<BytesMut> {
    let mut buffer = with_room(&shared.usual, WHOLE_READ);
    stream.recv_buf(&mut buffer)?;
    Ok(buffer.split())
}

/// Into memory of its own size: what was read may have to be kept for long. The shared buffer would be kept with it, which
/// is several times as large.
fn poll_read_careful(cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<BytesMut>> {
    ready!(stream.poll_read_ready(cx))?;
    let mut buffer = BytesMut::with_capacity(CAREFUL);
    ready!(stream.poll_read_into(cx, &mut buffer))?;
    Poll::Ready(Ok(if buffer.len() < CAREFUL / 2 { BytesMut::from(&buffer[..]) } else { buffer }))
}

fn with_room(shared: &RefCell<BytesMut>, most: usize) -> RefMut<'_, BytesMut> {
    let mut buffer = shared.borrow_mut();
    if !buffer.try_reclaim(most) && buffer.capacity() < LEAST_ROOM {
        buffer.reserve(most);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A stream on which bytes wait to be read, `most` or as many as the kernel allows; how many; and its other end.
    fn holding(most: usize) -> (Stream, usize, UnixStream) {
        let (ours, mut other) = UnixStream::pair().expect("a pair");
        let _ = socket2::SockRef::from(&other).set_send_buffer_size(4 * most);
        ours.set_nonblocking(true).expect("an option");
        other.set_nonblocking(true).expect("an option");
        let mut written = 0;
        while written < most
            && let Ok(more) = other.write(&vec![b'x'; most - written])
        {
            written += more;
        }
        (Stream::from_fd(OwnedFd::from(ours)).expect("a stream"), written, other)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_read_is_as_large_as_what_its_receiver_takes() {
        let shared = ReadBuffers::default();
        for (demand, most) in [(Demand::Little, CAREFUL), (Demand::Much, WHOLE_READ), (Demand::Most, LARGE_READ)] {
            let (stream, held, _other) = holding(LARGE_READ + 1);
            let read = poll_fn(|cx| poll_read(cx, &stream, &shared, demand)).await.expect("bytes");
            assert!(held > CAREFUL && read.len() == held.min(most), "{demand:?} reads {} of {held}", read.len());
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nothing_of_what_one_connection_sent_is_left_for_another() {
        let shared = ReadBuffers::default();
        for demand in [Demand::Much, Demand::Most] {
            let (stream, _, _other) = holding(1000);
            let first = poll_fn(|cx| poll_read(cx, &stream, &shared, demand)).await.expect("bytes");
            assert_eq!(first.len(), 1000);
            let (silent, _, other) = holding(0);
            drop(other);
            let second = poll_fn(|cx| poll_read(cx, &silent, &shared, demand)).await.expect("its end");
            assert!(second.is_empty());
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_receiver_that_has_not_sent_on_what_it_was_given_is_given_little() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        client.set_recv_buffer_size(4096).expect("an option");
        client.connect(&listener.local_addr().expect("address").into()).expect("connect");
        let (accepted, _) = listener.accept().expect("accept");
        socket2::SockRef::from(&accepted).set_send_buffer_size(4 * LARGE_READ).expect("an option");
        accepted.set_nonblocking(true).expect("an option");
        let stream = Stream::from_fd(OwnedFd::from(accepted)).expect("a stream");
        assert_ne!(demand_of(&stream), Demand::Little);
        poll_fn(|cx| stream.poll_write_ready(cx)).await.expect("room");
        while stream.try_write(&[0; 16 * 1024]).is_ok_and(|written| written > 0) {}
        assert_eq!(demand_of(&stream), Demand::Little);
    }
}

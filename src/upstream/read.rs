//! Reads from servers into a buffer that a thread shares.

use std::cell::RefMut;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use crate::net::Stream;

/// Least room for a read; with less a new buffer is taken.
pub(super) const LEAST_ROOM: usize = 8 * 1024;
/// What one read has room for: one of a large body fills it when the server is fast, and it serves many small ones.
pub const WHOLE_READ: usize = 128 * 1024;

/// A buffer that the upstream connections of one thread read into. What they read is split off it. When nothing holds
/// the pieces any more, and with small responses that is so at each read, its memory is used again from the start,
/// which is still in the processor's cache.
pub type ReadBuffer = std::cell::RefCell<BytesMut>;

/// How much is read at once for a receiver that takes less than comes.
const CAREFUL: usize = 16 * 1024;

/// Reads once as [`poll_read`] does, at most 16 KiB, and into memory of its own size: what was read may have to be kept
/// for long. The shared buffer would be kept with it, which is several times as large.
///
/// # Errors
/// Whatever `recv(2)` says.
pub fn poll_read_careful(cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<BytesMut>> {
    ready!(stream.poll_read_ready(cx))?;
    let mut buffer = BytesMut::with_capacity(CAREFUL);
    ready!(stream.poll_read_into(cx, &mut buffer))?;
    Poll::Ready(Ok(if buffer.len() < CAREFUL / 2 { BytesMut::from(&buffer[..]) } else { buffer }))
}

/// Whether `stream` may be given as much as [`poll_read`] reads at once. What it does not take would be held here.
#[must_use]
pub fn takes_whole_read(stream: &Stream) -> bool {
    stream.has_room_for(WHOLE_READ)
}

/// Reads once, and takes out of the shared buffer what came: whatever becomes of it, the next one to read finds nothing
/// there that was meant for another. Empty at the end of the stream.
///
/// # Errors
/// Whatever `recv(2)` says.
pub fn poll_read(cx: &mut Context<'_>, stream: &Stream, shared: &ReadBuffer) -> Poll<io::Result<BytesMut>> {
    let mut buffer = with_room(shared);
    ready!(stream.poll_read_into(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.split()))
}

/// As [`poll_read`], of what is there now; the poller is not asked.
///
/// # Errors
/// The error of `recv(2)`, `WouldBlock` when nothing is there.
pub fn read_now(stream: &Stream, shared: &ReadBuffer) -> io::Result<BytesMut> {
    let mut buffer = with_room(shared);
    stream.recv_buf(&mut buffer)?;
    Ok(buffer.split())
}

fn with_room(shared: &ReadBuffer) -> RefMut<'_, BytesMut> {
    let mut buffer = shared.borrow_mut();
    if !buffer.try_reclaim(WHOLE_READ) && buffer.capacity() < LEAST_ROOM {
        buffer.reserve(WHOLE_READ);
    }
    buffer
}

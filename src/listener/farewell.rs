//! The end of a client connection: last words, FIN, and a moment of patience.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::net::Stream;
use crate::proxy::Client;

/// How long to read on after our FIN.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// At most.
    whole: Duration,
    /// While nothing comes.
    quiet: Duration,
}

/// A client that sends its whole body before it reads gets that time.
pub(super) const PATIENT: Patience = Patience { whole: Duration::from_secs(30), quiet: Duration::from_secs(2) };
/// The generation is at its deadline.
pub(super) const BRIEF: Patience = Patience { whole: Duration::from_secs(1), quiet: Duration::from_millis(500) };

/// Bytes read at once, to be thrown away; on the stack, for there may be thousands of clients that linger.
const ROOM: usize = 8 * 1024;

/// Writes all of `bytes`, within `timeout` all in all.
///
/// # Errors
/// Whatever the socket says, and `TimedOut`.
pub(super) async fn say(client: &Client, stream: &mut Stream, bytes: &[u8], timeout: Duration) -> io::Result<()> {
    client.alarm.set(timeout);
    let mut left = bytes;
    poll_fn(|cx| {
        while !left.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, left)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(len) => left = &left[len..],
                Poll::Pending => {
                    ready!(client.alarm.poll_due(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Sends FIN, then reads and discards what the client still sends.
///
/// Closing a socket with unread bytes sends a reset, and a reset destroys what the client has received but not read
/// (RFC 9112 §9.6). So the last response would be lost just to those who had more to say.
pub(super) async fn linger(client: &Client, stream: &mut Stream, patience: Patience) {
    if stream.finish_writing().is_err() {
        return; // gone already
    }
    let until = Instant::now() + patience.whole;
    client.alarm.set(patience.quiet);
    poll_fn(|cx| {
        let mut scrap = [0; ROOM];
        // the runtime makes a client that never pauses wait for the others now and then
        while Instant::now() < until {
            let mut read = ReadBuf::new(&mut scrap);
            match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => client.alarm.set(patience.quiet),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return client.alarm.poll_due(cx),
            }
        }
        Poll::Ready(())
    })
    .await;
    client.alarm.off();
}

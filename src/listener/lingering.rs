//! The lingering close of a client connection: FIN, and a moment of patience.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::Stream;
use crate::timer::Timer;

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

/// Sends FIN, then reads and discards what the client still sends.
///
/// Closing a socket with unread bytes sends a reset, and a reset destroys what the client has received but not read
/// (RFC 9112 §9.6). So the last response would be lost just to the clients that send more.
pub(super) async fn linger(timer: &Timer, stream: &Stream, patience: Patience) {
    let until = Instant::now() + patience.whole;
    timer.set(patience.whole);
    let finished = poll_fn(|cx| match stream.poll_finish_writing(cx) {
        Poll::Ready(finished) => Poll::Ready(finished.is_ok()),
        Poll::Pending => timer.poll_due(cx).map(|()| false),
    });
    if !finished.await {
        timer.off();
        return; // gone already, or it takes nothing
    }
    timer.set(patience.quiet);
    poll_fn(|cx| {
        let mut scrap = [0; ROOM];
        // the runtime makes a client that never pauses wait for the others now and then
        while Instant::now() < until {
            if stream.poll_read_ready(cx)?.is_pending() {
                return timer.poll_due(cx).map(Ok);
            }
            match stream.try_read(&mut scrap) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => timer.set(patience.quiet),
                done => return Poll::Ready(done.map(drop)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
    .ok(); // the client is gone, which is what is waited for
    timer.off();
}

//! The body of a request on its way from the connection to what serves the request.

use std::task::{Context, Poll};
use std::time::Duration;

use super::reader::RequestReader;
use crate::listener::timeouts::{Direction, Timeouts};
use crate::message::body::{Demand, Piece, RequestBody, RequestBodyError};
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::proxy::Thread;
use crate::timer::Timer;

/// The body of a request, as its handler gets it.
pub(super) struct IncomingBody<'a> {
    pub(super) reader: &'a mut RequestReader,
    pub(super) stream: &'a Stream,
    pub(super) timeouts: &'a mut Timeouts,
    pub(super) timer: &'a Timer,
    pub(super) thread: &'a Thread,
    pub(super) timeout: Duration,
    /// How the connection ends, once the body has failed.
    pub(super) early_end: &'a mut Option<End>,
    /// More of it is waited for. One that took a piece and then waits for something else does not read: the connection
    /// has to look by itself whether the client is still there.
    pub(super) is_read: bool,
}

impl RequestBody for IncomingBody<'_> {
    fn poll_piece(&mut self, cx: &mut Context<'_>, room: Demand) -> Poll<Option<Result<Piece, RequestBodyError>>> {
        self.is_read = false;
        let error = match self.reader.poll_piece(cx, self.stream, self.thread, room) {
            Poll::Ready(Some(Err(error))) => error,
            Poll::Ready(piece) => {
                self.timeouts.end(Direction::Read, self.timer);
                return Poll::Ready(piece);
            }
            Poll::Pending => {
                self.timeouts.begin(Direction::Read, self.timeout, self.timer);
                if !self.timeouts.is_over(Direction::Read, self.timer) {
                    self.is_read = true;
                    return Poll::Pending;
                }
                RequestBodyError::Timeout
            }
        };
        self.timeouts.end(Direction::Read, self.timer);
        let reason = match error {
            RequestBodyError::Timeout => Reason::ClientTimeout,
            RequestBodyError::Framing(_) => Reason::BadRequest,
            RequestBodyError::Closed | RequestBodyError::Io(_) => Reason::ClientClosed,
        };
        self.early_end.get_or_insert(End::new(Phase::Request, reason));
        Poll::Ready(Some(Err(error)))
    }
}

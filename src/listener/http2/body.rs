//! The body of a request on its way from its stream to what serves the request.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::time::Instant;

use crate::http2::Session;
use crate::message::body::{Demand, Piece, RequestBody, RequestBodyError};

/// What has come of a body and was not taken.
#[derive(Default)]
pub(super) struct ReceivedBody {
    pub(super) data: BytesMut,
    pub(super) trailers: Option<HeaderMap>,
    /// Since when more is waited for.
    pub(super) waits_since: Option<Instant>,
    /// The wait was too long.
    pub(super) is_late: bool,
    /// It is the way up of a tunnel, whose client may be silent.
    pub(super) is_patient: bool,
}

/// The body of a request, as its handler gets it.
pub(super) struct StreamBody<'a> {
    pub(super) session: &'a mut Session,
    pub(super) key: usize,
    pub(super) received: &'a mut ReceivedBody,
    pub(super) now: Instant,
    /// More of it is waited for.
    pub(super) is_read: bool,
}

impl StreamBody<'_> {
    /// What may be taken. The last octet of a body of known length waits for the end of the stream: with it the request
    /// would be whole for the server, and more may come, which makes it malformed (RFC 9113 §8.1.1).
    fn take(&mut self) -> Bytes {
        let withheld = usize::from(self.session.awaits_end(self.key));
        let len = self.received.data.len().saturating_sub(withheld);
        let data = self.received.data.split_to(len).freeze();
        if self.received.data.is_empty() {
            self.received.data = BytesMut::new(); // an empty rest still holds on to the buffer
        }
        self.session.give_back(self.key, len);
        data
    }
}

impl RequestBody for StreamBody<'_> {
    fn poll_piece(&mut self, _: &mut Context<'_>, _: Demand) -> Poll<Option<Result<Piece, RequestBodyError>>> {
        self.is_read = false;
        let data = self.take();
        if !data.is_empty() {
            return Poll::Ready(Some(Ok(Piece::Data(data))));
        }
        if self.session.is_received(self.key) {
            return Poll::Ready(self.received.trailers.take().map(|trailers| Ok(Piece::Trailers(trailers))));
        }
        if self.received.is_late {
            return Poll::Ready(Some(Err(RequestBodyError::Timeout)));
        }
        self.is_read = true;
        if !self.received.is_patient {
            self.received.waits_since.get_or_insert(self.now);
        }
        Poll::Pending // what comes makes the stream ready
    }
}

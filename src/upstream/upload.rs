//! The request body on its way to a server, counted, limited, and kept for a second try while it is small.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::HeaderName;
use http_body::Body;
use hyper::body::Incoming;

use crate::http1::encode;
use crate::http1::fields::{is_forbidden_in_trailers, underscore_twin};
use crate::http1::request::Framing;
use crate::net::Stream;

/// A body up to this size is kept, so that an idempotent request can be sent again.
const REPLAY: usize = 64 * 1024;

/// The body of one request.
pub struct Upload {
    body: Incoming,
    chunked: bool,
    /// Largest body, in bytes.
    limit: u64,
    /// Bytes that came from the client.
    received: u64,
    /// The body came whole from the client.
    ended: bool,
    /// On their way to the server, framing included.
    pending: VecDeque<Bytes>,
    /// Everything that was put on the way so far, until it is too much.
    replay: Option<Vec<Bytes>>,
    replay_size: usize,
    /// Bytes of this attempt were handed to the socket.
    started: bool,
}

/// Why the body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client went away, was silent for too long or framed it wrong.
    #[error("the request body did not come whole")]
    Client(#[source] hyper::Error),
    /// It is larger than the site allows.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit of the site, in bytes.
        limit: u64,
    },
    /// The server took no more of it.
    #[error("sending the request failed")]
    Server(#[source] io::Error),
}

/// What an upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// More of the body from the client.
    Client,
    /// Room in the connection to the server.
    Server,
    /// Nothing: all of it was sent.
    Nothing,
}

/// Whether a body of this framing is sure to be kept whole, however much of it was sent.
#[must_use]
pub fn is_kept(framing: Framing) -> bool {
    match framing {
        Framing::None => true,
        Framing::Length(length) => length <= REPLAY as u64,
        Framing::Chunked => false, // nobody knows how much is to come
    }
}

impl Upload {
    /// The body of a request with the given framing, at most `limit` bytes.
    #[must_use]
    pub fn new(body: Incoming, framing: Framing, limit: u64) -> Self {
        let ended = matches!(framing, Framing::None | Framing::Length(0));
        let chunked = framing == Framing::Chunked;
        let (pending, replay) = (VecDeque::new(), Some(Vec::new()));
        Self { body, chunked, limit, received: 0, ended, pending, replay, replay_size: 0, started: false }
    }

    /// Bytes that came from the client.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether all of it was sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// Whether another attempt can send the same body.
    #[must_use]
    pub fn can_replay(&self) -> bool {
        self.replay.is_some()
    }

    /// Starts again from the first byte, for the next attempt.
    pub fn rewind(&mut self) {
        self.started = false;
        if let Some(replay) = &self.replay {
            self.pending = replay.iter().cloned().collect();
        }
    }

    /// Whether any byte of it was handed to the socket in this attempt.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Sends what there is. `progress` is set when a byte went out.
    ///
    /// # Errors
    /// See [`UploadError`]; after one the upload is over.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        progress: &mut bool,
    ) -> Result<Waiting, UploadError> {
        loop {
            if !self.pending.is_empty() {
                match self.poll_write(cx, stream) {
                    Poll::Ready(Ok(())) => *progress = true,
                    Poll::Ready(Err(fault)) => return Err(UploadError::Server(fault)),
                    Poll::Pending => return Ok(Waiting::Server),
                }
                continue;
            }
            if self.ended {
                return Ok(Waiting::Nothing);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(Waiting::Client),
                Poll::Ready(None) => self.end(None),
                Poll::Ready(Some(Err(fault))) => return Err(UploadError::Client(fault)),
                Poll::Ready(Some(Ok(frame))) => self.take(frame)?,
            }
        }
    }

    fn take(&mut self, frame: http_body::Frame<Bytes>) -> Result<(), UploadError> {
        match frame.into_data() {
            Ok(data) => {
                self.received += data.len() as u64;
                if self.received > self.limit {
                    return Err(UploadError::TooLarge { limit: self.limit });
                }
                if !data.is_empty() {
                    self.push_data(data);
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().ok();
                self.end(trailers);
            }
        }
        Ok(())
    }

    fn push_data(&mut self, data: Bytes) {
        if !self.chunked {
            return self.push(data);
        }
        let mut head = Vec::with_capacity(18);
        encode::chunk_head(&mut head, data.len());
        self.push(head.into());
        self.push(data);
        self.push(Bytes::from_static(b"\r\n"));
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.ended = true;
        if self.chunked {
            let mut trailers = trailers.unwrap_or_default();
            let is_forbidden =
                |name: &&HeaderName| is_forbidden_in_trailers(name) || underscore_twin(name.as_str().as_bytes());
            let forbidden: Vec<_> = trailers.keys().filter(is_forbidden).cloned().collect();
            forbidden.iter().for_each(|name| drop(trailers.remove(name)));
            let mut last = Vec::new();
            encode::end_of_chunks(&mut last, &trailers);
            self.push(last.into());
        }
    }

    fn push(&mut self, bytes: Bytes) {
        self.replay_size += bytes.len();
        if self.replay_size > REPLAY {
            self.replay = None;
        } else if let Some(replay) = &mut self.replay {
            replay.push(bytes.clone());
        }
        self.pending.push_back(bytes);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<()>> {
        loop {
            std::task::ready!(stream.poll_write_ready(cx))?;
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.pending.len().min(slices.len());
            for (slice, bytes) in slices.iter_mut().zip(&self.pending) {
                *slice = IoSlice::new(bytes);
            }
            match stream.try_write_vectored(&slices[..count]) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                Err(fault) => return Poll::Ready(Err(fault)),
                Ok(written) => {
                    self.started = true;
                    self.consume(written);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn consume(&mut self, mut written: usize) {
        while let Some(first) = self.pending.front_mut() {
            if written < first.len() {
                return first.advance(written);
            }
            written -= first.len();
            self.pending.pop_front();
        }
    }
}

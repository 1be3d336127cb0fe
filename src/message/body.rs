//! The body of a message on its way from one side to the other.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the body, never empty.
    Data(Bytes),
    /// The fields after the body (RFC 9110 §6.5); the last piece.
    Trailers(HeaderMap),
}

/// How much the receiver of a body takes. Bytes that it does not take are held in memory, and any peer could have them
/// held by not reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Little: small pieces, each in memory of its own.
    Little,
    /// Much: pieces as large as one read usually gives.
    #[default]
    Much,
    /// The largest pieces that there are.
    Most,
}

/// Why the body of a request does not come whole.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The client went away inside the body.
    #[error("the client went away inside the request body")]
    Closed,
    /// The client sent nothing for longer than `body_timeout`.
    #[error("the client sent nothing more of the request body")]
    Timeout,
    /// The body breaks this rule of its framing.
    #[error("{0}")]
    Framing(&'static str),
    /// The client's connection failed.
    #[error("reading the request body failed")]
    Io(#[from] io::Error),
}

/// The body of a request, which the client's connection reads. The receiver polls it, so that nothing is read that the
/// receiver does not take.
pub trait RequestBody {
    /// The next piece; `None` once the body is whole.
    ///
    /// # Errors
    /// See [`RequestBodyError`]; the body is over after one.
    fn poll_piece(&mut self, cx: &mut Context<'_>, room: Demand) -> Poll<Option<Result<Piece, RequestBodyError>>>;
}

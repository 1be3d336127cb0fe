//! Why no whole response came from a server.

use std::io;

use crate::http1::response::ResponseFault;
use crate::http2::error::ErrorCode;

/// Why no whole response came.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The server closed the connection too early.
    #[error("the server closed the connection before its response was whole")]
    Closed,
    /// The connection failed.
    #[error("reading the response failed")]
    Io(#[from] io::Error),
    /// What came is no valid response.
    #[error("the server sent no valid response")]
    Invalid(#[from] ResponseFault),
    /// The body is framed wrong.
    #[error("the server sent a broken chunk")]
    Chunk(#[from] crate::http1::chunked::ChunkFault),
    /// The server has reset the stream of HTTP/2.
    #[error("the server reset the stream with {}", .0.name())]
    Reset(ErrorCode),
    /// The server has not looked at the request: it said so of its stream, or of all streams from there on.
    #[error("the server refused the stream")]
    Refused,
    /// A rule of HTTP/2 was broken.
    #[error("{0}")]
    Rule(&'static str),
}

impl ResponseError {
    /// Whether what came is wrong, and not only too little.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Chunk(_) | Self::Rule(_))
    }
}

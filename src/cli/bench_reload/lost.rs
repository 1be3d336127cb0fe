//! Why a request got no whole answer, or not the one that is right.

use std::error::Error;
use std::io;

use http::StatusCode;

use crate::net::tls::ConnectError;

/// The reason, in few words: reasons are counted.
#[derive(Debug, thiserror::Error)]
pub(super) enum LostRequest {
    /// No connection.
    #[error("connect: {}", words(.0))]
    Connect(io::Error),
    /// No TLS on it.
    #[error("TLS: {0}")]
    Tls(String),
    /// The deadline is over.
    #[error("no whole answer in time")]
    Late,
    /// The connection was closed before the first byte, or in the middle of the head.
    #[error("closed without an answer")]
    Unanswered,
    /// The connection ended after the head.
    #[error("cut in the middle of the answer: {0}")]
    Cut(String),
    /// The connection broke.
    #[error("{}", words(.0))]
    Broken(io::Error),
    /// It was no HTTP/1.1.
    #[error("no HTTP: {0}")]
    NoHttp(String),
    /// An error of the server or the proxy.
    #[error("status {0}")]
    Status(StatusCode),
    /// The connection was closed before the request could be sent on it: the request is not lost.
    #[error("closed while idle")]
    NotSent,
    /// This machine has no descriptors or ports for another connection: that says nothing about the proxy.
    #[error("{}", words(.0))]
    Shortage(io::Error),
}

impl LostRequest {
    /// That a connection could not be opened.
    pub(super) fn to_connect(fault: io::Error) -> Self {
        let lacking = [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS, libc::ENOMEM];
        match fault.raw_os_error() {
            Some(number) if lacking.contains(&number) => Self::Shortage(fault),
            _ => Self::Connect(fault),
        }
    }

    /// Of hyper, before the answer began.
    pub(super) fn before_answer(fault: &hyper::Error) -> Self {
        match io_error(fault) {
            _ if fault.is_canceled() || fault.is_closed() => Self::NotSent,
            _ if fault.is_incomplete_message() => Self::Unanswered,
            Some(broken) => Self::Broken(broken),
            None => Self::NoHttp(fault.to_string()),
        }
    }

    /// Of hyper, in the body of the answer.
    pub(super) fn in_answer(fault: &hyper::Error) -> Self {
        match io_error(fault) {
            Some(broken) if broken.kind() != io::ErrorKind::UnexpectedEof => Self::Cut(words(&broken)),
            _ => Self::Cut("closed".to_owned()),
        }
    }
}

impl From<ConnectError> for LostRequest {
    fn from(fault: ConnectError) -> Self {
        match fault {
            ConnectError::Io(broken) => Self::Tls(words(&broken)),
            other => Self::Tls(other.to_string()),
        }
    }
}

/// A copy of the error of the socket, if that is the cause.
fn io_error(fault: &hyper::Error) -> Option<io::Error> {
    let mut cause = fault.source();
    while let Some(fault) = cause {
        if let Some(fault) = fault.downcast_ref::<io::Error>() {
            let number = fault.raw_os_error().map(io::Error::from_raw_os_error);
            return Some(number.unwrap_or_else(|| io::Error::new(fault.kind(), fault.to_string())));
        }
        cause = fault.source();
    }
    None
}

/// "Connection reset by peer (os error 104)" without the number, which says nothing to most.
pub(super) fn words(fault: &io::Error) -> String {
    fault.to_string().split(" (os").next().unwrap_or_default().to_owned()
}

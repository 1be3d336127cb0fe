//! Why a check failed, in the words of the journal and of the status.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::upstream::connect::{DialError, TlsError};

/// An answer's head, at most.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// Why a check failed.
#[derive(Debug, Error)]
pub(super) enum CheckFault {
    #[error("{}", in_words(.0))]
    Socket(#[source] io::Error),
    #[error("TLS: {0}")]
    Tls(TlsError),
    #[error("no connection within {}", humantime::format_duration(*.0))]
    NotConnected(Duration),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("connection closed without an answer")]
    Closed,
    #[error("status {0}")]
    Status(u16),
    #[error("answer is not HTTP")]
    NotHttp(#[source] hyper::Error),
    #[error("answer is not HTTP/2")]
    NotHttp2(#[source] hyper::Error),
    #[error("head of the answer is longer than {} bytes", MAX_HEAD)]
    TooLong,
    #[error("grpc-status {0}")]
    GrpcStatus(u32),
    #[error("health {0}")]
    Health(&'static str),
    #[error("answer is not one of grpc.health.v1.Health")]
    NotHealth,
}

impl From<DialError> for CheckFault {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Socket(fault) => Self::Socket(fault),
            DialError::Tls(error) => Self::Tls(error),
        }
    }
}

impl CheckFault {
    /// What a client of HTTP/1.1 says.
    pub(super) fn of_http1(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::TooLong;
        }
        if error.is_parse() {
            return Self::NotHttp(error);
        }
        of_socket(&error).map_or(Self::Closed, Self::Socket)
    }

    /// What a client of HTTP/2 says.
    pub(super) fn of_http2(error: hyper::Error) -> Self {
        match of_socket(&error) {
            Some(fault) => Self::Socket(fault),
            None if error.is_canceled() || error.is_closed() => Self::Closed,
            None => Self::NotHttp2(error),
        }
    }
}

fn of_socket(error: &hyper::Error) -> Option<io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(fault) = cause.downcast_ref::<io::Error>() {
            return Some(fault.raw_os_error().map_or_else(|| fault.kind().into(), io::Error::from_raw_os_error));
        }
        source = cause.source();
    }
    None
}

pub(super) fn in_words(fault: &io::Error) -> Cow<'static, str> {
    match fault.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::BrokenPipe => "connection closed without an answer".into(),
        io::ErrorKind::HostUnreachable => "no route to the host".into(),
        io::ErrorKind::NetworkUnreachable => "no route to the network".into(),
        io::ErrorKind::TimedOut => "no answer from the host".into(),
        io::ErrorKind::NotFound => "no socket at this path".into(),
        io::ErrorKind::PermissionDenied => "not allowed to connect".into(),
        _ => {
            let text = fault.to_string();
            let plain = text.split(" (os error").next().unwrap_or_default();
            plain.to_owned().into()
        }
    }
}

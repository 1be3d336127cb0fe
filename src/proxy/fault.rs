//! Why an exchange failed, on whose side, and what the client is told.

use std::time::Duration;

use http::StatusCode;

use crate::http1::request::Refusal;
use crate::message::body::RequestBodyError;
use crate::observe::end::{End, Phase, Reason};
use crate::observe::record::Outcome;
use crate::upstream::upload::UploadError;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The request broke a rule of HTTP or was above a limit.
    #[error("{}", .0.rule())]
    Refused(Refusal),
    /// What came in HTTP/2 broke a rule of it.
    #[error("{0}")]
    Malformed(&'static str),
    /// The client did too much that costs and brings nothing.
    #[error("{0}")]
    Flood(&'static str),
    /// The head did not come whole in time.
    #[error("the request head did not arrive in time")]
    SlowHead,
    /// No site answers to the host.
    #[error("no site here answers to the host {host:?}")]
    NoSite {
        /// The host that was asked for.
        host: String,
    },
    /// The connection is for another host than the request.
    #[error("this connection is not for the host {host:?}")]
    Misdirected {
        /// The host that was asked for.
        host: String,
    },
    /// The site is for clients with a certificate, and the client showed none.
    #[error("this site is for clients that show a certificate in the TLS handshake")]
    NoClientCertificate,
    /// The certificate of the client does not count any more.
    #[error("the certificate of the client is not accepted: {why}")]
    ClientCertificate {
        /// Why.
        why: String,
    },
    /// There is no site at all.
    #[error("no site is configured here")]
    NoSites,
    /// The body is larger than the site takes.
    #[error("the request body is larger than the {limit} bytes that this site takes")]
    BodyTooLarge {
        /// The limit of the site, in bytes.
        limit: u64,
    },
    /// The request has passed here too often.
    #[error("the request has come through here {times} times: servers that point at each other make a loop")]
    Loop {
        /// How often.
        times: usize,
    },
    /// `Max-Forwards` is no number.
    #[error("Max-Forwards is not a decimal number")]
    MaxForwards,
    /// The request body did not come whole.
    #[error("the request body did not arrive whole")]
    BodyCut(#[source] RequestBodyError),
    /// The request body broke a rule of HTTP.
    #[error("{0}")]
    BadBody(&'static str),
    /// The request body did not come in time.
    #[error("the request body did not arrive in time")]
    SlowBody,
    /// No server of the pool can be tried.
    #[error("no server of the pool {pool} is up")]
    NoServer {
        /// The pool.
        pool: String,
    },
    /// The last attempt failed.
    #[error("{}", attempt_text(*.outcome, .server, *.timeout))]
    Server {
        /// How.
        outcome: Outcome,
        /// The server that was tried last.
        server: String,
        /// The timeout that struck, if one did.
        timeout: Duration,
    },
    /// The connection is gone on which a server was authenticating the client.
    #[error("the server {server} closed the connection that the authentication runs on")]
    Handshake {
        /// The server.
        server: String,
    },
    /// A defect of ours.
    #[error("the proxy failed: {0}")]
    Internal(&'static str),
}

fn attempt_text(outcome: Outcome, server: &str, timeout: Duration) -> String {
    let timeout = humantime::format_duration(timeout);
    match outcome {
        Outcome::ConnectFailed => format!("the server {server} could not be reached"),
        Outcome::ConnectTimeout => format!("the server {server} did not accept a connection within {timeout}"),
        Outcome::TlsFailed => format!("the TLS handshake with the server {server} failed"),
        Outcome::TlsUntrusted => format!("the server {server} has no certificate that is trusted here"),
        Outcome::ResponseTimeout => format!("the server {server} did not answer within {timeout}"),
        Outcome::WentDown => format!("the server {server} went down before it answered"),
        Outcome::Closed => format!("the server {server} closed the connection before it answered"),
        Outcome::BadResponse => format!("the server {server} sent an answer that is no valid HTTP"),
        Outcome::Responded | Outcome::Abandoned => format!("the server {server} was given up"),
    }
}

impl Fault {
    /// The status that the client is told.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST),
            Self::SlowHead | Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::NoSite { .. } => StatusCode::NOT_FOUND,
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::NoClientCertificate | Self::ClientCertificate { .. } => StatusCode::FORBIDDEN,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Loop { .. } => StatusCode::LOOP_DETECTED,
            Self::Flood(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Malformed(_) | Self::BodyCut(_) | Self::BadBody(_) | Self::MaxForwards => StatusCode::BAD_REQUEST,
            Self::NoSites | Self::NoServer { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Server {
                outcome: Outcome::ConnectTimeout | Outcome::ResponseTimeout | Outcome::WentDown, ..
            } => StatusCode::GATEWAY_TIMEOUT,
            Self::Server { .. } | Self::Handshake { .. } => StatusCode::BAD_GATEWAY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client is told: the same, without the names of what is behind the proxy.
    #[must_use]
    pub fn client_text(&self) -> String {
        match self {
            Self::NoServer { .. } => "no server for this site is up".into(),
            Self::Server { outcome, timeout, .. } => attempt_text(*outcome, "behind this proxy", *timeout),
            Self::Handshake { .. } => "the server closed the connection that the authentication runs on".into(),
            Self::Internal(_) => "the proxy failed".into(),
            other => other.to_string(),
        }
    }

    /// How an exchange ends with it that was in phase `at`.
    #[must_use]
    pub fn end(&self, at: Phase) -> End {
        End::new(self.phase().unwrap_or(at), self.reason())
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) if refusal.limit().is_some() => Reason::TooLarge,
            Self::Refused(refusal) if refusal.status() == 405 => Reason::Denied,
            Self::Refused(_) | Self::Malformed(_) | Self::BadBody(_) | Self::MaxForwards => Reason::BadRequest,
            Self::BodyCut(_) => Reason::ClientClosed,
            Self::SlowHead | Self::SlowBody => Reason::ClientTimeout,
            Self::NoSite { .. } | Self::NoSites | Self::Misdirected { .. } => Reason::NoSite,
            Self::BodyTooLarge { .. } => Reason::TooLarge,
            Self::Loop { .. } | Self::Flood(_) | Self::NoClientCertificate | Self::ClientCertificate { .. } => {
                Reason::Denied
            }
            Self::NoServer { .. } => Reason::NoServer,
            Self::Server { outcome, .. } => match outcome {
                Outcome::ConnectFailed => Reason::ServerRefused,
                Outcome::TlsFailed | Outcome::TlsUntrusted => Reason::ServerTls,
                Outcome::ConnectTimeout | Outcome::ResponseTimeout | Outcome::WentDown => Reason::ServerTimeout,
                Outcome::BadResponse => Reason::ServerBadResponse,
                Outcome::Closed | Outcome::Responded | Outcome::Abandoned => Reason::ServerClosed,
            },
            Self::Handshake { .. } => Reason::ServerClosed,
            Self::Internal(_) => Reason::Internal,
        }
    }

    /// Where such a fault happens; none when it can be anywhere on the way to a response.
    fn phase(&self) -> Option<Phase> {
        match self {
            Self::Refused(_) | Self::Malformed(_) | Self::Flood(_) | Self::SlowHead => Some(Phase::Head),
            Self::NoSite { .. }
            | Self::NoSites
            | Self::Misdirected { .. }
            | Self::NoClientCertificate
            | Self::ClientCertificate { .. }
            | Self::Loop { .. }
            | Self::MaxForwards => Some(Phase::Route),
            Self::BodyTooLarge { .. } | Self::BodyCut(_) | Self::BadBody(_) | Self::SlowBody => Some(Phase::Request),
            Self::NoServer { .. } => Some(Phase::Connect),
            Self::Server { .. } | Self::Handshake { .. } | Self::Internal(_) => None,
        }
    }

    /// Whether the connection cannot go on: the rest of the request may still be on its way, or the client has to begin
    /// its authentication anew, which it does on a new connection, as with another certificate.
    #[must_use]
    pub fn spoils_connection(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Malformed(_)
                | Self::Flood(_)
                | Self::SlowHead
                | Self::BodyCut(_)
                | Self::BadBody(_)
                | Self::SlowBody
                | Self::BodyTooLarge { .. }
                | Self::Handshake { .. }
                | Self::ClientCertificate { .. }
        )
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TooLarge { limit } => Self::BodyTooLarge { limit },
            UploadError::Client(RequestBodyError::Timeout) => Self::SlowBody,
            UploadError::Client(RequestBodyError::Framing(rule)) => Self::BadBody(rule),
            UploadError::Client(error) => Self::BodyCut(error),
            UploadError::Server(_) => Self::Internal("a server's fault was taken for the client's"),
        }
    }
}

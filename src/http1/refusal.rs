//! Why a request is refused before it becomes an exchange: one variant for each rule.

use std::fmt;

use super::head::{Break, LineFault};
use crate::message::authority::HostFault;

/// A rule that a request broke. The connection is closed after the answer: where the next request would start is not
/// known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More than one empty line before the request line.
    EmptyLines,
    /// The method is no token.
    Method,
    /// The client speaks TLS.
    Tls,
    /// The method is longer than any known one.
    MethodTooLong,
    /// `CONNECT`.
    Connect,
    /// The target holds a byte that it must not.
    Target,
    /// The target is longer than `max_target`.
    TargetTooLong,
    /// The target has a form that the method does not allow.
    TargetForm,
    /// The request line is not method, space, target, space, version.
    RequestLine,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A line of the head is wrong.
    Line(LineFault),
    /// More fields than `max_fields`.
    TooManyFields,
    /// The head is longer than `max_head`.
    HeadTooLarge,
    /// HTTP/1.1 without `Host`.
    NoHost,
    /// More than one `Host`.
    TwoHosts,
    /// The host, in `Host` or in the target, is wrong.
    Host(HostFault),
    /// `Content-Length` is no single number below 2^63.
    ContentLength,
    /// `Content-Length` comes more than once.
    RepeatedLength,
    /// `Content-Length` and `Transfer-Encoding` both.
    LengthAndEncoding,
    /// `Transfer-Encoding` is not exactly `chunked`.
    TransferEncoding,
    /// `Transfer-Encoding` is a coding that is not known.
    UnknownCoding,
    /// `Transfer-Encoding` in HTTP/1.0.
    EncodingInHttp10,
    /// `Expect` other than `100-continue`.
    Expect,
    /// The head is wrong in a way that has no name of its own.
    Malformed,
}

impl Refusal {
    /// The status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Connect => 405,
            Self::TargetTooLong => 414,
            Self::Expect => 417,
            Self::TooManyFields | Self::HeadTooLarge => 431,
            Self::MethodTooLong | Self::UnknownCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// The rule, as one sentence for the page and the log. It holds nothing of what the client sent.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::EmptyLines => "More than one empty line comes before the request line.",
            Self::Method => "The method is not a token.",
            Self::Tls => "Plain HTTP is spoken here, and the client began with TLS.",
            Self::MethodTooLong => "The method is longer than any that is known.",
            Self::Connect => "CONNECT is not allowed here.",
            Self::Target => "The request target holds a character that must be percent-encoded.",
            Self::TargetTooLong => "The request target is too long.",
            Self::TargetForm => {
                "The request target is neither a path nor an http or https URL, nor is it * with the method OPTIONS."
            }
            Self::RequestLine => {
                "The request line is not a method, a target and a version with one space between them."
            }
            Self::Version => "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
            Self::Line(fault) => fault.rule(),
            Self::TooManyFields => "The request head has too many fields.",
            Self::HeadTooLarge => "The request head is too large.",
            Self::NoHost => "An HTTP/1.1 request needs a Host field.",
            Self::TwoHosts => "The request has more than one Host field.",
            Self::Host(fault) => fault.rule(),
            Self::ContentLength => "Content-Length is not a single decimal number below 2^63.",
            Self::RepeatedLength => "The request has more than one Content-Length field.",
            Self::LengthAndEncoding => "The request has both Content-Length and Transfer-Encoding.",
            Self::TransferEncoding => "Transfer-Encoding is not exactly chunked.",
            Self::UnknownCoding => "The transfer coding is not known.",
            Self::EncodingInHttp10 => "HTTP/1.0 has no Transfer-Encoding.",
            Self::Expect => "The only expectation that can be met is 100-continue.",
            Self::Malformed => "The request head is malformed.",
        }
    }

    /// The name of the setting that was exceeded, when it was one.
    #[must_use]
    pub const fn limit(self) -> Option<&'static str> {
        match self {
            Self::TargetTooLong => Some("max_target"),
            Self::TooManyFields => Some("max_fields"),
            Self::HeadTooLarge => Some("max_head"),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.rule())
    }
}

impl std::error::Error for Refusal {}

impl From<Break> for Refusal {
    fn from(broken: Break) -> Self {
        match broken {
            Break::EmptyLines => Self::EmptyLines,
            Break::Method => Self::Method,
            Break::MethodTooLong => Self::MethodTooLong,
            Break::Target => Self::Target,
            Break::TargetTooLong => Self::TargetTooLong,
            Break::StartLine => Self::RequestLine,
            Break::Version => Self::Version,
            Break::Line(fault) => Self::Line(fault),
            Break::TooManyFields => Self::TooManyFields,
            Break::TooLarge => Self::HeadTooLarge,
        }
    }
}

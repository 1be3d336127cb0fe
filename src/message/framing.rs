//! The fields that a proxy must understand in a head, found by name, and the values of those that frame a body.

use super::fields::is;

/// A field that means something to the connection or to the framing of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    Expect,
    Upgrade,
    Te,
    Trailer,
    /// `Authorization`.
    Authorization,
    /// `WWW-Authenticate`.
    Authenticate,
    /// `Proxy-Authorization`.
    ProxyAuthorization,
    /// `Proxy-Authenticate`.
    ProxyAuthenticate,
    /// Others that are for one connection only: `Proxy-Connection`, `Proxy-Authentication-Info`, and `HTTP2-Settings`,
    /// which says something only beside `Upgrade: h2c`.
    Hop,
    Other,
}

impl Known {
    /// Tells by length and first letter: most fields are not known, and the rest of their names is not looked at.
    pub(crate) fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else {
            return Self::Other;
        };
        match (name.len(), first | 0x20) {
            (2, b't') if is(name, b"te") => Self::Te,
            (4, b'h') if is(name, b"host") => Self::Host,
            (6, b'e') if is(name, b"expect") => Self::Expect,
            (7, b'u') if is(name, b"upgrade") => Self::Upgrade,
            (7, b't') if is(name, b"trailer") => Self::Trailer,
            (10, b'c') if is(name, b"connection") => Self::Connection,
            (10, b'k') if is(name, b"keep-alive") => Self::KeepAlive,
            (13, b'a') if is(name, b"authorization") => Self::Authorization,
            (14, b'c') if is(name, b"content-length") => Self::ContentLength,
            (14, b'h') if is(name, b"http2-settings") => Self::Hop,
            (16, b'p') if is(name, b"proxy-connection") => Self::Hop,
            (16, b'w') if is(name, b"www-authenticate") => Self::Authenticate,
            (17, b't') if is(name, b"transfer-encoding") => Self::TransferEncoding,
            (18, b'p') if is(name, b"proxy-authenticate") => Self::ProxyAuthenticate,
            (19, b'p') if is(name, b"proxy-authorization") => Self::ProxyAuthorization,
            (25, b'p') if is(name, b"proxy-authentication-info") => Self::Hop,
            _ => Self::Other,
        }
    }

    /// Whether the field is for one connection only, whatever `Connection` says (RFC 9110 §7.6.1). `Transfer-Encoding`
    /// is among them: framing is written anew.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        match self {
            Self::Host
            | Self::ContentLength
            | Self::Expect
            | Self::Authorization
            | Self::Authenticate
            | Self::Other => false,
            Self::TransferEncoding
            | Self::Connection
            | Self::KeepAlive
            | Self::Upgrade
            | Self::Te
            | Self::Trailer
            | Self::ProxyAuthorization
            | Self::ProxyAuthenticate
            | Self::Hop => true,
        }
    }
}

/// A `Content-Length`: digits only, at least one, below 2^63. Leading zeros are digits too.
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut length = 0_u64;
    for digit in value {
        if !digit.is_ascii_digit() {
            return None;
        }
        length = length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (length <= i64::MAX as u64).then_some(length)
}

/// Whether a `Transfer-Encoding` is exactly `chunked`; codings have no case (RFC 9112 §7).
pub(crate) fn is_chunked(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_digits_below_2_to_the_63() {
        for (value, expected) in [
            ("0", Some(0)),
            ("5", Some(5)),
            ("0005", Some(5)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("18446744073709551616", None),
            ("99999999999999999999999", None),
            ("", None),
            ("+5", None),
            ("-5", None),
            ("5 5", None),
            ("5,5", None),
            ("0x5", None),
            ("5.0", None),
            ("٥", None),
        ] {
            assert_eq!(length(value.as_bytes()), expected, "{value:?}");
        }
    }
}

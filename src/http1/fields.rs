//! Field names and values: which bytes they may hold, which fields go no further than one connection.

use http::header::{self, HeaderMap, HeaderName};
use smallvec::SmallVec;

/// What the `Connection` fields of one message say, over all their lines (RFC 9110 §7.6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close` stands there.
    pub close: bool,
    /// `keep-alive` stands there.
    pub keep_alive: bool,
    /// `upgrade` stands there.
    pub upgrade: bool,
    names: SmallVec<[HeaderName; 2]>,
}

impl ConnectionOptions {
    /// Reads every `Connection` field of `headers`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut options = Self::default();
        for value in headers.get_all(header::CONNECTION) {
            options.add(value.as_bytes());
        }
        options
    }

    /// Reads one more `Connection` line. Elements that are no tokens name nothing and are passed over.
    pub fn add(&mut self, value: &[u8]) {
        for option in elements(value) {
            if !self.add_flag(option)
                && let Ok(name) = HeaderName::from_bytes(option)
                && !is_protected(&name)
            {
                self.names.push(name);
            }
        }
    }

    /// Whether `name` was named and is to be removed. Never so for fields that a sender must not be able to remove
    /// on the way: framing, routing, credentials, content.
    #[must_use]
    pub fn names(&self, name: &HeaderName) -> bool {
        self.names.contains(name)
    }

    /// Whether any field was named at all.
    #[must_use]
    pub fn names_any(&self) -> bool {
        !self.names.is_empty()
    }

    /// Reads the flags of one more line and leaves the names alone; never allocates.
    pub(super) fn add_flags(&mut self, value: &[u8]) {
        for option in elements(value) {
            self.add_flag(option);
        }
    }

    fn add_flag(&mut self, option: &[u8]) -> bool {
        if option.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else {
            return false;
        }
        true
    }
}

/// Whether a field is for one connection only, whatever `Connection` says (RFC 9110 §7.6.1). `Transfer-Encoding` is
/// among them: framing is written anew.
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    match name.as_str().len() {
        2 => name == header::TE,
        7 => name == header::TRAILER || name == header::UPGRADE,
        10 => name == header::CONNECTION || name == "keep-alive",
        16 => name == "proxy-connection",
        17 => name == header::TRANSFER_ENCODING,
        18 => name == header::PROXY_AUTHENTICATE,
        19 => name == header::PROXY_AUTHORIZATION,
        25 => name == "proxy-authentication-info",
        _ => false,
    }
}

/// Whether a field may not come in a trailer section, because it frames, routes, authenticates or says how the content
/// is to be read, and a recipient has done all that by then (RFC 9110 §6.5.1).
#[must_use]
pub fn is_forbidden_in_trailers(name: &HeaderName) -> bool {
    let name = name.as_str();
    HOP_BY_HOP.contains(&name) || PROTECTED.contains(&name) || NOT_IN_TRAILERS.contains(&name) || is_trust_name(name)
}

/// Whether a name with `_` stands for a trusted or framing field to servers that turn `-` into `_` (CGI, WSGI, PHP):
/// `X_Forwarded_For`, `Content_Length`, `Host` has none. Such a field is dropped from requests.
#[must_use]
pub fn underscore_twin(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    if memchr::memchr(b'_', name).is_none() || name.len() > LONGEST_TWIN {
        return false;
    }
    let mut twin = [0; LONGEST_TWIN];
    for (to, from) in twin.iter_mut().zip(name) {
        *to = if *from == b'_' { b'-' } else { *from };
    }
    std::str::from_utf8(&twin[..name.len()]).is_ok_and(|twin| {
        PROTECTED.contains(&twin) || HOP_BY_HOP.contains(&twin) || twin == "expect" || is_trust_name(twin)
    })
}

/// Whether `bytes` is a token: not empty, only `tchar` (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `bytes` may stand as a field value: no controls but tab, no DEL (RFC 9110 §5.5).
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is_value_byte(byte))
}

/// The elements of a comma-separated value, without the white space around them and without the empty ones.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// `bytes` without the spaces and tabs around it.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |at| at + 1);
    &bytes[start..end]
}

/// `tchar` of RFC 9110 §5.6.2.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// A byte of a field value or of a reason phrase.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Whether `name` cannot be removed by naming it in `Connection`.
fn is_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    PROTECTED.contains(&name) || is_trust_name(name) || name.starts_with("sec-")
}

/// Fields by which a proxy tells a server whom it serves.
fn is_trust_name(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "x-request-id" | "via")
}

/// No name in the lists below is longer; `x-forwarded-…` has some room.
const LONGEST_TWIN: usize = 32;

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const PROTECTED: &[&str] = &[
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expires",
    "host",
    "location",
    "origin",
    "range",
    "set-cookie",
    "transfer-encoding",
    "vary",
    "www-authenticate",
];

const NOT_IN_TRAILERS: &[&str] = &[
    "age",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "retry-after",
];

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-'
            | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

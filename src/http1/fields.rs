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
            match Flag::of(option) {
                Some(Flag::Close) => self.close = true,
                Some(Flag::KeepAlive) => self.keep_alive = true,
                Some(Flag::Upgrade) => self.upgrade = true,
                None => self.add_name(option),
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

    fn add_name(&mut self, option: &[u8]) {
        if let Ok(name) = HeaderName::from_bytes(option)
            && !is_protected(&name)
        {
            self.names.push(name);
        }
    }
}

/// A connection option that is not the name of a field to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Close,
    KeepAlive,
    Upgrade,
}

impl Flag {
    pub(super) fn of(option: &[u8]) -> Option<Self> {
        match option.len() {
            5 if is(option, b"close") => Some(Self::Close),
            7 if is(option, b"upgrade") => Some(Self::Upgrade),
            10 if is(option, b"keep-alive") => Some(Self::KeepAlive),
            _ => None,
        }
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
        14 => name == "http2-settings", // says something only beside `Upgrade: h2c`
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

/// The field names that most responses have, told by length and first letter: `http` first makes them lower-case and then
/// looks into a table of all names.
pub(super) fn common_name(bytes: &[u8]) -> Option<HeaderName> {
    let first = *bytes.first()?;
    Some(match (bytes.len(), first | 0x20) {
        (3, b'a') if is(bytes, b"age") => header::AGE,
        (4, b'd') if is(bytes, b"date") => header::DATE,
        (4, b'e') if is(bytes, b"etag") => header::ETAG,
        (4, b'v') if is(bytes, b"vary") => header::VARY,
        (6, b's') if is(bytes, b"server") => header::SERVER,
        (7, b'e') if is(bytes, b"expires") => header::EXPIRES,
        (8, b'l') if is(bytes, b"location") => header::LOCATION,
        (10, b's') if is(bytes, b"set-cookie") => header::SET_COOKIE,
        (12, b'c') if is(bytes, b"content-type") => header::CONTENT_TYPE,
        (13, b'a') if is(bytes, b"accept-ranges") => header::ACCEPT_RANGES,
        (13, b'c') if is(bytes, b"cache-control") => header::CACHE_CONTROL,
        (13, b'l') if is(bytes, b"last-modified") => header::LAST_MODIFIED,
        (16, b'c') if is(bytes, b"content-encoding") => header::CONTENT_ENCODING,
        _ => return None,
    })
}

/// Whether `bytes` is a token: not empty, only `tchar` (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    // not `all`: most are tokens, and a loop that never leaves early takes half the time
    !bytes.is_empty() && bytes.iter().fold(true, |is_token, &byte| is_token & is_token_byte(byte))
}

/// Whether `bytes` may stand as a field value: no controls but tab, no DEL (RFC 9110 §5.5).
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is_value_byte(byte))
}

/// The elements of a comma-separated value, without the white space around them and without the empty ones.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let (element, after) = match memchr::memchr(b',', value) {
            Some(comma) => (&value[..comma], Some(&value[comma + 1..])),
            None => (value, None),
        };
        rest = after;
        Some(trim(element))
    })
    .filter(|element| !element.is_empty())
}

/// `bytes` without the spaces and tabs around it.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether `text` is `known` without regard to case. `known` holds lower-case letters and `-`; the one bit that tells the
/// cases of a letter apart tells only `-` from a control character.
pub(super) fn is<const N: usize>(text: &[u8], known: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(text).is_ok_and(|text| {
        let differing = |different, (a, b): (&u8, &u8)| different | ((a | 0x20) ^ b) | u8::from(*a < b' ');
        text.iter().zip(known).fold(0, differing) == 0
    })
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
    "http2-settings",
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn name(text: &str) -> HeaderName {
        text.parse().expect("a field name")
    }

    #[test]
    fn connection_options_are_read_over_several_lines() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("X-A , Close,,\tUPGRADE"));
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive, x-b, b@d, TE"));
        let options = ConnectionOptions::of(&headers);
        assert!(options.close && options.keep_alive && options.upgrade && options.names_any());
        for (named, is_named) in [("x-a", true), ("x-b", true), ("te", true), ("x-c", false), ("close", false)] {
            assert_eq!(options.names(&name(named)), is_named, "{named}");
        }
    }

    #[test]
    fn protected_fields_cannot_be_named_away() {
        let mut options = ConnectionOptions::default();
        options.add(b"Host, content-length, Transfer-Encoding, authorization, Cookie, set-cookie, content-type");
        options.add(b"x-forwarded-for, X-Forwarded-Proto, forwarded, x-real-ip, x-request-id, via, Sec-WebSocket-Key");
        assert_eq!(options, ConnectionOptions::default());
    }

    #[test]
    fn hop_by_hop_fields_are_known() {
        for hop in HOP_BY_HOP {
            assert!(is_hop_by_hop(&name(hop)), "{hop}");
        }
        for end in ["host", "content-length", "accept", "te-x", "expect", "x-keep-alive"] {
            assert!(!is_hop_by_hop(&name(end)), "{end}");
        }
    }

    #[test]
    fn underscores_do_not_disguise_a_field() {
        for twin in [
            "x_forwarded_for",
            "X_Forwarded-Proto",
            "content_length",
            "transfer_encoding",
            "x_real_ip",
            "x-request_id",
            "proxy_authorization",
            "content_type",
            "keep_alive",
        ] {
            assert!(underscore_twin(&name(twin)), "{twin}");
        }
        for other in ["x-forwarded-for", "content-length", "x_custom", "_", "my_host", "x_forwarded"] {
            assert!(!underscore_twin(&name(other)), "{other}");
        }
        assert!(!underscore_twin(&name(&"a_".repeat(100))));
    }

    #[test]
    fn names_told_by_their_first_letter_are_those_of_http() {
        for text in ["Age", "Date", "ETag", "Vary", "Server", "Expires", "Location", "Set-Cookie", "Content-Type"] {
            assert_eq!(common_name(text.as_bytes()), Some(name(text)));
        }
        for text in ["Accept-Ranges", "CACHE-CONTROL", "last-modified", "Content-Encoding"] {
            assert_eq!(common_name(text.as_bytes()), Some(name(text)));
        }
        for text in ["", "a", "dawn", "da:e", "set\rcookie", "X-Cache"] {
            assert_eq!(common_name(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn trailers_may_not_frame_route_or_authenticate() {
        for forbidden in ["content-length", "host", "te", "trailer", "authorization", "x-forwarded-for", "if-match"] {
            assert!(is_forbidden_in_trailers(&name(forbidden)), "{forbidden}");
        }
        for allowed in ["grpc-status", "grpc-message", "x-sum", "server-timing", "etag", "digest"] {
            assert!(!is_forbidden_in_trailers(&name(allowed)), "{allowed}");
        }
    }

    #[test]
    fn tokens_and_values_hold_what_the_grammar_says() {
        assert!(is_token(b"!#$%&'*+-.^_`|~09azAZ"));
        for not in [&b""[..], b"a b", b"a:", b"a\0", b"(", b"\x80", b"a/b", b"\"a\""] {
            assert!(!is_token(not), "{not:?}");
        }
        assert!(is_field_value(b"") && is_field_value(b"a\tb \x80\xff~"));
        for not in [&b"\r"[..], b"\n", b"\0", b"\x7f", b"\x1b"] {
            assert!(!is_field_value(not), "{not:?}");
        }
    }

    #[test]
    fn elements_are_trimmed_and_never_empty() {
        let all = |value: &'static [u8]| elements(value).collect::<Vec<_>>();
        assert_eq!(all(b" a,\tb c ,, ,d"), [&b"a"[..], b"b c", b"d"]);
        assert!(all(b"").is_empty() && all(b" ,\t").is_empty());
    }

    #[test]
    fn known_names_are_found_in_any_case_and_nothing_else_is() {
        assert!(is(b"Keep-ALIVE", b"keep-alive"));
        assert!(!is(b"keep_alive", b"keep-alive") && !is(b"keep-alivf", b"keep-alive") && !is(b"keep", b"kee"));
        for byte in b' '..=u8::MAX {
            assert_eq!(is(&[byte], b"h"), byte.eq_ignore_ascii_case(&b'h'), "{byte}");
            assert_eq!(is(&[byte], b"-"), byte == b'-', "{byte}");
        }
    }
}

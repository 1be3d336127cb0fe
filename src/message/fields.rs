//! Field names and values: which bytes they may hold, which fields go no further than one connection.

use std::collections::HashSet;

use http::HeaderMap;
use http::header::HeaderName;
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
    names: Names,
}

/// Names of fields, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    /// Few enough that a walk over them is the shortest way.
    Few(SmallVec<[HeaderName; 2]>),
    /// A sender may put thousands of them into one head, which must not cost the square of that.
    Many(HashSet<HeaderName>),
}

/// Most names that are walked over.
const FEW: usize = 8;

impl ConnectionOptions {
    /// Reads the values of every `Connection` field.
    #[must_use]
    pub fn of<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut options = Self::default();
        values.for_each(|value| options.add(value));
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

    /// Whether `name`, in any case, was named and is to be removed. Never so for fields that a sender must not be able
    /// to remove on the way: framing, routing, credentials, content.
    #[must_use]
    pub fn names(&self, name: &[u8]) -> bool {
        self.names.has(name)
    }

    /// Whether any field was named at all.
    #[must_use]
    pub fn names_any(&self) -> bool {
        !matches!(&self.names, Names::Few(names) if names.is_empty())
    }

    fn add_name(&mut self, option: &[u8]) {
        if let Ok(name) = HeaderName::from_bytes(option)
            && !is_protected(&name)
        {
            self.names.add(name);
        }
    }
}

impl Names {
    fn add(&mut self, name: HeaderName) {
        match self {
            Self::Few(names) if names.contains(&name) => {}
            Self::Few(names) if names.len() < FEW => names.push(name),
            Self::Few(names) => *self = Self::Many(names.drain(..).chain([name]).collect()),
            Self::Many(names) => drop(names.insert(name)),
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::Few(names) => names.iter().any(|named| named.as_str().as_bytes().eq_ignore_ascii_case(name)),
            Self::Many(names) => HeaderName::from_bytes(name).is_ok_and(|name| names.contains(&name)),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

/// A connection option that is not the name of a field to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Close,
    KeepAlive,
    Upgrade,
}

impl Flag {
    pub(crate) fn of(option: &[u8]) -> Option<Self> {
        match option.len() {
            5 if is(option, b"close") => Some(Self::Close),
            7 if is(option, b"upgrade") => Some(Self::Upgrade),
            10 if is(option, b"keep-alive") => Some(Self::KeepAlive),
            _ => None,
        }
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
pub fn underscore_twin(name: &[u8]) -> bool {
    if memchr::memchr(b'_', name).is_none() || name.len() > LONGEST_TWIN {
        return false;
    }
    let mut twin = [0; LONGEST_TWIN];
    for (to, from) in twin.iter_mut().zip(name) {
        *to = if *from == b'_' { b'-' } else { from.to_ascii_lowercase() };
    }
    std::str::from_utf8(&twin[..name.len()]).is_ok_and(|twin| {
        PROTECTED.contains(&twin) || HOP_BY_HOP.contains(&twin) || twin == "expect" || is_trust_name(twin)
    })
}

/// Whether `bytes` is a token: not empty, only `tchar` (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    // not `all`: most are tokens, and a loop that never leaves early takes half the time
    !bytes.is_empty() && bytes.iter().fold(true, |is_token, &byte| is_token & is_token_byte(byte))
}

/// How many of the first bytes may stand in a token.
pub(crate) fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len())
}

/// The same, and whether one of them is `_`.
#[inline]
pub(crate) fn name_len(bytes: &[u8]) -> (usize, bool) {
    let (mut len, mut seen) = (0, 0);
    // most names are letters and `-` alone: eight of them at a time
    while let Some(word) = bytes[len..].first_chunk() {
        let letters = first_other_than_letter(*word);
        len += letters.unwrap_or(word.len());
        if letters.is_some() {
            break;
        }
    }
    while let Some(&byte) = bytes.get(len)
        && CLASS[byte as usize] != 0
    {
        seen |= CLASS[byte as usize];
        len += 1;
    }
    (len, seen & UNDERSCORE != 0)
}

/// How many of the first bytes may stand in a field value.
pub(crate) fn value_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    let found = words.iter().enumerate().find_map(|(at, word)| Some(8 * at + first_control(*word)?));
    match found {
        Some(at) if bytes[at] != b'\t' => at,
        Some(tab) => tab + value_len_by_bytes(&bytes[tab..]),
        None => bytes.len() - rest.len() + value_len_by_bytes(rest),
    }
}

fn value_len_by_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_value_byte(**byte)).count()
}

/// Where the first byte stands in eight that is neither a letter nor `-`.
fn first_other_than_letter(word: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    // without the highest bit of each byte no sum below carries into the next
    let low = word & (ONES * 0x7f);
    let lower = low | (ONES * 0x20);
    let from_a = lower + ONES * u64::from(0x80 - b'a');
    let beyond_z = lower + ONES * u64::from(0x80 - b'z' - 1);
    let not_dash = (low ^ (ONES * u64::from(b'-'))) + ONES * 0x7f;
    let others = ((!from_a | beyond_z) & not_dash | word) & (ONES * 0x80);
    (others != 0).then(|| others.trailing_zeros() as usize / 8)
}

/// Where the first control character stands in eight bytes; tab is one.
fn first_control(word: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    let del = word ^ (ONES * 0x7f);
    // the highest bit of a byte is set if the byte is below the subtrahend, or if the one before it has borrowed from
    // it: so the first one that is set tells the truth
    let below = (word.wrapping_sub(ONES * 0x20) & !word) | (del.wrapping_sub(ONES) & !del);
    let controls = below & (ONES * 0x80);
    (controls != 0).then(|| controls.trailing_zeros() as usize / 8)
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
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
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
pub(crate) fn is<const N: usize>(text: &[u8], known: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(text).is_ok_and(|text| {
        let differing = |different, (a, b): (&u8, &u8)| different | ((a | 0x20) ^ b) | u8::from(*a < b' ');
        text.iter().zip(known).fold(0, differing) == 0
    })
}

/// `tchar` of RFC 9110 §5.6.2.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] != 0
}

/// Whether a byte may stand in a target: every visible one of ASCII but `#`, since a fragment is never sent. RFC 3986
/// allows fewer, and browsers, curl and scripts send the others as they are typed: `"`, `<`, `>`, `[`, `\`, `]`, `^`,
/// a backquote, `{`, `|`, `}`. None of them can split a line, and they go on as they came.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// A byte of a field value or of a reason phrase.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Whether `name` cannot be removed by naming it in `Connection`.
fn is_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    PROTECTED.contains(&name) || is_trust_name(name) || name.starts_with("sec-")
}

/// Fields by which a proxy names its client to a server.
fn is_trust_name(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || name.starts_with("x-ssl-client-")
        || matches!(name, "client-cert" | "client-cert-chain" | "forwarded" | "x-real-ip" | "x-request-id" | "via")
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

/// A one in each byte.
const ONES: u64 = u64::MAX / 255;

const TCHAR: u8 = 1;
const UNDERSCORE: u8 = 2;

/// What a byte is in a token: nothing, or one of the above.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'_' => UNDERSCORE,
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'!'
            | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'`'
            | b'|'
            | b'~' => TCHAR,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// How a call of gRPC ended, as the trailers of its response tell, or its head when it has nothing else.
#[must_use]
pub fn grpc_status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::framing::Known;
    use super::*;

    fn name(text: &str) -> HeaderName {
        text.parse().expect("a field name")
    }

    #[test]
    fn thousands_of_connection_options_are_kept_in_a_set_and_the_same_one_again_takes_no_room() {
        let many: Vec<String> = (0..5000).map(|number| format!("X-{number}")).collect();
        let mut options = ConnectionOptions::of([many.join(", ").as_bytes(), b"x-7, CLOSE, host"].into_iter());
        assert!(matches!(&options.names, Names::Many(names) if names.len() == 5000));
        assert!(options.close && options.names_any());
        for (name, is_named) in [("x-0", true), ("X-4999", true), ("x-5000", false), ("host", false), ("", false)] {
            assert_eq!(options.names(name.as_bytes()), is_named, "{name}");
        }
        options = ConnectionOptions::of(std::iter::repeat_n(&b"x-a,X-A,x-b"[..], 5000));
        assert!(matches!(&options.names, Names::Few(names) if names.len() == 2));
    }

    #[test]
    fn connection_options_are_read_over_several_lines() {
        let lines = [&b"X-A , Close,,\tUPGRADE"[..], b"keep-alive, x-b, b@d, TE"];
        let options = ConnectionOptions::of(lines.into_iter());
        assert!(options.close && options.keep_alive && options.upgrade && options.names_any());
        for (named, is_named) in [("x-a", true), ("X-B", true), ("te", true), ("x-c", false), ("close", false)] {
            assert_eq!(options.names(named.as_bytes()), is_named, "{named}");
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
            assert!(Known::of(hop.to_uppercase().as_bytes()).is_hop_by_hop(), "{hop}");
        }
        for end in ["host", "content-length", "accept", "te-x", "expect", "x-keep-alive"] {
            assert!(!Known::of(end.as_bytes()).is_hop_by_hop(), "{end}");
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
            "X_SSL_Client_Verify",
            "client_cert",
        ] {
            assert!(underscore_twin(twin.as_bytes()), "{twin}");
        }
        for other in ["x-forwarded-for", "content-length", "x_custom", "_", "my_host", "x_forwarded"] {
            assert!(!underscore_twin(other.as_bytes()), "{other}");
        }
        assert!(!underscore_twin("a_".repeat(100).as_bytes()));
    }

    #[test]
    fn trailers_may_not_frame_route_or_authenticate() {
        for forbidden in [
            "content-length",
            "host",
            "te",
            "trailer",
            "authorization",
            "x-forwarded-for",
            "x-ssl-client-verify",
            "client-cert",
            "if-match",
        ] {
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
    fn values_end_at_the_first_byte_that_no_value_holds() {
        for (len, at) in (0..20).flat_map(|len| (0..len).map(move |at| (len, at))) {
            for byte in 0..=u8::MAX {
                let mut text = vec![b'~'; len];
                text[at] = byte;
                let is_value = http::HeaderValue::from_bytes(&text).is_ok();
                assert_eq!(value_len(&text), if is_value { len } else { at }, "{byte} at {at} of {len}");
                text[at] = b'\t';
                assert_eq!(value_len(&text), len);
            }
        }
    }

    #[test]
    fn names_end_at_the_first_byte_that_no_token_holds() {
        for (len, at) in (0..20).flat_map(|len| (0..len).map(move |at| (len, at))) {
            for byte in 0..=u8::MAX {
                let mut text = vec![b'Z'; len];
                text[at] = byte;
                let expected = if is_token(&[byte]) { len } else { at };
                assert_eq!(name_len(&text), (expected, byte == b'_'), "{byte} at {at} of {len}");
                assert_eq!(token_len(&text), expected);
            }
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

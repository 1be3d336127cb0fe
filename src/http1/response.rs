//! The head of a response as a server sent it, taken off the buffer and ready to be passed on.
//!
//! Fields that are for one connection only are gone from it; what they said about this connection stands beside it.
//! A server that breaks a rule of framing is not guessed at: the fault is a 502 for the client.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{StatusCode, Version};
use memchr::memmem::Finder;

use super::fields::{self, ConnectionOptions};
use super::framing::{self, Known};
use super::head::{Bounds, Break, LineFault, Walk};
use super::lines::{Line, Lines};

/// What was asked, as far as it decides what the response may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The request was `HEAD`.
    pub head: bool,
    /// The request asked to upgrade.
    pub upgrade: bool,
}

/// The head of one response. It is made on the heap: it goes through many hands.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status, from 100 to 999.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields to pass on. Values are slices of the one buffer that the head came in. No hop-by-hop field is among
    /// them, except `Upgrade` when `upgraded` is true; at most one `Content-Length`, in its shortest form.
    pub headers: HeaderMap,
    /// What `Trailer` announced.
    pub trailers: Option<HeaderValue>,
    /// Where the body ends.
    pub body: ResponseBody,
    /// The server would use the connection again, once the body is read whole.
    pub keep_alive: bool,
    /// How long the server keeps an idle connection, when it says so (`Keep-Alive: timeout=`).
    pub keep_alive_timeout: Option<Duration>,
    /// 1xx other than 101: another head follows.
    pub informational: bool,
    /// 101, which was asked for: a tunnel follows, and `Connection: upgrade` goes with `Upgrade`.
    pub upgraded: bool,
}

/// Where the body of a response ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// There is none.
    None,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk and its trailers.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A rule that a response broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFault {
    /// The first line is not version, status and reason.
    StatusLine,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A line of the head is wrong.
    Line(LineFault),
    /// More than 256 fields.
    TooManyFields,
    /// The head is larger than allowed.
    HeadTooLarge,
    /// `Content-Length` is no number below 2^63.
    ContentLength,
    /// Several values of `Content-Length` that differ.
    DifferentLengths,
    /// `Content-Length` and `Transfer-Encoding` both.
    LengthAndEncoding,
    /// `Transfer-Encoding` is not exactly `chunked`.
    TransferEncoding,
    /// `Transfer-Encoding` in HTTP/1.0.
    EncodingInHttp10,
    /// 101 that nobody asked for.
    UnaskedUpgrade,
    /// 101 without `Upgrade`, or in HTTP/1.0.
    UpgradeToNothing,
}

/// Looks at the head of one response as it grows: each byte of a head that comes in pieces is walked over once.
#[derive(Debug)]
pub struct ResponseSearch(Walk);

impl ResponseSearch {
    /// A search for the next head, of which nothing was looked at yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Walk::response())
    }

    /// Takes the head off `buffer` once it is whole, and starts anew; what follows it stays. `buffer` holds what it
    /// held last time, and more. No head may be longer than `max_head` bytes.
    ///
    /// # Errors
    /// The rule that was broken; the connection is of no use after it.
    pub fn look(
        &mut self,
        buffer: &mut BytesMut,
        asked: Asked,
        max_head: usize,
    ) -> Result<Option<Box<ResponseHead>>, ResponseFault> {
        let end = if self.0.is_fresh() { END_OF_HEAD.find(buffer) } else { None };
        if let Some(end) = end.filter(|end| end + 4 <= max_head) {
            return parse_whole(buffer.split_to(end + 4).freeze(), asked).map(Some);
        }
        let Some(len) = self.0.advance(buffer, &bounds(max_head))? else {
            return Ok(None);
        };
        self.0 = Walk::response();
        parse_whole(buffer.split_to(len).freeze(), asked).map(Some)
    }
}

impl Default for ResponseSearch {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks at a response head once: [`ResponseSearch::look`] for heads that will not be looked at again.
///
/// # Errors
/// The rule that was broken.
pub fn parse(buffer: &mut BytesMut, asked: Asked, max_head: usize) -> Result<Option<Box<ResponseHead>>, ResponseFault> {
    ResponseSearch::new().look(buffer, asked, max_head)
}

impl ResponseFault {
    /// The rule that was broken, as one sentence. It holds nothing of what the server sent.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::StatusLine => "What the server sent does not start with an HTTP/1 status line.",
            Self::Version => "The server speaks a version other than HTTP/1.0 and HTTP/1.1.",
            Self::Line(fault) => fault.rule(),
            Self::TooManyFields => "The response head has more than 256 fields.",
            Self::HeadTooLarge => "The response head is too large.",
            Self::ContentLength => "Content-Length is not a decimal number below 2^63.",
            Self::DifferentLengths => "The response has several Content-Length values that differ.",
            Self::LengthAndEncoding => "The response has both Content-Length and Transfer-Encoding.",
            Self::TransferEncoding => "Transfer-Encoding is not exactly chunked.",
            Self::EncodingInHttp10 => "HTTP/1.0 has no Transfer-Encoding.",
            Self::UnaskedUpgrade => "The server switches protocols, and nobody asked it to.",
            Self::UpgradeToNothing => "The server switches protocols without saying to which.",
        }
    }
}

impl fmt::Display for ResponseFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.rule())
    }
}

impl std::error::Error for ResponseFault {}

impl From<Break> for ResponseFault {
    fn from(broken: Break) -> Self {
        match broken {
            Break::Version => Self::Version,
            Break::Line(fault) => Self::Line(fault),
            Break::TooManyFields => Self::TooManyFields,
            Break::TooLarge => Self::HeadTooLarge,
            // the others are of request lines, which no walk over a response meets
            _ => Self::StatusLine,
        }
    }
}

/// Most fields of a response.
const MAX_FIELDS: usize = 256;

/// Where a head that came whole ends, if nothing is wrong with it.
static END_OF_HEAD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

fn bounds(max_head: usize) -> Bounds {
    Bounds { head: max_head, target: 0, fields: MAX_FIELDS }
}

/// Parses what ends like a head, and has the walk say what is wrong with it if it is none.
fn parse_whole(head: Bytes, asked: Asked) -> Result<Box<ResponseHead>, ResponseFault> {
    let mut said = Said::default();
    match said.read(&head) {
        Some(judged) => judged.and_then(|()| said.conclude(asked)),
        // both ways agree on what a head is; should they ever not, nobody is to guess
        None => Err(Walk::response()
            .advance(&head, &bounds(head.len()))
            .map_or_else(ResponseFault::from, |_| ResponseFault::StatusLine)),
    }
}

/// What a whole head says.
#[derive(Default)]
struct Said {
    status: StatusCode,
    version: Version,
    /// Those that neither frame the body nor are for one connection only.
    headers: HeaderMap,
    length: Option<u64>,
    /// The server's own text of the length, unless it is longer than it needs to be.
    length_text: Option<HeaderValue>,
    chunked: bool,
    options: ConnectionOptions,
    keep_alive_timeout: Option<Duration>,
    trailers: Vec<HeaderValue>,
    upgrade: Vec<HeaderValue>,
}

/// Fields that there is room for from the start: most responses have fewer.
const FIELDS: usize = 12;

impl Said {
    /// `None` unless `head` is one from its first byte to its last.
    fn read(&mut self, head: &Bytes) -> Option<Result<(), ResponseFault>> {
        let mut lines = Lines::new(head);
        (self.version, self.status) = lines.status_line()?;
        self.headers = HeaderMap::with_capacity(FIELDS);
        // what is wrong with a line goes before what a field says wrong
        let mut judged = Ok(());
        let mut fields = 0;
        while let Some(field) = lines.field()? {
            fields += 1;
            let taken = self.take(field)?;
            judged = judged.and(taken);
        }
        (lines.len() == head.len() && fields <= MAX_FIELDS).then_some(judged)
    }

    /// `None` when the name is none.
    #[inline]
    fn take(&mut self, Line { name, value }: Line<'_>) -> Option<Result<(), ResponseFault>> {
        if let Some(name) = fields::common_name(name) {
            self.headers.append(name, value);
            return Some(Ok(()));
        }
        match Known::of(name) {
            Known::Other | Known::Host | Known::Expect => {
                self.headers.append(HeaderName::from_bytes(name).ok()?, value);
            }
            Known::ContentLength => return Some(self.take_length(value)),
            Known::TransferEncoding if self.chunked || !framing::is_chunked(value.as_bytes()) => {
                return Some(Err(ResponseFault::TransferEncoding));
            }
            Known::TransferEncoding => self.chunked = true,
            Known::Connection => self.options.add(value.as_bytes()),
            Known::KeepAlive => self.keep_alive_timeout = timeout(value.as_bytes()).or(self.keep_alive_timeout),
            Known::Trailer => self.trailers.push(value),
            Known::Upgrade => self.upgrade.push(value),
            Known::Te | Known::Proxy => {}
        }
        Some(Ok(()))
    }

    /// Folds equal lengths into one, over several fields and inside a list (RFC 9112 §6.3).
    fn take_length(&mut self, value: HeaderValue) -> Result<(), ResponseFault> {
        for element in value.as_bytes().split(|&byte| byte == b',') {
            let length = framing::length(fields::trim(element)).ok_or(ResponseFault::ContentLength)?;
            if *self.length.get_or_insert(length) != length {
                return Err(ResponseFault::DifferentLengths);
            }
        }
        let is_shortest = !matches!(value.as_bytes(), [b'0', _, ..]) && !value.as_bytes().contains(&b',');
        self.length_text = Some(value).filter(|_| is_shortest);
        Ok(())
    }

    fn conclude(&mut self, asked: Asked) -> Result<Box<ResponseHead>, ResponseFault> {
        let upgraded = self.status == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded {
            self.check_upgrade(asked)?;
        }
        let body = self.body(asked)?;
        Ok(Box::new(ResponseHead {
            status: self.status,
            version: self.version,
            trailers: self.announced()?,
            body,
            keep_alive: self.keep_alive(body),
            keep_alive_timeout: self.keep_alive_timeout,
            informational: self.status.is_informational() && !upgraded,
            upgraded,
            headers: self.headers(upgraded),
        }))
    }

    fn check_upgrade(&self, asked: Asked) -> Result<(), ResponseFault> {
        if !asked.upgrade {
            return Err(ResponseFault::UnaskedUpgrade);
        }
        if self.version == Version::HTTP_10 || self.upgrade.iter().all(HeaderValue::is_empty) {
            return Err(ResponseFault::UpgradeToNothing);
        }
        Ok(())
    }

    /// 1xx and 204, which have no body and may not speak of one.
    fn is_bare(&self) -> bool {
        self.status.is_informational() || self.status == StatusCode::NO_CONTENT
    }

    fn body(&self, asked: Asked) -> Result<ResponseBody, ResponseFault> {
        if self.chunked && self.version == Version::HTTP_10 {
            return Err(ResponseFault::EncodingInHttp10);
        }
        if self.chunked && self.length.is_some() {
            return Err(ResponseFault::LengthAndEncoding);
        }
        if self.is_bare() || self.status == StatusCode::NOT_MODIFIED || asked.head {
            return Ok(ResponseBody::None);
        }
        Ok(match self.length {
            _ if self.chunked => ResponseBody::Chunked,
            Some(length) => ResponseBody::Length(length),
            None => ResponseBody::UntilClose,
        })
    }

    fn keep_alive(&self, body: ResponseBody) -> bool {
        let wants = !self.options.close && (self.version == Version::HTTP_11 || self.options.keep_alive);
        // a 204 that announces a body may well send it, and it would be taken for the next response
        let may_send_more = self.is_bare() && (self.chunked || self.length.is_some_and(|length| length > 0));
        wants && body != ResponseBody::UntilClose && !may_send_more
    }

    fn headers(&mut self, upgraded: bool) -> HeaderMap {
        let mut headers = std::mem::take(&mut self.headers);
        if self.options.names_any() {
            // not by removing them, which changes the order of the others
            let stays = |(name, _): &(&HeaderName, &HeaderValue)| !self.options.names(name);
            let fields = headers.iter().filter(stays);
            headers = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
        }
        if let Some(length) = self.length
            && !self.is_bare()
        {
            headers.insert(CONTENT_LENGTH, self.length_text.take().unwrap_or_else(|| length.into()));
        }
        if upgraded {
            for value in self.upgrade.drain(..) {
                headers.append(UPGRADE, value);
            }
        }
        headers
    }

    fn announced(&mut self) -> Result<Option<HeaderValue>, ResponseFault> {
        if self.trailers.len() < 2 {
            return Ok(self.trailers.pop());
        }
        let names: Vec<&[u8]> = self.trailers.iter().map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_maybe_shared(Bytes::from(names.join(&b", "[..])));
        joined.map(Some).map_err(|_| ResponseFault::Line(LineFault::FieldValue))
    }
}

/// The `timeout` of a `Keep-Alive` field, in whole seconds.
fn timeout(value: &[u8]) -> Option<Duration> {
    fields::elements(value).find_map(|parameter| {
        let (name, seconds) = parameter.split_at_checked(b"timeout=".len())?;
        if !name.eq_ignore_ascii_case(b"timeout=") {
            return None;
        }
        let seconds = framing::length(seconds)?;
        Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_HEAD: usize = 1024;
    const PLAIN: Asked = Asked { head: false, upgrade: false };
    const HEAD: Asked = Asked { head: true, ..PLAIN };
    const UPGRADE: Asked = Asked { upgrade: true, ..PLAIN };

    fn asked(asked: Asked, text: &str) -> Result<Box<ResponseHead>, ResponseFault> {
        let mut buffer = BytesMut::from(text);
        parse(&mut buffer, asked, MAX_HEAD).map(|head| head.unwrap_or_else(|| panic!("incomplete: {text:?}")))
    }

    fn with(fields: &str) -> Box<ResponseHead> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        asked(PLAIN, &text).unwrap_or_else(|fault| panic!("{fault:?}: {text:?}"))
    }

    fn names(head: &ResponseHead) -> Vec<&str> {
        head.headers.keys().map(HeaderName::as_str).collect()
    }

    /// Every row: what is sent, and the one rule that it breaks.
    const FAULTS: &[(&str, ResponseFault)] = &[
        // status line
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", ResponseFault::StatusLine),
        ("SSH-2.0-OpenSSH_9.2\r\n", ResponseFault::StatusLine),
        ("<html>", ResponseFault::StatusLine),
        ("ICY 200 OK\r\n\r\n", ResponseFault::StatusLine),
        ("http/1.1 200 OK\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1\t200 OK\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.1 200 O\x01K\r\n\r\n", ResponseFault::StatusLine),
        ("HTTP/1.2 200 OK\r\n\r\n", ResponseFault::Version),
        ("HTTP/2.0 200 OK\r\n\r\n", ResponseFault::Version),
        ("HTTP/2 200 OK\r\n\r\n", ResponseFault::Version),
        // lines
        ("HTTP/1.1 200 OK\n\n", ResponseFault::Line(LineFault::BareLf)),
        ("HTTP/1.1 200\n\n", ResponseFault::Line(LineFault::BareLf)),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", ResponseFault::Line(LineFault::BareLf)),
        ("HTTP/1.1 200 OK\r\nA: b\r\n\n", ResponseFault::Line(LineFault::BareLf)),
        ("HTTP/1.1 200 OK\rA: b\r\n\r\n", ResponseFault::Line(LineFault::BareCr)),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", ResponseFault::Line(LineFault::BareCr)),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", ResponseFault::Line(LineFault::Fold)),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", ResponseFault::Line(LineFault::SpaceBeforeColon)),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", ResponseFault::Line(LineFault::FieldName)),
        ("HTTP/1.1 200 OK\r\nA\r\n\r\n", ResponseFault::Line(LineFault::FieldName)),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", ResponseFault::Line(LineFault::FieldValue)),
        ("HTTP/1.1 200 OK\r\nA: b\x1b[0m\r\n\r\n", ResponseFault::Line(LineFault::FieldValue)),
        // framing
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            ResponseFault::LengthAndEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", ResponseFault::DifferentLengths),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", ResponseFault::DifferentLengths),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", ResponseFault::ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n", ResponseFault::ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", ResponseFault::ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", ResponseFault::ContentLength),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n", ResponseFault::ContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", ResponseFault::TransferEncoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ResponseFault::TransferEncoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", ResponseFault::TransferEncoding),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            ResponseFault::TransferEncoding,
        ),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ResponseFault::EncodingInHttp10),
        // 101
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n",
            ResponseFault::UnaskedUpgrade,
        ),
    ];

    #[test]
    fn every_broken_rule_is_a_fault_by_its_name() {
        for (text, fault) in FAULTS {
            let judged = parse(&mut BytesMut::from(*text), PLAIN, MAX_HEAD);
            assert_eq!(judged.err(), Some(*fault), "{text:?}");
        }
    }

    #[test]
    fn a_head_in_single_bytes_has_the_same_fault() {
        for (text, fault) in FAULTS {
            let mut search = ResponseSearch::new();
            let mut buffer = BytesMut::new();
            let judged = text.bytes().find_map(|byte| {
                buffer.extend_from_slice(&[byte]);
                search.look(&mut buffer, PLAIN, MAX_HEAD).err()
            });
            assert_eq!(judged, Some(*fault), "{text:?}");
        }
    }

    #[test]
    fn the_head_leaves_the_buffer_and_what_follows_stays() {
        let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: s\r\n\r\nhello");
        let head = parse(&mut buffer, PLAIN, MAX_HEAD).expect("no fault").expect("whole");
        assert_eq!((head.status.as_u16(), head.version), (200, Version::HTTP_11));
        assert_eq!(head.body, ResponseBody::Length(5));
        assert_eq!(names(&head), ["server", "content-length"]);
        assert!(head.keep_alive && !head.informational && !head.upgraded);
        assert_eq!(&buffer[..], b"hello");
    }

    #[test]
    fn status_lines_without_a_reason_pass() {
        for line in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 999 \u{e4}", "HTTP/1.1 200 a\tb"] {
            assert!(asked(PLAIN, &format!("{line}\r\n\r\n")).is_ok(), "{line}");
        }
    }

    #[test]
    fn bodies_end_where_the_rules_say() {
        const LENGTH: &str = "Content-Length: 5\r\n";
        const CHUNKED: &str = "Transfer-Encoding: Chunked\r\n";
        for (asking, status, fields, body, keep_alive) in [
            (PLAIN, 200, LENGTH, ResponseBody::Length(5), true),
            (PLAIN, 200, CHUNKED, ResponseBody::Chunked, true),
            (PLAIN, 200, "", ResponseBody::UntilClose, false),
            (PLAIN, 404, "Content-Length: 0\r\n", ResponseBody::Length(0), true),
            (HEAD, 200, LENGTH, ResponseBody::None, true),
            (HEAD, 200, CHUNKED, ResponseBody::None, true),
            (HEAD, 200, "", ResponseBody::None, true),
            (PLAIN, 304, LENGTH, ResponseBody::None, true),
            (PLAIN, 304, CHUNKED, ResponseBody::None, true),
            (PLAIN, 204, "", ResponseBody::None, true),
            (PLAIN, 204, "Content-Length: 0\r\n", ResponseBody::None, true),
            (PLAIN, 204, LENGTH, ResponseBody::None, false),
            (PLAIN, 204, CHUNKED, ResponseBody::None, false),
            (PLAIN, 100, "", ResponseBody::None, true),
        ] {
            let head = asked(asking, &format!("HTTP/1.1 {status} X\r\n{fields}\r\n")).expect("no fault");
            assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{asking:?} {status} {fields:?}");
        }
    }

    #[test]
    fn one_normalised_length_goes_on() {
        for (fields, value) in [
            ("Content-Length: 5\r\n", "5"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "5"),
            ("Content-Length: 5, 5\r\n", "5"),
            ("Content-Length: 005\r\n", "5"),
            ("Content-Length: 5\r\nConnection: content-length\r\n", "5"),
        ] {
            let head = with(fields);
            assert_eq!(head.body, ResponseBody::Length(5), "{fields:?}");
            let values: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(values, [value], "{fields:?}");
        }
        let head = asked(HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").expect("no fault");
        assert_eq!(head.headers[CONTENT_LENGTH], "5");
        let head = asked(PLAIN, "HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n").expect("no fault");
        assert!(head.headers.is_empty());
    }

    #[test]
    fn hop_by_hop_fields_are_gone_and_protected_ones_stay() {
        let head = with(
            "Connection: X-Private, close\r\nconnection: x-other, set-cookie, Keep-Alive\r\nX-Private: 1\r\nX-Other: 2\r\n\
             X-Public: 3\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
             Proxy-Authenticate: x\r\nProxy-Authorization: x\r\nProxy-Authentication-Info: x\r\nTE: x\r\nUpgrade: h2\r\n\
             Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n",
        );
        assert_eq!(names(&head), ["x-public", "set-cookie"]);
        assert_eq!(head.headers.get_all("set-cookie").iter().count(), 2);
        assert!(!head.keep_alive);
        assert!(head.trailers.is_some_and(|names| names == "X-Sum"));
    }

    #[test]
    fn announced_trailers_of_several_lines_are_joined() {
        let head = with("Trailer: A\r\nContent-Length: 0\r\nTrailer: B, C\r\n");
        assert!(head.trailers.is_some_and(|names| names == "A, B, C"));
    }

    #[test]
    fn a_switch_that_was_asked_for_keeps_its_upgrade() {
        let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nA: b\r\n\r\n";
        let head = asked(UPGRADE, text).expect("no fault");
        assert!(head.upgraded && !head.informational);
        assert_eq!(head.headers["upgrade"], "websocket");
        assert_eq!(head.headers.len(), 2);
        for text in [
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade:\r\n\r\n",
            "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        ] {
            assert_eq!(asked(UPGRADE, text).err(), Some(ResponseFault::UpgradeToNothing), "{text:?}");
        }
        let declined = asked(UPGRADE, "HTTP/1.1 426 X\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n");
        assert!(declined.is_ok_and(|head| !head.upgraded && !head.headers.contains_key("upgrade")));
    }

    #[test]
    fn informational_heads_say_so() {
        for (status, informational) in [(100, true), (102, true), (103, true), (199, true), (200, false)] {
            let head = asked(PLAIN, &format!("HTTP/1.1 {status} X\r\nLink: a\r\n\r\n")).expect("no fault");
            assert_eq!(head.informational, informational, "{status}");
        }
    }

    #[test]
    fn the_connection_persists_by_version_and_option() {
        for (version, fields, keep_alive) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
        ] {
            let head = asked(PLAIN, &format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n"));
            assert_eq!(head.map(|head| head.keep_alive), Ok(keep_alive), "{version} {fields:?}");
        }
    }

    #[test]
    fn the_server_says_how_long_it_keeps_an_idle_connection() {
        for (value, timeout) in [
            ("timeout=5, max=100", Some(5)),
            ("max=100,Timeout=7", Some(7)),
            ("timeout=0", Some(0)),
            ("max=100", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout", None),
        ] {
            let head = with(&format!("Keep-Alive: {value}\r\n"));
            assert_eq!(head.keep_alive_timeout, timeout.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn limits_strike_exactly_above_their_value() {
        let head = |len: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(len - 24));
        assert_eq!(head(1024).len(), 1024);
        assert!(asked(PLAIN, &head(1024)).is_ok());
        assert_eq!(asked(PLAIN, &head(1025)).err(), Some(ResponseFault::HeadTooLarge));
        let fields = |count: usize| BytesMut::from(&*format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:\r\n".repeat(count)));
        assert!(matches!(parse(&mut fields(256), PLAIN, 1 << 16), Ok(Some(_))));
        let judged = parse(&mut fields(257), PLAIN, 1 << 16);
        assert_eq!(judged.err(), Some(ResponseFault::TooManyFields));
    }
}

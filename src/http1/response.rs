//! The head of a response as a server sent it, taken off the buffer and ready to be passed on.
//!
//! Fields that are for one connection only are gone from it; what they said about this connection stands beside it.
//! A server that breaks a rule of framing is not guessed at: the fault is a 502 for the client.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::HeaderValue;
use http::{StatusCode, Version};

use super::head::{self, Bounds, Break, LineFault, Walk};
use super::lines::Lines;
use crate::message::auth;
use crate::message::fields::{self, ConnectionOptions};
use crate::message::framing::{self, Known};
use crate::message::lines::{Copying, Line, write_field};

/// What was asked, as far as it decides what the response may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The request was `HEAD`.
    pub head: bool,
    /// The request asked to upgrade.
    pub upgrade: bool,
    /// The pool of the server is lenient: a head whose lines end in LF alone, or that has white space before a colon, is
    /// taken as if it were written right. What goes on to the client is written anew. A proxy has to take such white
    /// space out (RFC 9112 §5.1), and may take LF for the end of a line (§2.2). The client gets only the right form, so
    /// that nothing behind Segue has to guess where the head or one of its fields ends.
    pub lenient: bool,
}

/// The head of one response. It is made on the heap: it goes through many hands.
#[derive(Debug)]
pub struct ResponseHead {
    /// Bytes of the head, with the empty line that ends it.
    pub len: usize,
    /// The status, from 100 to 999.
    pub status: StatusCode,
    /// The reason, which may be empty, unless it is the one that is registered for the status.
    pub reason: Option<Vec<u8>>,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The fields to pass on, each a line with its CRLF, in the order in which they came. No hop-by-hop field is among
    /// them, except `Upgrade` when `upgraded` or `demands_upgrade` is true. `Content-Length` is among them once, if
    /// `length` is known.
    pub fields: Vec<u8>,
    /// `Date` is among them.
    pub has_date: bool,
    /// The one value of `Content-Length`, whether a body follows or not; never of a response that may not say any.
    pub length: Option<u64>,
    /// What `Trailer` announced.
    pub trailers: Option<HeaderValue>,
    /// Where the body ends.
    pub body: ResponseBody,
    /// The server would use the connection again, once the body is read whole.
    pub keep_alive: bool,
    /// How long the server keeps an idle connection, when it says so (`Keep-Alive: timeout=`).
    pub keep_alive_timeout: Option<Duration>,
    /// It offers a scheme that authenticates the connection, not the request.
    pub binds: bool,
    /// 1xx other than 101: another head follows.
    pub informational: bool,
    /// 101, which was asked for: a tunnel follows, and `Connection: upgrade` goes with `Upgrade`.
    pub upgraded: bool,
    /// 426 with `Upgrade`, which belongs to it (RFC 9110 §15.5.22); `Connection: upgrade` goes with it too.
    pub demands_upgrade: bool,
}

impl ResponseHead {
    /// The protocols to which the server switches, or which it demands: the values of `Upgrade`.
    pub fn upgrades(&self) -> impl Iterator<Item = &[u8]> {
        let mut lines = Lines::new(&self.fields);
        std::iter::from_fn(move || lines.field().flatten())
            .filter(|line| Known::of(line.name) == Known::Upgrade)
            .map(|line| line.value)
    }
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
    /// 101 to a request that does not ask for it.
    UnaskedUpgrade,
    /// 101 without `Upgrade`, or in HTTP/1.0.
    UpgradeToNothing,
    /// 101 to a protocol that was not offered.
    UpgradeToOther,
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
        if self.0.is_fresh()
            && let Some((len, judged)) = parse_whole(buffer, asked, max_head)
        {
            buffer.advance(len);
            return judged.map(Some);
        }
        let Some(len) = self.0.advance(buffer, &bounds(max_head, asked))? else {
            return Ok(None);
        };
        self.0 = Walk::response();
        // both ways agree on what a head is; where they do not, the head is refused
        let mut judged = parse_whole(&buffer[..len], asked, max_head).map(|(_, judged)| judged);
        if judged.is_none() && asked.lenient {
            judged = parse_in_right_form(&buffer[..len], asked);
        }
        buffer.advance(len);
        judged.unwrap_or(Err(ResponseFault::StatusLine)).map(Some)
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
            Self::Line(LineFault::BareLf) => {
                "A line of the head ends in LF alone; only CRLF ends a line; `lenient = true` of the pool takes it."
            }
            Self::Line(LineFault::SpaceBeforeColon) => {
                "White space stands between a field name and its colon; `lenient = true` of the pool takes it."
            }
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
            Self::UpgradeToOther => "The server switches to a protocol that the client did not offer.",
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

fn bounds(max_head: usize, asked: Asked) -> Bounds {
    Bounds { head: max_head, target: 0, fields: MAX_FIELDS, is_lenient: asked.lenient }
}

/// What a head was found to be.
type Judged = Result<Box<ResponseHead>, ResponseFault>;

/// The short way: `None` unless `bytes` start with a head that is whole, well-formed and within the limits. Gives its
/// length too.
fn parse_whole(bytes: &[u8], asked: Asked, max_head: usize) -> Option<(usize, Judged)> {
    let mut said = ResponseFields::default();
    let (len, judged) = said.read(bytes)?;
    (len <= max_head).then(|| (len, judged.and_then(|()| said.conclude(len, asked))))
}

/// The way of a head that only a lenient walk takes, and that is whole.
fn parse_in_right_form(bytes: &[u8], asked: Asked) -> Option<Judged> {
    let (_, judged) = parse_whole(&head::in_right_form(bytes), asked, usize::MAX)?; // its size is found right already
    Some(judged.map(|head| Box::new(ResponseHead { len: bytes.len(), ..*head })))
}

/// What a whole head says.
#[derive(Default)]
struct ResponseFields {
    status: StatusCode,
    reason: Option<Vec<u8>>,
    version: Version,
    /// Those that neither frame the body nor are for one connection only.
    fields: Vec<u8>,
    has_date: bool,
    length: Option<u64>,
    chunked: bool,
    options: ConnectionOptions,
    keep_alive_timeout: Option<Duration>,
    trailers: Vec<HeaderValue>,
    binds: bool,
    /// The `Upgrade` fields, as `fields`.
    upgrade: Vec<u8>,
    /// One of them names something.
    upgrades: bool,
}

/// Room for fields from the start, in bytes: most responses have fewer.
const ROOM: usize = 512;

impl ResponseFields {
    /// `None` unless `bytes` start with a head that is one from its first byte to its last.
    fn read(&mut self, bytes: &[u8]) -> Option<(usize, Result<(), ResponseFault>)> {
        let mut lines = Lines::new(bytes);
        let reason;
        (self.version, self.status, reason) = lines.status_line()?;
        if self.status.canonical_reason().map(str::as_bytes) != Some(reason) {
            self.reason = Some(reason.to_vec());
        }
        self.fields = Vec::with_capacity(ROOM);
        let mut copying = Copying::new(bytes);
        // what is wrong with a line goes before what a field says wrong
        let mut judged = Ok(());
        let mut fields = 0;
        while let Some(line) = lines.field()? {
            fields += 1;
            if fields > MAX_FIELDS {
                return None;
            }
            let taken = self.take(&line, &mut copying);
            judged = judged.and(taken);
        }
        copying.finish(&mut self.fields);
        Some((lines.len(), judged))
    }

    #[inline]
    fn take(&mut self, line: &Line<'_>, copying: &mut Copying<'_>) -> Result<(), ResponseFault> {
        let known = Known::of(line.name);
        if matches!(known, Known::Authenticate | Known::ProxyAuthenticate) {
            self.binds |= auth::binds(line.value);
        }
        match known {
            Known::Other | Known::Host | Known::Expect | Known::Authorization | Known::Authenticate => {
                self.has_date |= fields::is(line.name, b"date");
                if line.is_plain {
                    copying.copy(&mut self.fields, line.place.clone());
                } else {
                    copying.finish(&mut self.fields);
                    write_field(&mut self.fields, line.name, line.value);
                }
            }
            Known::ContentLength => return self.take_length(line, copying),
            Known::TransferEncoding if self.chunked || !framing::is_chunked(line.value) => {
                return Err(ResponseFault::TransferEncoding);
            }
            Known::TransferEncoding => self.chunked = true,
            Known::Connection => self.options.add(line.value),
            Known::KeepAlive => self.keep_alive_timeout = timeout(line.value).or(self.keep_alive_timeout),
            Known::Trailer => self.trailers.extend(HeaderValue::from_bytes(line.value)),
            Known::Upgrade => {
                self.upgrades |= !line.value.is_empty();
                write_field(&mut self.upgrade, line.name, line.value);
            }
            Known::Te | Known::ProxyAuthorization | Known::ProxyAuthenticate | Known::Hop => {}
        }
        Ok(())
    }

    /// Folds equal lengths into one, over several fields and inside a list (RFC 9112 §6.3).
    fn take_length(&mut self, line: &Line<'_>, copying: &mut Copying<'_>) -> Result<(), ResponseFault> {
        let is_first = self.length.is_none();
        for element in line.value.split(|&byte| byte == b',') {
            let length = framing::length(fields::trim(element)).ok_or(ResponseFault::ContentLength)?;
            if *self.length.get_or_insert(length) != length {
                return Err(ResponseFault::DifferentLengths);
            }
        }
        let Some(length) = self.length.filter(|_| is_first) else { return Ok(()) };
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(length).as_bytes();
        if line.is_plain && line.value == digits {
            copying.copy(&mut self.fields, line.place.clone());
        } else {
            copying.finish(&mut self.fields);
            write_field(&mut self.fields, line.name, digits);
        }
        Ok(())
    }

    fn conclude(&mut self, len: usize, asked: Asked) -> Result<Box<ResponseHead>, ResponseFault> {
        let upgraded = self.status == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded {
            self.check_upgrade(asked)?;
        }
        let body = self.body(asked)?;
        let demands_upgrade = self.status == StatusCode::UPGRADE_REQUIRED && self.upgrades;
        Ok(Box::new(ResponseHead {
            len,
            status: self.status,
            reason: self.reason.take(),
            version: self.version,
            trailers: self.announced()?,
            body,
            keep_alive: self.keep_alive(body),
            keep_alive_timeout: self.keep_alive_timeout,
            binds: self.binds,
            informational: self.status.is_informational() && !upgraded,
            upgraded,
            demands_upgrade,
            has_date: self.has_date,
            length: self.length.filter(|_| !self.is_bare()),
            fields: self.fields(upgraded || demands_upgrade),
        }))
    }

    fn check_upgrade(&self, asked: Asked) -> Result<(), ResponseFault> {
        if !asked.upgrade {
            return Err(ResponseFault::UnaskedUpgrade);
        }
        if self.version == Version::HTTP_10 || !self.upgrades {
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

    fn fields(&mut self, keeps_upgrade: bool) -> Vec<u8> {
        if self.options.names_any() || self.is_bare() && self.length.is_some() {
            self.remove_named();
        }
        if keeps_upgrade {
            self.fields.append(&mut self.upgrade);
        }
        std::mem::take(&mut self.fields)
    }

    /// Removes what `Connection` names, which may have come before it, and the length of a body that cannot be.
    fn remove_named(&mut self) {
        let all = std::mem::take(&mut self.fields);
        let (mut lines, mut copying) = (Lines::new(&all), Copying::new(&all));
        while let Some(Some(line)) = lines.field() {
            let says_length = self.is_bare() && Known::of(line.name) == Known::ContentLength;
            if !says_length && !self.options.names(line.name) {
                copying.copy(&mut self.fields, line.place);
            }
        }
        copying.finish(&mut self.fields);
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
    const PLAIN: Asked = Asked { head: false, upgrade: false, lenient: false };
    const HEAD: Asked = Asked { head: true, ..PLAIN };
    const UPGRADE: Asked = Asked { upgrade: true, ..PLAIN };
    const LENIENT: Asked = Asked { lenient: true, ..PLAIN };

    fn asked(asked: Asked, text: &str) -> Result<Box<ResponseHead>, ResponseFault> {
        let mut buffer = BytesMut::from(text);
        parse(&mut buffer, asked, MAX_HEAD).map(|head| head.unwrap_or_else(|| panic!("incomplete: {text:?}")))
    }

    fn with(fields: &str) -> Box<ResponseHead> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        asked(PLAIN, &text).unwrap_or_else(|fault| panic!("{fault:?}: {text:?}"))
    }

    /// The lines that go on.
    fn lines(head: &ResponseHead) -> Vec<&str> {
        let text = std::str::from_utf8(&head.fields).expect("text");
        text.split_terminator("\r\n").collect()
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
        assert_eq!((lines(&head), head.length), (vec!["Content-Length: 5", "Server: s"], Some(5)));
        assert!(head.keep_alive && !head.informational && !head.upgraded);
        assert_eq!(&buffer[..], b"hello");
    }

    #[test]
    fn a_lenient_pool_takes_lf_for_the_end_of_a_line_and_white_space_before_a_colon() {
        for text in [
            "HTTP/1.1 200 OK\nA: b\nContent-Length: 5\n\nhello",
            "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 5\r\n\nhello",
            "HTTP/1.1 200 OK\nA: b\r\nContent-Length: 5\n\r\nhello",
            "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length \t: 5\r\n\r\nhello",
            "HTTP/1.1 200\nA\t:b\nContent-Length  :5\n\nhello",
        ] {
            assert!(parse(&mut BytesMut::from(text), PLAIN, MAX_HEAD).is_err(), "{text:?}");
            let mut buffer = BytesMut::from(text);
            let head = parse(&mut buffer, LENIENT, MAX_HEAD).expect("no fault").expect("whole");
            assert_eq!(
                (lines(&head), head.body),
                (vec!["A: b", "Content-Length: 5"], ResponseBody::Length(5)),
                "{text:?}"
            );
            assert_eq!((head.len, &buffer[..]), (text.len() - 5, &b"hello"[..]), "{text:?}");
        }
        let chunked = asked(LENIENT, "HTTP/1.1 200 OK\nTransfer-Encoding : chunked\n\n").expect("no fault");
        assert_eq!(chunked.body, ResponseBody::Chunked);
    }

    #[test]
    fn what_is_no_head_is_none_for_a_lenient_pool_either() {
        for (text, fault) in [
            ("HTTP/1.1 200 OK\nA: b\rc\n\n", ResponseFault::Line(LineFault::BareCr)),
            ("HTTP/1.1 200 OK\nA: b\r\r\n\n", ResponseFault::Line(LineFault::BareCr)),
            ("HTTP/1.1 200 OK\n\rA: b\n\n", ResponseFault::Line(LineFault::BareCr)),
            ("HTTP/1.1 200 OK\nA: b\n c\n\n", ResponseFault::Line(LineFault::Fold)),
            ("HTTP/1.1 200 OK\n A: b\n\n", ResponseFault::Line(LineFault::Fold)),
            ("HTTP/1.1 200 OK\nA b: c\n\n", ResponseFault::Line(LineFault::FieldName)),
            ("HTTP/1.1 200 OK\nA \n\n", ResponseFault::Line(LineFault::FieldName)),
            ("HTTP/1.1 200 OK\n : b\n\n", ResponseFault::Line(LineFault::Fold)),
            ("HTTP/1.1 200 OK\nA: \0\n\n", ResponseFault::Line(LineFault::FieldValue)),
            ("\nHTTP/1.1 200 OK\n\n", ResponseFault::StatusLine),
            ("HTTP/1.1 200 OK\nContent-Length : 5\nContent-Length: 6\n\n", ResponseFault::DifferentLengths),
            ("HTTP/1.1 200 OK\nContent-Length: 5\nTransfer-Encoding : chunked\n\n", ResponseFault::LengthAndEncoding),
        ] {
            assert_eq!(asked(LENIENT, text).err(), Some(fault), "{text:?}");
        }
        let head = |len: usize| format!("HTTP/1.1 200 OK\nA: {}\n\n", "b".repeat(len - 21));
        assert_eq!(head(1024).len(), 1024);
        assert!(asked(LENIENT, &head(1024)).is_ok(), "the limit is for what the server sends");
        assert_eq!(asked(LENIENT, &head(1025)).err(), Some(ResponseFault::HeadTooLarge));
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
    fn lengths_that_are_equal_are_one_and_go_on_beside_the_fields() {
        for fields in [
            "Content-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 005\r\n",
            "Content-Length: 5\r\nConnection: content-length\r\n",
        ] {
            let head = with(fields);
            assert_eq!((head.body, head.length), (ResponseBody::Length(5), Some(5)), "{fields:?}");
            assert_eq!(lines(&head), ["Content-Length: 5"], "{fields:?}");
        }
        let length = |asking, status| {
            let head = asked(asking, &format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n"));
            head.expect("no fault").length
        };
        assert_eq!((length(HEAD, 200), length(PLAIN, 304), length(PLAIN, 204)), (Some(5), Some(5), None));
    }

    #[test]
    fn fields_go_on_in_their_order_and_without_unusual_white_space() {
        let head = with("B: 1\r\nA:2\r\nB:  3 \r\nConnection: c\r\nX-a:\r\nC: 4\r\nDATE: x\r\n");
        assert_eq!(lines(&head), ["B: 1", "A: 2", "B: 3", "X-a: ", "DATE: x"]);
        assert!(head.has_date && !with("Dates: x\r\n").has_date);
    }

    #[test]
    fn hop_by_hop_fields_are_gone_and_protected_ones_stay() {
        let head = with(
            "Connection: X-Private, close\r\nconnection: x-other, set-cookie, Keep-Alive\r\nX-Private: 1\r\nX-Other: 2\r\n\
             X-Public: 3\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
             Proxy-Authenticate: x\r\nProxy-Authorization: x\r\nProxy-Authentication-Info: x\r\nTE: x\r\nUpgrade: h2\r\n\
             Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n",
        );
        assert_eq!(lines(&head), ["X-Public: 3", "Set-Cookie: a", "Set-Cookie: b"]);
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
        assert_eq!(lines(&head), ["A: b", "Upgrade: websocket"]);
        for text in [
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade:\r\n\r\n",
            "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        ] {
            assert_eq!(asked(UPGRADE, text).err(), Some(ResponseFault::UpgradeToNothing), "{text:?}");
        }
        let declined = asked(UPGRADE, "HTTP/1.1 426 X\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n");
        let head = declined.expect("no fault");
        assert!(head.demands_upgrade && !head.upgraded);
        assert_eq!(lines(&head), ["Content-Length: 0", "Upgrade: websocket"]);
        let declined = asked(UPGRADE, "HTTP/1.1 403 X\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n");
        assert!(declined.is_ok_and(|head| !head.demands_upgrade && lines(&head) == ["Content-Length: 0"]));
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

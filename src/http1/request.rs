//! The head of a request as a client sent it: is it one, and what does it ask of the connection?
//!
//! The connection of the client asks this of the first bytes of each message.

use http::Version;

use super::head::{self, Bounds, Break, Walk};
use super::lines::Lines;
pub use super::refusal::Refusal;
use super::target;
use crate::message::auth::Credentials;
use crate::message::authority;
use crate::message::fields::{self, Flag};
use crate::message::framing::{self, Known};
use crate::message::head::{RawHead, Table};
use crate::message::lines::Line;
use crate::message::upgrade;

/// What a request head may measure; the fields are named like the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first one to the end of the empty line.
    pub max_head: usize,
    /// Bytes of the request target; more than 65,534 are never taken.
    pub max_target: usize,
    /// Header fields.
    pub max_fields: usize,
}

/// What the connection needs to know of a request whose head is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Bytes of the head, with the empty line that ends it and the one that may lead it.
    pub len: usize,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// What the method promises.
    pub method: MethodFacts,
    /// Where the body ends.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body: HTTP/1.1 and a body announced.
    pub expects_continue: bool,
    /// A request to upgrade: HTTP/1.1, `Upgrade` announced in `Connection`, to a protocol that may be tunnelled.
    pub upgrade: bool,
    /// The client would use the connection again.
    pub keep_alive: bool,
    /// `Connection` names more than `close`, `keep-alive` and `upgrade`: fields that go no further.
    pub names_fields: bool,
    /// The client takes trailers.
    pub te_trailers: bool,
    /// What its credentials mean to the connection to a server.
    pub credentials: Credentials,
    /// `OPTIONS` for the server as a whole, which goes on as `*`.
    pub whole_server: bool,
}

/// What a method promises (RFC 9110 §9.2); methods have case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodFacts {
    /// `HEAD`: the response has no body.
    pub head: bool,
    /// Asks for no change.
    pub safe: bool,
    /// Twice is as good as once.
    pub idempotent: bool,
}

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After this many bytes; 0 when the client said so.
    Length(u64),
    /// With the last chunk and its trailers.
    Chunked,
}

/// Looks at the head of one request as it grows.
///
/// A head that comes whole is parsed at once. One that comes in pieces is walked over, each byte once, however many
/// pieces there are, and refused at the first byte that is certainly wrong.
#[derive(Debug)]
pub struct HeadSearch {
    walk: Walk,
    /// Of the last head that was found right.
    table: Table,
}

impl HeadSearch {
    /// A search for the next head, of which nothing was looked at yet.
    #[must_use]
    pub fn new() -> Self {
        Self { walk: Walk::request(), table: Table::default() }
    }

    /// Looks at `bytes`, which start with the first byte of the head and hold what they held last time, and more.
    /// `None` means that the head is right so far and not whole; once it was whole the search starts anew.
    ///
    /// # Errors
    /// The rule that was broken, the same one however the head was cut into pieces.
    pub fn look(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, Refusal> {
        if self.walk.is_fresh()
            && let Some(judged) = parse(bytes, limits, &mut self.table)
        {
            return judged.map(Some);
        }
        let bounds = Bounds {
            head: limits.max_head,
            target: limits.max_target.min(target::LONGEST),
            fields: limits.max_fields,
            is_lenient: false,
        };
        let walked = self.walk.advance(bytes, &bounds);
        let Some(len) = walked.map_err(|broken| refusal(broken, bytes))? else {
            return Ok(None);
        };
        self.walk = Walk::request();
        // both ways agree on what a head is; where they do not, the head is refused
        parse(&bytes[..len], limits, &mut self.table).unwrap_or(Err(Refusal::Malformed)).map(Some)
    }

    /// The head that was found right just now: the first bytes of those that were looked at, as long as it said.
    #[must_use]
    pub fn take(&mut self, head: &[u8]) -> RawHead {
        RawHead::new(head, std::mem::take(&mut self.table))
    }
}

impl Default for HeadSearch {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a whole head again that was found right before, within whatever limits. None when it is not right now: another
/// version found it so.
#[must_use]
pub fn read_again(bytes: &[u8]) -> Option<(RequestHead, RawHead)> {
    const ANY: HeadLimits = HeadLimits { max_head: usize::MAX, max_target: usize::MAX, max_fields: usize::MAX };
    let mut search = HeadSearch::new();
    let facts = search.look(bytes, &ANY).ok().flatten().filter(|facts| facts.len == bytes.len())?;
    Some((facts, search.take(bytes)))
}

/// Looks at a request head once: [`HeadSearch::look`] for heads that will not be looked at again.
///
/// # Errors
/// The rule that was broken.
pub fn check(bytes: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, Refusal> {
    HeadSearch::new().look(bytes, limits)
}

/// The rule that was broken. The first byte of a TLS handshake begins no method, and has a rule of its own.
fn refusal(broken: Break, bytes: &[u8]) -> Refusal {
    match (broken, bytes.first()) {
        (Break::Method, Some(&TLS_HANDSHAKE)) => Refusal::Tls,
        _ => broken.into(),
    }
}

/// The type of record that a TLS client begins with.
const TLS_HANDSHAKE: u8 = 0x16;

/// Longest field name that `http::HeaderName` can hold, whatever the configured limit of the head says.
const LONGEST_NAME: usize = u16::MAX as usize;

/// The short way: `None` unless the head is whole, well-formed and within the limits.
fn parse(bytes: &[u8], limits: &HeadLimits, table: &mut Table) -> Option<Result<RequestHead, Refusal>> {
    let mut lines = Lines::new(bytes);
    let line = lines.request_line()?;
    let (method, target) = (&bytes[line.method.clone()], &bytes[line.target.clone()]);
    if method.len() > head::MAX_METHOD || target.len() > limits.max_target.min(target::LONGEST) {
        return None;
    }
    table.begin(&line.method, &line.target);
    let mut said = RequestFields::default();
    // what is wrong with a line goes before what the head says wrong
    let mut judged = target::check(method, target);
    while let Some(field) = lines.field()? {
        if table.len() == limits.max_fields {
            return None;
        }
        let known = Known::of(field.name);
        if judged.is_ok() {
            judged = said.take(known, &field);
        }
        table.push(&field, known);
    }
    let conclude = |()| conclude(lines.len(), method, target, line.version, &said);
    (lines.len() <= limits.max_head).then(|| judged.and_then(conclude))
}

/// Judges a well-formed head by what it says.
fn conclude(
    len: usize,
    method: &[u8],
    target: &[u8],
    version: Version,
    said: &RequestFields,
) -> Result<RequestHead, Refusal> {
    if version == Version::HTTP_11 && !said.host {
        return Err(Refusal::NoHost);
    }
    let framing = said.framing(version)?;
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    Ok(RequestHead {
        len,
        version,
        method: MethodFacts::of(method),
        framing,
        expects_continue: said.expects_continue && has_body && version == Version::HTTP_11,
        upgrade: version == Version::HTTP_11 && said.asks_upgrade && said.upgrade,
        keep_alive: !said.close && (version == Version::HTTP_11 || said.keep_alive),
        names_fields: said.names_fields,
        te_trailers: said.te_trailers,
        credentials: said.credentials,
        whole_server: target::is_whole_server(method, target),
    })
}

impl MethodFacts {
    fn of(method: &[u8]) -> Self {
        let head = method == b"HEAD";
        let safe = head || matches!(method, b"GET" | b"OPTIONS" | b"TRACE");
        let idempotent = safe || matches!(method, b"PUT" | b"DELETE");
        Self { head, safe, idempotent }
    }
}

/// What the fields of one head say.
#[derive(Default)]
struct RequestFields {
    host: bool,
    length: Option<u64>,
    encoding: Option<Encoding>,
    expects_continue: bool,
    /// An `Upgrade` field has a protocol that may be tunnelled.
    upgrade: bool,
    te_trailers: bool,
    close: bool,
    keep_alive: bool,
    asks_upgrade: bool,
    names_fields: bool,
    credentials: Credentials,
}

impl RequestFields {
    fn take(&mut self, known: Known, field: &Line<'_>) -> Result<(), Refusal> {
        match known {
            _ if field.name.len() > LONGEST_NAME => return Err(Refusal::HeadTooLarge),
            Known::Other
            | Known::KeepAlive
            | Known::Trailer
            | Known::Authenticate
            | Known::ProxyAuthenticate
            | Known::Hop => {}
            Known::Authorization | Known::ProxyAuthorization => {
                self.credentials = self.credentials.max(Credentials::of(field.value));
            }
            Known::Host if self.host => return Err(Refusal::TwoHosts),
            Known::Host => {
                authority::check(field.value).map_err(Refusal::Host)?;
                self.host = true;
            }
            Known::Connection => self.take_options(field.value),
            Known::ContentLength => self.take_length(field.value)?,
            Known::TransferEncoding => self.take_encoding(field),
            Known::Expect if field.value.eq_ignore_ascii_case(b"100-continue") => self.expects_continue = true,
            Known::Expect => return Err(Refusal::Expect),
            Known::Upgrade => self.upgrade |= upgrade::offers(field.value).next().is_some(),
            Known::Te => {
                self.te_trailers |=
                    fields::elements(field.value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
        }
        Ok(())
    }

    fn take_options(&mut self, value: &[u8]) {
        for option in fields::elements(value) {
            match Flag::of(option) {
                Some(Flag::Close) => self.close = true,
                Some(Flag::KeepAlive) => self.keep_alive = true,
                Some(Flag::Upgrade) => self.asks_upgrade = true,
                None => self.names_fields = true,
            }
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::RepeatedLength);
        }
        self.length = Some(framing::length(value).ok_or(Refusal::ContentLength)?);
        Ok(())
    }

    /// Exactly `chunked`, once, and without tabs around it, which some parsers take for part of the coding.
    fn take_encoding(&mut self, field: &Line<'_>) {
        let encoding = if self.encoding.is_some() || field.padded.contains(&b'\t') {
            Encoding::Wrong
        } else if framing::is_chunked(field.value) {
            Encoding::Chunked
        } else if fields::is_token(field.value) && !field.value.eq_ignore_ascii_case(b"identity") {
            Encoding::Unknown
        } else {
            Encoding::Wrong
        };
        self.encoding = Some(encoding);
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        match (self.length, self.encoding) {
            (None, None) => Ok(Framing::None),
            (Some(length), None) => Ok(Framing::Length(length)),
            (Some(_), Some(_)) => Err(Refusal::LengthAndEncoding),
            (None, Some(_)) if version == Version::HTTP_10 => Err(Refusal::EncodingInHttp10),
            (None, Some(Encoding::Chunked)) => Ok(Framing::Chunked),
            (None, Some(Encoding::Unknown)) => Err(Refusal::UnknownCoding),
            (None, Some(Encoding::Wrong)) => Err(Refusal::TransferEncoding),
        }
    }
}

/// What a `Transfer-Encoding` asks for.
#[derive(Clone, Copy)]
enum Encoding {
    Chunked,
    /// One well-formed coding that is not known here.
    Unknown,
    Wrong,
}

#[cfg(test)]
mod tests {
    use super::super::head::LineFault;
    use super::*;
    use crate::message::authority::HostFault;

    const LIMITS: HeadLimits = HeadLimits { max_head: 1024, max_target: 64, max_fields: 8 };

    fn whole(text: &str) -> Result<RequestHead, Refusal> {
        check(text.as_bytes(), &LIMITS).map(|head| head.unwrap_or_else(|| panic!("incomplete: {text:?}")))
    }

    /// A GET of `/` over HTTP/1.1 with these fields, each with its line end.
    fn with(fields: &str) -> Result<RequestHead, Refusal> {
        whole(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    /// Every row: what is sent, and the one rule that it breaks.
    const REFUSED: &[(&str, Refusal)] = &[
        // lines
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::Line(LineFault::BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Refusal::Line(LineFault::BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Refusal::Line(LineFault::BareLf)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\nB: c\r\n\r\n", Refusal::Line(LineFault::BareLf)),
        ("GET / HTTP/1.1\n\n", Refusal::Line(LineFault::BareLf)),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", Refusal::Line(LineFault::BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", Refusal::Line(LineFault::BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\rX", Refusal::Line(LineFault::BareCr)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", Refusal::Line(LineFault::Fold)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n", Refusal::Line(LineFault::Fold)),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refusal::Line(LineFault::Fold)),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refusal::Line(LineFault::SpaceBeforeColon)),
        ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", Refusal::Line(LineFault::SpaceBeforeColon)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", Refusal::Line(LineFault::FieldValue)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\x7fc\r\n\r\n", Refusal::Line(LineFault::FieldValue)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\x0bc\r\n\r\n", Refusal::Line(LineFault::FieldValue)),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Refusal::Line(LineFault::FieldName)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n", Refusal::Line(LineFault::FieldName)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA(b): c\r\n\r\n", Refusal::Line(LineFault::FieldName)),
        ("GET / HTTP/1.1\r\nHost: a\r\nÄ: c\r\n\r\n", Refusal::Line(LineFault::FieldName)),
        ("GET / HTTP/1.1\r\nHost: a\r\nA\0: c\r\n\r\n", Refusal::Line(LineFault::FieldName)),
        // request line
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::EmptyLines),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Line(LineFault::BareLf)),
        ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Line(LineFault::BareLf)),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
        ("GET\r\n\r\n", Refusal::Method),
        ("\x16\x03\x01\x02", Refusal::Tls),
        ("METHODMETHODMETHODMETHODMETHODMETHOD / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodTooLong),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
        ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET /\r\n\r\n", Refusal::RequestLine),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.x\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/01.01\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/2\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/2.00\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/2.x\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Refusal::Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refusal::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::Version),
        // targets
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        ("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        ("GET ?q HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        ("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        ("GET http:///p HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Host(HostFault::Empty)),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Host(HostFault::UserInfo)),
        ("GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Host(HostFault::Port)),
        ("GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Host(HostFault::Ipv6)),
        ("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET http://a/#f HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET /ü HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Refusal::Connect),
        ("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Connect),
        // hosts
        ("GET / HTTP/1.1\r\n\r\n", Refusal::NoHost),
        ("GET http://a/ HTTP/1.1\r\n\r\n", Refusal::NoHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refusal::TwoHosts),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Refusal::TwoHosts),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::TwoHosts),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Refusal::Host(HostFault::Empty)),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Refusal::Host(HostFault::UserInfo)),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Refusal::Host(HostFault::Comma)),
        ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", Refusal::Host(HostFault::Port)),
        ("GET / HTTP/1.1\r\nHost: [1::2::3]\r\n\r\n", Refusal::Host(HostFault::Ipv6)),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refusal::Host(HostFault::Name)),
        ("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", Refusal::Host(HostFault::Name)),
        // framing
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::LengthAndEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            Refusal::LengthAndEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n",
            Refusal::LengthAndEncoding,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Refusal::RepeatedLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Refusal::RepeatedLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n", Refusal::TransferEncoding),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", Refusal::Line(LineFault::Fold)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", Refusal::Line(LineFault::FieldValue)),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
            Refusal::Line(LineFault::SpaceBeforeColon),
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Refusal::UnknownCoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::UnknownCoding),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::EncodingInHttp10),
        // expectations
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\n", Refusal::Expect),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\n", Refusal::Expect),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect:\r\nContent-Length: 5\r\n\r\n", Refusal::Expect),
        // limits
        ("GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Refusal::TargetTooLong),
        ("GET / HTTP/1.1\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na", Refusal::TooManyFields),
    ];

    #[test]
    fn every_broken_rule_is_refused_by_its_name() {
        for (text, refusal) in REFUSED {
            assert_eq!(check(text.as_bytes(), &LIMITS), Err(*refusal), "{text:?}");
        }
    }

    #[test]
    fn a_head_in_single_bytes_is_refused_for_the_same_rule() {
        for (text, refusal) in REFUSED {
            let mut search = HeadSearch::new();
            let judged = (0..=text.len()).find_map(|end| match search.look(&text.as_bytes()[..end], &LIMITS) {
                Ok(None) => None,
                judged => Some(judged),
            });
            assert_eq!(judged, Some(Err(*refusal)), "{text:?}");
        }
    }

    #[test]
    fn refusals_have_their_status_and_limit() {
        for (refusal, status, limit) in [
            (Refusal::NoHost, 400, None),
            (Refusal::Connect, 405, None),
            (Refusal::TargetTooLong, 414, Some("max_target")),
            (Refusal::Expect, 417, None),
            (Refusal::TooManyFields, 431, Some("max_fields")),
            (Refusal::HeadTooLarge, 431, Some("max_head")),
            (Refusal::UnknownCoding, 501, None),
            (Refusal::MethodTooLong, 501, None),
            (Refusal::Version, 505, None),
        ] {
            assert_eq!((refusal.status(), refusal.limit()), (status, limit), "{refusal:?}");
        }
    }

    #[test]
    fn a_plain_request_is_understood() {
        let text = "GET /a?b HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n";
        let head = RequestHead {
            len: text.len(),
            version: Version::HTTP_11,
            method: MethodFacts { head: false, safe: true, idempotent: true },
            framing: Framing::None,
            expects_continue: false,
            upgrade: false,
            keep_alive: true,
            names_fields: false,
            te_trailers: false,
            credentials: Credentials::Portable,
            whole_server: false,
        };
        assert_eq!(whole(text), Ok(head));
        assert_eq!(whole(&format!("{text}GET /next HTTP/1.1\r\n")), Ok(head));
    }

    #[test]
    fn one_leading_empty_line_is_skipped_and_counted() {
        let text = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(whole(text).map(|head| head.len), Ok(text.len()));
    }

    #[test]
    fn well_formed_targets_pass() {
        for line in [
            "GET /",
            "GET //a//b/../c",
            "GET /a%2fb%00?x=%0d%0a&y=[1]|{2}\\",
            "GET /?a?b",
            "GET /\"<a>`^?\"<b>`^{|}",
            "GET http://b.example/<a>?\"",
            "GET http://b.example/p?q",
            "GET HTTPS://b.example:8443",
            "GET http://[::1]:80/",
            "OPTIONS *",
            "OPTIONS http://b.example",
            "get /",
            "M-SEARCH /",
        ] {
            let judged = whole(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert!(judged.is_ok(), "{line}: {judged:?}");
        }
    }

    #[test]
    fn methods_have_their_promises() {
        for (method, head, safe, idempotent) in [
            ("GET", false, true, true),
            ("HEAD", true, true, true),
            ("OPTIONS", false, true, true),
            ("TRACE", false, true, true),
            ("PUT", false, false, true),
            ("DELETE", false, false, true),
            ("POST", false, false, false),
            ("PATCH", false, false, false),
            ("get", false, false, false),
        ] {
            let facts = whole(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).map(|head| head.method);
            assert_eq!(facts, Ok(MethodFacts { head, safe, idempotent }), "{method}");
        }
    }

    #[test]
    fn bodies_are_framed() {
        for (fields, framing) in [
            ("", Framing::None),
            ("Content-Length: 0\r\n", Framing::Length(0)),
            ("content-length:\t0012 \r\n", Framing::Length(12)),
            ("Content-Length: 9223372036854775807\r\n", Framing::Length(i64::MAX as u64)),
            ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
            ("transfer-encoding:  Chunked \r\n", Framing::Chunked),
        ] {
            assert_eq!(with(fields).map(|head| head.framing), Ok(framing), "{fields:?}");
        }
    }

    #[test]
    fn the_client_waits_only_when_it_has_a_body_to_send() {
        for (version, fields, expects) in [
            ("1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n", true),
            ("1.1", "expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", true),
            ("1.1", "Expect: 100-continue\r\n", false),
            ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", false),
            ("1.0", "Expect: 100-continue\r\nContent-Length: 5\r\n", false),
            ("1.1", "Content-Length: 5\r\n", false),
        ] {
            let head = whole(&format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(head.map(|head| head.expects_continue), Ok(expects), "{version} {fields:?}");
        }
    }

    #[test]
    fn only_a_well_formed_upgrade_is_one() {
        const WEBSOCKET: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
        for (line, fields, upgrade) in [
            ("GET / HTTP/1.1", WEBSOCKET, true),
            ("GET / HTTP/1.1", "Connection: keep-alive, upgrade\r\nUpgrade: a/1, b\r\n", true),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n", true),
            ("POST / HTTP/1.1", WEBSOCKET, true),
            ("GET / HTTP/1.0", WEBSOCKET, false),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 1\r\n", true),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\n", false),
            ("GET / HTTP/1.1", "Connection: upgrade\r\n", false),
            ("GET / HTTP/1.1", "Upgrade:\r\nConnection: upgrade\r\n", false),
            ("GET / HTTP/1.1", "Upgrade: a b\r\nConnection: upgrade\r\n", false),
            ("GET / HTTP/1.1", "Upgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\n", false),
            ("GET / HTTP/1.1", "Upgrade: websocket, H2C\r\nConnection: upgrade\r\n", true),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade\r\n", true),
        ] {
            let head = whole(&format!("{line}\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(head.map(|head| head.upgrade), Ok(upgrade), "{line} {fields:?}");
        }
    }

    #[test]
    fn connection_options_that_name_fields_are_told() {
        for (fields, names) in [
            ("", false),
            ("Connection: close, Keep-Alive,, upgrade\r\n", false),
            ("Connection: close\r\nConnection: x-hop\r\n", true),
            ("Connection: te, close\r\n", true),
        ] {
            assert_eq!(with(fields).map(|head| head.names_fields), Ok(names), "{fields:?}");
        }
    }

    #[test]
    fn the_connection_persists_by_version_and_option() {
        for (version, fields, keep_alive) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: x, Close\r\n", false),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let head = whole(&format!("GET / HTTP/{version}\r\n{fields}Host: a\r\n\r\n"));
            assert_eq!(head.map(|head| head.keep_alive), Ok(keep_alive), "{version} {fields:?}");
        }
        assert_eq!(with("TE: gzip;q=0.5, Trailers\r\n").map(|head| head.te_trailers), Ok(true));
        assert_eq!(with("TE: gzip\r\n").map(|head| head.te_trailers), Ok(false));
    }

    #[test]
    fn http_1_0_needs_no_host() {
        assert!(whole("GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn limits_strike_exactly_above_their_value() {
        let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
        assert!(whole(&target(64)).is_ok());
        assert_eq!(whole(&target(65)), Err(Refusal::TargetTooLong));
        let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
        assert!(whole(&fields(8)).is_ok());
        assert_eq!(whole(&fields(9)), Err(Refusal::TooManyFields));
        let head = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(len - 32));
        assert_eq!(head(1024).len(), 1024);
        assert!(whole(&head(1024)).is_ok());
        assert_eq!(whole(&head(1025)), Err(Refusal::HeadTooLarge));
        let unfinished = &head(2000)[..1024];
        assert_eq!(check(unfinished.as_bytes(), &LIMITS), Err(Refusal::HeadTooLarge));
        assert_eq!(check(&unfinished.as_bytes()[..1023], &LIMITS), Ok(None));
    }

    #[test]
    fn more_fields_than_fit_the_stack_are_taken_when_the_limit_says_so() {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(499));
        let limits = HeadLimits { max_head: 1 << 16, max_fields: 500, ..LIMITS };
        assert!(matches!(check(text.as_bytes(), &limits), Ok(Some(_))));
        let limits = HeadLimits { max_fields: 499, ..limits };
        assert_eq!(check(text.as_bytes(), &limits), Err(Refusal::TooManyFields));
    }

    #[test]
    fn a_search_that_found_its_head_starts_anew() {
        let mut search = HeadSearch::new();
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for _ in 0..2 {
            assert_eq!(search.look(&text[..9], &LIMITS), Ok(None));
            assert!(matches!(search.look(text, &LIMITS), Ok(Some(_))));
        }
    }
}

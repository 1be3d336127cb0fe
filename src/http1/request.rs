//! The head of a request as a client sent it: is it one, and what does it ask of the connection?
//!
//! The gate of a client connection asks this before hyper sees a byte. The fields themselves are hyper's business.

use std::mem::MaybeUninit;

use http::Version;
use httparse::{Header, Status};

use super::authority;
use super::fields::{self, ConnectionOptions};
use super::framing::{self, Known};
use super::head::{self, Bounds, Walk};
pub use super::refusal::Refusal;
use super::target;

/// What a request head may measure; the fields are named like the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
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
    /// A well-formed request to upgrade: `GET`, HTTP/1.1, no body, `Upgrade` announced in `Connection`, not to `h2c`.
    pub upgrade: bool,
    /// The client would use the connection again.
    pub keep_alive: bool,
    /// The client takes trailers.
    pub te_trailers: bool,
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
pub struct HeadSearch(Walk);

impl HeadSearch {
    /// A search for the next head, of which nothing was looked at yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Walk::request())
    }

    /// Looks at `bytes`, which start with the first byte of the head and hold what they held last time, and more.
    /// `None` means that the head is right so far and not whole; once it was whole the search starts anew.
    ///
    /// # Errors
    /// The rule that was broken, the same one however the head was cut into pieces.
    pub fn look(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<RequestHead>, Refusal> {
        if self.0.is_fresh()
            && let Some(judged) = parse(bytes, limits)
        {
            return judged.map(Some);
        }
        let bounds = Bounds {
            head: limits.max_head,
            target: limits.max_target.min(target::LONGEST),
            fields: limits.max_fields,
        };
        let Some(len) = self.0.advance(bytes, &bounds)? else {
            return Ok(None);
        };
        self.0 = Walk::request();
        // the walk and httparse agree on what a head is; should they ever not, nobody is to guess
        parse(&bytes[..len], limits)
            .unwrap_or(Err(Refusal::Malformed))
            .map(Some)
    }
}

impl Default for HeadSearch {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks at a request head once: [`HeadSearch::look`] for heads that will not be looked at again.
///
/// # Errors
/// The rule that was broken.
pub fn check(bytes: &[u8], limits: &Limits) -> Result<Option<RequestHead>, Refusal> {
    HeadSearch::new().look(bytes, limits)
}

/// Most fields that are parsed without a table on the heap.
const FIELDS_ON_STACK: usize = 128;

/// The short way: `None` unless the head is whole, well-formed and within the limits.
fn parse(bytes: &[u8], limits: &Limits) -> Option<Result<RequestHead, Refusal>> {
    if limits.max_fields <= FIELDS_ON_STACK {
        parse_into(bytes, limits, &mut [const { MaybeUninit::uninit() }; FIELDS_ON_STACK])
    } else {
        parse_into(bytes, limits, &mut Box::new_uninit_slice(limits.max_fields))
    }
}

fn parse_into<'b>(
    bytes: &'b [u8],
    limits: &Limits,
    table: &mut [MaybeUninit<Header<'b>>],
) -> Option<Result<RequestHead, Refusal>> {
    let mut request = httparse::Request::new(&mut []);
    let Ok(Status::Complete(len)) = request.parse_with_uninit_headers(bytes, table) else {
        return None;
    };
    let (method, target) = (request.method?.as_bytes(), request.path?.as_bytes());
    let head = &bytes[..len];
    let is_one = len <= limits.max_head
        && target.len() <= limits.max_target.min(target::LONGEST)
        && request.headers.len() <= limits.max_fields
        && method.len() <= head::MAX_METHOD
        && !leads_with_more_than_one_empty_line(head)
        && head::has_clean_lines(head, request.headers);
    if !is_one {
        return None;
    }
    let version = if request.version == Some(1) {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    Some(judge(head, method, target, version, request.headers))
}

fn leads_with_more_than_one_empty_line(head: &[u8]) -> bool {
    match head {
        [b'\r', b'\n', third, ..] => matches!(third, b'\r' | b'\n'),
        [first, ..] => *first == b'\n',
        [] => false,
    }
}

/// Judges a well-formed head by what it says.
fn judge(
    head: &[u8],
    method: &[u8],
    target: &[u8],
    version: Version,
    fields: &[Header<'_>],
) -> Result<RequestHead, Refusal> {
    target::check(method, target)?;
    let mut said = Said::default();
    for field in fields {
        said.take(head, field)?;
    }
    if version == Version::HTTP_11 && !said.host {
        return Err(Refusal::NoHost);
    }
    let framing = said.framing(version)?;
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    let options = &said.options;
    let facts = MethodFacts::of(method);
    Ok(RequestHead {
        len: head.len(),
        version,
        method: facts,
        framing,
        expects_continue: said.expects_continue && has_body && version == Version::HTTP_11,
        upgrade: method == b"GET"
            && version == Version::HTTP_11
            && !has_body
            && options.upgrade
            && said.upgrade == Some(true),
        keep_alive: !options.close && (version == Version::HTTP_11 || options.keep_alive),
        te_trailers: said.te_trailers,
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
struct Said {
    host: bool,
    length: Option<u64>,
    chunked: bool,
    expects_continue: bool,
    /// Whether every `Upgrade` field is one that may be tunnelled; none when there is no such field.
    upgrade: Option<bool>,
    te_trailers: bool,
    options: ConnectionOptions,
}

impl Said {
    fn take(&mut self, head: &[u8], field: &Header<'_>) -> Result<(), Refusal> {
        match Known::of(field.name.as_bytes()) {
            Known::Other | Known::KeepAlive | Known::Trailer | Known::Proxy => {}
            Known::Host if self.host => return Err(Refusal::TwoHosts),
            Known::Host => {
                authority::check(field.value).map_err(Refusal::Host)?;
                self.host = true;
            }
            Known::Connection => self.options.add_flags(field.value),
            Known::ContentLength => self.take_length(field.value)?,
            Known::TransferEncoding => self.take_encoding(head, field)?,
            Known::Expect if field.value.eq_ignore_ascii_case(b"100-continue") => self.expects_continue = true,
            Known::Expect => return Err(Refusal::Expect),
            Known::Upgrade => {
                let may = may_tunnel(field.value);
                self.upgrade = Some(may && self.upgrade.unwrap_or(true));
            }
            Known::Te => {
                self.te_trailers |=
                    fields::elements(field.value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
        }
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::RepeatedLength);
        }
        self.length = Some(framing::length(value).ok_or(Refusal::ContentLength)?);
        Ok(())
    }

    /// Exactly `chunked`, once, and without tabs around it, which some parsers take for part of the coding.
    fn take_encoding(&mut self, head: &[u8], field: &Header<'_>) -> Result<(), Refusal> {
        let after_name = head::offset(head, field.name.as_bytes()) + field.name.len();
        let line = head[after_name..]
            .split(|&byte| byte == b'\r')
            .next()
            .unwrap_or_default();
        if self.chunked || line.contains(&b'\t') {
            return Err(Refusal::TransferEncoding);
        }
        if !framing::is_chunked(field.value) {
            let is_unknown = fields::is_token(field.value) && !field.value.eq_ignore_ascii_case(b"identity");
            return Err(if is_unknown {
                Refusal::UnknownCoding
            } else {
                Refusal::TransferEncoding
            });
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Refusal::LengthAndEncoding),
            (None, true) if version == Version::HTTP_10 => Err(Refusal::EncodingInHttp10),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) => Ok(Framing::None),
        }
    }
}

/// Whether an `Upgrade` field is well-formed, `name` or `name/version` in a list (RFC 9110 §7.8), and asks for nothing
/// that must not pass: `h2c` would let requests through that nobody looks at.
fn may_tunnel(value: &[u8]) -> bool {
    let mut protocols = fields::elements(value).peekable();
    protocols.peek().is_some()
        && protocols.all(|protocol| {
            let mut parts = protocol.splitn(2, |&byte| byte == b'/');
            !protocol.eq_ignore_ascii_case(b"h2c") && parts.all(fields::is_token)
        })
}

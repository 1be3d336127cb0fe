//! What the client is told: the head of a server's response, or our own words. Fields are lines, so that what only
//! passes through is copied once.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

use super::attempt::Answer;
use super::exchange::Exchange;
use super::fault::Fault;
use super::page::{Format, Page, WELCOME};
use super::request::RefusedHead;
use crate::config::Hsts;
use crate::http1::encode;
use crate::http1::response::{ResponseBody, ResponseHead};
use crate::observe::end::End;
use crate::observe::record::Protocol;

/// The head of a response to a client. How its body is framed and what becomes of the connection is said by the
/// connection, in its own way.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The reason, when it is not the one that is registered for the status.
    pub reason: Option<Vec<u8>>,
    /// The fields, each a line with its CRLF; `Content-Length` among them where the length is known, and none that is for
    /// one connection only but `Upgrade`.
    pub fields: Vec<u8>,
    /// How long the body is.
    pub length: BodyLength,
    /// What becomes of the connection.
    pub then: Then,
    /// The `Upgrade` among the fields is for the client.
    pub upgrade: bool,
}

/// How long the body of a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes. 0 for a response that has no body whatever its fields say.
    Known(u64),
    /// That is not known before its end.
    Unknown,
}

/// What becomes of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another request may follow.
    KeepAlive,
    /// No request may follow.
    Close,
    /// It is a tunnel from here on.
    Tunnel,
}

/// What an exchange gives for its client.
#[derive(Debug)]
pub enum ResponsePart {
    /// An informational response (RFC 9110 §15.2); others follow.
    Interim(Response),
    /// The head of the response.
    Head(Response),
    /// Bytes of its body.
    Data(Bytes),
    /// The fields after its body.
    Trailers(HeaderMap),
    /// The response is whole.
    End,
    /// The response breaks off: what came of it is all that there will be.
    Broken(End),
}

const REQUEST_ID: &str = "x-request-id";

impl Response {
    /// An informational response of a server.
    pub(super) fn interim(head: ResponseHead) -> Self {
        let ResponseHead { status, reason, fields, .. } = head;
        let (length, then) = (BodyLength::Known(0), Then::KeepAlive);
        Self { status, reason, fields, length, then, upgrade: false }
    }

    /// `100 Continue` of our own.
    pub(super) fn go_on() -> Self {
        let (length, then) = (BodyLength::Known(0), Then::KeepAlive);
        Self { status: StatusCode::CONTINUE, reason: None, fields: Vec::new(), length, then, upgrade: false }
    }

    /// What is passed on of a server's answer; `last` when no other request may follow.
    pub(super) fn relayed(exchange: &Exchange, answer: &mut Answer, last: bool) -> Self {
        let head = &mut *answer.head;
        let mut fields = std::mem::take(&mut head.fields);
        if !head.has_date {
            encode::raw_field(&mut fields, "date", &exchange.thread.date());
        }
        if exchange.thread.runtime_config.config.log.request_id_in_response && !has_field(&fields, REQUEST_ID) {
            encode::raw_field(&mut fields, REQUEST_ID, exchange.id.as_bytes());
        }
        if let Some(hsts) = hsts(exchange).filter(|_| !has_field(&fields, HSTS)) {
            encode::raw_field(&mut fields, HSTS, hsts.as_bytes());
        }
        let trailers = head.trailers.take().filter(|_| exchange.facts.te_trailers);
        let has_trailers = head.body == ResponseBody::Chunked && exchange.facts.version != Version::HTTP_10;
        if let Some(trailers) = trailers.filter(|_| has_trailers) {
            encode::raw_field(&mut fields, "trailer", trailers.as_bytes());
        }
        if head.length.is_none() && head.body == ResponseBody::Length(0) && exchange.protocol != Protocol::Http2 {
            encode::content_length(&mut fields, 0); // in HTTP/2 the head itself ends the response
        }
        let length = match head.body {
            ResponseBody::None => BodyLength::Known(0),
            ResponseBody::Length(length) => BodyLength::Known(length),
            ResponseBody::Chunked | ResponseBody::UntilClose => BodyLength::Unknown,
        };
        let then = match last {
            _ if head.upgraded => Then::Tunnel,
            true => Then::Close,
            false => Then::KeepAlive,
        };
        let upgrade = head.upgraded || head.demands_upgrade && exchange.protocol != Protocol::Http10;
        let (status, reason) = (head.status, head.reason.take());
        Self { status, reason, fields, length, then, upgrade }
    }

    /// A response of our own with these fields besides, and a body of `length` bytes.
    pub(super) fn own(exchange: &Exchange, status: StatusCode, fields: &[(&str, &[u8])], length: usize) -> Self {
        let mut lines = Vec::with_capacity(256);
        encode::raw_field(&mut lines, "date", &exchange.thread.date());
        if exchange.thread.runtime_config.config.log.request_id_in_response {
            encode::raw_field(&mut lines, REQUEST_ID, exchange.id.as_bytes());
        }
        if let Some(hsts) = hsts(exchange) {
            encode::raw_field(&mut lines, HSTS, hsts.as_bytes());
        }
        for (name, value) in fields {
            encode::raw_field(&mut lines, name, value);
        }
        let length = length as u64;
        encode::content_length(&mut lines, length);
        let (length, then) = (BodyLength::Known(length), Then::KeepAlive);
        Self { status, reason: None, fields: lines, length, then, upgrade: false }
    }

    /// How a call of gRPC ended, where the response is nothing but its head.
    pub(super) fn grpc_status(&self) -> Option<u32> {
        const NAME: &[u8] = b"grpc-status:";
        let mut lines = self.fields.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(NAME))?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    }

    /// The same as the answer to a stream that asked for a tunnel.
    pub(super) fn of_stream(mut self) -> Self {
        let lines = self.fields.split_inclusive(|byte| *byte == b'\n');
        let is_kept = |line: &&[u8]| !line.to_ascii_lowercase().starts_with(b"sec-websocket-accept:");
        self.fields = lines.filter(is_kept).flatten().copied().collect();
        (self.status, self.length, self.then) = (StatusCode::OK, BodyLength::Unknown, Then::KeepAlive);
        self
    }

    /// Says that no other request may follow.
    pub(super) fn closes(mut self, closes: bool) -> Self {
        if closes {
            self.then = Then::Close;
        }
        self
    }
}

const HSTS: &str = "strict-transport-security";

/// What a client that came over TLS is told of the next times (RFC 6797 §7.1).
fn hsts(exchange: &Exchange) -> Option<&str> {
    let site = exchange.site.filter(|_| exchange.origin.is_tls)?;
    exchange.thread.runtime_config.config.sites[usize::from(site)].hsts.as_ref().map(Hsts::as_str)
}

/// Whether one of these lines is a field of this name, which is in lower case.
fn has_field(lines: &[u8], name: &str) -> bool {
    let mut lines = lines.split(|byte| *byte == b'\n').filter_map(|line| line.split_at_checked(name.len()));
    lines.any(|(start, rest)| rest.starts_with(b":") && start.eq_ignore_ascii_case(name.as_bytes()))
}

/// Answers while there is no site. The status says to programs that nothing was served (RFC 9110 §15.6.4): a
/// configuration that lost its sites must not look like success. GET and HEAD, which a person may have sent, get what to
/// do about it.
pub(super) fn welcome(exchange: &mut Exchange) -> (Response, Bytes) {
    match exchange.head.method() {
        b"GET" | b"HEAD" => failed(exchange, &Fault::NoSites, Format::Plain, Some(WELCOME)),
        _ => fault(exchange, &Fault::NoSites),
    }
}

/// Tells the client what went wrong.
pub(super) fn fault(exchange: &mut Exchange, fault: &Fault) -> (Response, Bytes) {
    let accept = exchange.head.values(b"accept").filter_map(|value| std::str::from_utf8(value).ok());
    let format = Format::wanted(accept);
    failed(exchange, fault, format, None)
}

/// The response to a fault: `text`, or the page that tells of it.
fn failed(exchange: &mut Exchange, fault: &Fault, format: Format, text: Option<&'static str>) -> (Response, Bytes) {
    exchange.fails(fault);
    exchange.status = fault.status().as_u16();
    let page = || Page::of_fault(fault, exchange.id).render(format);
    let body = text.map_or_else(page, |text| Bytes::from_static(text.as_bytes()));
    let closes = fault.spoils_connection() || exchange.has_body();
    let response = Response::own(exchange, fault.status(), &fields_of(fault, format), body.len()).closes(closes);
    (response, body)
}

fn fields_of(fault: &Fault, format: Format) -> Vec<(&'static str, &'static [u8])> {
    let mut fields: Vec<(&str, &[u8])> =
        vec![("content-type", format.content_type().as_bytes()), ("cache-control", b"no-store")];
    match fault.status() {
        StatusCode::SERVICE_UNAVAILABLE => fields.push(("retry-after", b"5")),
        StatusCode::METHOD_NOT_ALLOWED => fields.push(("allow", ALLOW)),
        _ => {}
    }
    fields
}

/// What a 405 has to say (RFC 9110 §15.5.6): the methods that are known, though any other but CONNECT goes on too.
const ALLOW: &[u8] = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// Refuses a head as `exchange`, which was opened for the refusal: the response and its body.
pub(super) fn refuse(exchange: &mut Exchange, refused: &RefusedHead<'_>) -> (Response, Bytes) {
    let RefusedHead { fault, seen, .. } = refused;
    let (response, body) = failed(exchange, fault, Format::wanted(find_accept(seen)), None);
    exchange.bytes_out = body.len() as u64;
    (response, if seen.starts_with(b"HEAD ") { Bytes::new() } else { body })
}

/// The Accept fields of a head that was not understood: every line that looks like one.
fn find_accept(seen: &[u8]) -> impl Iterator<Item = &str> {
    let lines = seen.split(|byte| *byte == b'\n').filter_map(|line| line.split_at_checked(7));
    let fields = lines.filter(|(name, _)| name.eq_ignore_ascii_case(b"accept:"));
    fields.filter_map(|(_, value)| std::str::from_utf8(value).ok()).map(str::trim)
}

/// Whether the server closes the connection that it authenticates: the client, which would take its own for that one,
/// has to begin anew.
pub(super) fn ends_authentication(answer: &Answer) -> bool {
    answer.connection.is_private() && !answer.connection.keeps_alive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_at_the_beginning_of_a_line() {
        assert!(has_field(b"a: x-request-id:\r\nX-Request-ID: 1\r\n", REQUEST_ID));
        assert!(!has_field(b"a: x-request-id: 1\r\nx-request-ids: 1\r\n", REQUEST_ID));
    }

    #[test]
    fn accept_is_found_in_a_head_that_was_not_understood() {
        let found = |seen: &'static [u8]| find_accept(seen).collect::<Vec<_>>();
        assert_eq!(found(b"GET / HTTP/1.1\nHost: a\nAccept: text/html\r\nA:\r\naccept:*/*"), ["text/html", "*/*"]);
        assert!(found(b"\x16\x03\x01\x00").is_empty());
    }
}

//! What the client is told: the head of a server's response, or our own words.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use tokio::time::Instant;

use super::attempt::Answer;
use super::body::Reply;
use super::client::Client;
use super::exchange::Exchange;
use super::fault::Fault;
use super::page::{Format, Page, WELCOME};
use super::thread::Thread;
use super::tunnel::Tunnel;
use crate::http1::encode;
use crate::http1::request::Refusal;
use crate::http1::response::{ResponseBody, ResponseHead};
use crate::observe::record::{Phase, Protocol};

/// Passes a server's response on.
pub(super) fn relay(mut exchange: Box<Exchange>, site: usize, answer: Answer) -> Response<Reply> {
    let pool = exchange.thread.plan.config.sites[site].pool;
    let status = answer.head.status;
    exchange.status = status.as_u16();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return switch(exchange, pool, answer);
    }
    exchange.phase = Phase::Body;
    let mut answer = answer;
    carry(&exchange, &mut answer.head);
    let trailers = answer.head.trailers.take().filter(|_| exchange.facts.te_trailers);
    let reason = reason(&mut answer.head);
    // what is left of the request would be taken for the next one
    let ends = exchange.thread.lets_go(&exchange.client)
        || answer.upload.is_some()
        || answer.unasked
        || ends_authentication(&answer)
        || ends_with_connection(&exchange, &answer);
    let close = ends.then_some(exchange.protocol);
    let demands_upgrade = answer.head.demands_upgrade && exchange.protocol != Protocol::Http10;
    let mut response = Response::new(Reply::relay(exchange, pool, answer));
    *response.status_mut() = status;
    reason.map(|reason| response.extensions_mut().insert(reason));
    if let Some(trailers) = trailers {
        response.headers_mut().insert(header::TRAILER, trailers); // hyper sends no trailer that is not announced
    }
    close.inspect(|protocol| announce_close(&mut response, *protocol));
    if demands_upgrade {
        let options = if close.is_some() { "upgrade, close" } else { "upgrade" };
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static(options));
    }
    response
}

/// Has the client get the fields of a server's response: hyper is told only what it has to act upon.
fn carry(exchange: &Exchange, head: &mut ResponseHead) {
    let mut fields = std::mem::take(&mut head.fields);
    if let Some(length) = head.length.filter(|_| exchange.is_head()) {
        encode::content_length(&mut fields, length); // hyper says that of a body which there is
    }
    if !head.has_date {
        encode::raw_field(&mut fields, "date", &exchange.thread.date());
    }
    if exchange.thread.plan.config.log.request_id_in_response && !has_field(&fields, REQUEST_ID) {
        encode::raw_field(&mut fields, REQUEST_ID, exchange.id.as_bytes());
    }
    exchange.client.carry(fields);
}

const REQUEST_ID: &str = "x-request-id";

/// Whether one of these lines is a field of this name, which is in lower case.
fn has_field(lines: &[u8], name: &str) -> bool {
    let mut lines = lines.split(|byte| *byte == b'\n').filter_map(|line| line.split_at_checked(name.len()));
    lines.any(|(start, rest)| rest.starts_with(b":") && start.eq_ignore_ascii_case(name.as_bytes()))
}

/// A response of our own.
pub(super) fn own(exchange: Box<Exchange>, body: Bytes) -> Response<Reply> {
    let date = HeaderValue::from_bytes(&exchange.thread.date());
    let id = exchange.thread.plan.config.log.request_id_in_response.then_some(exchange.id);
    let mut response = Response::new(Reply::own(exchange, body));
    response.headers_mut().extend(date.map(|date| (header::DATE, date)));
    if let Some(Ok(id)) = id.map(|id| HeaderValue::from_bytes(id.as_bytes())) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Says that the connection closes after this response. hyper adds `keep-alive` to whatever stands in `Connection` for
/// a client of HTTP/1.0, unless the response is of that version itself.
pub(super) fn announce_close(response: &mut Response<Reply>, protocol: Protocol) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if protocol == Protocol::Http10 {
        *response.version_mut() = Version::HTTP_10;
    }
}

/// Whether nothing but the end of the connection can tell the client where the body ends. hyper ends it then, but would
/// have said `keep-alive`.
fn ends_with_connection(exchange: &Exchange, answer: &Answer) -> bool {
    exchange.protocol == Protocol::Http10
        && matches!(answer.head.body, ResponseBody::Chunked | ResponseBody::UntilClose)
}

/// Whether the server closes the connection that it authenticates: the client, which would take its own for that one,
/// has to begin anew.
fn ends_authentication(answer: &Answer) -> bool {
    answer.connection.is_private() && !answer.connection.keeps_alive()
}

/// The client's protocol changes: the exchange becomes a tunnel, once hyper has sent the head.
fn switch(mut exchange: Box<Exchange>, pool: usize, answer: Answer) -> Response<Reply> {
    let Answer { mut head, connection, open, .. } = answer;
    exchange.phase = Phase::Tunnel;
    carry(&exchange, &mut head);
    let reason = reason(&mut head);
    let client = exchange.client.clone();
    let timeout = exchange.thread.plan.pools[pool].settings.tunnel_timeout;
    let (stream, ahead) = connection.into_parts();
    client.switch_to(Tunnel::new(exchange, stream, ahead, timeout, open));
    let mut response = Response::new(Reply::switch());
    *response.status_mut() = head.status;
    reason.map(|reason| response.extensions_mut().insert(reason));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// The reason that the server gives, where hyper would write another one.
fn reason(head: &mut ResponseHead) -> Option<ReasonPhrase> {
    ReasonPhrase::try_from(head.reason.take()?).ok()
}

/// Answers while there is no site. The status says to programs that nothing was served (RFC 9110 §15.6.4): a
/// configuration that lost its sites must not look like success. GET and HEAD, which a person may have sent, get what to
/// do about it.
pub(super) fn welcome(exchange: Box<Exchange>) -> Response<Reply> {
    match exchange.head.method() {
        b"GET" | b"HEAD" => failed(exchange, &Fault::NoSites, Format::Plain, Some(WELCOME)),
        _ => fault(exchange, &Fault::NoSites),
    }
}

/// Tells the client what went wrong.
pub(super) fn fault(exchange: Box<Exchange>, fault: &Fault) -> Response<Reply> {
    let accept = exchange.head.values(b"accept").filter_map(|value| std::str::from_utf8(value).ok());
    let format = Format::wanted(accept);
    failed(exchange, fault, format, None)
}

/// The response to a fault: `text`, or the page that tells of it.
fn failed(mut exchange: Box<Exchange>, fault: &Fault, format: Format, text: Option<&'static str>) -> Response<Reply> {
    exchange.fails(fault);
    exchange.status = fault.status().as_u16();
    let page = || Page::of_fault(fault, exchange.id).render(format);
    let bytes = text.map_or_else(page, |text| Bytes::from_static(text.as_bytes()));
    let close = exchange.thread.lets_go(&exchange.client) || fault.spoils_connection() || exchange.has_body();
    let protocol = exchange.protocol;
    let mut response = own(exchange, bytes);
    *response.status_mut() = fault.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if fault.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if close {
        announce_close(&mut response, protocol);
    }
    response
}

/// Refuses a request whose head broke a rule: the whole response, as bytes for the connection, which is to be closed
/// after it. `seen` is what came of the head, `began` when its first byte came.
#[must_use]
pub fn refuse(thread: &Rc<Thread>, client: &Rc<Client>, refusal: &Refusal, seen: &[u8], began: Instant) -> Bytes {
    refuse_head(thread, client, &Fault::Refused(*refusal), seen, began)
}

/// Refuses a request whose head did not come whole in time; as [`refuse`].
#[must_use]
pub fn refuse_slow_head(thread: &Rc<Thread>, client: &Rc<Client>, seen: &[u8], began: Instant) -> Bytes {
    refuse_head(thread, client, &Fault::SlowHead, seen, began)
}

fn refuse_head(thread: &Rc<Thread>, client: &Rc<Client>, fault: &Fault, seen: &[u8], began: Instant) -> Bytes {
    let mut exchange = Exchange::open_refused(thread, client, seen, began);
    exchange.fails(fault);
    exchange.status = fault.status().as_u16();
    thread.counters.head_refused(client.listener, exchange.status);
    let format = Format::wanted(find_accept(seen));
    let body = Page::of_fault(fault, exchange.id).render(format);
    let mut out = BytesMut::with_capacity(body.len() + 256);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(fault.status().as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(fault.status().canonical_reason().unwrap_or("Refused").as_bytes());
    if fault.status() == StatusCode::METHOD_NOT_ALLOWED {
        out.extend_from_slice(ALLOW);
    }
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(&thread.date());
    if thread.plan.config.log.request_id_in_response {
        out.extend_from_slice(b"\r\nx-request-id: ");
        out.extend_from_slice(exchange.id.as_bytes());
    }
    out.extend_from_slice(b"\r\nconnection: close\r\ncache-control: no-store\r\ncontent-type: ");
    out.extend_from_slice(format.content_type().as_bytes());
    out.extend_from_slice(b"\r\ncontent-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    exchange.bytes_out = body.len() as u64;
    if !seen.starts_with(b"HEAD ") {
        out.extend_from_slice(&body);
    }
    out.freeze()
}

/// What a 405 has to say (RFC 9110 §15.5.6): the methods that are known, though any other but CONNECT goes on too.
const ALLOW: &[u8] = b"\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// The Accept fields of a head that was not understood: every line that looks like one.
fn find_accept(seen: &[u8]) -> impl Iterator<Item = &str> {
    let lines = seen.split(|byte| *byte == b'\n').filter_map(|line| line.split_at_checked(7));
    let fields = lines.filter(|(name, _)| name.eq_ignore_ascii_case(b"accept:"));
    fields.filter_map(|(_, value)| std::str::from_utf8(value).ok()).map(str::trim)
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

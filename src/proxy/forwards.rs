//! How much further an `OPTIONS` or a `TRACE` may go (RFC 9110 §7.6.2), and the answer of the last one allowed.

use bytes::Bytes;
use http::StatusCode;

use super::exchange::Exchange;
use super::fault::Fault;
use super::response::Response;
use crate::http1::encode;
use crate::message::head::{Field, RawHead};
use crate::observe::end::End;

/// How many more proxies and servers may pass the request on, if it says so.
///
/// # Errors
/// When what it says is no number.
pub(super) fn left(head: &RawHead) -> Result<Option<u64>, Fault> {
    if !is_counted(head) {
        return Ok(None);
    }
    let mut values = head.values(b"max-forwards");
    let Some(value) = values.next() else { return Ok(None) };
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|digits| digits.parse().ok()), values.next()) {
        (Some(left), None) => Ok(Some(left)),
        _ => Err(Fault::MaxForwards),
    }
}

/// For other methods the field means nothing, and goes on as it came.
pub(super) fn is_counted(head: &RawHead) -> bool {
    matches!(head.method(), b"OPTIONS" | b"TRACE")
}

/// Answers a request that may go no further: nothing to say of options, and the head as it came to us for a trace.
pub(super) fn answer(exchange: &mut Exchange) -> (Response, Bytes) {
    exchange.status = StatusCode::OK.as_u16();
    exchange.ends(End::OK);
    let is_trace = exchange.head.method() == b"TRACE";
    let body = if is_trace { trace(exchange) } else { Bytes::new() };
    let fields: &[(&str, &[u8])] = if is_trace { &[("content-type", b"message/http")] } else { &[] };
    let response = Response::own(exchange, StatusCode::OK, fields, body.len());
    (response.closes(exchange.has_body()), body)
}

/// The head, without what a page that a browser runs must not learn from it (RFC 9110 §9.3.8).
fn trace(exchange: &Exchange) -> Bytes {
    let head = &exchange.head;
    let mut out = Vec::with_capacity(512);
    encode::request_line(&mut out, head.method(), exchange.path());
    head.write_fields(&mut out, |field| !is_secret(field));
    out.extend_from_slice(encode::END);
    out.into()
}

fn is_secret(field: &Field<'_>) -> bool {
    field.is(b"cookie") || field.is(b"authorization") || field.is_hop_by_hop()
}

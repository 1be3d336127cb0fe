//! The head of the request as a server gets it: written anew from what was understood, one framing, one meaning.

use base64ct::{Base64, Encoding};
use http::Version;

use super::exchange::Exchange;
use super::fault::Fault;
use super::{client_identity, forwards, origin};
use crate::config::TrustedProxy;
use crate::http1::encode;
use crate::http1::request::Framing;
use crate::message::fields::ConnectionOptions;
use crate::message::head::{Field, Frames, RawHead};
use crate::message::upgrade;
use crate::observe::record::Protocol;

/// A request that has passed here this often goes in circles.
const MOST_PASSES: usize = 8;
/// How the names of what proxies tell of a client begin.
const FORWARDED: &[u8] = b"x-forwarded-";
/// How the names of what proxies tell of a client's certificate begin.
const IDENTITY: &[u8] = b"x-ssl-client-";
/// How we sign `Via`.
const PSEUDONYM: &[u8] = b"segue";
const VIA_10: &[u8] = b"via: 1.0 segue\r\n";
const VIA_11: &[u8] = b"via: 1.1 segue\r\n";
const VIA_20: &[u8] = b"via: 2.0 segue\r\n";

/// What the connection to the client tells a server about the client.
struct ForwardedOrigin<'a> {
    /// The peer is one of the proxies whose word is taken.
    trusted: bool,
    proxies: &'a [TrustedProxy],
    host: &'a [u8],
}

impl ForwardedOrigin<'_> {
    /// What a trusted proxy says in the field of this name, which is in lower case. Where nothing would be believed
    /// the head is not searched.
    fn forwarded_field<'h, const N: usize>(&self, head: &'h RawHead, name: &'static [u8; N]) -> Option<&'h [u8]> {
        if self.trusted { head.values(name).next().filter(|value| !value.is_empty()) } else { None }
    }

    /// The same of a parameter of `Forwarded`.
    fn forwarded<'h>(&self, head: &'h RawHead, name: &[u8]) -> Option<&'h [u8]> {
        if self.trusted { origin::forwarded_parameter(head, self.proxies, name) } else { None }
    }
}

/// Writes the head of the request for a server.
///
/// # Errors
/// When the request has come through here too often.
pub(super) fn write_request(out: &mut Vec<u8>, exchange: &Exchange, trusted: &[TrustedProxy]) -> Result<(), Fault> {
    let head = &exchange.head;
    let (is_proxy, host) = (origin::is_proxy(trusted, exchange.origin.peer), exchange.host_bytes());
    let origin = ForwardedOrigin { trusted: is_proxy, proxies: trusted, host };
    encode::request_line(out, head.method(), exchange.path());
    let host_stays = exchange.reached.is_none() && head.host() == Some(origin.host);
    if !host_stays {
        // servers take an empty Host in HTTP/1.1 for an error, which it is not (RFC 9112 §3.2)
        encode::raw_field(out, "host", exchange.reached.as_ref().map_or(origin.host, |reached| reached.as_bytes()));
    }
    write_fields(out, exchange, &origin, host_stays)?;
    write_origin(out, exchange, &origin);
    client_identity::write_fields(out, exchange);
    if exchange.facts.upgrade {
        write_upgrade(out, head);
        if exchange.protocol == Protocol::Http2 && head.upgrades().any(|value| value.eq_ignore_ascii_case(b"websocket"))
        {
            write_websocket_key(out, exchange);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the head of a request for the status page, which is answered here: nothing of it is for a server, so it has the few
/// fields that the page asks for, and the client as the record has it, which no client can write.
pub(super) fn write_page_request(out: &mut Vec<u8>, exchange: &Exchange) {
    let head = &exchange.head;
    encode::request_line(out, head.method(), exchange.path());
    encode::raw_field(out, "host", b"segue");
    let client = exchange.believed_client().map_or_else(|| "unix".to_owned(), |client| client.ip().to_string());
    encode::raw_field(out, "segue-client", client.as_bytes());
    let mut keep =
        |name: &str, value: Option<&[u8]>| value.into_iter().for_each(|one| encode::raw_field(out, name, one));
    keep("authorization", head.values(b"authorization").next());
    keep("content-type", head.values(b"content-type").next());
    keep("accept", head.values(b"accept").next());
    keep("segue-token", head.values(b"segue-token").next());
    match exchange.facts.framing {
        Framing::None => {}
        Framing::Length(length) => keep("content-length", Some(itoa::Buffer::new().format(length).as_bytes())),
        Framing::Chunked => keep("transfer-encoding", Some(b"chunked")),
    }
    out.extend_from_slice(b"\r\n");
}

/// The fields that go on as they came, and those that do so changed.
fn write_fields(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    origin: &ForwardedOrigin<'_>,
    host_stays: bool,
) -> Result<(), Fault> {
    let head = &exchange.head;
    let mut digits = itoa::Buffer::new();
    let (length, mut length_stays) = match exchange.facts.framing {
        Framing::Length(length) => (digits.format(length).as_bytes(), false),
        Framing::None | Framing::Chunked => (&b""[..], false),
    };
    let names_fields = exchange.facts.names_fields;
    let options = if names_fields { ConnectionOptions::of(head.connections()) } else { ConnectionOptions::default() };
    let verified_here = client_identity::is_verified_here(exchange);
    let (mut passes, mut said_real_ip, mut left) = (0, false, None);
    if forwards::is_counted(head) {
        left = forwards::left(head)?;
    }
    head.write_fields(out, |field| {
        match field.frames() {
            Some(Frames::Host) => return host_stays,
            Some(Frames::ContentLength) => {
                length_stays = field.value == length;
                return length_stays;
            }
            Some(Frames::Expect) => return false,
            None => {}
        }
        if field.is_hop_by_hop() || (names_fields && options.names(field.name)) {
            return false;
        }
        match ForwardingField::of(field) {
            ForwardingField::Nothing => !field.is_underscore_twin(),
            ForwardingField::Identity => origin.trusted && !verified_here,
            ForwardingField::Passes => {
                passes += count_passes(field.value);
                true
            }
            ForwardingField::Forwards => left.is_none(),
            ForwardingField::Ours => false,
            ForwardingField::RealIp => {
                said_real_ip |= !origin.trusted;
                origin.trusted
            }
            ForwardingField::ByProxies => origin.trusted && !field.value.is_empty(),
        }
    });
    if passes >= MOST_PASSES {
        return Err(Fault::Loop { times: passes });
    }
    if exchange.facts.framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    } else if !length_stays && !length.is_empty() {
        encode::raw_field(out, "content-length", length);
    }
    if said_real_ip && !exchange.origin.address().is_empty() {
        encode::raw_field(out, "x-real-ip", exchange.origin.address().as_bytes());
    }
    if let Some(left) = left {
        encode::raw_field(out, "max-forwards", itoa::Buffer::new().format(left.saturating_sub(1)).as_bytes());
    }
    if exchange.facts.te_trailers {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    Ok(())
}

/// What a field tells of the way that the request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ForwardingField {
    Nothing,
    /// `Via`.
    Passes,
    /// `Max-Forwards`.
    Forwards,
    /// Written by [`write_origin`].
    Ours,
    /// `X-Real-IP`: that of a client that is no trusted proxy is corrected.
    RealIp,
    /// What [`client_identity`] writes of the certificate of the client: of a site that asks for none, as a trusted proxy
    /// says it.
    Identity,
    /// Other words that only a trusted proxy may put in.
    ByProxies,
}

impl ForwardingField {
    fn of(field: &Field<'_>) -> Self {
        match field.name {
            [b'x' | b'X', b'-', ..] => Self::of_extension(field),
            [b'v' | b'V', _, _] if field.is(b"via") => Self::Passes,
            [b'm' | b'M', ..] if field.is(b"max-forwards") => Self::Forwards,
            [b'c' | b'C', b'l' | b'L', ..] if field.is(b"client-cert") || field.is(b"client-cert-chain") => {
                Self::Identity
            }
            [b'f' | b'F', ..] if field.is(b"forwarded") => Self::ByProxies,
            _ => Self::Nothing,
        }
    }

    fn of_extension(field: &Field<'_>) -> Self {
        let forwarded = field.name.split_at_checked(FORWARDED.len()).map(|(start, _)| start);
        if forwarded.is_some_and(|start| start.eq_ignore_ascii_case(FORWARDED)) {
            let is_ours =
                field.is(b"x-forwarded-for") || field.is(b"x-forwarded-host") || field.is(b"x-forwarded-proto");
            return if is_ours { Self::Ours } else { Self::ByProxies };
        }
        let identity = field.name.split_at_checked(IDENTITY.len()).map(|(start, _)| start);
        if identity.is_some_and(|start| start.eq_ignore_ascii_case(IDENTITY)) {
            return Self::Identity;
        }
        match field.name.len() {
            9 if field.is(b"x-real-ip") => Self::RealIp,
            12 if field.is(b"x-request-id") => Self::ByProxies,
            _ => Self::Nothing,
        }
    }
}

/// Whether a trusted proxy answers for the connection to the client: it says that it is one over TLS, or says nothing, as
/// a TLS terminator does that was not told to.
pub(super) fn came_over_tls(exchange: &Exchange, trusted: &[TrustedProxy]) -> bool {
    let (trusted, proxies) = (origin::is_proxy(trusted, exchange.origin.peer), trusted);
    let (origin, head) = (ForwardedOrigin { trusted, proxies, host: b"" }, &exchange.head);
    let said = origin.forwarded_field(head, b"x-forwarded-proto").or_else(|| origin.forwarded(head, b"proto"));
    trusted && said.is_none_or(|proto| !proto.eq_ignore_ascii_case(b"http"))
}

/// The client, its protocol and its host, as the server is told them; what a trusted proxy says is kept and added to.
fn write_origin(out: &mut Vec<u8>, exchange: &Exchange, origin: &ForwardedOrigin<'_>) {
    let head = &exchange.head;
    write_forwarded_for(out, head, origin, exchange.origin.address());
    match origin.forwarded_field(head, b"x-forwarded-proto").or_else(|| origin.forwarded(head, b"proto")) {
        Some(proto) => encode::raw_field(out, "x-forwarded-proto", proto),
        None if exchange.origin.is_tls => out.extend_from_slice(b"x-forwarded-proto: https\r\n"),
        None => out.extend_from_slice(b"x-forwarded-proto: http\r\n"),
    }
    let forwarded = origin.forwarded_field(head, b"x-forwarded-host").or_else(|| origin.forwarded(head, b"host"));
    let host = forwarded.unwrap_or(origin.host);
    if !host.is_empty() {
        encode::raw_field(out, "x-forwarded-host", host);
    }
    if origin.forwarded_field(head, b"x-request-id").is_none() {
        encode::raw_field(out, "x-request-id", exchange.id.as_bytes());
    }
    out.extend_from_slice(match exchange.facts.version {
        Version::HTTP_10 => VIA_10,
        Version::HTTP_2 => VIA_20,
        _ => VIA_11,
    });
}

/// Every client and proxy that the request came through, as far as that is known: the peer at a unix socket has no address.
fn write_forwarded_for(out: &mut Vec<u8>, head: &RawHead, origin: &ForwardedOrigin<'_>, peer: &str) {
    let mut before: &[u8] = b"x-forwarded-for: ";
    let mut add = |value: &[u8]| {
        out.extend_from_slice(before);
        out.extend_from_slice(value);
        before = b", ";
    };
    if origin.trusted {
        let mut said = head.values(b"x-forwarded-for").filter(|value| !value.is_empty()).peekable();
        if said.peek().is_none()
            && let Some(client) = origin::client_by_forwarded(head, origin.proxies)
        {
            add(client.ip().to_string().as_bytes());
        }
        said.for_each(&mut add);
    }
    if !peer.is_empty() {
        add(peer.as_bytes());
    }
    if before == b", " {
        out.extend_from_slice(b"\r\n");
    }
}

fn write_upgrade(out: &mut Vec<u8>, head: &RawHead) {
    out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
    let begin = out.len();
    for protocol in head.upgrades().flat_map(upgrade::offers) {
        if out.len() > begin {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// What a server of WebSocket wants in HTTP/1.1, and a client of HTTP/2 does not say (RFC 8441 §5).
fn write_websocket_key(out: &mut Vec<u8>, exchange: &Exchange) {
    let [high, low] = [(); 2].map(|()| exchange.thread.random().to_be_bytes());
    let mut key = [0; 24];
    let key = Base64::encode(&[high, low].concat(), &mut key).unwrap_or_default(); // 16 bytes are 24 characters
    encode::raw_field(out, "sec-websocket-key", key.as_bytes());
}

/// How many of the proxies in a Via field signed as we do (RFC 9110 §7.6.3).
fn count_passes(via: &[u8]) -> usize {
    let signed = |pass: &[u8]| {
        let mut words = pass.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by == PSEUDONYM)
    };
    via.split(|byte| *byte == b',').filter(|pass| signed(pass)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_signature_counts_as_a_pass() {
        assert_eq!(count_passes(b"1.1 segue, 1.0 fred,1.1  segue"), 2);
        assert_eq!(count_passes(b"1.1 segue.example, segue, 1.1 fred (segue)"), 0);
    }
}

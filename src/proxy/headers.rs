//! The head of the request as a server gets it: written anew from what was understood, one framing, one meaning.

use std::net::{IpAddr, SocketAddr};

use http::Version;
use http::header::{self, HeaderName};
use http::request::Parts;
use ipnet::IpNet;

use super::exchange::Exchange;
use super::fault::Fault;
use super::forwards;
use crate::http1::encode;
use crate::http1::fields::{ConnectionOptions, is_hop_by_hop, underscore_twin};
use crate::http1::request::Framing;

/// A request that has passed here this often goes in circles.
const MOST_PASSES: usize = 8;
static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// How we sign `Via`.
const PSEUDONYM: &[u8] = b"segue";
const VIA_10: &[u8] = b"via: 1.0 segue\r\n";
const VIA_11: &[u8] = b"via: 1.1 segue\r\n";

/// What the connection to the client tells a server about the client.
struct Origin<'a> {
    /// The peer is one of the proxies whose word is taken.
    trusted: bool,
    host: &'a [u8],
}

/// Writes the head of the request for a server.
///
/// # Errors
/// When the request has come through here too often.
pub(super) fn write_request(out: &mut Vec<u8>, exchange: &Exchange, trusted: &[IpNet]) -> Result<(), Fault> {
    let head = &exchange.head;
    let address = exchange.client.peer.map(|peer| plain(&peer));
    let origin = Origin {
        trusted: address.is_some_and(|address| trusted.iter().any(|net| net.contains(&address))),
        host: exchange.host_bytes(),
    };
    encode::request_line(out, &head.method, exchange.path());
    encode::raw_field(out, "host", origin.host);
    write_fields(out, exchange, head, &origin)?;
    write_framing(out, exchange);
    write_origin(out, exchange, head, &origin);
    if exchange.facts.upgrade {
        write_upgrade(out, head);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The fields that go on as they came.
fn write_fields(out: &mut Vec<u8>, exchange: &Exchange, head: &Parts, origin: &Origin<'_>) -> Result<(), Fault> {
    let names_fields = exchange.facts.names_fields;
    let options = if names_fields { ConnectionOptions::of(&head.headers) } else { ConnectionOptions::default() };
    let mut passes = 0;
    for (name, value) in &head.headers {
        if is_hop_by_hop(name) || (names_fields && options.names(name)) {
            continue;
        }
        if is_ours(name, origin.trusted) {
            if *name == REAL_IP && !exchange.client.address().is_empty() {
                encode::raw_field(out, "x-real-ip", exchange.client.address().as_bytes());
            }
            continue;
        }
        if underscore_twin(name) {
            continue;
        }
        if *name == header::VIA {
            passes += count_passes(value.as_bytes());
        }
        if *name == header::MAX_FORWARDS && forwards::is_counted(&head.method) {
            let left = forwards::left(head)?.unwrap_or_default().saturating_sub(1);
            encode::raw_field(out, "max-forwards", itoa::Buffer::new().format(left).as_bytes());
            continue;
        }
        encode::field(out, name, value);
    }
    if passes >= MOST_PASSES {
        return Err(Fault::Loop { times: passes });
    }
    if exchange.facts.te_trailers {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    Ok(())
}

/// Fields that are written by [`write_request`] itself, or that only a trusted proxy may set.
fn is_ours(name: &HeaderName, trusted: bool) -> bool {
    match name.as_str() {
        "host" | "content-length" | "expect" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => true,
        "x-request-id" | "x-real-ip" | "forwarded" => !trusted,
        other => !trusted && other.starts_with("x-forwarded-"),
    }
}

fn write_framing(out: &mut Vec<u8>, exchange: &Exchange) {
    match exchange.facts.framing {
        Framing::None => {}
        Framing::Length(length) => encode::content_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

/// Who asks, how, and for what; a trusted proxy's word is kept and added to.
fn write_origin(out: &mut Vec<u8>, exchange: &Exchange, head: &Parts, origin: &Origin<'_>) {
    let client = exchange.client.address();
    if !client.is_empty() {
        out.extend_from_slice(b"x-forwarded-for: ");
        if origin.trusted {
            for value in head.headers.get_all("x-forwarded-for") {
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(client.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    // a field that is looked for costs a hash: nobody asks where nothing would be believed
    let told = |name: &'static str| if origin.trusted { head.headers.get(name) } else { None };
    match told("x-forwarded-proto") {
        Some(proto) => encode::raw_field(out, "x-forwarded-proto", proto.as_bytes()),
        None => out.extend_from_slice(b"x-forwarded-proto: http\r\n"),
    }
    let host = told("x-forwarded-host").map_or(origin.host, |value| value.as_bytes());
    encode::raw_field(out, "x-forwarded-host", host);
    if told("x-request-id").is_none() {
        encode::raw_field(out, "x-request-id", exchange.id.as_bytes());
    }
    let via = if exchange.facts.version == Version::HTTP_10 { VIA_10 } else { VIA_11 };
    out.extend_from_slice(via);
}

fn write_upgrade(out: &mut Vec<u8>, head: &Parts) {
    out.extend_from_slice(b"connection: upgrade\r\n");
    for value in head.headers.get_all(header::UPGRADE) {
        encode::field(out, &header::UPGRADE, value);
    }
}

/// The address without the port, and IPv4 as IPv4 also when it came over an IPv6 socket.
pub(super) fn plain(address: &SocketAddr) -> IpAddr {
    address.ip().to_canonical()
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

    #[test]
    fn mapped_ipv4_is_told_as_ipv4() {
        let address = "[::ffff:10.0.0.1]:80".parse().expect("an address");
        assert_eq!(plain(&address).to_string(), "10.0.0.1");
    }
}

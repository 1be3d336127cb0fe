//! What a site with a certificate demands of its clients: that they come over TLS (RFC 6797, 308 of RFC 9110 §15.4.9), with
//! the name of the host that they ask for (421, RFC 9110 §15.5.20).

use bytes::Bytes;
use http::StatusCode;

use super::exchange::Exchange;
use super::fault::Fault;
use super::headers;
use super::response::Response;
use super::runtime_config::RuntimeConfig;
use super::tls::{HTTPS_PORT, ServerTls};
use crate::acme::challenges;
use crate::config::SiteSettings;
use crate::message::authority::Host;
use crate::observe::end::End;

/// Answers what a certificate authority asks for whose order is open here; the answers to other orders are with the
/// servers.
pub(super) fn answer_challenge(exchange: &mut Exchange) -> Option<(Response, Bytes)> {
    let thread = exchange.thread.clone();
    let body = thread.runtime_config.challenges.as_ref()?.http(exchange.path())?;
    exchange.status = StatusCode::OK.as_u16();
    exchange.ends(End::OK);
    let fields: [(&str, &[u8]); 1] = [("content-type", b"application/octet-stream")];
    let response = Response::own(exchange, StatusCode::OK, &fields, body.len());
    Some((response.closes(exchange.has_body()), body.into()))
}

/// Sends a client to the same place over TLS, if it came without and the site wants that.
///
/// # Errors
/// When the client names no host.
pub(super) fn redirect(exchange: &mut Exchange, site: &SiteSettings) -> Result<Option<(Response, Bytes)>, Fault> {
    if exchange.origin.is_tls || site.tls.is_none() || !site.https_redirect {
        return Ok(None);
    }
    let thread = exchange.thread.clone();
    let RuntimeConfig { https_port, config, .. } = &*thread.runtime_config;
    let Some(port) = *https_port else { return Ok(None) };
    let trusted = &config.listeners[usize::from(exchange.origin.listener)].trusted_proxies;
    if exchange.path().starts_with(challenges::PATH) || headers::came_over_tls(exchange, trusted) {
        return Ok(None);
    }
    let Some(host) = exchange.host().and_then(|host| Host::parse(host).ok()) else {
        return Err(Fault::Misdirected { host: String::new() });
    };
    let mut location = format!("https://{}", host.name).into_bytes();
    if port != HTTPS_PORT {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    let path = exchange.path();
    location.extend_from_slice(if path == b"*" { b"/" } else { path });
    exchange.status = StatusCode::PERMANENT_REDIRECT.as_u16();
    exchange.ends(End::OK);
    let response = Response::own(exchange, StatusCode::PERMANENT_REDIRECT, &[("location", &location)], 0);
    Ok(Some((response.closes(exchange.has_body()), Bytes::new())))
}

/// Whether the host is one that the connection is for: what the client named in the handshake, or another one that the
/// same certificate is for, which a browser takes the connection for too (RFC 9113 §9.1.1).
///
/// # Errors
/// When it is not: 421, and the client opens another connection.
pub(super) fn check_host(exchange: &Exchange) -> Result<(), Fault> {
    let Some(named) = exchange.origin.server_name() else { return Ok(()) };
    if let Some(b"" | [b':', ..]) = exchange.host_bytes().strip_prefix(named.as_bytes()) {
        return Ok(()); // as nearly every request has it
    }
    let Some(host) = exchange.host().and_then(|host| Host::parse(host).ok()) else { return Ok(()) };
    let shares = |tls: &ServerTls| tls.shares(named, &host.name);
    if host.name == named || exchange.thread.runtime_config.tls.as_ref().is_some_and(shares) {
        return Ok(());
    }
    Err(Fault::Misdirected { host: host.name.into_owned() })
}

//! The certificate of a client: whether a request may come with it, and what its server is told of it (RFC 9440).

use base64ct::{Base64, Encoding};

use super::exchange::Exchange;
use super::fault::Fault;
use crate::config::{ClientVerify, SiteSettings};
use crate::http1::encode;
use crate::message::authority::Host;
use crate::tls::{ClientVerifier, HandshakeFacts, ShownCertificate};

/// Of a site whose clients show certificates, whether this client may ask for it.
///
/// # Errors
/// When it may not.
pub(super) fn check(exchange: &Exchange, site: usize) -> Result<(), Fault> {
    let thread = &exchange.thread;
    let settings = &thread.runtime_config.config.sites[site];
    if settings.client_ca.is_none() {
        return Ok(());
    }
    let verifier = thread.runtime_config.tls.as_ref().and_then(|tls| tls.client_verifier(Some(site)));
    let (Some(tls), Some(verifier)) = (&exchange.origin.tls, verifier) else {
        return none_shown(settings);
    };
    if tls.site.map(usize::from) != Some(site) {
        // it was asked for a certificate of another site, or for none
        let host = exchange.host().and_then(|host| Host::parse(host).ok());
        return Err(Fault::Misdirected { host: host.map(|host| host.name.into_owned()).unwrap_or_default() });
    }
    tls.facts.client.as_ref().map_or_else(|| none_shown(settings), |shown| look_again(shown, verifier))
}

fn none_shown(site: &SiteSettings) -> Result<(), Fault> {
    match site.client_verify {
        ClientVerify::Required => Err(Fault::NoClientCertificate),
        ClientVerify::Optional => Ok(()),
    }
}

/// The handshake looked at the certificate; what has changed since then counts too, and what another generation or a ticket
/// said counts for nothing.
fn look_again(shown: &ShownCertificate, verifier: &ClientVerifier) -> Result<(), Fault> {
    let verified = shown.verified();
    if verified != 0 && verified == verifier.number() {
        return Ok(());
    }
    let number = verifier.accepts(shown.chain());
    shown.set_verified(number.map_err(|error| Fault::ClientCertificate { why: error.to_string() })?);
    Ok(())
}

/// Writes what the server is told: after [`check`] has let the request through.
pub(super) fn write_fields(out: &mut Vec<u8>, exchange: &Exchange) {
    if !is_verified_here(exchange) {
        return;
    }
    let shown = exchange.origin.tls.as_ref().filter(|tls| tls.site == exchange.site);
    match shown.and_then(|tls| Some((&tls.facts, tls.facts.client.as_ref()?))) {
        Some((facts, shown)) => out.extend_from_slice(shown.told(|| fields(shown, facts))),
        None => out.extend_from_slice(b"x-ssl-client-verify: NONE\r\n"),
    }
}

/// Whether what is said of a client's certificate is said here, and nowhere else.
pub(super) fn is_verified_here(exchange: &Exchange) -> bool {
    let site = exchange.site.and_then(|site| exchange.thread.runtime_config.config.sites.get(usize::from(site)));
    site.is_some_and(|site| site.client_ca.is_some())
}

fn fields(shown: &ShownCertificate, facts: &HandshakeFacts) -> Box<[u8]> {
    let certificate = shown.chain().first().map(AsRef::as_ref).unwrap_or_default();
    let mut out = Vec::new();
    let mut text = vec![0; certificate.len().div_ceil(3) * 4];
    let text = Base64::encode(certificate, &mut text).unwrap_or_default(); // there is room for it
    encode::raw_field(&mut out, "client-cert", format!(":{text}:").as_bytes());
    out.extend_from_slice(b"x-ssl-client-verify: SUCCESS\r\n");
    // the handshake reads certificates by another library, which this one may take for broken
    let names = [
        ("x-ssl-client-dn", facts.client_name()),
        ("x-ssl-client-cn", facts.client_common_name()),
        ("x-ssl-client-serial", facts.client_serial()),
    ];
    for (name, value) in names {
        if let Some(value) = value {
            encode::raw_field(&mut out, name, plain(&value).as_bytes());
        }
    }
    out.into()
}

/// A name as a value of a field: what is no visible ASCII as RFC 4514 (§2.4) writes it, in hexadecimal digits.
fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b' '..=b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("\\{other:02X}")),
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_end_its_field_nor_begin_another_one() {
        assert_eq!(plain("CN=a\r\nx-ssl-client-verify: SUCCESS"), "CN=a\\0D\\0Ax-ssl-client-verify: SUCCESS");
        assert_eq!(plain(" Jürgen\0 "), "J\\C3\\BCrgen\\00");
    }
}

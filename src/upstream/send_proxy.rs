//! The header of the PROXY protocol on connections to servers
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};

use crate::config::ProxyVersion;
use crate::net::Stream;
use crate::tls::HandshakeFacts;

/// `verify` of a client without a certificate: 0 would say that one was verified (section 2.2.6).
const NO_CERTIFICATE: u32 = 1;

/// The successful verification of a client's certificate.
const VERIFIED: u32 = 0;

/// A client, for the servers that are told of it.
#[derive(Clone, Debug)]
pub struct ProxiedClient {
    /// The client's address.
    pub source: SocketAddr,
    /// The address to which it connected.
    pub destination: SocketAddr,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// What its handshake here agreed on.
    pub tls: Option<ProxiedTls>,
}

/// The TLS of a client, for the servers that are told of it.
#[derive(Clone, Debug)]
pub struct ProxiedTls {
    /// What the handshake agreed on.
    pub facts: Arc<HandshakeFacts>,
    /// Whether its site asks for certificates, and found that of the client good.
    pub is_verified: bool,
}

/// The header; without a client, that of a connection of our own, as for a check or for a client on a unix socket.
#[must_use]
pub fn header(version: ProxyVersion, client: Option<ProxiedClient>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let address = client.as_ref().map(|client| of_one_family(client.source, client.destination));
    let encoded = match version {
        ProxyVersion::V1 => ProxyHeader::with_tlvs(address, []).encode_v1(&mut bytes),
        ProxyVersion::V2 => {
            let tls = client.filter(|client| client.is_tls);
            let told = tls.map(|client| told_of(client.tls.as_ref())).unwrap_or_default();
            ProxyHeader::with_tlvs(address, told).encode_v2(&mut bytes)
        }
    };
    debug_assert!(encoded.is_ok(), "both addresses are of one family, and the header is short");
    bytes
}

/// What the server learns of TLS (section 2.2.6), in the words of OpenSSL, as HAProxy has them. Nothing but that there is
/// some is known of TLS that ended in front of this proxy.
fn told_of(tls: Option<&ProxiedTls>) -> Vec<Tlv<'static>> {
    let Some(ProxiedTls { facts, is_verified }) = tls else {
        return vec![Tlv::Ssl(SslInfo::new(true, false, false, NO_CERTIFICATE))];
    };
    let (is_new, verify) = (*is_verified && !facts.resumed, if *is_verified { VERIFIED } else { NO_CERTIFICATE });
    let mut ssl = SslInfo::new(true, is_new, *is_verified, verify);
    ssl.append_tlv(Tlv::SslVersion(facts.version.as_str().into()));
    ssl.append_tlv(Tlv::SslCipher(facts.openssl_suite_name().into()));
    if let Some(name) = facts.client_common_name().filter(|_| *is_verified) {
        ssl.append_tlv(Tlv::SslCn(name.into()));
    }
    let alpn = facts.alpn.as_ref().map(|alpn| Tlv::Alpn(alpn.as_bytes().to_vec().into()));
    let authority = facts.server_name.as_ref().map(|name| Tlv::Authority(name.to_string().into()));
    alpn.into_iter().chain(authority).chain([Tlv::Ssl(ssl)]).collect()
}

/// IPv4 where both are, whatever the socket; else IPv6, since a header has one family.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> ProxiedAddress {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return ProxiedAddress::stream(source, destination);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(four) => SocketAddr::new(four.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    ProxiedAddress::stream(mapped(source), mapped(destination))
}

/// Writes the header to a connection that was just opened.
///
/// # Errors
/// The error of `send(2)`. A new connection has room for a header; one that has not is of no use.
pub fn send(stream: &Stream, header: &[u8]) -> io::Result<()> {
    match stream.try_write(header)? {
        written if written == header.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

#[cfg(test)]
mod tests {
    use proxy_header::ParseConfig;

    use super::*;
    use crate::tls::Version;

    fn client(source: &str, destination: &str, is_tls: bool) -> Option<ProxiedClient> {
        let [source, destination] = [source, destination].map(|address| address.parse().expect("an address"));
        Some(ProxiedClient { source, destination, is_tls, tls: None })
    }

    #[test]
    fn the_line_of_version_1_has_addresses_of_one_family() {
        for (client, line) in [
            (client("192.0.2.7:1", "198.51.100.1:80", false), "PROXY TCP4 192.0.2.7 198.51.100.1 1 80\r\n"),
            (
                client("[::ffff:192.0.2.7]:1", "[::ffff:198.51.100.1]:80", true),
                "PROXY TCP4 192.0.2.7 198.51.100.1 1 80\r\n",
            ),
            (
                client("[2001:db8::7]:1", "198.51.100.1:80", false),
                "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 1 80\r\n",
            ),
            (None, "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(header(ProxyVersion::V1, client), line.as_bytes());
        }
    }

    #[test]
    fn version_2_tells_what_the_handshake_agreed_on_in_the_words_of_openssl() {
        for (version, suite, words) in [
            (Version::Tls13, 0x1301, ("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
            (Version::Tls12, 0xc02f, ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")),
            (Version::Tls12, 0xc02c, ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")),
            (Version::Tls12, 0xcca9, ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305")),
        ] {
            let (server_name, alpn) = (Some("a.test".into()), Some("h2".into()));
            let facts = HandshakeFacts { version, suite, server_name, alpn, resumed: false, client: None };
            let tls = Some(ProxiedTls { facts: facts.into(), is_verified: false });
            let client = client("192.0.2.7:1", "192.0.2.1:443", true).map(|client| ProxiedClient { tls, ..client });
            let bytes = header(ProxyVersion::V2, client);
            let (header, _) = ProxyHeader::parse(&bytes, ParseConfig::default()).expect("a header");
            assert_eq!((header.authority(), header.alpn()), (Some("a.test"), Some(&b"h2"[..])));
            let ssl = header.ssl().expect("TLS");
            assert_eq!((ssl.version(), ssl.cipher()), (Some(words.0), Some(words.1)));
            assert_eq!((ssl.client_cert_conn(), ssl.verify(), ssl.cn()), (false, NO_CERTIFICATE, None));
        }
    }

    #[test]
    fn version_2_tells_of_tls_and_of_connections_of_our_own() {
        for (client, is_tls) in [
            (client("192.0.2.7:1", "[2001:db8::1]:80", true), true),
            (client("192.0.2.7:1", "192.0.2.1:80", false), false),
            (None, false),
        ] {
            let bytes = header(ProxyVersion::V2, client.clone());
            let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).expect("a header");
            assert_eq!((length, header.proxied_address().is_some()), (bytes.len(), client.is_some()));
            assert_eq!(
                header.ssl().map(|ssl| (ssl.client_ssl(), ssl.verify())),
                is_tls.then_some((true, NO_CERTIFICATE))
            );
        }
    }
}

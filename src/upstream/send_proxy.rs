//! The header of the PROXY protocol on connections to servers
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};

use crate::config::ProxyVersion;
use crate::net::Stream;

/// `verify` of a client without a certificate: 0 would say that one was verified (section 2.2.6).
const NO_CERTIFICATE: u32 = 1;

/// A client, for the servers that are told of it.
#[derive(Clone, Copy, Debug)]
pub struct ProxiedClient {
    /// The client's address.
    pub source: SocketAddr,
    /// The address to which it connected.
    pub destination: SocketAddr,
    /// Whether it speaks TLS.
    pub is_tls: bool,
}

/// The header; without a client, that of a connection of our own, as for a check or for a client on a unix socket.
#[must_use]
pub fn header(version: ProxyVersion, client: Option<ProxiedClient>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let address = client.map(|client| of_one_family(client.source, client.destination));
    let encoded = match version {
        ProxyVersion::V1 => ProxyHeader::with_tlvs(address, []).encode_v1(&mut bytes),
        ProxyVersion::V2 => {
            let tls = client.filter(|client| client.is_tls);
            let ssl = tls.map(|_| Tlv::Ssl(SslInfo::new(true, false, false, NO_CERTIFICATE)));
            ProxyHeader::with_tlvs(address, ssl).encode_v2(&mut bytes)
        }
    };
    debug_assert!(encoded.is_ok(), "both addresses are of one family, and the header is short");
    bytes
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

    fn client(source: &str, destination: &str, is_tls: bool) -> Option<ProxiedClient> {
        let [source, destination] = [source, destination].map(|address| address.parse().expect("an address"));
        Some(ProxiedClient { source, destination, is_tls })
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
    fn version_2_tells_of_tls_and_of_connections_of_our_own() {
        for (client, is_tls) in [
            (client("192.0.2.7:1", "[2001:db8::1]:80", true), true),
            (client("192.0.2.7:1", "192.0.2.1:80", false), false),
            (None, false),
        ] {
            let bytes = header(ProxyVersion::V2, client);
            let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).expect("a header");
            assert_eq!((length, header.proxied_address().is_some()), (bytes.len(), client.is_some()));
            assert_eq!(
                header.ssl().map(|ssl| (ssl.client_ssl(), ssl.verify())),
                is_tls.then_some((true, NO_CERTIFICATE))
            );
        }
    }
}

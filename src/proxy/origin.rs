//! The client, as trusted proxies in front of this one tell it: `X-Forwarded-For`, `Forwarded` (RFC 7239), `X-Real-IP`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::runtime_config::RuntimeConfig;
use crate::config::TrustedProxy;
use crate::control::connections::ConnectionId;
use crate::handover::capabilities::Reach;
use crate::message::head::RawHead;
use crate::observe::record::Index;
use crate::tls::HandshakeFacts;
use crate::upstream::send_proxy::{ProxiedClient, ProxiedTls};

/// Where a request comes from: its connection, as far as that matters to the request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The connection.
    pub connection: Accepted,
    /// The listener that accepted the connection, an index into the names of the log.
    pub listener: Index,
    /// The other end; `None` on unix sockets.
    pub peer: Option<SocketAddr>,
    /// The address of the peer as text, without the port; empty on unix sockets.
    address: Box<str>,
    /// Whether it comes over TLS, to this proxy or to the trusted one in front of it.
    pub is_tls: bool,
    /// The address to which the client connected, where a server is told of it. In a box: few configurations want it.
    reached: Option<Box<SocketAddr>>,
    /// The TLS that ends here.
    pub tls: Option<OverTls>,
}

/// The name of a connection, and when it was accepted, by whichever generation.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Its name.
    pub id: ConnectionId,
    /// When.
    pub at: Instant,
}

/// The TLS of a client.
#[derive(Clone, Debug)]
pub struct OverTls {
    /// What the handshake agreed on.
    pub facts: Arc<HandshakeFacts>,
    /// The site with the name that the client asked for (SNI).
    pub site: Option<Index>,
}

impl Origin {
    /// The origin of requests over this connection of this listener from this peer.
    #[must_use]
    pub fn new(connection: Accepted, listener: Index, peer: Option<SocketAddr>) -> Self {
        let address = peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default().into();
        Self { connection, listener, peer, address, is_tls: false, reached: None, tls: None }
    }

    /// The same, over TLS.
    #[must_use]
    pub fn over_tls(&self, facts: &Arc<HandshakeFacts>, config: &RuntimeConfig) -> Self {
        let is_http = usize::from(self.listener) < config.config.listeners.len();
        let site = is_http.then(|| config.site_by_name(facts.server_name.as_deref())).flatten();
        let site = site.map(|site| site as Index);
        let tls = OverTls { facts: facts.clone(), site };
        Self { is_tls: true, tls: Some(tls), ..self.clone() }
    }

    /// Whether its client chose HTTP/2 in the handshake.
    #[must_use]
    pub fn speaks_http2(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.facts.alpn.as_deref() == Some("h2"))
    }

    /// Whether the generation with this reach would have its client.
    #[must_use]
    pub fn is_in(&self, reach: &Reach) -> bool {
        let site = self.tls.as_ref().and_then(|tls| tls.site);
        reach.has_listener(self.listener.into()) && site.is_none_or(|site| reach.has_tls_site(site.into()))
    }

    /// The same, as a trusted proxy tells it in a header of the PROXY protocol: from `source`, having connected to
    /// `reached`.
    #[must_use]
    pub fn proxied(&self, addresses: Option<(SocketAddr, SocketAddr)>, is_tls: bool) -> Self {
        let Some((source, reached)) = addresses else { return Self { is_tls, ..self.clone() } };
        let reached = self.reached.as_ref().map(|_| Box::new(reached));
        Self { is_tls, reached, ..Self::new(self.connection, self.listener, Some(source)) }
    }

    /// The same, with the address to which the client connected.
    #[must_use]
    pub fn reaching(&self, reached: SocketAddr) -> Self {
        Self { reached: Some(Box::new(reached)), ..self.clone() }
    }

    /// The address to which the client connected, if it is known.
    #[must_use]
    pub fn reached(&self) -> Option<SocketAddr> {
        self.reached.as_deref().copied()
    }

    /// What a server is told of the client by the PROXY protocol; nothing of one on a unix socket.
    pub(super) fn proxied_client(&self) -> Option<ProxiedClient> {
        let tls = self.tls.as_ref().map(|tls| {
            let is_verified = tls.facts.client.as_ref().is_some_and(|shown| shown.verified() != 0);
            ProxiedTls { facts: tls.facts.clone(), is_verified }
        });
        Some(ProxiedClient { source: self.peer?, destination: self.reached()?, is_tls: self.is_tls, tls })
    }

    /// The host that the client named in the handshake, in lower case.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.tls.as_ref()?.facts.server_name.as_deref()
    }

    /// The address of the peer as text, without the port; IPv4 as IPv4 whatever the socket. Empty on unix sockets.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Whether a peer is one of the trusted proxies; a peer without an address is behind a unix socket.
#[must_use]
pub fn is_proxy(trusted: &[TrustedProxy], peer: Option<SocketAddr>) -> bool {
    match peer {
        Some(peer) => is_in(trusted, plain(&peer)),
        None => trusted.contains(&TrustedProxy::Unix),
    }
}

/// The client as the trusted proxy that sent this head names it, if it names one. The port is 0 where none was said.
///
/// `X-Forwarded-For` is what most proxies write; `Forwarded` and then `X-Real-IP` count where it names none.
pub(super) fn forwarded_client(head: &RawHead, trusted: &[TrustedProxy]) -> Option<SocketAddr> {
    let values: SmallVec<[&[u8]; 2]> = head.values(b"x-forwarded-for").collect();
    named_by(&values, trusted).or_else(|| client_by_forwarded(head, trusted))
}

/// The same, of the fields other than `X-Forwarded-For`.
pub(super) fn client_by_forwarded(head: &RawHead, trusted: &[TrustedProxy]) -> Option<SocketAddr> {
    forwarded(head, trusted, b"for")
        .and_then(|(client, _)| client)
        .or_else(|| head.values(b"x-real-ip").find_map(address))
}

/// What `Forwarded` says under this name of the request as its client sent it: `proto`, `host`.
pub(super) fn forwarded_parameter<'h>(head: &'h RawHead, trusted: &[TrustedProxy], name: &[u8]) -> Option<&'h [u8]> {
    forwarded(head, trusted, name).and_then(|(_, value)| value).filter(|value| !value.is_empty())
}

/// Each proxy adds the peer that it saw: from the last address back, the first one that is not a trusted proxy's itself. Before
/// that one any peer may have written anything.
fn named_by(forwarded_for: &[&[u8]], trusted: &[TrustedProxy]) -> Option<SocketAddr> {
    let mut named = None;
    let each = forwarded_for.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    // a list may have empty elements (RFC 9110 §5.6.1.2)
    for text in each.filter(|text| !text.trim_ascii().is_empty()) {
        let Some(address) = address(text) else { break };
        named = Some(address);
        if !is_in(trusted, address.ip()) {
            break;
        }
    }
    named
}

/// The element of `Forwarded` that tells of the client, chosen as [`named_by`] does: the address that it names, and its parameter of
/// this name.
fn forwarded<'h>(
    head: &'h RawHead,
    trusted: &[TrustedProxy],
    name: &[u8],
) -> Option<(Option<SocketAddr>, Option<&'h [u8]>)> {
    let values: SmallVec<[&[u8]; 2]> = head.values(b"forwarded").collect();
    let mut found = None;
    for value in values.iter().rev() {
        for element in split(value, b',').into_iter().rev().filter(|element| !element.trim_ascii().is_empty()) {
            let client = parameter(element, b"for").and_then(address);
            if client.is_none() && found.is_some() {
                return found; // the hops before it are not known
            }
            found = Some((client, parameter(element, name)));
            if client.is_none_or(|client| !is_in(trusted, client.ip())) {
                return found;
            }
        }
    }
    found
}

/// The value of a parameter of one element, without the quotation marks. None of those that matter has escapes in it.
fn parameter<'e>(element: &'e [u8], name: &[u8]) -> Option<&'e [u8]> {
    split(element, b';').into_iter().find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (own, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        let value = quoted.unwrap_or(value);
        (own.eq_ignore_ascii_case(name) && !value.contains(&b'"') && !value.contains(&b'\\')).then_some(value)
    })
}

/// The parts between separators that stand in no quoted string.
fn split(text: &[u8], separator: u8) -> SmallVec<[&[u8]; 4]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|byte| {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !was_escaped => escaped = true,
            b'"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        *byte == separator && !quoted
    });
    parts.collect()
}

/// An address in any of the ways in which proxies write one: with brackets, quotation marks and a port, or without. A
/// zone means nothing elsewhere, and a port may be hidden (RFC 7239 §6.3).
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let host = host.split_once('%').map_or(host, |(host, _)| host);
    let address: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(address.to_canonical(), port.and_then(|port| port.parse().ok()).unwrap_or(0)))
}

fn is_in(trusted: &[TrustedProxy], address: IpAddr) -> bool {
    trusted.iter().any(|proxy| matches!(proxy, TrustedProxy::Net(net) if net.contains(&address)))
}

/// The address without the port, and IPv4 as IPv4 also when it came over an IPv6 socket.
fn plain(address: &SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::tls::Version;

    #[test]
    fn what_is_noted_of_an_origin_leaves_the_rest_as_it_was() {
        let facts = Arc::new(HandshakeFacts {
            version: Version::Tls13,
            suite: 0x1301,
            server_name: Some("a.test".into()),
            alpn: Some("h2".into()),
            resumed: false,
            client: None,
        });
        let config = RuntimeConfig::new(1, Config::from_toml("").expect("a configuration"));
        let accepted = Accepted { id: ConnectionId::default(), at: Instant::now() };
        let (peer, reached) = (([192, 0, 2, 7], 1).into(), ([192, 0, 2, 1], 443).into());
        let tls = Origin::new(accepted, 3, Some(peer)).over_tls(&facts, &config);
        for origin in
            [tls.reaching(reached), Origin::new(accepted, 3, Some(peer)).reaching(reached).over_tls(&facts, &config)]
        {
            assert!(origin.is_tls && origin.speaks_http2(), "{origin:?}");
            assert_eq!((origin.server_name(), origin.reached()), (Some("a.test"), Some(reached)));
            assert_eq!((origin.peer, origin.listener, origin.address()), (Some(peer), 3, "192.0.2.7"));
        }
    }

    fn trusted() -> Vec<TrustedProxy> {
        let nets = ["10.0.0.0/8", "fd00::/8"].map(|net| TrustedProxy::Net(net.parse().expect("a network")));
        nets.into_iter().chain([TrustedProxy::Unix]).collect()
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        let named = |values: &[&str]| {
            let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            named_by(&values, &trusted()).map(|address| address.to_string())
        };
        assert_eq!(named(&["6.6.6.6, 192.0.2.1"]).as_deref(), Some("192.0.2.1:0"));
        assert_eq!(named(&["6.6.6.6", "192.0.2.1 ,10.0.0.2", "[fd00::1]:443"]).as_deref(), Some("192.0.2.1:0"));
        assert_eq!(named(&["::ffff:192.0.2.1, 10.0.0.2:80"]).as_deref(), Some("192.0.2.1:0"));
        assert_eq!(named(&["[2001:db8::1]:4711"]).as_deref(), Some("[2001:db8::1]:4711"));
        assert_eq!(named(&["10.0.0.2, 10.0.0.3"]).as_deref(), Some("10.0.0.2:0"), "who began it is a proxy");
        assert_eq!(named(&["192.0.2.1, unknown, 10.0.0.2"]).as_deref(), Some("10.0.0.2:0"));
        assert_eq!(
            named(&["192.0.2.1,, 10.0.0.2,", " ", ""]).as_deref(),
            Some("192.0.2.1:0"),
            "empty elements are none"
        );
        assert_eq!(named(&["unknown"]), None);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn parameters_of_forwarded_may_be_quoted_and_stand_in_any_order() {
        for (element, name, value) in [
            ("for=192.0.2.1;proto=https", "proto", Some("https")),
            ("Proto=https; FOR=\"[2001:db8::1]:4711\"", "for", Some("[2001:db8::1]:4711")),
            ("host=\"a;b\";for=_hidden", "for", Some("_hidden")),
            ("for=\"a\\\"b\"", "for", None),
            ("for", "for", None),
            ("", "for", None),
        ] {
            assert_eq!(parameter(element.as_bytes(), name.as_bytes()), value.map(str::as_bytes), "{element}");
        }
        assert_eq!(split(b"for=\"a,b\", for=c", b',').as_slice(), [&b"for=\"a,b\""[..], b" for=c"]);
    }

    #[test]
    fn addresses_are_understood_as_proxies_write_them() {
        for (text, meant) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            (" 192.0.2.1:80 ", Some("192.0.2.1:80")),
            ("192.0.2.1:_hidden", Some("192.0.2.1:0")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("\"[2001:db8::1]:4711\"", Some("[2001:db8::1]:4711")),
            ("fe80::1%eth0", Some("[fe80::1]:0")),
            ("[fe80::1%2]:80", Some("[fe80::1]:80")),
            ("::ffff:192.0.2.1", Some("192.0.2.1:0")),
            ("[192.0.2.1", None),
            ("[::1]80", None),
            ("unknown", None),
            ("_secret", None),
            ("", None),
            ("1.2.3", None),
        ] {
            assert_eq!(address(text.as_bytes()).map(|found| found.to_string()).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn a_peer_is_trusted_by_its_network_or_as_a_unix_socket() {
        assert!(is_proxy(&trusted(), None) && !is_proxy(&trusted()[..2], None));
        let peer = |text: &str| Some(text.parse().expect("an address"));
        assert!(is_proxy(&trusted(), peer("[::ffff:10.0.0.1]:80")) && !is_proxy(&trusted(), peer("192.0.2.1:80")));
        assert!(!is_proxy(&[TrustedProxy::Unix], peer("127.0.0.1:80")));
    }
}

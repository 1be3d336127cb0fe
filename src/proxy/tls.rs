//! TLS of a generation: its certificates, and what its handshakes offer.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ProducesTickets};
use rustls::sign::SingleCertAndKey;

use super::certificates::CertificateStore;
use crate::acme::challenges::{ALPN, Challenges};
use crate::config::{Address, Config};
use crate::handover::capabilities::ClientRule;
use crate::tls::{BoundTickets, CertificatesInUse, ClientVerifier, Tickets, server_config};

/// What every handshake needs; shared by all threads.
pub struct ServerTls {
    certificates: Arc<CertificatesInUse>,
    offered: Offered,
    /// By site: those whose clients show certificates have an offer of their own.
    of_sites: Vec<Option<(Arc<ClientVerifier>, Offered)>>,
    /// By TCP listener: those that end TLS.
    of_tcp: Vec<Option<TcpTls>>,
    tickets: Arc<Tickets>,
    /// Handshakes that are challenges of a certificate authority.
    challenges: Option<Challenges>,
}

/// The TLS of a TCP listener.
struct TcpTls {
    certificates: Arc<CertificatesInUse>,
    offered: Arc<ServerConfig>,
    verifier: Option<Arc<ClientVerifier>>,
}

/// What clients are offered.
struct Offered {
    http2: Arc<ServerConfig>,
    /// The same without HTTP/2.
    http1: Arc<ServerConfig>,
}

impl Offered {
    fn new(
        certificates: &Arc<CertificatesInUse>,
        tickets: Arc<dyn ProducesTickets>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Self, String> {
        let offer = |alpn: &[&[u8]]| {
            let config = server_config(certificates.clone(), tickets.clone(), clients.clone(), alpn);
            config.map_err(|error| error.to_string())
        };
        Ok(Self { http2: offer(&[b"h2", b"http/1.1"])?, http1: offer(&[b"http/1.1"])? })
    }
}

impl ServerTls {
    /// With the certificates of `store`, and without keys for tickets yet. Nothing when no listener speaks TLS.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn new(config: &Config, store: &CertificateStore) -> Result<Option<Self>, String> {
        if !config.has_tls() {
            return Ok(None);
        }
        let certificates = store.in_use().clone();
        let tickets = Arc::<Tickets>::default();
        let offered = Offered::new(&certificates, tickets.clone(), None)?;
        let of_site = |verifier: &Arc<ClientVerifier>| {
            let of_site = BoundTickets { tickets: tickets.clone(), listener: None, verifier: Some(verifier.clone()) };
            Ok::<_, String>((verifier.clone(), Offered::new(&certificates, Arc::new(of_site), Some(verifier.clone()))?))
        };
        let sites = 0..config.sites.len();
        let of_sites = sites.map(|site| store.client_verifier(site).map(of_site).transpose());
        let of_sites = of_sites.collect::<Result<_, _>>()?;
        let tcp = config.tcp.iter().enumerate();
        let of_tcp =
            tcp.map(|(index, tcp)| store.of_tcp(index).map(|one| TcpTls::new(&tcp.name, one, &tickets)).transpose());
        let of_tcp = of_tcp.collect::<Result<_, _>>()?;
        Ok(Some(Self { certificates, offered, of_sites, of_tcp, tickets, challenges: Challenges::of(config) }))
    }

    /// What a client of this TCP listener is offered that says this; none when there is no certificate for it.
    #[must_use]
    pub fn choose_tcp(&self, hello: &ClientHello<'_>, tcp: usize) -> Option<Arc<ServerConfig>> {
        let TcpTls { certificates, offered, .. } = self.of_tcp.get(tcp)?.as_ref()?;
        certificates.get().know(hello.server_name()).then(|| offered.clone())
    }

    /// What looks at the certificates of the clients of this TCP listener; none where they show none.
    #[must_use]
    pub fn tcp_client_verifier(&self, tcp: usize) -> Option<&Arc<ClientVerifier>> {
        self.of_tcp.get(tcp)?.as_ref()?.verifier.as_ref()
    }

    /// Whether the certificate for one host is for another one too.
    #[must_use]
    pub fn shares(&self, one: &str, other: &str) -> bool {
        self.certificates.get().share(one, other)
    }

    /// What makes and reads session tickets.
    #[must_use]
    pub fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// What looks at the certificates of the clients of this site; none where they show none.
    #[must_use]
    pub fn client_verifier(&self, site: Option<usize>) -> Option<&Arc<ClientVerifier>> {
        Some(&self.of_site(site)?.0)
    }

    fn of_site(&self, site: Option<usize>) -> Option<&(Arc<ClientVerifier>, Offered)> {
        self.of_sites.get(site?)?.as_ref()
    }

    /// What a client is offered that says this, and means this site; none when there is no certificate for it.
    #[must_use]
    pub fn choose(&self, hello: &ClientHello<'_>, site: Option<usize>, h2: bool) -> Option<Arc<ServerConfig>> {
        if let Some(challenge) = self.challenge(hello) {
            return Some(challenge);
        }
        let offered = self.of_site(site).map_or(&self.offered, |(_, offered)| offered);
        let server = if h2 { &offered.http2 } else { &offered.http1 };
        self.certificates.get().know(hello.server_name()).then(|| server.clone())
    }

    /// By site, what makes its clients' connections those of another generation too: see
    /// [`Capabilities`](crate::handover::capabilities::Capabilities).
    #[must_use]
    pub fn client_rules(&self) -> Vec<Option<ClientRule>> {
        self.of_sites.iter().map(|of_site| of_site.as_ref().map(|(verifier, _)| rule(verifier))).collect()
    }

    /// The same, by TCP listener.
    #[must_use]
    pub fn tcp_client_rules(&self) -> Vec<Option<ClientRule>> {
        (0..self.of_tcp.len()).map(|tcp| self.tcp_client_verifier(tcp).map(|verifier| rule(verifier))).collect()
    }
}

fn rule(verifier: &ClientVerifier) -> ClientRule {
    ClientRule { authorities: verifier.authorities(), required: verifier.is_required() }
}

impl TcpTls {
    fn new(
        name: &str,
        (certificates, verifier): (&Arc<CertificatesInUse>, Option<&Arc<ClientVerifier>>),
        tickets: &Arc<Tickets>,
    ) -> Result<Self, String> {
        let (certificates, verifier) = (certificates.clone(), verifier.cloned());
        let tickets =
            BoundTickets { tickets: tickets.clone(), listener: Some(name.into()), verifier: verifier.clone() };
        let clients = verifier.clone().map(|verifier| verifier as Arc<dyn ClientCertVerifier>);
        let offered = server_config(certificates.clone(), Arc::new(tickets), clients, &[]);
        Ok(Self { certificates, offered: offered.map_err(|error| error.to_string())?, verifier })
    }
}

impl ServerTls {
    /// What a certificate authority is offered that looks whether the host is this machine (RFC 8737 §3).
    fn challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let challenges = self.challenges.as_ref()?;
        let mut offered = hello.alpn()?;
        let is_challenge = offered.next() == Some(ALPN) && offered.next().is_none();
        let certificate = is_challenge.then(|| challenges.tls_alpn(hello.server_name()?)).flatten()?;
        let only = Arc::new(SingleCertAndKey::from(certificate));
        server_config(only, self.tickets.clone(), None, &[ALPN]).ok()
    }
}

/// The port to which clients without TLS are sent; none where no listener speaks TLS to them. A socket that systemd passes
/// has 443.
#[must_use]
pub fn https_port(config: &Config) -> Option<u16> {
    let ports = config.listeners.iter().filter(|listener| listener.tls).filter_map(|listener| match listener.address {
        None => Some(HTTPS_PORT),
        Some(Address::Ip(address)) => Some(address.port()),
        Some(Address::Unix(_)) => None,
    });
    ports.min_by_key(|port| (*port != HTTPS_PORT, *port))
}

/// The port of `https` (RFC 9110 §4.2.2).
pub(super) const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_443_or_to_the_first_port_with_tls() {
        let port = |listeners: &str| {
            let text = format!("{listeners}\n[site.'a.test']\nto = ['a:1']\ntls = '/x'\n");
            https_port(&Config::from_toml(&text).expect("a good configuration"))
        };
        assert_eq!(port(""), Some(443));
        assert_eq!(port("[listen.x]\ntls = true\naddress = ':8443'"), Some(8443));
        assert_eq!(
            port("[listen.x]\ntls = true\naddress = ':8443'\n[listen.y]\ntls = true\naddress = ':443'"),
            Some(443)
        );
        assert_eq!(port("[listen.x]\ntls = true\naddress = 'unix:/run/x'"), None);
        assert_eq!(port("[listen.https]\ntls = false"), None);
    }
}

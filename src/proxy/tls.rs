//! TLS of a generation: its certificates, and what its handshakes offer.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ClientHello;

use super::certificates::CertificateStore;
use crate::config::{Address, Config};
use crate::tls::{CertificatesInUse, Tickets, server_config};

/// What every handshake needs; shared by all threads.
pub struct ServerTls {
    certificates: Arc<CertificatesInUse>,
    server: Arc<ServerConfig>,
    /// The same without HTTP/2.
    http1: Arc<ServerConfig>,
    tickets: Arc<Tickets>,
}

impl ServerTls {
    /// With the certificates of `store`, and without keys for tickets yet. Nothing when no listener speaks TLS.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn new(config: &Config, store: &CertificateStore) -> Result<Option<Self>, String> {
        if !config.listeners.iter().any(|listener| listener.tls) {
            return Ok(None);
        }
        let certificates = store.in_use().clone();
        let tickets = Arc::<Tickets>::default();
        let offer = |alpn: &[&[u8]]| {
            server_config(certificates.clone(), tickets.clone(), alpn).map_err(|error| error.to_string())
        };
        let (server, http1) = (offer(&[b"h2", b"http/1.1"])?, offer(&[b"http/1.1"])?);
        Ok(Some(Self { certificates, server, http1, tickets }))
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

    /// What a client is offered that says this; none when there is no certificate for it.
    #[must_use]
    pub fn choose(&self, hello: &ClientHello<'_>, h2: bool) -> Option<Arc<ServerConfig>> {
        let server = if h2 { &self.server } else { &self.http1 };
        self.certificates.get().know(hello.server_name()).then(|| server.clone())
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

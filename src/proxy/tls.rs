//! TLS of a generation: its certificates, and what its handshakes offer.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::ClientHello;

use super::certificates::CertificateStore;
use crate::config::Config;
use crate::tls::{CertificatesInUse, TicketKeys, Tickets, server_config};

/// What every handshake needs; shared by all threads.
pub struct ServerTls {
    certificates: Arc<CertificatesInUse>,
    server: Arc<ServerConfig>,
}

impl ServerTls {
    /// With the certificates of `store`. Nothing when no listener speaks TLS.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn new(config: &Config, store: &CertificateStore) -> Result<Option<Self>, String> {
        if !config.listeners.iter().any(|listener| listener.tls) {
            return Ok(None);
        }
        let certificates = store.in_use().clone();
        let failed = |_| "the library for cryptography failed".to_owned();
        let mut keys = TicketKeys::default();
        keys.rotate(SystemTime::now()).map_err(failed)?;
        let tickets = Arc::new(Tickets::new(&keys).map_err(failed)?);
        let server = server_config(certificates.clone(), tickets, &[b"http/1.1"]).map_err(|error| error.to_string())?;
        Ok(Some(Self { certificates, server }))
    }

    /// Whether the certificate for one host is for another one too.
    #[must_use]
    pub fn shares(&self, one: &str, other: &str) -> bool {
        self.certificates.get().share(one, other)
    }

    /// What a client is offered that says this; none when there is no certificate for it.
    #[must_use]
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.certificates.get().know(hello.server_name()).then(|| self.server.clone())
    }
}

//! TLS of a generation: its certificates, and what its handshakes offer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::ClientHello;

use crate::config::{Config, SiteCertificate};
use crate::tls::{Certificate, CertificateFiles, Certificates, TicketKeys, Tickets, server_config};

/// What every handshake needs; shared by all threads.
pub struct ServerTls {
    certificates: Arc<Certificates>,
    server: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads the certificates of the sites, and says what is wrong with those that cannot be used. Nothing when no listener speaks TLS.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn load(config: &Config) -> Result<(Option<Self>, Vec<String>), String> {
        if !config.listeners.iter().any(|listener| listener.tls) {
            return Ok((None, Vec::new()));
        }
        let (mut certificates, mut wrong) = (Vec::new(), Vec::new());
        for (files, host) in files(config) {
            match Certificate::load(&files) {
                Ok(certificate) => certificates.push(Arc::new(certificate)),
                Err(error) => wrong.push(format!("the site \"{host}\" has no certificate: {error}")),
            }
        }
        // without a name there is nothing to choose by, so only a certificate without an alternative is right
        let unnamed = if let [only] = &certificates[..] { Some(only.clone()) } else { None };
        let certificates = Arc::new(Certificates::new(&certificates, unnamed));
        let failed = |_| "the library for cryptography failed".to_owned();
        let mut keys = TicketKeys::default();
        keys.rotate(SystemTime::now()).map_err(failed)?;
        let tickets = Arc::new(Tickets::new(&keys).map_err(failed)?);
        let server = server_config(certificates.clone(), tickets, &[b"http/1.1"]).map_err(|error| error.to_string())?;
        Ok((Some(Self { certificates, server }), wrong))
    }

    /// What a client is offered that says this; none when there is no certificate for it.
    #[must_use]
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.certificates.know(hello.server_name()).then(|| self.server.clone())
    }
}

/// Each pair of files once, with the first site that has it.
fn files(config: &Config) -> Vec<(CertificateFiles, String)> {
    let mut seen = BTreeMap::new();
    for site in &config.sites {
        let files = match &site.tls {
            None => continue,
            Some(SiteCertificate::Directory(directory)) => CertificateFiles::in_directory(directory),
            Some(SiteCertificate::Files { certificate, key }) => {
                CertificateFiles { certificate: certificate.clone(), key: key.clone() }
            }
        };
        seen.entry((files.certificate, files.key)).or_insert_with(|| site.host.to_string());
    }
    seen.into_iter().map(|((certificate, key), host)| (CertificateFiles { certificate, key }, host)).collect()
}

//! TLS to servers, as a configuration and the files that it names have it: read at the start of a generation, and by
//! `segue check`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, DnsName, ServerName};

use super::certificate_files::pairs;
use super::certificate_problem::help;
use crate::config::load::FileProblem;
use crate::config::{
    Address, Config, PoolSettings, ServerAddress, ServerSettings, SiteCertificate, TcpSettings, user_name,
};
use crate::pool::Pool;
use crate::tls::certificate::{CertificateError, CertificateReason, authorities};
use crate::tls::upstream::ServerTrust;
use crate::tls::{Certificate, PoolTls, UpstreamTlsOptions};

/// What the servers of each pool have to show.
pub struct UpstreamTlsFiles {
    /// In the order of the pools; none for a pool whose servers speak no TLS.
    options: Vec<Option<UpstreamTlsOptions>>,
    /// What is wrong.
    pub problems: Vec<UpstreamTlsProblem>,
}

/// One thing that is wrong with the files of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTlsProblem {
    /// [`PoolSettings::path`].
    pub table: String,
    /// The key that names the file.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Whether the reason is that this process may not read a file; another user perhaps can.
    pub is_denied: bool,
}

impl UpstreamTlsProblem {
    /// The same, for its place in the configuration.
    #[must_use]
    pub fn as_problem(&self, refuses: bool) -> FileProblem {
        let Self { table, key, message, help, is_denied: _ } = self.clone();
        FileProblem { table, key, message, help, refuses }
    }
}

/// What is offered to servers of HTTP/1.
const HTTP1: &[&[u8]] = &[b"http/1.1"];
/// What is offered to servers of HTTP/2, which have to choose it.
const HTTP2: &[&[u8]] = &[b"h2"];

impl UpstreamTlsFiles {
    /// Reads what the pools name. A file that cannot be read is a problem, and until it can be no server of its pool is
    /// trusted, or gets a certificate.
    #[must_use]
    pub fn load(config: &Config) -> Self {
        let mut loader = Loader::default();
        let options = config.pools.iter().map(|pool| {
            let has_tls = pool.servers.iter().any(|server| server.scheme.is_tls());
            has_tls.then(|| loader.options(pool))
        });
        let options = options.collect();
        Self { options, problems: loader.problems }
    }

    /// Whether TLS is spoken with any server.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.options.iter().any(Option::is_some)
    }

    /// The pools, whose servers are reached with this.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn pools(&self, config: &Config, now: SystemTime) -> Result<Vec<Arc<Pool>>, String> {
        let pools_of = |tcp: &TcpSettings| {
            [tcp.pool].into_iter().chain(tcp.routes.iter().map(|(_, pool)| *pool)).collect::<Vec<_>>()
        };
        let relayed: Vec<usize> = config.tcp.iter().flat_map(pools_of).collect();
        let pools = config.pools.iter().zip(&self.options).enumerate().map(|(index, (settings, options))| {
            let of_pool = options.as_ref().map(PoolTls::new).transpose().map_err(|error| error.to_string())?;
            let tls = |server: &ServerSettings| {
                let name = server_name(settings, server);
                let alpn = match () {
                    () if relayed.contains(&index) => &[],
                    () if server.scheme.is_http2() => HTTP2,
                    () => HTTP1,
                };
                let tls = of_pool.as_ref().zip(name).map(|(of_pool, name)| of_pool.to_server(name, alpn));
                tls.ok_or_else(|| "no TLS was set up for the pool".to_owned())
            };
            Pool::new(settings.clone(), now).with_tls(tls).map(Arc::new)
        });
        pools.collect()
    }
}

/// What the certificate of a server has to be for.
fn server_name(pool: &PoolSettings, server: &ServerSettings) -> Option<ServerName<'static>> {
    if let Some(name) = &pool.tls_server_name {
        return ServerName::try_from(name.trim_end_matches('.').to_owned()).ok();
    }
    match &server.address {
        ServerAddress::Fixed(Address::Ip(address)) => Some(ServerName::IpAddress(address.ip().into())),
        ServerAddress::Fixed(Address::Unix(_)) => None,
        ServerAddress::Name { host, .. } => {
            DnsName::try_from(host.trim_end_matches('.').to_owned()).ok().map(ServerName::DnsName)
        }
    }
}

/// Reads each file once.
#[derive(Default)]
struct Loader {
    files: BTreeMap<std::path::PathBuf, Arc<Vec<CertificateDer<'static>>>>,
    /// What the system trusts.
    system: Option<Arc<Vec<CertificateDer<'static>>>>,
    problems: Vec<UpstreamTlsProblem>,
}

impl Loader {
    fn options(&mut self, pool: &PoolSettings) -> UpstreamTlsOptions {
        let trust = match &pool.tls_ca {
            _ if !pool.tls_verify => ServerTrust::Anything,
            Some(file) => self.authorities(pool, file),
            None => self.system(pool),
        };
        let certificate = pool.tls_certificate.as_ref().and_then(|tls| self.certificate(pool, tls));
        UpstreamTlsOptions { trust, certificate }
    }

    fn authorities(&mut self, pool: &PoolSettings, file: &Path) -> ServerTrust {
        if let Some(known) = self.files.get(file) {
            return ServerTrust::Roots(known.clone());
        }
        match authorities(file) {
            Ok(found) => {
                let found = Arc::new(found);
                self.files.insert(file.to_owned(), found.clone());
                ServerTrust::Roots(found)
            }
            Err(error) => {
                let words = format!("no server can be trusted: {error}");
                self.wrong(pool, "tls_ca", words.clone(), Some(&error));
                ServerTrust::Nothing(words)
            }
        }
    }

    fn system(&mut self, pool: &PoolSettings) -> ServerTrust {
        let load = || Arc::new(rustls_native_certs::load_native_certs().certs);
        let found = self.system.get_or_insert_with(load).clone();
        if !found.is_empty() {
            return ServerTrust::Roots(found);
        }
        let message =
            "no server can be trusted: this machine knows no certificate authority (/etc/ssl/certs)".to_owned();
        let help = "install the package ca-certificates, or name the authority of the servers with `tls_ca`".to_owned();
        let (table, nothing) = (pool.path.clone(), ServerTrust::Nothing(message.clone()));
        self.problems.push(UpstreamTlsProblem { table, key: "", message, help: Some(help), is_denied: false });
        nothing
    }

    fn certificate(&mut self, pool: &PoolSettings, tls: &SiteCertificate) -> Option<Arc<Certificate>> {
        let loaded = match pairs(tls) {
            (_, Some(error)) => Err(error),
            (pairs, None) if pairs.len() == 1 => Certificate::load(&pairs[0]),
            (pairs, None) => {
                let message = format!("`tls_certificate` means {} certificates, and servers get one", pairs.len());
                self.wrong(pool, "tls_certificate", message, None);
                return None;
            }
        };
        match loaded {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(error) => {
                self.wrong(pool, "tls_certificate", format!("servers get no certificate: {error}"), Some(&error));
                None
            }
        }
    }

    fn wrong(&mut self, pool: &PoolSettings, key: &'static str, message: String, error: Option<&CertificateError>) {
        let user = user_name().unwrap_or_else(|| "segue".to_owned());
        let denied = |error: &CertificateError| matches!(&error.reason, CertificateReason::Unreadable(error) if error.kind() == ErrorKind::PermissionDenied);
        self.problems.push(UpstreamTlsProblem {
            table: pool.path.clone(),
            key,
            message,
            help: error.and_then(|error| help(error, &user)),
            is_denied: error.is_some_and(denied),
        });
    }
}

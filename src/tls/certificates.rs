//! The certificates of a generation, and which one a client gets.
//!
//! A name that stands in a certificate as it is goes before one that a wildcard covers, as in every other proxy. Of several for
//! one name, the client gets one that holds now and whose signatures it can check: ECDSA before RSA, which costs ten
//! times as much, then the one that expires last.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// All certificates, by name.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: HashMap<String, Vec<Arc<Certificate>>>,
    unnamed: Option<Arc<Certificate>>,
}

impl Certificates {
    /// Certificates to choose from. A client that names no host gets `unnamed`, if there is one.
    #[must_use]
    pub fn new(certificates: &[Arc<Certificate>], unnamed: Option<Arc<Certificate>>) -> Self {
        let mut by_name = HashMap::<String, Vec<_>>::new();
        for certificate in certificates {
            for name in certificate.names() {
                by_name.entry(name.clone()).or_default().push(certificate.clone());
            }
        }
        for same in by_name.values_mut() {
            same.sort_by_key(|one: &Arc<Certificate>| (!one.is_cheap(), Reverse(one.not_after())));
        }
        Self { by_name, unnamed }
    }

    /// The certificate for a client that asks for this host and can check these signatures. One that has expired is given
    /// where there is no other: the client knows best what to do then.
    #[must_use]
    pub fn pick(&self, host: Option<&str>, schemes: &[SignatureScheme], now: SystemTime) -> Option<&Arc<Certificate>> {
        let Some(host) = host else { return self.unnamed.as_ref() };
        let host = host.to_ascii_lowercase();
        let exact = self.by_name.get(&host);
        let wildcard = host.split_once('.').and_then(|(_, parent)| self.by_name.get(&format!("*.{parent}")));
        let usable = || [exact, wildcard].into_iter().flatten().flatten().filter(|one| one.signs_as(schemes));
        usable().find(|one| one.holds_at(now)).or_else(|| usable().next())
    }

    /// Whether any certificate is for this host.
    #[must_use]
    pub fn know(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return self.unnamed.is_some() };
        let host = host.to_ascii_lowercase();
        let covers = |name: &str| self.by_name.contains_key(name);
        covers(&host) || host.split_once('.').is_some_and(|(_, parent)| covers(&format!("*.{parent}")))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let picked = self.pick(hello.server_name(), hello.signature_schemes(), SystemTime::now());
        picked.map(|certificate| certificate.key.clone())
    }
}

#[cfg(test)]
mod tests;

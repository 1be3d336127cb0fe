//! The certificates of a generation, and which one a client gets.
//!
//! A name that stands in a certificate as it is goes before one that a wildcard covers, as in every other proxy. Of several for
//! one name, the client gets one that holds now and whose signatures it can check: that of the site with this name, then
//! ECDSA before RSA, which costs ten times as much, then the one that expires last.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// All certificates, by name.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: HashMap<String, Vec<Arc<Certificate>>>,
    /// Those of sites whose host they do not name: a client that was told to take them in any case can do so.
    by_site: HashMap<String, Vec<Arc<Certificate>>>,
    unnamed: Option<Arc<Certificate>>,
    /// Those for clients that name no host or any other.
    fallback: Vec<Arc<Certificate>>,
}

impl Certificates {
    /// Certificates to choose from, each with the hosts of its sites, such as `app.example.com` and `*.example.com`. A
    /// client that names no host gets `unnamed`, if there is one.
    #[must_use]
    pub fn new(certificates: &[(Arc<Certificate>, Vec<String>)], unnamed: Option<Arc<Certificate>>) -> Self {
        let (mut by_name, mut by_site) = (HashMap::<String, Vec<_>>::new(), HashMap::<String, Vec<_>>::new());
        let mut of_sites = HashSet::new();
        for (certificate, hosts) in certificates {
            for name in certificate.names() {
                by_name.entry(name.clone()).or_default().push(certificate.clone());
            }
            for host in hosts {
                of_sites.insert((host.clone(), Arc::as_ptr(certificate)));
                if !certificate.covers(host) {
                    by_site.entry(host.clone()).or_default().push(certificate.clone());
                }
            }
        }
        for (name, same) in by_name.iter_mut().chain(&mut by_site) {
            same.sort_by_cached_key(|one: &Arc<Certificate>| {
                let is_of_site = of_sites.contains(&(name.clone(), Arc::as_ptr(one)));
                (!is_of_site, !one.is_cheap(), Reverse(one.not_after()))
            });
        }
        Self { by_name, by_site, unnamed, fallback: Vec::new() }
    }

    /// Certificates of a listener without sites. Where all are for the same names, a client that asks for any other host or
    /// for none gets one of them: there is nothing to choose.
    #[must_use]
    pub fn of_listener(certificates: &[Arc<Certificate>]) -> Self {
        let names = |one: &Arc<Certificate>| one.names().iter().cloned().collect::<HashSet<_>>();
        let list: Vec<_> = certificates.iter().map(|one| (one.clone(), Vec::new())).collect();
        let first = certificates.first().map(names);
        let mut fallback = certificates.to_vec();
        if certificates.iter().any(|one| Some(names(one)) != first) {
            fallback.clear();
        }
        fallback.sort_by_cached_key(|one| (!one.is_cheap(), Reverse(one.not_after())));
        Self { fallback, ..Self::new(&list, None) }
    }

    /// The certificate for a client that asks for this host and can check these signatures. One that has expired is given
    /// where there is no other: the client knows best what to do then. So is one that the client cannot check: its handshake
    /// fails with handshake_failure then, as it has to (RFC 8446 §4.4.2.2), where rustls says access_denied without any.
    #[must_use]
    pub fn pick(&self, host: Option<&str>, schemes: &[SignatureScheme], now: SystemTime) -> Option<&Arc<Certificate>> {
        if let (None, Some(unnamed)) = (host, &self.unnamed) {
            return Some(unnamed);
        }
        let candidates = host.map(|host| self.candidates(host)).unwrap_or_default();
        let all = || candidates.into_iter().flatten().flatten().chain(&self.fallback);
        let usable = || all().filter(|one| one.signs_as(schemes));
        usable().find(|one| one.holds_at(now)).or_else(|| usable().next()).or_else(|| all().next())
    }

    /// Whether any certificate is for this host.
    #[must_use]
    pub fn know(&self, host: Option<&str>) -> bool {
        let is_known = |host: &str| self.candidates(host).into_iter().any(|found| found.is_some());
        host.map_or(self.unnamed.is_some(), is_known) || !self.fallback.is_empty()
    }

    /// Whether a certificate for one host is for another one too.
    #[must_use]
    pub fn share(&self, one: &str, other: &str) -> bool {
        self.candidates(one).into_iter().flatten().flatten().any(|certificate| certificate.covers(other))
    }

    fn candidates(&self, host: &str) -> [Option<&Vec<Arc<Certificate>>>; 4] {
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let below = host.match_indices('.').map(|(dot, _)| format!("*{}", &host[dot..]));
        let of_site = below.into_iter().find_map(|name| self.by_site.get(&name));
        [self.by_name.get(&host), wildcard.and_then(|name| self.by_name.get(&name)), self.by_site.get(&host), of_site]
    }
}

/// The certificates that are in use now, for all threads: whatever reads their files replaces them.
#[derive(Debug, Default)]
pub struct CertificatesInUse(RwLock<Arc<Certificates>>);

impl CertificatesInUse {
    /// Handshakes that begin from now on use these.
    pub fn set(&self, certificates: Certificates) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificates);
    }

    /// Those that are in use at this moment.
    #[must_use]
    pub fn get(&self) -> Arc<Certificates> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for CertificatesInUse {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.get();
        let picked = certificates.pick(hello.server_name(), hello.signature_schemes(), SystemTime::now());
        picked.map(|certificate| certificate.key.clone())
    }
}

#[cfg(test)]
mod tests;

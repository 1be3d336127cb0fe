//! The files by which the clients of one site are let in: read at the start of a generation, and again when they change.

use std::sync::Arc;
use std::time::SystemTime;

use super::certificate_files::FileStamp;
use crate::config::{ClientVerify, Config, HostPattern};
use crate::observe::words::Day;
use crate::tls::{CertificateError, ClientRules, ClientVerifier, ClientVerifierFiles};

/// The files, and what follows them.
pub struct ClientCertificates {
    /// The index of the site.
    pub site: usize,
    /// Its host.
    pub host: HostPattern,
    /// What handshakes ask.
    pub verifier: Arc<ClientVerifier>,
    /// What is wrong with the files as they are.
    pub wrong: Option<CertificateError>,
    files: ClientVerifierFiles,
    /// The files when they were read; none when they are to be read again in any case.
    seen: Option<[Option<FileStamp>; 2]>,
    /// How many looks in a row found them wrong.
    looks: u32,
    /// A revocation list is too old, and that was said.
    is_late: bool,
}

/// What a look finds.
#[derive(Debug)]
pub enum ClientNews {
    /// Other rules hold from now on.
    Taken,
    /// The files cannot be used, and not only for the moment in which they are replaced.
    Refused(String),
    /// No client is let in any more.
    Late(String),
}

/// A file that is written in place is wrong at one look, and right at the next.
const LOOKS_OF_A_REPLACEMENT: u32 = 2;

impl ClientCertificates {
    /// Of all sites that have any, without having read them.
    #[must_use]
    pub fn of_sites(config: &Config) -> Vec<Self> {
        let of_site = |(site, settings): (usize, &crate::config::SiteSettings)| {
            let files =
                ClientVerifierFiles { authorities: settings.client_ca.clone()?, revoked: settings.client_crl.clone() };
            let verifier = Arc::new(ClientVerifier::new(settings.client_verify == ClientVerify::Required));
            let host = settings.host.clone();
            Some(Self { site, host, verifier, wrong: None, files, seen: None, looks: 0, is_late: false })
        };
        config.sites.iter().enumerate().filter_map(of_site).collect()
    }

    /// Reads the files if they changed. Handshakes follow them from now on.
    pub fn look(&mut self, now: SystemTime) -> Option<ClientNews> {
        let files = [Some(&self.files.authorities), self.files.revoked.as_ref()];
        let stamps = files.map(|file| file.and_then(|file| FileStamp::of(file)));
        if self.seen == Some(stamps) {
            return self.look_at_clock(now);
        }
        let is_settled = stamps.iter().flatten().all(|stamp| stamp.is_settled(now));
        match ClientRules::load(&self.files) {
            Ok(rules) => {
                (self.seen, self.wrong, self.looks) = (is_settled.then_some(stamps), None, 0);
                if rules.number() == self.verifier.number() {
                    return None;
                }
                self.verifier.set(rules);
                self.is_late = false;
                Some(ClientNews::Taken)
            }
            Err(error) => {
                self.looks += 1;
                self.seen = (is_settled && self.looks >= LOOKS_OF_A_REPLACEMENT).then_some(stamps);
                let why = error.to_string();
                self.wrong = Some(error);
                (self.looks == LOOKS_OF_A_REPLACEMENT).then_some(ClientNews::Refused(why))
            }
        }
    }

    /// Whether a revocation list is too old, since when.
    #[must_use]
    pub fn too_old(&self, now: SystemTime) -> Option<SystemTime> {
        self.verifier.until().filter(|until| *until <= now)
    }

    fn look_at_clock(&mut self, now: SystemTime) -> Option<ClientNews> {
        let since = self.too_old(now).filter(|_| !self.is_late)?;
        self.is_late = true;
        let file = self.files.revoked.as_ref().unwrap_or(&self.files.authorities).display();
        Some(ClientNews::Late(format!("a newer revocation list was due on {}: {file}", Day(since))))
    }

    /// What is wrong now was said.
    pub fn is_reported(&mut self) {
        self.is_late = self.too_old(SystemTime::now()).is_some();
        if self.wrong.is_some() {
            self.looks = LOOKS_OF_A_REPLACEMENT;
        }
    }

    /// The path of the file with the authorities.
    #[must_use]
    pub fn file(&self) -> String {
        self.files.authorities.display().to_string()
    }
}

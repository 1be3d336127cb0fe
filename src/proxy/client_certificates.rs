//! The files by which the clients of one site or TCP listener are let in: read at the start of a generation, and again when they change.

use std::sync::Arc;
use std::time::SystemTime;

use super::certificate_files::FileStamp;
use crate::config::{CertificateUser, ClientVerify, Config};
use crate::observe::words::Day;
use crate::tls::{CertificateError, ClientRules, ClientVerifier, ClientVerifierFiles};

/// The files, and what follows them.
pub struct ClientCertificates {
    /// What they are clients of.
    pub user: CertificateUser,
    /// Its index among the sites, or among the TCP listeners.
    pub index: usize,
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
    /// Of all that have any, without having read them.
    #[must_use]
    pub fn of_config(config: &Config) -> Vec<Self> {
        let sites = config.sites.iter().enumerate().filter_map(|(index, site)| {
            let files = ClientVerifierFiles { authorities: site.client_ca.clone()?, revoked: site.client_crl.clone() };
            Some(Self::new(CertificateUser::Site(site.host.clone()), index, files, site.client_verify))
        });
        let tcp = config.tcp.iter().enumerate().filter_map(|(index, tcp)| {
            let files = ClientVerifierFiles { authorities: tcp.client_ca.clone()?, revoked: tcp.client_crl.clone() };
            Some(Self::new(CertificateUser::Tcp(tcp.name.clone()), index, files, tcp.client_verify))
        });
        sites.chain(tcp).collect()
    }

    fn new(user: CertificateUser, index: usize, files: ClientVerifierFiles, verify: ClientVerify) -> Self {
        let verifier = Arc::new(ClientVerifier::new(verify == ClientVerify::Required));
        Self { user, index, verifier, wrong: None, files, seen: None, looks: 0, is_late: false }
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

//! The certificates of a generation as their files are: read at its start, and looked at again from time to time.
//!
//! A certificate goes on being served as long as its files cannot be used, whatever is wrong with them: a pair that is
//! replaced file by file does not match for a moment, and a certificate that is wrong must not end one that is right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::certificate_files::{FileStamp, pairs};
use super::client_certificates::{ClientCertificates, ClientNews};
use crate::acme::StateDirectory;
use crate::config::{CertificateUser, Config, HostPattern, SiteCertificate};
use crate::tls::{Certificate, CertificateError, CertificateFiles, Certificates, CertificatesInUse, ClientVerifier};

/// All certificates with their files. It has one owner, which alone reads the files.
pub struct CertificateStore {
    settings: Vec<CertificateSetting>,
    in_use: Arc<CertificatesInUse>,
    /// By TCP listener: those that its handshakes use.
    in_use_by_tcp: Vec<Option<(String, Arc<CertificatesInUse>)>>,
    clients: Vec<ClientCertificates>,
}

/// One value of `tls`, and what has it.
struct CertificateSetting {
    tls: SiteCertificate,
    /// Whether a certificate authority issues it when asked for it.
    is_automatic: bool,
    users: Vec<CertificateUser>,
    pairs: Vec<CertificatePair>,
    /// Why it leads to no pair.
    wrong: Option<CertificateError>,
}

/// A pair of files.
struct CertificatePair {
    files: CertificateFiles,
    /// The files when they were read; none when they are to be read again in any case.
    seen: Option<[Option<FileStamp>; 3]>,
    /// What is served.
    certificate: Option<Arc<Certificate>>,
    /// What is wrong with the files, and how many looks in a row found them wrong.
    wrong: Option<(CertificateError, u32)>,
    /// What is wrong with the answer of OCSP beside them.
    staple_wrong: Option<CertificateError>,
    /// How many looks in a row did not find the pair in its directory.
    missed: u32,
}

/// What a look found.
#[derive(Debug)]
pub enum CertificateNews {
    /// A certificate is in use from now on.
    Taken {
        /// What has it.
        hosts: String,
        /// It.
        certificate: Arc<Certificate>,
        /// When the one before expires.
        before: Option<SystemTime>,
    },
    /// Files cannot be used, and not only for the moment in which they are replaced.
    Refused {
        /// What has it.
        hosts: String,
        /// What is wrong.
        why: String,
        /// When the certificate expires that goes on being served; none when there is none.
        until: Option<SystemTime>,
    },
    /// Clients are let in by other files from now on.
    ClientsTaken {
        /// What they are clients of.
        host: String,
        /// The file with the authorities.
        file: String,
    },
    /// Files cannot be used by which clients are let in.
    ClientsRefused {
        /// What they are clients of.
        host: String,
        /// What is wrong.
        why: String,
        /// No client is let in any more; else those files count that were read before.
        are_shut_out: bool,
    },
}

/// One pair of files, and what is served of it.
pub struct CertificateView<'s> {
    /// What has it.
    pub users: &'s [CertificateUser],
    /// Whether a certificate authority issues it when asked for it: then a missing file is one that is still to come.
    pub is_automatic: bool,
    /// The files; none when the setting leads to none.
    pub files: Option<&'s CertificateFiles>,
    /// What is served.
    pub certificate: Option<&'s Certificate>,
    /// What is wrong with the files as they are.
    pub wrong: Option<&'s CertificateError>,
    /// What is wrong with the answer of OCSP beside them.
    pub staple: Option<&'s CertificateError>,
}

/// A pair that is replaced one file after the other is wrong at one look, and right at the next.
const LOOKS_OF_A_REPLACEMENT: u32 = 2;

impl CertificateStore {
    /// Reads the certificates of all sites and TCP listeners.
    #[must_use]
    pub fn load(config: &Config) -> Self {
        let mut settings = BTreeMap::<String, CertificateSetting>::new();
        let mut add = |tls: SiteCertificate, is_automatic, user| {
            let of_value = settings.entry(format!("{tls:?}"));
            of_value.or_insert_with(|| CertificateSetting::new(tls, is_automatic)).users.push(user);
        };
        for (site, tls) in config.sites.iter().filter_map(|site| Some((site, site.tls.as_ref()?))) {
            add(on_disk(tls, &site.host), tls.is_automatic(), CertificateUser::Site(site.host.clone()));
        }
        for (tcp, tls) in config.tcp.iter().filter_map(|tcp| Some((tcp, tcp.tls.as_ref()?))) {
            add(tls.clone(), false, CertificateUser::Tcp(tcp.name.clone()));
        }
        let in_use = |has_tls: bool, name: &String| has_tls.then(|| (name.clone(), Arc::default()));
        let mut store = Self {
            settings: settings.into_values().collect(),
            in_use: Arc::default(),
            in_use_by_tcp: config.tcp.iter().map(|tcp| in_use(tcp.tls.is_some(), &tcp.name)).collect(),
            clients: ClientCertificates::of_config(config),
        };
        store.look(SystemTime::now());
        // the caller says what is wrong now
        store.clients.iter_mut().for_each(ClientCertificates::is_reported);
        let pairs = store.settings.iter_mut().flat_map(|setting| &mut setting.pairs);
        pairs.filter_map(|pair| pair.wrong.as_mut()).for_each(|(_, looks)| *looks = LOOKS_OF_A_REPLACEMENT);
        store
    }

    /// Whether nothing has a certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Those that handshakes of sites use.
    #[must_use]
    pub fn in_use(&self) -> &Arc<CertificatesInUse> {
        &self.in_use
    }

    /// Reads the files that changed. Handshakes use what is new from now on.
    pub fn look(&mut self, now: SystemTime) -> Vec<CertificateNews> {
        let mut news = Vec::new();
        let changed = self.settings.iter_mut().map(|setting| setting.look(now, &mut news)).fold(false, |a, b| a | b);
        if changed {
            self.publish();
        }
        for clients in &mut self.clients {
            let (host, file) = (clients.user.to_string(), clients.file());
            news.extend(clients.look(now).map(|one| match one {
                ClientNews::Taken => CertificateNews::ClientsTaken { host, file },
                ClientNews::Refused(why) => CertificateNews::ClientsRefused { host, why, are_shut_out: false },
                ClientNews::Late(why) => CertificateNews::ClientsRefused { host, why, are_shut_out: true },
            }));
        }
        news
    }

    /// What looks at the certificates of the clients of the site with this index.
    #[must_use]
    pub fn client_verifier(&self, site: usize) -> Option<&Arc<ClientVerifier>> {
        let of_site = |one: &&ClientCertificates| one.user.host().is_some() && one.index == site;
        self.client_certificates().find(of_site).map(|clients| &clients.verifier)
    }

    /// What the TCP listener with this index has for its handshakes: certificates, and what looks at those of its clients.
    /// None where it ends no TLS.
    #[must_use]
    pub fn of_tcp(&self, tcp: usize) -> Option<(&Arc<CertificatesInUse>, Option<&Arc<ClientVerifier>>)> {
        let (_, certificates) = self.in_use_by_tcp.get(tcp)?.as_ref()?;
        let of_tcp = |one: &&ClientCertificates| one.user.host().is_none() && one.index == tcp;
        Some((certificates, self.client_certificates().find(of_tcp).map(|clients| &clients.verifier)))
    }

    /// The files by which clients are let in that show certificates.
    pub fn client_certificates(&self) -> impl Iterator<Item = &ClientCertificates> {
        self.clients.iter()
    }

    /// Serves these where the files of this generation cannot be used: another generation read them before.
    pub fn fall_back(&mut self, earlier: impl IntoIterator<Item = Certificate>) {
        for certificate in earlier.into_iter().map(Arc::new) {
            let pairs = self.settings.iter_mut().flat_map(|setting| &mut setting.pairs);
            for pair in pairs.filter(|pair| pair.certificate.is_none() && pair.files == *certificate.files()) {
                pair.certificate = Some(certificate.clone());
            }
        }
        self.publish();
    }

    /// Every pair, in the order of the settings.
    pub fn views(&self) -> impl Iterator<Item = CertificateView<'_>> {
        self.settings.iter().flat_map(|setting| {
            let pairs = setting.pairs.iter().map(|pair| pair.view(setting));
            pairs.chain(setting.wrong.iter().map(|error| CertificateView {
                users: &setting.users,
                is_automatic: setting.is_automatic,
                files: None,
                certificate: None,
                wrong: Some(error),
                staple: None,
            }))
        })
    }

    /// Every certificate that is served.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> + Clone {
        self.settings.iter().flat_map(CertificateSetting::certificates)
    }

    fn publish(&self) {
        let mut list = Vec::new();
        for setting in self.of_sites() {
            let hosts = setting.users.iter().filter_map(CertificateUser::host);
            let hosts = hosts.filter(|host| **host != HostPattern::Any).map(HostPattern::to_string);
            let hosts: Vec<_> = hosts.collect();
            list.extend(setting.certificates().map(|certificate| (certificate.clone(), hosts.clone())));
        }
        self.in_use.set(Certificates::new(&list, self.unnamed().cloned()));
        for (name, in_use) in self.in_use_by_tcp.iter().flatten() {
            let has = |setting: &&CertificateSetting| setting.users.contains(&CertificateUser::Tcp(name.clone()));
            let all = self.settings.iter().filter(has).flat_map(CertificateSetting::certificates).cloned();
            in_use.set(Certificates::of_listener(&all.collect::<Vec<_>>()));
        }
    }

    fn of_sites(&self) -> impl Iterator<Item = &CertificateSetting> {
        self.settings.iter().filter(|setting| setting.users.iter().any(|user| user.host().is_some()))
    }

    /// For a client that names no host there is nothing to choose by: it gets the certificate of the site for every
    /// host, else one that has no alternative.
    fn unnamed(&self) -> Option<&Arc<Certificate>> {
        let all = CertificateUser::Site(HostPattern::Any);
        let of_all = self.settings.iter().find(|setting| setting.users.contains(&all));
        let mut of_all: Vec<_> = of_all.into_iter().flat_map(CertificateSetting::certificates).collect();
        if of_all.is_empty() {
            of_all = self.of_sites().flat_map(CertificateSetting::certificates).take(2).collect();
        }
        if let [only] = of_all[..] { Some(only) } else { None }
    }
}

/// Names the file of an automatic certificate, which depends on the host.
fn on_disk(tls: &SiteCertificate, host: &HostPattern) -> SiteCertificate {
    match tls {
        SiteCertificate::Automatic => {
            SiteCertificate::Path(StateDirectory::from_environment().certificate(&host.to_string()))
        }
        SiteCertificate::Several(several) => {
            SiteCertificate::Several(several.iter().map(|one| on_disk(one, host)).collect())
        }
        other => other.clone(),
    }
}

/// Whether these are what [`on_disk`] names: a site may have others beside them.
fn is_of_authority(files: &CertificateFiles) -> bool {
    let place = StateDirectory::from_environment().certificate("a.test");
    files.certificate.parent() == place.parent()
}

impl CertificateSetting {
    fn new(tls: SiteCertificate, is_automatic: bool) -> Self {
        Self { tls, is_automatic, users: Vec::new(), pairs: Vec::new(), wrong: None }
    }

    /// Those that are served.
    fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> + Clone {
        self.pairs.iter().filter_map(|pair| pair.certificate.as_ref())
    }

    /// Whether other certificates are served from now on.
    fn look(&mut self, now: SystemTime, news: &mut Vec<CertificateNews>) -> bool {
        let (found, wrong) = pairs(&self.tls);
        let mut changed = self.follow(found, wrong.is_none());
        self.wrong = wrong;
        let hosts = self.users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for pair in &mut self.pairs {
            let before = pair.certificate.clone();
            news.extend(pair.look(now, &hosts));
            // another answer of OCSP is no news, and goes to clients all the same
            changed |= before.as_ref().map(Arc::as_ptr) != pair.certificate.as_ref().map(Arc::as_ptr);
        }
        changed
    }

    /// Adds pairs that came, and drops those that left their directory, if that could be read. A file that is replaced is
    /// missing for a moment.
    fn follow(&mut self, found: Vec<CertificateFiles>, is_whole: bool) -> bool {
        let before = self.pairs.len();
        self.pairs.retain_mut(|pair| {
            pair.missed = if found.contains(&pair.files) || !is_whole { 0 } else { pair.missed + 1 };
            pair.missed < LOOKS_OF_A_REPLACEMENT
        });
        let changed = self.pairs.len() != before;
        for files in found {
            if !self.pairs.iter().any(|pair| pair.files == files) {
                self.pairs.push(CertificatePair {
                    files,
                    seen: None,
                    certificate: None,
                    wrong: None,
                    staple_wrong: None,
                    missed: 0,
                });
            }
        }
        changed
    }
}

impl CertificatePair {
    fn view<'s>(&'s self, setting: &'s CertificateSetting) -> CertificateView<'s> {
        CertificateView {
            users: &setting.users,
            is_automatic: setting.is_automatic && is_of_authority(&self.files),
            files: Some(&self.files),
            certificate: self.certificate.as_deref(),
            wrong: self.wrong.as_ref().map(|(error, _)| error),
            staple: self.staple_wrong.as_ref(),
        }
    }

    fn look(&mut self, now: SystemTime, hosts: &str) -> Option<CertificateNews> {
        let staple = self.files.staple();
        let stamps = [&self.files.certificate, &self.files.key, &staple].map(|file| FileStamp::of(file));
        let is_stale = |one: &Arc<Certificate>| one.staple().is_some_and(|staple| !staple.holds_at(now));
        if self.seen == Some(stamps) && !self.certificate.as_ref().is_some_and(is_stale) {
            return None;
        }
        let read = Certificate::load(&self.files).map(|mut new| {
            self.staple_wrong = new.read_staple(now).err();
            new
        });
        let is_settled = stamps.iter().flatten().all(|stamp| stamp.is_settled(now));
        match read {
            Ok(new) => {
                self.seen = is_settled.then_some(stamps);
                self.wrong = None;
                if let Some(old) = self.certificate.as_mut().filter(|old| old.is(&new)) {
                    if old.staple() != new.staple() {
                        *old = Arc::new(new);
                    }
                    return None;
                }
                let certificate = Arc::new(new);
                let before = self.certificate.replace(certificate.clone()).map(|old| old.not_after());
                Some(CertificateNews::Taken { hosts: hosts.to_owned(), certificate, before })
            }
            Err(error) => {
                let looks = self.wrong.as_ref().map_or(1, |(_, looks)| looks + 1);
                self.seen = (is_settled && looks >= LOOKS_OF_A_REPLACEMENT).then_some(stamps);
                let why = error.to_string();
                self.wrong = Some((error, looks));
                let until = self.certificate.as_ref().map(|old| old.not_after());
                (looks == LOOKS_OF_A_REPLACEMENT).then(|| CertificateNews::Refused {
                    hosts: hosts.to_owned(),
                    why,
                    until,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;

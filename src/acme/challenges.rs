//! Answers to challenges. They are files, so that every generation has them, whichever it is that the authority
//! connects to: at a reload two accept for a moment.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::AcmeError;
use super::saved::SavedChallenge;
use super::state_directory::{self, StateDirectory};
use crate::config::{AcmeChallenge, Config, SiteCertificate};

/// Where the answers are.
#[derive(Clone, Debug)]
pub struct Challenges(PathBuf);

/// The path that an authority asks for (RFC 8555 §8.3).
pub const PATH: &[u8] = b"/.well-known/acme-challenge/";
/// The protocol of a handshake that is a challenge (RFC 8737 §4).
pub const ALPN: &[u8] = b"acme-tls/1";
/// The longest token that is looked for; those of authorities have 43 characters.
const LONGEST_TOKEN: usize = 128;
/// What stands before the host in the name of an answer to tls-alpn-01: no character of a token.
const TLS_ALPN: &str = "tls-alpn.";

impl Challenges {
    /// The answers of this state directory.
    #[must_use]
    pub fn new(state: &StateDirectory) -> Self {
        Self(state.challenges())
    }

    /// Those that this configuration may need; none where no site has an automatic certificate.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        let mut certificates = config.sites.iter().filter_map(|site| site.tls.as_ref());
        certificates.any(SiteCertificate::is_automatic).then(|| Self::new(&StateDirectory::from_environment()))
    }

    /// The answer to a request for this path; none where no order asks for one. Reads a small file: only a path below
    /// [`PATH`] costs that.
    #[must_use]
    pub fn http(&self, path: &[u8]) -> Option<String> {
        let token = std::str::from_utf8(path.strip_prefix(PATH)?).ok()?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=LONGEST_TOKEN).contains(&token.len()) || !token.bytes().all(is_token) {
            return None;
        }
        std::fs::read_to_string(self.0.join(token)).ok()
    }

    /// The certificate for a handshake that asks for the protocol [`ALPN`] and this host; none where no order does.
    #[must_use]
    pub fn tls_alpn(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(is_host) {
            return None;
        }
        let authorization = std::fs::read(self.0.join(format!("{TLS_ALPN}{}", host.to_ascii_lowercase()))).ok()?;
        certificate(host, &authorization).ok().map(Arc::new)
    }

    /// Writes an answer; one by DNS is another's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, challenge: &SavedChallenge) -> Result<(), AcmeError> {
        match self.path(challenge) {
            Some(path) => state_directory::write(&path, challenge.authorization.as_bytes()),
            None => Ok(()),
        }
    }

    /// Removes an answer.
    pub fn remove(&self, challenge: &SavedChallenge) {
        self.path(challenge).iter().for_each(|path| state_directory::remove(path));
    }

    /// Removes every answer but these: those of orders that ended in a crash.
    pub fn retain<'c>(&self, kept: impl Iterator<Item = &'c SavedChallenge>) {
        let kept: Vec<_> = kept.filter_map(|challenge| self.path(challenge)).collect();
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(_) => return, // each write says so
        };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| !kept.contains(path)).for_each(|path| state_directory::remove(&path));
    }

    fn path(&self, challenge: &SavedChallenge) -> Option<PathBuf> {
        let host = challenge.host.to_ascii_lowercase();
        let name = match challenge.kind()? {
            AcmeChallenge::Http01 => challenge.token.clone(),
            AcmeChallenge::TlsAlpn01 => format!("{TLS_ALPN}{host}"),
            AcmeChallenge::Dns01 => return None,
        };
        // the authority picks tokens
        (!name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..").then(|| self.0.join(name))
    }
}

/// The certificate of RFC 8737 §3: for the host alone, with the digest of the key authorization.
fn certificate(host: &str, authorization: &[u8]) -> Result<CertifiedKey, AcmeError> {
    let failed = |error: rcgen::Error| AcmeError::Key(error.to_string());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, authorization);
    let mut params = CertificateParams::new([host.to_owned()]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private);
    let signing = signing.map_err(|error| AcmeError::Key(error.to_string()))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(kind: AcmeChallenge) -> SavedChallenge {
        let (host, authorization) = ("a.test".to_owned(), "token.thumb".to_owned());
        let (kind, token) = (kind.name(), "to-Ken_1".to_owned());
        SavedChallenge { kind, host, token, authorization, is_made: true }
    }

    #[test]
    fn an_answer_is_there_as_long_as_its_order_and_leads_to_no_other_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDirectory::at(directory.path());
        state.make().expect("directories");
        let challenges = Challenges::new(&state);
        let (http, tls) = (challenge(AcmeChallenge::Http01), challenge(AcmeChallenge::TlsAlpn01));
        challenges.put(&http).expect("written");
        challenges.put(&tls).expect("written");
        challenges.put(&challenge(AcmeChallenge::Dns01)).expect("nothing");
        let asked = |path: &str| challenges.http(path.as_bytes());
        assert_eq!(asked("/.well-known/acme-challenge/to-Ken_1").as_deref(), Some("token.thumb"));
        for other in ["", "to-Ken_2", "tls-alpn.a.test", "../lock", "../orders/a.test.json", "to-Ken_1?x", "."] {
            assert_eq!(asked(&format!("/.well-known/acme-challenge/{other}")), None, "{other}");
        }
        assert!(challenges.tls_alpn("A.test").is_some());
        assert!(challenges.tls_alpn("b.test").is_none() && challenges.tls_alpn("../to-Ken_1").is_none());
        challenges.retain([&tls].into_iter());
        assert_eq!(asked("/.well-known/acme-challenge/to-Ken_1"), None);
        assert!(challenges.tls_alpn("a.test").is_some());
        challenges.remove(&tls);
        assert!(challenges.tls_alpn("a.test").is_none());
    }
}

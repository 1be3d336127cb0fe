//! The certificates that the clients of one site show: what issued them, which of them are revoked, and whether a client
//! may come without one. Its files can change while handshakes go on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;

use super::certificate::{CertificateError, CertificateReason, chain, read};

/// Where the rules stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientVerifierFiles {
    /// The certificates of the authorities, as PEM.
    pub authorities: PathBuf,
    /// Their revocation lists (RFC 5280 §5), as PEM or one as DER.
    pub revoked: Option<PathBuf>,
}

/// Looks at the certificates of clients. Without rules it takes no client at all.
pub struct ClientVerifier {
    provider: Arc<CryptoProvider>,
    required: bool,
    rules: RwLock<Option<Arc<ClientRules>>>,
    /// The names of the authorities as they were first, by which a client finds the certificate that is meant.
    hints: OnceLock<Vec<DistinguishedName>>,
}

/// What is in the files.
pub struct ClientRules {
    verifier: Arc<dyn ClientCertVerifier>,
    /// A hash of the authorities.
    authorities: u64,
    /// A hash of all of it; never 0.
    number: u64,
    /// When the first of the lists is too old; none without lists.
    until: Option<SystemTime>,
}

impl ClientRules {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong, and in which file.
    pub fn load(files: &ClientVerifierFiles) -> Result<Self, CertificateError> {
        let in_file = |file: &Path, reason| CertificateError { file: file.to_owned(), reason };
        let in_authorities = |reason| in_file(&files.authorities, reason);
        let authorities = read(&files.authorities).and_then(|pem| chain(&pem)).map_err(in_authorities)?;
        let mut roots = RootCertStore::empty();
        let mut hash = Context::new(&SHA256);
        for (at, one) in authorities.iter().enumerate() {
            hash.update(&one.len().to_be_bytes());
            hash.update(one);
            let added = roots.add(one.clone());
            added.map_err(|error| in_authorities(CertificateReason::Unparsable(at + 1, error.to_string())))?;
        }
        let of_authorities = hash.clone().finish();
        let mut until = None;
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
        if let Some(file) = &files.revoked {
            let lists = read(file).and_then(|bytes| lists(&bytes)).map_err(|reason| in_file(file, reason))?;
            lists.iter().for_each(|list| hash.update(list));
            until = lists.iter().filter_map(|list| next_update(list)).min();
            // a list that is too old says nothing of what was revoked since: OpenSSL refuses it too
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|error| {
            let reason = CertificateReason::UnusableRevocationList(error.to_string());
            in_file(files.revoked.as_ref().unwrap_or(&files.authorities), reason)
        })?;
        let [authorities, number] = [of_authorities, hash.finish()]
            .map(|digest| u64::from_be_bytes(digest.as_ref().first_chunk().copied().unwrap_or_default()).max(1));
        Ok(Self { verifier, authorities, number, until })
    }
}

impl ClientRules {
    /// Equal for equal rules.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// When a list is too old.
fn next_update(list: &[u8]) -> Option<SystemTime> {
    let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(list).ok()?;
    list.tbs_cert_list.next_update.map(|time| time.to_system_time())
}

/// The lists in a file. An authority gives them out as DER.
fn lists(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateReason> {
    const SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    match lists {
        Ok(lists) if lists.is_empty() => Err(CertificateReason::NoRevocationList),
        Ok(lists) => Ok(lists),
        Err(error) => Err(CertificateReason::NotPem(error)),
    }
}

fn provider() -> Arc<CryptoProvider> {
    rustls::crypto::aws_lc_rs::default_provider().into()
}

impl ClientVerifier {
    /// Without rules yet. `required`: every client has to show a certificate.
    #[must_use]
    pub fn new(required: bool) -> Self {
        Self { provider: provider(), required, rules: RwLock::default(), hints: OnceLock::new() }
    }

    /// Handshakes that begin from now on follow these.
    pub fn set(&self, rules: ClientRules) {
        let _ = self.hints.set(rules.verifier.root_hint_subjects().to_vec()); // the first ones stay
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Some(rules.into());
    }

    /// Whether a client without a certificate is refused.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Equal for equal rules; 0 without any.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.rules().map_or(0, |rules| rules.number)
    }

    /// When a revocation list is too old: no client is let in from then on. None without lists.
    #[must_use]
    pub fn until(&self) -> Option<SystemTime> {
        self.rules()?.until
    }

    /// Equal for equal authorities; 0 without any.
    #[must_use]
    pub fn authorities(&self) -> u64 {
        self.rules().map_or(0, |rules| rules.authorities)
    }

    /// Whether a client with this chain, of which the handshake proved that it has the key, would be let in now: the
    /// [`ClientVerifier::number`] of the rules that say so.
    ///
    /// # Errors
    /// What is wrong with the chain.
    pub fn accepts(&self, chain: &[CertificateDer<'_>]) -> Result<u64, Error> {
        let (Some(rules), Some((first, others))) = (self.rules(), chain.split_first()) else {
            return Err(no_rules());
        };
        rules.verifier.verify_client_cert(first, others, UnixTime::now()).map(|_| rules.number)
    }

    fn rules(&self) -> Option<Arc<ClientRules>> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn no_rules() -> Error {
    Error::General("no certificate of an authority can be read".to_owned())
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required || self.rules().is_none()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.hints.get().map_or(&[], Vec::as_slice)
    }

    fn verify_client_cert(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.rules().ok_or_else(no_rules)?.verifier.verify_client_cert(first, others, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("ClientVerifier").field("required", &self.required).finish_non_exhaustive()
    }
}

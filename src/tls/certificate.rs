//! One certificate with its chain and its private key, read from files and checked: what is wrong is said when the files
//! are read, and never found out by a client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::staple::{Staple, StapleError};
use rustls::SignatureScheme;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use zeroize::Zeroizing;

/// Where a certificate stands. Both may be one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The server's certificate, then those that lead to a root, as PEM.
    pub certificate: PathBuf,
    /// The private key of the first certificate, as PEM.
    pub key: PathBuf,
}

/// A certificate that can be used.
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The key as it was read, for another process: rustls does not give it back.
    private_key: Zeroizing<Vec<u8>>,
    names: Vec<String>,
    issuer: String,
    key_type: String,
    serial: Vec<u8>,
    must_staple: bool,
    staple: Option<Staple>,
    not_before: SystemTime,
    not_after: SystemTime,
    files: CertificateFiles,
}

/// What is wrong with a certificate, and in which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .file.display())]
pub struct CertificateError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: CertificateReason,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateReason {
    /// The system does not give it.
    #[error("{}", cannot_read(.0))]
    Unreadable(std::io::Error),
    /// A directory, a pipe or a device: reading it may have no end.
    #[error("it is no file")]
    NotAFile,
    /// A directory without certificates.
    #[error("there is no certificate in it (no fullchain.pem, and no NAME.pem with NAME.key)")]
    NoneInDirectory,
    /// It is longer than any certificate chain.
    #[error("the file is longer than 1 MiB: it is no certificate")]
    TooLong,
    /// Text that looks like PEM and is not.
    #[error("{}", not_pem(.0))]
    NotPem(PemError),
    /// A file for something else, or an empty one.
    #[error("there is no certificate in it (no line \"-----BEGIN CERTIFICATE-----\")")]
    NoCertificate,
    /// One that X.509 does not allow, counted from 1.
    #[error("certificate {0} in it cannot be read: {1}")]
    Unparsable(usize, String),
    /// The next one in the file is not its issuer; counted from 1.
    #[error("certificate {next} in it did not issue certificate {one}: the server's own comes first, then its issuer")]
    BrokenChain {
        /// The one without its issuer.
        one: usize,
        /// The one after it.
        next: usize,
    },
    /// The key is that of another one in the file, counted from 1.
    #[error("the private key belongs to certificate {0} in it: that one has to come first")]
    WrongOrder(usize),
    /// A file for something else, or an empty one.
    #[error("there is no private key in it (no line \"-----BEGIN PRIVATE KEY-----\")")]
    NoKey,
    /// A key with a passphrase.
    #[error("the private key in it is encrypted; \"openssl pkey -in FILE -out FILE\" writes it without a passphrase")]
    EncryptedKey,
    /// A key of a kind that is not supported.
    #[error(
        "the private key in it cannot be used: RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, and Ed25519 can"
    )]
    UnknownKey,
    /// A file for something else, or an empty one.
    #[error("there is no revocation list in it (no line \"-----BEGIN X509 CRL-----\")")]
    NoRevocationList,
    /// A list that RFC 5280 does not allow, or with something in it that is not supported.
    #[error("the revocation list in it cannot be used: {0}")]
    UnusableRevocationList(String),
    /// An answer of OCSP that is none for the certificate, or not any more.
    #[error("{0}")]
    Staple(#[from] StapleError),
    /// The key is that of another certificate.
    #[error("the private key in it does not belong to the certificate in {}", .0.display())]
    OtherKey(PathBuf),
}

/// What an operating system says, and what is mostly the reason.
fn cannot_read(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "the service may not read it".to_owned(),
        _ => format!("it cannot be read: {error}"),
    }
}

/// What the reader of PEM says, without the numbers of the bytes.
fn not_pem(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { end_marker } => {
            let end = String::from_utf8_lossy(end_marker);
            format!("the line \"-----END {end}-----\" is missing: the file is cut off")
        }
        PemError::IllegalSectionStart { line } => {
            format!("the line {:?} is not correct PEM", String::from_utf8_lossy(line).trim_end())
        }
        PemError::Base64Decode(_) => "what stands between BEGIN and END is not base64".to_owned(),
        other => format!("it is not correct PEM: {other}"),
    }
}

/// A file that is longer is not read to its end.
const LONGEST_FILE: u64 = 1 << 20;

impl CertificateFiles {
    /// The names that certbot gives: `fullchain.pem` and `privkey.pem`.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { certificate: directory.join("fullchain.pem"), key: directory.join("privkey.pem") }
    }

    /// Where an answer of OCSP stands, as HAProxy has it: the name of the certificate, and `.ocsp`.
    #[must_use]
    pub fn staple(&self) -> PathBuf {
        let mut name = self.certificate.clone().into_os_string();
        name.push(".ocsp");
        name.into()
    }
}

impl Certificate {
    /// Reads and checks the files. A certificate that has expired is no error: the caller looks at
    /// [`Certificate::not_after`].
    ///
    /// # Errors
    /// What is wrong, and in which file.
    pub fn load(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let in_certificate = |reason| CertificateError { file: files.certificate.clone(), reason };
        let in_key = |reason| CertificateError { file: files.key.clone(), reason };
        let chain = read(&files.certificate).and_then(|pem| chain(&pem)).map_err(in_certificate)?;
        let key = read(&files.key).and_then(|pem| private_key(&pem)).map_err(in_key)?;
        Self::new(files, chain, &key)
    }

    /// Checks a chain and a key that were read from `files`, perhaps by another process.
    ///
    /// # Errors
    /// What is wrong, and in which file.
    pub fn new(
        files: &CertificateFiles,
        chain: Vec<CertificateDer<'static>>,
        private_key: &PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let in_certificate = |reason| CertificateError { file: files.certificate.clone(), reason };
        let in_key = |reason| CertificateError { file: files.key.clone(), reason };
        let parsed = parse(&chain).map_err(in_certificate)?;
        let Some((one, first)) = chain.first().zip(parsed.first()) else {
            return Err(in_certificate(CertificateReason::NoCertificate));
        };
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(private_key);
        let key = key.map_err(|_| in_key(CertificateReason::UnknownKey))?;
        let belongs = |one: &CertificateDer<'static>| CertifiedKey::new(vec![one.clone()], key.clone()).keys_match();
        match belongs(one) {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(match chain.iter().position(|one| belongs(one).is_ok()) {
                    Some(at) => in_certificate(CertificateReason::WrongOrder(at + 1)),
                    None => in_key(CertificateReason::OtherKey(files.certificate.clone())),
                });
            }
            Err(other) => return Err(in_certificate(CertificateReason::Unparsable(1, other.to_string()))),
        }
        check_order(&parsed).map_err(in_certificate)?;
        let validity = first.tbs_certificate().validity();
        Ok(Self {
            names: names(first).map_err(in_certificate)?,
            issuer: first.tbs_certificate().issuer().to_string(),
            key_type: key_type(first),
            serial: first.tbs_certificate().serial_number().as_bytes().to_vec(),
            must_staple: must_staple(first),
            staple: None,
            not_before: validity.not_before.to_system_time(),
            not_after: validity.not_after.to_system_time(),
            private_key: Zeroizing::new(private_key.secret_der().to_vec()),
            key: Arc::new(CertifiedKey::new(chain, key)),
            files: files.clone(),
        })
    }

    /// Reads the answer of OCSP that stands beside it (see [`CertificateFiles::staple`]): handshakes show it then. Nothing
    /// where there is no such file.
    ///
    /// # Errors
    /// When it cannot be shown. Then none is.
    pub fn read_staple(&mut self, now: SystemTime) -> Result<(), CertificateError> {
        let file = self.files.staple();
        let read = match read(&file) {
            Err(CertificateReason::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(reason),
            Ok(bytes) => Staple::read(&bytes, &self.serial, now).map(Some).map_err(CertificateReason::Staple),
        };
        let (staple, wrong) = match read {
            Ok(staple) => (staple, None),
            Err(reason) => (None, Some(CertificateError { file, reason })),
        };
        let mut key = CertifiedKey::new(self.key.cert.clone(), self.key.key.clone());
        key.ocsp = staple.as_ref().map(|staple| staple.bytes().to_vec());
        (self.key, self.staple) = (Arc::new(key), staple);
        wrong.map_or(Ok(()), Err)
    }

    /// What handshakes show of OCSP.
    #[must_use]
    pub fn staple(&self) -> Option<&Staple> {
        self.staple.as_ref()
    }

    /// Whether clients refuse it without an answer of OCSP (RFC 7633).
    #[must_use]
    pub fn must_staple(&self) -> bool {
        self.must_staple
    }

    /// Whether it is the same certificate with the same chain.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// The certificate and those that lead to a root, as DER.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// What shows it to every server that asks for a certificate.
    pub(super) fn resolver(&self) -> SingleCertAndKey {
        SingleCertAndKey::from(self.key.clone())
    }

    /// Its private key as DER. The caller must not log it or keep it in a file.
    #[must_use]
    pub fn private_key(&self) -> &[u8] {
        &self.private_key
    }

    /// What issued it, as RFC 4514 writes names: `CN=R11,O=Let's Encrypt,C=US`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The kind of its key, such as `ECDSA P-256` or `RSA 2048`.
    #[must_use]
    pub fn key_type(&self) -> &str {
        &self.key_type
    }

    /// The host names that it is for, in lower case, such as `app.example.com` and `*.example.com`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it begins to hold.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When it expires.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Where it was read from.
    #[must_use]
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// Whether a client that asks for this host takes it. A wildcard stands for one label (RFC 9525 §6.3).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.iter().any(|name| *name == host || Some(name) == wildcard.as_ref())
    }

    /// Whether a client that knows these signatures can check one of this key.
    #[must_use]
    pub fn signs_as(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }

    /// Whether its signatures are cheap: all but RSA.
    pub(super) fn is_cheap(&self) -> bool {
        self.key.key.algorithm() != rustls::SignatureAlgorithm::RSA
    }

    /// Whether clients accept it at this time.
    #[must_use]
    pub fn holds_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// The certificates of authorities in a file.
///
/// # Errors
/// What is wrong with the file.
pub fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found = read(file).and_then(|pem| chain(&pem)).and_then(|found| parse(&found).map(|_| found));
    found.map_err(|reason| CertificateError { file: file.to_owned(), reason })
}

pub(super) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateReason> {
    let about = std::fs::metadata(file).map_err(CertificateReason::Unreadable)?;
    if !about.is_file() {
        return Err(CertificateReason::NotAFile);
    }
    if about.len() > LONGEST_FILE {
        return Err(CertificateReason::TooLong);
    }
    std::fs::read(file).map(Zeroizing::new).map_err(CertificateReason::Unreadable)
}

pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateReason> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(CertificateReason::NoCertificate),
        Ok(chain) => Ok(chain),
        Err(error) => Err(CertificateReason::NotPem(error)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateReason> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) if is_encrypted(pem) => Err(CertificateReason::EncryptedKey),
        Err(PemError::NoItemsFound) => Err(CertificateReason::NoKey),
        // the older form of encryption has header lines, which are no base64
        Err(_) if is_encrypted(pem) => Err(CertificateReason::EncryptedKey),
        Err(error) => Err(CertificateReason::NotPem(error)),
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let has = |text: &[u8]| memchr::memmem::find(pem, text).is_some();
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

type ParsedCertificate = x509_cert::Certificate;

fn parse(chain: &[CertificateDer<'static>]) -> Result<Vec<ParsedCertificate>, CertificateReason> {
    let parse = |(at, der): (usize, &CertificateDer<'static>)| {
        ParsedCertificate::from_der(der).map_err(|error| CertificateReason::Unparsable(at + 1, error.to_string()))
    };
    chain.iter().enumerate().map(parse).collect()
}

fn check_order(chain: &[ParsedCertificate]) -> Result<(), CertificateReason> {
    let broken = chain.windows(2).position(|pair| {
        let [one, next] = pair else { return false };
        one.tbs_certificate().issuer() != next.tbs_certificate().subject()
    });
    broken.map_or(Ok(()), |at| Err(CertificateReason::BrokenChain { one: at + 1, next: at + 2 }))
}

fn names(certificate: &ParsedCertificate) -> Result<Vec<String>, CertificateReason> {
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let found = found.map_err(|error| CertificateReason::Unparsable(1, error.to_string()))?;
    let names = found.map(|(_, names)| names.0).unwrap_or_default();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    Ok(names.collect())
}

fn key_type(certificate: &ParsedCertificate) -> String {
    let key = certificate.tbs_certificate().subject_public_key_info();
    let curve = || key.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match key.algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => match modulus_bits(key.subject_public_key.raw_bytes()) {
            Some(bits) => format!("RSA {bits}"),
            None => "RSA".to_owned(),
        },
        "1.2.840.10045.2.1" => match curve().map(|oid| oid.to_string()).as_deref() {
            Some("1.2.840.10045.3.1.7") => "ECDSA P-256".to_owned(),
            Some("1.3.132.0.34") => "ECDSA P-384".to_owned(),
            Some("1.3.132.0.35") => "ECDSA P-521".to_owned(),
            _ => "ECDSA".to_owned(),
        },
        "1.3.101.112" => "Ed25519".to_owned(),
        other => other.to_owned(),
    }
}

/// Whether it has the TLS feature `status_request` (RFC 7633 §4).
fn must_staple(certificate: &ParsedCertificate) -> bool {
    const FEATURES: &str = "1.3.6.1.5.5.7.1.24";
    const STATUS_REQUEST: [u8; 3] = [2, 1, 5];
    let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    let mut features = extensions.filter(|one| one.extn_id.to_string() == FEATURES);
    features.any(|one| one.extn_value.as_bytes().windows(3).any(|feature| feature == STATUS_REQUEST))
}

/// Of a key in the form of RFC 8017 (A.1.1): a sequence that begins with the modulus.
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let sequence = AnyRef::from_der(key).ok()?;
    let modulus = UintRef::decode(&mut SliceReader::new(sequence.value()).ok()?).ok()?;
    let first = modulus.as_bytes().first()?;
    Some(modulus.as_bytes().len() * 8 - first.leading_zeros() as usize)
}

impl fmt::Debug for Certificate {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Certificate").field("files", &self.files).field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

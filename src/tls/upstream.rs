//! TLS to one server: what is offered to it, which certificate it has to show, and the sessions with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::Decode;

use super::certificate::Certificate;
use super::client::ClientHandshake;
use super::handshake::{HandshakeError, Listen};

/// TLS to a server. All threads share it, and the sessions in it.
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    fingerprint: Fingerprint,
}

/// Equal where the same servers are believed and are shown the same certificate: a connection that was opened under another
/// one serves no further request.
pub type Fingerprint = [u8; 16];

/// What the servers of a pool have to show, and what they are shown.
#[derive(Clone, Debug)]
pub struct UpstreamTlsOptions {
    /// Which certificates of servers are right.
    pub trust: ServerTrust,
    /// The certificate that a server gets that asks for one.
    pub certificate: Option<Arc<Certificate>>,
}

/// Which certificates of servers are right.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// Those that lead to one of these, and are for the name of the server. One of these alone will do too.
    Roots(Arc<Vec<CertificateDer<'static>>>),
    /// Every one: what answers may be another server.
    Anything,
    /// None, because what they have to lead to is not known. In words, for the record of an exchange.
    Nothing(String),
}

/// Sessions that are kept for one server: each thread opens connections, and a server gives two tickets at once.
const SESSIONS: usize = 64;

/// TLS to the servers of one pool, but for their names and protocols: what one costs is paid for once. A verifier of the certificate
/// authorities of a system is a parsed copy of each.
pub struct PoolTls {
    config: ClientConfig,
    /// Of what is believed and shown.
    digest: digest::Context,
}

impl PoolTls {
    /// With these options.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn new(options: &UpstreamTlsOptions) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier::new(&options.trust, &provider)?);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &options.certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(certificate.resolver())),
            None => builder.with_no_client_auth(),
        };
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Listen);
        Ok(Self { config, digest: options.digest() })
    }

    /// TLS to the server of this name, as its certificate has to have it, which is offered these protocols (ALPN), in the order
    /// of preference. Its sessions are its own: another server of the same name does not know them.
    #[must_use]
    pub fn to_server(&self, name: ServerName<'static>, alpn: &[&[u8]]) -> UpstreamTls {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let mut digest = self.digest.clone();
        part(&mut digest, b"alpn");
        alpn.iter().for_each(|name| part(&mut digest, name));
        part(&mut digest, b"name");
        part(&mut digest, name.to_str().as_bytes());
        let mut fingerprint = Fingerprint::default();
        fingerprint.iter_mut().zip(digest.finish().as_ref()).for_each(|(to, from)| *to = *from);
        UpstreamTls { config: Arc::new(config), name, fingerprint }
    }
}

impl UpstreamTls {
    /// Begins a handshake with the server. What is to be sent is appended to `out`.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn begin(&self, out: &mut Vec<u8>) -> Result<ClientHandshake, HandshakeError> {
        ClientHandshake::begin(&self.config, self.name.clone(), out)
    }

    /// The same as of another [`UpstreamTls`] when both believe and show the same.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl UpstreamTlsOptions {
    fn digest(&self) -> digest::Context {
        let mut digest = digest::Context::new(&digest::SHA256);
        match &self.trust {
            ServerTrust::Roots(roots) => roots.iter().for_each(|root| part(&mut digest, root)),
            ServerTrust::Anything => part(&mut digest, b"anything"),
            ServerTrust::Nothing(why) => part(&mut digest, why.as_bytes()),
        }
        part(&mut digest, b"certificate");
        self.certificate.iter().flat_map(|certificate| certificate.chain()).for_each(|one| part(&mut digest, one));
        digest
    }
}

/// With its length, so that no two lists of parts give the same bytes.
fn part(digest: &mut digest::Context, part: &[u8]) {
    digest.update(&(part.len() as u64).to_be_bytes());
    digest.update(part);
}

/// Looks at the certificates of servers.
#[derive(Debug)]
struct Verifier {
    trust: ServerTrust,
    webpki: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(trust: &ServerTrust, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let webpki = match trust {
            ServerTrust::Roots(certificates) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates.iter().cloned());
                let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
                builder.build().ok() // without any root there is none
            }
            ServerTrust::Anything | ServerTrust::Nothing(_) => None,
        };
        Ok(Self { trust: trust.clone(), webpki, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = match &self.trust {
            ServerTrust::Anything => return Ok(ServerCertVerified::assertion()),
            ServerTrust::Nothing(why) => return Err(Error::General(why.clone())),
            ServerTrust::Roots(roots) => roots,
        };
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let verified = self.webpki.as_ref().map_or_else(
            || Err(unknown()),
            |webpki| webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
        );
        if verified.is_err() && roots.contains(end_entity) {
            return is_valid(end_entity, server_name, now);
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A certificate that is itself believed: `openssl req -x509` makes such ones as certificates of an authority, which webpki
/// takes from no server, and OpenSSL does.
fn is_valid(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.tbs_certificate().validity();
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    Ok(ServerCertVerified::assertion())
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("UpstreamTls").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

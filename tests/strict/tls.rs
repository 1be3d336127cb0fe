//! TLS of the clients: a certificate that the proxy has and they trust.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::setup::HOST;
use super::{Lost, in_time};

/// The protocol that a client wants from TLS (ALPN).
pub const HTTP_1: &[u8] = b"http/1.1";
pub const HTTP_2: &[u8] = b"h2";

/// A certificate for [`HOST`].
pub struct Certificate {
    /// Where the proxy finds it.
    pub directory: PathBuf,
    /// Its files as certbot makes them: name and content.
    pub files: [(&'static str, String); 2],
    roots: Arc<RootCertStore>,
}

impl Certificate {
    pub fn issue(directory: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([HOST.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let files = [("fullchain.pem", certificate.pem()), ("privkey.pem", key.serialize_pem())];
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        Self { directory: directory.to_owned(), files, roots: Arc::new(roots) }
    }

    /// The address at which clients find it.
    pub fn at(&self, address: SocketAddr) -> TlsDoor {
        TlsDoor { address, is_only: false, roots: self.roots.clone() }
    }
}

/// Where clients come in by TLS, and what they trust.
#[derive(Clone)]
pub struct TlsDoor {
    pub address: SocketAddr,
    /// Whether all of HTTP/1 come in here, or two of three.
    pub is_only: bool,
    roots: Arc<RootCertStore>,
}

impl TlsDoor {
    /// Each client has one version.
    pub fn version(number: u64) -> &'static SupportedProtocolVersion {
        if number.is_multiple_of(2) { &rustls::version::TLS13 } else { &rustls::version::TLS12 }
    }

    /// Whether the client with this number comes in here.
    pub fn takes(&self, number: u64) -> bool {
        self.is_only || !number.is_multiple_of(3)
    }

    /// `connected` is told of the socket before the handshake.
    pub async fn connect(
        &self,
        host: &str,
        version: &'static SupportedProtocolVersion,
        protocol: &[u8],
        connected: impl FnOnce(&TcpStream),
    ) -> Result<TlsStream<TcpStream>, Lost> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let config = config.map_err(|fault| Lost::new(fault.to_string()))?;
        let mut config = config.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_owned()];
        let name = host.to_owned().try_into().map_err(|_| Lost::new("no name"))?;
        let connecting = async {
            let socket = TcpStream::connect(self.address).await.inspect(connected)?;
            let _ = socket.set_nodelay(true);
            Ok(TlsConnector::from(Arc::new(config)).connect(name, socket).await?)
        };
        let stream = in_time("TLS connection", connecting).await;
        let stream = stream.map_err(|lost| Lost::new(format!("connect: {lost}")))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(chosen) if chosen == protocol => Ok(stream),
            chosen => Err(Lost::new(format!("{:?} was chosen by ALPN", chosen.map(String::from_utf8_lossy)))),
        }
    }
}

impl fmt::Debug for TlsDoor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TLS at {}", self.address)
    }
}

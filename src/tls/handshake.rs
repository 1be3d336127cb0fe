//! The server's side of a handshake, up to its end: bytes in, bytes out. rustls does it.
//!
//! At the end the secrets are taken out of rustls and become a [`TlsState`]. rustls drops without a word what it has read
//! beyond that, so it is given one whole record at a time, and what follows the last one stays with the caller. The deadline is the caller's too.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::{
    CipherSuite, CommonState, ConnectionTrafficSecrets, ExtractedSecrets, KeyLog, ProtocolVersion, ServerConfig,
    ServerConnection,
};
use serde::{Deserialize, Serialize};
use x509_cert::TbsCertificate;
use x509_cert::der::Decode;
use zeroize::Zeroizing;

use super::record::{HEADER, LONGEST};
use super::sessions::SessionTickets;
use super::shown::ShownCertificate;
use super::state::{DirectionKeys, TlsState};
use super::suite::{IV, KEY, SECRET, Suite, Version};

/// A handshake that goes on.
///
/// ```text
/// Hello ──ClientHello, a configuration was chosen──▶ Agreed ──Finished──▶ (Established)
///   └──any error, an alert was written──▶ Over ◀──┘
/// ```
pub struct Handshake {
    phase: HandshakePhase,
    secrets: FirstSecrets,
}

enum HandshakePhase {
    Hello(Box<Acceptor>),
    Agreed(Box<ServerConnection>),
    Over,
}

/// What a handshake ends in.
#[derive(Debug)]
pub struct Established {
    /// The open connection.
    pub state: Box<TlsState>,
    /// What was agreed on.
    pub facts: Arc<HandshakeFacts>,
    /// As the client: what takes the tickets of the server.
    pub tickets: Option<Box<SessionTickets>>,
}

/// What is known of a connection that is no secret. Goes with it to other generations: a new field has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeFacts {
    /// The version.
    pub version: Version,
    /// The cipher suite, as IANA numbers it.
    pub suite: u16,
    /// The name that the client asked for (SNI), in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Box<str>>,
    /// The protocol that was chosen (ALPN), which is one of ours; none when the client named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Box<str>>,
    /// Whether a ticket spared the certificate.
    #[serde(default)]
    pub resumed: bool,
    /// The certificate that the client showed; none when it showed none.
    #[serde(skip)]
    pub client: Option<Box<ShownCertificate>>,
}

/// Why there is no connection.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// The first bytes are not those of TLS. Nothing was written: the caller may answer in plaintext.
    #[error("the other end does not speak TLS")]
    NotTls,
    /// No configuration for the name that the client asked for.
    #[error("no certificate for {}", .0.as_deref().unwrap_or("a client that names no host"))]
    UnknownName(Option<String>),
    /// The two sides did not agree, or the client broke a rule.
    #[error("{0}")]
    Refused(#[from] rustls::Error),
    /// rustls agreed on something that the records don't know. A fault of this program.
    #[error("no secrets for the connection")]
    NoSecrets,
    /// The handshake had ended already.
    #[error("the handshake is over")]
    Over,
}

/// A fatal alert `unexpected_message`, in plaintext (RFC 8446 §6.2).
const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];
/// A fatal alert `handshake_failure`, in plaintext (RFC 8446 §6.2).
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
/// A fatal alert `unrecognized_name`, in plaintext (RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The content type of a handshake message.
const HANDSHAKE: u8 = 22;

impl Default for Handshake {
    fn default() -> Self {
        Self { phase: HandshakePhase::Hello(Box::default()), secrets: FirstSecrets::default() }
    }
}

impl Handshake {
    /// Takes the records at the start of `received`, up to the last one of the handshake: how many bytes they are, and the
    /// connection once it is open. What is to be sent is appended to `out`, also with an error. `choose` is asked
    /// once, when the client has said what it wants.
    ///
    /// # Errors
    /// The connection has to end, after `out` was sent.
    pub fn receive(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
        choose: impl Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>>,
    ) -> Result<(usize, Option<Established>), HandshakeError> {
        let mut taken = 0;
        while let Some(length) = self.record_length(&received[taken..])? {
            let Some(record) = received.get(taken..taken + length) else { break };
            taken += length;
            match std::mem::replace(&mut self.phase, HandshakePhase::Over) {
                HandshakePhase::Hello(acceptor) => self.hello(acceptor, record, out, &choose)?,
                HandshakePhase::Agreed(connection) => {
                    if let Some(established) = self.agreed(connection, record, out)? {
                        return Ok((taken, Some(established)));
                    }
                }
                HandshakePhase::Over => return Err(HandshakeError::Over),
            }
        }
        Ok((taken, None))
    }

    /// How long the record at the start of `bytes` is; none when its header is not there yet.
    fn record_length(&self, bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
        let is_first = matches!(self.phase, HandshakePhase::Hello(_));
        match *bytes {
            [kind, ..] if is_first && kind != HANDSHAKE => Err(HandshakeError::NotTls),
            [_, major, ..] if is_first && major != 3 => Err(HandshakeError::NotTls),
            // a length beyond what TLS allows is left to rustls, which has the alert for it
            [_, _, _, high, low, ..] => Ok(Some((HEADER + usize::from(u16::from_be_bytes([high, low]))).min(LONGEST))),
            _ => Ok(None),
        }
    }

    fn hello(
        &mut self,
        mut acceptor: Box<Acceptor>,
        mut record: &[u8],
        out: &mut Vec<u8>,
        choose: &impl Fn(&ClientHello<'_>) -> Option<Arc<ServerConfig>>,
    ) -> Result<(), HandshakeError> {
        while !record.is_empty() {
            acceptor.read_tls(&mut record).map_err(|_| HandshakeError::Over)?;
        }
        let accepted = match acceptor.accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => {
                self.phase = HandshakePhase::Hello(acceptor);
                return Ok(());
            }
            Err((error, mut alert)) => {
                let length = out.len();
                let _ = alert.write_all(out); // a Vec takes everything
                if out.len() == length {
                    // rustls has no alert for another message than ClientHello
                    out.extend_from_slice(&UNEXPECTED_MESSAGE);
                }
                return Err(error.into());
            }
        };
        let Some(config) = choose(&accepted.client_hello()) else {
            out.extend_from_slice(&UNRECOGNIZED_NAME);
            let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
            return Err(HandshakeError::UnknownName(name));
        };
        let connection = self.secrets.listen(|| accepted.into_connection(config));
        let mut connection = connection.map_err(|(error, mut alert)| {
            let length = out.len();
            let _ = alert.write_all(out);
            if out.len() == length {
                // rustls has none where the key of the certificate makes no signature that the client knows
                out.extend_from_slice(&HANDSHAKE_FAILURE);
            }
            error
        })?;
        write(&mut connection, out);
        self.phase = HandshakePhase::Agreed(Box::new(connection));
        Ok(())
    }

    fn agreed(
        &mut self,
        mut connection: Box<ServerConnection>,
        mut record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Established>, HandshakeError> {
        while !record.is_empty() {
            connection.read_tls(&mut record).map_err(|_| HandshakeError::Over)?;
        }
        let done = self.secrets.listen(|| connection.process_new_packets());
        write(&mut connection, out);
        done?;
        if connection.is_handshaking() {
            self.phase = HandshakePhase::Agreed(connection);
            return Ok(None);
        }
        let name = connection.server_name().map(|name| name.to_ascii_lowercase().into());
        let facts = HandshakeFacts::of(&connection, name, connection.peer_certificates().unwrap_or_default())
            .ok_or(HandshakeError::NoSecrets)?;
        let secrets = connection.dangerous_extract_secrets().map_err(|_| HandshakeError::NoSecrets)?;
        let state = self.secrets.server_state(facts.version, &secrets).ok_or(HandshakeError::NoSecrets)?;
        Ok(Some(Established { state, facts: Arc::new(facts), tickets: None }))
    }
}

/// Takes everything that rustls wants to send: what it still holds is lost by the extraction.
fn write(connection: &mut ServerConnection, out: &mut Vec<u8>) {
    while connection.wants_write() {
        let _ = connection.write_tls(out); // a Vec takes everything
    }
}

impl HandshakeFacts {
    /// The cipher suite, as IANA names it.
    #[must_use]
    pub fn suite_name(&self) -> String {
        let name = CipherSuite::from(self.suite).as_str().unwrap_or("unknown");
        // rustls tells the suites of TLS 1.3 apart by their names
        name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |name| format!("TLS_{name}"))
    }

    /// The same, as OpenSSL and what is made with it name it.
    #[must_use]
    pub fn openssl_suite_name(&self) -> String {
        let name = self.suite_name();
        let Some((exchange, cipher)) = name.strip_prefix("TLS_").and_then(|name| name.split_once("_WITH_")) else {
            return name;
        };
        let cipher = cipher.replace("AES_", "AES").replace("POLY1305_SHA256", "POLY1305");
        format!("{exchange}_{cipher}").replace('_', "-")
    }

    /// The subject of the certificate that the client showed, as RFC 4514 writes names; none where it showed none.
    #[must_use]
    pub fn client_name(&self) -> Option<String> {
        self.client_certificate(|certificate| Some(certificate.subject().to_string()))
    }

    /// The common name in it.
    #[must_use]
    pub fn client_common_name(&self) -> Option<String> {
        self.client_certificate(|certificate| Some(certificate.subject().common_name().ok()??.value().into_owned()))
    }

    /// The serial number of that certificate, in hexadecimal digits.
    #[must_use]
    pub fn client_serial(&self) -> Option<String> {
        self.client_certificate(|certificate| {
            Some(certificate.serial_number().as_bytes().iter().map(|byte| format!("{byte:02X}")).collect())
        })
    }

    fn client_certificate(&self, look: impl FnOnce(&TbsCertificate) -> Option<String>) -> Option<String> {
        look(x509_cert::Certificate::from_der(self.client.as_ref()?.chain().first()?).ok()?.tbs_certificate())
    }

    /// What is agreed on now with a server of this name, or with a client that asked for it and showed this.
    pub(super) fn of(
        connection: &CommonState,
        server_name: Option<Box<str>>,
        shown: &[CertificateDer<'static>],
    ) -> Option<Self> {
        Some(Self {
            version: match connection.protocol_version()? {
                ProtocolVersion::TLSv1_2 => Version::Tls12,
                ProtocolVersion::TLSv1_3 => Version::Tls13,
                _ => return None,
            },
            suite: connection.negotiated_cipher_suite()?.suite().into(),
            server_name,
            alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into()),
            resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            client: ShownCertificate::new(shown),
        })
    }
}

/// The first traffic secrets of a connection with TLS 1.3. rustls gives out keys and ivs, from which no KeyUpdate
/// follows, and never the secrets. But it tells them to a key log, on the thread that works on the connection.
#[derive(Default)]
pub(super) struct FirstSecrets {
    client: Option<Zeroizing<[u8; SECRET]>>,
    server: Option<Zeroizing<[u8; SECRET]>>,
}

thread_local! {
    /// What rustls tells of the connection that this thread works on.
    static TOLD: RefCell<FirstSecrets> = RefCell::default();
}

/// The key log.
#[derive(Debug)]
pub(super) struct Listen;

const CLIENT_SECRET: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_SECRET: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Listen {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let mut padded = Zeroizing::new([0; SECRET]);
        let Some(place) = padded.get_mut(..secret.len()) else { return };
        place.copy_from_slice(secret);
        TOLD.with_borrow_mut(|told| match label {
            CLIENT_SECRET => told.client = Some(padded),
            SERVER_SECRET => told.server = Some(padded),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        [CLIENT_SECRET, SERVER_SECRET].contains(&label)
    }
}

impl FirstSecrets {
    /// Has rustls work on a connection, and keeps what it tells meanwhile.
    pub(super) fn listen<T>(&mut self, work: impl FnOnce() -> T) -> T {
        TOLD.take();
        let done = work();
        let told = TOLD.take();
        self.client = told.client.or(self.client.take());
        self.server = told.server.or(self.server.take());
        done
    }

    /// The state of the server's side.
    fn server_state(&self, version: Version, secrets: &ExtractedSecrets) -> Option<Box<TlsState>> {
        self.state(version, secrets, false)
    }

    /// The state of the client's side.
    pub(super) fn client_state(&self, version: Version, secrets: &ExtractedSecrets) -> Option<Box<TlsState>> {
        self.state(version, secrets, true)
    }

    fn state(&self, version: Version, secrets: &ExtractedSecrets, is_client: bool) -> Option<Box<TlsState>> {
        let (suite, ..) = parts(&secrets.tx.1)?;
        let mut state = TlsState::new(version, suite);
        state.is_client = is_client;
        let (reading, writing) = if is_client { (&self.server, &self.client) } else { (&self.client, &self.server) };
        fill(&mut state.reading, version, &secrets.rx, reading.as_deref())?;
        fill(&mut state.writing, version, &secrets.tx, writing.as_deref())?;
        Some(state)
    }
}

/// Sets keys and number of one direction. With TLS 1.3 they have to follow from the secret that was told.
fn fill(
    direction: &mut DirectionKeys,
    version: Version,
    (sequence, secrets): &(u64, ConnectionTrafficSecrets),
    first: Option<&[u8; SECRET]>,
) -> Option<()> {
    let (suite, key, iv) = parts(secrets)?;
    if version == Version::Tls13 {
        direction.set_secret(suite, first?, *sequence).ok()?;
        let follows = direction.key[..key.len()] == *key && direction.iv == *iv;
        return follows.then_some(());
    }
    direction.key.get_mut(..key.len())?.copy_from_slice(key);
    direction.iv.copy_from_slice(iv);
    direction.sequence = *sequence;
    Some(())
}

fn parts(secrets: &ConnectionTrafficSecrets) -> Option<(Suite, &[u8], &[u8; IV])> {
    let (suite, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Suite::Chacha20Poly1305, key, iv),
        _ => return None,
    };
    let key = key.as_ref();
    (key.len() == suite.key_length() && key.len() <= KEY).then_some(())?;
    Some((suite, key, iv.as_ref().try_into().ok()?))
}

/// What a handshake offers: TLS 1.2 and 1.3 with every AEAD suite of rustls, X25519MLKEM768 first, no renegotiation, no
/// early data, sessions in tickets only. `clients` looks at the certificates of clients; without it none are asked for.
/// `alpn` is in the order of preference; a client that names none of them is
/// refused, one that names nothing is not.
///
/// # Errors
/// None that is known: the versions go with the suites.
pub fn server_config(
    certificates: Arc<dyn ResolvesServerCert>,
    tickets: Arc<dyn ProducesTickets>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // testssl.sh takes a server without an order of its own for one that a client can talk into its weakest suite
    config.ignore_client_order = true;
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(Listen);
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {}); // it would not outlive the generation
    config.ticketer = tickets;
    Ok(Arc::new(config))
}

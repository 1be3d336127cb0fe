//! Handshakes with rustls as the client, and what all tests of this folder use.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ClientConnection, ServerConfig, SupportedCipherSuite};

use super::*;

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A root that issues certificates.
pub(crate) struct Root(CertifiedIssuer<'static, KeyPair>);

impl Root {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Certificate and key for these names, as PEM.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, KeyPair) {
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key)
    }

    /// Files as certbot writes them.
    pub(crate) fn write(
        &self,
        directory: &Path,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let files = CertificateFiles::in_directory(directory);
        let (certificate, key) = self.issue(names, change);
        std::fs::write(&files.certificate, certificate + &self.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }
}

/// A server with a certificate for `app.example`, and what its clients trust.
pub(crate) struct Server {
    pub(crate) config: Arc<ServerConfig>,
    root: Root,
    keys: TicketKeys,
}

impl Server {
    pub(crate) fn new() -> Self {
        let mut keys = TicketKeys::default();
        keys.rotate(std::time::SystemTime::now()).expect("random");
        let root = Root::new("a root");
        Self { config: Self::config(&root, &keys), root, keys }
    }

    fn config(root: &Root, keys: &TicketKeys) -> Arc<ServerConfig> {
        let directory = tempfile::tempdir().expect("a directory");
        let files = root.write(directory.path(), &["app.example"], |_| {});
        let certificate = Arc::new(Certificate::load(&files).expect("a certificate"));
        let certificates = Arc::new(CertificatesInUse::default());
        certificates.set(Certificates::new(&[(certificate, Vec::new())], None));
        let tickets = Arc::<Tickets>::default();
        tickets.set(keys, std::time::SystemTime::now()).expect("keys");
        server_config(certificates, tickets, None, &[b"h2", b"http/1.1"]).expect("a configuration")
    }

    /// What its clients trust.
    pub(crate) fn root(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.root.der()
    }

    /// Another generation: other certificate, other configuration, the same keys for tickets.
    fn next(&self) -> Arc<ServerConfig> {
        let keys = TicketKeys::from_bytes(&self.keys.to_bytes()).expect("keys");
        Self::config(&self.root, &keys)
    }

    /// What a client with this one suite has.
    pub(crate) fn client_with(&self, suite: SupportedCipherSuite, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        self.client_of(vec![suite], alpn)
    }

    /// What a client with these suites of one version has, in its order.
    fn client_of(&self, suites: Vec<SupportedCipherSuite>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let version = suites[0].version();
        let provider = CryptoProvider { cipher_suites: suites, ..rustls::crypto::aws_lc_rs::default_provider() };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.der()).expect("a root");
        let mut config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .expect("a version with the suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// Every suite that rustls has: all of TLS 1.3, and those of TLS 1.2 with ECDSA.
pub(crate) fn suites() -> Vec<SupportedCipherSuite> {
    let is_rsa = |suite: &SupportedCipherSuite| suite.suite().as_str().is_some_and(|name| name.contains("_RSA_"));
    rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().filter(|suite| !is_rsa(suite)).collect()
}

pub(crate) fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::try_from("app.example").expect("a name")).expect("a client")
}

/// What a client sends now.
pub(crate) fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent).expect("a vector");
    }
    sent
}

/// Gives a client what came.
pub(crate) fn give(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("a slice");
        client.process_new_packets()?;
    }
    Ok(())
}

/// A whole handshake, in pieces of `piece` bytes; also what the client sent after it.
pub(crate) fn shake(client: &mut ClientConnection, server: &Arc<ServerConfig>, piece: usize) -> (Established, Vec<u8>) {
    let mut handshake = Handshake::default();
    let (mut received, mut out) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        for bytes in sent(client).chunks(piece) {
            received.extend_from_slice(bytes);
            let (taken, established) =
                handshake.receive(&received, &mut out, |_| Some(server.clone())).expect("no error");
            received.drain(..taken);
            if let Some(established) = established {
                give(client, &out).expect("tickets, or the end of the handshake");
                return (established, received);
            }
        }
        give(client, &std::mem::take(&mut out)).expect("a handshake");
    }
    panic!("no end of the handshake");
}

#[test]
fn a_handshake_ends_with_every_suite_whatever_pieces_it_comes_in() {
    let server = Server::new();
    for suite in suites() {
        for piece in [1, 7, 100_000] {
            let mut client = client(&server.client_with(suite, &[b"http/1.1"]));
            let (Established { state, facts, .. }, rest) = shake(&mut client, &server.config, piece);
            assert!(!client.is_handshaking());
            assert_eq!(rest, b"", "{suite:?}");
            assert_eq!(facts.version, state.version());
            assert_eq!(facts.version == Version::Tls13, suite.tls13().is_some());
            let suite = suite.suite();
            let name = suite.as_str().expect("a name").replace("TLS13_", "TLS_");
            assert_eq!((facts.suite, facts.suite_name()), (suite.into(), name));
            assert_eq!(state.suite() == Suite::Chacha20Poly1305, facts.suite_name().contains("CHACHA20"));
            assert_eq!(facts.server_name.as_deref(), Some("app.example"));
            assert_eq!(facts.alpn.as_deref(), Some("http/1.1"));
            assert!(!facts.resumed);
        }
    }
}

#[test]
fn what_follows_the_handshake_in_the_same_packet_is_left_for_the_records() {
    use std::io::Write;
    let server = Server::new();
    for suite in suites() {
        let mut client = client(&server.client_with(suite, &[]));
        client.writer().write_all(b"early").expect("kept until the handshake is over");
        let (Established { state, facts, .. }, mut rest) = shake(&mut client, &server.config, 100_000);
        rest.extend(sent(&mut client));
        assert_eq!(facts.alpn, None);
        let mut records = Records::new(state).expect("keys");
        assert_eq!(records.length(&rest), Ok(Some(rest.len())), "{suite:?}");
        let opened = records.open(&mut rest, &mut Vec::new());
        let Ok(OpenedRecord::Data(data)) = opened else { panic!("{suite:?}: {opened:?}") };
        assert_eq!(rest[data], *b"early");
    }
}

#[test]
fn the_key_exchange_of_tls_1_3_is_the_one_that_quantum_computers_do_not_break() {
    let server = Server::new();
    let config = server.client_with(rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256, &[]);
    let mut client = client(&config);
    shake(&mut client, &server.config, 100_000);
    let group = client.negotiated_key_exchange_group().expect("one").name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn a_ticket_of_one_generation_resumes_at_the_next_one() {
    let server = Server::new();
    for suite in suites() {
        let config = server.client_with(suite, &[]);
        let (established, _) = shake(&mut client(&config), &server.config, 100_000);
        assert!(!established.facts.resumed);
        let mut resumed = client(&config);
        let (established, _) = shake(&mut resumed, &server.next(), 100_000);
        assert!(established.facts.resumed, "{suite:?}");
        assert_eq!(established.facts.server_name.as_deref(), Some("app.example"));
        // and its records go on
        let (mut records, mut out) = (Records::new(established.state).expect("keys"), Vec::new());
        records.seal(&[std::io::IoSlice::new(b"hello")], &mut out).expect("sealed");
        give(&mut resumed, &out).expect("opened");
    }
}

#[test]
fn a_client_that_names_another_host_learns_nothing_but_that() {
    let server = Server::new();
    let config = server.client_with(suites()[0], &[]);
    let mut client = ClientConnection::new(config, "Other.example".try_into().expect("a name")).expect("a client");
    let mut out = Vec::new();
    let refused = Handshake::default().receive(&sent(&mut client), &mut out, |hello| {
        assert_eq!(hello.server_name(), Some("other.example"));
        None
    });
    assert_eq!(refused.expect_err("refused"), HandshakeError::UnknownName(Some("other.example".to_owned())));
    assert_eq!(give(&mut client, &out), Err(rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName)));
}

/// A ClientHello of OpenSSL for TLS 1.2, without a name and without `ecdsa_secp256r1_sha256`.
const OTHER_SIGNATURES: &str = "
    16030100c3010000bf03036fd04d8bb44024e370545225bfd58fa859554a369c7daafff195069e734dd43e00001ec02c
    c030c02bc02fcca9cca8c024c028c05bc027009f009e006b006700ff0100007859000010000e00000b6170702e657861
    6d706c65000b000403000102000a000c000a001d0017001e00190018002300000010000e000c02683308687474702f31
    2e310016000000170000000d002a00280e0305030603080708080809080a080b08040805080604010501060103030301
    0302040205020602";

#[test]
fn a_client_that_knows_no_signature_of_the_key_is_told_so_by_an_alert() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = Root::new("a root").write(directory.path(), &["app.example"], |_| {});
    let certificate = Arc::new(Certificate::load(&files).expect("a certificate"));
    let certificates = Arc::new(CertificatesInUse::default());
    certificates.set(Certificates::new(&[(certificate.clone(), Vec::new())], Some(certificate)));
    let tickets = Arc::<Tickets>::default();
    let server = server_config(certificates, tickets, None, &[b"http/1.1"]).expect("a configuration");
    let mut out = Vec::new();
    let refused = Handshake::default().receive(&hex(OTHER_SIGNATURES), &mut out, |_| Some(server.clone()));
    assert!(matches!(refused, Err(HandshakeError::Refused(_))), "{refused:?}");
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 40]);
}

#[test]
fn plain_http_is_told_apart_at_its_first_byte() {
    for bytes in
        [&b"G"[..], b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0x80, 0x2e, 1, 3, 1], &[22, 2]]
    {
        let mut out = Vec::new();
        let refused = Handshake::default().receive(bytes, &mut out, |_| unreachable!("no ClientHello"));
        assert_eq!(refused.expect_err("refused"), HandshakeError::NotTls);
        assert_eq!(out, b"");
    }
    let waiting = Handshake::default().receive(&[22, 3, 1, 0], &mut Vec::new(), |_| unreachable!("no ClientHello"));
    assert!(matches!(waiting, Ok((0, None))));
}

#[test]
fn whatever_a_client_says_wrong_ends_with_an_alert() {
    let server = Server::new();
    // a handshake message that is no ClientHello, and one that is too long for TLS
    let too_long = [&[22, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat();
    for bytes in [hex("16 03 01 00 04 0e 00 00 00"), too_long] {
        let mut out = Vec::new();
        let refused = Handshake::default().receive(&bytes, &mut out, |_| Some(server.config.clone()));
        assert!(matches!(refused, Err(HandshakeError::Refused(_))), "{refused:?}");
        assert!(matches!(out[..], [21, 3, _, 0, 2, 2, _]), "{out:?}");
    }
}

#[test]
fn a_client_that_speaks_none_of_the_protocols_is_told() {
    let server = Server::new();
    for suite in suites() {
        let mut client = client(&server.client_with(suite, &[b"h3"]));
        let mut out = Vec::new();
        let refused = Handshake::default().receive(&sent(&mut client), &mut out, |_| Some(server.config.clone()));
        assert_eq!(
            refused.expect_err("refused"),
            HandshakeError::Refused(rustls::Error::NoApplicationProtocol),
            "{suite:?}"
        );
        let told = give(&mut client, &out);
        assert_eq!(told, Err(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)));
    }
}

#[test]
fn a_finished_that_was_changed_ends_the_handshake() {
    let server = Server::new();
    for suite in suites() {
        let mut client = client(&server.client_with(suite, &[]));
        let (mut handshake, mut out) = (Handshake::default(), Vec::new());
        handshake.receive(&sent(&mut client), &mut out, |_| Some(server.config.clone())).expect("a ClientHello");
        give(&mut client, &std::mem::take(&mut out)).expect("a flight");
        let mut last = sent(&mut client);
        *last.last_mut().expect("bytes") ^= 1;
        let refused = handshake.receive(&last, &mut out, |_| unreachable!("asked once"));
        assert!(matches!(refused, Err(HandshakeError::Refused(_))), "{suite:?}: {refused:?}");
        assert!(!out.is_empty());
        let over = handshake.receive(&[22, 3, 3, 0, 0], &mut out, |_| unreachable!("asked once"));
        assert_eq!(over.expect_err("over"), HandshakeError::Over);
    }
}

#[test]
fn no_suite_without_authenticated_encryption_is_offered() {
    let server = Server::new();
    let named = |suite: &SupportedCipherSuite| suite.suite().as_str().unwrap_or_default();
    for suite in &server.config.crypto_provider().cipher_suites {
        let name = named(suite);
        assert!(name.contains("GCM") || name.contains("POLY1305"), "{name}");
    }
    assert_ne!(server.config.crypto_provider().cipher_suites[0].suite(), CipherSuite::Unknown(0));
}

#[test]
fn the_suite_is_the_first_one_of_the_server_that_a_client_has() {
    let server = Server::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let own: Vec<_> = suites().into_iter().filter(|suite| suite.version() == version).collect();
        let mut client = client(&server.client_of(own.iter().rev().copied().collect(), &[]));
        shake(&mut client, &server.config, 100_000);
        assert_eq!(client.negotiated_cipher_suite().map(|suite| suite.suite()), Some(own[0].suite()));
    }
}

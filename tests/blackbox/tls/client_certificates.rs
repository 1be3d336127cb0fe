//! Certificates of clients: which of them are let in, for which site they count, and what servers are told of them.

use std::net::SocketAddr;

use rcgen::{
    BasicConstraints, CertificateRevocationListParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::HandshakeKind;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::moves::reload;
use super::*;
use crate::support::{Run, Wire, socket, wait_for};

pub(super) const SERIAL: u64 = 0x00c0_ffee;

/// What issues certificates for clients.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root"))
    }

    pub(super) fn issue(&self, name: &str, serial: u64) -> Shown {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::OrganizationName, "Ünï");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Some((certificate.der().clone(), key.serialize_der()))
    }

    /// A list that revokes these.
    fn revoke(&self, serials: &[u64]) -> String {
        self.revoke_until(serials, 2124)
    }

    fn revoke_until(&self, serials: &[u64], year: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(serials.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("a list").pem().expect("PEM")
    }
}

/// A certificate with its key.
pub(super) type Shown = Option<(CertificateDer<'static>, Vec<u8>)>;

/// A service with a site for clients with certificates, `a.test`, and one for all, `b.test`, with one certificate for both.
pub(super) struct Scene {
    pub(super) run: Run,
    pub(super) server: Server,
    pub(super) address: SocketAddr,
    plain: SocketAddr,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) authority: Authority,
    files: tempfile::TempDir,
}

impl Scene {
    pub(super) fn new(more: &str) -> Self {
        let (server, files, authority) =
            (Server::new(), tempfile::tempdir().expect("a directory"), Authority::new("clients"));
        let key = KeyPair::generate().expect("a key");
        let names = ["a.test", "b.test"].map(str::to_owned);
        let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        std::fs::write(files.path().join("fullchain.pem"), certificate.pem()).expect("written");
        std::fs::write(files.path().join("privkey.pem"), key.serialize_pem()).expect("written");
        std::fs::write(files.path().join("ca.pem"), authority.pem()).expect("written");
        let ((listening, address), (listening_plain, plain)) = (socket(), socket());
        let run = Run::new("").socket("https", listening).socket("http", listening_plain);
        let scene = Self { run, server, address, plain, roots: roots.into(), authority, files };
        scene.configure(more);
        scene
    }

    /// Writes the configuration, with these lines for `a.test`.
    fn configure(&self, more: &str) {
        let (path, server) = (self.files.path().display(), self.server.address);
        let more = more.replace("PATH", &path.to_string()).replace("SERVER", &server.to_string());
        let to = if more.contains("to = ") { "" } else { "to = 'farm'\n" };
        self.run.configure(&format!(
            "[listen.https]\ntls = true\n[log]\naccess = 'all'\n[drain]\ntimeout = '5s'\n[pool.farm]\nservers = ['{server}']\n\
             [site.'a.test']\n{to}https_redirect = false\ntls = '{path}'\n{more}\n\
             [site.'b.test']\nto = 'farm'\ntls = '{path}'\n"
        ));
    }

    pub(super) fn config(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        shown: &Shown,
    ) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(self.roots.clone());
        Arc::new(match shown {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
                config.with_client_auth_cert(vec![certificate.clone()], key).expect("a certificate with its key")
            }
            None => config.with_no_client_auth(),
        })
    }

    pub(super) fn connect(&self, config: &Arc<ClientConfig>, host: &'static str) -> Tls {
        let socket = TcpStream::connect(self.address).expect("connect");
        socket.set_read_timeout(Some(crate::support::DEADLINE)).expect("an option");
        StreamOwned::new(
            ClientConnection::new(config.clone(), host.try_into().expect("a name")).expect("a client"),
            socket,
        )
    }

    fn client(&self, host: &'static str, version: &'static rustls::SupportedProtocolVersion, shown: &Shown) -> Tls {
        self.connect(&self.config(version, shown), host)
    }

    /// Whether a client that shows this is refused in its handshake, with which words.
    pub(super) fn refusal(&self, config: &Arc<ClientConfig>) -> String {
        let mut client = self.connect(config, "a.test");
        // with TLS 1.3 the client hears of it after what it takes for the end of the handshake
        let asked = client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        asked.and_then(|()| client.read(&mut [0; 1])).expect_err("refused").to_string()
    }

    /// Asks, and answers: what the server was told.
    #[track_caller]
    pub(super) fn exchange(&self, client: &mut Tls, host: &str, fields: &str) -> String {
        let (told, _) = self.exchange_whole(client, host, fields);
        told
    }

    #[track_caller]
    fn exchange_whole(&self, client: &mut Tls, host: &str, fields: &str) -> (String, String) {
        write!(client, "GET /x HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").expect("written");
        let mut server: Wire = self.server.accept();
        let told = server.head().text().to_owned();
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nitself");
        (told, read_until(client, "itself"))
    }
}

/// Asks: the head of an answer that no server gave.
#[track_caller]
fn refused(client: &mut (impl Read + Write), host: &str) -> String {
    write!(client, "GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("written");
    let (mut got, mut buffer) = (String::new(), [0; 4096]);
    while !got.contains("\r\n\r\n") {
        let read = client.read(&mut buffer).expect("read");
        assert!(read > 0, "the end after {got:?}");
        got.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
    }
    got
}

pub(super) const REQUIRED: &str = "client_ca = 'PATH/ca.pem'";
const OPTIONAL: &str = "client_ca = 'PATH/ca.pem'\nclient_verify = 'optional'";
const FORGED: &str = "Client-Cert: :AAAA:\r\nclient_cert: :AAAA:\r\nX-SSL-Client-Verify: SUCCESS\r\nX_SSL_Client_Verify: SUCCESS\r\n\
                      x-ssl-client-dn: CN=forged\r\nX-SSL-Client-Anything: forged\r\nClient-Cert-Chain: :AAAA:\r\n";

/// The fields that tell of a client's certificate.
fn told_of(head: &str) -> Vec<&str> {
    let is_one = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase().replace('_', "-");
        name.starts_with("x-ssl-client") || name.starts_with("client-cert")
    };
    head.lines().filter(is_one).collect()
}

#[test]
fn a_client_shows_its_certificate_and_its_server_is_told_of_it_whatever_the_client_writes() {
    let scene = Scene::new(REQUIRED);
    let _service = scene.run.start();
    let shown = scene.authority.issue("the client", SERIAL);
    let certificate = shown.as_ref().expect("one").0.clone();
    for version in VERSIONS {
        let mut client = scene.client("a.test", version, &shown);
        for fields in ["", FORGED] {
            let told = scene.exchange(&mut client, "a.test", fields);
            let told = told_of(&told);
            assert_eq!(told.len(), 5, "{told:?}");
            let value = told[0].strip_prefix("client-cert: :").and_then(|value| value.strip_suffix(':'));
            let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", value.expect("a value"));
            let read = <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(pem.as_bytes());
            assert_eq!(read.expect("base64"), certificate);
            assert_eq!(told[1], "x-ssl-client-verify: SUCCESS");
            let name = told[2].strip_prefix("x-ssl-client-dn: ").expect("a name");
            assert!(name.contains("CN=the client") && name.contains("O=\\C3\\9Cn\\C3\\AF"), "{name}");
            assert_eq!(told[3], "x-ssl-client-cn: the client");
            assert_eq!(told[4], "x-ssl-client-serial: 00C0FFEE");
        }
    }
}

#[test]
fn a_client_without_a_certificate_or_with_one_of_another_authority_gets_nothing_of_a_site_that_requires_one() {
    let scene = Scene::new(REQUIRED);
    let _service = scene.run.start();
    let other = Authority::new("clients").issue("another", 1);
    for version in VERSIONS {
        let none = scene.refusal(&scene.config(version, &None));
        assert!(none.contains("CertificateRequired") || none.contains("HandshakeFailure"), "{none}");
        let wrong = scene.refusal(&scene.config(version, &other));
        assert!(
            wrong.contains("UnknownCA") || wrong.contains("DecryptError") || wrong.contains("BadCertificate"),
            "{wrong}"
        );
    }
    let mut plain = TcpStream::connect(scene.plain).expect("connect");
    let head = refused(&mut plain, "a.test");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    scene.server.assert_untouched();
}

#[test]
fn where_a_certificate_is_optional_a_client_without_is_let_in_and_said_to_have_none() {
    let scene = Scene::new(OPTIONAL);
    let _service = scene.run.start();
    let other = Authority::new("clients").issue("another", 1);
    for version in VERSIONS {
        let mut client = scene.client("a.test", version, &None);
        let told = scene.exchange(&mut client, "a.test", FORGED);
        assert_eq!(told_of(&told), ["x-ssl-client-verify: NONE"]);
        let mut client = scene.client("a.test", version, &scene.authority.issue("the client", SERIAL));
        assert!(told_of(&scene.exchange(&mut client, "a.test", "")).contains(&"x-ssl-client-verify: SUCCESS"));
        scene.refusal(&scene.config(version, &other));
    }
}

#[test]
fn the_certificate_for_one_site_counts_for_no_other_one_on_the_same_connection() {
    let scene = Scene::new(REQUIRED);
    let _service = scene.run.start();
    let shown = scene.authority.issue("the client", SERIAL);
    for version in VERSIONS {
        // one certificate is for both hosts, so a browser takes the connection for both
        let mut client = scene.client("a.test", version, &shown);
        let told = scene.exchange(&mut client, "b.test", FORGED);
        assert!(told_of(&told).is_empty(), "{told}");
        assert!(scene.exchange(&mut client, "a.test", "").contains("x-ssl-client-verify: SUCCESS"));
        let mut client = scene.client("b.test", version, &shown);
        let head = refused(&mut client, "a.test");
        assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
        assert!(told_of(&scene.exchange(&mut client, "b.test", FORGED)).is_empty());
        scene.server.assert_untouched();
    }
}

#[test]
fn what_a_trusted_proxy_says_of_a_certificate_counts_where_none_is_asked_for_here() {
    let scene = Scene::new(&format!("{OPTIONAL}\n[listen.http]\ntrusted_proxies = ['127.0.0.0/8']"));
    let _service = scene.run.start();
    for (host, expected) in [
        ("b.test", &["x-ssl-client-verify: SUCCESS", "client-cert: :said:"][..]),
        ("a.test", &["x-ssl-client-verify: NONE"]),
    ] {
        let mut proxy = Wire::connect(scene.plain);
        proxy.send(format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Proto: https\r\nx-ssl-client-verify: SUCCESS\r\n\
             client-cert: :said:\r\nx_ssl_client_dn: CN=forged\r\n\r\n"
        ));
        let mut server = scene.server.accept();
        assert_eq!(told_of(server.head().text()), expected);
        server.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(proxy.answer().status(), 204);
    }
}

#[test]
fn connections_with_a_certificate_move_and_resume_and_their_servers_are_told_of_it_as_before() {
    let scene = Scene::new(REQUIRED);
    let service = scene.run.start();
    let shown = scene.authority.issue("the client", SERIAL);
    let configs = VERSIONS.map(|version| scene.config(version, &shown));
    let mut clients = configs.each_ref().map(|config| scene.connect(config, "a.test"));
    let expect = |client: &mut Tls| {
        let (told, response) = scene.exchange_whole(client, "a.test", "");
        assert!(told.contains("x-ssl-client-cn: the client\r\n"), "{told}");
        assert!(!response.contains("close"), "{response}");
    };
    clients.iter_mut().for_each(expect);
    for _ in 0..2 {
        reload(&service);
        clients.iter_mut().for_each(expect);
        for config in &configs {
            let mut again = scene.connect(config, "a.test");
            expect(&mut again);
            assert_eq!(again.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        }
    }
}

#[test]
fn connections_whose_rules_change_are_told_to_close_and_others_move() {
    let scene = Scene::new("");
    let service = scene.run.start();
    let (mut stays, mut moves) =
        (scene.client("a.test", VERSIONS[1], &None), scene.client("b.test", VERSIONS[1], &None));
    scene.exchange(&mut stays, "a.test", "");
    scene.exchange(&mut moves, "b.test", "");
    scene.configure(REQUIRED);
    service.reload_well();
    scene.run.wait_log("drains");
    let (told, response) = scene.exchange_whole(&mut moves, "b.test", "");
    assert!(told_of(&told).is_empty() && !response.contains("close"), "{response}");
    // when is spread over the time of the drain
    wait_for("the last answer", || {
        let (_, response) = scene.exchange_whole(&mut stays, "a.test", "");
        response.contains("connection: close").then_some(())
    });
    assert_eq!(stays.read(&mut [0; 1]).expect("close_notify"), 0);
    service.settled();
    // and one that may come without a certificate after it had to have one stays as it is
    let mut client = scene.client("a.test", VERSIONS[1], &scene.authority.issue("the client", SERIAL));
    scene.exchange(&mut client, "a.test", "");
    scene.configure(OPTIONAL);
    reload(&service);
    let (told, response) = scene.exchange_whole(&mut client, "a.test", "");
    assert!(told.contains("x-ssl-client-cn: the client\r\n") && !response.contains("close"), "{response}");
}

#[test]
fn with_a_revocation_list_that_is_too_old_no_client_is_let_in_until_there_is_a_newer_one_and_the_operator_is_told() {
    let scene = Scene::new("client_ca = 'PATH/ca.pem'\nclient_crl = 'PATH/revoked.pem'");
    let list = scene.files.path().join("revoked.pem");
    std::fs::write(&list, scene.authority.revoke_until(&[1], 2025)).expect("written");
    let _service = scene.run.start();
    scene.run.wait_log("no client of the site \"a.test\" is let in: a newer revocation list was due on 2025-01-01");
    let config = scene.config(VERSIONS[1], &scene.authority.issue("the client", SERIAL));
    scene.refusal(&config);
    std::fs::write(&list, scene.authority.revoke(&[1])).expect("written");
    scene.run.wait_log("Clients of a.test are let in by what is in");
    let mut client = scene.connect(&config, "a.test");
    assert!(scene.exchange(&mut client, "a.test", "").contains("x-ssl-client-verify: SUCCESS"));
}

#[test]
fn a_certificate_that_is_revoked_counts_no_more_without_a_reload_on_open_connections_too() {
    let scene = Scene::new("client_ca = 'PATH/ca.pem'\nclient_crl = 'PATH/revoked.pem'");
    let list = scene.files.path().join("revoked.pem");
    std::fs::write(&list, scene.authority.revoke(&[1])).expect("written");
    let _service = scene.run.start();
    let configs = VERSIONS.map(|version| scene.config(version, &scene.authority.issue("the client", SERIAL)));
    let mut clients = configs.each_ref().map(|config| scene.connect(config, "a.test"));
    clients.iter_mut().for_each(|client| drop(scene.exchange(client, "a.test", "")));
    scene.refusal(&scene.config(VERSIONS[1], &scene.authority.issue("revoked before", 1)));
    std::fs::write(&list, scene.authority.revoke(&[1, SERIAL])).expect("written");
    scene.run.wait_log("Clients of a.test are let in by what is in");
    for (client, config) in clients.iter_mut().zip(&configs) {
        let head = refused(client, "a.test");
        assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("connection: close"), "{head}");
        let refusal = scene.refusal(config); // although there is a ticket
        assert!(refusal.contains("CertificateRevoked"), "{refusal}");
    }
    scene.run.wait_log("the certificate of the client is not accepted");
    scene.server.assert_untouched();
}

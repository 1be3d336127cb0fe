//! TLS to servers, with rustls as the server.

mod http2;
mod moves;
mod openssl;
mod tcp;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use crate::support::{Proxy, Run, Server, Wire, socket, wait_for};

type Tls = StreamOwned<ServerConnection, TcpStream>;

const OWN: &str = "own";

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// An authority, in a file, and what it issues.
struct Authority {
    files: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(files.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { files, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// A server with a certificate for these names; `OWN` is its address.
    fn server(&self, names: &[&str], versions: &[&'static SupportedProtocolVersion]) -> TlsServer {
        let server = Server::new();
        let own = server.address.ip().to_string();
        let names: Vec<&str> = names.iter().map(|name| if *name == OWN { own.as_str() } else { name }).collect();
        let (certificate, key) = self.issue(&names);
        TlsServer::new(server, certificate.der().clone(), &key, versions)
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names).expect("names").signed_by(&key, &self.issuer).expect("signed");
        (certificate, key)
    }
}

/// A server that is accepted from by hand, and speaks TLS.
struct TlsServer {
    server: Server,
    config: Arc<ServerConfig>,
}

impl TlsServer {
    fn new(
        server: Server,
        certificate: CertificateDer<'static>,
        key: &KeyPair,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { server, config: config.into() }
    }

    /// From now on a client has to show a certificate of this authority.
    fn ask_for_certificates(&mut self, ca: &Path) {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build();
        let resolver = self.config.cert_resolver.clone();
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_client_cert_verifier(verifier.expect("a verifier"));
        self.config = config.with_cert_resolver(resolver).into();
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    #[track_caller]
    fn accept(&self) -> Tls {
        self.over(&self.server.accept())
    }

    fn over(&self, wire: &Wire) -> Tls {
        let socket = wire.stream().try_clone().expect("a descriptor");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
        StreamOwned::new(ServerConnection::new(self.config.clone()).expect("a server"), socket)
    }
}

/// Reads until the server has seen this text.
#[track_caller]
fn read_until(server: &mut Tls, end: &str) -> String {
    let (mut got, mut buffer) = (String::new(), [0; 4096]);
    while !got.ends_with(end) {
        let read = server.read(&mut buffer).expect("read");
        assert!(read > 0, "the end after {got:?}");
        got.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
    }
    got
}

fn config(authority: &Authority, server: &str, more: &str) -> String {
    format!("[site.\"*\"]\nto = [\"{server}\"]\ntls_ca = \"{}\"\n{more}", authority.ca().display())
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// Answers one request.
#[track_caller]
fn answer(tls: &mut Tls) -> String {
    let head = read_until(tls, "\r\n\r\n");
    tls.write_all(OK).expect("written");
    head
}

/// A service with these servers; its client gets this status, and the journal says this.
#[track_caller]
fn assert_refused(config: &str, server: &TlsServer, status: u16, words: &str) {
    let (listening, address) = socket();
    let run = Run::new(config).socket("http", listening);
    let _service = run.start();
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                if server.server.is_waited_at() {
                    let _ = server.accept().read(&mut [0; 1]); // the handshake fails
                }
                std::thread::yield_now();
            }
        });
        let mut client = Wire::connect(address);
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{}", run.log());
        drop(stop);
    });
    run.wait_log(words);
}

#[test]
fn requests_go_over_tls_and_connections_are_kept() {
    for version in VERSIONS {
        let authority = Authority::new();
        let server = authority.server(&[OWN, "app.test"], &[version]);
        let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address()), ""));
        let mut client = proxy.client();
        client.send(get("/first"));
        let mut tls = server.accept();
        for path in ["/first", "/second"] {
            if path != "/first" {
                client.send(get(path));
            }
            let head = answer(&mut tls);
            assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n")), "{head}");
            assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");
            assert_eq!(client.answer().text(), "ok");
        }
        assert_eq!(tls.conn.server_name(), None, "no name is sent for an IP address");
        assert_eq!(tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(!server.server.is_waited_at(), "one connection for both");
    }
}

#[test]
fn large_bodies_go_both_ways_over_tls_to_a_server() {
    let body = "0123456789abcdef".repeat(100_000);
    for version in VERSIONS {
        let authority = Authority::new();
        let server = authority.server(&[OWN], &[version]);
        let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address()), ""));
        let mut client = proxy.client();
        client.send(format!("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut tls = server.accept();
                let mut got = read_until(&mut tls, "\r\n\r\n");
                got.clear();
                let mut all = vec![0; body.len()];
                tls.read_exact(&mut all).expect("the body");
                assert!(all == body.as_bytes());
                write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("written");
            });
            client.send(&body);
            assert!(client.answer().text() == body);
        });
    }
}

#[test]
fn a_server_has_to_show_a_certificate_that_leads_to_the_authority_and_is_for_its_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    for version in VERSIONS {
        let server = other.server(&[OWN], &[version]);
        let of = |server: &TlsServer, more: &str| config(&authority, &format!("https://{}", server.address()), more);
        let words = "certificate of an unknown authority";
        assert_refused(&of(&server, "retries = 0\n"), &server, 502, words);
        let server = authority.server(&["b.test"], &[version]);
        let words = format!("certificate not for {}, but for b.test", server.address().ip());
        assert_refused(&of(&server, "retries = 0\n"), &server, 502, &words);
        let proxy = Proxy::start(&of(&server, "tls_server_name = \"b.test\"\n"));
        let mut client = proxy.client();
        client.send(get("/"));
        let mut tls = server.accept();
        answer(&mut tls);
        assert_eq!(client.answer().status(), 200);
        assert_eq!(tls.conn.server_name(), Some("b.test"));
    }
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_down() {
    let (authority, server) = (Authority::new(), Server::new());
    let (listening, address) = socket();
    let more = "retries = 0\n[log]\naccess = \"all\"\n";
    let run = Run::new(&config(&authority, &format!("https://{}", server.address), more)).socket("http", listening);
    let _service = run.start();
    let mut client = Wire::connect(address);
    client.send(get("/"));
    let mut plain = server.accept();
    plain.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("The TLS handshake with the server"), "{}", answer.text());
    run.wait_log("no TLS with a server: TLS: the other end does not speak TLS");
    run.wait_log("TLS handshake failed");
}

#[test]
fn connect_timeout_ends_a_handshake_that_a_server_does_not_answer() {
    let (authority, server) = (Authority::new(), Server::new());
    let more = "retries = 0\nconnect_timeout = \"300ms\"\n";
    let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address), more));
    let mut client = proxy.client();
    client.send(get("/"));
    let _silent = server.accept();
    assert_eq!(client.answer().status(), 504);
}

#[test]
fn with_tls_verify_off_any_certificate_will_do_and_the_journal_says_so() {
    let (other, (listening, address)) = (Authority::new(), socket());
    let server = other.server(&["b.test"], &VERSIONS);
    let config = format!("[site.\"*\"]\nto = [\"https://{}\"]\ntls_verify = false\n", server.address());
    let run = Run::new(&config).socket("http", listening);
    let _service = run.start();
    run.wait_log("no certificate of a server is looked at");
    let mut client = Wire::connect(address);
    client.send(get("/"));
    answer(&mut server.accept());
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole_only_after_close_notify() {
    for version in VERSIONS {
        let authority = Authority::new();
        let server = authority.server(&[OWN], &[version]);
        let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address()), ""));
        for is_told in [true, false] {
            let mut client = proxy.client();
            client.send(get("/"));
            let mut tls = server.accept();
            read_until(&mut tls, "\r\n\r\n");
            tls.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").expect("written");
            if is_told {
                tls.conn.send_close_notify();
                tls.flush().expect("written");
            }
            drop(tls);
            client.head();
            if is_told {
                assert_eq!(client.chunks().0, b"hello");
                continue;
            }
            let (got, ending) = client.rest();
            let got = String::from_utf8_lossy(&got);
            assert!(got.contains("hello") && !got.ends_with("\r\n0\r\n\r\n"), "{version:?}: {got:?} {ending:?}");
        }
    }
}

#[test]
fn sessions_with_a_server_are_resumed() {
    for version in VERSIONS {
        let authority = Authority::new();
        let server = authority.server(&[OWN], &[version]);
        let proxy =
            Proxy::start(&config(&authority, &format!("https://{}", server.address()), "keep_alive_connections = 0\n"));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut client = proxy.client();
            client.send(get("/"));
            let mut tls = server.accept();
            answer(&mut tls);
            assert_eq!(client.answer().status(), 200);
            kinds.push(tls.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed));
        }
        assert_eq!(kinds, [false, true], "{version:?}");
    }
}

#[test]
fn a_connection_to_a_server_says_close_notify_when_it_is_not_kept() {
    let authority = Authority::new();
    let server = authority.server(&[OWN], &VERSIONS);
    let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address()), "keep_alive = \"200ms\"\n"));
    let mut client = proxy.client();
    client.send(get("/"));
    let mut tls = server.accept();
    answer(&mut tls);
    assert_eq!(client.answer().status(), 200);
    assert_eq!(tls.read(&mut [0; 1]).expect("an end that was said"), 0);
}

#[test]
fn checks_go_over_tls_too() {
    let authority = Authority::new();
    let server = authority.server(&[OWN], &VERSIONS);
    let more = "check = \"GET /health\"\ncheck_interval = \"100ms\"\n";
    let (listening, _) = socket();
    let run = Run::new(&config(&authority, &format!("https://{}", server.address()), more)).socket("http", listening);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut tls = server.accept();
            let head = answer(&mut tls);
            assert!(head.starts_with("GET /health HTTP/1.1\r\n"), "{head}");
            assert!(head.contains(&format!("Host: {}\r\n", server.address())), "{head}");
        });
        let service = run.start();
        let is_up = || service.status().to_string().contains("status 200").then_some(());
        wait_for("a good check", is_up);
    });
}

#[test]
fn a_file_that_cannot_be_read_refuses_a_reload_and_not_a_start() {
    let authority = Authority::new();
    let server = authority.server(&[OWN], &VERSIONS);
    let (listening, address) = socket();
    let good = config(&authority, &format!("https://{}", server.address()), "retries = 0\n");
    let bad = good.replace("ca.pem", "gone.pem");
    let run = Run::new(&good).socket("http", listening.try_clone().expect("a descriptor"));
    let service = run.start();
    run.configure(&bad);
    let (is_good, said) = service.reload();
    assert!(!is_good && said.contains("gone.pem: there is no such file"), "{said}");
    let checked = Command::new(env!("CARGO_BIN_EXE_segue")).arg("check").arg(run.config()).output().expect("segue");
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
    let mut client = Wire::connect(address);
    client.send(get("/"));
    answer(&mut server.accept());
    assert_eq!(client.answer().status(), 200);
    drop(service);
    assert_refused(&bad, &server, 502, "no server can be trusted");
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_that_of_the_pool() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let mut server = authority.server(&[OWN], &VERSIONS);
    let (certificate, key) = clients.issue(&["proxy.test"]);
    let path = |name: &str| clients.files.path().join(name);
    std::fs::write(path("proxy.pem"), certificate.pem()).expect("written");
    std::fs::write(path("proxy.key"), key.serialize_pem()).expect("written");
    server.ask_for_certificates(&clients.ca());
    let address = format!("https://{}", server.address());
    let none = config(&authority, &address, "retries = 0\n");
    assert_refused(&none, &server, 502, "server");
    let more =
        format!("tls_certificate = {{ certificate = {:?}, key = {:?} }}\n", path("proxy.pem"), path("proxy.key"));
    let proxy = Proxy::start(&config(&authority, &address, &more));
    let mut client = proxy.client();
    client.send(get("/"));
    let mut tls = server.accept();
    answer(&mut tls);
    assert_eq!(client.answer().status(), 200);
    assert_eq!(tls.conn.peer_certificates().expect("a certificate")[0], *certificate.der());
}

#[test]
fn a_certificate_that_is_its_own_authority_is_trusted_when_it_is_named() {
    let authority = Authority::new();
    let key = KeyPair::generate().expect("a key");
    let server = Server::new();
    let mut params = CertificateParams::new([server.address.ip().to_string()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    std::fs::write(authority.ca(), certificate.pem()).expect("written");
    let server = TlsServer::new(server, certificate.der().clone(), &key, &VERSIONS);
    let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address()), ""));
    let mut client = proxy.client();
    client.send(get("/"));
    answer(&mut server.accept());
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn the_header_of_the_proxy_protocol_goes_before_the_handshake() {
    let authority = Authority::new();
    let server = authority.server(&[OWN], &VERSIONS);
    let more = "send_proxy = \"v1\"\n";
    let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address()), more));
    let mut client = proxy.client();
    client.send(get("/"));
    let wire = server.server.accept();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        wire.stream().read_exact(&mut byte).expect("a header");
        line.extend(byte);
    }
    assert!(line.starts_with(b"PROXY TCP4 127."), "{line:?}");
    answer(&mut server.over(&wire));
    assert_eq!(client.answer().status(), 200);
}

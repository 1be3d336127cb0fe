//! TLS to clients, with rustls as the client.

mod client_certificates;
mod h2;
mod handshakes;
mod moves;
mod staples;
mod tcp;
mod tickets;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned};

use crate::support::{Proxy, Server};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A proxy that speaks TLS, the server behind it, and what its clients trust.
struct Setup {
    proxy: Proxy,
    server: Server,
    roots: Arc<RootCertStore>,
    _files: tempfile::TempDir,
}

/// Files as certbot makes them, for this host.
fn issue(directory: &Path, host: &str) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let certificate =
        CertificateParams::new([host.to_owned()]).expect("a name").self_signed(&key).expect("a certificate");
    std::fs::create_dir_all(directory).expect("a directory");
    std::fs::write(directory.join("fullchain.pem"), certificate.pem()).expect("written");
    std::fs::write(directory.join("privkey.pem"), key.serialize_pem()).expect("written");
    certificate.der().clone()
}

impl Setup {
    fn new(more: &str) -> Self {
        let (server, files) = (Server::new(), tempfile::tempdir().expect("a directory"));
        let mut roots = RootCertStore::empty();
        let mut sites = String::new();
        for host in ["a.test", "b.test"] {
            let directory = files.path().join(host);
            roots.add(issue(&directory, host)).expect("a root");
            sites += &format!("[site.\"{host}\"]\nto = [\"{}\"]\ntls = \"{}\"\n", server.address, directory.display());
        }
        let config = format!("[listen.https]\ntls = true\n{more}\n[listen.http]\n{sites}");
        let proxy = Proxy::with_listeners(&config, &["http", "https"]);
        Self { proxy, server, roots: roots.into(), _files: files }
    }

    fn socket(&self) -> TcpStream {
        self.proxy.client_of("https").stream().try_clone().expect("a descriptor")
    }

    fn client(&self, host: &str, version: &'static rustls::SupportedProtocolVersion) -> Tls {
        tls_client(self.socket(), self.roots.clone(), host, version)
    }
}

/// A client that trusts these roots and names no protocol, on a connected socket.
fn tls_client(
    socket: TcpStream,
    roots: Arc<RootCertStore>,
    host: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> Tls {
    alpn_client(socket, roots, host, version, &[])
}

fn alpn_client(
    socket: TcpStream,
    roots: Arc<RootCertStore>,
    host: &str,
    version: &'static rustls::SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> Tls {
    let name = host.to_owned().try_into().expect("a name");
    StreamOwned::new(ClientConnection::new(client_config(roots, version, alpn), name).expect("a client"), socket)
}

/// What a client does; it keeps the tickets that it gets.
fn client_config(
    roots: Arc<RootCertStore>,
    version: &'static rustls::SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Reads until the client has seen this text.
#[track_caller]
fn read_until(client: &mut Tls, end: &str) -> String {
    let (mut got, mut buffer) = (String::new(), [0; 4096]);
    while !got.ends_with(end) {
        let read = client.read(&mut buffer).expect("read");
        assert!(read > 0, "the end after {got:?}");
        got.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
    }
    got
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn requests_come_over_tls_and_servers_are_told_so() {
    let setup = Setup::new("");
    for version in VERSIONS {
        for host in ["a.test", "b.test"] {
            let mut client = setup.client(host, version);
            for _ in 0..2 {
                write!(client, "GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("written");
                let mut server = setup.server.accept();
                let head = server.head().text().to_owned();
                assert!(head.contains("\r\nx-forwarded-proto: https\r\n"), "{head}");
                server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
                let response = read_until(&mut client, "hello");
                assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
            }
            let negotiated = client.conn.protocol_version();
            assert_eq!(negotiated == Some(ProtocolVersion::TLSv1_3), version == &rustls::version::TLS13);
        }
    }
}

#[test]
fn large_bodies_go_both_ways_over_tls() {
    let setup = Setup::new("");
    let body = "0123456789abcdef".repeat(100_000);
    for version in VERSIONS {
        let mut client = setup.client("a.test", version);
        write!(client, "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len()).expect("written");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut server = setup.server.accept();
                server.head();
                assert_eq!(server.take(body.len()), body.as_bytes());
                let length = body.len() + 1;
                server.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}!"));
            });
            client.write_all(body.as_bytes()).expect("written");
            let response = read_until(&mut client, "!");
            assert!(response.ends_with(&format!("\r\n\r\n{body}!")));
        });
    }
}

#[test]
fn a_connection_that_ends_says_close_notify() {
    let setup = Setup::new("");
    for version in VERSIONS {
        let mut client = setup.client("a.test", version);
        client.write_all(b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").expect("written");
        let mut server = setup.server.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
        let mut response = String::new();
        client.read_to_string(&mut response).expect("an end that TLS has said: rustls takes others for an error");
        assert!(response.ends_with("hello"), "{response}");
    }
}

#[test]
fn a_client_that_asks_for_another_host_is_refused_in_the_handshake() {
    let setup = Setup::new("");
    let mut client = setup.client("c.test", &rustls::version::TLS13);
    let error = client.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| client.read(&mut [0; 1]).map(drop));
    assert_eq!(error.expect_err("refused").to_string(), "received fatal alert: UnrecognisedName");
}

#[test]
fn plain_http_where_tls_is_spoken_is_told_so() {
    let setup = Setup::new("");
    let mut socket = setup.socket();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("written");
    let mut response = String::new();
    socket.read_to_string(&mut response).expect("an end");
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.ends_with("\r\n\r\nThis port speaks TLS only.\n"), "{response}");
}

#[test]
fn a_handshake_has_a_deadline() {
    let setup = Setup::new("handshake_timeout = \"200ms\"");
    for bytes in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1]] {
        let mut socket = setup.socket();
        socket.write_all(bytes).expect("written");
        // closed, with or without what was not read
        let _ = socket
            .read_to_end(&mut Vec::new())
            .map_err(|error| assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock));
    }
}

//! TLS that ends at a TCP listener: its server gets plain bytes.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use rustls::HandshakeKind;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::client_certificates::{Authority, SERIAL, Shown};
use super::moves::reload;
use super::*;
use crate::support::sealed::assert_no_number_twice;
use crate::support::{DEADLINE, Run, Wire, socket, wait_for};

const RELOADS: usize = 3;

/// A listener that ends TLS, for clients that ask for `a.test`, and its server.
struct TcpScene {
    address: SocketAddr,
    server: Server,
    roots: Arc<RootCertStore>,
    files: tempfile::TempDir,
    run: Run,
}

impl TcpScene {
    /// With these keys of the listener, where PATH is the directory of the files.
    fn new(more: &str) -> Self {
        let (server, files) = (Server::new(), tempfile::tempdir().expect("a directory"));
        let mut roots = RootCertStore::empty();
        for host in ["a.test", "b.test"] {
            roots.add(issue(&files.path().join(host), host)).expect("a root");
        }
        let ((http, _), (front, address)) = (socket(), socket());
        let numbers = files.path().join("numbers");
        let run = Run::new("").socket("http", http).socket("front", front);
        let run = run.variable("SEGUE_SEALED_NUMBERS", numbers.to_str().expect("text"));
        let scene = Self { address, server, roots: roots.into(), files, run };
        scene.configure(more);
        scene
    }

    fn configure(&self, more: &str) {
        let path = self.files.path().display();
        let tls = if more.starts_with("tls = ") { "" } else { "tls = 'PATH/a.test'\n" };
        let more = format!("{tls}{more}").replace("PATH", &path.to_string());
        self.run.configure(&format!(
            "[log]\naccess = 'all'\n[drain]\ntimeout = '5s'\n[listen.http]\n[tcp.front]\nto = ['{}']\n{more}\n",
            self.server.address
        ));
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("connect");
        socket.set_read_timeout(Some(DEADLINE)).expect("an option");
        socket
    }

    fn client(&self, host: &str, version: &'static rustls::SupportedProtocolVersion) -> Tls {
        tls_client(self.socket(), self.roots.clone(), host, version)
    }

    /// A client that shows this certificate.
    fn showing(&self, shown: &Shown, version: &'static rustls::SupportedProtocolVersion) -> Tls {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let config = config.expect("a version").with_root_certificates(self.roots.clone());
        let config = match shown {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
                config.with_client_auth_cert(vec![certificate.clone()], key).expect("a certificate with its key")
            }
            None => config.with_no_client_auth(),
        };
        let name = "a.test".try_into().expect("a name");
        StreamOwned::new(ClientConnection::new(config.into(), name).expect("a client"), self.socket())
    }

    /// A client that has said something, and the server's side of it.
    #[track_caller]
    fn open(&self, host: &str, version: &'static rustls::SupportedProtocolVersion) -> (Tls, Wire) {
        let mut client = self.client(host, version);
        client.write_all(b"hello").expect("written");
        let mut server = self.server.accept();
        server.expect("hello");
        (client, server)
    }

    #[track_caller]
    fn assert_no_number_twice(&self) {
        assert_no_number_twice(self.files.path());
    }
}

#[track_caller]
fn expect(client: &mut Tls, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    client.read_exact(&mut got).expect("bytes");
    assert!(got == bytes, "other bytes than those that were sent");
}

/// What a client is told that is refused in its handshake.
#[track_caller]
fn refusal(client: &mut Tls) -> String {
    let asked = client.write_all(b"hello");
    asked.and_then(|()| client.read(&mut [0; 1]).map(drop)).expect_err("refused").to_string()
}

fn piece(seed: usize) -> Vec<u8> {
    (0..100_000_usize).map(|at| (at * 7 + seed * 31 + at / 251) as u8).collect()
}

#[test]
fn bytes_pass_both_ways_and_go_on_over_reloads_with_either_version() {
    let scene = TcpScene::new("");
    let service = scene.run.start();
    let mut open: Vec<_> = VERSIONS.iter().map(|version| scene.open("a.test", version)).collect();
    for number in 0..RELOADS {
        for (client, server) in &mut open {
            if client.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                client.conn.refresh_traffic_keys().expect("a KeyUpdate");
            }
            // half of each piece before the reload, the rest after it
            client.write_all(&piece(number)[..50_000]).expect("written");
            server.send(&piece(number + 100)[..50_000]);
        }
        reload(&service);
        for (client, server) in &mut open {
            client.write_all(&piece(number)[50_000..]).expect("written");
            assert!(server.take(100_000) == piece(number));
            server.send(&piece(number + 100)[50_000..]);
            expect(client, &piece(number + 100));
        }
    }
    drop(open);
    scene.run.wait_log("TCP connection on front for a.test to front/");
    scene.assert_no_number_twice();
}

#[test]
fn what_flows_without_a_pause_goes_on_over_reloads_with_every_byte() {
    const LENGTH: usize = 16 << 20;
    let scene = TcpScene::new("");
    let service = scene.run.start();
    for version in VERSIONS {
        let (mut client, mut server) = scene.open("a.test", version);
        let pouring = std::thread::spawn(move || {
            (0..LENGTH / 4096).for_each(|block| server.send([block as u8; 4096]));
            server
        });
        let mut got = Vec::new();
        for _ in 0..RELOADS {
            let mut more = vec![0; 500_000];
            client.read_exact(&mut more).expect("more");
            got.extend_from_slice(&more);
            reload(&service);
        }
        let mut rest = vec![0; LENGTH - got.len()];
        client.read_exact(&mut rest).expect("the rest");
        got.extend_from_slice(&rest);
        assert!(got.chunks(4096).enumerate().all(|(block, bytes)| bytes.iter().all(|byte| *byte == block as u8)));
        drop(pouring.join().expect("all is sent"));
    }
    scene.assert_no_number_twice();
}

#[test]
fn each_side_may_end_before_the_other_and_a_client_is_told_by_close_notify() {
    let scene = TcpScene::new("");
    let service = scene.run.start();
    for version in VERSIONS {
        let (mut client, mut server) = scene.open("a.test", version);
        client.conn.send_close_notify();
        client.flush().expect("written");
        server.assert_closed();
        server.send("an answer");
        reload(&service); // the half that is open moves
        server.send(", to its end");
        server.finish();
        let mut all = String::new();
        client.read_to_string(&mut all).expect("close_notify: rustls takes another end for an error");
        assert_eq!(all, "an answer, to its end");

        let (mut client, mut server) = scene.open("a.test", version);
        server.send("bye");
        server.finish();
        let mut all = String::new();
        client.read_to_string(&mut all).expect("close_notify");
        assert_eq!(all, "bye");
        reload(&service);
        client.write_all(b"still here").expect("written");
        client.conn.send_close_notify();
        client.flush().expect("written");
        server.expect("still here");
        server.assert_closed();
    }
    scene.assert_no_number_twice();
}

#[test]
fn a_server_that_breaks_off_is_no_end_that_was_meant() {
    let scene = TcpScene::new("");
    let _service = scene.run.start();
    for version in VERSIONS {
        let (mut client, server) = scene.open("a.test", version);
        server.reset();
        client.read(&mut [0; 1]).expect_err("no close_notify");
    }
}

#[test]
fn the_certificate_is_that_of_the_host_and_the_only_one_is_for_every_host() {
    let scene = TcpScene::new("");
    let service = scene.run.start();
    let shown = |host: &str| {
        let mut client = scene.client(host, VERSIONS[1]);
        let error = client.write_all(b"hello").err().map(|error| error.to_string()).unwrap_or_default();
        (client.conn.peer_certificates().is_some(), error)
    };
    scene.open("a.test", VERSIONS[0]);
    for host in ["c.test", "127.0.0.1"] {
        let (_, error) = shown(host);
        assert!(error.contains("certificate not valid for name"), "{host}: {error}"); // it was shown one
    }
    scene.configure("tls = ['PATH/a.test', 'PATH/b.test']");
    service.reload_well();
    for host in ["a.test", "b.test"] {
        scene.open(host, VERSIONS[1]);
    }
    for host in ["c.test", "127.0.0.1"] {
        let (has_certificate, error) = shown(host);
        assert!(!has_certificate && error.contains("UnrecognisedName"), "{host}: {error}");
    }
    scene.run.wait_log("TCP connection on front in");
    scene.run.wait_log("no TLS: no certificate for c.test");
}

#[test]
fn what_is_no_tls_is_closed_without_a_word_and_a_handshake_has_a_deadline() {
    let scene = TcpScene::new("handshake_timeout = '300ms'");
    let _service = scene.run.start();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", &[22], &[22, 3, 1, 2, 0, 1]] {
        let mut socket = scene.socket();
        socket.write_all(bytes).expect("written");
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all); // an end, or a reset
        assert_eq!(all, b"");
    }
    scene.run.wait_log("no TLS: the other end does not speak TLS");
    scene.run.wait_log("no TLS: the handshake did not end in time");
    scene.server.assert_untouched();
}

#[test]
fn the_host_chooses_the_pool_after_the_handshake_too() {
    let scene = TcpScene::new("");
    let other = Server::new();
    let sni = format!(
        "tls = ['PATH/a.test', 'PATH/b.test']\nsni = {{ 'b.test' = 'other' }}\n[pool.other]\nservers = ['{}']",
        other.address
    );
    scene.configure(&sni);
    let service = scene.run.start();
    let (mut of_a, mut server_of_a) = scene.open("a.test", VERSIONS[1]);
    let mut of_b = scene.client("b.test", VERSIONS[1]);
    of_b.write_all(b"hello").expect("written");
    let mut server_of_b = other.accept();
    server_of_b.expect("hello");
    for _ in 0..RELOADS {
        reload(&service);
        for (client, server) in [(&mut of_a, &mut server_of_a), (&mut of_b, &mut server_of_b)] {
            client.write_all(b"up").expect("written");
            server.expect("up");
            server.send("down");
            expect(client, b"down");
        }
    }
    drop((of_a, of_b, server_of_a, server_of_b));
    scene.run.wait_log("front for a.test to front/");
    scene.run.wait_log("front for b.test to other/");
}

#[test]
fn clients_have_to_show_a_certificate_where_the_listener_says_so_and_servers_are_told_of_it() {
    let scene = TcpScene::new("");
    let authority = Authority::new("clients");
    std::fs::write(scene.files.path().join("ca.pem"), authority.pem()).expect("written");
    let asks = "client_ca = 'PATH/ca.pem'\nsend_proxy = 'v2'";
    scene.configure(asks);
    let service = scene.run.start();
    let shown = authority.issue("the client", SERIAL);
    for version in VERSIONS {
        refusal(&mut scene.showing(&None, version));
        refusal(&mut scene.showing(&Authority::new("clients").issue("another", 1), version));
        let mut client = scene.showing(&shown, version);
        client.write_all(b"hello").expect("written");
        let mut server = scene.server.accept();
        let bytes = server.take_proxy_header();
        let (header, _) = ProxyHeader::parse(&bytes, ParseConfig::default()).expect("a header");
        assert_eq!((header.authority(), header.alpn()), (Some("a.test"), None));
        let ssl = header.ssl().expect("TLS");
        assert_eq!((ssl.cn(), ssl.verify(), ssl.client_cert_conn()), (Some("the client"), 0, true));
        let source = header.proxied_address().expect("addresses").source;
        assert_eq!(source, client.sock.local_addr().expect("an address"));
        server.expect("hello");
        reload(&service);
        server.send("down");
        expect(&mut client, b"down");
    }
    scene.server.assert_untouched();
    scene.run.wait_log("no TLS: peer sent no certificates");
}

#[test]
fn a_connection_whose_client_was_asked_for_no_certificate_stays_where_that_is_so() {
    let scene = TcpScene::new("");
    let authority = Authority::new("clients");
    std::fs::write(scene.files.path().join("ca.pem"), authority.pem()).expect("written");
    let service = scene.run.start();
    let (mut client, mut server) = scene.open("a.test", VERSIONS[1]);
    scene.configure("client_ca = 'PATH/ca.pem'");
    service.reload_well();
    scene.run.wait_log("drains");
    server.send("down");
    expect(&mut client, b"down");
    refusal(&mut scene.client("a.test", VERSIONS[1]));
    // to the end of the drain, which is five seconds
    let (rest, _) = server.rest();
    assert!(rest.is_empty());
    service.settled();
}

#[test]
fn a_ticket_is_good_over_reloads_and_at_its_own_listener_alone() {
    let mut scene = TcpScene::new("");
    let ((other, other_address), server) = (socket(), scene.server.address);
    scene.run = scene.run.socket("other", other);
    scene.configure(&format!("[tcp.other]\nto = ['{server}']\ntls = 'PATH/a.test'"));
    let service = scene.run.start();
    for version in VERSIONS {
        let config = client_config(scene.roots.clone(), version, &[]);
        let resumes = |address: SocketAddr| {
            let socket = TcpStream::connect(address).expect("connect");
            socket.set_read_timeout(Some(DEADLINE)).expect("an option");
            let name = "a.test".try_into().expect("a name");
            let mut client = StreamOwned::new(ClientConnection::new(config.clone(), name).expect("a client"), socket);
            client.write_all(b"hello").expect("written");
            let mut server = scene.server.accept();
            server.expect("hello");
            server.send("itself");
            expect(&mut client, b"itself"); // with TLS 1.3 the tickets come before it
            client.conn.handshake_kind() == Some(HandshakeKind::Resumed)
        };
        assert!(!resumes(scene.address));
        reload(&service);
        assert!(resumes(scene.address));
        assert!(!resumes(other_address), "the other one has tickets of its own");
    }
}

#[test]
fn a_trusted_proxy_tells_of_its_client_before_the_handshake() {
    let scene = TcpScene::new("accept_proxy = true\ntrusted_proxies = ['127.0.0.0/8']\nsend_proxy = 'v1'");
    let _service = scene.run.start();
    let mut socket = scene.socket();
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    socket.write_all(header).expect("written");
    let mut client = tls_client(socket, scene.roots.clone(), "a.test", VERSIONS[1]);
    client.write_all(b"hello").expect("written");
    let mut server = scene.server.accept();
    server.expect([&header[..], b"hello"].concat());
    drop((client, server));
    wait_for("its record", || scene.run.log().contains("192.0.2.7 TCP connection on front for a.test").then_some(()));
}

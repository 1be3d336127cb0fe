//! What is said of handshakes: in the journal, in the status, and to servers.

use proxy_header::{ParseConfig, ProxyHeader};

use super::client_certificates::{REQUIRED, SERIAL, Scene};
use super::*;
use crate::support::{DEADLINE, wait_for};

#[test]
fn a_handshake_that_fails_has_a_record_with_its_reason_and_all_are_counted() {
    let scene = Scene::new(REQUIRED);
    let service = scene.run.start();
    let shown = scene.authority.issue("the client", SERIAL);
    let config = scene.config(VERSIONS[1], &shown);
    for _ in 0..2 {
        let mut client = scene.connect(&config, "a.test");
        scene.exchange(&mut client, "a.test", ""); // the second one resumes
    }
    scene.refusal(&scene.config(VERSIONS[1], &None));
    scene.run.wait_log("no TLS: peer sent no certificates");
    let mut stranger = scene.connect(&config, "c.test");
    stranger.write_all(b"x").and_then(|()| stranger.read(&mut [0; 1])).expect_err("an alert");
    scene.run.wait_log("no TLS: no certificate for c.test");
    // one that trusts nothing here says so
    let nothing = client_config(RootCertStore::empty().into(), VERSIONS[1], &[]);
    scene.connect(&nothing, "b.test").write_all(b"x").expect_err("not trusted");
    scene.run.wait_log("no TLS: received fatal alert: UnknownCA");
    let mut plain = scene.socket();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("written");
    plain.read_to_end(&mut Vec::new()).expect("an end");
    scene.run.wait_log("no TLS: the other end does not speak TLS");
    let mut half = scene.socket();
    half.write_all(&[22, 3, 1]).expect("written");
    drop(half);
    scene.run.wait_log("no TLS: the connection ended in the handshake");
    drop(scene.socket()); // says nothing, and is none
    let counted = |end: &str| {
        let status = service.status();
        status["counters"]["listeners"]["https"]["handshakes"][end].as_u64()
    };
    let expected =
        [("full", 1), ("resumed", 1), ("denied", 1), ("no-site", 1), ("client-closed", 2), ("bad-request", 1)];
    for (end, times) in expected {
        wait_for(end, || (counted(end) == Some(times)).then_some(()));
    }
    wait_for("the empty one", || {
        let status = service.status();
        (status["counters"]["listeners"]["https"]["connections"]["empty"].as_u64() == Some(1)).then_some(())
    });
}

#[test]
fn servers_are_told_of_tls_and_of_the_certificate_by_the_proxy_protocol() {
    let scene = Scene::new(&format!("{REQUIRED}\nto = ['SERVER']\nsend_proxy = 'v2'"));
    let _service = scene.run.start();
    let shown = scene.authority.issue("the client", SERIAL);
    let config = scene.config(VERSIONS[1], &shown);
    for is_resumed in [false, true] {
        let mut client = scene.connect(&config, "a.test");
        client.write_all(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("written");
        let mut server = scene.server.accept();
        let bytes = server.take_proxy_header();
        let (header, _) = ProxyHeader::parse(&bytes, ParseConfig::default()).expect("a header");
        assert_eq!((header.authority(), header.alpn()), (Some("a.test"), None));
        let ssl = header.ssl().expect("TLS");
        assert_eq!((ssl.version(), ssl.cipher()), (Some("TLSv1.3"), Some("TLS_AES_256_GCM_SHA384")));
        assert_eq!((ssl.cn(), ssl.verify()), (Some("the client"), 0));
        assert_eq!((ssl.client_cert_conn(), ssl.client_cert_sess()), (!is_resumed, true));
        server.head();
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nitself");
        read_until(&mut client, "itself");
    }
}

impl Scene {
    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("connect");
        socket.set_read_timeout(Some(DEADLINE)).expect("an option");
        socket
    }
}

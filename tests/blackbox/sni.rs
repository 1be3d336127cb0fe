//! TLS that is not ended here, to servers by the host that its client asks for.

mod openssl;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use proxy_header::{ParseConfig, ProxyHeader};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::support::{Run, Server, Wire, socket, wait_for};

const RELOADS: usize = 5;

/// A listener that goes by the host, and the servers behind it: for `app.example.com`, for all else of `example.com`, and for
/// the rest.
struct Scene {
    app: Server,
    web: Server,
    rest: Server,
    address: SocketAddr,
    run: Run,
}

impl Scene {
    /// With these keys of the listener, and of each pool.
    fn new(of_listener: &str, of_pools: &str) -> Self {
        let (app, web, rest) = (Server::new(), Server::new(), Server::new());
        let ((http, _), (front, address)) = (socket(), socket());
        let run = Run::new("").socket("http", http).socket("front", front);
        let scene = Self { app, web, rest, address, run };
        scene.configure(of_listener, of_pools);
        scene
    }

    fn configure(&self, of_listener: &str, of_pools: &str) {
        let pool =
            |name: &str, server: &Server| format!("[pool.{name}]\nservers = ['{}']\n{of_pools}\n", server.address);
        self.run.configure(&format!(
            "[log]\naccess = 'all'\n[listen.http]\n{}{}{}[tcp.front]\nto = 'rest'\n\
             sni = {{ 'app.example.com' = 'app', '*.example.com' = 'web' }}\n{of_listener}\n",
            pool("app", &self.app),
            pool("web", &self.web),
            pool("rest", &self.rest)
        ));
    }

    fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        [&self.app, &self.web, &self.rest].into_iter().for_each(Server::assert_untouched);
    }
}

/// What a client of TLS sends first that asks for this host.
fn hello(host: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = host.to_owned().try_into().expect("a name");
    let mut client = ClientConnection::new(config.into(), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a vector");
    bytes
}

/// The same message in records of so many bytes.
fn in_records(hello: &[u8], length: u8) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1, 0, part.len() as u8][..], part].concat();
    hello[5..].chunks(length.into()).flat_map(record).collect()
}

#[test]
fn connections_go_where_the_host_that_they_ask_for_leads_and_stay_there_over_reloads() {
    let scene = Scene::new("", "");
    let Scene { app, web, rest, run, .. } = &scene;
    let service = run.start();
    let mut open = Vec::new();
    for (first, server, words) in [
        (hello("app.example.com"), app, "front for app.example.com to app/"),
        (hello("APP.example.com"), app, "front for app.example.com to app/"),
        (hello("www.example.com"), web, "front for www.example.com to web/"),
        (hello("a.b.example.com"), web, "front for a.b.example.com to web/"),
        (hello("example.com"), rest, "front for example.com to rest/"),
        (hello("10.0.0.1"), rest, "front to rest/"),
        (b"no TLS at all".to_vec(), rest, "front to rest/"),
        (vec![22, 3, 1, 0, 4, 1, 0, 0, 0], rest, "front to rest/"),
    ] {
        let mut client = scene.client();
        client.send(&first);
        let mut accepted = server.accept();
        assert!(accepted.take(first.len()) == first, "it goes on as it came");
        accepted.send("answer");
        client.expect("answer");
        open.push((client, accepted, words));
    }
    for _ in 0..RELOADS {
        service.reload_anyway();
        service.settled();
        for (client, server, _) in &mut open {
            client.send("up");
            server.expect("up");
            server.send("down");
            client.expect("down");
        }
    }
    for (mut client, mut server, words) in open {
        client.finish();
        server.assert_closed();
        server.send("more");
        server.finish();
        client.expect("more");
        client.assert_closed();
        run.wait_log(words);
    }
}

#[test]
fn a_client_hello_may_come_in_any_pieces_and_records() {
    let scene = Scene::new("", "");
    let _service = scene.run.start();
    let whole = hello("app.example.com");
    for (bytes, piece) in
        [(whole.clone(), 1), (whole.clone(), 200), (in_records(&whole, 100), 33), (in_records(&whole, 1), 500)]
    {
        let client = scene.client();
        let mut stream = client.stream();
        for part in bytes.chunks(piece) {
            stream.write_all(part).expect("written");
        }
        let mut client = client;
        let mut server = scene.app.accept();
        assert!(server.take(bytes.len()) == bytes);
        server.send("x");
        client.expect("x");
    }
}

#[test]
fn a_client_hello_that_does_not_end_is_neither_kept_nor_passed_on() {
    let scene = Scene::new("handshake_timeout = '300ms'", "");
    let _service = scene.run.start();
    // one that says itself how long it is, and one in records of one byte
    let long = [&[22, 3, 1, 0x40, 0, 1, 0, 0xfa, 0][..], &[3; 16_380]].concat();
    let cut = [22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 1, 0].into_iter().chain([22, 3, 1, 0, 1, 0x70].repeat(10_000));
    for bytes in [long, cut.collect()] {
        let mut client = scene.client();
        let _ = client.try_send(&bytes); // it may be closed in the middle
        assert!(client.rest().0.is_empty());
    }
    wait_for("two records", || {
        (scene.run.log().matches("the ClientHello is longer than 32 KiB").count() == 2).then_some(())
    });
    for bytes in [&b""[..], &[22], &hello("app.example.com")[..100]] {
        let mut client = scene.client();
        client.send(bytes);
        client.assert_closed();
    }
    wait_for("three records", || (scene.run.log().matches("no ClientHello came in time").count() == 3).then_some(()));
    scene.assert_untouched();
}

#[test]
fn what_a_client_said_that_ends_in_its_client_hello_is_for_the_server_of_the_rest() {
    let scene = Scene::new("", "");
    let _service = scene.run.start();
    let half = &hello("app.example.com")[..100];
    let mut client = scene.client();
    client.send(half);
    client.finish();
    let mut server = scene.rest.accept();
    assert!(server.take(half.len()) == half);
    server.assert_closed();
    server.send("an alert");
    client.expect("an alert");
    drop(scene.client()); // says nothing, and leads nowhere
    drop((server, client));
    scene.run.wait_log("TCP connection on front to rest/");
    scene.assert_untouched();
}

#[test]
fn the_client_that_a_trusted_proxy_names_is_told_before_its_client_hello() {
    let of_listener = "accept_proxy = true\ntrusted_proxies = ['127.0.0.0/8']";
    let scene = Scene::new(of_listener, "send_proxy = 'v2'");
    let service = scene.run.start();
    let (header, hello) = (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", hello("app.example.com"));
    let all = [&header[..], &hello].concat();
    for cut in [1, header.len(), header.len() + 1, header.len() + 100] {
        let mut client = scene.client();
        client.send(&all[..cut]);
        client.assert_silent();
        client.send(&all[cut..]);
        let mut server = scene.app.accept();
        let told = server.take(28);
        let (told, length) = ProxyHeader::parse(&told, ParseConfig::default()).expect("a header");
        let addresses = told.proxied_address().map(|told| (told.source.to_string(), told.destination.to_string()));
        let want = ("192.0.2.7:4711".to_owned(), "198.51.100.1:443".to_owned());
        assert_eq!((addresses, length), (Some(want), 28));
        assert!(server.take(hello.len()) == hello);
        service.reload_anyway();
        service.settled();
        server.send("down");
        client.expect("down");
    }
    scene.run.wait_log("192.0.2.7 TCP connection on front for app.example.com to app/");
}

#[test]
fn a_reload_in_the_middle_of_a_client_hello_is_not_seen() {
    let scene = Scene::new("handshake_timeout = '2m'", "");
    let service = scene.run.start();
    let hello = hello("app.example.com");
    let mut client = scene.client();
    for (begin, end) in [(0, 3), (3, 60), (60, hello.len())] {
        client.send(&hello[begin..end]);
        if end < hello.len() {
            client.assert_silent();
            service.reload_anyway();
            service.settled(); // it keeps no worker
        }
    }
    let mut server = scene.app.accept();
    assert!(server.take(hello.len()) == hello);
    server.send("down");
    client.expect("down");
    service.reload_anyway();
    service.settled();
    client.send("up");
    server.expect("up");
}

#[test]
fn a_host_that_leads_elsewhere_does_so_for_new_connections() {
    let scene = Scene::new("", "");
    let service = scene.run.start();
    let hello = hello("app.example.com");
    let mut before = scene.client();
    before.send(&hello);
    let mut server = scene.app.accept();
    server.take(hello.len());
    let text = std::fs::read_to_string(scene.run.config()).expect("text");
    scene
        .run
        .configure(&text.replace("'app.example.com' = 'app'", "'app.example.com' = 'rest', 'x.example.com' = 'app'"));
    service.reload_well();
    let mut after = scene.client();
    after.send(&hello);
    scene.rest.accept().take(hello.len());
    service.settled();
    before.send("up");
    server.expect("up");
}

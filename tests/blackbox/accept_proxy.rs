//! Connections that begin with a header of the PROXY protocol.

use std::net::SocketAddr;

use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};

use crate::support::{Proxy, Run, Server, Wire, socket, wait_for};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SOURCE: &str = "192.0.2.7:4711";

fn trusting(server: &Server, more: &str) -> String {
    format!(
        "[listen.http]\naccept_proxy = true\ntrusted_proxies = ['127.0.0.0/8']\n{more}\n[log]\naccess = 'all'\nempty_connections = true\n\
         [site.'*']\nto = ['{}']\n",
        server.address
    )
}

fn addresses() -> ProxiedAddress {
    ProxiedAddress::stream(SOURCE.parse().expect("an address"), "198.51.100.1:80".parse().expect("an address"))
}

fn version_1() -> Vec<u8> {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n".to_vec()
}

fn version_2(header: ProxyHeader<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).expect("a header");
    bytes
}

/// What the server is told of the client and of its scheme.
#[track_caller]
fn told(mut client: Wire, server: &Server) -> (String, String) {
    let mut upstream = server.accept();
    let head = upstream.head();
    upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    let field = |name| head.field(name).expect("a field").to_owned();
    (field("x-forwarded-for"), field("x-forwarded-proto"))
}

#[test]
fn the_header_names_the_client_whatever_its_version_and_however_it_is_cut() {
    let server = Server::new();
    let proxy = Proxy::start(&trusting(&server, ""));
    let tls = SslInfo::new(true, false, false, 0);
    let six = ProxiedAddress::stream(
        "[2001:db8::7]:4711".parse().expect("an address"),
        "[2001:db8::1]:80".parse().expect("an address"),
    );
    for (header, client, scheme) in [
        (version_1(), "192.0.2.7", "http"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", "http"),
        (version_2(ProxyHeader::with_address(addresses())), "192.0.2.7", "http"),
        (version_2(ProxyHeader::with_address(six)), "2001:db8::7", "http"),
        (version_2(ProxyHeader::with_local()), "127.0.0.1", "http"),
        (version_2(ProxyHeader::with_tlvs(Some(addresses()), [Tlv::Ssl(tls)])), "192.0.2.7", "https"),
        (version_2(ProxyHeader::with_tlvs(Some(addresses()), [Tlv::Noop(9_000)])), "192.0.2.7", "http"),
    ] {
        let whole = [&header[..], GET.as_bytes()].concat();
        for cut in [0, 1, header.len() / 2, header.len(), header.len() + 3] {
            let mut wire = proxy.client();
            wire.send(&whole[..cut]);
            if cut > 0 {
                wire.assert_silent();
            }
            wire.send(&whole[cut..]);
            assert_eq!(told(wire, &server), (client.to_owned(), scheme.to_owned()), "{header:?} cut at {cut}");
        }
    }
}

#[test]
fn a_trusted_proxy_that_sends_none_is_not_answered_and_the_journal_tells() {
    let server = Server::new();
    let (listening, address) = socket();
    let run = Run::new(&trusting(&server, "header_timeout = '300ms'")).socket("http", listening);
    let _service = run.start();
    let long = [&version_2(ProxyHeader::with_local())[..14], &[0xff, 0xff], &[0; 20_000]].concat();
    for bytes in [GET.as_bytes(), b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", b"PROXY TCP4 ", b"", &long] {
        let mut client = Wire::connect(address);
        let _ = client.try_send(bytes);
        let (answer, _) = client.rest();
        assert!(answer.is_empty(), "{:?}", String::from_utf8_lossy(&answer));
    }
    server.assert_untouched();
    for (reason, times) in [("did not begin with a header of the PROXY", 3), ("did not send a header of the PROXY", 2)]
    {
        wait_for(reason, || (run.log().matches(reason).count() == times).then_some(()));
    }
}

#[test]
fn a_header_of_an_untrusted_peer_is_no_request() {
    let server = Server::new();
    let proxy = Proxy::start(&trusting(&server, "").replace("127.0.0.0/8", "10.0.0.0/8"));
    let mut client = proxy.client();
    client.send([&version_1()[..], GET.as_bytes()].concat());
    assert_eq!(client.answer().status(), 400);
    let mut client = proxy.client();
    client.send(GET);
    assert_eq!(told(client, &server).0, "127.0.0.1", "and without it requests are served");
}

#[test]
fn the_client_of_a_header_is_known_for_the_whole_connection_and_over_a_reload() {
    let server = Server::new();
    let (listening, address): (_, SocketAddr) = socket();
    let run = Run::new(&trusting(&server, "")).socket("http", listening);
    let service = run.start();
    let mut client = Wire::connect(address);
    let tls = SslInfo::new(true, false, false, 0);
    client.send(version_2(ProxyHeader::with_tlvs(Some(addresses()), [Tlv::Ssl(tls)])));
    for generation in 2..4 {
        client.send(GET);
        let mut upstream = server.accept();
        let head = upstream.head();
        assert_eq!(
            (head.field("x-forwarded-for"), head.field("x-forwarded-proto")),
            (Some("192.0.2.7"), Some("https"))
        );
        upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status(), 204);
        service.reload_anyway();
        assert_eq!(service.settled().0, generation);
    }
    let record = wait_for("a record", || run.log().lines().find(|line| line.contains("→ 204")).map(str::to_owned));
    assert!(record.contains("192.0.2.7"), "{record}");
}

#[test]
fn connections_whose_header_is_not_whole_keep_no_worker_and_go_on_after_a_reload() {
    let server = Server::new();
    let (listening, address): (_, SocketAddr) = socket();
    let run = Run::new(&trusting(&server, "header_timeout = '2m'")).socket("http", listening);
    let service = run.start();
    let header = version_2(ProxyHeader::with_address(addresses()));
    for cut in [0, 5, header.len() - 1] {
        let mut client = Wire::connect(address);
        client.send(&header[..cut]);
        client.assert_silent();
        service.reload_anyway();
        service.settled();
        client.send([&header[cut..], GET.as_bytes()].concat());
        assert_eq!(told(client, &server).0, "192.0.2.7");
    }
}

#[test]
fn a_tcp_listener_takes_the_header_off() {
    let server = Server::new();
    let config = format!(
        "[listen.http]\n[tcp.bytes]\nto = ['{}']\naccept_proxy = true\ntrusted_proxies = ['127.0.0.1']\n",
        server.address
    );
    let proxy = Proxy::with_listeners(&config, &["http", "bytes"]);
    for (first, then) in [("", "hello"), ("hello", " you")] {
        let mut client = proxy.client_of("bytes");
        client.send([&version_1()[..], first.as_bytes()].concat());
        let mut upstream = server.accept();
        upstream.expect(first);
        client.send(then);
        upstream.expect(then);
        upstream.send("back");
        client.expect("back");
    }
}

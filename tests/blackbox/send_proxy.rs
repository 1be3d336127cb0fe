//! Servers that are told of their clients by the PROXY protocol.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};

use crate::support::{Proxy, Run, Server, Wire, socket};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn config(server: &Server, more: &str) -> String {
    format!("[listen.http]\n{more}\n[site.'*']\nto = ['{}']\nsend_proxy = 'v1'\n", server.address)
}

fn line(client: &Wire) -> String {
    let [own, other] = [client.stream().local_addr(), client.stream().peer_addr()].map(|it| it.expect("an address"));
    format!("PROXY TCP4 {} {} {} {}\r\n", own.ip(), other.ip(), own.port(), other.port())
}

/// Answers one request.
#[track_caller]
fn serve(client: &mut Wire, upstream: &mut Wire) {
    assert!(upstream.head().text().starts_with("GET / "));
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn a_connection_tells_of_one_client_and_serves_no_other() {
    let server = Server::new();
    let proxy = Proxy::start(&config(&server, ""));
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send(GET);
    let mut of_first = server.accept();
    of_first.expect(line(&first));
    serve(&mut first, &mut of_first);
    second.send(GET);
    let mut of_second = server.accept();
    of_second.expect(line(&second));
    serve(&mut second, &mut of_second);
    // each goes on over its own, and the header is not sent again
    for (client, upstream) in [(&mut first, &mut of_first), (&mut second, &mut of_second)] {
        client.send(GET);
        serve(client, upstream);
    }
    drop(first);
    of_first.assert_closed();
}

#[test]
fn it_goes_on_with_its_client_over_a_reload() {
    let (server, (listening, address)): (_, (_, SocketAddr)) = (Server::new(), socket());
    let run = Run::new(&config(&server, "")).socket("http", listening);
    let service = run.start();
    let mut client = Wire::connect(address);
    client.send(GET);
    let mut upstream = server.accept();
    upstream.expect(line(&client));
    serve(&mut client, &mut upstream);
    service.reload_anyway();
    service.settled();
    client.send(GET);
    serve(&mut client, &mut upstream);
    drop(upstream);
    client.send(GET);
    let mut upstream = server.accept();
    upstream.expect(line(&client));
    serve(&mut client, &mut upstream);
}

#[test]
fn what_a_trusted_proxy_tells_is_told_on() {
    let server = Server::new();
    let accepts = "accept_proxy = true\ntrusted_proxies = ['127.0.0.1']";
    let proxy = Proxy::start(&config(&server, accepts));
    let mut client = proxy.client();
    client.send(format!("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n{GET}"));
    let mut upstream = server.accept();
    upstream.expect("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n");
    serve(&mut client, &mut upstream);
}

#[test]
fn a_server_of_a_tcp_listener_gets_it_before_the_first_byte() {
    let server = Server::new();
    let config = format!("[listen.http]\n[tcp.bytes]\nto = ['{}']\nsend_proxy = 'v2'\n", server.address);
    let proxy = Proxy::with_listeners(&config, &["http", "bytes"]);
    let mut client = proxy.client_of("bytes");
    let mut upstream = server.accept();
    let bytes = upstream.take(28);
    let (header, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).expect("a header");
    let told = header.proxied_address().expect("addresses");
    assert_eq!((length, told.source), (28, client.stream().local_addr().expect("an address")));
    assert_eq!(told.destination, client.stream().peer_addr().expect("an address"));
    client.send("hello");
    upstream.expect("hello");
}

#[test]
fn a_check_tells_of_no_client() {
    let server = Server::new();
    let more = "[log]\naccess = 'all'";
    let config = config(&server, more) + "check = 'HEAD /well'\n";
    let (listening, _) = socket();
    let run = Run::new(&config).socket("http", listening);
    let _service = run.spawn();
    let mut check = server.accept();
    check.expect("PROXY UNKNOWN\r\n");
    assert!(check.head().text().starts_with("HEAD /well "));
}

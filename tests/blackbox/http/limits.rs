//! Limits of size and number, each with the status that says so.

use crate::support::{Proxy, Server, Site};

/// A request for no site, with a target and a head of these lengths, in bytes.
fn request(target: usize, head: usize) -> String {
    let start = format!("GET /{} HTTP/1.1\r\nHost: nobody.test\r\nA: ", "t".repeat(target - 1));
    let padding = "p".repeat(head - start.len() - 4);
    format!("{start}{padding}\r\n\r\n")
}

/// Whether the request passes the listener `narrow`, or its status if not.
fn status(site: &Site, request: &str) -> u16 {
    let mut client = site.client_of("narrow");
    client.send(request);
    let answer = client.answer();
    if answer.says_close() {
        client.assert_closed();
    }
    answer.status()
}

#[test]
fn a_head_may_be_as_large_as_max_head_and_no_larger() {
    let site = Site::new();
    assert_eq!(status(&site, &request(10, 2048)), 404);
    assert_eq!(status(&site, &request(10, 2049)), 431);
}

#[test]
fn a_target_may_be_as_long_as_max_target_and_no_longer() {
    let site = Site::new();
    assert_eq!(status(&site, &request(128, 1000)), 404);
    assert_eq!(status(&site, &request(129, 1000)), 414);
}

#[test]
fn a_head_may_have_as_many_fields_as_max_fields_and_no_more() {
    let site = Site::new();
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: nobody.test\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    assert_eq!(status(&site, &fields(8)), 404);
    assert_eq!(status(&site, &fields(9)), 431);
}

#[test]
fn the_default_limits_hold() {
    let site = Site::new();
    let host = &site.host;
    site.assert_refused(format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "t".repeat(8192)), 414);
    site.assert_refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "A: b\r\n".repeat(100)), 431);
    site.assert_refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\nA: {}\r\n\r\n", "b".repeat(32 << 10)), 431);
    let head = site.sees(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "A: b\r\n".repeat(99)));
    assert_eq!(head.fields("a").len(), 99);
    let head = site.sees(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nA: {}\r\n\r\n", "b".repeat(31 << 10)));
    assert_eq!(head.field("a").map(str::len), Some(31 << 10));
}

#[test]
fn a_head_without_end_is_refused_at_the_limit() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\nA: ");
    let _ = client.try_send("b".repeat(100_000));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (431, true));
    client.assert_closed();
}

/// A proxy whose site takes bodies of 10 bytes.
fn small() -> (Proxy, Server) {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\nmax_body = \"10B\"\n", server.address));
    (proxy, server)
}

#[test]
fn a_body_that_says_to_be_too_large_is_refused_at_once() {
    let (proxy, server) = small();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (413, true));
    client.assert_closed();
    server.assert_untouched();
}

#[test]
fn a_body_as_large_as_max_body_goes_on() {
    let (proxy, server) = small();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    let mut upstream = server.accept();
    upstream.head();
    upstream.expect("0123456789");
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn a_chunked_body_that_grows_too_large_is_refused_and_cut_for_the_server() {
    let (proxy, server) = small();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n");
    let mut upstream = server.accept();
    upstream.head();
    upstream.expect("a\r\n0123456789\r\n");
    client.send("1\r\n!\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (413, true));
    client.assert_closed();
    let (rest, _) = upstream.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
}

/// Connections beyond the limit wait in the backlog: their clients see nothing but time.
#[test]
fn connections_beyond_max_connections_wait_for_their_turn() {
    let server = Server::new();
    let config = format!("[listen.http]\nmax_connections = 2\n[site.\"*\"]\nto = [\"{}\"]\n", server.address);
    let proxy = Proxy::start(&config);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = proxy.client();
    let mut second = proxy.client();
    first.send(request);
    let mut upstream = server.accept();
    upstream.head();
    second.send(request);
    let mut other = server.accept();
    other.head();
    let mut third = proxy.client();
    third.send(request);
    third.assert_silent();
    server.assert_untouched();
    first.reset(); // an end that is a FIN alone would still wait for its answer
    let mut last = server.accept();
    last.head();
    last.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(third.answer().text(), "ok");
}

/// No library behind the gate takes it, however large the head may be.
#[test]
fn a_field_name_of_64_kib_is_refused() {
    let server = Server::new();
    let config = format!("[listen.http]\nmax_head = \"1MiB\"\n[site.\"*\"]\nto = [\"{}\"]\n", server.address);
    let proxy = Proxy::start(&config);
    for (length, status) in [(65_536, 431), (32_768, 204)] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}: b\r\n\r\n", "n".repeat(length)));
        if status == 204 {
            let mut upstream = server.accept();
            upstream.head();
            upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
        }
        assert_eq!(client.answer().status(), status);
    }
}

/// As above, when the server has begun to answer already.
#[test]
fn a_body_that_grows_too_large_beside_its_response_is_cut_for_the_server() {
    let (proxy, server) = small();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n");
    let mut upstream = server.accept();
    upstream.head();
    upstream.expect("a\r\n0123456789\r\n");
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    client.until(b"ok\r\n");
    client.send("1\r\n!\r\n0\r\n\r\n");
    upstream.assert_closed();
    upstream.send("0\r\n\r\n");
    client.expect("0\r\n\r\n");
}

//! When a request is sent again, and when it must not be.

use crate::support::{Proxy, Server, Site, Wire};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: $host\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\nhello";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn an_idempotent_request_is_sent_again_when_the_server_closes_without_an_answer() {
    let site = Site::new();
    for request in [GET, PUT] {
        let mut client = site.client();
        client.send(request);
        let mut server = site.server.accept();
        server.head();
        drop(server);
        let mut again = site.server.accept();
        again.head();
        if request == PUT {
            again.expect("hello");
        }
        again.send(OK);
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn a_request_whose_repetition_may_do_harm_is_sent_once() {
    let site = Site::new();
    for method in ["POST", "PATCH", "MADEUP"] {
        let mut client = site.client();
        client.send(POST.replace("POST", method));
        let mut server = site.server.accept();
        server.head();
        server.expect("hello");
        drop(server);
        assert_eq!(client.answer().status(), 502);
        site.server.assert_untouched();
    }
}

#[test]
fn a_response_that_has_begun_is_not_asked_for_again() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    client.head();
    drop(server);
    let _ = client.rest();
    site.server.assert_untouched();
}

#[test]
fn a_broken_response_is_not_asked_for_again() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
    site.server.assert_untouched();
}

#[test]
fn a_body_too_large_to_keep_is_sent_once() {
    let site = Site::new();
    let mut client = site.client();
    let body = "x".repeat(200_000);
    client.send(format!("PUT / HTTP/1.1\r\nHost: $host\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let mut server = site.server.accept();
    server.head();
    server.expect(&body);
    drop(server);
    assert_eq!(client.answer().status(), 502);
    site.server.assert_untouched();
}

/// Nothing but its head was sent: what comes after it waits for the switch.
#[test]
fn an_upgrade_is_sent_again_as_the_get_that_it_is() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    let mut server = site.server.accept();
    server.head();
    drop(server);
    let mut again = site.server.accept();
    assert_eq!(again.head().field("upgrade"), Some("websocket"));
    again.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    again.expect("early");
    assert_eq!(client.head().status(), 101);
}

#[test]
fn a_chunked_body_is_sent_again_with_its_trailers() {
    let site = Site::new();
    let mut client = site.client();
    client
        .send("PUT / HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.chunks();
    drop(server);
    let mut again = site.server.accept();
    again.head();
    assert_eq!(again.chunks(), (b"hello".to_vec(), "x-sum: 1\r\n".to_owned()));
    again.send(OK);
    assert_eq!(client.answer().text(), "ok");
}

/// Half of the body was sent to the first server, the rest had not come: the second one gets all of it.
#[test]
fn a_body_that_is_still_coming_is_sent_again_from_its_start() {
    let site = Site::new();
    let mut client = site.client();
    client.send("PUT / HTTP/1.1\r\nHost: $host\r\nContent-Length: 10\r\n\r\nhello");
    let mut server = site.server.accept();
    server.head();
    server.expect("hello");
    drop(server);
    let mut again = site.server.accept();
    again.head();
    client.send("world");
    again.expect("helloworld");
    again.send(OK);
    assert_eq!(client.answer().text(), "ok");
}

/// Two servers, the first of which refuses connections.
fn refused_and_open() -> (Proxy, Server) {
    let refused = crate::support::free_address();
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{refused}\", \"{}\"]\n", server.address));
    (proxy, server)
}

#[test]
fn a_refused_connection_sends_any_request_to_another_server() {
    let (proxy, server) = refused_and_open();
    for _ in 0..4 {
        let mut client = proxy.client().of_host("a");
        client.send(POST);
        let mut upstream = server.accept();
        upstream.head();
        upstream.expect("hello");
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn a_large_upload_goes_to_another_server_when_the_first_refuses() {
    let (proxy, server) = refused_and_open();
    let body = "x".repeat(500_000);
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let mut upstream = server.accept();
        upstream.head();
        upstream.expect(&body);
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn when_every_server_refuses_it_is_a_502() {
    let refused = crate::support::free_address();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{refused}\"]\nretries = 1\n"));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (502, false));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
}

#[test]
fn retries_end() {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\nretries = 2\n", server.address));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..3 {
        server.accept().head();
    }
    assert_eq!(client.answer().status(), 502);
    server.assert_untouched();
}

/// An upstream connection that is idle, both ends known.
fn idle(site: &Site) -> (Wire, Wire) {
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send(OK);
    assert_eq!(client.answer().text(), "ok");
    (client, server)
}

#[test]
fn an_idle_connection_that_the_server_closed_is_not_used() {
    let site = Site::new();
    for request in [GET, POST] {
        let (mut client, server) = idle(&site);
        drop(server);
        client.send(request);
        let mut fresh = site.server.accept();
        fresh.head();
        fresh.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}

/// The server closes while the request is on its way: no fault of the server, so it costs no retry.
#[test]
fn a_request_that_meets_a_closing_idle_connection_is_sent_again() {
    let site = Site::new();
    let (mut client, mut server) = idle(&site);
    client.send(GET);
    server.head();
    drop(server);
    let mut fresh = site.server.accept();
    fresh.head();
    fresh.send(OK);
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_post_that_meets_a_closing_idle_connection_is_not_sent_again() {
    let site = Site::new();
    let (mut client, mut server) = idle(&site);
    client.send(POST);
    server.head();
    drop(server);
    assert_eq!(client.answer().status(), 502);
    site.server.assert_untouched();
}

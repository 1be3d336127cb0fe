//! When a connection goes on after a response and when it ends, and how.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Answer, Ending, Proxy, Run, Server, Site, Wire, socket};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a request on the connection and has a fresh or an idle connection to the server answer it.
fn exchange(site: &Site, client: &mut Wire, request: &str) -> Answer {
    client.send(request);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    client.answer()
}

#[test]
fn an_http_1_1_connection_stays_open() {
    let site = Site::new();
    let mut client = site.client();
    for _ in 0..3 {
        let answer = exchange(&site, &mut client, "GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
        assert!(!answer.head.has("connection"), "{}", answer.head.text());
    }
    client.assert_silent();
}

#[test]
fn a_client_that_says_close_is_closed_after_the_answer() {
    let site = Site::new();
    for close in ["close", "Close", "x, close", "keep-alive, close"] {
        let mut client = site.client();
        let request = format!("GET / HTTP/1.1\r\nHost: $host\r\nConnection: {close}\r\n\r\n");
        assert!(exchange(&site, &mut client, &request).says_close());
        client.assert_closed();
    }
}

#[test]
fn an_http_1_0_connection_ends_unless_the_client_asks_to_keep_it() {
    let site = Site::new();
    let mut client = site.client();
    let answer = exchange(&site, &mut client, "GET / HTTP/1.0\r\nHost: $host\r\n\r\n");
    assert_eq!(answer.text(), "ok");
    client.assert_closed();
    let mut client = site.client();
    for _ in 0..3 {
        let answer = exchange(&site, &mut client, "GET / HTTP/1.0\r\nHost: $host\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.head.field("connection"), Some("keep-alive"));
    }
    client.assert_silent();
}

#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let site = Site::new();
    for connection in ["close", "keep-alive"] {
        let mut client = site.client();
        client.send(format!("GET / HTTP/1.0\r\nHost: $host\r\nConnection: {connection}\r\n\r\n"));
        let mut server = site.server.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n");
        let head = client.head();
        assert!(!head.has("transfer-encoding") && !head.has("content-length"), "{}", head.text());
        assert_ne!(head.field("connection"), Some("keep-alive"), "only the end of the connection ends the body");
        client.expect("hello");
        client.assert_closed();
    }
}

#[test]
fn a_client_that_closes_its_sending_side_gets_its_answer_where_the_listener_waits_for_it() {
    let site = Site::new();
    let mut client = site.client_of("patient");
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    client.finish();
    let mut server = site.server.accept();
    server.head();
    client.assert_silent();
    server.send(OK);
    assert_eq!(client.answer().text(), "ok");
    client.assert_closed();
}

#[test]
fn a_client_that_uploads_and_closes_its_sending_side_gets_its_answer_there_too() {
    let site = Site::new();
    let mut client = site.client_of("patient");
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\nhello");
    client.finish();
    let mut server = site.server.accept();
    server.head();
    server.expect("hello");
    server.send(OK);
    assert_eq!(client.answer().text(), "ok");
    client.assert_closed();
}

#[test]
fn a_client_that_leaves_while_the_server_thinks_frees_the_server_at_once() {
    let site = Site::new();
    let get = "GET / HTTP/1.1\r\nHost: $host\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\nhello";
    for (request, answered, leaves_by_reset) in
        [(get, "", false), (get, "", true), (post, "", false), (get, "HTTP/1.1 200 OK\r\n\r\nevent", false)]
    {
        let mut client = site.client();
        client.send(request);
        let mut server = site.server.accept();
        server.head();
        server.expect(request.split_once("\r\n\r\n").expect("a head").1);
        server.send(answered);
        if !answered.is_empty() {
            client.until(b"event");
        }
        let left = Instant::now();
        if leaves_by_reset {
            client.reset()
        } else {
            drop(client)
        }
        server.rest();
        assert!(left.elapsed() < Duration::from_secs(5), "{request:?} {answered:?} {:?}", left.elapsed());
    }
}

#[test]
fn an_idle_connection_that_the_client_closes_is_closed() {
    let site = Site::new();
    let mut client = site.client();
    exchange(&site, &mut client, "GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    client.finish();
    client.assert_closed();
    let mut client = site.client();
    client.finish();
    client.assert_closed();
}

#[test]
fn a_head_that_the_client_breaks_off_is_not_answered() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $ho");
    client.finish();
    client.assert_closed();
    site.server.assert_untouched();
}

#[test]
fn an_upstream_connection_is_used_again() {
    let site = Site::new();
    let mut server = None;
    for _ in 0..3 {
        let mut client = site.client();
        client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
        let server = server.get_or_insert_with(|| site.server.accept());
        server.head();
        server.send(OK);
        assert_eq!(client.answer().text(), "ok");
    }
    site.server.assert_untouched();
}

#[test]
fn an_upstream_connection_of_http_1_0_is_used_once() {
    let site = Site::new();
    for _ in 0..2 {
        let mut client = site.client();
        client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
        let mut server = site.server.accept();
        server.head();
        server.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
        server.assert_closed();
    }
}

#[test]
fn proxy_connection_keeps_nothing_open() {
    let site = Site::new();
    let mut client = site.client();
    exchange(&site, &mut client, "GET / HTTP/1.0\r\nHost: $host\r\nProxy-Connection: keep-alive\r\n\r\n");
    client.assert_closed();
}

#[test]
fn an_upstream_connection_is_kept_no_longer_than_its_server_says() {
    let site = Site::new();
    for _ in 0..2 {
        let mut client = site.client();
        client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
        let mut server = site.server.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=100\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
        server.assert_closed(); // a second less than that is at once
    }
}

#[test]
fn an_upstream_connection_that_nobody_uses_is_closed() {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\nkeep_alive = \"300ms\"\n", server.address));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut upstream = server.accept();
    upstream.head();
    upstream.send(OK);
    assert_eq!(client.answer().text(), "ok");
    upstream.assert_closed();
}

#[test]
fn a_response_that_a_stop_cuts_does_not_look_whole() {
    let (listening, address) = socket();
    let server = Server::new();
    let config = format!("[drain]\nstop_timeout = \"300ms\"\n[site.\"*\"]\nto = [\"{}\"]\n", server.address);
    let run = Run::new(&config).socket("http", listening);
    let mut service = run.start();
    let mut open = ["HTTP/1.1", "HTTP/1.0"].map(|version| {
        let mut client = Wire::connect(address);
        client.send(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        let mut upstream = server.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        client.until(b"hello");
        (client, upstream)
    });
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code(), Some(0));
    let (rest, _) = open[0].0.rest();
    assert_eq!(rest, b"\r\n", "no last chunk");
    assert_eq!(open[1].0.rest().1, Ending::Reset);
}

//! What stands in the journal of exchanges that went wrong.

use std::net::SocketAddr;

use crate::support::{Run, Server, Wire, socket, wait_for};

/// A proxy that leads to `server`, not started yet, and its address.
fn leading_to(server: &Server) -> (Run, SocketAddr) {
    let (listener, address) = socket();
    (Run::new(&format!("[site.\"*\"]\nto = [\"{}\"]\n", server.address)).socket("http", listener), address)
}

/// The record of the exchange that asked for `path`.
fn record(run: &Run, path: &str) -> String {
    let line = || run.log().lines().find(|line| line.contains(path)).map(str::to_owned);
    wait_for(&format!("a record of {path}"), line)
}

// It said "before a site was found" wherever the exchange was.
#[test]
fn a_record_says_how_far_an_exchange_was_when_its_client_left() {
    let server = Server::new();
    let (run, address) = leading_to(&server);
    let _service = run.start();
    let mut client = Wire::connect(address);
    client.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut upstream = server.accept();
    upstream.head();
    client.reset();
    upstream.assert_closed();
    let said = record(&run, "/waits");
    assert!(said.contains("the client closed the connection before the response came"), "{said}");
}

// It said that all of the request had been sent.
#[test]
fn a_record_says_that_a_server_went_away_before_it_had_the_request() {
    let server = Server::new();
    let (run, address) = leading_to(&server);
    let _service = run.start();
    let mut client = Wire::connect(address);
    client.send("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let mut upstream = server.accept();
    upstream.head();
    upstream.expect("hello");
    drop(upstream);
    assert_eq!(client.answer().status(), 502);
    let said = record(&run, "/half");
    assert!(said.contains("the server closed the connection while the request was sent on"), "{said}");
}

// It said no more than that the response was not valid.
#[test]
fn a_record_says_which_rule_a_response_broke() {
    let server = Server::new();
    let (run, address) = leading_to(&server);
    let _service = run.start();
    for (path, response, rule) in [
        ("/length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Content-Length is not a decimal number"),
        ("/chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "not made of hexadecimal digits"),
        (
            "/lf",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "LF alone; only CRLF ends a line; `lenient = true` of the pool takes",
        ),
        (
            "/space",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "field name and its colon; `lenient = true` of the pool takes it",
        ),
    ] {
        let mut client = Wire::connect(address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut upstream = server.accept();
        upstream.head();
        upstream.send(response);
        let said = record(&run, path);
        assert!(said.contains("the response broke a rule of HTTP") && said.contains(rule), "{said}");
    }
}

// It said `/` for every target that it did not understand, and put one behind the host of a CONNECT.
#[test]
fn a_record_of_a_refused_head_says_the_target_as_it_came() {
    let server = Server::new();
    let (run, address) = leading_to(&server);
    let _service = run.start();
    for (request, subject) in [
        ("CONNECT far:443 HTTP/1.1\r\nHost: far:443\r\n\r\n", "CONNECT far:443 → 405"),
        ("GET /left&right\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", "GET /left&right\u{e4} → 400"),
        ("GET /query|?token=secret HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /query| → 400"),
        ("HEAD http://[ HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD → 400"),
    ] {
        let mut client = Wire::connect(address);
        client.send(request);
        let said = record(&run, &format!("exchange: 127.0.0.1 {subject}"));
        assert!(!said.contains("secret"), "{said}");
    }
}

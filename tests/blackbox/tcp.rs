//! Listeners that relay bytes.

use crate::support::{Proxy, Server, Wire, free_address};

/// A proxy that relays `bytes` to these servers.
fn relay(servers: &str, settings: &str) -> Proxy {
    Proxy::with_listeners(&format!("[listen.http]\n[tcp.bytes]\nto = [{servers}]\n{settings}"), &["http", "bytes"])
}

/// Both ends of a tunnel.
fn tunnel(proxy: &Proxy, server: &Server) -> (Wire, Wire) {
    (proxy.client_of("bytes"), server.accept())
}

#[test]
fn bytes_pass_both_ways_as_they_are() {
    let server = Server::new();
    let proxy = relay(&format!("\"{}\"", server.address), "");
    let (mut client, mut upstream) = tunnel(&proxy, &server);
    upstream.send("220 hello\r\n"); // a server may speak first
    client.expect("220 hello\r\n");
    for turn in 0..3 {
        client.send([turn, 0, b'\n', 255]);
        upstream.expect([turn, 0, b'\n', 255]);
        upstream.send([255, turn]);
        client.expect([255, turn]);
    }
}

#[test]
fn each_side_may_end_before_the_other() {
    let server = Server::new();
    let proxy = relay(&format!("\"{}\"", server.address), "");
    let (mut client, mut upstream) = tunnel(&proxy, &server);
    client.send("all");
    client.finish();
    upstream.expect("all");
    upstream.assert_closed();
    upstream.send("answer");
    upstream.finish();
    client.expect("answer");
    client.assert_closed();
}

#[test]
fn a_server_that_refuses_is_passed_over() {
    let (server, refused) = (Server::new(), free_address());
    let proxy = relay(&format!("\"{refused}\", \"{}\"", server.address), "");
    for _ in 0..4 {
        let (mut client, mut upstream) = tunnel(&proxy, &server);
        client.send("x");
        upstream.expect("x");
    }
}

#[test]
fn without_a_server_the_connection_is_closed() {
    let proxy = relay(&format!("\"{}\"", free_address()), "retries = 0\n");
    let (rest, _) = proxy.client_of("bytes").rest();
    assert!(rest.is_empty());
}

#[test]
fn a_silent_connection_ends_after_its_timeout() {
    let server = Server::new();
    let proxy = relay(&format!("\"{}\"", server.address), "tunnel_timeout = \"500ms\"\n");
    let (mut client, mut upstream) = tunnel(&proxy, &server);
    for _ in 0..4 {
        client.assert_silent(); // all in all for longer than the timeout
        client.send("x");
        upstream.expect("x");
    }
    assert!(client.rest().0.is_empty() && upstream.rest().0.is_empty());
}

/// What was read for a client that was gone once reached the next one: the connections of a thread read into one
/// buffer.
#[test]
fn nobody_gets_what_was_meant_for_a_client_that_is_gone() {
    let server = Server::new();
    let proxy = relay(&format!("\"{}\"", server.address), "");
    for _ in 0..20 {
        let (mut client, mut upstream) = tunnel(&proxy, &server);
        let pouring = std::thread::spawn(move || while upstream.try_send([b's'; 8192]).is_ok() {});
        client.take(200_000);
        client.reset();
        pouring.join().expect("the server");
        let (mut client, mut upstream) = tunnel(&proxy, &server);
        upstream.send("mine");
        client.expect("mine");
    }
}

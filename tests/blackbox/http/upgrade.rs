//! Switching protocols (RFC 9110 §7.8): tunnels, and what happens when there is none.

use crate::support::{Ending, Proxy, Server, Site, Wire};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: $host\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Both ends of a tunnel.
fn tunnel(site: &Site) -> (Wire, Wire) {
    let mut client = site.client();
    client.send(UPGRADE);
    let mut server = site.server.accept();
    server.head();
    server.send(SWITCH);
    assert_eq!(client.head().status(), 101);
    (client, server)
}

#[test]
fn an_upgrade_goes_on_and_becomes_a_tunnel() {
    let site = Site::new();
    let mut client = site.client();
    client.send(UPGRADE);
    let mut server = site.server.accept();
    let head = server.head();
    assert_eq!((head.field("connection"), head.field("upgrade")), (Some("upgrade"), Some("websocket")));
    assert!(head.has("sec-websocket-key") && head.has("sec-websocket-version"), "{}", head.text());
    server.send(SWITCH);
    let head = client.head();
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("websocket")));
    assert!(head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{}", head.text());
    assert!(!head.has("content-length") && !head.has("transfer-encoding") && head.has("sec-websocket-accept"));
    for turn in 0..3 {
        client.send([turn, 0, 255]);
        server.expect([turn, 0, 255]);
        server.send([255, turn]);
        client.expect([255, turn]);
    }
}

#[test]
fn early_bytes_of_a_client_reach_the_server_after_the_switch() {
    let site = Site::new();
    let mut client = site.client();
    client.send(format!("{UPGRADE}GET /early HTTP/1.1\r\n\r\n"));
    let mut server = site.server.accept();
    server.head();
    server.send(SWITCH);
    server.expect("GET /early HTTP/1.1\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    client.send("more");
    server.expect("more");
}

#[test]
fn early_bytes_of_a_server_reach_the_client_after_the_switch() {
    let site = Site::new();
    let mut client = site.client();
    client.send(UPGRADE);
    let mut server = site.server.accept();
    server.head();
    server.send(format!("{SWITCH}HTTP/1.1 200 early"));
    assert_eq!(client.head().status(), 101);
    client.expect("HTTP/1.1 200 early");
}

#[test]
fn the_reason_of_a_switch_passes() {
    let (_, answer) = Site::new().exchange(UPGRADE, &SWITCH.replace("Switching Protocols", "UPGRADED"));
    assert_eq!(answer.head.line(), "HTTP/1.1 101 UPGRADED");
}

#[test]
fn an_upgrade_that_is_refused_goes_on_as_http() {
    let site = Site::new();
    let mut client = site.client();
    client.send(format!("{UPGRADE}GET /next HTTP/1.1\r\nHost: $host\r\n\r\n"));
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    assert_eq!(server.head().line(), "GET /next HTTP/1.1");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_server_may_demand_an_upgrade() {
    let site = Site::new();
    let response =
        "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: TLS/1.2\r\nContent-Length: 0\r\n\r\n";
    let (_, answer) = site.exchange("GET / HTTP/1.1\r\nHost: $host\r\n\r\n", response);
    assert_eq!((answer.status(), answer.head.field("upgrade")), (426, Some("TLS/1.2")));
    assert_eq!(answer.head.field("connection"), Some("upgrade"));
}

#[test]
fn an_upgrade_needs_http_1_1_and_a_protocol_that_does_not_carry_http() {
    let site = Site::new();
    for request in [
        "GET / HTTP/1.0\r\nHost: $host\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: $host\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: $host\r\nConnection: upgrade, http2-settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: $host\r\nConnection: upgrade\r\nUpgrade: h2c, HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: $host\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: $host\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (head, answer) = site.exchange(request, SWITCH);
        assert!(!head.has("upgrade") && !head.has("http2-settings"), "{}", head.text());
        assert_eq!(answer.status(), 502, "nobody asked for a switch: {request:?}");
    }
}

/// As `docker attach` and `kubectl exec` do.
#[test]
fn any_method_may_upgrade_with_a_body_or_without() {
    for (method, framing, body) in [
        ("POST", "", ""),
        ("POST", "Content-Length: 0\r\n", ""),
        ("PUT", "Content-Length: 5\r\n", "hello"),
        ("POST", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("OPTIONS", "", ""),
        ("MADEUP", "", ""),
    ] {
        let site = Site::new();
        let mut client = site.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: $host\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{framing}\r\n{body}early"
        ));
        let mut server = site.server.accept();
        let head = server.head();
        assert_eq!((head.field("connection"), head.field("upgrade")), (Some("upgrade"), Some("tcp")), "{method}");
        server.expect(body);
        server.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhi");
        assert_eq!(client.head().status(), 101, "{method} {framing}");
        client.expect("hi");
        server.expect("early");
        client.send("more");
        server.expect("more");
    }
}

#[test]
fn the_body_of_a_request_is_whole_before_the_protocol_changes() {
    let site = Site::new();
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: $host\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 10\r\n\r\nhello",
    );
    let mut server = site.server.accept();
    server.head();
    server.expect("hello");
    server.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    client.assert_silent();
    client.send("worldearly");
    server.expect("worldearly");
    assert_eq!(client.head().status(), 101);
}

#[test]
fn an_upgrade_with_a_body_that_is_refused_goes_on_as_http() {
    let site = Site::new();
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: $host\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n\r\nhello",
    );
    let mut server = site.server.accept();
    server.head();
    server.expect("hello");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
    client.send("GET /next HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert_eq!(server.head().line(), "GET /next HTTP/1.1");
}

#[test]
fn of_a_list_of_protocols_those_go_on_that_may_be_tunnelled() {
    let site = Site::new();
    let mut client = site.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: $host\r\nConnection: upgrade\r\nUpgrade: SPDY/3.1, h2c\r\nUpgrade: websocket\r\n\r\n",
    );
    let mut server = site.server.accept();
    assert_eq!(server.head().field("upgrade"), Some("SPDY/3.1, websocket"));
    server.send(SWITCH.replace("Upgrade: websocket", "Upgrade: WebSocket"));
    assert_eq!(client.head().status(), 101);
    client.send("x");
    server.expect("x");
}

#[test]
fn a_switch_to_what_was_not_offered_is_a_502() {
    let site = Site::new();
    for chosen in ["tcp", "h2c", "websocket, tcp", "websocket\r\nUpgrade: tcp"] {
        let response = SWITCH.replace("Upgrade: websocket", &format!("Upgrade: {chosen}"));
        let (_, answer) = site.exchange(UPGRADE, &response);
        assert_eq!(answer.status(), 502, "{chosen}");
    }
}

#[test]
fn a_switch_without_a_protocol_is_a_502() {
    let (_, answer) = Site::new().exchange(UPGRADE, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n");
    assert_eq!(answer.status(), 502);
}

#[test]
fn each_side_of_a_tunnel_may_end_before_the_other() {
    let site = Site::new();
    let (mut client, mut server) = tunnel(&site);
    client.send("last");
    client.finish();
    server.expect("last");
    server.assert_closed();
    server.send("answer");
    server.finish();
    client.expect("answer");
    client.assert_closed();
    let (mut client, mut server) = tunnel(&site);
    server.finish();
    client.assert_closed();
    client.send("still here");
    server.expect("still here");
}

#[test]
fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let site = Site::new();
    let (client, mut server) = tunnel(&site);
    client.reset();
    assert_eq!(server.rest().1, Ending::Reset);
    let (mut client, server) = tunnel(&site);
    server.reset();
    assert_eq!(client.rest().1, Ending::Reset);
}

#[test]
fn a_side_that_had_all_there_was_is_not_reset() {
    let site = Site::new();
    let (mut client, mut server) = tunnel(&site);
    server.send("bye");
    server.finish();
    client.expect("bye");
    client.assert_closed();
    server.reset();
    client.send("too late");
    site.sees("GET / HTTP/1.1\r\nHost: $host\r\n\r\n"); // by the same thread, after it
    let fault = client.stream().take_error().expect("the error of a socket");
    assert!(fault.is_none(), "{fault:?}");
}

#[test]
fn a_tunnel_passes_more_than_any_buffer_holds() {
    let site = Site::new();
    let (mut client, mut server) = tunnel(&site);
    let block: Vec<u8> = (0..8 << 20).map(|at: u32| (at % 251) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| client.send(&block));
        assert!(server.take(block.len()) == block);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| server.send(&block));
        assert!(client.take(block.len()) == block);
    });
}

#[test]
fn a_silent_tunnel_ends_after_its_timeout() {
    let server = Server::new();
    let config = format!("[site.\"*\"]\nto = [\"{}\"]\ntunnel_timeout = \"500ms\"\n", server.address);
    let proxy = Proxy::start(&config);
    let mut client = proxy.client().of_host("a");
    client.send(UPGRADE);
    let mut upstream = server.accept();
    upstream.head();
    upstream.send(SWITCH);
    client.head();
    for _ in 0..4 {
        client.assert_silent(); // all in all for longer than the timeout
        client.send("x");
        upstream.expect("x");
    }
    let _ = client.rest();
    let _ = upstream.rest();
}

#[test]
fn many_early_bytes_wait_for_the_switch() {
    let site = Site::new();
    let early: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    let mut client = site.client();
    client.send(UPGRADE);
    let mut sending = client.stream().try_clone().expect("dup");
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut sending, &early).expect("to send"));
        let mut server = site.server.accept();
        server.head();
        server.assert_silent();
        server.send(SWITCH);
        assert!(server.take(early.len()) == early);
    });
    assert_eq!(client.head().status(), 101);
}

#[test]
fn a_client_that_ends_its_side_before_the_switch_has_ended_it_in_the_tunnel() {
    let site = Site::new();
    let mut client = site.client_of("patient");
    client.send(format!("{UPGRADE}all"));
    client.finish();
    let mut server = site.server.accept();
    server.head();
    server.send(SWITCH);
    server.expect("all");
    server.assert_closed();
    server.send("answer");
    server.finish();
    client.head();
    client.expect("answer");
    client.assert_closed();
}

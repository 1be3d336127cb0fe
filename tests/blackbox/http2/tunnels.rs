//! Extended CONNECT (RFC 8441): WebSocket on one stream of HTTP/2.

use crate::http2::Setup;
use crate::http2::client::*;
use crate::support::{Run, Server, Wire, socket};

const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn connect<'a>(protocol: &'a str, path: &'a str) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
    ];
    block(&fields)
}

/// Opens a WebSocket on a stream; gives the end that the server has.
#[track_caller]
fn open(client: &mut H2, server: &Server, stream: u32) -> Wire {
    client.send(HEADERS, END_HEADERS, stream, &connect("websocket", "/socket"));
    let mut upstream = server.accept();
    let head = upstream.head();
    assert_eq!(head.line(), "GET /socket HTTP/1.1");
    assert_eq!((head.field("upgrade"), head.field("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(head.field("sec-websocket-key").map(str::len), Some(24));
    assert!(!head.has("transfer-encoding") && !head.has("content-length"));
    upstream.send([SWITCHES, "hello"].concat());
    client.peek(|frame| frame.kind == HEADERS && frame.stream == stream);
    upstream
}

#[test]
fn bytes_pass_both_ways_on_a_stream_that_the_server_switched_and_others_go_on_beside_it() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.settle();
    let settings = client.next(SETTINGS);
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "it says that it can");
    let mut upstream = open(&mut client, &setup.server, 1);
    for text in ["one", "two"] {
        client.send(DATA, 0, 1, text.as_bytes());
        upstream.expect(text);
        upstream.send(text);
    }
    client.get(3, "a.test", "/");
    setup.answers("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response(3).status(), "204");
    // the end of the client, and then that of the server
    client.send(DATA, END_STREAM, 1, b"bye");
    upstream.expect("bye");
    upstream.assert_closed();
    upstream.send("bye too");
    drop(upstream);
    let response = client.response(1);
    assert_eq!((response.status(), &response.body[..], response.reset), ("200", &b"helloonetwobye too"[..], None));
    assert!(response.fields.contains("sec-websocket-protocol: chat\n"), "{}", response.fields);
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.fields.contains(name), "{}", response.fields);
    }
}

#[test]
fn a_tunnel_outlasts_the_time_for_a_body_and_ends_when_its_client_resets_it() {
    let setup = Setup::new();
    let mut client = setup.client_of("hasty");
    let mut upstream = open(&mut client, &setup.server, 1);
    client.post(3, "a.test", &[]);
    let mut waits = setup.server.accept();
    waits.head();
    assert_eq!(client.response(3).status(), "408", "the time for a body is over");
    client.send(DATA, 0, 1, b"still there");
    upstream.expect("still there");
    client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    upstream.assert_closed();
}

#[test]
fn what_is_no_switch_is_no_success() {
    let setup = Setup::new();
    let mut client = setup.client();
    for (stream, response, status) in [
        (1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "502"),
        (3, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "403"),
        (5, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", "502"),
    ] {
        client.send(HEADERS, END_HEADERS, stream, &connect("websocket", "/socket"));
        setup.answers(response);
        let response = client.response(stream);
        assert_eq!((response.status(), response.reset), (status, None));
    }
    client.send(HEADERS, END_HEADERS, 7, &connect("h2c", "/socket"));
    assert_eq!(client.response(7).status(), "405");
    setup.server.assert_untouched();
}

#[test]
fn a_tunnel_goes_on_over_reloads_and_keeps_no_worker() {
    let (server, (listener, address)) = (Server::new(), socket());
    let config =
        format!("[listen.http]\nh2c = true\n[log]\naccess = 'all'\n[site.'a.test']\nto = ['{}']\n", server.address);
    let run = Run::new(&config).socket("http", listener);
    let service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[]);
    let mut upstream = open(&mut client, &server, 1);
    for number in 2..5 {
        client.send(DATA, 0, 1, b"up");
        upstream.send("down");
        service.reload_anyway();
        assert_eq!(service.settled().0, number);
        upstream.expect("up");
    }
    client.send(DATA, END_STREAM, 1, b"");
    upstream.assert_closed();
    service.reload_anyway();
    assert_eq!(service.settled().0, 5);
    upstream.send("last");
    drop(upstream);
    assert_eq!(client.response(1).body, b"hellodowndowndownlast");
    client.assert_not_told();
    run.wait_log("a.test/socket →");
    let log = run.log();
    let line = log.lines().find(|line| line.contains("a.test/socket →")).expect("a record");
    assert!(line.contains("→ 200 from") && line.contains("21 bytes out, 6 in"), "{line}");
}

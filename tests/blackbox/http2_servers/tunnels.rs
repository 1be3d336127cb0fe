//! WebSocket to servers of HTTP/2 (RFC 8441).

use super::{ServerSide, Setup};
use crate::http2::client::{DATA, END_HEADERS, END_STREAM, HEADERS, block};

/// SETTINGS_ENABLE_CONNECT_PROTOCOL.
const CONNECT_PROTOCOL: u16 = 8;
const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn a_websocket_of_http_1_passes_on_a_stream() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send(UPGRADE);
    let mut server = setup.accept(&[(CONNECT_PROTOCOL, 1)]);
    let (stream, fields) = server.request();
    let asked = ":method: CONNECT\n:scheme: http\n:authority: a.test\n:path: /socket\n:protocol: websocket\n";
    assert!(fields.starts_with(asked), "{fields}");
    assert!(!fields.contains("sec-websocket-key") && fields.contains("sec-websocket-version: 13"), "{fields}");
    server.head(stream, &[(":status", "200")]);
    let head = client.head();
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("websocket")));
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send("from the client");
    assert_eq!(server.next(DATA).payload, b"from the client");
    server.send(DATA, 0, stream, b"from the server");
    client.expect("from the server");
    client.finish();
    assert!(server.find(|frame| frame.kind == DATA && frame.ends()).payload.is_empty());
    server.send(DATA, END_STREAM, stream, b"bye");
    client.expect("bye");
    client.assert_closed();
}

#[test]
fn a_websocket_of_http_2_passes_on_a_stream() {
    let setup = Setup::new();
    let mut client = setup.h2();
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/socket"),
        ("sec-websocket-version", "13"),
    ];
    client.send(HEADERS, END_HEADERS, 1, &block(&fields));
    let mut server = setup.accept(&[(CONNECT_PROTOCOL, 1)]);
    let (stream, asked) = server.request();
    assert!(asked.contains(":protocol: websocket\n") && !asked.contains("sec-websocket-key"), "{asked}");
    server.head(stream, &[(":status", "200")]);
    client.peek(|frame| frame.kind == HEADERS);
    client.send(DATA, 0, 1, b"up");
    assert_eq!(server.next(DATA).payload, b"up");
    server.send(DATA, 0, stream, b"down");
    assert_eq!(client.next(DATA).payload, b"down");
    client.send(DATA, END_STREAM, 1, b"");
    server.find(|frame| frame.kind == DATA && frame.ends());
    server.send(DATA, END_STREAM, stream, b"");
    assert_eq!(client.response(1).status(), "200");
}

#[test]
fn a_server_that_offers_no_tunnels_gets_none() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send(UPGRADE);
    let mut server = setup.accept(&[]);
    assert_eq!(client.answer().status(), 502);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (stream, fields) = server.request();
    assert!(fields.starts_with(":method: GET\n"), "{fields}");
    server.answer(stream, "204");
    assert_eq!(client.head().status(), 204);
}

#[test]
fn a_server_may_refuse_a_websocket() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send(UPGRADE);
    let mut server = setup.accept(&[(CONNECT_PROTOCOL, 1)]);
    let (stream, _) = server.request();
    server.answer(stream, "403");
    assert_eq!(client.head().status(), 403);
}

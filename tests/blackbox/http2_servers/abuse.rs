//! Servers that break the rules of a connection, or flood it.

use super::{ServerSide, Setup};
use crate::http2::client::{DATA, END_HEADERS, GOAWAY, H2, HEADERS, PING, SETTINGS, WINDOW_UPDATE, block, frame};

const ENHANCE_YOUR_CALM: u32 = 11;

/// A server with an open request, and its client.
fn open(setup: &Setup) -> (crate::support::Wire, H2, u32) {
    let mut client = setup.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    server.settle();
    (client, server, stream)
}

#[test]
fn a_flood_of_control_frames_ends_the_connection() {
    for flood in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, b""), frame(DATA, 0, 1, b"")] {
        let setup = Setup::with(1, "retries = 0");
        let (mut client, mut server, stream) = open(&setup);
        server.head(stream, &[(":status", "200")]);
        let _ = server.wire.try_send(flood.repeat(20_000));
        assert_eq!(client.head().status(), 200);
        let (frames, _) = server.rest();
        let told = frames.iter().find(|frame| frame.kind == GOAWAY);
        assert!(told.is_none_or(|told| told.code() == ENHANCE_YOUR_CALM), "{told:?}");
        let mut next = setup.client();
        next.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let mut server = setup.accept(&[]);
        let (stream, _) = server.request();
        server.answer(stream, "204");
        assert_eq!(next.head().status(), 204);
    }
}

#[test]
fn informational_responses_without_an_end_are_a_502() {
    let setup = Setup::with(1, "retries = 0");
    let (mut client, mut server, stream) = open(&setup);
    let early = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "103"), ("x-a", &"b".repeat(1000))]));
    let _ = server.wire.try_send(early.repeat(2_000));
    let status = loop {
        let status = client.head().status();
        if status != 103 {
            break status;
        }
    };
    assert_eq!(status, 502);
}

#[test]
fn a_rule_that_is_broken_ends_the_connection_with_its_code() {
    let block = block(&[(":status", "200")]);
    for (what, code, octets) in [
        ("a push", 1, frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block].concat())),
        ("HEADERS of a stream that was not opened", 1, frame(HEADERS, END_HEADERS, 7, &block)),
        ("DATA of a stream that was not opened", 1, frame(DATA, 0, 7, b"x")),
        ("SETTINGS that take pushes", 1, frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1])),
        ("a window that is too large", 3, frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255])),
        ("a frame that is too large", 6, frame(DATA, 0, 1, &[0; 16_385])),
        ("CONTINUATION of nothing", 1, frame(9, END_HEADERS, 1, &block)),
        ("HPACK that is broken", 9, frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("GOAWAY that is short", 6, frame(GOAWAY, 0, 0, b"1234")),
    ] {
        let setup = Setup::with(1, "retries = 0");
        let (mut client, mut server, _) = open(&setup);
        server.wire.send(octets);
        assert_eq!(client.head().status(), 502, "{what}");
        assert_eq!(server.goes_away(), code, "{what}");
    }
}

#[test]
fn a_server_that_takes_nothing_of_what_it_asks_for_costs_little() {
    let setup = Setup::with(1, "retries = 0");
    let (_client, mut server, stream) = open(&setup);
    server.head(stream, &[(":status", "200")]);
    let before = setup.proxy.memory();
    // answers to PING gather while the server reads nothing
    for _ in 0..100 {
        if server.wire.try_send(frame(PING, 0, 0, b"12345678").repeat(1_000)).is_err() {
            break;
        }
    }
    assert!(setup.proxy.memory() < before + (8 << 20));
}

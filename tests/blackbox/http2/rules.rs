//! What must not pass: malformed requests end their streams, and what the connection cannot survive ends it.

use crate::http2::Setup;
use crate::http2::client::*;

#[test]
fn a_malformed_request_resets_its_stream_and_reaches_no_server() {
    let setup = Setup::new();
    let mut client = setup.client();
    let of = |change: &[(&'static str, &'static str)]| [&request("GET", "a.test", "/")[..], change].concat();
    let without =
        |name: &str| -> Vec<_> { request("GET", "a.test", "/").into_iter().filter(|field| field.0 != name).collect() };
    let with = |name: &str, value: &'static str| -> Vec<_> {
        let fields = request("GET", "a.test", "/").into_iter();
        fields.map(|field| if field.0 == name { (field.0, value) } else { field }).collect()
    };
    let cases = [
        of(&[("X-A", "1")]),
        of(&[("x a", "1")]),
        of(&[("x:a", "1")]),
        of(&[("", "1")]),
        of(&[("x-a", "1\r\nx-b: 2")]),
        of(&[("x-a", "1\n")]),
        of(&[("x-a", "\0")]),
        of(&[("x-a", " 1")]),
        of(&[("connection", "close")]),
        of(&[("keep-alive", "1")]),
        of(&[("proxy-connection", "close")]),
        of(&[("transfer-encoding", "chunked")]),
        of(&[("upgrade", "websocket")]),
        of(&[("te", "gzip")]),
        of(&[("host", "b.test")]),
        of(&[("content-length", "5")]),
        of(&[("content-length", "+0")]),
        of(&[(":path", "/b")]),
        of(&[(":protocol", "websocket")]),
        of(&[("x-a", "1"), (":status", "200")]),
        without(":method"),
        without(":scheme"),
        without(":path"),
        with(":path", ""),
        with(":path", "b"),
        with(":path", "/a b"),
        with(":path", "/a\r\nx: y"),
        with(":scheme", "ftp"),
        with(":method", "G T"),
        with(":authority", "a.test/b"),
        with(":authority", "user@a.test"),
        with(":authority", "a.test\r\nx: y"),
    ];
    let mut stream = 1;
    for fields in cases {
        client.send(HEADERS, WHOLE, stream, &block(&fields));
        let response = client.response(stream);
        assert_eq!((response.reset, &response.fields[..]), (Some(1), ""), "{fields:?}");
        stream += 2;
    }
    setup.server.assert_untouched();
}

#[test]
fn a_request_that_is_refused_is_told_why_and_the_connection_goes_on() {
    let setup = Setup::new();
    let mut client = setup.client_of("narrow");
    let (large, long) = ("v".repeat(3000), format!("/{}", "v".repeat(200)));
    let cases = [
        (vec![(":method", "GET"), (":scheme", "http"), (":path", "/")], "400"),
        (vec![(":method", "CONNECT"), (":authority", "a.test:443")], "405"),
        ([&request("GET", "a.test", "/")[..], &[("x-large", &large)]].concat(), "431"),
        ([&request("GET", "a.test", "/")[..], &[("x", "y"); 9]].concat(), "431"),
        (request("GET", "a.test", &long), "414"),
        ([&request("GET", "a.test", "/")[..], &[("expect", "more")]].concat(), "417"),
        (request("GET", "nobody.test", "/"), "404"),
        (request("GET", "a,b", "/"), "400"),
    ];
    let mut stream = 1;
    for (fields, status) in cases {
        client.send(HEADERS, WHOLE, stream, &block(&fields));
        let response = client.response(stream);
        assert_eq!((response.status(), response.reset), (status, None), "{fields:?}");
        assert!(!response.body.is_empty());
        stream += 2;
    }
    setup.server.assert_untouched();
    client.get(stream, "a.test", "/");
    setup.answers("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response(stream).status(), "204");
}

#[test]
fn a_head_above_the_limit_in_several_frames_is_431() {
    let setup = Setup::new();
    let mut client = setup.client_of("narrow");
    let large = "v".repeat(30_000);
    let fields = block(&[&request("GET", "a.test", "/")[..], &[("x-large", &large)]].concat());
    client.send(HEADERS, END_STREAM, 1, &fields[..10_000]);
    client.send(CONTINUATION, 0, 1, &fields[10_000..20_000]);
    client.send(CONTINUATION, END_HEADERS, 1, &fields[20_000..]);
    assert_eq!(client.response(1).status(), "431");
}

#[test]
fn a_stream_above_the_limit_is_refused_and_may_be_tried_again() {
    let setup = Setup::new();
    let mut client = setup.client_of("narrow");
    let mut servers = Vec::new();
    for stream in [1, 3] {
        client.get(stream, "a.test", "/");
        let mut server = setup.server.accept();
        server.head();
        servers.push(server);
    }
    client.get(5, "a.test", "/");
    assert_eq!(client.response(5).reset, Some(7));
    servers[0].send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response(1).status(), "204");
    client.get(7, "a.test", "/");
    servers[0].head();
}

#[test]
fn what_breaks_the_connection_ends_it_with_its_code() {
    let setup = Setup::new();
    let cases: [(&str, Vec<u8>, u32); 6] = [
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x"), 1),
        ("HEADERS on an even stream", frame(HEADERS, WHOLE, 2, &block(&request("GET", "a.test", "/"))), 1),
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 16_385]), 6),
        ("a malformed field block", frame(HEADERS, WHOLE, 1, &[0xff; 3]), 9),
        ("a window above 2^31 - 1", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()), 3),
        ("CONTINUATION of nothing", frame(CONTINUATION, 4, 1, &[]), 1),
    ];
    for (what, octets, code) in cases {
        let mut client = setup.client();
        client.wire.send(octets);
        assert_eq!(client.goes_away(), code, "{what}");
    }
    setup.server.assert_untouched();
}

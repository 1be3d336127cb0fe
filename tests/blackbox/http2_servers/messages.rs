//! Requests and responses, whatever the client speaks.

use super::{ServerSide, Setup};
use crate::http2::client::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WHOLE, block, request};

#[test]
fn a_request_and_its_response_pass_for_clients_of_both_versions() {
    let setup = Setup::new();
    let mut old = setup.client();
    old.send("POST /p?q HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nX-Name: Value\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nhello");
    let mut server = setup.accept(&[]);
    let (stream, fields) = server.request();
    assert!(fields.starts_with(":method: POST\n:scheme: http\n:authority: a.test\n:path: /p?q\n"), "{fields}");
    assert!(fields.contains("x-name: Value\n") && fields.contains("content-length: 5\n"), "{fields}");
    for gone in ["connection", "x-hop", "host:", "transfer-encoding", "te:"] {
        assert!(!fields.contains(&format!("\n{gone}")), "{gone} in {fields}");
    }
    let body = server.next(DATA);
    assert_eq!((body.stream, &body.payload[..], body.ends()), (stream, &b"hello"[..], true));
    server.head(stream, &[(":status", "201"), ("content-type", "text/plain"), ("x-answer", "Yes")]);
    server.send(DATA, 0, stream, b"one ");
    server.send(DATA, END_STREAM, stream, b"two");
    let head = old.head();
    assert_eq!(
        (head.status(), head.field("x-answer"), head.field("transfer-encoding")),
        (201, Some("Yes"), Some("chunked"))
    );
    assert_eq!(old.chunks().0, b"one two");

    let mut new = setup.h2();
    new.send(HEADERS, END_HEADERS, 1, &block(&request("POST", "a.test", "/")));
    new.send(DATA, END_STREAM, 1, b"from HTTP/2");
    let (stream, fields) = server.request();
    assert_eq!(stream, 3, "over the same connection");
    assert!(!fields.contains("content-length"), "{fields}");
    let body = server.find(|frame| frame.kind == DATA && frame.stream == stream && !frame.payload.is_empty());
    assert_eq!(body.payload, b"from HTTP/2");
    server.head(stream, &[(":status", "200"), ("content-length", "3")]);
    server.send(DATA, END_STREAM, stream, b"yes");
    let response = new.response(1);
    assert_eq!((response.status(), &response.body[..]), ("200", &b"yes"[..]));
}

#[test]
fn trailers_pass_both_ways() {
    let setup = Setup::new();
    let mut client = setup.h2();
    let fields = [&request("POST", "a.test", "/")[..], &[("te", "trailers")]].concat();
    client.send(HEADERS, END_HEADERS, 1, &block(&fields));
    client.send(DATA, 0, 1, b"body");
    client.send(HEADERS, WHOLE, 1, &block(&[("x-sum", "of the request")]));
    let mut server = setup.accept(&[]);
    let (stream, fields) = server.request();
    assert!(fields.contains("\nte: trailers\n"), "{fields}");
    assert_eq!(server.next(DATA).payload, b"body");
    let trailers = server.next(HEADERS);
    assert!(trailers.ends());
    assert_eq!(server.fields(&trailers.payload), "x-sum: of the request\n");
    server.head(stream, &[(":status", "200")]);
    server.send(DATA, 0, stream, b"answer");
    server.send(HEADERS, WHOLE, stream, &block(&[("x-sum", "of the response")]));
    let response = client.response(1);
    assert_eq!((&response.body[..], &response.trailers[..]), (&b"answer"[..], "x-sum: of the response\n"));

    let mut old = setup.client();
    old.send("POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n");
    old.send("4\r\nbody\r\n0\r\nX-Sum: chunked\r\n\r\n");
    let (stream, _) = server.request();
    server.find(|frame| frame.kind == DATA && frame.stream == stream);
    let trailers = server.next(HEADERS);
    assert_eq!(server.fields(&trailers.payload), "x-sum: chunked\n");
    server.head(stream, &[(":status", "200")]);
    server.send(HEADERS, WHOLE, stream, &block(&[("x-sum", "of the response")]));
    assert_eq!(old.head().status(), 200);
    assert_eq!(old.chunks().1, "x-sum: of the response\r\n");
}

#[test]
fn informational_responses_pass_and_an_expectation_is_answered_by_the_server() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let mut server = setup.accept(&[]);
    let (stream, fields) = server.request();
    assert!(fields.contains("\nexpect: 100-continue\n"), "{fields}");
    server.head(stream, &[(":status", "103"), ("link", "</a.css>; rel=preload")]);
    let early = client.head();
    assert_eq!((early.status(), early.field("link")), (103, Some("</a.css>; rel=preload")));
    server.head(stream, &[(":status", "100")]);
    assert_eq!(client.head().status(), 100);
    client.send("body");
    assert_eq!(server.next(DATA).payload, b"body");
    server.answer(stream, "200");
    let head = client.head();
    assert_eq!((head.status(), head.field("content-length")), (200, Some("0")));
}

#[test]
fn a_response_that_breaks_a_rule_is_a_502_and_its_stream_is_reset() {
    let setup = Setup::new();
    let mut first = setup.client();
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    server.answer(stream, "200");
    assert_eq!(first.head().status(), 200);
    let broken: &[&[(&str, &str)]] = &[
        &[("x-no-status", "1")],
        &[(":status", "20")],
        &[(":status", "101")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), ("Upper", "1")],
        &[(":status", "200"), ("x-a", "b\r\nx-c: d")],
        &[(":status", "200"), ("x-a", " b")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("keep-alive", "timeout=1")],
        &[(":status", "200"), ("x-a", "b"), (":path", "/")],
        &[(":status", "200"), (":method", "GET")],
        &[(":status", "200"), ("content-length", "-1")],
    ];
    for fields in broken {
        let mut client = setup.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let (stream, _) = server.request();
        server.send(HEADERS, END_HEADERS, stream, &block(fields));
        assert_eq!(client.head().status(), 502, "{fields:?}");
        assert_eq!(server.next(RST_STREAM).number(), 1, "{fields:?}");
    }
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (stream, _) = server.request();
    server.answer(stream, "200");
    assert_eq!(first.head().status(), 200, "the connection goes on");
}

#[test]
fn a_body_of_another_length_than_it_says_is_no_whole_response() {
    let setup = Setup::new();
    let mut client = setup.h2();
    client.get(1, "a.test", "/");
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    server.head(stream, &[(":status", "200"), ("content-length", "10")]);
    server.send(DATA, END_STREAM, stream, b"short");
    let response = client.response(1);
    assert!(response.reset.is_some(), "{response:?}");
    client.get(3, "a.test", "/");
    let (stream, _) = server.request();
    server.head(stream, &[(":status", "200"), ("content-length", "2")]);
    server.send(DATA, 0, stream, b"far too long");
    let response = client.response(3);
    assert!(response.reset.is_some(), "{response:?}");
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    server.send(HEADERS, WHOLE, stream, &block(&[(":status", "200"), ("content-length", "1000")]));
    let head = client.head();
    assert_eq!((head.status(), head.field("content-length")), (200, Some("1000")));
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (stream, _) = server.request();
    server.send(HEADERS, WHOLE, stream, &block(&[(":status", "304"), ("etag", "\"a\"")]));
    assert_eq!(client.head().status(), 304);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (stream, _) = server.request();
    server.head(stream, &[(":status", "204")]);
    server.send(DATA, END_STREAM, stream, b"");
    assert_eq!(client.head().status(), 204);
}

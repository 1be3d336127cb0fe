//! Where the body of a request ends (RFC 9112 §6): one framing, one meaning, for every parser behind the proxy.

use crate::support::Site;

/// A POST with these fields, each with its line end, and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: $host\r\n{fields}\r\n{body}")
}

const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";

#[test]
fn length_and_chunked_together_are_refused() {
    let site = Site::new();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: nonsense\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ] {
        site.assert_refused(post(fields, CHUNKED), 400);
    }
}

#[test]
fn a_transfer_encoding_other_than_exactly_chunked_is_refused() {
    let site = Site::new();
    for value in [
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "chunked;q=1",
        "\tchunked",
        "chunked\t",
        "\x0bchunked",
        "\"chunked\"",
        "chunked,",
        "",
    ] {
        site.assert_refused(post(&format!("Transfer-Encoding: {value}\r\n"), CHUNKED), 400);
    }
    site.assert_refused(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED), 400);
    site.assert_refused(post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", CHUNKED), 400);
    site.assert_refused(post("Transfer-Encoding:\r\n chunked\r\n", CHUNKED), 400);
}

#[test]
fn an_unknown_transfer_coding_is_not_implemented() {
    let site = Site::new();
    site.assert_refused(post("Transfer-Encoding: xchunked\r\n", CHUNKED), 501);
    site.assert_refused(post("Transfer-Encoding: gzip\r\n", CHUNKED), 501);
}

#[test]
fn http_1_0_has_no_transfer_encoding() {
    let site = Site::new();
    site.assert_refused(format!("POST / HTTP/1.0\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"), 400);
}

#[test]
fn a_length_that_two_parsers_could_read_differently_is_refused() {
    let site = Site::new();
    for value in ["2, 2", "+2", "-2", "0x2", "2 2", "", "2.0", "9223372036854775808", "18446744073709551615", "2;"] {
        site.assert_refused(post(&format!("Content-Length: {value}\r\n"), "ok"), 400);
    }
    site.assert_refused(post("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), 400);
    site.assert_refused(post("Content-Length: 2\r\nContent-Length: 3\r\n", "ok!"), 400);
}

#[test]
fn a_body_goes_on_as_long_as_it_said() {
    let site = Site::new();
    let mut client = site.client();
    client.send(post("Content-Length: 0005\r\n", "hello"));
    let mut server = site.server.accept();
    let head = server.head();
    assert_eq!((head.field("content-length"), head.has("transfer-encoding")), (Some("5"), false));
    server.expect("hello");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_chunked_body_goes_on_chunked_without_its_extensions() {
    let site = Site::new();
    let mut client = site.client();
    client.send(post("Transfer-Encoding: Chunked\r\n", "5;a=b;c=\"d\"\r\nhello\r\n0001\r\n!\r\n000;last\r\n\r\n"));
    let mut server = site.server.accept();
    let head = server.head();
    assert_eq!((head.field("transfer-encoding"), head.has("content-length")), (Some("chunked"), false));
    let (payload, trailers) = server.chunks();
    assert_eq!((payload.as_slice(), trailers.as_str()), (&b"hello!"[..], ""));
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn an_empty_body_of_length_zero_says_so_to_the_server() {
    let site = Site::new();
    let head = site.sees(&post("Content-Length: 0\r\n", ""));
    assert_eq!(head.field("content-length"), Some("0"));
}

#[test]
fn a_get_with_a_body_keeps_it() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let mut server = site.server.accept();
    assert_eq!(server.head().field("transfer-encoding"), Some("chunked"));
    assert_eq!(server.chunks().0, b"hello");
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

/// What is wrong may come after the head went to a server: then the server never gets an end of the body.
#[test]
fn a_broken_chunk_never_reaches_a_server_as_the_end_of_a_body() {
    let site = Site::new();
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5 \nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n",
        "5\r\nhello\r\n0\r\n\rX",
    ] {
        let mut client = site.client();
        client.send(post("Transfer-Encoding: chunked\r\n", body));
        let answer = client.answer();
        assert_eq!(answer.status(), 400, "{body:?}");
        assert!(answer.says_close(), "{body:?}");
        let (rest, _) = client.rest();
        assert!(rest.is_empty(), "{body:?}");
        let (seen, _) = site.server.accept().rest();
        let seen = String::from_utf8_lossy(&seen);
        assert!(!seen.ends_with("0\r\n\r\n"), "{body:?} became {seen:?}");
    }
}

#[test]
fn white_space_behind_a_chunk_size_is_none_of_the_body_both_ways() {
    let body = |end: &str| format!("5{end}\r\nhello\r\n1\t ; a = \"b c\" ;d{end}\r\n!\r\n0{end}\r\n\r\n");
    let site = Site::new();
    let mut client = site.client();
    client.send(post("Transfer-Encoding: chunked\r\n", &body("")));
    let mut server = site.server.accept();
    server.head();
    assert_eq!(server.chunks().0, b"hello!");
    server.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", body(" \t")));
    assert_eq!(client.answer().text(), "hello!");
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    server.head();
}

#[test]
fn white_space_that_ends_the_line_of_a_chunk_size_of_a_client_is_400() {
    for size in ["5 ", "5\t", "5;a ", "5;a=\"b\" "] {
        let site = Site::new();
        let mut client = site.client();
        client.send(post("Transfer-Encoding: chunked\r\n", &format!("{size}\r\nhello\r\n0\r\n\r\n")));
        let answer = client.answer();
        assert_eq!(answer.status(), 400, "{size:?}");
        assert!(answer.says_close() && answer.text().contains("white space"), "{size:?}");
    }
}

#[test]
fn chunk_extensions_are_bounded() {
    let site = Site::new();
    let mut client = site.client();
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    client.send(post("Transfer-Encoding: chunked\r\n", &chunk.repeat(9)));
    assert_eq!(client.answer().status(), 400);
}

#[test]
fn the_reason_of_a_broken_body_is_said() {
    let site = Site::new();
    let mut client = site.client();
    client.send(post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"));
    let text = client.answer().text();
    assert!(text.contains("chunk size"), "{text}");
}

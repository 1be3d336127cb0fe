//! Fields after a chunked body, both ways.

use crate::support::Site;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";

#[test]
fn trailers_of_a_request_go_on() {
    let site = Site::new();
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n",
    );
    let mut server = site.server.accept();
    server.head();
    let (payload, trailers) = server.chunks();
    assert_eq!((payload.as_slice(), trailers.to_lowercase().as_str()), (&b"hello"[..], "x-sum: 1\r\nx-b: 2\r\n"));
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn trailers_of_a_request_that_route_frame_or_authenticate_are_dropped() {
    let site = Site::new();
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: a\r\n\
         X-Forwarded-For: 6.6.6.6\r\nConnection: x\r\nCookie: b\r\nX-Request-Id: c\r\nX_Forwarded_For: d\r\n\
         X-Good: e\r\n\r\n",
    );
    let mut server = site.server.accept();
    server.head();
    assert_eq!(server.chunks().1.to_lowercase(), "x-good: e\r\n");
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn trailers_of_a_response_go_to_a_client_that_takes_them() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send(format!("{CHUNKED}Trailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"));
    let head = client.head();
    assert!(head.field("trailer").is_some_and(|value| value.eq_ignore_ascii_case("x-sum")), "{}", head.text());
    let (payload, trailers) = client.chunks();
    assert_eq!((payload.as_slice(), trailers.to_lowercase().as_str()), (&b"hello"[..], "x-sum: 1\r\n"));
}

#[test]
fn a_client_that_takes_no_trailers_gets_none() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send(format!("{CHUNKED}Trailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"));
    client.head();
    assert_eq!(client.chunks(), (b"hello".to_vec(), String::new()));
}

#[test]
fn trailers_of_a_response_that_frame_it_are_dropped() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send(format!(
        "{CHUNKED}Trailer: Content-Length, Set-Cookie, X-Sum\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\n\
         Set-Cookie: a\r\nX-Sum: 1\r\n\r\n"
    ));
    client.head();
    assert_eq!(client.chunks().1.to_lowercase(), "x-sum: 1\r\n");
}

#[test]
fn the_connection_goes_on_after_trailers() {
    let site = Site::new();
    let mut client = site.client();
    let mut server = None;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: $host\r\nTE: trailers\r\nConnection: te\r\n\r\n");
        let server = server.get_or_insert_with(|| site.server.accept());
        server.head();
        server.send(format!("{CHUNKED}Trailer: X-Sum\r\n\r\n0\r\nX-Sum: 1\r\n\r\n"));
        client.head();
        assert_eq!(client.chunks().1.to_lowercase(), "x-sum: 1\r\n");
    }
}

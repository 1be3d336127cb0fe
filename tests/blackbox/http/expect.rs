//! `Expect: 100-continue` (RFC 9110 §10.1.1).

use crate::support::{Proxy, Site};

const POST: &str = "POST / HTTP/1.1\r\nHost: $host\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn a_client_that_waits_is_told_to_go_on_when_the_server_says_so() {
    let site = Site::new();
    let mut client = site.client();
    client.send(POST);
    let mut server = site.server.accept();
    assert_eq!(server.head().field("expect"), Some("100-continue"));
    client.assert_silent();
    server.send("HTTP/1.1 102 Processing\r\n\r\n");
    client.expect("HTTP/1.1 102 Processing\r\n\r\n");
    client.assert_silent();
    server.send(CONTINUE);
    client.expect(CONTINUE);
    client.send("hello");
    server.expect("hello");
    server.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.head.field("x-a"), answer.says_close()), (200, Some("b"), false));
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert!(!server.head().has("expect"));
}

#[test]
fn a_client_is_told_to_go_on_when_the_server_says_nothing() {
    let site = Site::new();
    let mut client = site.client();
    client.send(POST);
    let mut server = site.server.accept();
    server.head();
    client.expect(CONTINUE);
    server.send(CONTINUE);
    client.assert_silent();
    client.send("hello");
    server.expect("hello");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_server_that_wants_no_body_gets_none_and_its_answer_comes_at_once() {
    let site = Site::new();
    for (framing, status) in [
        ("Content-Length: 29000000", 401),
        ("Content-Length: 29000000", 413),
        ("Transfer-Encoding: chunked", 417),
        ("Transfer-Encoding: chunked", 200),
    ] {
        let mut client = site.client();
        client.send(POST.replace("Content-Length: 5", framing));
        let mut server = site.server.accept();
        server.head();
        server.send(format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno"));
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text().as_str(), answer.says_close()), (status, "no", true));
        client.assert_closed();
        server.assert_closed();
    }
}

#[test]
fn a_server_of_http_1_0_is_not_asked_whether_it_wants_a_body() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.answer();
    client.send(POST);
    let mut server = site.server.accept();
    assert!(!server.head().has("expect"));
    client.expect(CONTINUE);
    client.send("hello");
    server.expect("hello");
}

#[test]
fn a_client_that_does_not_wait_is_served_all_the_same() {
    let site = Site::new();
    let mut client = site.client();
    client.send(format!("{POST}hello"));
    let mut server = site.server.accept();
    assert!(!server.head().has("expect"));
    server.expect("hello");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut head = client.head();
    if head.status() == 100 {
        head = client.head();
    }
    assert_eq!(head.status(), 200);
}

#[test]
fn an_expectation_other_than_100_continue_fails() {
    let site = Site::new();
    for expect in ["200-ok", "100-continue, x", "100-continue=1", "x"] {
        let request = format!("POST / HTTP/1.1\r\nHost: $host\r\nExpect: {expect}\r\nContent-Length: 5\r\n\r\n");
        site.assert_refused(request, 417);
    }
}

#[test]
fn http_1_0_and_requests_without_a_body_get_no_100() {
    let site = Site::new();
    for request in [
        "GET / HTTP/1.1\r\nHost: $host\r\nExpect: 100-continue\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: $host\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: $host\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let (head, answer) = site.exchange(request, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(answer.status(), 200, "{request:?}");
        assert!(!head.has("expect"));
    }
}

#[test]
fn a_body_that_is_refused_by_its_length_is_never_asked_for() {
    let site = Site::new();
    let mut client = site.client();
    client.send(POST.replace("Content-Length: 5", "Content-Length: 99999999999"));
    let answer = client.answer();
    assert_eq!(answer.status(), 413);
    assert!(answer.says_close());
    client.assert_closed();
    site.server.assert_untouched();
}

#[test]
fn a_client_is_not_told_to_go_on_when_no_server_is_there() {
    let refused = crate::support::free_address();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{refused}\"]\nretries = 0\n"));
    let mut client = proxy.client().of_host("a");
    client.send(POST);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (502, true));
    client.assert_closed();
}

#[test]
fn a_client_is_told_to_go_on_once_however_many_servers_are_tried() {
    let site = Site::new();
    let mut client = site.client();
    client.send(POST.replace("POST", "PUT"));
    let mut server = site.server.accept();
    server.head();
    client.expect(CONTINUE);
    drop(server);
    let mut again = site.server.accept();
    assert!(!again.head().has("expect"), "the client sends it now");
    client.send("hello");
    again.expect("hello");
    again.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.head().status(), 200);
}

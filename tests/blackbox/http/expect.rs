//! `Expect: 100-continue` (RFC 9110 §10.1.1).

use crate::support::{Proxy, Site};

const POST: &str = "POST / HTTP/1.1\r\nHost: $host\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn a_client_that_waits_is_told_to_go_on_once_a_server_is_there() {
    let site = Site::new();
    let mut client = site.client();
    client.send(POST);
    let mut server = site.server.accept();
    let head = server.head();
    assert!(!head.has("expect"), "{}", head.text());
    client.expect(CONTINUE);
    client.send("hello");
    server.expect("hello");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok");
    let head = client.head();
    assert_eq!((head.status(), head.field("x-a")), (200, Some("b")));
}

#[test]
fn a_servers_own_100_is_not_a_second_one() {
    let site = Site::new();
    let mut client = site.client();
    client.send(POST);
    let mut server = site.server.accept();
    server.head();
    server.send(CONTINUE);
    client.expect(CONTINUE);
    client.send("hello");
    server.expect("hello");
    server.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.head().status(), 200);
}

#[test]
fn a_client_that_does_not_wait_is_served_all_the_same() {
    let site = Site::new();
    let mut client = site.client();
    client.send(format!("{POST}hello"));
    let mut server = site.server.accept();
    server.head();
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
    again.head();
    client.send("hello");
    again.expect("hello");
    again.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.head().status(), 200);
}

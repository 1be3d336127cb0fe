//! Several requests at once on one connection: answered one by one, in their order.

use crate::support::Site;

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let site = Site::new();
    let mut client = site.client();
    let requests: String = (0..10).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: $host\r\n\r\n")).collect();
    client.send(requests);
    let mut server = site.server.accept();
    for number in 0..10 {
        assert_eq!(server.head().line(), format!("GET /{number} HTTP/1.1"));
        server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"));
    }
    for number in 0..10 {
        assert_eq!(client.answer().text(), number.to_string());
    }
    client.assert_silent();
}

#[test]
fn a_pipelined_request_is_not_sent_before_the_answer_to_the_one_before() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET /1 HTTP/1.1\r\nHost: $host\r\n\r\nGET /2 HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.assert_silent();
    site.server.assert_untouched();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(server.head().line(), "GET /2 HTTP/1.1");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    assert_eq!((client.answer().text(), client.answer().text()), ("1".into(), "2".into()));
}

#[test]
fn requests_with_bodies_are_pipelined_too() {
    let site = Site::new();
    let mut client = site.client();
    client.send(
        "POST /1 HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\nhello\
         POST /2 HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
         GET /3 HTTP/1.1\r\nHost: $host\r\n\r\n",
    );
    let mut server = site.server.accept();
    assert_eq!(server.head().line(), "POST /1 HTTP/1.1");
    server.expect("hello");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(server.head().line(), "POST /2 HTTP/1.1");
    assert_eq!(server.chunks().0, b"hi");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    assert_eq!(server.head().line(), "GET /3 HTTP/1.1");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3");
    for number in 1..4 {
        assert_eq!(client.answer().text(), number.to_string());
    }
}

#[test]
fn a_bad_request_behind_a_good_one_is_answered_after_it() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET /1 HTTP/1.1\r\nHost: $host\r\n\r\nGET /2 HTTP/1.1\r\nHost : $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(client.answer().text(), "1");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (400, true));
    client.assert_closed();
}

#[test]
fn what_follows_a_request_that_says_close_is_not_served() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET /1 HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(client.answer().text(), "1");
    client.assert_closed();
    server.assert_silent();
    site.server.assert_untouched();
}

#[test]
fn a_pipeline_that_ends_with_fin_is_answered_whole() {
    let site = Site::new();
    let mut client = site.client_of("patient");
    client.send("GET /1 HTTP/1.1\r\nHost: $host\r\n\r\nGET /2 HTTP/1.1\r\nHost: $host\r\n\r\n");
    client.finish();
    let mut server = site.server.accept();
    for number in 1..3 {
        assert_eq!(server.head().line(), format!("GET /{number} HTTP/1.1"));
        server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"));
        assert_eq!(client.answer().text(), number.to_string());
    }
    client.assert_closed();
}

#[test]
fn many_pipelined_requests_do_not_pile_up_in_the_proxy() {
    let site = Site::new();
    let mut client = site.client();
    let padding = "p".repeat(1000);
    let request = format!("GET / HTTP/1.1\r\nHost: $host\r\nX-P: {padding}\r\n\r\n");
    client.send(request.repeat(200));
    let mut server = site.server.accept();
    for _ in 0..200 {
        server.head();
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}

//! Fields that are for one connection only (RFC 9110 §7.6.1), and those that go on.

use crate::support::{Head, Proxy, Site, free_address};

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: $host\r\n{lines}\r\n")
}

#[test]
fn hop_by_hop_fields_of_a_request_end_here() {
    let site = Site::new();
    let head = site.sees(&get("Connection: close\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic x\r\nProxy-Authenticate: y\r\nTE: gzip\r\nTrailer: x\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nAccept: a\r\n"));
    for gone in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "te",
        "trailer",
        "upgrade",
        "transfer-encoding",
    ] {
        assert!(!head.has(gone), "{gone} is there: {}", head.text());
    }
    assert_eq!(head.field("accept"), Some("a"));
}

#[test]
fn fields_that_connection_names_end_here_over_several_lines_too() {
    let site = Site::new();
    let head = site.sees(&get("X-A: 1\r\nConnection: x-a, close\r\nX-B: 2\r\nconnection: X-B,, \t\r\nX-C: 3\r\n"));
    assert!(!head.has("x-a") && !head.has("x-b") && !head.has("connection"), "{}", head.text());
    assert_eq!(head.field("x-c"), Some("3"));
}

#[test]
fn connection_cannot_remove_what_frames_routes_or_authenticates() {
    let site = Site::new();
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: $host\r\nConnection: host, content-length, authorization, cookie, \
         x-forwarded-for, x-request-id, content-type\r\nContent-Length: 2\r\nAuthorization: a\r\nCookie: b\r\n\
         Content-Type: c\r\n\r\nok",
    );
    let mut server = site.server.accept();
    let head = server.head();
    for kept in ["host", "content-length", "authorization", "cookie", "content-type", "x-forwarded-for", "x-request-id"]
    {
        assert!(head.field(kept).is_some(), "{kept} is gone: {}", head.text());
    }
    server.expect("ok");
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn te_goes_on_as_trailers_alone_and_announced() {
    let site = Site::new();
    let head = site.sees(&get("TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n"));
    assert_eq!((head.field("te"), head.field("connection")), (Some("trailers"), Some("te")));
}

#[test]
fn an_upgrade_that_is_not_asked_for_in_connection_does_not_go_on() {
    let site = Site::new();
    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: close\r\nUpgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: h2c, HTTP/2.0\r\n",
    ] {
        let head = site.sees(&get(lines));
        assert!(!head.has("upgrade") && !head.has("connection"), "{lines:?} became {}", head.text());
    }
}

#[test]
fn http2_settings_never_go_on() {
    let head = Site::new().sees(&get("HTTP2-Settings: AAMAAABk\r\n"));
    assert!(!head.has("http2-settings"), "{}", head.text());
}

#[test]
fn hop_by_hop_fields_of_a_response_end_here() {
    let site = Site::new();
    let (_, answer) = site.exchange(
        &get(""),
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-A\r\nKeep-Alive: timeout=5\r\nX-A: 1\r\nConnection: x-b\r\n\
         X-B: 2\r\nProxy-Authenticate: y\r\nProxy-Connection: z\r\nUpgrade: h2c\r\nTrailer: x\r\nTE: a\r\nX-C: 3\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    for gone in ["connection", "keep-alive", "x-a", "x-b", "proxy-authenticate", "proxy-connection", "upgrade", "te"] {
        assert!(!answer.head.has(gone), "{gone} is there: {}", answer.head.text());
    }
    assert_eq!((answer.head.field("x-c"), answer.text().as_str()), (Some("3"), "ok"));
}

#[test]
fn a_server_cannot_remove_what_frames_its_response() {
    let site = Site::new();
    let response = "HTTP/1.1 200 OK\r\nConnection: content-length, set-cookie, content-type\r\nContent-Length: 2\r\n\
                    Set-Cookie: a\r\nContent-Type: b\r\n\r\nok";
    let (_, answer) = site.exchange(&get(""), response);
    assert_eq!(answer.text(), "ok");
    assert!(answer.head.has("set-cookie") && answer.head.has("content-type"), "{}", answer.head.text());
}

#[test]
fn a_servers_close_is_not_the_clients() {
    let site = Site::new();
    let mut client = site.client();
    for _ in 0..2 {
        client.send(get(""));
        let mut server = site.server.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        server.finish();
        let answer = client.answer();
        assert!(!answer.says_close());
        server.assert_closed();
    }
}

#[test]
fn names_with_underscores_that_servers_take_for_others_are_dropped() {
    let site = Site::new();
    let head = site.sees(&get("X_Forwarded_For: 1.2.3.4\r\nX_Real-IP: 1.2.3.4\r\nContent_Length: 5\r\n\
         Transfer_Encoding: chunked\r\nX-Request_Id: a\r\nmy_field: b\r\n"));
    for gone in ["x_forwarded_for", "x_real-ip", "content_length", "transfer_encoding", "x-request_id"] {
        assert!(!head.has(gone), "{gone} is there: {}", head.text());
    }
    assert_eq!(head.field("my_field"), Some("b"));
}

#[test]
fn repeated_fields_keep_their_order_both_ways() {
    let site = Site::new();
    let (head, answer) = site.exchange(
        &get("Cookie: a=1\r\nX-List: 1\r\nCookie: b=2\r\nX-List: 2\r\n"),
        "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-List: 1\r\nSet-Cookie: b\r\nX-List: 2\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(head.fields("x-list"), ["1", "2"]);
    assert_eq!(head.fields("cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.head.fields("set-cookie"), ["a", "b"]);
    assert_eq!(answer.head.fields("x-list"), ["1", "2"]);
}

#[test]
fn a_request_says_who_passed_it_on() {
    let site = Site::new();
    let head = site.sees(&get("Via: 1.0 other\r\n"));
    assert_eq!(head.fields("via"), ["1.0 other", "1.1 segue"]);
    let head = site.sees("GET / HTTP/1.0\r\nHost: $host\r\n\r\n");
    assert_eq!(head.fields("via"), ["1.0 segue"]);
}

#[test]
fn a_request_that_goes_in_circles_is_stopped() {
    let site = Site::new();
    let mut client = site.client();
    client.send(get(&format!("Via: {}\r\nVia: 1.1 segue\r\n", ["1.1 segue"; 7].join(", "))));
    let answer = client.answer();
    assert_eq!(answer.status(), 508);
    assert!(answer.text().contains("loop"), "{}", answer.text());
    site.server.assert_untouched();
}

#[test]
fn a_proxy_that_points_at_itself_finds_out() {
    let address = free_address();
    let config = format!("[listen.http]\n[listen.loop]\naddress = \"{address}\"\n[site.\"*\"]\nto = [\"{address}\"]\n");
    let proxy = Proxy::start(&config);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().status(), 508);
}

#[test]
fn the_date_of_a_response_is_the_servers() {
    let site = Site::new();
    let response = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: me\r\nContent-Length: 0\r\n\r\n";
    let (_, answer) = site.exchange(&get(""), response);
    assert_eq!(answer.head.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(answer.head.field("server"), Some("me"));
}

/// The lines of a head but for its first one and the empty one.
fn lines(head: &Head) -> Vec<&str> {
    head.text().split_terminator("\r\n").skip(1).filter(|line| !line.is_empty()).collect()
}

#[test]
fn fields_of_a_request_go_on_in_their_order_with_their_names_as_written() {
    let site = Site::new();
    let head = site.sees(&get("B-b: 1\r\na: 2\r\nConnection: x-c, Keep-Alive\r\nB-B: 3\r\nX-C: 4\r\n\
         Keep-Alive: 5\r\nX-Obs: \u{e4}\"\t;\r\nA: 6\r\n"));
    let lines = lines(&head);
    assert_eq!(lines[1..6], ["B-b: 1", "a: 2", "B-B: 3", "X-Obs: \u{e4}\"\t;", "A: 6"], "{}", head.text());
}

#[test]
fn fields_of_a_response_go_on_in_their_order_with_their_names_as_written() {
    let site = Site::new();
    let (_, answer) = site.exchange(
        &get(""),
        "HTTP/1.1 200 OK\r\nB-b: 1\r\nSet-Cookie: 2\r\nX-C: 3\r\nContent-Length: 2\r\nB-B: \u{e4}\t\"\r\n\
         Date: x\r\nConnection: x-c\r\nset-cookie: 4\r\n\r\nok",
    );
    let expected = ["B-b: 1", "Set-Cookie: 2", "Content-Length: 2", "B-B: \u{e4}\t\"", "Date: x", "set-cookie: 4"];
    assert_eq!(lines(&answer.head), expected, "{}", answer.head.text());
    assert_eq!(answer.text(), "ok");
}

#[test]
fn white_space_around_values_does_not_go_on() {
    let site = Site::new();
    let (head, answer) = site.exchange(
        &get("A:1\r\nB: \t2 \r\nC:\r\nD:\t3\t\r\n"),
        "HTTP/1.1 200 OK\r\nA:1\r\nB: \t2 \r\nC:\r\nD:\t3\t\r\nDate: x\r\nContent-Length:0\r\n\r\n",
    );
    assert_eq!(lines(&head)[1..5], ["A: 1", "B: 2", "C: ", "D: 3"], "{}", head.text());
    assert_eq!(lines(&answer.head)[..4], ["A: 1", "B: 2", "C: ", "D: 3"], "{}", answer.head.text());
}

#[test]
fn every_response_has_a_date() {
    let site = Site::new();
    let mut client = site.client();
    client.send(get(""));
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let relayed = client.answer();
    client.send("OPTIONS / HTTP/1.1\r\nHost: $host\r\nMax-Forwards: 0\r\n\r\n");
    let own = client.answer();
    client.send("nothing\r\n\r\n");
    let refusal = client.answer();
    for answer in [relayed, own, refusal] {
        let dates = answer.head.fields("date");
        assert!(matches!(dates[..], [date] if date.len() == 29 && date.ends_with(" GMT")), "{}", answer.head.text());
    }
}

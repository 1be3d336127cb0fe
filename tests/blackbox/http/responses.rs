//! Responses of servers: what breaks a rule is a 502, and never reaches a client as something else.

use crate::support::{Ending, Proxy, Server, Site};

const GET: &str = "GET / HTTP/1.1\r\nHost: $host\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: $host\r\n\r\n";

#[test]
fn a_response_that_breaks_a_rule_is_a_502() {
    let site = Site::new();
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
        "200 OK\r\nContent-Length: 2\r\n\r\nok",
        "<html>ok</html>\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    ] {
        // a POST, so that nothing is tried again
        let (_, answer) = site.exchange("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 0\r\n\r\n", response);
        assert_eq!(answer.status(), 502, "{response:?}");
        assert!(!answer.says_close(), "nothing is wrong with the client's connection: {response:?}");
        assert!(!answer.text().contains("ok"), "{response:?}");
    }
}

#[test]
fn an_informational_response_and_nothing_after_it_is_a_502() {
    let site = Site::new();
    for response in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Con"] {
        let mut client = site.client();
        client.send("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 0\r\n\r\n");
        let mut server = site.server.accept();
        server.head();
        server.send(response);
        drop(server);
        assert!(matches!(client.head().status(), 100 | 103));
        let answer = client.answer();
        assert!(answer.status() == 502 && !answer.says_close(), "{response:?}");
    }
}

#[test]
fn a_response_head_without_end_is_a_502() {
    let site = Site::new();
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(300));
    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(70_000));
    for response in [many, large] {
        let mut client = site.client();
        client.send(GET);
        let mut server = site.server.accept();
        server.head();
        let _ = server.try_send(response);
        assert_eq!(client.answer().status(), 502);
    }
}

#[test]
fn equal_lengths_are_one_length() {
    let site = Site::new();
    for fields in ["Content-Length: 2, 2\r\n", "Content-Length: 2\r\nContent-Length: 2\r\n", "Content-Length: 002\r\n"]
    {
        let (_, answer) = site.exchange(GET, &format!("HTTP/1.1 200 OK\r\n{fields}\r\nok"));
        assert_eq!((answer.head.field("content-length"), answer.text().as_str()), (Some("2"), "ok"));
    }
}

#[test]
fn informational_responses_are_never_the_final_one() {
    let site = Site::new();
    let response = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                    HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send(response);
    assert_eq!(client.head().status(), 100);
    let hints = client.head();
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a>")));
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
}

#[test]
fn a_client_of_http_1_0_gets_no_informational_response() {
    let site = Site::new();
    let response = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (_, answer) = site.exchange(&GET.replace("HTTP/1.1", "HTTP/1.0"), response);
    assert_eq!((answer.head.line(), answer.text().as_str()), ("HTTP/1.1 200 OK", "ok"));
}

#[test]
fn a_response_to_head_has_no_body_whatever_it_says() {
    let site = Site::new();
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let mut client = site.client();
        client.send(HEAD);
        let mut server = site.server.accept();
        assert_eq!(server.head().line(), "HEAD / HTTP/1.1");
        server.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        let head = client.head();
        assert_eq!(head.status(), 200);
        assert_eq!(head.has("content-length"), fields.starts_with("Content-Length"), "{}", head.text());
        client.assert_silent();
        client.send(HEAD);
        server.head();
        server.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.head().status(), 404);
    }
}

#[test]
fn any_number_of_informational_responses_may_come_and_so_many_bytes_of_them() {
    let site = Site::new();
    let hints = |count: usize, size: usize| {
        format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "a".repeat(size)).repeat(count)
    };
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (informational, status) in [(hints(17, 1), 200), (hints(2000, 1), 200), (hints(30, 10_000), 502)] {
        let mut client = site.client();
        client.send(GET);
        let mut server = site.server.accept();
        server.head();
        let count = informational.matches("103").count();
        let _ = server.try_send(informational + last); // it is not read to its end when it is too much
        let mut hints = 0;
        let answer = loop {
            match client.answer() {
                hint if hint.status() == 103 => hints += 1,
                answer => break answer,
            }
        };
        assert_eq!(answer.status(), status);
        assert!(if status == 200 { hints == count } else { hints < count }, "{hints} of {count}");
    }
}

/// The body that a server must not send is never taken for the next response.
#[test]
fn a_body_after_a_response_to_head_poisons_the_upstream_connection() {
    let site = Site::new();
    let mut client = site.client();
    client.send(HEAD);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.head().status(), 200);
    client.send(GET);
    let mut fresh = site.server.accept();
    fresh.head();
    fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

/// What comes over a connection that was idle, before the response: the body of a response that has none, or the word
/// that the connection is closed.
#[test]
fn what_is_left_over_on_a_connection_fails_no_request_that_can_be_sent_again() {
    for (request, response, left_over) in [
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"),
        (HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "hello"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n", "\r\n\r\nhello"),
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ),
    ] {
        let site = Site::new();
        let mut client = site.client();
        client.send(request);
        let mut server = site.server.accept();
        server.head();
        server.send(response);
        client.head();
        client.send(GET);
        server.head();
        server.send(left_over);
        let mut fresh = site.server.accept();
        fresh.head();
        fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        assert_eq!(client.answer().text(), "good", "{left_over:?}");
    }
}

#[test]
fn a_request_that_is_sent_once_meets_nothing_that_is_left_over() {
    let site = Site::new();
    let mut client = site.client();
    client.send(HEAD);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    client.head();
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 2\r\n\r\nok");
    let mut fresh = site.server.accept();
    fresh.head();
    fresh.expect("ok");
    fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    assert_eq!(client.answer().text(), "good");
}

#[test]
fn responses_that_have_no_body_have_none_whatever_they_say() {
    let site = Site::new();
    for status in ["204 No Content", "304 Not Modified"] {
        let mut client = site.client();
        client.send(GET);
        let mut server = site.server.accept();
        server.head();
        server.send(format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nETag: a\r\n\r\nhello"));
        let head = client.head();
        assert!(status.starts_with("304") || !head.has("content-length"), "{}", head.text());
        assert!(!head.has("transfer-encoding") && head.has("etag"), "{}", head.text());
        client.assert_silent();
        client.send(GET);
        let mut fresh = site.server.accept();
        fresh.head();
        fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn a_204_that_is_chunked_has_no_body_either() {
    let site = Site::new();
    let (_, answer) = site.exchange(GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(!answer.head.has("transfer-encoding"), "{}", answer.head.text());
}

#[test]
fn data_after_a_response_poisons_that_upstream_connection() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    assert_eq!(client.answer().text(), "ok");
    client.send(GET);
    let mut fresh = site.server.accept();
    fresh.head();
    fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    assert_eq!(client.answer().text(), "good");
}

#[test]
fn what_a_server_says_unasked_poisons_its_idle_connection() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    client.send(GET);
    let mut fresh = site.server.accept();
    fresh.head();
    fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
    assert_eq!(client.answer().text(), "good");
}

#[test]
fn a_body_that_ends_with_its_connection_becomes_chunked() {
    let site = Site::new();
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let mut client = site.client();
        client.send(GET);
        let mut server = site.server.accept();
        server.head();
        server.send(format!("{version} 200 OK\r\n\r\nhello"));
        server.finish();
        let answer = client.answer();
        assert_eq!((answer.head.field("transfer-encoding"), answer.text().as_str()), (Some("chunked"), "hello"));
        assert_eq!(answer.head.line(), "HTTP/1.1 200 OK");
    }
}

#[test]
fn a_body_cut_short_is_no_whole_body_for_the_client() {
    let site = Site::new();
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
    ] {
        let mut client = site.client();
        client.send(GET);
        let mut server = site.server.accept();
        server.head();
        server.send(response);
        server.finish();
        let (seen, _) = client.rest();
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen:?}");
        assert!(!seen.ends_with("0\r\n\r\n"), "{response:?} became {seen:?}");
    }
}

#[test]
fn a_body_cut_by_a_reset_is_cut_for_the_client_too() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\n\r\nhello");
    client.until(b"hello");
    server.reset();
    let (seen, _) = client.rest();
    assert!(!seen.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&seen));
}

/// Without chunks a connection that ends well is the only end of a body that there is, so it must not end well.
#[test]
fn a_body_cut_short_is_reset_for_http_1_0() {
    let site = Site::new();
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let mut client = site.client();
        client.send("GET / HTTP/1.0\r\nHost: $host\r\n\r\n");
        let mut server = site.server.accept();
        server.head();
        if version == "HTTP/1.1" {
            server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            client.until(b"hello");
            server.finish();
        } else {
            server.send("HTTP/1.0 200 OK\r\n\r\nhello");
            client.until(b"hello");
            server.reset();
        }
        assert_eq!(client.rest().1, Ending::Reset);
    }
}

#[test]
fn a_body_of_known_length_cut_short_is_short_for_http_1_0() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.0\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
    server.finish();
    let head = client.head();
    assert_eq!(head.field("content-length"), Some("9"));
    assert_eq!(client.take(5), b"hello");
    let _ = client.rest();
}

#[test]
fn statuses_and_reasons_pass_as_they_come() {
    let site = Site::new();
    for (line, seen) in [
        ("HTTP/1.1 299 Strange", "HTTP/1.1 299 Strange"),
        ("HTTP/1.1 999 A last\tone \u{e9}", "HTTP/1.1 999 A last\tone \u{e9}"),
        ("HTTP/1.1 599", "HTTP/1.1 599 "),
        ("HTTP/1.1 598 ", "HTTP/1.1 598 "),
        ("HTTP/1.1 200 Fine", "HTTP/1.1 200 Fine"),
        ("HTTP/1.1 200", "HTTP/1.1 200 "),
        ("HTTP/1.1 404 not found", "HTTP/1.1 404 not found"),
        ("HTTP/1.0 200 OK", "HTTP/1.1 200 OK"),
    ] {
        let (_, answer) = site.exchange(GET, &format!("{line}\r\nContent-Length: 2\r\n\r\nok"));
        assert_eq!((answer.head.line(), answer.text().as_str()), (seen, "ok"));
    }
}

#[test]
fn fields_that_a_server_sends_pass() {
    let site = Site::new();
    let (_, answer) = site.exchange(
        GET,
        "HTTP/1.1 302 Found\r\nLocation: http://a.test/\r\nX: \r\nY: \"a\"\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(answer.head.field("location"), Some("http://a.test/"));
    assert_eq!((answer.head.field("x"), answer.head.field("y")), (Some(""), Some("\"a\"")));
}

#[test]
fn a_large_response_head_passes() {
    let site = Site::new();
    let (large, many) = ("v".repeat(50_000), "X-Many: 1\r\n".repeat(200));
    let response = format!("HTTP/1.1 200 OK\r\nX-Large: {large}\r\n{many}Content-Length: 2\r\n\r\nok");
    let (_, answer) = site.exchange(GET, &response);
    assert_eq!(answer.head.field("x-large"), Some(&*large));
    assert_eq!((answer.head.fields("x-many").len(), answer.text().as_str()), (200, "ok"));
}

#[test]
fn a_response_head_may_come_byte_by_byte() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    for byte in "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".bytes() {
        server.send([byte]);
    }
    assert_eq!(client.answer().text(), "hello");
}

/// The client reads none of it before all of it is on its way, so that no write takes the head whole.
#[test]
fn a_response_head_that_does_not_fit_the_socket_comes_whole() {
    let site = Site::new();
    let mut client = site.client();
    rustix::net::sockopt::set_socket_recv_buffer_size(client.stream(), 2048).expect("a small buffer");
    let fields: String = (0..200).map(|at| format!("X-{at}: {}\r\n", "v".repeat(300))).collect();
    let mut server = None;
    for body in ["one", "another"] {
        client.send(GET);
        let server = server.get_or_insert_with(|| site.server.accept());
        server.head();
        server.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()));
        let answer = client.answer();
        assert!(answer.head.text().contains(&fields), "{}", answer.head.text());
        assert_eq!(answer.text(), body);
    }
}

#[test]
fn fields_reach_a_client_of_http_1_0_too() {
    let site = Site::new();
    let mut client = site.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: $host\r\nConnection: keep-alive\r\n\r\n");
        let mut server = site.server.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\nX-A: b\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        let answer = client.answer();
        assert_eq!((answer.head.field("x-a"), answer.head.field("connection")), (Some("b"), Some("keep-alive")));
        assert_eq!(answer.text(), "ok");
    }
}

#[test]
fn a_lenient_pool_takes_heads_of_old_servers_and_clients_get_them_right() {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\nlenient = true\n", server.address));
    for (response, body) in [
        ("HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length\t : 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\nX-A : b\nTransfer-Encoding : chunked\n\n2\r\nok\r\n0\r\n\r\n", "ok"),
        ("HTTP/1.1 103 Early Hints\nLink : a\n\nHTTP/1.1 200 OK\nX-A: b\nContent-Length: 0\n\n", ""),
    ] {
        for pieces in [response.len(), 1] {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let mut upstream = server.accept();
            upstream.head();
            response.as_bytes().chunks(pieces).for_each(|piece| upstream.send(piece));
            let (seen, _) = client.rest();
            let seen = String::from_utf8(seen).expect("text");
            let (heads, _) = seen.rsplit_once("\r\n\r\n").expect("a head");
            assert!(heads.contains("HTTP/1.1 200 OK\r\nX-A: b\r\n"), "{response:?}: {seen:?}");
            assert!(!heads.replace("\r\n", "").contains(['\r', '\n']), "{response:?}: {seen:?}");
            assert!(!heads.contains(" :") && !heads.contains("\t:"), "{response:?}: {seen:?}");
            assert!(seen.contains(body), "{response:?}: {seen:?}");
        }
    }
}

#[test]
fn a_lenient_pool_is_strict_in_all_else() {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\nlenient = true\n", server.address));
    for response in [
        "HTTP/1.1 200 OK\nA: b\rc\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\nA: b\n c\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length : 3\n\nok",
        "HTTP/1.1 200 OK\nContent-Length : 2\nTransfer-Encoding : chunked\n\n2\r\nok\r\n0\r\n\r\n",
        "\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ] {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let mut upstream = server.accept();
        upstream.head();
        upstream.send(response);
        assert_eq!(client.answer().status(), 502, "{response:?}");
    }
    for request in ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"] {
        let mut client = proxy.client();
        client.send(request);
        assert_eq!(client.answer().status(), 400, "{request:?}");
    }
}

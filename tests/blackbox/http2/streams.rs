//! Requests and responses as streams of one connection.

use crate::http2::Setup;
use crate::http2::client::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Served: Yes\r\n\r\nok";

#[test]
fn http_2_by_prior_knowledge_and_http_1_share_a_port() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.get(1, "a.test", "/a?b");
    let (head, _server) = setup.answers(OK);
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    let response = client.response(1);
    assert_eq!((response.status(), &response.body[..], response.reset), ("200", &b"ok"[..], None));
    assert!(response.fields.contains("x-served: Yes\n"), "{}", response.fields);
    let mut client = setup.proxy.client();
    client.send("PRI");
    client.assert_silent();
    client.send("X / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(client.answer().status(), 404);
}

#[test]
fn a_preface_may_come_in_single_octets() {
    let setup = Setup::new();
    let mut wire = setup.proxy.client();
    for octet in segue::http2::frame::PREFACE {
        wire.send([*octet]);
    }
    wire.send(frame(SETTINGS, 0, 0, &[]));
    wire.send(frame(HEADERS, WHOLE, 1, &block(&request("GET", "a.test", "/"))));
    setup.answers(OK);
}

#[test]
fn a_listener_that_does_not_say_so_speaks_no_http_2() {
    let setup = Setup::new();
    let mut wire = setup.proxy.client_of("plain");
    wire.send(segue::http2::frame::PREFACE);
    assert_eq!(wire.answer().status(), 505);
    // and none does after a request
    let mut wire = setup.proxy.client();
    wire.send("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(wire.answer().status(), 404);
    wire.send(segue::http2::frame::PREFACE);
    assert_eq!(wire.answer().status(), 505);
}

#[test]
fn responses_come_in_the_order_in_which_servers_give_them() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.get(1, "a.test", "/slow");
    let mut slow = setup.server.accept();
    slow.head();
    client.get(3, "a.test", "/fast");
    let (head, _fast) = setup.answers(OK);
    assert!(head.starts_with("GET /fast "), "{head}");
    assert_eq!(client.response(3).body, b"ok");
    slow.send(OK);
    assert_eq!(client.response(1).body, b"ok");
}

#[test]
fn the_server_gets_a_head_of_http_1() {
    let setup = Setup::new();
    let mut client = setup.client();
    let mut fields = request("GET", "a.test", "/");
    fields.extend([
        ("cookie", "a=1"),
        ("x-b", "2"),
        ("cookie", "c=3"),
        ("te", "trailers"),
        ("x-forwarded-for", "6.6.6.6"),
    ]);
    client.send(HEADERS, WHOLE, 1, &block(&fields));
    let (head, _server) = setup.answers(OK);
    let lines: Vec<_> = head.lines().filter(|line| !line.starts_with("x-request-id: ")).collect();
    assert_eq!(
        lines,
        [
            "GET / HTTP/1.1",
            "host: a.test",
            "x-b: 2",
            "cookie: a=1; c=3",
            "te: trailers",
            "connection: te",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: a.test",
            "via: 2.0 segue",
            ""
        ]
    );
    assert_eq!(client.response(1).status(), "200");
}

#[test]
fn host_stands_in_for_a_missing_authority() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send(
        HEADERS,
        WHOLE,
        1,
        &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a.test")]),
    );
    let (head, _server) = setup.answers(OK);
    assert!(head.contains("host: a.test\r\n"), "{head}");
}

#[test]
fn informational_responses_pass() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.get(1, "a.test", "/");
    setup.answers(&format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"));
    let response = client.response(1);
    assert_eq!(response.interim, [":status: 103\nlink: </a>\n"]);
    assert_eq!(response.status(), "200");
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.post(1, "a.test", &[("content-length", "2"), ("expect", "100-continue")]);
    let interim = client.find(|frame| frame.kind == HEADERS);
    assert_eq!((interim.stream, interim.ends()), (1, false));
    client.send(DATA, END_STREAM, 1, b"hi");
    let mut server = setup.server.accept();
    server.head();
    server.expect("hi");
    server.send(OK);
    assert_eq!(client.response(1).status(), "200");
}

#[test]
fn a_response_without_a_body_ends_with_its_head() {
    let setup = Setup::new();
    for (method, response) in
        [("GET", "HTTP/1.1 204 No Content\r\n\r\n"), ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")]
    {
        let mut client = setup.client();
        client.send(HEADERS, WHOLE, 1, &block(&request(method, "a.test", "/")));
        let _server = setup.answers(response);
        let head = client.find(|frame| frame.stream == 1);
        assert_eq!((head.kind, head.flags), (HEADERS, WHOLE), "{method}");
    }
}

#[test]
fn a_stream_that_the_client_resets_ends_its_request_alone() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.get(1, "a.test", "/stays");
    let mut stays = setup.server.accept();
    stays.head();
    client.get(3, "a.test", "/goes");
    let mut goes = setup.server.accept();
    goes.head();
    client.send(RST_STREAM, 0, 3, &8_u32.to_be_bytes());
    goes.assert_closed();
    stays.send(OK);
    assert_eq!(client.response(1).body, b"ok");
}

#[test]
fn a_client_that_leaves_ends_all_its_requests() {
    let setup = Setup::new();
    let mut client = setup.client();
    let mut servers = Vec::new();
    for stream in [1, 3] {
        client.get(stream, "a.test", "/");
        let mut server = setup.server.accept();
        server.head();
        servers.push(server);
    }
    client.wire.finish();
    servers.iter_mut().for_each(|server| server.assert_closed());
}

#[test]
fn a_response_that_breaks_off_resets_its_stream() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.get(1, "a.test", "/");
    let (_, server) = setup.answers("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    drop(server);
    let response = client.response(1);
    assert_eq!((&response.body[..], response.reset), (&b"half"[..], Some(2)));
    client.get(3, "a.test", "/");
    let (_, server) = setup.answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    drop(server);
    assert_eq!(client.response(3).reset, Some(2));
}

#[test]
fn what_is_urgent_goes_first() {
    let setup = Setup::new();
    let mut client = H2::begin(setup.proxy.client(), &[(4, 1 << 20)]);
    let (large, mut servers) = ("x".repeat(100_000), Vec::new());
    for (stream, priority) in [(1, "u=7"), (3, "u=0")] {
        let fields = [&request("GET", "a.test", "/")[..], &[("priority", priority)]].concat();
        client.send(HEADERS, WHOLE, stream, &block(&fields));
        let (_, server) =
            setup.answers(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n{large}"));
        servers.push(server);
        // both wait for the window of the connection, of which the first one has had all
        if stream == 1 {
            let mut sent = 0;
            while sent < 65_535 {
                sent += client.next(DATA).payload.len();
            }
        }
    }
    client.settle();
    client.send(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes());
    let mut order = Vec::new();
    while order.iter().filter(|stream| **stream == 0).count() < 2 {
        let frame = client.next(DATA);
        order.push(frame.stream);
        if frame.ends() {
            order.push(0);
        }
    }
    let first_end = order.iter().position(|stream| *stream == 0).expect("an end");
    assert!(order[..first_end].iter().all(|stream| *stream == 3), "{order:?}");
}

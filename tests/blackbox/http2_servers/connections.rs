//! Connections to servers: shared, limited, left, lost.

use super::{MAX_STREAMS, ServerSide, Setup};
use crate::http2::client::{DATA, END_STREAM, H2, RST_STREAM};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const CANCEL: u32 = 8;
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

#[test]
fn requests_of_several_clients_share_a_connection() {
    let setup = Setup::new();
    let mut clients: Vec<_> = (0..5).map(|_| setup.client()).collect();
    clients[0].send(GET);
    let mut server = setup.accept(&[]);
    clients[1..].iter_mut().for_each(|client| client.send(GET));
    let streams: Vec<u32> = (0..5).map(|_| server.request().0).collect();
    assert_eq!(streams, [1, 3, 5, 7, 9]);
    streams.iter().rev().for_each(|stream| server.answer(*stream, "200"));
    clients.iter_mut().for_each(|client| assert_eq!(client.head().status(), 200));
    setup.servers[0].assert_untouched();
}

#[test]
fn no_more_streams_are_open_than_the_server_takes() {
    let setup = Setup::new();
    let mut clients: Vec<_> = (0..5).map(|_| setup.client()).collect();
    clients[0].send(GET);
    let mut first = setup.accept(&[(MAX_STREAMS, 2)]);
    first.settle();
    clients[1..].iter_mut().for_each(|client| client.send(GET));
    let mut second = setup.accept(&[(MAX_STREAMS, 2)]);
    let mut third = setup.accept(&[(MAX_STREAMS, 2)]);
    for (server, streams) in [(&mut first, 2), (&mut second, 2), (&mut third, 1)] {
        let open: Vec<u32> = (0..streams).map(|_| server.request().0).collect();
        server.settle();
        open.iter().for_each(|stream| server.answer(*stream, "200"));
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.head().status(), 200));
    clients[0].send(GET);
    let (stream, _) = first.request();
    first.answer(stream, "200");
    assert_eq!(clients[0].head().status(), 200);
}

#[test]
fn a_stream_that_is_refused_goes_to_another_server() {
    let setup = Setup::with(2, "retries = 1");
    let mut client = setup.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody");
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    server.send(RST_STREAM, 0, stream, &REFUSED_STREAM);
    let mut other = H2::accept(setup.servers[1].accept(), &[]);
    let (stream, _) = other.request();
    assert_eq!(other.next(DATA).payload, b"body", "no server has seen it before");
    other.answer(stream, "200");
    assert_eq!(client.head().status(), 200);
}

#[test]
fn streams_beyond_the_last_one_of_a_goaway_go_elsewhere_and_the_others_end_as_they_would() {
    let setup = Setup::new();
    let (mut kept, mut moved) = (setup.client(), setup.client());
    kept.send(GET);
    let mut server = setup.accept(&[]);
    let (first, _) = server.request();
    moved.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody");
    server.request();
    server.go_away(first);
    let mut next = setup.accept(&[]);
    let (stream, _) = next.request();
    next.answer(stream, "201");
    assert_eq!(moved.head().status(), 201);
    server.answer(first, "200");
    assert_eq!(kept.head().status(), 200);
    server.rest(); // it is closed
    kept.send(GET);
    let (stream, _) = next.request();
    next.answer(stream, "202");
    assert_eq!(kept.head().status(), 202);
}

#[test]
fn a_request_that_a_server_may_have_acted_on_is_not_repeated() {
    let setup = Setup::with(2, "retries = 1");
    let mut client = setup.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody");
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    server.send(RST_STREAM, 0, stream, &INTERNAL_ERROR);
    assert_eq!(client.head().status(), 502);
    setup.servers[1].assert_untouched();
}

#[test]
fn a_client_that_leaves_cancels_its_stream_alone() {
    let setup = Setup::new();
    let (mut stays, mut leaves) = (setup.client(), setup.client());
    stays.send(GET);
    let mut server = setup.accept(&[]);
    let (first, _) = server.request();
    leaves.send(GET);
    let (second, _) = server.request();
    server.head(second, &[(":status", "200")]);
    assert_eq!(leaves.head().status(), 200);
    leaves.reset();
    let reset = server.next(RST_STREAM);
    assert_eq!((reset.stream, reset.number()), (second, CANCEL));
    server.send(DATA, 0, second, b"was on its way");
    server.answer(first, "200");
    assert_eq!(stays.head().status(), 200);
}

#[test]
fn a_response_that_is_reset_is_cut() {
    let setup = Setup::new();
    let mut client = setup.h2();
    client.get(1, "a.test", "/");
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    server.head(stream, &[(":status", "200")]);
    server.send(DATA, 0, stream, b"part");
    server.send(RST_STREAM, 0, stream, &INTERNAL_ERROR);
    let response = client.response(1);
    assert_eq!((&response.body[..], response.reset), (&b"part"[..], Some(2)));
    client.get(3, "a.test", "/");
    let (stream, _) = server.request();
    server.head(stream, &[(":status", "200")]);
    server.send(DATA, END_STREAM, stream, b"whole");
    assert_eq!(client.response(3).body, b"whole");
}

#[test]
fn a_server_that_is_silent_for_too_long_is_a_504_and_other_requests_do_not_wait_for_its_connection() {
    let setup = Setup::with(1, "response_timeout = \"1500ms\"\nretries = 0");
    let mut client = setup.client();
    client.send(GET);
    let mut server = setup.accept(&[]);
    let (stream, _) = server.request();
    assert_eq!(client.head().status(), 504);
    assert_eq!(server.next(RST_STREAM).stream, stream);
    let mut client = setup.client();
    client.send(GET);
    let mut next = setup.accept(&[]);
    let (stream, _) = next.request();
    next.answer(stream, "200");
    assert_eq!(client.head().status(), 200);
}

//! Deadlines: nothing waits for ever.

use crate::http2::Setup;
use crate::http2::client::*;
use crate::support::Ending;

#[test]
fn a_connection_that_does_not_begin_is_ended() {
    let setup = Setup::new();
    let mut wire = setup.proxy.client_of("hasty");
    wire.send(segue::http2::frame::PREFACE);
    let (_, ending) = wire.rest();
    assert_eq!(ending, Ending::Closed);
    let mut wire = setup.proxy.client_of("hasty");
    wire.send(&segue::http2::frame::PREFACE[..10]);
    assert_eq!(wire.answer().status(), 408);
}

#[test]
fn a_head_that_does_not_come_whole_ends_the_connection() {
    let setup = Setup::new();
    for octets in [
        frame(HEADERS, END_STREAM, 1, &block(&request("GET", "a.test", "/"))),
        frame(HEADERS, WHOLE, 1, &[0; 9])[..12].to_vec(),
    ] {
        let mut client = setup.client_of("hasty");
        client.settle();
        client.wire.send(octets);
        assert_eq!(client.goes_away(), 1);
    }
    setup.server.assert_untouched();
}

#[test]
fn an_idle_connection_is_told_and_closed() {
    let setup = Setup::new();
    let mut client = setup.client_of("hasty");
    assert_eq!(client.goes_away(), 0);
    let mut client = setup.client_of("hasty");
    client.get(1, "nobody.test", "/");
    assert_eq!(client.response(1).status(), "404");
    assert_eq!(client.goes_away(), 0);
}

#[test]
fn a_body_that_stalls_is_408_and_other_streams_go_on() {
    let setup = Setup::new();
    let mut client = setup.client_of("hasty");
    client.get(1, "a.test", "/");
    let mut other = setup.server.accept();
    other.head();
    client.post(3, "a.test", &[("content-length", "10")]);
    client.send(DATA, 0, 3, b"hello");
    let mut server = setup.server.accept();
    server.head();
    server.expect("hello");
    assert_eq!(client.response(3).status(), "408");
    server.assert_closed();
    other.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response(1).status(), "204");
}

#[test]
fn a_window_that_stays_shut_resets_its_stream() {
    let setup = Setup::new();
    let mut client = H2::begin(setup.proxy.client_of("hasty"), &[(4, 0)]);
    client.get(1, "a.test", "/");
    let (_, mut server) = setup.answers("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    server.send([b'x'; 100_000]);
    let response = client.response(1);
    assert_eq!((response.status(), response.reset), ("200", Some(8)));
    let (_, ending) = server.rest();
    assert!(matches!(ending, Ending::Closed | Ending::Reset));
}

//! Connections at the end of a generation.

use std::net::SocketAddr;

use crate::http2::client::*;
use crate::support::{Run, Server, Wire, socket};

fn run(server: &Server, more: &str) -> (Run, SocketAddr) {
    let (listener, address) = socket();
    (Run::new(&config(server, more)).socket("http", listener), address)
}

/// A configuration to which no connection of HTTP/2 can move.
fn other(server: &Server) -> String {
    config(server, "").replace("h2c = true", "")
}

fn config(server: &Server, more: &str) -> String {
    format!("[listen.http]\nh2c = true\n[site.\"*\"]\nto = [\"{}\"]\n[drain]\ntimeout = \"8s\"\n{more}", server.address)
}

#[test]
fn a_reload_that_no_connection_survives_tells_the_client_and_open_streams_end_as_they_would() {
    let server = Server::new();
    let (run, address) = run(&server, "");
    let service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[]);
    client.get(1, "a.test", "/long");
    let mut long = server.accept();
    long.head();
    run.configure(&other(&server));
    service.reload_well();
    let told = client.next(GOAWAY);
    assert_eq!((told.number(), told.code()), (0x7fff_ffff, 0));
    // a request that was on its way is served
    client.get(3, "a.test", "/on-its-way");
    let mut other = server.accept();
    other.head();
    other.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response(3).status(), "204");
    let ping = client.find(|frame| frame.kind == PING && frame.flags == 0);
    client.send(PING, ACK, 0, &ping.payload);
    let told = client.next(GOAWAY);
    assert_eq!((told.number(), told.code()), (3, 0));
    long.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let response = client.response(1);
    assert_eq!((&response.body[..], response.reset), (&b"ok"[..], None));
    client.wire.assert_closed();
}

#[test]
fn a_client_that_does_not_answer_is_told_all_the_same() {
    let server = Server::new();
    let (run, address) = run(&server, "");
    let service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[]);
    client.settle();
    run.configure(&other(&server));
    service.reload_well();
    assert_eq!(client.goes_away(), 0);
}

// It was in no list, and died with the old process.
#[test]
fn a_connection_that_has_said_nothing_yet_goes_on_in_the_next_generation() {
    let server = Server::new();
    let (run, address) = run(&server, "");
    let service = run.start();
    let mut fresh = Wire::connect(address);
    let mut begun = Wire::connect(address);
    begun.send(&segue::http2::frame::PREFACE[..7]);
    run.configure(&config(&server, "stop_timeout = \"4s\"\n"));
    service.reload_well();
    service.settled();
    fresh.send(segue::http2::frame::PREFACE);
    begun.send(&segue::http2::frame::PREFACE[7..]);
    for mut wire in [fresh, begun] {
        wire.send(frame(SETTINGS, 0, 0, &[]));
        wire.send(frame(HEADERS, WHOLE, 1, &block(&request("GET", "a.test", "/"))));
        server.accept().head();
    }
}

#[test]
fn an_idle_connection_is_used_again_and_makes_room_for_a_new_one() {
    let server = Server::new();
    let (run, address) = run(&server, "[worker]\nmax_connections = 1\n");
    let _service = run.start();
    let mut idle = H2::begin(Wire::connect(address), &[]);
    for stream in [1, 3] {
        idle.get(stream, "a.test", "/");
        let mut upstream = server.accept();
        upstream.head();
        upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(idle.response(stream).status(), "204");
        idle.wire.assert_silent();
    }
    let mut next = H2::begin(Wire::connect(address), &[]);
    next.settle();
    idle.rest();
}

#[test]
fn a_stop_tells_idle_clients_and_waits_for_open_streams() {
    let server = Server::new();
    let (run, address) = run(&server, "stop_timeout = \"5s\"\n");
    let mut service = run.start();
    let mut idle = H2::begin(Wire::connect(address), &[]);
    idle.settle();
    let mut busy = H2::begin(Wire::connect(address), &[]);
    busy.get(1, "a.test", "/");
    let mut upstream = server.accept();
    upstream.head();
    service.signal(rustix::process::Signal::TERM);
    assert_eq!(idle.goes_away(), 0);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(busy.response(1).body, b"ok");
    assert!(service.ended().success());
}

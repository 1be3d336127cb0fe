//! Reloads while requests to servers of HTTP/2 are open.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ServerSide;
use crate::http2::client::{DATA, END_STREAM, GOAWAY, H2, HEADERS, WHOLE, block};
use crate::support::{Run, Server, Service, Wire, socket, wait_for};

fn config(server: &Server, drain: &str) -> String {
    format!(
        "[listen.http]\nh2c = true\n[drain]\ntimeout = '{drain}'\n[site.'a.test']\nto = ['h2://{}']\n[worker]\nthreads = 1\n",
        server.address
    )
}

fn run(server: &Server) -> (Run, SocketAddr) {
    let (listener, address) = socket();
    (Run::new(&config(server, "60s")).socket("http", listener), address)
}

#[test]
fn clients_with_an_open_stream_stay_until_it_ends_and_then_move() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let (mut old, mut new) = (Wire::connect(address), H2::begin(Wire::connect(address), &[]));
    old.send("GET /old HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut first = H2::accept(server.accept(), &[]);
    let (stream, _) = first.request();
    first.head(stream, &[(":status", "200")]);
    first.send(DATA, 0, stream, b"before ");
    assert_eq!(old.head().status(), 200);
    new.get(1, "a.test", "/new");
    let (other, _) = first.request();
    first.head(other, &[(":status", "200")]);
    let (generation, _) = service.serving();
    service.reload_anyway();
    wait_drain(&service, generation);
    // a client that comes now is served by the new worker, over a connection of its own
    let mut late = Wire::connect(address);
    late.send("GET /late HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut second = H2::accept(server.accept(), &[]);
    let (stream_of_late, _) = second.request();
    second.answer(stream_of_late, "204");
    assert_eq!(late.head().status(), 204);
    first.send(DATA, END_STREAM, stream, b"after");
    assert_eq!(old.chunks().0, b"before after");
    first.send(DATA, END_STREAM, other, b"whole");
    assert_eq!(new.response(1).body, b"whole");
    assert_eq!(service.settled().0, generation + 1);
    old.send("GET /again HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (stream, _) = second.request();
    second.answer(stream, "201");
    assert_eq!(old.head().status(), 201);
    new.assert_not_told();
    new.get(3, "a.test", "/again");
    let (stream, _) = second.request();
    second.answer(stream, "200");
    assert_eq!(new.response(3).status(), "200");
}

/// Waits until this generation drains.
#[track_caller]
fn wait_drain(service: &Service, generation: u64) {
    let drains = |(number, state, _): &(u64, String, u32)| (*number, &state[..]) == (generation, "draining");
    wait_for("the drain", || service.generations().iter().any(drains).then_some(()));
}

#[test]
fn a_call_that_streams_through_two_reloads_ends_well_and_its_client_is_not_told() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[]);
    client.post(1, "a.test", &[("content-type", "application/grpc"), ("te", "trailers")]);
    let mut first = H2::accept(server.accept(), &[]);
    let (call, _) = first.request();
    first.head(call, &[(":status", "200"), ("content-type", "application/grpc")]);
    let (generation, _) = service.serving();
    for reload in 0..2 {
        service.reload_anyway();
        wait_drain(&service, generation);
        let message = [b"\0\0\0\0\x01", &[b'a' + reload][..]].concat();
        client.send(DATA, 0, 1, &message);
        assert_eq!(first.next(DATA).payload, message);
        first.send(DATA, 0, call, &message);
        assert_eq!(client.next(DATA).payload, message);
        // beside it other requests of the client are answered too, by the worker that has the connection
        let beside = 3 + 2 * u32::from(reload);
        client.get(beside, "a.test", "/beside");
        let (stream, _) = first.request();
        first.answer(stream, "204");
        assert_eq!(client.response(beside).status(), "204");
    }
    wait_for("the second one to have moved on", || (service.generations().len() == 2).then_some(()));
    client.assert_not_told();
    client.send(DATA, END_STREAM, 1, &[]);
    first.find(|frame| frame.kind == DATA && frame.ends());
    first.send(HEADERS, WHOLE, call, &block(&[("grpc-status", "0")]));
    assert_eq!(client.find(|frame| frame.kind == HEADERS && frame.ends()).stream, 1);
    assert_eq!(service.settled().0, generation + 2);
    client.get(7, "a.test", "/after");
    let mut second = H2::accept(server.accept(), &[]);
    let (stream, _) = second.request();
    second.answer(stream, "201");
    assert_eq!(client.response(7).status(), "201");
    client.assert_not_told();
}

#[test]
fn a_client_whose_stream_stays_is_told_late_in_the_drain_and_its_stream_ends_well() {
    let server = Server::new();
    let (run, address) = run(&server);
    run.configure(&config(&server, "8s"));
    let service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[]);
    client.get(1, "a.test", "/");
    let mut upstream = H2::accept(server.accept(), &[]);
    let (stream, _) = upstream.request();
    upstream.head(stream, &[(":status", "200")]);
    let (generation, _) = service.serving();
    let asked = Instant::now();
    service.reload_anyway();
    client.next(GOAWAY);
    let told = asked.elapsed();
    assert!(told >= Duration::from_secs(4), "told after {told:?}");
    upstream.send(DATA, END_STREAM, stream, b"whole");
    assert_eq!(client.response(1).body, b"whole");
    assert_eq!(client.goes_away(), 0);
    assert_eq!(service.settled().0, generation + 1);
}

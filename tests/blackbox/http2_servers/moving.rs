//! Reloads while requests to servers of HTTP/2 are open.

use std::net::SocketAddr;

use super::ServerSide;
use crate::http2::client::{DATA, END_STREAM, H2};
use crate::support::{Run, Server, Wire, socket, wait_for};

fn run(server: &Server) -> (Run, SocketAddr) {
    let config = format!(
        "[listen.http]\nh2c = true\n[drain]\ntimeout = '60s'\n[site.'a.test']\nto = ['h2://{}']\n[worker]\nthreads = 1\n",
        server.address
    );
    let (listener, address) = socket();
    (Run::new(&config).socket("http", listener), address)
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
    wait_for("the drain", || {
        service
            .generations()
            .iter()
            .any(|(number, state, _)| (*number, &state[..]) == (generation, "draining"))
            .then_some(())
    });
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

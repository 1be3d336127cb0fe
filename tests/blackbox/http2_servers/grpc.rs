//! gRPC: what passes, and what is recorded of it.

use std::net::SocketAddr;

use super::ServerSide;
use crate::http2::client::{DATA, END_HEADERS, H2, HEADERS, WHOLE, block, request};
use crate::support::{Run, Server, Wire, socket};

fn run(server: &Server, keys: &str) -> (Run, SocketAddr) {
    let config = format!(
        "[listen.http]\nh2c = true\n[log]\naccess = 'all'\n[site.'a.test']\nto = ['h2://{}']\n{keys}\n",
        server.address
    );
    let (listener, address) = socket();
    (Run::new(&config).socket("http", listener), address)
}

fn call(client: &mut H2, stream: u32) {
    let more = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S")];
    client.send(HEADERS, END_HEADERS, stream, &block(&[&request("POST", "a.test", "/a.B/C")[..], &more].concat()));
}

#[test]
fn a_call_streams_both_ways_and_its_status_is_recorded() {
    let server = Server::new();
    let (run, address) = run(&server, "");
    let _service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[]);
    call(&mut client, 1);
    let mut upstream = H2::accept(server.accept(), &[]);
    let (stream, fields) = upstream.request();
    assert!(fields.contains("te: trailers\n") && fields.contains("grpc-timeout: 5S\n"), "{fields}");
    upstream.head(stream, &[(":status", "200"), ("content-type", "application/grpc")]);
    client.peek(|frame| frame.kind == HEADERS);
    for message in [&b"\0\0\0\0\x03one"[..], b"\0\0\0\0\x03two"] {
        client.send(DATA, 0, 1, message);
        assert_eq!(upstream.next(DATA).payload, message, "at once");
        upstream.send(DATA, 0, stream, message);
        assert_eq!(client.next(DATA).payload, message, "at once");
    }
    upstream.send(HEADERS, WHOLE, stream, &block(&[("grpc-status", "5"), ("grpc-message", "no such thing")]));
    let response = client.response(1);
    assert_eq!(response.trailers, "grpc-status: 5\ngrpc-message: no such thing\n");
    run.wait_log("200 (grpc-status 5)");
}

#[test]
fn a_response_of_trailers_alone_stays_one() {
    let server = Server::new();
    let (run, address) = run(&server, "");
    let _service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[]);
    call(&mut client, 1);
    let mut upstream = H2::accept(server.accept(), &[]);
    let (stream, _) = upstream.request();
    let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")];
    upstream.send(HEADERS, WHOLE, stream, &block(&fields));
    let head = client.find(|frame| frame.kind == HEADERS);
    assert!(head.ends(), "no other frame follows");
    let fields = client.fields(&head.payload);
    assert!(fields.contains("grpc-status: 12\n") && !fields.contains("content-length"), "{fields}");
    run.wait_log("200 (grpc-status 12)");
}

#[test]
fn a_server_is_asked_for_its_health() {
    let server = Server::new();
    let (run, address) = run(&server, "check = \"grpc a.B\"\nrise = 1");
    let service = run.spawn();
    let mut upstream = H2::accept(server.accept(), &[]);
    let head = upstream.find(|frame| frame.kind == HEADERS);
    let asked = upstream.find(|frame| frame.kind == DATA && !frame.payload.is_empty());
    assert_eq!(asked.payload, b"\0\0\0\0\x05\x0a\x03a.B");
    upstream.head(head.stream, &[(":status", "200"), ("content-type", "application/grpc")]);
    upstream.send(DATA, 0, head.stream, b"\0\0\0\0\x02\x08\x02");
    upstream.send(HEADERS, WHOLE, head.stream, &block(&[("grpc-status", "0")]));
    run.wait_log("health NOT_SERVING");
    drop((service, address));
}

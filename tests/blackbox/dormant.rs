//! Connections that have been idle for so long that they have neither a task nor a place in the poller of the runtime:
//! their clients notice nothing of that.

use std::net::SocketAddr;

use crate::http2::client::{H2, HEADERS, WHOLE, block, request};
use crate::support::{Answering, Run, Service, Wire, get, socket, wait_for};
use crate::unseen::inside::{descriptors, wait_dormant};

/// A service whose server answers by itself.
fn service(server: &Answering, more: &str) -> (Run, SocketAddr) {
    let (listening, address) = socket();
    let config = format!("[site.'*']\nto = ['{}']\n[drain]\ntimeout = '20s'\n{more}\n", server.address);
    (Run::new(&config).socket("http", listening), address)
}

#[track_caller]
fn exchange(client: &mut Wire) {
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str(), answer.says_close()), (200, "itself", false));
}

/// So many connections that are dormant, each after one exchange.
#[track_caller]
fn dormant(service: &Service<'_>, address: SocketAddr, count: usize) -> Vec<Wire> {
    let mut clients: Vec<_> = (0..count).map(|_| Wire::connect(address)).collect();
    clients.iter_mut().for_each(exchange);
    wait_dormant(service.serving().1, count);
    clients
}

#[test]
fn a_dormant_connection_is_served_and_leaves_nothing_behind() {
    let server = Answering::start("itself");
    let (run, address) = service(&server, "[worker]\nthreads = 1");
    let service = run.start();
    let pid = service.serving().1;
    let before = descriptors(pid) + 1; // the poller, which comes with the first one
    let open = |count| wait_for("descriptors", || (descriptors(pid) == before + count).then_some(()));
    let mut clients = dormant(&service, address, 3);
    open(3);
    exchange(&mut clients[1]);
    wait_dormant(pid, 3);
    clients.iter_mut().for_each(exchange);
    clients.iter().for_each(Wire::finish);
    clients.iter_mut().for_each(Wire::assert_closed);
    wait_dormant(pid, 0);
    open(0);
}

#[test]
fn dormant_connections_move_at_every_reload() {
    let server = Answering::start("itself");
    let (run, address) = service(&server, "");
    let service = run.start();
    let mut clients = dormant(&service, address, 4);
    for _ in 0..2 {
        service.reload_anyway();
        let (_, pid) = service.settled();
        wait_dormant(pid, clients.len()); // as soon as they have come, since they were idle for as long
    }
    clients.iter_mut().for_each(exchange);
}

#[test]
fn a_dormant_connection_is_closed_at_its_time_and_for_a_new_one() {
    let server = Answering::start("itself");
    let (run, address) = service(&server, "[listen.http]\nidle_timeout = '4s'\nmax_connections = 2");
    let service = run.start();
    let mut clients = dormant(&service, address, 2);
    let mut next = Wire::connect(address);
    exchange(&mut next);
    clients[0].assert_closed();
    clients[1].assert_closed();
    next.assert_closed();
    assert!(service.status().to_string().contains("\"evicted\":1"), "{}", service.status());
    assert!(get(address).is_ok());
}

#[test]
fn a_dormant_connection_is_closed_at_the_end() {
    let server = Answering::start("itself");
    let (run, address) = service(&server, "stop_timeout = '1s'");
    let mut service = run.start();
    let mut clients = dormant(&service, address, 2);
    service.signal(rustix::process::Signal::TERM);
    clients.iter_mut().for_each(Wire::assert_closed);
    assert!(service.ended().success());
}

#[test]
fn a_dormant_connection_of_http_2_has_the_tables_of_both_sides() {
    let server = Answering::start("itself");
    let (run, address) = service(&server, "[listen.http]\nh2c = true");
    let service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[(1, 4096)]);
    let first = [&block(&request("GET", "a.test", "/first"))[..], b"\x40\x03x-a\x05first"].concat();
    client.send(HEADERS, WHOLE, 1, &first);
    assert_eq!(client.response(1).body, b"itself");
    let again = [&block(&request("GET", "a.test", "/again"))[..], &[0xbe]].concat();
    for stream in [3, 5] {
        wait_dormant(service.serving().1, 1);
        client.send(HEADERS, WHOLE, stream, &again);
        assert_eq!(client.response(stream).body, b"itself");
    }
    wait_dormant(service.serving().1, 1);
    service.reload_anyway();
    wait_dormant(service.settled().1, 1);
    client.send(HEADERS, WHOLE, 7, &again);
    assert_eq!(client.response(7).body, b"itself");
    client.assert_not_told();
}

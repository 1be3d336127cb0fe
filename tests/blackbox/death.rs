//! Workers and supervisors that die.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::{
    DEADLINE, Run, Server, Wire, assert_serves, free_address, get, is_alive, signal, socket, wait_for,
};

#[test]
fn a_worker_that_is_killed_is_replaced_and_no_connection_refused() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let service = run.start();
    for _ in 0..3 {
        let (number, pid) = service.serving();
        signal(pid, Signal::KILL);
        // the connection waits in the queue of the socket until somebody accepts it
        assert_serves(address);
        wait_for("the next generation", || (service.serving().0 > number).then_some(()));
    }
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening).argument("--hang-timeout=1s");
    let service = run.start();
    let (_, pid) = service.serving();
    signal(pid, Signal::STOP);
    run.wait_log("did not answer");
    assert_serves(address);
    assert_eq!(service.settled().0, 2);
    assert!(!is_alive(pid));
}

#[test]
fn a_worker_that_hangs_while_it_is_parked_or_drains_is_ended_and_its_clients_see_a_close() {
    for (probation, state) in [("1h", "parked"), ("100ms", "draining")] {
        let (listening, address) = socket();
        let arguments = ["--hang-timeout=1s".to_owned(), format!("--probation={probation}")];
        let server = Server::new();
        let run = Run::new(&format!("[site.\"*\"]\nto = [\"{}\"]\n", server.address)).socket("http", listening);
        let run = arguments.into_iter().fold(run, Run::argument);
        let service = run.start();
        let (_, first) = service.serving();
        let mut open = TcpStream::connect(address).expect("connect");
        open.set_read_timeout(Some(DEADLINE)).expect("timeout");
        open.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        let _unanswered = server.accept();
        // to another pool, so that the exchange does not move
        run.configure(&format!("[site.\"*\"]\nto = \"other\"\n[pool.other]\nservers = [\"{}\"]\n", server.address));
        service.reload_well();
        wait_for(state, || service.generations().iter().any(|one| one.2 == first && one.1 == state).then_some(()));
        signal(first, Signal::STOP);
        assert_eq!(open.read(&mut [0; 16]).unwrap_or(0), 0, "{state}: a close or a reset");
        run.wait_log("did not answer for");
        run.wait_log("with 1 connection, 1 of them busy");
        assert_eq!(service.settled().0, 2);
    }
}

#[test]
fn when_the_parked_worker_hangs_and_the_new_one_dies_another_one_serves_before_that_is_noticed() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening).argument("--probation=1h");
    let service = run.start();
    let (_, parked) = service.serving();
    service.reload_anyway();
    let (_, serving) = service.serving();
    signal(parked, Signal::STOP);
    signal(serving, Signal::KILL);
    assert_serves(address);
    assert!(is_alive(parked), "it was waited for");
    assert_eq!(service.settled().0, 3);
}

#[test]
fn a_worker_that_dies_again_and_again_is_replaced_ever_more_slowly() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let service = run.start();
    let mut last = 0;
    // each dies before it has served for a while
    wait_for("a wait of 400 ms", || {
        let next = service.workers().into_iter().find(|worker| *worker != last)?;
        signal(next, Signal::KILL);
        last = next;
        run.log().contains("starts in 400 ms").then_some(())
    });
    assert_serves(address);
}

#[test]
fn when_the_supervisor_dies_its_worker_finishes_what_is_open_and_the_next_supervisor_serves() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let mut service = run.start();
    let (_, orphan) = service.serving();
    let mut open = TcpStream::connect(address).expect("connect");
    open.set_read_timeout(Some(DEADLINE)).expect("timeout");
    open.write_all(b"GET / HTTP/1.1\r\nHo").expect("half a request");
    wait_for("the connection to be accepted", || {
        (service.status()["generations"][0]["connections"] == 1).then_some(())
    });

    service.signal(Signal::KILL);
    service.ended();
    run.wait_log("The supervisor is gone");
    let next = run.start();
    assert_serves(address);
    assert!(is_alive(orphan), "the orphan left its connection");
    open.write_all(b"st: localhost\r\n\r\n").expect("the other half");
    let mut answer = [0; 12];
    open.read_exact(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    drop(open);
    wait_for("the end of the orphan", || (!is_alive(orphan)).then_some(()));
    assert_eq!(next.settled().0, 1);
}

#[test]
fn an_orphan_cuts_what_is_open_at_its_deadline() {
    let (listening, address) = socket();
    let server = Server::new();
    let config = format!("[drain]\ntimeout = \"300ms\"\n[site.\"*\"]\nto = [\"{}\"]\n", server.address);
    let run = Run::new(&config).socket("http", listening);
    let service = run.start();
    let (_, orphan) = service.serving();
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let _unanswered = server.accept();
    service.signal(Signal::KILL);
    wait_for("the end of the orphan", || (!is_alive(orphan)).then_some(()));
    client.rest();
    assert!(run.log().contains("cut at the drain deadline"), "{}", run.log());
}

#[test]
fn an_orphan_accepts_nothing_any_more() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let mut service = run.start();
    let (_, orphan) = service.serving();
    service.signal(Signal::KILL);
    service.ended();
    wait_for("the end of the orphan", || (!is_alive(orphan)).then_some(()));
    // the test holds the socket as systemd would: the connection waits
    let waiting = std::thread::spawn(move || get(address));
    let _next = run.start();
    assert!(waiting.join().expect("the client").expect("an answer").starts_with("HTTP/1."));
}

#[test]
fn sockets_bound_by_the_service_are_free_again_when_it_is_gone() {
    let address = free_address();
    let run = Run::new(&format!("[listen.http]\naddress = \"{address}\"\n"));
    let mut service = run.start();
    service.signal(Signal::TERM);
    assert!(service.ended().success());
    let service = run.start();
    assert_serves(address);
    drop(service);
}

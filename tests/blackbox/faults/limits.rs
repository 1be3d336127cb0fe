//! Too few descriptors, and a reader of the log that stopped.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::Rlimit;

use super::crowd::read_answer;
use super::{Crowd, Farm, Habit, Manners};
use crate::support::{DEADLINE, Run, Server, Wire, leave_files, limit_files, socket, wait_for};

fn ask(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("connect");
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
    client
}

fn is_answered(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).expect("nonblocking");
    match client.read(&mut [0; 512]) {
        Ok(read) => read > 0,
        Err(fault) if fault.kind() == ErrorKind::WouldBlock => false,
        Err(fault) => panic!("{fault}"),
    }
}

// Every accept that failed after one that succeeded was said anew, and connections got 502 for want of a descriptor.
#[test]
fn with_too_few_descriptors_connections_wait_and_that_is_said_once() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let config = farm.config("[worker]\nthreads = 1\nmax_connections = 10000");
    let run = Run::new(&config).socket("http", listening);
    let service = run.start();
    limit_files(service.pid(), Rlimit { current: Some(200), maximum: Some(200) });
    service.reload_anyway();
    service.settled();

    let said = "reached worker.max_connections = 48";
    let mut clients: Vec<_> = (0..60).map(|_| ask(address)).collect();
    // Before that no client goes home: a worker that is slow to accept would otherwise never reach its limit.
    run.wait_log(said);
    let mut answered = 0;
    wait_for("the limit of (200 - 128) × 2/3 connections", || {
        clients.retain_mut(|client| {
            // those that were answered go home, and make room
            let waits = !is_answered(client);
            answered += u32::from(!waits);
            waits
        });
        clients.is_empty().then_some(())
    });
    assert_eq!(answered, 60);
    let log = run.log();
    assert_eq!(log.matches(said).count(), 1, "{log}");
    assert!(!log.contains("Too many open files"), "{log}");
}

// Connections that were kept for their clients' next requests shut out everybody else until the idle timeout.
#[test]
fn at_the_limit_of_connections_those_who_stay_make_room() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let config = farm.config("[worker]\nthreads = 1\n[listen.http]\nmax_connections = 1");
    let run = Run::new(&config).socket("http", listening);
    let _service = run.start();
    let mut staying = ask(address);
    staying.set_read_timeout(Some(DEADLINE)).expect("timeout");
    assert!(!read_answer(&mut staying).expect("an answer").contains("connection: close"));
    let mut waiting = ask(address);
    waiting.set_read_timeout(Some(DEADLINE)).expect("timeout");
    run.wait_log("reached max_connections = 1");
    // unless it was found idle, and closed, before its request came
    if staying.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok()
        && let Ok(answer) = read_answer(&mut staying)
    {
        assert!(answer.contains("connection: close"), "{answer}");
    }
    drop(staying);
    assert!(read_answer(&mut waiting).expect("an answer").starts_with("http/1.1 200"));
}

#[test]
fn a_reader_of_the_log_that_stops_stops_nothing_else() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    mknodat(CWD, run.path("log"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let _unread = open(run.path("log"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("open");
    let service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Staying, Habit::Staying]);
    crowd.wait_served(2000); // far more than the pipe holds
    service.reload_anyway();
    crowd.wait_served(1000);
    crowd.end();
    let mut client = ask(address);
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    assert!(read_answer(&mut client).is_ok());
    // nothing may be left that reads the log when it ends
    drop(service);
}

#[test]
fn a_request_waits_for_a_descriptor_and_is_not_refused() {
    const CLIENTS: usize = 6;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = Server::new();
    let config = format!(
        "[worker]\nthreads = 1\n[site.\"*\"]\nto = \"farm\"\n\
         [pool.farm]\nservers = [\"{}\"]\nretries = 0\nconnect_timeout = \"20s\"\n",
        server.address
    );
    let (listening, address) = socket();
    let run = Run::new(&config).socket("http", listening);
    let service = run.start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Wire::connect(address)).collect();
    let mut kept = None;
    for client in &mut clients {
        client.send(request);
        let upstream = kept.get_or_insert_with(|| server.accept());
        upstream.head();
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(client.head().status(), 204);
    }
    leave_files(service.serving().1, 2);

    clients.iter_mut().for_each(|client| client.send(request));
    let mut upstreams = VecDeque::from([kept.expect("connected"), server.accept(), server.accept()]);
    for _ in 0..CLIENTS {
        let mut upstream = upstreams.pop_front().unwrap_or_else(|| server.accept());
        upstream.head();
        upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.head().status(), 204);
    }
}

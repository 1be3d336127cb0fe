//! Too few descriptors, and a reader of the log that stopped.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::crowd::read_answer;
use super::{Crowd, Farm, Habit, Manners};
use crate::support::{DEADLINE, Run, socket, wait_for};

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
    let pid = Pid::from_raw(service.pid().cast_signed());
    let few = Rlimit { current: Some(200), maximum: Some(200) };
    prlimit(pid, Resource::Nofile, few).expect("prlimit");
    service.reload_anyway();
    service.settled();

    let mut clients: Vec<_> = (0..60).map(|_| ask(address)).collect();
    let mut answered = 0;
    wait_for("the limit of (200 - 128) / 2 connections", || {
        clients.retain_mut(|client| {
            // those that were answered go home, and make room
            let waits = !is_answered(client);
            answered += u32::from(!waits);
            waits
        });
        clients.is_empty().then_some(())
    });
    assert_eq!(answered, 60);
    let (log, said) = (run.log(), "reached worker.max_connections = 36");
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
    staying.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
    assert!(read_answer(&mut staying).expect("an answer").contains("connection: close"));
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

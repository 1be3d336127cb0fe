//! The beginning and the end of the service.

use std::io::Write;
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::{Run, assert_serves, is_alive, signal, socket, wait_for};

#[test]
fn a_first_configuration_that_is_refused_ends_with_78_and_the_problems() {
    let run = Run::new("[listen.http]\nadress = 1\n");
    let mut service = run.spawn();
    assert_eq!(service.ended().code(), Some(78));
    let log = run.log();
    assert!(log.contains("Segue did not start") && log.contains("segue.toml:2"), "{log}");
}

#[test]
fn a_listener_without_a_socket_is_refused_with_what_to_write() {
    let run = Run::new("");
    let mut service = run.spawn();
    assert_eq!(service.ended().code(), Some(78));
    assert!(run.log().contains("FileDescriptorName=http"), "{}", run.log());
}

#[test]
fn a_first_worker_that_crashes_ends_the_service_with_1() {
    let run = Run::new("").argument("--worker-binary=/bin/false");
    let mut service = run.spawn();
    assert_eq!(service.ended().code(), Some(1));
    assert!(run.log().contains("exited with status 1"), "{}", run.log());
}

#[test]
fn a_configuration_that_is_mended_while_a_refused_start_lingers_is_served() {
    let (listening, address) = socket();
    let run = Run::new("[listen.http]\nadress = 1\n").socket("http", listening);
    let mut service = run.spawn();
    run.wait_log("Segue did not start");
    run.configure("");
    run.notifications().wait("READY=1");
    assert_serves(address);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn signals_that_ask_for_nothing_do_nothing_to_supervisor_and_workers() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let service = run.start();
    let (number, worker) = service.serving();
    let none = [
        Signal::USR1,
        Signal::USR2,
        Signal::TTIN,
        Signal::TTOU,
        Signal::TSTP,
        Signal::WINCH,
        Signal::PIPE,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::STKFLT,
        Signal::XCPU,
        Signal::XFSZ,
        Signal::URG,
        Signal::CHILD,
        Signal::CONT,
    ];
    for which in none {
        service.signal(which);
        signal(worker, which);
    }
    for which in [Signal::HUP, Signal::INT, Signal::TERM, Signal::QUIT] {
        signal(worker, which);
    }
    assert_serves(address);
    assert_eq!(service.serving(), (number, worker));
}

#[test]
fn quit_ends_the_service_as_terminate_does() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let mut service = run.start();
    let mut open = TcpStream::connect(address).expect("connect");
    open.write_all(b"GET / HTTP/1.1\r\nHo").expect("half a request");
    wait_for("the connection to be accepted", || {
        (service.status()["generations"][0]["connections"] == 1).then_some(())
    });
    service.signal(Signal::QUIT);
    run.wait_log("stopping");
    open.write_all(b"st: localhost\r\n\r\n").expect("the other half");
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut open, &mut answer).expect("an answer");
    assert_eq!(service.ended().code(), Some(0));
    assert!(!run.log().contains("worker-died"), "{}", run.log());
}

#[test]
fn terminate_ends_the_service_and_all_its_workers() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let mut service = run.start();
    service.reload_anyway();
    assert_serves(address);
    let workers = service.workers();
    assert!(!workers.is_empty());
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code(), Some(0));
    assert!(!workers.into_iter().any(is_alive));
    run.notifications().wait("STOPPING=1");
    assert!(!run.run_dir().join("control.sock").exists());
}

#[test]
fn a_second_terminate_ends_the_service_at_once() {
    let (listening, address) = socket();
    let run = Run::new("[drain]\nstop_timeout = \"1h\"\n").socket("http", listening);
    let mut service = run.start();
    let mut open = TcpStream::connect(address).expect("connect");
    open.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Le").expect("half a request");
    wait_for("the connection to be accepted", || {
        (service.status()["generations"][0]["connections"] == 1).then_some(())
    });
    let workers = service.workers();
    service.signal(Signal::TERM);
    run.wait_log("Stopping");
    assert!(workers.iter().copied().all(is_alive), "the request was not finished");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code(), Some(0));
    assert!(!workers.into_iter().any(is_alive));
}

#[test]
fn two_services_never_share_a_run_directory() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let _first = run.start();
    let mut second = run.spawn();
    assert_eq!(second.ended().code(), Some(1));
    assert!(run.log().contains("another supervisor"), "{}", run.log());
    assert_serves(address);
}

#[test]
fn status_shows_what_runs() {
    let (listening, _) = socket();
    let run = Run::new("").socket("http", listening);
    let service = run.start();
    let output = run.segue(&["status"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("generation 1 serving") && text.contains("PID"), "{text}");
    assert_eq!(service.status()["supervisor"]["pid"], service.pid());
}

/// `systemctl kill --signal=USR1 proxy` is what an operator of nginx may type.
#[test]
fn signals_of_other_proxies_do_nothing() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let service = run.start();
    let before = service.serving();
    for which in [Signal::USR1, Signal::USR2] {
        signal(before.1, which);
        service.signal(which);
    }
    service.reload_anyway(); // signals are delivered before a process does anything else
    assert_serves(address);
    assert_eq!(service.settled().0, before.0 + 1);
    assert!(!run.log().contains("worker-died"), "{}", run.log());
}

//! Reloads that go back by themselves unless somebody confirms them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::support::{DEADLINE, Run, assert_serves, free_address, signal};

fn simple() -> (Run, SocketAddr) {
    let address = free_address();
    (Run::new(&format!("[listen.http]\naddress = \"{address}\"\n")).argument("--probation=100ms"), address)
}

#[test]
fn a_reload_that_is_not_confirmed_goes_back_and_clients_see_nothing() {
    let (run, address) = simple();
    let service = run.start();
    let (_, old) = service.serving();
    let asking = crate::support::Asking::start(address);
    let (good, text) = service.reload_with(&["--force", "--confirm", "1s"]);
    assert!(good && text.contains("in 1s, unless you say `segue reload --confirmed`"), "{text}");
    // open while the generation that took it is gone back from
    let mut open = TcpStream::connect(address).expect("connect");
    open.set_read_timeout(Some(DEADLINE)).expect("timeout");
    run.wait_log("Rolled back: generation 2 failed in its probation (was not confirmed in time)");
    run.wait_log("Generation 2 drains");
    assert_eq!(service.serving(), (1, old));
    asking.end();
    open.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
    let mut answer = [0; 12];
    open.read_exact(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    drop(open);
    assert_eq!(service.settled(), (1, old));
    assert!(service.status()["note"].as_str().is_some_and(|note| note.contains("not confirmed")));
    let (good, text) = service.reload_with(&["--confirmed"]);
    assert!(!good && text.contains("nothing to confirm: rolled back to generation 1"), "{text}");
}

#[test]
fn a_reload_that_is_confirmed_stays() {
    let (run, address) = simple();
    let service = run.start();
    assert!(service.reload_with(&["--force", "--confirm", "1h"]).0);
    let status = service.status();
    assert!(status["line"].as_str().is_some_and(|line| line.contains("1 parked (to be confirmed within")), "{status}");
    let (good, text) = service.reload_with(&["--confirmed"]);
    assert!(good && text.contains("confirmed: generation 2 stays"), "{text}");
    assert_eq!(service.settled().0, 2);
    assert_serves(address);
}

#[test]
fn where_there_is_nothing_to_confirm_the_command_fails_and_says_so() {
    let (run, _) = simple();
    let service = run.start();
    let output = run.segue(&["reload", "--confirmed"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("nothing to confirm: generation 1 serves"), "{text}");
    assert_eq!(service.settled().0, 1);
}

#[test]
fn a_plain_reload_does_not_confirm() {
    let (run, _) = simple();
    let service = run.start();
    let (_, old) = service.serving();
    assert!(service.reload_with(&["--force", "--confirm", "3s"]).0);
    let (good, text) = service.reload();
    assert!(good && text.contains("nothing changed") && text.contains("unless you say"), "{text}");
    let (good, text) = service.reload_with(&["--force"]);
    assert!(good && text.contains("generation 4 serving") && text.contains("unless you say"), "{text}");
    run.wait_log("Rolled back: generation 4");
    assert_eq!(service.settled(), (1, old));
}

#[test]
fn an_unconfirmed_generation_that_dies_is_gone_back_from_at_once() {
    let (run, address) = simple();
    let service = run.start();
    let (_, old) = service.serving();
    assert!(service.reload_with(&["--force", "--confirm", "1h"]).0);
    signal(service.serving().1, Signal::KILL);
    run.wait_log("Rolled back: generation 2");
    assert_serves(address);
    assert_eq!(service.settled(), (1, old));
}

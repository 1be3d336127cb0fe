//! Workers that cannot take connections for a while, which come to them from another generation.

use std::time::Duration;

use rustix::process::Signal;

use super::Scene;
use super::rollback::is_stopped;
use crate::strict::{Habits, Steps};
use crate::support::{Run, Wire, leave_files, limit_files, signal, socket, wait_for};

/// How long the receiver says nothing: more than the second after which it was once given up.
const SILENT: Duration = Duration::from_millis(1500);

/// The move was over for good, and what was left was cut at the drain deadline.
#[test]
fn a_receiver_that_was_short_of_descriptors_takes_every_connection_later() {
    let scene = Scene::new();
    let run = scene.run().argument("--probation=3s");
    let service = run.start();
    let crowd = scene.crowd(Habits::waiting(20, 20, 20));
    service.reload_anyway();
    let (number, receiver) = service.serving();
    let before = leave_files(receiver, 8);
    run.wait_log("move-broken");
    limit_files(receiver, before);
    assert_eq!(service.settled().0, number);
    crowd.assert_tunnels_run();
    crowd.end().assert_unseen();
}

#[test]
fn a_receiver_that_says_nothing_for_a_while_takes_every_connection_all_the_same() {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let service = run.start();
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!client.answer().says_close());
    service.reload_anyway();
    let (_, receiver) = service.serving();
    stop(receiver);
    Steps::of(Duration::from_millis(600)).wait(); // its probation is over, and a ping waits for it
    stop(service.pid());
    signal(receiver, Signal::CONT);
    Steps::of(Duration::from_millis(200)).wait(); // its answer waits for the supervisor
    stop(receiver);
    service.signal(Signal::CONT);
    run.wait_log("Generation 1 drains");
    Steps::of(SILENT).wait();
    signal(receiver, Signal::CONT);
    run.wait_log("Generation 1 ended: 0 connections finished, 1 moved, 0 cut");
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!client.answer().says_close());
}

fn stop(pid: u32) {
    signal(pid, Signal::STOP);
    wait_for("the process to be stopped", || is_stopped(pid).then_some(()));
}

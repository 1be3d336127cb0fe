//! Workers that die while connections come to them from another generation.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::rollback::{assert_lost_at_most, is_stopped};
use super::{Scene, inside};
use crate::strict::{Habits, Steps};
use crate::support::{Run, Wire, is_alive, leave_files, limit_files, signal, socket, wait_for};

/// Enough for several packets of descriptors.
const MANY: Habits = Habits { fresh: 2, busy: 2, ..Habits::waiting(400, 20, 20) };
/// How long the receiver says nothing: more than the second after which it was once given up.
const SILENT: Duration = Duration::from_millis(1500);
/// How often the receiver dies, each time a little later.
const DEATHS: u32 = 5;
const LATER: Duration = Duration::from_millis(2);

#[test]
fn when_the_receiver_of_connections_dies_half_way_nothing_is_served_twice_and_the_others_go_on() {
    let scene = Scene::new();
    let run = scene.run().argument("--probation=100ms");
    let service = run.start();
    let crowd = scene.crowd(MANY);
    let mut was_inside = 0;
    for death in 0..DEATHS {
        let (giver, _) = service.settled();
        service.reload_anyway();
        let (number, receiver) = service.serving();
        crowd.mark(&format!("generation {number} will die"));
        run.wait_log(&format!("Generation {giver} drains"));
        let until = Instant::now() + death * LATER;
        while Instant::now() < until {
            std::thread::yield_now();
        }
        // while it is stopped it takes nothing more: what it holds is what it will have held
        signal(receiver, Signal::STOP);
        wait_for("the worker to be stopped", || is_stopped(receiver).then_some(()));
        let held = inside::connections(receiver, &[scene.http, scene.tcp]);
        crowd.mark(&format!("it dies with {held} connections"));
        signal(receiver, Signal::KILL);
        was_inside += held;
        wait_for("its end", || (!is_alive(receiver)).then_some(()));
        wait_for("the next worker", || (service.serving().0 > number).then_some(()));
        run.notifications().so_far(); // systemd reads them too
    }
    eprintln!("{was_inside} connections were inside dead workers");
    service.settled();
    crowd.wait_requests(300);
    assert_lost_at_most(was_inside, &crowd);
    crowd.end();
    scene.assert_served_once();
}

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

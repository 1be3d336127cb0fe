//! Workers that are killed or hang, and restarts, while clients are at work.

use rustix::process::Signal;

use super::{Crowd, Farm, Habit, Manners};
use crate::support::{Run, signal, socket, wait_for};

#[test]
fn when_workers_are_killed_under_load_nobody_is_refused_and_a_new_one_is_there_at_once() {
    let farm = Farm::new(2, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Fresh]);
    for _ in 0..4 {
        crowd.wait_served(20);
        let (number, pid) = service.serving();
        signal(pid, Signal::KILL);
        wait_for("the next generation", || (service.serving().0 > number).then_some(()));
    }
    crowd.wait_served(20);
    // what was on its way is lost with its worker, and no more than that: one request of each client each time
    let losses = crowd.losses();
    assert!(losses.len() <= 8 && !losses.iter().any(|loss| loss.starts_with("connect")), "{losses:#?}");
}

// It passed its probation, because it had answered once, and the parked generation was let go.
#[test]
fn a_worker_that_hangs_in_its_probation_is_rolled_back() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let run = run.argument("--probation=2s").argument("--hang-timeout=2s");
    let service = run.start();
    service.reload_anyway();
    signal(service.serving().1, Signal::STOP);
    run.wait_log("Rolled back");
    assert_eq!(service.settled().0, 1);
    let crowd = Crowd::start(address, &[Habit::Fresh]);
    crowd.wait_served(5);
    crowd.end();
}

#[test]
fn restarts_on_the_same_socket_are_seen_by_nobody_who_comes_and_goes() {
    let farm = Farm::new(2, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let mut service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Fresh, Habit::Fresh]);
    for _ in 0..3 {
        crowd.wait_served(20);
        service.signal(Signal::TERM);
        assert!(service.ended().success());
        service = run.start();
    }
    crowd.wait_served(20);
    crowd.end();
}

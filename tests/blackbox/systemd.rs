//! What systemd hears of the service beside reloads.

use rustix::process::Signal;

use crate::support::{Run, assert_serves, signal, socket};

#[test]
fn the_watchdog_is_fed_while_the_worker_answers() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http).variable("WATCHDOG_USEC", "400000");
    let _service = run.start();
    for _ in 0..3 {
        run.notifications().wait("WATCHDOG=1");
    }
}

#[test]
fn without_a_watchdog_systemd_is_left_in_peace() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http);
    let service = run.start();
    service.reload_anyway();
    run.notifications().wait("RELOADING=1");
    run.notifications().wait("READY=1");
    assert!(!run.notifications().so_far().iter().any(|one| one.says("WATCHDOG=1")));
}

#[test]
fn start_and_stop_ask_for_more_time() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http);
    let mut service = run.spawn();
    let wanted = |what: &str| run.notifications().wait_for(what, |one| one.value("EXTEND_TIMEOUT_USEC").is_some());
    wanted("more time to start");
    run.notifications().wait("READY=1");
    service.signal(Signal::TERM);
    run.notifications().wait("STOPPING=1");
    assert!(service.ended().success());
}

#[test]
fn the_status_line_says_who_serves() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http);
    let service = run.spawn();
    let ready = run.notifications().wait("READY=1");
    let status = ready.value("STATUS").expect("a status").to_owned();
    assert!(status.starts_with("generation 1 serving"), "{status}");
    signal(service.serving().1, Signal::KILL);
    run.notifications().wait_for("the next generation", |one| {
        one.value("STATUS").is_some_and(|status| status.starts_with("generation 2 serving"))
    });
}

#[test]
fn the_status_line_says_why_the_service_does_not_start() {
    let run = Run::new("broken = 1");
    let mut service = run.spawn();
    assert_eq!(service.ended().code(), Some(78));
    run.notifications().wait_for("the reason", |one| {
        one.value("STATUS").is_some_and(|status| status.contains("segue.toml:1") && status.contains("broken"))
    });
}

#[test]
fn systemd_that_does_not_listen_delays_nothing() {
    let (http, address) = socket();
    let run = Run::new("").socket("http", http).argument("--probation=10ms");
    let service = run.start();
    // nobody reads the notifications; a handful of them fill the socket
    for _ in 0..10 {
        service.reload_anyway();
    }
    assert_serves(address);
}

//! Reloads that have nothing to do, and many at once.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Run, Service, assert_serves, free_address, wait_for};

fn config(address: SocketAddr, more: &str) -> String {
    format!("[site.\"*\"]\nto = [\"127.0.0.1:9\"]\n[listen.http]\naddress = \"{address}\"\n{more}")
}

fn simple() -> (Run, SocketAddr) {
    let address = free_address();
    (Run::new(&config(address, "")), address)
}

#[test]
fn a_reload_that_changes_nothing_says_so_and_does_nothing() {
    let (run, address) = simple();
    let service = run.start();
    let before = service.settled();
    let (good, text) = service.reload();
    assert!(good && text.starts_with("nothing changed: generation 1 goes on"), "{text}");
    // written differently, and the same
    run.configure(&config(address, "# a comment\nmax_connections = 65536\n"));
    let (good, text) = service.reload();
    assert!(good && text.contains("nothing changed"), "{text}");
    assert_eq!(service.settled(), before);
    wait_for("one worker", || (service.workers() == [before.1]).then_some(()));
    assert_serves(address);
}

#[test]
fn systemd_hears_of_a_reload_that_changes_nothing_to_its_end() {
    let (run, _) = simple();
    let service = run.start();
    assert!(service.reload().0);
    run.notifications().wait("RELOADING=1");
    run.notifications().wait("READY=1");
}

#[test]
fn hangup_without_a_change_does_nothing() {
    let (run, _) = simple();
    let service = run.start();
    let before = service.settled();
    service.signal(Signal::HUP);
    run.wait_log("nothing changed, generation 1 goes on");
    assert_eq!(service.settled(), before);
}

#[test]
fn force_makes_a_new_generation_of_an_unchanged_configuration() {
    let (run, _) = simple();
    let service = run.start();
    let (good, text) = service.reload_with(&["--force"]);
    assert!(good && text.contains("generation 2 serving"), "{text}");
}

#[test]
fn a_program_that_was_replaced_is_a_change() {
    let (run, _) = simple();
    let worker = run.path("worker");
    std::fs::copy(env!("CARGO_BIN_EXE_segue"), &worker).expect("copy");
    let run = run.argument(format!("--worker-binary={}", worker.display()));
    let service = run.start();
    assert!(service.reload().1.contains("nothing changed"));
    std::fs::copy(env!("CARGO_BIN_EXE_segue"), run.path("new")).expect("copy");
    std::fs::rename(run.path("new"), &worker).expect("rename");
    let (good, text) = service.reload();
    assert!(good && text.contains("serving"), "{text}");
}

#[test]
fn going_back_to_the_good_configuration_after_a_refused_one_changes_nothing_and_clears_the_status() {
    let (run, address) = simple();
    let service = run.start();
    run.configure("broken = 1");
    assert!(!service.reload().0);
    assert!(service.status()["note"].as_str().is_some_and(|note| note.contains("reload refused")));
    run.configure(&config(address, ""));
    let (good, text) = service.reload();
    assert!(good && text.contains("nothing changed"), "{text}");
    assert!(service.status()["note"].is_null(), "{}", service.status());
}

#[test]
fn what_serves_after_a_crash_is_known_as_unchanged() {
    let (run, address) = simple();
    let service = run.start();
    crate::support::signal(service.serving().1, Signal::KILL);
    assert_serves(address);
    let (good, text) = service.reload();
    assert!(good && text.contains("nothing changed"), "{text}");
}

#[test]
fn an_unchanged_reload_repeats_the_warnings() {
    let (listening, _) = crate::support::socket();
    let address = free_address();
    let run = Run::new(&config(address, "")).socket("http", listening);
    let service = run.start();
    let (good, text) = service.reload();
    assert!(good && text.contains("has no effect") && text.contains("nothing changed"), "{text}");
}

#[test]
fn of_two_hundred_reloads_from_twenty_shells_each_gets_a_verdict_and_nothing_is_left_over() {
    let (run, address) = simple();
    let run = run.argument("--probation=20ms");
    let service = run.start();
    service.reload_anyway();
    run.configure(&config(address, "max_connections = 1000\n"));
    let (first, _) = settled(&service);
    let before = descriptors(&service);
    let storm = |arguments: &str| -> Vec<String> {
        let one = format!("{} reload {arguments} --run-dir {}", env!("CARGO_BIN_EXE_segue"), run.run_dir().display());
        let script = format!("for i in 1 2 3 4 5 6 7 8 9 10; do {one} || echo FAILED; done");
        let shell = || Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().expect("a shell");
        let shells: Vec<_> = (0..20).map(|_| shell()).collect();
        let outputs = shells.into_iter().map(|shell| shell.wait_with_output().expect("its output").stdout);
        let text: Vec<_> = outputs.map(|output| String::from_utf8(output).expect("text")).collect();
        text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
    };
    let verdicts = storm("");
    let (unchanged, serving): (Vec<_>, Vec<_>) = verdicts.iter().partition(|one| one.starts_with("nothing changed"));
    assert_eq!((unchanged.len() + serving.len(), verdicts.len()), (200, 200));
    assert!(serving.iter().all(|one| one.starts_with(&format!("generation {} serving", first + 1))), "{serving:?}");
    let spawned = run.log().matches("Reload asked for").count();
    assert!(spawned <= 60, "{spawned} workers for 200 callers, each of 20 shells with one at a time");
    let (serving, pid) = settled(&service);
    assert_eq!(serving, first + 1, "{}", run.log());
    assert_eq!(service.workers(), [pid]);
    wait_for("as few descriptors as before", || (descriptors(&service) <= before).then_some(()));
    assert_serves(address);
}

/// One generation, and one process.
fn settled(service: &Service<'_>) -> (u64, u32) {
    let settled = service.settled();
    wait_for("one worker", || (service.workers() == [settled.1]).then_some(()));
    settled
}

fn descriptors(service: &Service<'_>) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("descriptors").count()
}

//! Reloads and their verdicts.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use segue::control::request::ReloadVerdict;

use crate::support::{
    Asked, Asking, Run, assert_serves, copy, executable, free_address, is_alive, replace, signal, socket, wait_for,
};

/// A run with one listener, bound by the service itself.
fn simple() -> (Run, SocketAddr) {
    let address = free_address();
    (Run::new(&listener("http", address)), address)
}

fn listener(name: &str, address: SocketAddr) -> String {
    format!("[listen.{name}]\naddress = \"{address}\"\n")
}

/// Another configuration that serves the same.
fn changed(address: SocketAddr) -> String {
    listener("http", address) + "max_connections = 1000\n"
}

#[test]
fn reload_brings_a_new_generation_and_says_so() {
    let (run, address) = simple();
    let service = run.start();
    run.configure(&changed(address));
    let (good, text) = service.reload();
    assert!(good && text.contains("generation 2 serving"), "{text}");
    assert_serves(address);
    assert_eq!(service.settled().0, 2);
}

#[test]
fn systemd_hears_of_a_reload_from_its_beginning_to_its_end() {
    let (run, _) = simple();
    let service = run.start();
    service.reload_anyway();
    let reloading = run.notifications().wait("RELOADING=1");
    assert!(reloading.value("MONOTONIC_USEC").is_some_and(|time| time.parse::<u64>().is_ok()));
    let ready = run.notifications().wait("READY=1");
    assert!(ready.value("STATUS").is_some_and(|status| status.contains("generation 2 serving")), "{:?}", ready.lines);
}

#[test]
fn reload_with_bad_config_keeps_the_old_generation_and_prints_every_problem() {
    let (run, address) = simple();
    let service = run.start();
    run.configure(&format!("{}adress = 1\nmax_connections = \"many\"\n", listener("http", address)));
    let (good, text) = service.reload();
    assert!(!good && text.contains("adress") && text.contains("max_connections"), "{text}");
    assert!(text.contains("segue.toml:3"), "{text}");
    run.notifications().wait("RELOADING=1");
    let ready = run.notifications().wait("READY=1");
    assert!(ready.value("STATUS").is_some_and(|status| status.contains("reload refused")), "{:?}", ready.lines);
    assert_eq!(service.settled().0, 1);
    assert_serves(address);
    run.configure(&listener("http", address));
    service.reload_anyway();
    assert_eq!(service.settled().0, 3);
}

#[test]
fn a_new_worker_that_crashes_at_start_is_a_verdict_and_nothing_else() {
    let (run, address) = simple();
    let worker = run.path("worker");
    copy(env!("CARGO_BIN_EXE_segue"), &worker);
    let run = run.argument(format!("--worker-binary={}", worker.display()));
    let service = run.start();
    replace(&worker, "/bin/false");
    let (good, text) = service.reload();
    assert!(!good && text.contains("exited with status 1"), "{text}");
    assert_serves(address);
    assert_eq!(service.settled().0, 1);
}

#[test]
fn a_new_worker_that_is_never_ready_is_killed_at_the_deadline() {
    let (run, address) = simple();
    let worker = run.path("worker");
    copy(env!("CARGO_BIN_EXE_segue"), &worker);
    let run = run.argument(format!("--worker-binary={}", worker.display())).argument("--start-timeout=5s");
    let service = run.start(); // the first worker has the same deadline, whatever else this machine does
    replace(&worker, "/usr/bin/yes"); // says a lot, but never hello
    let (good, text) = service.reload();
    assert!(!good && text.contains("not ready within 5 s"), "{text}");
    assert_serves(address);
    assert_eq!(service.settled().0, 1);
}

#[test]
fn reload_runs_the_installed_binary_and_a_respawn_the_one_that_proved_good() {
    let (run, _) = simple();
    let worker = run.path("worker");
    copy(env!("CARGO_BIN_EXE_segue"), &worker);
    let run = run.argument(format!("--worker-binary={}", worker.display()));
    let service = run.start();
    let first = executable(service.serving().1);
    replace(&worker, env!("CARGO_BIN_EXE_segue"));
    service.reload_anyway();
    let (_, pid) = service.settled();
    let second = executable(pid);
    assert_ne!(first, second, "the reload ran the old binary");
    replace(&worker, "/bin/false");
    signal(pid, Signal::KILL);
    run.wait_log("another one starts now");
    assert_eq!(executable(service.serving().1), second, "the respawn ran another binary");
}

#[test]
fn a_respawn_uses_the_last_good_configuration_not_the_one_on_disk() {
    let (run, address) = simple();
    let service = run.start();
    let (_, pid) = service.serving();
    run.configure("this is no configuration");
    signal(pid, Signal::KILL);
    assert_serves(address);
    assert_eq!(service.settled().0, 2);
}

#[test]
fn hangup_reloads() {
    let (run, address) = simple();
    let service = run.start();
    run.configure(&changed(address));
    service.signal(Signal::HUP);
    run.wait_log("Reload done");
    assert_eq!(service.settled().0, 2);
    assert_serves(address);
}

#[test]
fn reloads_asked_for_at_once_share_runs_and_every_caller_gets_a_verdict() {
    let (run, address) = simple();
    let service = run.start();
    // stopped, it hears of them all in the same moment
    service.signal(Signal::STOP);
    let callers: Vec<_> = (0..20).map(|_| Asked::reload(&run.run_dir())).collect();
    service.signal(Signal::CONT);
    let verdicts: Vec<_> = callers.iter().map(Asked::verdict).collect();
    let generations = |number: u64| verdicts.iter().filter(|one| served_by(one) == number).count();
    assert_eq!((generations(2), generations(3)), (1, 19), "one run for the first, one for all who came meanwhile");
    assert_eq!(service.settled().0, 3);
    assert_serves(address);
}

fn served_by(verdict: &ReloadVerdict) -> u64 {
    match verdict {
        ReloadVerdict::Serving { generation, .. } => *generation,
        other => panic!("{other}"),
    }
}

fn caller(run: &Run) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segue"));
    command.arg("reload").arg("--run-dir").arg(run.run_dir()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("segue reload")
}

#[test]
fn no_connection_is_refused_over_many_reloads() {
    let (run, address) = simple();
    let run = run.argument("--probation=50ms");
    let service = run.start();
    let asking = Asking::start(address);
    for _ in 0..10 {
        service.reload_anyway();
    }
    asking.end();
    assert_eq!(service.settled().0, 11);
}

#[test]
fn when_the_new_worker_dies_in_probation_the_old_one_serves_again() {
    let (run, address) = simple();
    let run = run.argument("--probation=1h");
    let service = run.start();
    let (_, old) = service.serving();
    service.reload_anyway();
    let (_, new) = service.serving();
    assert_ne!(old, new);
    signal(new, Signal::KILL);
    run.wait_log("Rolled back");
    assert_serves(address);
    assert_eq!(service.settled(), (1, old));
    assert!(service.status()["note"].as_str().is_some_and(|note| note.contains("rolled back")));
}

#[test]
fn when_the_new_worker_hangs_in_probation_the_old_one_serves_again() {
    let (run, address) = simple();
    let run = run.argument("--probation=1h").argument("--hang-timeout=1s");
    let service = run.start();
    let (_, old) = service.serving();
    service.reload_anyway();
    let (_, new) = service.serving();
    signal(new, Signal::STOP);
    run.wait_log("Rolled back");
    assert_serves(address);
    assert_eq!(service.settled(), (1, old));
    assert!(!is_alive(new));
}

#[test]
fn without_a_service_reload_says_what_to_do() {
    let (run, _) = simple();
    let output = run.segue(&["reload"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("no supervisor") && text.contains("hint:"), "{text}");
}

#[test]
fn a_caller_that_goes_away_is_no_fault() {
    let (run, address) = simple();
    let service = run.start();
    let mut caller = caller(&run);
    caller.kill().expect("kill");
    caller.wait().expect("wait");
    wait_for("a service that answers", || service.reload().0.then_some(()));
    assert_serves(address);
}

#[test]
fn an_address_in_use_is_a_problem_that_names_it() {
    let (run, address) = simple();
    let service = run.start();
    let (_taken, other) = socket();
    run.configure(&(listener("http", address) + &listener("other", other)));
    let (good, text) = service.reload();
    assert!(!good && text.contains(&other.to_string()) && text.contains("in use"), "{text}");
    assert_serves(address);
    assert_eq!(service.settled().0, 1);
}

#[test]
fn reloads_good_and_bad_leave_no_descriptor_and_no_process_behind() {
    let (run, address) = simple();
    let run = run.argument("--probation=20ms");
    let service = run.start();
    let reload_both = || {
        service.reload_anyway();
        run.configure("broken = 1");
        assert!(!service.reload().0);
        run.configure(&listener("http", address));
        service.settled();
        wait_for("one worker", || (service.workers().len() == 1).then_some(()))
    };
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("descriptors").count();
    reload_both();
    let before = descriptors();
    (0..8).for_each(|_| reload_both());
    wait_for("as few descriptors as before", || (descriptors() <= before).then_some(()));
}

//! Values of the configuration on the command line: `--set`.

use std::net::SocketAddr;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::support::{Run, SEGUE, Wire, signal, socket, wait_for};

const SILENT: &str = "[log]\naccess = 'off'\n";

/// Has an exchange, and waits for its record, which the file alone would not want.
#[track_caller]
fn assert_recorded(run: &Run, address: SocketAddr, path: &str) {
    let mut client = Wire::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    client.answer();
    run.wait_log(path);
}

/// A command of `segue` on the configuration of `run`: its exit status, and what it wrote where.
fn segue(run: &Run, arguments: &[&str]) -> (Option<i32>, String, String) {
    let outcome = Command::new(SEGUE).args(arguments).arg("--config").arg(run.config()).output();
    let Output { status, stdout, stderr } = outcome.expect("segue");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_the_command_line_sets_holds_over_reloads_and_deaths_of_workers() {
    let (listening, address) = socket();
    let run = Run::new(SILENT).socket("http", listening).argument("--set=log.access=all");
    let service = run.start();
    assert_recorded(&run, address, "/at-first");
    run.configure("[log]\naccess = 'off'\nslow = '2s'\n");
    service.reload_well();
    assert_recorded(&run, address, "/after-the-reload");
    let (number, worker) = service.settled();
    signal(worker, Signal::KILL);
    wait_for("the next generation", || (service.serving().0 > number).then_some(()));
    assert_recorded(&run, address, "/after-the-crash");
}

#[test]
fn diff_knows_what_the_command_line_of_the_service_sets() {
    let run = Run::new("").socket("http", socket().0).argument("--set=log.access=all");
    let _service = run.start();
    run.configure(&format!("{SILENT}slow = '2s'\n"));
    let outcome = run.segue(&["diff"]);
    let text = String::from_utf8(outcome.stdout).expect("text");
    assert_eq!(text, "log.slow: 1s → 2s\n1 difference to generation 1, which serves\n");
}

#[test]
fn a_service_whose_command_line_sets_an_unknown_key_ends_with_78_and_what_to_write() {
    let run = Run::new("").socket("http", socket().0).argument("--set=log.acces=all");
    assert_eq!(run.spawn().ended().code(), Some(78));
    let log = run.log();
    assert!(log.contains("`--set log.acces=all`") && log.contains("did you mean `--set log.access=all`?"), "{log}");
}

#[test]
fn check_and_config_take_what_the_command_line_would_set() {
    let run = Run::new(SILENT);
    let (status, _, problems) = segue(&run, &["check", "--set", "worker.threads=many", "--set", "log.slow"]);
    assert_eq!(status, Some(78), "{problems}");
    assert!(problems.contains("the text \"many\" (from --set worker.threads)"), "{problems}");
    assert!(problems.contains("`--set log.slow` gives no value"), "{problems}");
    assert!(problems.ends_with("segue.toml: 2 problems\n"), "{problems}");
    assert_eq!(segue(&run, &["check", "--set", "worker.threads=2"]).0, Some(0));
    let (_, effective, _) = segue(&run, &["config", "--effective", "--set", "log.access=errors+slow"]);
    assert!(effective.contains("access = \"errors+slow\"  # --set\n"), "{effective}");
}

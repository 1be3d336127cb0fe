//! Upgrades of the supervisor itself: it goes on as the program that a worker proved good, in the same process.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use segue::control::payload::Payload;
use segue::control::request::ReloadVerdict;

use crate::debug::Watching;
use crate::support::{
    Asked, Asking, Notification, Run, Service, Wire, assert_serves, copy, executable, file, get, is_alive, replace,
    signal, socket, wait_for,
};

pub const SEGUE: &str = env!("CARGO_BIN_EXE_segue");

/// A run with one listener whose installed program is a copy, so that it can be replaced.
fn installed() -> (Run, SocketAddr, PathBuf) {
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening);
    let program = run.path("program");
    copy(SEGUE, &program);
    let run = run.argument(format!("--worker-binary={}", program.display()));
    (run, address, program)
}

/// Waits until the supervisor is what is installed.
#[track_caller]
pub fn wait_upgraded(service: &Service, program: &Path) {
    wait_for("the upgrade of the supervisor", || (executable(service.pid()) == file(program)).then_some(()));
}

/// Installs the program anew and reloads until the supervisor is that.
#[track_caller]
pub fn upgrade(service: &Service, program: &Path) {
    replace(program, SEGUE);
    let (good, text) = service.reload();
    assert!(good, "{text}");
    wait_upgraded(service, program);
}

#[test]
fn after_a_reload_that_proved_a_new_program_the_supervisor_is_that_program_in_the_same_process() {
    let (run, address, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    let (before, asking) = (executable(service.pid()), Asking::start(address));
    upgrade(&service, &program);
    assert_ne!(executable(service.pid()), before);
    let (number, worker) = service.settled();
    assert_eq!((number, service.workers()), (2, vec![worker]), "another worker than the one that proved the program");
    service.reload_anyway();
    asking.end();
    assert_eq!(service.settled().0, 3);
    let supervisor = &service.status()["supervisor"];
    assert_eq!(supervisor["pid"], service.pid());
    assert_eq!(supervisor["version"], env!("CARGO_PKG_VERSION"));
    let version = env!("CARGO_PKG_VERSION");
    run.wait_log(&format!("The supervisor goes on as version {version}, in the same process; it was {version}"));
}

#[test]
fn what_is_watched_is_watched_on_by_the_workers_of_the_next_supervisor_too() {
    let (run, address, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    let watching = Watching::start(&run, &["--client", "127.0.0.0/8"]);
    upgrade(&service, &program);
    service.settled();
    service.reload_anyway();
    assert_eq!(service.settled().0, 3);
    watching.wait(&["-- generation 3 serves"]);
    assert_serves(address);
    watching.wait(&[" g3 ", "request GET / of localhost"]);
}

#[test]
fn to_people_it_looks_as_before() {
    let (run, _, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    upgrade(&service, &program);
    let of_process = |what: &str| std::fs::read(format!("/proc/{}/{what}", service.pid())).expect("a process");
    // the kernel names it after the path that it was executed by, for the moment that it takes to begin
    wait_for("its name", || (of_process("comm") == b"segue\n").then_some(()));
    let words = String::from_utf8(of_process("cmdline")).expect("UTF-8");
    let words: Vec<_> = words.trim_end_matches('\0').split('\0').collect();
    assert_eq!(words[..2], [program.to_str().expect("UTF-8"), "run"]);
    assert_eq!(words.iter().filter(|word| word.starts_with("--take-over")).count(), 1, "{words:?}");
}

#[test]
fn an_upgraded_supervisor_replaces_a_worker_that_dies() {
    let (run, address, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    upgrade(&service, &program);
    for number in 2..4 {
        let (serving, worker) = service.settled();
        assert_eq!(serving, number);
        signal(worker, Signal::KILL);
        assert_serves(address);
        wait_for("the next generation", || (service.serving().0 > number).then_some(()));
        assert!(!std::fs::exists(format!("/proc/{worker}")).expect("/proc"), "nobody waited for the worker");
    }
}

#[test]
fn an_upgraded_supervisor_still_sets_what_its_command_line_said() {
    let (run, address, program) = installed();
    run.configure("[log]\naccess = 'off'\n");
    let run = run.argument("--set=log.access=all");
    let service = run.start();
    wait_upgraded(&service, &program);
    upgrade(&service, &program);
    service.reload_anyway();
    let mut client = Wire::connect(address);
    client.send("GET /after-the-upgrade HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.answer();
    run.wait_log("/after-the-upgrade");
}

#[test]
fn an_upgraded_supervisor_stops_cleanly() {
    let (run, _, program) = installed();
    let mut service = run.start();
    wait_upgraded(&service, &program);
    upgrade(&service, &program);
    let workers = service.workers();
    service.signal(Signal::TERM);
    assert!(service.ended().success());
    assert!(workers.into_iter().all(|worker| !is_alive(worker)));
    run.notifications().wait("STOPPING=1");
    assert!(!std::fs::exists(run.run_dir().join("control.sock")).expect("the run directory"));
}

#[test]
fn an_upgraded_supervisor_still_has_its_run_directory_for_itself() {
    let (run, address, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    upgrade(&service, &program);
    assert_eq!(run.spawn().ended().code(), Some(1));
    run.wait_log("another supervisor of segue runs");
    assert_serves(address);
    service.reload_anyway();
}

#[test]
fn systemd_hears_no_difference() {
    let (run, _, program) = installed();
    let run = run.variable("WATCHDOG_USEC", "400000");
    let service = run.start();
    wait_upgraded(&service, &program);
    upgrade(&service, &program);
    // The queue of the socket holds ten messages: what it does not take at once comes a moment later.
    let mut heard = Vec::new();
    let count = |heard: &[Notification], line: &str| heard.iter().filter(|one| one.says(line)).count();
    wait_for("the end of the reload", || {
        heard.extend(run.notifications().so_far());
        (count(&heard, "READY=1") > 0).then_some(())
    });
    run.notifications().wait("WATCHDOG=1");
    heard.extend(run.notifications().so_far());
    assert_eq!(["READY=1", "RELOADING=1", "STOPPING=1"].map(|line| count(&heard, line)), [1, 1, 0]);
    service.reload_anyway();
    run.notifications().wait("RELOADING=1");
    run.notifications().wait("READY=1");
}

#[test]
fn who_waits_for_a_verdict_over_an_upgrade_gets_it() {
    let (run, address, program) = installed();
    let run = run.argument("--probation=2s");
    let service = run.start();
    wait_upgraded(&service, &program);
    replace(&program, SEGUE);
    service.reload_anyway();
    let proving = file(&program);
    // one that is never ready: the reload is under way for as long as we like
    replace(&program, "/usr/bin/yes");
    let caller = Asked::reload(&run.run_dir());
    let stuck = wait_for("a generation that starts", || {
        service.generations().into_iter().find(|(_, state, _)| state == "starting")
    });
    let next = Asked::reload(&run.run_dir());
    let asking = Asking::start(address);
    wait_for("the upgrade of the supervisor", || (executable(service.pid()) == proving).then_some(()));
    replace(&program, SEGUE);
    signal(stuck.2, Signal::KILL);
    let verdict = caller.verdict();
    assert!(matches!(&verdict, ReloadVerdict::Failed { why } if why.contains("SIGKILL")), "{verdict}");
    let verdict = next.verdict();
    assert!(matches!(verdict, ReloadVerdict::Serving { generation: 4, .. }), "{verdict}");
    asking.end();
    assert_eq!(service.settled().0, 4);
}

#[test]
fn connections_that_are_open_are_not_touched() {
    let (run, address, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    replace(&program, SEGUE);
    service.reload_anyway();
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.answer();
    wait_upgraded(&service, &program);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.answer();
}

#[test]
fn what_workers_counted_is_counted_on() {
    let (run, address, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    let accepted = || service.status()["counters"]["listeners"]["http"]["connections"]["accepted"].as_u64();
    for connections in [2, 4, 6] {
        assert_serves(address);
        assert_serves(address);
        wait_for("the connections to be counted", || (accepted() == Some(connections)).then_some(()));
        // the worker that counted them goes, and so does the supervisor that heard it
        upgrade(&service, &program);
        service.settled();
        assert_eq!(accepted(), Some(connections));
    }
}

#[test]
fn a_program_that_knows_nothing_of_it_serves_and_the_old_supervisor_goes_on_and_says_so() {
    let (run, address, program) = installed();
    let service = run.start();
    wait_upgraded(&service, &program);
    let before = executable(service.pid());
    // as every version was that came before such upgrades
    let other = run.path("other");
    std::fs::write(&other, without(b"rehearse")).expect("write");
    std::fs::set_permissions(&other, std::fs::metadata(SEGUE).expect("a file").permissions()).expect("chmod");
    replace(&program, &other);
    service.reload_anyway();
    run.wait_log("The supervisor stays what it is");
    assert!(run.log().contains("exited with status 2: error: unexpected argument"), "{}", run.log());
    let note = service.status()["note"].as_str().map(str::to_owned);
    assert!(note.is_some_and(|note| note.contains("the supervisor was not upgraded")));
    let (number, worker) = service.settled();
    assert_eq!((number, executable(service.pid()), executable(worker)), (2, before, file(&program)));
    assert_serves(address);
    // the same program is not tried again, the next one is
    service.reload_anyway();
    service.settled();
    assert_eq!(run.log().matches("The supervisor stays what it is").count(), 1);
    upgrade(&service, &program);
}

#[test]
fn a_program_that_cannot_be_executed_after_all_changes_nothing() {
    let (run, address, program) = installed();
    let run = run.argument("--probation=2s");
    let service = run.start();
    wait_upgraded(&service, &program);
    let before = executable(service.pid());
    replace(&program, SEGUE);
    let proving = run.path("proving");
    std::fs::hard_link(&program, &proving).expect("link");
    service.reload_anyway();
    // while a reload is under way the supervisor bides its time, and then loses the right to execute the program
    replace(&program, "/usr/bin/yes");
    let caller = Asked::reload(&run.run_dir());
    run.wait_log("Generation 2 passed its probation");
    wait_for("the end of the rehearsal", || (!rehearses(&service)).then_some(()));
    std::fs::set_permissions(&proving, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    run.wait_log("the new program could not be");
    assert_eq!(executable(service.pid()), before);
    assert!(run.log().contains("Permission denied"), "{}", run.log());
    assert_eq!(left_open(&service), Vec::<String>::new());
    let (_, _, stuck) = service.generations().into_iter().find(|(_, state, _)| state == "starting").expect("a reload");
    signal(stuck, Signal::KILL);
    assert!(matches!(caller.verdict(), ReloadVerdict::Failed { .. }));
    assert_serves(address);
    upgrade(&service, &program);
}

fn rehearses(service: &Service) -> bool {
    let words = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    service.workers().iter().any(|pid| words(pid).contains("--rehearse"))
}

/// The descriptors of the supervisor that its children would have too, but for those that it has of this program.
fn left_open(service: &Service) -> Vec<String> {
    let here = not_closed_on_exec(std::process::id());
    not_closed_on_exec(service.pid()).into_iter().filter(|number| !here.contains(number)).collect()
}

fn not_closed_on_exec(pid: u32) -> Vec<String> {
    const CLOSED_ON_EXEC: u32 = 0o2_000_000;
    let numbers = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    let numbers = numbers.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let open = |number: &String| {
        let about = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
        let flags = about.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.is_some_and(|flags| flags & CLOSED_ON_EXEC == 0)
    };
    numbers.filter(open).collect()
}

/// The program, with a word in it changed everywhere.
fn without(word: &[u8]) -> Vec<u8> {
    let mut program = std::fs::read(SEGUE).expect("read");
    let places: Vec<_> = memchr::memmem::find_iter(&program, word).collect();
    assert!(!places.is_empty());
    for place in places {
        program[place] = b'X';
    }
    program
}

#[test]
fn a_state_of_a_newer_version_is_refused_in_the_rehearsal() {
    let newer = Payload::new(br#"{"version": 1000000, "all": "new"}"#).expect("memfd");
    let rehearsal = Command::new(SEGUE).args(["run", "--rehearse"]).stdin(Stdio::from(OwnedFd::from(newer))).output();
    let rehearsal = rehearsal.expect("segue");
    let text = String::from_utf8_lossy(&rehearsal.stderr).into_owned();
    assert_eq!(rehearsal.status.code(), Some(1));
    assert!(text.contains("has version 1000000"), "{text}");
}

#[test]
fn without_a_state_there_is_nothing_to_go_on_with() {
    let outcome = Command::new(SEGUE).args(["run", "--take-over=9"]).stdin(Stdio::null()).output().expect("segue");
    let text = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert_eq!(outcome.status.code(), Some(1));
    assert!(text.contains("left no state"), "{text}");
}

#[test]
fn ten_upgrades_leave_no_descriptor_and_no_process_behind() {
    let (run, address, program) = installed();
    let run = run.argument("--probation=20ms");
    let service = run.start();
    wait_upgraded(&service, &program);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", service.pid())).expect("descriptors").count();
    let upgrade_once = || {
        upgrade(&service, &program);
        service.settled();
        wait_for("one child", || (service.workers().len() == 1).then_some(()));
    };
    upgrade_once();
    let before = descriptors();
    (0..10).for_each(|_| upgrade_once());
    wait_for("as few descriptors as before", || (descriptors() <= before).then_some(()));
    // between execve and the first thing that the program does they are open
    wait_for("no descriptor that children would have", || left_open(&service).is_empty().then_some(()));
    assert!(get(address).is_ok());
}

//! `segue demo`, as somebody sees it who tries it out.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{SEGUE, children, is_alive, wait_for};

/// Two demos that start at the same time would choose the same port.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A demo whose folder is in `directory`, in a process group of its own as in a terminal; with all its processes, and its
/// address. What it tells goes into `told` there.
fn demo(directory: &Path, options: &[&str]) -> (Child, Vec<u32>, SocketAddr) {
    let told = File::create(directory.join("told")).expect("a file");
    let mut demo = Command::new(SEGUE)
        .arg("demo")
        .args(options)
        .env("TMPDIR", directory)
        .env_remove("XDG_RUNTIME_DIR")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(told)
        .spawn()
        .expect("segue runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let place = lines.find(|line| line.contains("http://")).expect("an address");
    let address = place.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let address = address.parse().expect("an address");
    let hint = lines.find(|line| line.contains("status --run-dir")).expect("a hint");
    let folder = hint.split_whitespace().last().expect("a folder").to_owned();
    wait_for("the demo to serve", || {
        let status = Command::new(SEGUE).args(["status", "--run-dir", &folder]).output().expect("segue runs");
        String::from_utf8_lossy(&status.stdout).contains("2/2 servers up").then_some(())
    });
    let own = children(demo.id());
    let all = own.iter().copied().chain(own.iter().flat_map(|child| children(*child))).collect();
    (demo, all, address)
}

fn left_in(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().expect("directory");
    entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn ctrl_c_and_the_end_of_the_terminal_leave_nothing_of_a_demo() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in [Signal::INT, Signal::QUIT, Signal::HUP] {
        let directory = tempfile::tempdir().expect("directory");
        let (mut demo, processes, _) = demo(directory.path(), &[]);
        assert_eq!(processes.len(), 4, "two servers, the supervisor and a worker");
        kill_process_group(Pid::from_child(&demo), signal).expect("signal");
        let status = wait_for("the end of the demo", || demo.try_wait().expect("wait"));
        assert!(status.success(), "{signal:?}: {status}");
        wait_for("the end of all its processes", || (!processes.iter().copied().any(is_alive)).then_some(()));
        assert_eq!(left_in(directory.path()), ["told"], "{signal:?}");
    }
}

// Each thread had a round of its own, and the first two answers came from one server.
#[test]
fn the_servers_of_a_demo_take_turns_from_the_first_answer_on() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("directory");
    let (mut demo, _, address) = demo(directory.path(), &[]);
    let answers: Vec<&str> = (0..8)
        .map(|_| {
            let mut client = TcpStream::connect(address).expect("connect");
            client.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").expect("write");
            let answer = io::read_to_string(client).expect("an answer");
            if answer.contains("north answers") { "north" } else { "south" }
        })
        .collect();
    kill_process_group(Pid::from_child(&demo), Signal::INT).expect("signal");
    wait_for("the end of the demo", || demo.try_wait().expect("wait"));
    assert!(answers.windows(2).all(|pair| pair[0] != pair[1]), "{answers:?}");
}

// The authority had not started when the first order went out, and the next one followed five seconds later.
#[test]
fn a_demo_with_a_certificate_authority_has_its_certificate_at_the_first_try() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("directory");
    let (mut demo, processes, _) = demo(directory.path(), &["--acme"]);
    assert_eq!(processes.len(), 6, "two servers, the supervisor and a worker, the authority and its name server");
    let told = || fs::read_to_string(directory.path().join("told")).expect("readable");
    wait_for("the certificate", || told().contains("certificate-taken").then_some(()));
    assert!(!told().contains("certificate-not-issued"), "{}", told());
    kill_process_group(Pid::from_child(&demo), Signal::INT).expect("signal");
    assert!(wait_for("the end of the demo", || demo.try_wait().expect("wait")).success());
    wait_for("the end of all its processes", || (!processes.iter().copied().any(is_alive)).then_some(()));
    assert_eq!(left_in(directory.path()), ["told"]);
}

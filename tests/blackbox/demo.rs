//! `segue demo`, as somebody sees it who tries it out.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{SEGUE, children, is_alive, wait_for};

/// A demo whose folder is in `directory`, in a process group of its own as in a terminal; with all its processes.
fn demo(directory: &Path) -> (Child, Vec<u32>) {
    let mut demo = Command::new(SEGUE)
        .arg("demo")
        .env("TMPDIR", directory)
        .env_remove("XDG_RUNTIME_DIR")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("segue runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let hint = lines.find(|line| line.contains("status --run-dir")).expect("a hint");
    let folder = hint.split_whitespace().last().expect("a folder").to_owned();
    wait_for("the demo to serve", || {
        let status = Command::new(SEGUE).args(["status", "--run-dir", &folder]).output().expect("segue runs");
        String::from_utf8_lossy(&status.stdout).contains("2/2 servers up").then_some(())
    });
    let own = children(demo.id());
    let all = own.iter().copied().chain(own.iter().flat_map(|child| children(*child))).collect();
    (demo, all)
}

#[test]
fn ctrl_c_and_the_end_of_the_terminal_leave_nothing_of_a_demo() {
    for signal in [Signal::INT, Signal::HUP] {
        let directory = tempfile::tempdir().expect("directory");
        let (mut demo, processes) = demo(directory.path());
        assert_eq!(processes.len(), 4, "two servers, the supervisor and a worker");
        kill_process_group(Pid::from_child(&demo), signal).expect("signal");
        let status = wait_for("the end of the demo", || demo.try_wait().expect("wait"));
        assert!(status.success(), "{signal:?}: {status}");
        wait_for("the end of all its processes", || (!processes.iter().copied().any(is_alive)).then_some(()));
        assert_eq!(directory.path().read_dir().expect("directory").count(), 0, "{signal:?}");
    }
}

//! Who may ask the service for what.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{Run, SEGUE, socket};

const NOBODY: u32 = 65534;

/// What `segue` answers to a user that is not the one of the service, as a member of this group. The program is copied
/// to where that user finds it.
fn asked_as(run: &Run, group: u32, arguments: &[&str]) -> Output {
    let program = run.path("segue-of-another");
    if !program.exists() {
        // by another process: a program that this one has open to write cannot be executed, and any child has it open
        assert!(Command::new("cp").args([SEGUE.as_ref(), program.as_path()]).status().expect("cp").success());
    }
    let mut command = Command::new(program);
    command.args(arguments).arg("--run-dir").arg(run.run_dir()).stdin(Stdio::null());
    command.uid(NOBODY).gid(group).output().expect("segue")
}

#[test]
fn members_of_the_group_of_the_service_may_look_and_change_nothing_and_others_not_even_that() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can be another user: nothing is tested");
        return;
    }
    let (listening, _) = socket();
    let run = Run::new("").socket("http", listening);
    for path in [run.path("."), run.run_dir()] {
        std::fs::set_permissions(Path::new(&path), PermissionsExt::from_mode(0o755)).expect("chmod");
    }
    let service = run.start();
    let group = rustix::process::getegid().as_raw();
    for command in [&["status"][..], &["generations"], &["status", "--json"]] {
        let output = asked_as(&run, group, command);
        assert!(output.status.success(), "{command:?} {}", String::from_utf8_lossy(&output.stderr));
    }
    for command in [
        &["reload"][..],
        &["reload", "--force"],
        &["reload", "--confirmed"],
        &["diff"],
        &["debug", "--client", "10.0.0.7"],
    ] {
        let output = asked_as(&run, group, command);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("only root and the user of the service"), "{text}");
    }
    let output = asked_as(&run, NOBODY, &["status"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("members of its group"));
    assert_eq!(service.settled().0, 1, "nothing was reloaded");
}

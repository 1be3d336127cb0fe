//! `segue import`: what it prints serves, and what it says is what a person sees.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::support::{Answering, Run, SEGUE, free_address, get};

const FILE: &str = "tests/config/import/web-farm-of-2011.cfg";

/// Calls it with this on standard input, and gives its exit status, its output and what it says.
fn import(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(SEGUE);
    command.arg("import").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("segue");
    // one that refuses its arguments reads nothing
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("segue");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_file_of_2011_serves_once_it_is_imported() {
    let (address, one, two) = (free_address(), Answering::start("web1"), Answering::start("web2"));
    let mut text = std::fs::read_to_string(FILE).expect("a file");
    for (written, used) in [("8080", address), ("9001", one.address), ("9002", two.address)] {
        text = text.replace(&format!("127.0.0.1:{written}"), &used.to_string());
    }
    let (status, toml, report) = import(&["-"], &text);
    assert_eq!(status, Some(1), "{report}");
    assert_eq!(report.lines().count(), 34, "one for each line, and a summary: {report}");
    assert!(report.contains("\nstandard input:33: option httpchk HEAD /index.php HTTP/1.0 - kept: check"), "{report}");
    let run = Run::new(&toml);
    let _service = run.start();
    let answers: Vec<String> = (0..40).map(|_| get(address).expect("an answer")).collect();
    let from = |name: &str| answers.iter().filter(|answer| answer.ends_with(name)).count();
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200 ")), "{answers:?}");
    // each of the four threads goes round by itself, and a body may come behind what was read
    assert!(from("web1") >= 10 && from("web2") >= 10, "{answers:?}");
}

#[test]
fn the_exit_status_tells_what_can_be_said_what_cannot_and_what_is_no_file() {
    let good = "listen a\n mode http\n bind 127.0.0.1:8080\n server s 127.0.0.1:9001\n";
    let (status, toml, report) = import(&["-"], good);
    assert!(status == Some(0) && toml.contains("[pool.a]") && report.ends_with("4 lines: 4 kept\n"), "{report}");
    assert_eq!(import(&["-"], &format!("{good} cookie A insert\n")).0, Some(1));
    for (file, said) in [
        ("/nowhere/haproxy.cfg", "there is no such file"),
        ("/", "it is a directory"),
        ("packaging/segue.toml", "it is no haproxy.cfg"),
        ("/bin/sh", "it is no text"),
    ] {
        let (status, toml, report) = import(&[file], "");
        assert!(status == Some(78) && toml.is_empty() && report.contains(said), "{file}: {status:?} {report}");
    }
    assert_eq!(import(&[], "").0, Some(2));
}

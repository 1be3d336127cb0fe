//! `segue bench-reload`: what its clients see, of this proxy and of servers that do one thing to each connection.

mod fickle;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use serde_json::Value;

use self::fickle::{FickleServer, Fickleness};
use crate::support::{Run, SEGUE, free_address, signal, socket};

/// Clients of each kind that a fact has.
const CLIENTS: usize = 4;

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(SEGUE);
    // a machine that is busy may take seconds for anything
    command.args(["bench-reload", "--timeout", "60s"]).args(arguments).stdin(Stdio::null());
    command
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Kinds of clients: all others are left out.
fn only(kind: &str) -> Vec<String> {
    let counts = ["--fresh", "--connections", "--idle"].map(|option| {
        let count = if option == kind { CLIENTS } else { 0 };
        format!("{option}={count}")
    });
    counts.to_vec()
}

/// The figures of one reload of a server with this fickleness, as clients of one kind see it.
#[track_caller]
fn seen(fickleness: Fickleness, kind: &str) -> Value {
    let files = tempfile::tempdir().expect("a directory");
    let server = FickleServer::start(fickleness, files.path());
    let (url, reload) = (url(server.address), server.reload());
    let mut command = bench(&[&url, "--json", "--times=1", "--every=10ms", "--before=200ms", "--after=10ms"]);
    command.args(["--reload", &reload, "--quiet=1h"]).args(only(kind));
    let mut probes = 1;
    if kind == "--tunnels" {
        command.args(["--websocket=/ws", &format!("--tunnels={CLIENTS}")]);
        probes = 2;
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("segue");
    let new = if fickleness == Fickleness::None { 0 } else { CLIENTS };
    server.reload_once(CLIENTS + probes, new);
    let output = child.wait_with_output().expect("output");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let expected = if fickleness == Fickleness::None { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{figures:#}");
    let before = &figures["before"];
    for count in ["lost", "closed", "told", "tunnels_closed", "opened_again"] {
        assert_eq!(before[count], 0, "{figures:#}");
    }
    figures
}

/// Asserts the counts of the phase of the reloads: lost, closed, told, tunnels closed; all clients opened a connection again.
#[track_caller]
fn assert_counts(figures: &Value, counts: [usize; 4], why: &str) {
    let seen = &figures["reloads"];
    let names = ["lost", "closed", "told", "tunnels_closed"];
    for (name, count) in names.into_iter().zip(counts) {
        assert_eq!(seen[name], count, "{name} of {figures:#}");
    }
    assert_eq!(seen["opened_again"], CLIENTS, "{figures:#}");
    if !why.is_empty() {
        assert_eq!(seen["why"][why], CLIENTS, "{figures:#}");
    }
}

#[test]
fn reloads_of_this_proxy_are_seen_by_no_client() {
    let files = tempfile::tempdir().expect("a directory");
    let server = FickleServer::start(Fickleness::None, files.path());
    let (listening, address) = socket();
    let run = Run::new(&format!("[site.\"*\"]\nto = ['{}']\n", server.address)).socket("http", listening);
    let service = run.start();
    let reload = format!("{SEGUE} reload --force --run-dir {}", run.run_dir().display());
    let url = url(address);
    let mut command = bench(&[&url, "--json", "--times=3", "--websocket=/ws", "--tunnels=4", "--download=/"]);
    command.args(["--reload", &reload, "--connections=4", "--idle=20", "--fresh=2", "--quiet=1s"]);
    let output = command.output().expect("segue");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(figures["verdict"], "unseen", "{figures:#}");
    assert_eq!(output.status.code(), Some(0), "{figures:#}");
    for count in ["lost", "closed", "told", "tunnels_closed", "opened_again"] {
        assert_eq!(figures["reloads"][count], 0, "{figures:#}");
    }
    assert_eq!(
        figures["before"]["tunnels"].as_u64().unwrap_or(0) + figures["reloads"]["tunnels"].as_u64().unwrap_or(0),
        4
    );
    assert!(figures["reloads"]["requests"].as_u64() > Some(10) && figures["reloads"]["wait_ms"]["max"].is_f64());
    assert_eq!(service.settled().0, 4);
    let said = text(&output.stderr);
    assert!(
        said.contains("reload 3 of 3: ") && said.contains("2 fresh, 4 busy, 20 idle, 5 download, 4 websocket"),
        "{said}"
    );
}

#[test]
fn idle_connections_that_a_reload_closes_are_counted_as_closed() {
    let figures = seen(Fickleness::Closes, "--idle");
    assert_counts(&figures, [0, CLIENTS, 0, 0], "idle: closed while idle");
    assert_eq!(figures["said"], format!("Clients saw it: {CLIENTS} connections closed."));
}

#[test]
fn answers_that_end_a_kept_connection_are_counted_as_told() {
    assert_counts(&seen(Fickleness::Tells, "--connections"), [0, 0, CLIENTS, 0], "");
}

#[test]
fn requests_without_a_whole_answer_and_those_that_fail_are_counted_as_lost() {
    for (fickleness, why) in [
        (Fickleness::Drops, "busy: closed without an answer"),
        (Fickleness::Cuts, "busy: cut in the middle of the answer: closed"),
        (Fickleness::Fails, "busy: status 503 Service Unavailable"),
    ] {
        assert_counts(&seen(fickleness, "--connections"), [CLIENTS, 0, 0, 0], why);
    }
}

#[test]
fn websockets_that_a_reload_closes_are_counted_as_tunnels_closed() {
    let figures = seen(Fickleness::Closes, "--tunnels");
    assert_counts(&figures, [0, 0, 0, CLIENTS], ""); // a ping may be on its way: then it is a reset
}

#[test]
fn a_server_that_does_nothing_at_a_reload_is_unseen() {
    let figures = seen(Fickleness::None, "--idle");
    assert_eq!(figures["said"], "No client saw anything of 1 reload.");
}

#[test]
fn a_command_that_fails_is_told_with_what_it_said() {
    let files = tempfile::tempdir().expect("a directory");
    let server = FickleServer::start(Fickleness::None, files.path());
    let reload = "echo no such unit >&2; exit 5";
    let url = url(server.address);
    let mut command = bench(&[&url, "--reload", reload, "--times=2", "--every=10ms", "--before=10ms", "--after=10ms"]);
    let output = command.output().expect("segue");
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("reload 2 of 2 failed: exit status: 5\n  no such unit\n"), "{said}");
    assert!(table.contains("2 of 2 reloads failed: that shows nothing."), "{table}");
    assert_eq!(output.status.code(), Some(2), "{table}");
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is_reloaded() {
    let files = tempfile::tempdir().expect("a directory");
    let server = FickleServer::start(Fickleness::None, files.path());
    let (there, gone) = (server.address, free_address());
    let touched = files.path().join("touched");
    let reload = format!("--reload=touch {}", touched.display());
    for (arguments, said) in [
        (vec![gone.to_string()], format!("write \"http://{gone}\"")),
        (vec![url(gone)], format!("http://{gone}: {gone}: connect: Connection refused")),
        (vec!["http://no-such-host.invalid/".to_owned()], "no-such-host.invalid: it has no address".to_owned()),
        (vec![format!("http://{there}/missing")], "status 404 Not Found before any reload".to_owned()),
        (vec![url(there), "--host=a b".to_owned()], "--host \"a b\"".to_owned()),
        (
            vec![url(there), "--websocket=/missing".to_owned()],
            "/missing takes no WebSocket before any reload".to_owned(),
        ),
    ] {
        let mut command = bench(&[&reload, "--before=10ms"]);
        let output = command.args(&arguments).output().expect("segue");
        let told = text(&output.stderr);
        assert!(told.contains(&said), "{arguments:?}: {told}");
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(!touched.exists(), "{arguments:?} reloaded");
    }
    let with_404 = [&format!("http://{there}/missing"), "--status=404", "--for=20ms", "--before=10ms", "--after=10ms"];
    let output = bench(&with_404).output().expect("segue");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn ctrl_c_ends_it_with_what_was_seen_until_then() {
    let files = tempfile::tempdir().expect("a directory");
    let server = FickleServer::start(Fickleness::None, files.path());
    let mut command = bench(&[&url(server.address), "--reload=tail -f /dev/null", "--before=10ms"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("segue");
    let mut told = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    told.read_line(&mut line).expect("a line");
    assert!(line.contains("Ctrl-C ends it"), "{line}");
    signal(child.id(), Signal::INT);
    let output: Output = child.wait_with_output().expect("output");
    assert_eq!(output.status.code(), Some(130));
    let table = text(&output.stdout);
    assert!(table.contains("REQUESTS") && table.contains("Interrupted; until then: "), "{table}");
}

#[test]
fn a_proxy_with_tls_has_to_show_a_right_certificate_unless_it_is_told_otherwise() {
    let files = tempfile::tempdir().expect("a directory");
    let server = FickleServer::start(Fickleness::None, files.path());
    issue(files.path(), "a.test");
    let ((plain, _), (listening, address)) = (socket(), socket());
    let site = format!("[site.\"a.test\"]\nto = ['{}']\ntls = '{}'\n", server.address, files.path().display());
    let run = Run::new(&site).socket("http", plain).socket("https", listening);
    let _service = run.start();
    let url = format!("https://{address}/");
    let arguments = [&url, "--host=a.test", "--for=50ms", "--before=10ms", "--after=10ms", "--idle=2"];
    let refused = bench(&arguments).output().expect("segue");
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("certificate"), "{said}");
    let taken = bench(&arguments).arg("--insecure").output().expect("segue");
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken.stdout));
    let known = bench(&arguments).env("SSL_CERT_FILE", files.path().join("fullchain.pem")).output().expect("segue");
    assert_eq!(known.status.code(), Some(0), "{}", text(&known.stderr));
}

fn issue(directory: &Path, name: &str) {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([name.to_owned()]).expect("a name").self_signed(&key).expect("signed");
    std::fs::write(directory.join("fullchain.pem"), certificate.pem()).expect("written");
    std::fs::write(directory.join("privkey.pem"), key.serialize_pem()).expect("written");
}

//! What an operator sees of the generations.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Run, Server, Wire, free_address, socket, wait_for};

#[test]
fn what_keeps_an_old_generation_is_told_by_its_age_and_without_secrets() {
    let (listening, address) = socket();
    let (server, bytes) = (Server::new(), free_address());
    // the exchange does not move to another pool of its site
    let config = |site: &str| {
        let pool = |name| format!("[pool.{name}]\nservers = ['{}']\n", server.address);
        let pools = [pool("farm"), pool("other")].concat();
        format!("[site.'*']\nto = '{site}'\n{pools}[tcp.bytes]\nlisten = '{bytes}'\nto = 'farm'\n")
    };
    let run = Run::new(&config("farm")).socket("http", listening);
    let service = run.start();
    let mut client = Wire::connect(address);
    client.send("GET /slow;id=7?token=secret HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut request = server.accept();
    request.head();
    let mut tunnel = Wire::connect(bytes);
    tunnel.send("x");
    let mut relayed = server.accept();
    relayed.expect("x");
    let busy = json!({"open": 2, "idle": 0, "exchanges": 1, "upgrades": 0, "tcp": 1});
    wait_for("both to be counted", || {
        let connections = &service.status()["connections"];
        busy.as_object()?.iter().all(|(kind, count)| connections[kind] == *count).then_some(())
    });
    run.configure(&config("other"));
    service.reload_well();
    let text = wait_for("what keeps generation 1", || {
        let output = run.segue(&["generations"]);
        let text = String::from_utf8(output.stdout).expect("text");
        (text.contains("generation 1 is kept by 1 exchange") && text.contains("draining")).then_some(text)
    });
    assert!(text.contains("  GET /slow;id=* from 127."), "{text}");
    assert!(!text.contains("secret"), "{text}");
    request.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    assert_eq!(service.settled().0, 2);
    tunnel.send("y");
    relayed.expect("y");
}

#[test]
fn watching_goes_on_until_the_service_ends() {
    let run = Run::new("").socket("http", socket().0);
    let mut service = run.start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_segue"));
    command.args(["generations", "--watch", "--run-dir"]).arg(run.run_dir()).stdin(Stdio::null());
    let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("segue");
    let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines().map(|line| line.expect("a line"));
    for _ in 0..2 {
        assert!(lines.any(|line| line.starts_with("GENERATION")), "each second there is another table");
    }
    service.signal(Signal::TERM);
    assert!(service.ended().success());
    drop(lines);
    let output = watching.wait_with_output().expect("the end");
    assert!(output.status.success());
}

#[test]
fn the_generations_can_be_had_as_json() {
    let run = Run::new("").socket("http", socket().0);
    let service = run.start();
    let list: serde_json::Value = serde_json::from_slice(&run.segue(&["generations", "--json"]).stdout).expect("JSON");
    assert_eq!(list[0]["generation"], 1);
    assert_eq!(list[0]["pid"], service.serving().1);
    assert!(list[0]["config_hash"].is_string());
}

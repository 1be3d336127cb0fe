//! The keys of `segue status --json`, as its manual page lists them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Run, assert_serves, free_address, wait_for};

/// What the manual page says, with a line for each key.
const LISTED: &str = include_str!("../../src/cli/status-keys.txt");

#[test]
fn every_key_of_the_status_is_in_the_manual_and_every_key_in_the_manual_is_there() {
    let (http, https, db) = (free_address(), free_address(), free_address());
    let config = format!(
        "[site.\"*\"]\nto = [\"127.0.0.1:9\"]\ncheck = \"connect\"\n[listen.http]\naddress = \"{http}\"\n\
         [site.\"a.test\"]\nto = [\"127.0.0.1:9\"]\ntls = \"/nowhere\"\n[listen.https]\naddress = \"{https}\"\n\
         [site.\"b.test\"]\nto = [\"127.0.0.1:9\"]\ntls = \"auto\"\n[acme]\ndirectory = \"https://127.0.0.1:9\"\n\
         [tcp.db]\nlisten = \"{db}\"\nto = [\"127.0.0.1:9\"]\n"
    );
    let run = Run::new(&config).argument("--probation=30s");
    let state = run.path("state").display().to_string();
    let run = run.variable("STATE_DIRECTORY", &state);
    let service = run.start();
    assert_serves(http);
    let _kept = std::net::TcpStream::connect(http).and_then(|mut stream| {
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n").map(|()| stream)
    });
    service.reload_anyway();
    assert!(run.segue(&["drain", "b.test/127.0.0.1:9"]).status.success());
    let listed = listed();
    let mut seen = BTreeSet::new();
    wait_for("every key", || {
        let mut here = Vec::new();
        keys("", &service.status(), &mut here);
        seen.extend(here);
        // what keeps a generation is open for a moment only, and is known by its list; a bucket is there once it counts
        let may_miss = |key: &str| key.contains(".oldest[].") || key.ends_with(".BOUND");
        let missing = listed.iter().filter(|key| !seen.contains(*key) && !may_miss(key)).count();
        (missing == 0).then_some(())
    });
    let unlisted: Vec<_> = seen.iter().filter(|key| !listed.contains(*key)).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
}

/// The paths of the list, those that stand for others written out.
fn listed() -> BTreeSet<String> {
    let lines = LISTED.lines().filter_map(|line| line.strip_prefix("  "));
    let pairs: Vec<(&str, &str)> = lines.map(|line| line.split_once("  ").unwrap_or((line, ""))).collect();
    let mut all = BTreeSet::new();
    for (key, meaning) in &pairs {
        let Some(other) = meaning.strip_prefix("as `").and_then(|rest| rest.split('`').next()) else {
            all.insert((*key).to_owned());
            continue;
        };
        let below = pairs.iter().filter_map(|(one, _)| one.strip_prefix(&format!("{other}.")));
        all.extend(below.map(|rest| format!("{key}.{rest}")));
    }
    all.remove("generations[].worker.counters.events.EVENT"); // those are the supervisor's
    // the empty forms of what is null or has parts
    all.extend(["generations[].worker.oldest", "generations[].worker.oldest[]"].map(str::to_owned));
    all.extend(["generations[].worker.pools[].servers[].history[]".to_owned()]);
    all.extend(
        ["generations[].worker.certificates[]", "generations[].worker.pools[].servers[].admin[]"].map(str::to_owned),
    );
    all
}

/// Every path to a value that has no parts; null counts for whatever may stand there.
fn keys(path: &str, value: &Value, all: &mut Vec<String>) {
    let last = path.rsplit('.').next().unwrap_or_default();
    match value {
        Value::Object(parts) => {
            all.extend(
                ["generations[].worker", "generations[].worker.pools[].servers[].check"]
                    .iter()
                    .filter(|one| **one == path)
                    .map(|one| (*one).to_owned()),
            );
            for (name, value) in parts {
                let name = match last {
                    "listeners" | "sites" | "pools" | "servers" => "NAME",
                    "latency" if value.is_object() => "PHASE",
                    "latency" | "unserved" | "PHASE" if name != "sum_us" => "BOUND",
                    "exchanges" => "CLASS",
                    "heads_refused" => "STATUS",
                    "events" => "EVENT",
                    "attempts" => "OUTCOME",
                    "handshakes" => "END",
                    _ => name,
                };
                keys(&if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }, value, all);
            }
        }
        Value::Array(list) if list.is_empty() => all.push(format!("{path}[]")),
        Value::Array(list) => list.iter().for_each(|value| keys(&format!("{path}[]"), value, all)),
        _ => all.push(path.to_owned()),
    }
}

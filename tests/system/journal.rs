//! What the journal holds, and what happens when it does not take anything.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::machine::Release;
use crate::support::{farm, load, wait_for};

facts![
    journalctl_finds_exactly_the_502s,
    fifty_thousand_requests_leave_fifty_thousand_records,
    records_of_long_requests_can_be_read_as_json,
    a_journal_of_its_own_has_all_of_it_and_that_of_the_machine_nothing,
    a_stopped_journald_slows_nobody_and_the_drops_are_counted,
    a_stopped_journald_keeps_no_worker_from_starting_and_no_process_from_ending,
];

fn journalctl_finds_exactly_the_502s(release: Release) {
    let machine = farm::machine(release);
    let statuses = machine.ok("for path in index.php broken index.php broken none broken index.php; do \
            curl --silent --output /dev/null --write-out '%{http_code} ' http://127.0.0.1/$path; done");
    assert_eq!(statuses, "200 502 200 502 404 502 200");
    wait_for("three records", Duration::from_secs(10), || (machine.entries("PROXY_STATUS=502") >= 3).then_some(()));
    let found = machine.ok("journalctl -u proxy PROXY_STATUS=502 -o json --no-pager");
    let records: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 3);
    assert_eq!(machine.entries("PROXY_STATUS_CLASS=5xx"), 3);
    for record in records {
        assert_eq!(record["PROXY_END"], "server-closed", "{record}");
        assert_eq!(record["PROXY_POOL"], "web-farm", "{record}");
        assert_eq!(record["SYSLOG_IDENTIFIER"], "segue", "{record}");
        assert_eq!(record["_SYSTEMD_UNIT"], "proxy.service", "{record}");
        let message = record["MESSAGE"].as_str().unwrap_or_default();
        assert!(message.contains("/broken") && message.contains("502"), "{message}");
        let data: Value = serde_json::from_str(record["PROXY_DATA"].as_str().unwrap_or_default()).expect("JSON");
        // A kept connection that the server closes meanwhile is tried again on a new one, besides.
        let attempts = data["attempts"].as_array().into_iter().flatten();
        let on_new_connections = attempts.filter(|attempt| attempt["reused"] == false).count();
        assert_eq!(on_new_connections, 4, "one attempt and three retries: {data}");
    }
}

fn records_of_long_requests_can_be_read_as_json(release: Release) {
    let machine = farm::machine(release);
    machine.ok("mkdir -p /etc/segue/conf.d && printf '[log]\\nuser_agent = true\\nreferer = true\\n' > /etc/segue/conf.d/log.toml");
    machine.ok("systemctl reload proxy");
    machine.ok(
        "path=$(printf 'x%.0s' $(seq 6000)); curl --silent --interface 127.0.0.3 --output /dev/null -A \"agent-$path\" \
            -e \"http://me:secret@r.example/$path?token=secret\" \"http://127.0.0.1/$path?a=secret\"",
    );
    let matches = "PROXY_EVENT=exchange PROXY_CLIENT=127.0.0.3";
    wait_for("the record", Duration::from_secs(10), || (machine.entries(matches) > 0).then_some(()));
    let found = machine.ok(&format!("journalctl -u proxy {matches} -o json --no-pager"));
    let record: Value = serde_json::from_str(found.lines().last().unwrap_or_default()).expect("JSON");
    assert!(!found.contains("secret"), "{found}");
    let fields = record.as_object().expect("fields");
    for (name, value) in fields.iter().filter(|(name, _)| name.starts_with("PROXY_") || *name == "MESSAGE") {
        assert!(value.is_string(), "{name}: {value}");
    }
    let data: Value = serde_json::from_str(record["PROXY_DATA"].as_str().unwrap_or_default()).expect("JSON");
    assert_eq!(data["cut"], serde_json::json!(["path", "user_agent", "referer"]), "{data}");
    assert!(data["user_agent"].as_str().is_some_and(|text| text.starts_with("agent-xxx")), "{data}");
    assert!(data["referer"].as_str().is_some_and(|text| text.starts_with("http://r.example/xxx")), "{data}");
}

fn a_journal_of_its_own_has_all_of_it_and_that_of_the_machine_nothing(release: Release) {
    let machine = farm::machine(release);
    machine.ok("mkdir -p /etc/systemd/system/proxy.service.d && \
            printf '[Service]\\nLogNamespace=proxy\\n' > /etc/systemd/system/proxy.service.d/journal.conf && \
            systemctl daemon-reload && systemctl restart proxy");
    machine.ok("curl --silent --output /dev/null -A own http://127.0.0.1/of-its-own");
    let found = || machine.ok("journalctl --namespace=proxy -u proxy -o cat --no-pager || true");
    wait_for("the record", Duration::from_secs(10), || found().contains("/of-its-own").then_some(()));
    assert!(!machine.ok("journalctl -u proxy -o cat --no-pager").contains("/of-its-own"));
}

fn fifty_thousand_requests_leave_fifty_thousand_records(release: Release) {
    let machine = farm::machine(release);
    // An address of its own tells its records from all others.
    let records = "PROXY_EVENT=exchange PROXY_CLIENT=127.0.0.2";
    load::once(&machine, "-B 127.0.0.2 -k -n 50000 -c 50").assert_clean(50_000);
    wait_for("50,000 records", Duration::from_secs(60), || (machine.entries(records) >= 50_000).then_some(()));
    assert_eq!(machine.entries(records), 50_000);
    assert_eq!(machine.entries("PROXY_EVENT=records-dropped"), 0);
}

fn a_stopped_journald_slows_nobody_and_the_drops_are_counted(release: Release) {
    let machine = farm::machine(release);
    let run = || {
        let started = Instant::now();
        load::once(&machine, "-k -n 150000 -c 50").assert_clean(150_000);
        started.elapsed()
    };
    let listened_to = run();
    machine.ok("systemctl kill --signal STOP systemd-journald.service");
    let unheard = run();
    machine.ok("systemctl kill --signal CONT systemd-journald.service");
    assert!(unheard < listened_to * 3 / 2, "{listened_to:?} with journald, {unheard:?} while it was stopped");
    wait_for("the drops to be said", Duration::from_secs(60), || {
        (machine.entries("PROXY_EVENT=records-dropped") > 0).then_some(())
    });
}

fn a_stopped_journald_keeps_no_worker_from_starting_and_no_process_from_ending(release: Release) {
    let machine = farm::machine(release);
    machine.ok("systemctl kill --signal STOP systemd-journald.service");
    // fills what the kernel keeps for journald
    load::once(&machine, "-k -n 5000 -c 50").assert_clean(5_000);
    let answers = || machine.ok("curl --silent --fail --max-time 2 --output /dev/null http://127.0.0.1/index.php");
    let quickly = |what: &str| {
        let started = Instant::now();
        machine.ok(what);
        answers();
        assert!(started.elapsed() < Duration::from_secs(15), "{what}: {:?}", started.elapsed());
    };
    quickly("segue reload --force");
    let worker = *machine.workers().last().expect("a worker");
    machine.ok(&format!("kill -KILL {worker}"));
    wait_for("another worker", Duration::from_secs(10), || {
        let workers = machine.workers();
        (!workers.is_empty() && !workers.contains(&worker)).then_some(())
    });
    answers();
    quickly("systemctl restart proxy.service");
    machine.ok("systemctl kill --signal CONT systemd-journald.service");
}

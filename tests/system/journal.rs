//! What the journal holds, and what happens when it does not take anything.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::machine::Release;
use crate::support::{farm, load, wait_for};

facts![
    journalctl_finds_exactly_the_502s,
    fifty_thousand_requests_leave_fifty_thousand_records,
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

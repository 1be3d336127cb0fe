//! Reload and restart under load: what no client may see.

use std::time::Duration;

use crate::support::machine::{Machine, Release};
use crate::support::{farm, load, wait_for};

facts![
    twenty_reloads_lose_none_of_a_hundred_thousand_new_connections,
    twenty_reloads_lose_none_of_a_hundred_thousand_kept_alive_requests,
    three_restarts_refuse_no_connection,
    a_broken_config_is_refused_with_its_line_and_the_old_one_serves_on,
    a_config_that_cannot_be_built_is_refused,
    a_worker_that_crashes_at_start_is_refused,
    a_listener_added_by_reload_is_kept_over_restart_and_crash,
    a_unix_listener_keeps_its_path_over_restart_and_crash_and_comes_back_after_a_stop,
];

fn twenty_reloads_lose_none_of_a_hundred_thousand_new_connections(release: Release) {
    twenty_reloads(release, "-n 100000 -c 50");
}

fn twenty_reloads_lose_none_of_a_hundred_thousand_kept_alive_requests(release: Release) {
    twenty_reloads(release, "-k -n 100000 -c 50");
}

fn twenty_reloads(release: Release, options: &str) {
    let machine = farm::machine(release);
    let report = load::around(&machine, options, || {
        for _ in 0..20 {
            machine.ok("segue reload --force");
        }
    });
    report.assert_clean(100_000);
}

fn three_restarts_refuse_no_connection(release: Release) {
    let machine = farm::machine(release);
    let report = load::around(&machine, "-n 20000 -c 50", || {
        for _ in 0..3 {
            machine.ok("systemctl restart proxy");
        }
    });
    report.assert_clean(20_000);
}

fn a_broken_config_is_refused_with_its_line_and_the_old_one_serves_on(release: Release) {
    let machine = farm::machine(release);
    machine.configure(&farm::CONFIG.replace("to = \"web-farm\"", "to = \"web-fram\""));
    let reason = assert_refused_unseen(&machine);
    assert!(reason.contains("/etc/segue/segue.toml:2"), "{reason}");
    assert!(reason.contains("web-farm"), "no hint in: {reason}");

    machine.configure(&format!("{}retries = 1\n", farm::CONFIG));
    machine.ok("systemctl reload proxy");
    assert!(!machine.property("StatusText").contains("refused"), "{}", machine.property("StatusText"));
}

fn a_config_that_cannot_be_built_is_refused(release: Release) {
    let machine = farm::machine(release);
    machine.configure(&format!("{}[listen.elsewhere]\naddress = \"192.0.2.1:8080\"\n", farm::CONFIG));
    let reason = assert_refused_unseen(&machine);
    assert!(reason.contains("192.0.2.1:8080"), "{reason}");
    machine.configure(farm::CONFIG);
    machine.ok("systemctl reload proxy");
}

fn a_worker_that_crashes_at_start_is_refused(release: Release) {
    let machine = farm::machine(release);
    // ExecReload= must go on working, so it gets the good binary.
    machine.ok("mv /usr/bin/segue /usr/bin/segue.good && mkdir -p /run/systemd/system/proxy.service.d");
    machine.write(
        "/run/systemd/system/proxy.service.d/good.conf",
        "[Service]\nExecReload=\nExecReload=/usr/bin/segue.good reload\n",
    );
    machine.ok("systemctl daemon-reload");
    break_at_its_entry_point(&machine, "/usr/bin/segue.good", "/usr/bin/segue");
    let reason = assert_refused_unseen(&machine);
    assert!(reason.contains("killed by SIG"), "{reason}");
    machine.ok("mv /usr/bin/segue.good /usr/bin/segue && rm -r /run/systemd/system/proxy.service.d");
    machine.ok("systemctl daemon-reload && systemctl reload proxy");
}

/// Copies a binary and fills the pages around its entry point with what no processor runs.
fn break_at_its_entry_point(machine: &Machine, good: &str, broken: &str) {
    // e_entry is at byte 24. The segments are less than 16 pages away from where their addresses say.
    machine.ok(&format!(
        "cp {good} {broken} && entry=$(od -An -t u8 -j 24 -N 8 {good}) \
            && head -c 131072 /dev/zero | tr '\\0' '\\314' \
            | dd of={broken} bs=4096 seek=$((entry / 4096 - 16)) conv=notrunc status=none"
    ));
}

/// Reloads under load what must be refused; gives the reason, which `systemctl status` and the journal must have.
fn assert_refused_unseen(machine: &Machine) -> String {
    let before = machine.workers();
    let report = load::around(machine, "-k -n 5000 -c 20", || {
        let reload = machine.run("systemctl reload proxy");
        assert_eq!(reload.status.code(), Some(1), "the reload was not refused: {}", reload.text());
    });
    report.assert_clean(5_000);
    assert_eq!(machine.workers(), before, "the worker is another one");
    assert_eq!(machine.property("ActiveState"), "active");
    let status = machine.property("StatusText");
    let reason = status.strip_prefix("reload ").and_then(|rest| rest.split_once(": "));
    let Some((_, reason)) = reason else { panic!("no reason in the status: {status}") };
    let journal = machine.ok("journalctl --sync; journalctl --no-pager -u proxy -o cat PROXY_EVENT=reload-refused");
    // The hint and the state that follow are not in the first line of the entry.
    let cause = reason.split("; ").next().unwrap_or_default();
    assert!(journal.contains(cause), "status: {status}\njournal: {journal}");
    reason.to_owned()
}

fn a_listener_added_by_reload_is_kept_over_restart_and_crash(release: Release) {
    let machine = farm::machine(release);
    machine.configure(&format!("{}[listen.http]\n[listen.more]\naddress = \"127.0.0.1:81\"\n", farm::CONFIG));
    machine.ok("systemctl reload proxy");
    let socket = || machine.ok("ss --listening --tcp --numeric --extended 'sport = :81' | grep -o 'ino:[0-9]*'");
    let bound = socket();
    assert_eq!(machine.property("NFileDescriptorStore"), "1");
    machine.ok("curl --silent --show-error --fail --max-time 5 http://127.0.0.1:81/index.php");
    machine.ok("systemctl restart proxy");
    assert_eq!(socket(), bound, "another socket after the restart");
    machine.ok("curl --silent --show-error --fail --max-time 5 http://127.0.0.1:81/index.php");
    machine.ok("systemctl kill --kill-whom main --signal KILL proxy.service");
    machine.ok("curl --silent --show-error --fail --max-time 5 http://127.0.0.1:81/index.php");
    assert_eq!(socket(), bound, "another socket after the crash");
    machine.configure(farm::CONFIG);
    machine.ok("systemctl reload proxy");
    wait_for("port 81 to be closed", Duration::from_secs(20), || {
        (machine.run("curl --silent --max-time 5 http://127.0.0.1:81/").status.code() == Some(7)).then_some(())
    });
    assert_eq!(machine.property("NFileDescriptorStore"), "0");
}

fn a_unix_listener_keeps_its_path_over_restart_and_crash_and_comes_back_after_a_stop(release: Release) {
    let machine = farm::machine(release);
    machine.configure(&format!("{}[listen.more]\naddress = \"unix:/run/segue/more.sock\"\n", farm::CONFIG));
    machine.ok("systemctl reload proxy");
    let ask = || {
        machine.ok("curl --silent --show-error --fail --max-time 5 --unix-socket /run/segue/more.sock \
            http://localhost/index.php")
    };
    ask();
    machine.ok("systemctl restart proxy");
    ask();
    machine.ok("systemctl kill --kill-whom main --signal KILL proxy.service");
    ask();
    machine.ok("systemctl stop proxy && systemctl start proxy");
    ask();
}

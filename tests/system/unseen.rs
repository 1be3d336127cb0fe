//! Reloads, upgrades and listeners that come and go, while the crowd of [`crate::strict`] is in the machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::strict::{Certificate, Change, Crowd, Habits, Servers, Setup, Steps};
use crate::support::farm::one_generation;
use crate::support::knocking::Knocking;
use crate::support::machine::{self, Machine, Release};
use crate::support::wait_for;

facts![
    thirty_reloads_of_changed_configurations_are_seen_by_no_client,
    an_upgrade_of_the_package_is_seen_by_no_client,
    a_listener_added_by_reload_stays_open_over_a_restart_and_is_gone_when_it_is_removed,
    two_hundred_reloads_at_once_share_a_few_workers_and_leave_nothing_behind,
];

/// Where the proxy of the package listens, and what configurations add.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 80);
const TCP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5432);
const HTTPS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 443);
const MORE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 81);

/// A machine whose proxy serves the servers of a crowd.
fn machine(release: Release) -> (Machine, Setup) {
    let machine = Machine::installed(release);
    let servers = Servers::start(machine.place(), HTTP.ip(), 4);
    let certificate = Certificate::issue(Path::new("/etc/segue/tls"));
    for (name, content) in &certificate.files {
        machine.ok(&format!("install -D -m 640 -g segue /dev/stdin /etc/segue/tls/{name} <<'END'\n{content}END"));
    }
    let setup = Setup { servers, http: HTTP, passed: true, tcp: TCP, more: MORE, tls: Some((HTTPS, certificate)) };
    machine.configure(&setup.config(Change::Nothing));
    machine.ok("systemctl reload proxy");
    one_generation(&machine);
    (machine, setup)
}

fn crowd(machine: &Machine, setup: &Setup) -> Crowd {
    Crowd::start(machine.place(), setup.door(), Habits { http2: [2, 1], ..Habits::EVERYBODY })
}

fn status(machine: &Machine) -> Value {
    serde_json::from_str(&machine.ok("segue status --json")).expect("JSON")
}

fn thirty_reloads_of_changed_configurations_are_seen_by_no_client(release: Release) {
    let (machine, setup) = machine(release);
    let crowd = crowd(&machine, &setup);
    let mut steps = Steps::of(Duration::from_secs(1));
    for round in 0..30 {
        let change = Change::ALL[round % Change::ALL.len()];
        machine.configure(&setup.config(change));
        crowd.mark(&format!("reload {}: {change:?}", round + 1));
        machine.ok("systemctl reload proxy");
        steps.wait();
    }
    let began = Instant::now();
    one_generation(&machine);
    eprintln!("one worker was left {:?} after the last step", began.elapsed());
    end_unseen(crowd, &setup);
}

fn an_upgrade_of_the_package_is_seen_by_no_client(release: Release) {
    let (machine, setup) = machine(release);
    let (supervisor, workers) = (machine.supervisor(), machine.workers());
    let crowd = crowd(&machine, &setup);
    crowd.mark("upgrade");
    machine.install(&machine::next_package());
    let installed = machine.ok("stat --format %i /usr/bin/segue");
    wait_for("the upgrade of the supervisor", Duration::from_secs(30), || {
        let runs = machine.run(&format!("stat --dereference --format %i /proc/{supervisor}/exe"));
        (runs.stdout.trim() == installed).then_some(())
    });
    one_generation(&machine);
    assert_eq!(machine.supervisor(), supervisor, "another supervisor");
    assert_ne!(machine.workers(), workers, "the worker is the old one");
    assert_eq!(status(&machine)["supervisor"]["version"], machine.installed_version());
    end_unseen(crowd, &setup);
}

#[track_caller]
fn end_unseen(crowd: Crowd, setup: &Setup) {
    // what moved last must work too
    crowd.wait_requests(100);
    crowd.assert_tunnels_run();
    let tally = crowd.end();
    eprintln!("{tally}");
    tally.assert_unseen();
    setup.assert_served_once();
}

fn a_listener_added_by_reload_stays_open_over_a_restart_and_is_gone_when_it_is_removed(release: Release) {
    let (machine, setup) = machine(release);
    let stored = machine.property("NFileDescriptorStore");
    machine.configure(&setup.config(Change::Listener));
    machine.ok("systemctl reload proxy");
    let ask = "curl --silent --show-error --fail --max-time 5 http://127.0.0.1:81/";
    machine.ok(ask);
    assert_ne!(machine.property("NFileDescriptorStore"), stored);

    let knocking = Knocking::at(machine.place(), MORE);
    machine.ok("systemctl restart proxy");
    machine.ok(ask);
    let (opened, refused) = knocking.end();
    assert!(refused.is_empty() && opened > 0, "{opened} were let in, and others not: {refused:?}");

    machine.configure(&setup.config(Change::Nothing));
    machine.ok("systemctl reload proxy");
    wait_for("the listener to be gone", Duration::from_secs(10), || {
        (machine.ok("ss --listening --tcp --numeric --no-header 'sport = :81'").is_empty()).then_some(())
    });
    wait_for("the store to be as before", Duration::from_secs(10), || {
        (machine.property("NFileDescriptorStore") == stored).then_some(())
    });
    machine.ok("curl --silent --show-error --fail --max-time 5 http://127.0.0.1/");
}

fn two_hundred_reloads_at_once_share_a_few_workers_and_leave_nothing_behind(release: Release) {
    let (machine, setup) = machine(release);
    let left = || {
        let supervisor = machine.supervisor();
        machine.ok(&format!(
            "ls /proc/{supervisor}/fd | wc -l; ls -A /run/segue /var/lib/segue; pgrep --count segue; \
             systemctl show proxy.service --value --property NFileDescriptorStore"
        ))
    };
    let newest = || status(&machine)["generations"].as_array().expect("a list").iter().map(number).max().expect("one");
    let (before, first) = (left(), newest());

    machine.configure(&setup.config(Change::Weights));
    let verdicts = two_hundred_reloads(&machine);
    let served: Vec<u64> = verdicts.iter().filter_map(|said| served_by(said)).collect();
    assert_eq!(served.len(), 200, "{verdicts:?}");
    let last = newest();
    assert!(served.iter().all(|number| (first + 1..=last).contains(number)), "{first} to {last}: {served:?}");
    let made = last - first;
    eprintln!("{made} generations were made");
    // one is under way and one pending at any time; two hundred commands take a while to start
    assert!(made <= 20, "{made} workers for 200 callers");

    machine.configure("[site.\"*\"]\nto = 5\n");
    let verdicts = two_hundred_reloads(&machine);
    let refused = verdicts.iter().filter(|said| said.starts_with("1 ") && said.contains("segue.toml:2")).count();
    assert_eq!(refused, 200, "{verdicts:?}");

    machine.configure(&setup.config(Change::Weights));
    machine.ok("segue reload --force");
    one_generation(&machine);
    wait_for("as much as before", Duration::from_secs(20), || (left() == before).then_some(()));
}

/// Ten callers from each of twenty shells: the exit status of each, and all that it printed, in one line.
///
/// The supervisor stands still until they have come, for five seconds at most: two hundred processes do not start in
/// the same moment, and those that come one after the other would not be "at once".
fn two_hundred_reloads(machine: &Machine) -> Vec<String> {
    let supervisor = machine.supervisor();
    let caller = "(said=$(segue reload --force 2>&1); echo $? $said)";
    let shell = format!("sh -c 'for caller in 1 2 3 4 5 6 7 8 9 10; do {caller} & done; wait' &");
    let all_came =
        "[ $(pgrep --full --count '^segue reload') -ge 200 ] && [ $(grep -c control.sock /proc/net/unix) -gt 100 ]";
    let outcome = machine.ok(&format!(
        "kill -STOP {supervisor}
        for shell in $(seq 20); do {shell} done
        tries=50
        until {all_came} || [ $tries = 0 ]; do sleep 0.1; tries=$((tries - 1)); done
        kill -CONT {supervisor}
        wait"
    ));
    outcome.lines().map(str::to_owned).collect()
}

/// The generation that a good verdict names: "0 … generation 7 …".
fn served_by(said: &str) -> Option<u64> {
    let after = said.strip_prefix("0 ")?.split("generation ").nth(1)?;
    after.split(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
}

fn number(generation: &Value) -> u64 {
    generation["generation"].as_u64().expect("a number")
}

//! The units of the package, and those that an administrator adds: further sockets, a second proxy, how all of it is stopped.

use std::time::Duration;

use crate::support::machine::{self, Machine, Release};
use crate::support::{farm, load, wait_for};

facts![
    the_service_goes_by_the_name_of_the_package_too,
    what_is_stopped_as_the_manual_says_no_client_starts_again,
    the_example_of_a_socket_unit_works_as_it_is,
    a_socket_unit_that_is_not_set_up_right_leaves_port_80_open,
    a_reload_that_takes_a_listener_away_names_the_commands_that_close_its_port,
    a_second_proxy_runs_beside_the_first_and_reloads_by_itself,
    a_second_proxy_can_have_a_socket_of_systemd,
    an_upgrade_reloads_the_second_proxy_too_and_a_removal_ends_it,
    the_groups_of_the_package_say_which_users_look_and_which_change,
];

/// A configuration whose clients are told 502 by the proxy that has it.
const SECOND: &str = "[listen.http]\naddress = \"127.0.0.1:8080\"\n\n[site.\"*\"]\nto = [\"127.0.0.1:9\"]\n";

fn the_service_goes_by_the_name_of_the_package_too(release: Release) {
    let machine = Machine::installed(release);
    let named = "systemctl status --no-pager segue | grep -q 'proxy.service - Segue'";
    machine.ok(named);
    machine.ok("systemctl reload segue && systemctl is-active segue");
    machine.ok("systemctl disable proxy.service && systemctl enable proxy.service");
    machine.ok(named);
}

fn the_groups_of_the_package_say_which_users_look_and_which_change(release: Release) {
    let machine = farm::machine(release);
    machine.ok("useradd -G segue-view viewer && useradd -G segue changer && useradd other");
    let run = |user: &str, command: &str| machine.run(&format!("runuser -u {user} -- segue {command}"));
    let listed = machine.ok("runuser -u viewer -- segue servers");
    let server = listed.lines().nth(1).and_then(|line| line.split_whitespace().nth(1)).expect("a server").to_owned();
    let drain = format!("drain {server} --for 1h");
    assert!(run("viewer", &drain).stderr.contains("members of segue-view may look"));
    assert!(run("other", "servers").stderr.contains("only root"));
    machine.ok(&format!("runuser -u changer -- segue {drain}"));
    machine.ok("systemctl restart proxy");
    assert!(machine.ok("segue servers").lines().any(|line| line.contains(&server) && line.contains(" drain ")));
    let journal = machine.ok("journalctl -u proxy --no-pager -o cat PROXY_EVENT=server-administered");
    assert!(journal.contains("is set to drain by uid ") && journal.contains(" for 60 min"), "{journal}");
    let journal = machine.ok("journalctl -u proxy --no-pager -o cat PROXY_EVENT=admin-refused");
    assert!(journal.contains("may not "), "{journal}");
}

fn what_is_stopped_as_the_manual_says_no_client_starts_again(release: Release) {
    let machine = Machine::installed(release);
    machine.ok("systemctl enable proxy-https.socket && systemctl restart proxy");
    machine.ok("systemctl stop proxy $(systemctl show --value --property TriggeredBy proxy)");
    assert_eq!(machine.states(), "inactive inactive");
    for port in [80, 443] {
        assert_eq!(status_at(&machine, port), "000");
    }
    assert_eq!(machine.states(), "inactive inactive");
    machine.ok("systemctl disable proxy $(systemctl show --value --property TriggeredBy proxy)");
    let enabled = machine.run("systemctl is-enabled proxy proxy-http.socket proxy-https.socket").stdout;
    assert_eq!(enabled, "disabled\ndisabled\ndisabled\n");
}

fn the_example_of_a_socket_unit_works_as_it_is(release: Release) {
    let machine = farm::machine(release);
    let unit = include_str!("../../packaging/examples/proxy-internal.socket");
    let manual = include_str!("../../packaging/man/segue-units.7");
    for line in unit.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(manual.lines().any(|there| there == line), "segue-units(7) lacks: {line}");
    }
    machine.write("/etc/systemd/system/proxy-internal.socket", unit);
    machine.configure(&format!("{}[listen.internal]\n", farm::CONFIG));
    machine.ok("systemctl daemon-reload && systemctl enable proxy-internal.socket && systemctl restart proxy");
    for port in [80, 9000] {
        assert_eq!(status_at(&machine, port), "200");
    }
    machine.ok("systemctl reload proxy && systemctl stop proxy");
    assert_eq!(status_at(&machine, 9000), "200", "the client waited for the service that it started");
    machine.ok("apt-get remove --yes --quiet segue");
    assert_eq!(status_at(&machine, 9000), "000");
    assert_eq!(machine.run("pgrep segue").stdout, "");
}

// systemd refuses to start the socket beside the running service; a restart comes next.
fn a_socket_unit_that_is_not_set_up_right_leaves_port_80_open(release: Release) {
    let machine = farm::machine(release);
    machine.write(
        "/etc/systemd/system/proxy-9000.socket",
        "[Socket]\nListenStream=9000\nService=proxy.service\n[Install]\nWantedBy=sockets.target\n",
    );
    machine.ok("systemctl daemon-reload");
    assert!(!machine.run("systemctl enable --now proxy-9000.socket").status.success());
    machine.configure(&format!("{}[listen.9000]\n", farm::CONFIG));
    assert!(!machine.run("systemctl reload proxy").status.success());
    assert_eq!(status_at(&machine, 80), "200");
    // first without the socket, then with one of another name
    for _ in 0..2 {
        machine.ok("systemctl restart proxy");
        assert_eq!(status_at(&machine, 80), "200");
        machine.ok("systemctl stop proxy proxy-http.socket && systemctl start proxy-9000.socket proxy-http.socket");
    }
    machine.ok("systemctl restart proxy");
    let said = machine.ok("journalctl --sync; journalctl -u proxy -o cat --no-pager");
    assert!(said.contains("listener 9000 has no socket: systemd passed none of this name, and"), "{said}");
    assert!(said.contains("only proxy-9000.socket"), "{said}");
}

fn a_reload_that_takes_a_listener_away_names_the_commands_that_close_its_port(release: Release) {
    let machine = farm::machine(release);
    machine.configure(&format!("{}[listen.https]\n", farm::CONFIG));
    machine.ok("systemctl enable proxy-https.socket && systemctl restart proxy");
    assert_eq!(status_at(&machine, 443), "200");
    machine.configure(farm::CONFIG);
    let said = machine.ok("segue reload");
    let commands = ["systemctl disable --now proxy-https.socket", "systemctl restart proxy"];
    for command in commands {
        assert!(said.contains(command), "{said}");
    }
    assert_eq!(machine.entries("PROXY_EVENT=listener-unused PROXY_LISTENER=https"), 1);
    commands.into_iter().for_each(|command| drop(machine.ok(command)));
    assert_eq!(status_at(&machine, 443), "000");
    assert_eq!(status_at(&machine, 80), "200");
}

fn a_second_proxy_runs_beside_the_first_and_reloads_by_itself(release: Release) {
    let machine = farm::machine(release);
    second(&machine);
    machine.ok("systemctl enable --now proxy@internal");
    assert_eq!((status_at(&machine, 80), status_at(&machine, 8080)), ("200".to_owned(), "502".to_owned()));
    // the reload that brought its configuration may still be on probation
    let workers = wait_for("one worker of the first proxy", Duration::from_secs(20), || {
        let workers = machine.workers();
        (workers.len() == 1).then_some(workers)
    });
    let served = |machine: &Machine| generation(machine, "/run/segue-internal");
    assert_eq!(served(&machine), 1);
    let config = SECOND.replace("127.0.0.1:9", "10.0.0.11:80");
    machine.write("/etc/segue/internal/segue.toml", &config);
    let report = load::around(&machine, "-n 5000 -c 20", || drop(machine.ok("systemctl reload proxy@internal")));
    report.assert_clean(5000);
    assert_eq!((served(&machine), status_at(&machine, 8080)), (2, "200".to_owned()));
    assert_eq!(machine.workers(), workers, "the first proxy reloaded too");
    machine.ok("segue reload --force");
    assert_eq!(served(&machine), 2);
    machine.ok("systemctl stop proxy@internal");
    assert_eq!((status_at(&machine, 80), status_at(&machine, 8080)), ("200".to_owned(), "000".to_owned()));
    machine.ok("journalctl --quiet -u proxy@internal PROXY_EVENT=stopped -o cat | grep -q .");
}

fn a_second_proxy_can_have_a_socket_of_systemd(release: Release) {
    let machine = Machine::installed(release);
    second(&machine);
    machine.write("/etc/segue/internal/segue.toml", "[site.\"*\"]\nto = [\"127.0.0.1:9\"]\n");
    machine.ok("mkdir /etc/systemd/system/proxy-http@internal.socket.d");
    machine.write(
        "/etc/systemd/system/proxy-http@internal.socket.d/address.conf",
        "[Socket]\nListenStream=127.0.0.1:8080\n",
    );
    machine.ok(
        "systemctl daemon-reload && systemctl enable proxy-http@internal.socket && systemctl restart proxy@internal",
    );
    assert_eq!(status_at(&machine, 8080), "502");
    machine.ok("systemctl reload proxy@internal && systemctl stop proxy@internal");
    assert_eq!(status_at(&machine, 8080), "502", "the client waited for the service that it started");
}

fn an_upgrade_reloads_the_second_proxy_too_and_a_removal_ends_it(release: Release) {
    let machine = farm::machine(release);
    second(&machine);
    machine.ok("systemctl enable --now proxy@internal");
    farm::one_generation(&machine);
    machine.install(&machine::next_package());
    let old = "find /proc -maxdepth 2 -path '/proc/[0-9]*/exe' -lname '/usr/bin/segue (deleted)' 2>/dev/null || true";
    assert_eq!(machine.ok(old), "", "a program of before the upgrade");
    assert_eq!(generation(&machine, "/run/segue-internal"), 2);
    machine.ok("apt-get purge --yes --quiet segue");
    assert_eq!(status_at(&machine, 8080), "000");
    wait_for("the end of every process", Duration::from_secs(5), || {
        machine.run("pgrep segue").stdout.is_empty().then_some(())
    });
    assert_eq!(machine.ok("find /etc/systemd/system -name 'proxy*'"), "");
}

/// The configuration of `proxy@internal`.
fn second(machine: &Machine) {
    machine.ok("mkdir /etc/segue/internal");
    machine.write("/etc/segue/internal/segue.toml", SECOND);
    machine.ok("segue check --config /etc/segue/internal/segue.toml");
}

/// The number of the newest generation of the proxy with this run directory.
fn generation(machine: &Machine, run_dir: &str) -> u64 {
    let status = machine.ok(&format!("segue status --json --run-dir {run_dir}"));
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let numbers = status["generations"].as_array().expect("generations").iter();
    numbers.filter_map(|one| one["generation"].as_u64()).max().expect("a generation")
}

/// What a client of this port is answered: a status, or 000.
fn status_at(machine: &Machine, port: u16) -> String {
    let url = format!("http://127.0.0.1:{port}/index.php");
    machine.run(&format!("curl --silent --max-time 10 --output /dev/null --write-out '%{{http_code}}' {url}")).stdout
}

#[test]
fn the_template_is_the_service_but_for_what_names_it() {
    let service = include_str!("../../systemd/proxy.service");
    let template = include_str!("../../systemd/proxy@.service");
    let settings = |unit: &str| -> Vec<String> {
        let settings = unit.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        settings.filter(|line| !line.starts_with("Description=")).map(str::to_owned).collect()
    };
    let named =
        settings(service).into_iter().filter(|line| !line.starts_with("Sockets=") && !line.starts_with("Alias="));
    let named = named.map(|line| match line.as_str() {
        "ExecStart=/usr/bin/segue run" => format!("{line} --config /etc/segue/%i/segue.toml"),
        "RuntimeDirectory=segue" | "StateDirectory=segue" => format!("{line}-%i"),
        _ => line,
    });
    assert_eq!(settings(template), named.collect::<Vec<_>>());
}

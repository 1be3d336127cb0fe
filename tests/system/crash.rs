//! What clients see when something dies: as little as can be.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::knocking::Knocking;
use crate::support::machine::Release;
use crate::support::{farm, load, wait_for};

facts![
    a_killed_worker_is_replaced_within_a_second_and_nobody_is_refused,
    a_worker_killed_in_probation_gives_way_to_the_one_before,
    a_killed_supervisor_comes_back_on_the_same_sockets_and_nobody_is_refused,
    a_server_that_dies_under_load_is_seen_by_no_client,
    a_broken_config_at_start_fails_visibly_and_the_next_start_works,
    a_client_of_a_service_that_cannot_start_waits_until_it_can,
    with_journald_dns_and_a_check_silent_at_once_no_reload_kill_or_restart_refuses_a_client,
];

/// A load that goes on when a connection breaks, and an answer is short: those of a killed process do.
const LENIENT: &str = "-r -l -n 20000 -c 50";

fn a_killed_worker_is_replaced_within_a_second_and_nobody_is_refused(release: Release) {
    let machine = farm::lone_machine(release);
    farm::one_generation(&machine);
    let report = load::around(&machine, LENIENT, || {
        let killed = *machine.workers().last().expect("a worker");
        machine.ok(&format!("kill -KILL {killed}"));
        let died = Instant::now();
        machine.ok(&format!("curl --silent --show-error --fail --max-time 1 {}", farm::URL));
        assert!(died.elapsed() < Duration::from_secs(1), "answered after {:?}", died.elapsed());
        assert!(!machine.workers().contains(&killed));
    });
    assert_eq!((report.refused, report.aborted.as_deref()), (0, None), "{report:?}");
    assert!(report.broken <= 50, "more than the 50 open connections broke: {report:?}");
    assert_eq!(machine.entries("PROXY_EVENT=worker-died"), 1);
}

fn a_worker_killed_in_probation_gives_way_to_the_one_before(release: Release) {
    let machine = farm::machine(release);
    farm::one_generation(&machine);
    let before = machine.workers();
    let report = load::around(&machine, LENIENT, || {
        machine.ok("segue reload --force");
        let killed = *machine.workers().last().expect("a worker");
        machine.ok(&format!("kill -KILL {killed}"));
        machine.ok(&format!("curl --silent --show-error --fail --max-time 1 {}", farm::URL));
    });
    assert_eq!((report.refused, report.aborted.as_deref()), (0, None), "{report:?}");
    assert_eq!(machine.workers(), before);
    assert_eq!(machine.entries("PROXY_EVENT=rolled-back"), 1);
}

fn a_killed_supervisor_comes_back_on_the_same_sockets_and_nobody_is_refused(release: Release) {
    let machine = farm::lone_machine(release);
    let killed = machine.supervisor();
    let report = load::around(&machine, LENIENT, || {
        machine.ok("systemctl kill --kill-whom main --signal KILL proxy.service");
        // what a worker has just accepted when systemd kills it too is lost with it, and no more than that
        machine
            .ok(&format!("curl --silent --show-error --fail --max-time 10 --retry 2 --retry-all-errors {}", farm::URL));
    });
    assert_eq!((report.refused, report.aborted.as_deref()), (0, None), "{report:?}");
    assert_ne!(machine.supervisor(), killed);
    assert_eq!(machine.property("NRestarts"), "1");
}

fn a_server_that_dies_under_load_is_seen_by_no_client(release: Release) {
    let machine = farm::machine(release);
    // The journal has its hands full during the load: what it says is read afterwards.
    let servers_up = |count: &str| {
        wait_for(&format!("{count} servers up"), Duration::from_secs(20), || {
            machine.property("StatusText").contains(&format!("{count} servers up")).then_some(())
        });
    };
    let report = load::around(&machine, "-k -n 20000 -c 50", || {
        machine.ok(&format!("systemctl kill --signal KILL {}", farm::unit("10.0.0.12")));
        servers_up("2/3");
        machine.ok(&format!("systemctl start {}", farm::unit("10.0.0.12")));
        servers_up("3/3");
    });
    report.assert_clean(20_000);
    for event in ["server-down", "server-up"] {
        wait_for(event, Duration::from_secs(60), || {
            (machine.entries(&format!("PROXY_EVENT={event} PROXY_SERVER=10.0.0.12:80")) > 0).then_some(())
        });
    }
    let said = machine.ok("journalctl --no-pager -u proxy -o cat PROXY_EVENT=server-down");
    assert!(said.contains("refused"), "no reason in: {said}");
}

fn a_broken_config_at_start_fails_visibly_and_the_next_start_works(release: Release) {
    let machine = farm::machine(release);
    machine.ok("systemctl stop proxy-http.socket proxy.service");
    machine.configure("[site.\"*\"]\nto = 5\n");
    let start = machine.run("systemctl start proxy.service");
    assert!(!start.status.success());
    assert_eq!(machine.property("ExecMainStatus"), "78");
    let status = machine.run("systemctl status --no-pager --full proxy.service").stdout;
    assert!(status.contains("/etc/segue/segue.toml:2"), "{status}");
    machine.configure(farm::CONFIG);
    machine.ok("systemctl start proxy-http.socket proxy.service");
    machine.ok(&format!("curl --silent --show-error --fail --max-time 5 {}", farm::URL));
}

// systemd started the service again and again for the client that waits, and then closed the socket for good:
// trigger-limit-hit. Here the limit is so low that it strikes on a slow machine too.
fn a_client_of_a_service_that_cannot_start_waits_until_it_can(release: Release) {
    let machine = farm::machine(release);
    machine.ok("mkdir -p /etc/systemd/system/proxy-http.socket.d");
    machine.write("/etc/systemd/system/proxy-http.socket.d/limit.conf", "[Socket]\nTriggerLimitBurst=4\n");
    machine.ok("systemctl daemon-reload");
    machine.configure("[site.\"*\"]\nto = 5\n");
    assert!(!machine.run("systemctl restart proxy.service").status.success());
    machine.ok(&format!(
        "systemd-run --quiet --unit=client curl --silent --fail --max-time 60 --output /run/answer {}",
        farm::URL
    ));
    wait_for("several starts", Duration::from_secs(60), || {
        (machine.entries("PROXY_EVENT=start-refused") > 5).then_some(())
    });
    assert_eq!(machine.ok("systemctl is-active proxy-http.socket"), "active");
    machine.configure(farm::CONFIG);
    wait_for("the answer", Duration::from_secs(60), || {
        machine.run("cat /run/answer").stdout.contains("10.0.0.").then_some(())
    });
}

// Everything that the service asks for, silent at once. How long the first client waits after each blow is printed: no
// more than 1 s where there is a CPU for it. Up to half of that is systemd: a service that does nothing but accept takes
// 0.35 to 0.45 s to be back after a kill, and 0.1 s after a restart. The bound of the fact is far above what a busy
// machine adds, and below what any wait for DNS or the journal takes.
fn with_journald_dns_and_a_check_silent_at_once_no_reload_kill_or_restart_refuses_a_client(release: Release) {
    let machine = farm::lone_machine(release);
    // sockets stay in the network in which they were made
    let silence = machine.place().run("silence", || async {
        (UdpSocket::bind("127.0.0.1:53").expect("no DNS here"), TcpListener::bind("127.0.0.1:7").expect("a free port"))
    });
    let _silence = silence.join().expect("the sockets");
    machine.write("/etc/resolv.conf", "nameserver 127.0.0.1\n");
    let other = "[site.\"other.example\"]\nto = [\"backend.example:80\", \"127.0.0.1:7\"]\ncheck = \"GET /\"\n";
    machine.configure(&format!("{}{other}", farm::CONFIG));
    machine.ok("systemctl reload proxy");
    farm::one_generation(&machine);
    machine.ok("systemctl kill --signal STOP systemd-journald.service");
    // fills what the kernel keeps for journald
    load::once(&machine, "-k -n 5000 -c 50").assert_clean(5_000);

    let knocking = Knocking::at(machine.place(), SocketAddr::from(([127, 0, 0, 1], 80)));
    for blow in [
        "segue reload --force >/run/verdict 2>&1 &",
        "kill -KILL $(pgrep --newest --parent $(systemctl show proxy --value --property MainPID))",
        "systemctl kill --kill-whom main --signal KILL proxy.service",
        "systemctl restart --no-block proxy.service",
    ] {
        let ask = format!("curl --silent --show-error --fail --max-time 60 --output /dev/null {}", farm::URL);
        let began = Instant::now();
        machine.ok(&format!("{blow}\n{ask}"));
        let waited = began.elapsed();
        eprintln!("{blow}: the first client was answered after {waited:?}");
        assert!(waited < Duration::from_secs(5), "{blow}: the first client was answered after {waited:?}");
        wait_for("the service to be up", Duration::from_secs(60), || {
            (machine.property("ActiveState") == "active" && !machine.workers().is_empty()).then_some(())
        });
        machine.ok(&ask);
    }
    machine.ok("systemctl kill --signal CONT systemd-journald.service");
    let (opened, refused) = knocking.end();
    assert!(refused.is_empty() && opened > 20, "{opened} connections were opened, others were not: {refused:?}");
}

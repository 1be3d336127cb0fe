//! The package: what installing, upgrading and removing it do.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::machine::{self, Machine, Release};
use crate::support::{farm, load, wait_for};

facts![
    after_apt_install_a_helpful_page_answers,
    an_installation_starts_the_service_so_its_first_reload_works,
    the_first_request_starts_a_service_that_was_stopped,
    an_installation_says_that_port_80_is_taken_and_the_service_starts_once_it_is_free,
    an_installation_says_that_the_service_did_not_start_and_succeeds,
    an_installation_starts_nothing_that_the_policy_or_a_mask_forbids,
    an_upgrade_under_load_loses_nothing_and_the_new_binary_serves,
    an_upgrade_makes_the_supervisor_the_new_program_in_the_same_process,
    needrestart_asks_for_nothing_after_an_upgrade_and_names_a_reload_after_that_of_a_library,
    an_upgraded_supervisor_binds_low_ports_and_gives_them_to_systemd,
    what_was_stopped_stays_so_over_an_upgrade_and_a_new_installation_starts_it,
    remove_and_purge_leave_nothing,
    exposure_is_at_most_one_and_a_half,
    only_the_supervisor_has_a_capability,
    the_https_socket_waits_for_its_administrator,
    manual_pages_and_completions_are_there,
    the_catalog_explains_what_happened,
    the_demo_without_a_network_says_so_and_nothing_else,
];

fn after_apt_install_a_helpful_page_answers(release: Release) {
    let machine = Machine::installed(release);
    let page = machine.run("curl --silent --show-error --include --max-time 10 http://127.0.0.1/").stdout;
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert!(page.contains("/etc/segue/segue.toml"), "{page}");
    assert!(page.contains("systemctl reload proxy"), "{page}");
    assert_eq!(machine.ok("systemctl is-enabled proxy-http.socket proxy.service"), "enabled\nenabled");
    assert_eq!(machine.run("systemctl is-enabled proxy-https.socket").stdout.trim(), "disabled");
}

fn an_installation_starts_the_service_so_its_first_reload_works(release: Release) {
    let machine = Machine::installed(release);
    assert_eq!(machine.states(), "active active");
    machine.ok("systemctl reload proxy");
    machine.ok("ip -6 address show dev lo | grep -q ::1 && curl --silent --show-error --max-time 10 'http://[::1]/'");
}

fn the_first_request_starts_a_service_that_was_stopped(release: Release) {
    let machine = Machine::installed(release);
    machine.ok("systemctl stop proxy.service");
    assert_eq!(machine.states(), "active inactive");
    assert!(!machine.run("systemctl reload proxy").status.success(), "a reload that hides that the service was down");
    machine.ok("curl --silent --show-error --max-time 10 http://127.0.0.1/");
    assert_eq!(machine.states(), "active active");
    machine.ok("systemctl stop proxy-http.socket proxy.service && systemctl reload-or-restart proxy");
    assert_eq!(machine.states(), "active active");
}

fn an_installation_says_that_port_80_is_taken_and_the_service_starts_once_it_is_free(release: Release) {
    let machine = Machine::boot(release);
    machine.ok("systemctl unmask nginx.service && systemctl start nginx.service");
    let said = machine.install(&machine::package());
    assert!(said.contains("segue: port 80 could not be opened"), "{said}");
    assert!(!said.contains("segue: the proxy was not started"), "two reports of one cause: {said}");
    assert_eq!(machine.states(), "failed inactive");
    machine.ok("systemctl stop nginx.service && systemctl start proxy");
    assert_eq!(machine.states(), "active active");
    assert!(machine.ok("curl --silent --max-time 5 http://127.0.0.1/").contains("Segue is running"));
}

fn an_installation_says_that_the_service_did_not_start_and_succeeds(release: Release) {
    let machine = Machine::boot(release);
    machine.ok("mkdir -p /etc/segue/conf.d && echo '[pool.left-over]' >/etc/segue/conf.d/old.toml");
    let said = machine.install(&machine::package());
    assert!(said.contains("segue: the proxy was not started; see: systemctl status proxy"), "{said}");
    let status = machine.run("systemctl status --no-pager --full proxy").stdout;
    assert!(status.contains("/etc/segue/conf.d/old.toml:1"), "{status}");
    machine.ok("rm /etc/segue/conf.d/old.toml && systemctl start proxy");
    assert_eq!(machine.states(), "active active");
}

fn an_installation_starts_nothing_that_the_policy_or_a_mask_forbids(release: Release) {
    let machine = Machine::boot(release);
    machine.ok("printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d");
    machine.install(&machine::package());
    assert_eq!(machine.states(), "inactive inactive");
    machine.ok("rm /usr/sbin/policy-rc.d && apt-get remove --yes --quiet segue");
    machine.ok("ln -s /dev/null /etc/systemd/system/proxy.service && systemctl daemon-reload");
    let said = machine.install(&machine::package());
    assert_eq!(machine.states(), "inactive inactive");
    assert!(!said.contains("segue: "), "{said}");
}

fn an_upgrade_under_load_loses_nothing_and_the_new_binary_serves(release: Release) {
    let machine = farm::machine(release);
    let before = machine.workers();
    let report = load::around(&machine, "-n 20000 -c 50", || drop(machine.install(&machine::next_package())));
    report.assert_clean(20_000);
    let serving = *machine.workers().last().expect("a worker");
    assert!(!before.contains(&serving), "the worker is the old one");
    assert_eq!(machine.ok("segue --version"), format!("segue {}", machine.installed_version()));
    assert_eq!(
        machine.ok(&format!("stat --dereference --format %i /proc/{serving}/exe")),
        machine.ok("stat --format %i /usr/bin/segue"),
    );
}

/// Upgrades, and waits until the supervisor is what was installed.
fn upgrade(machine: &Machine) {
    machine.install(&machine::next_package());
    let installed = machine.ok("stat --format %i /usr/bin/segue");
    wait_for("the upgrade of the supervisor", Duration::from_secs(30), || {
        let runs = machine.run(&format!("stat --dereference --format %i /proc/{}/exe", machine.supervisor()));
        (runs.stdout.trim() == installed).then_some(())
    });
}

fn an_upgrade_makes_the_supervisor_the_new_program_in_the_same_process(release: Release) {
    let machine = farm::machine(release);
    farm::one_generation(&machine);
    let before = machine.supervisor();
    let report = load::around(&machine, "-n 20000 -c 50", || upgrade(&machine));
    report.assert_clean(20_000);
    assert_eq!(machine.supervisor(), before, "another process");
    let status: serde_json::Value = serde_json::from_str(&machine.ok("segue status --json")).expect("JSON");
    assert_eq!(status["supervisor"]["pid"], before);
    assert_eq!(status["supervisor"]["version"], machine.installed_version());
    assert_eq!((machine.entries("PROXY_EVENT=upgraded"), machine.entries("PROXY_EVENT=upgrade-refused")), (1, 0));
    machine.ok(&format!("systemctl status proxy | grep -q 'Main PID: {before} (segue)'"));

    farm::one_generation(&machine);
    let worker = machine.workers();
    machine.ok("segue reload --force");
    farm::one_generation(&machine);
    assert_ne!(machine.workers(), worker);
    machine.ok("systemctl stop proxy.service");
    assert_eq!(machine.property("Result"), "success");
}

fn needrestart_asks_for_nothing_after_an_upgrade_and_names_a_reload_after_that_of_a_library(release: Release) {
    let machine = farm::machine(release);
    farm::one_generation(&machine);
    let said = machine.install(&machine::next_package());
    assert!(!said.contains("proxy.service"), "{said}");
    let asked = |machine: &Machine| machine.ok("needrestart -b -r l");
    assert!(!asked(&machine).contains("proxy"), "{}", asked(&machine));
    // as if a library had been replaced: something that the service maps is gone
    machine.ok("cp /usr/bin/segue /usr/bin/segue.new && mv /usr/bin/segue.new /usr/bin/segue");
    assert!(asked(&machine).contains("NEEDRESTART-SVC: proxy.service"), "{}", asked(&machine));
    let named = machine.run("needrestart -r l").text();
    assert!(named.contains("/etc/needrestart/restart.d/proxy.service") && !named.contains("systemctl"), "{named}");
    let report =
        load::around(&machine, "-n 20000 -c 50", || drop(machine.ok("/etc/needrestart/restart.d/proxy.service")));
    report.assert_clean(20_000);
}

fn an_upgraded_supervisor_binds_low_ports_and_gives_them_to_systemd(release: Release) {
    let machine = farm::machine(release);
    upgrade(&machine);
    let capabilities = machine.ok(&format!("grep '^Cap[EA]' /proc/{}/status", machine.supervisor()));
    assert_eq!(capabilities, "CapEff:\t0000000000000400\nCapAmb:\t0000000000000000");
    machine.configure(&format!("{}[listen.http]\n[listen.more]\naddress = \"127.0.0.1:81\"\n", farm::CONFIG));
    machine.ok("systemctl reload proxy");
    let ask = "curl --silent --show-error --fail --max-time 5 http://127.0.0.1:81/index.php";
    machine.ok(ask);
    assert_eq!(machine.property("NFileDescriptorStore"), "1");
    machine.ok("systemctl restart proxy");
    machine.ok(ask);
}

fn what_was_stopped_stays_so_over_an_upgrade_and_a_new_installation_starts_it(release: Release) {
    let machine = Machine::installed(release);
    machine.ok("systemctl stop proxy-http.socket proxy.service");
    machine.install(&machine::next_package());
    assert_eq!(machine.states(), "inactive inactive");
    machine.ok("apt-get remove --yes --quiet segue");
    machine.install(&machine::next_package());
    assert_eq!(machine.states(), "active active");
}

fn remove_and_purge_leave_nothing(release: Release) {
    let machine = Machine::installed(release);
    machine.ok("apt-get remove --yes --quiet segue");
    assert_eq!(machine.run("curl --silent --max-time 5 http://127.0.0.1/").status.code(), Some(7), "not refused");
    assert_eq!(machine.run("pgrep segue").stdout, "");
    machine.ok("test -e /etc/segue/segue.toml");
    machine.ok("apt-get purge --yes --quiet segue");
    let left = "find / -xdev \\( -name '*segue*' -o -name 'proxy*.service' -o -name 'proxy*.socket' \\) \
        -not -path '/proc/*' -not -path '/var/tmp/*' -not -path '/var/cache/apt/*' -not -path '/var/log/*'";
    assert_eq!(machine.ok(left), "");
    assert_eq!(machine.ok("systemctl list-units --all --plain --no-legend 'proxy*'"), "");
}

fn exposure_is_at_most_one_and_a_half(release: Release) {
    let machine = Machine::installed(release);
    let verdict = machine.ok("systemd-analyze security --no-pager proxy.service | tail -1");
    let exposure: f32 =
        verdict.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{verdict}"));
    assert!(exposure <= 1.5, "{verdict}");
}

fn only_the_supervisor_has_a_capability(release: Release) {
    let machine = Machine::installed(release);
    let effective = |pid: u32| machine.ok(&format!("sed -n 's/^CapEff:\\t0*//p' /proc/{pid}/status"));
    assert_eq!(effective(machine.supervisor()), "400", "CAP_NET_BIND_SERVICE and no other");
    for worker in machine.workers() {
        assert_eq!(effective(worker), "", "worker {worker}");
        assert_eq!(machine.ok(&format!("stat --format %U /proc/{worker}")), "segue");
    }
}

fn the_https_socket_waits_for_its_administrator(release: Release) {
    let machine = Machine::installed(release);
    assert_eq!(machine.run("systemctl is-active proxy-https.socket").stdout.trim(), "inactive");
    machine.ok("systemctl enable proxy-https.socket && systemctl restart proxy");
    assert_eq!(machine.ok("systemctl is-active proxy-https.socket proxy.service"), "active\nactive");
}

fn manual_pages_and_completions_are_there(release: Release) {
    let machine = Machine::boot(release);
    // The container's dpkg leaves documentation out of nothing: minbase has no such filter.
    machine.install(&machine::package());
    for page in ["man1/segue.1", "man1/segue-reload.1", "man5/segue.toml.5", "man7/segue-journal.7"] {
        machine.ok(&format!("zcat /usr/share/man/{page}.gz | grep -q '^\\.SH'"));
    }
    machine.ok("grep -q reload /usr/share/bash-completion/completions/segue");
    machine.ok("grep -q reload /usr/share/zsh/vendor-completions/_segue");
    machine.ok("grep -q reload /usr/share/fish/vendor_completions.d/segue.fish");
}

fn the_catalog_explains_what_happened(release: Release) {
    let machine = Machine::installed(release);
    wait_for("a catalog text in journalctl -x", Duration::from_secs(10), || {
        let text = machine.ok("journalctl --sync; journalctl --no-pager --catalog -u proxy SYSLOG_IDENTIFIER=segue");
        text.contains("░░").then_some(())
    });
}

// A machine has no network, and no compiler.
fn the_demo_without_a_network_says_so_and_nothing_else(release: Release) {
    let machine = Machine::boot(release);
    machine.ok("mkdir -p /root/segue/packaging");
    for (path, text) in [
        ("Cargo.toml", include_str!("../../Cargo.toml")),
        ("packaging/demo", include_str!("../../packaging/demo")),
        ("packaging/toolchain.sh", include_str!("../../packaging/toolchain.sh")),
    ] {
        machine.write(&format!("/root/segue/{path}"), text);
    }
    let demo = machine.run("sh /root/segue/packaging/demo");
    assert!(!demo.status.success());
    assert!(demo.stderr.contains("apt could not fetch its lists of packages; is there a network?"), "{}", demo.text());
    assert!(!demo.stderr.contains("sudo"), "{}", demo.text());
}

#[test]
#[ignore = "needs the package: tests/run"]
fn it_depends_on_nothing_newer_than_debian_12_has() {
    let field =
        Command::new("dpkg-deb").arg("-f").arg(machine::package()).arg("Depends").output().expect("dpkg-deb runs");
    let depends = String::from_utf8(field.stdout).expect("text");
    let libc = depends.split("libc6 (>= 2.").nth(1).and_then(|rest| rest.split(')').next()?.parse::<u32>().ok());
    assert!(libc.is_some_and(|minor| minor <= 36), "{depends}");
}

#[test]
#[ignore = "needs the package: tests/run"]
fn lintian_finds_no_error_and_no_warning() {
    let lintian = Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error,warning"])
        .arg(machine::package())
        .output()
        .expect("lintian is installed");
    assert!(lintian.status.success(), "{}", String::from_utf8_lossy(&lintian.stdout));
}

#[test]
#[ignore = "needs the package: tests/run"]
fn documents_link_to_files_that_are_there() {
    let root = tempfile::tempdir().expect("directory");
    let unpacked = Command::new("dpkg-deb").arg("-x").arg(machine::package()).arg(root.path()).status();
    assert!(unpacked.expect("dpkg-deb runs").success());
    let (mut folders, mut links) = (vec![root.path().join("usr/share/doc/segue")], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let text = fs::read_to_string(&path).expect("text");
                let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
                for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
                    let file = target.split('#').next().unwrap_or_default();
                    assert!(folder.join(file).exists(), "{} links to {target}", path.display());
                    links += 1;
                }
            }
        }
    }
    assert!(links > 5, "only {links} links");
}

#[test]
fn the_changelog_names_the_version_of_the_crate() {
    let newest = include_str!("../../debian/changelog").lines().next().unwrap_or_default();
    assert!(newest.starts_with(concat!("segue (", env!("CARGO_PKG_VERSION"), ")")), "{newest}");
}

//! The first five minutes: what README and segue(1) have a newcomer do, in that order, on a fresh Debian.

use std::time::Duration;

use crate::support::machine::{self, Machine, Release};
use crate::support::{farm, load, wait_for};

facts![the_path_of_a_newcomer_from_the_installation_to_the_purge];

fn the_path_of_a_newcomer_from_the_installation_to_the_purge(release: Release) {
    let machine = Machine::installed(release);
    farm::start(&machine);
    the_page_of_an_installation_names_the_file_and_the_commands(&machine);
    the_first_site_is_checked_reloaded_and_served(&machine);
    the_journal_shows_the_request(&machine);
    a_typo_is_shown_with_its_line_and_changes_nothing(&machine);
    a_member_of_the_group_may_look_and_no_other(&machine);
    an_upgrade_is_seen_by_no_client(&machine);
    removed_and_purged_nothing_is_left(&machine);
}

fn the_page_of_an_installation_names_the_file_and_the_commands(machine: &Machine) {
    let page = machine.ok("curl --silent --show-error --include --max-time 5 http://localhost/");
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    for word in ["/etc/segue/segue.toml", "segue check", "systemctl reload proxy", "journalctl -u proxy"] {
        assert!(page.contains(word), "{page}");
    }
    // each of them works before anything is configured
    machine.ok("segue check && systemctl reload proxy && systemctl status --no-pager proxy && segue status");
}

fn the_first_site_is_checked_reloaded_and_served(machine: &Machine) {
    machine.configure(farm::CONFIG);
    let said = machine.ok("segue check 2>&1");
    assert!(said.contains("is good"), "{said}");
    let changes = machine.run("segue diff");
    assert_eq!(changes.status.code(), Some(1), "{}", changes.text());
    assert!(changes.stdout.contains("pool.web-farm: pool added, with 3 servers"), "{}", changes.stdout);
    machine.ok("systemctl reload proxy");
    let answers = format!("for i in 1 2 3 4 5 6; do curl --silent --max-time 2 {}; done | sort | uniq -c", farm::URL);
    wait_for("the three servers to take turns", Duration::from_secs(10), || {
        (machine.ok(&answers).lines().count() == 3).then_some(())
    });
}

fn the_journal_shows_the_request(machine: &Machine) {
    machine.ok("curl --silent --max-time 2 'http://127.0.0.1/broken?token=secret'");
    wait_for("the record", Duration::from_secs(10), || (machine.entries("PROXY_STATUS=502") == 1).then_some(()));
    let record = machine.ok("journalctl --no-pager -u proxy PROXY_STATUS=502 -o cat");
    assert!(record.contains("/broken") && !record.contains("secret"), "{record}");
}

fn a_typo_is_shown_with_its_line_and_changes_nothing(machine: &Machine) {
    machine.configure(&farm::CONFIG.replace("servers =", "server ="));
    let check = machine.run("segue check");
    assert_eq!(check.status.code(), Some(78), "{}", check.text());
    let reload = machine.run("systemctl reload proxy");
    assert!(!reload.status.success());
    let status = machine.run("systemctl status --no-pager --full proxy").stdout;
    for said in [check.text(), status] {
        assert!(said.contains("/etc/segue/segue.toml:5") && said.contains("servers"), "{said}");
    }
    machine.ok(&format!("curl --silent --show-error --fail --max-time 2 {}", farm::URL));
    machine.configure(farm::CONFIG);
    machine.ok("segue check && systemctl reload proxy");
}

fn a_member_of_the_group_may_look_and_no_other(machine: &Machine) {
    machine.ok("useradd --groups segue member && useradd other");
    let status = machine.ok("runuser -u member -- segue status");
    assert!(status.contains("3/3 servers up"), "{status}");
    machine.ok("runuser -u member -- segue status --json >/dev/null && runuser -u member -- segue generations");
    for (user, command) in [("member", "segue reload --force"), ("other", "segue status")] {
        let refused = machine.run(&format!("runuser -u {user} -- {command}"));
        assert!(!refused.status.success() && refused.stderr.contains("only root"), "{user}: {}", refused.text());
    }
}

fn an_upgrade_is_seen_by_no_client(machine: &Machine) {
    let supervisor = machine.supervisor();
    let report = load::around(machine, "-n 20000 -c 20", || drop(machine.install(&machine::next_package())));
    report.assert_clean(20_000);
    assert_eq!(machine.supervisor(), supervisor);
    assert_eq!(machine.ok("segue --version"), format!("segue {}", machine.installed_version()));
}

fn removed_and_purged_nothing_is_left(machine: &Machine) {
    machine.ok("apt-get remove --yes --quiet segue");
    assert_eq!(machine.run("curl --silent --max-time 5 http://127.0.0.1/").status.code(), Some(7), "not refused");
    machine.ok("test -e /etc/segue/segue.toml && apt-get purge --yes --quiet segue");
    assert_eq!(machine.ok("find /etc /run /usr /var/lib -xdev -name '*segue*' -not -path '*/dpkg/*'"), "");
}

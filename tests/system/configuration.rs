//! The mistakes of a first-time user, each with one clear message that has the line.

use crate::support::machine::{Machine, Release};

facts![each_mistake_gives_one_message_with_its_line, an_unreadable_file_is_named, check_needs_no_root];

/// What is written, the line that is wrong, and a word that the message must have.
const MISTAKES: &[(&str, u32, &str)] = &[
    ("[site.\"*\"]\nto = \"farm\"\n[pool.farm]\nserver = [\"10.0.0.11:80\"]\n", 4, "servers"),
    ("[site.\"*\"]\nto = [\"10.0.0.11:80\"]\nretries = \"three\"\n", 3, "retries"),
    ("[site.\"*\"]\nto = \"farm\"\n[pool.farm]\ncheck = \"HEAD /\"\n", 3, "servers"),
    ("[listen.a]\naddress = \"127.0.0.1:8080\"\n[listen.b]\naddress = \"127.0.0.1:8080\"\n", 4, "127.0.0.1:8080"),
    ("[site.\"*\"]\nto = [\"10.0.0.11:80\"]\nconnect_timeout = \"5 parsecs\"\n", 3, "5s"),
];

fn each_mistake_gives_one_message_with_its_line(release: Release) {
    let machine = Machine::installed(release);
    for (text, line, word) in MISTAKES {
        machine.configure(text);
        let check = machine.run("segue check");
        assert_eq!(check.status.code(), Some(78), "{text}\n{}", check.text());
        let said = check.stderr;
        assert!(said.contains(&format!("/etc/segue/segue.toml:{line}")), "{text}\n{said}");
        assert!(said.contains(word), "{text}\n{said}");
        assert_eq!(said.matches("error").count(), 1, "{text}\n{said}");
    }
}

fn an_unreadable_file_is_named(release: Release) {
    let machine = Machine::installed(release);
    machine.ok("chmod 600 /etc/segue/segue.toml");
    // root may read it, and would be told that all is well
    let check = machine.run("segue check");
    assert_eq!(check.status.code(), Some(78));
    assert!(check.stderr.contains("/etc/segue/segue.toml: the user segue "), "{}", check.stderr);
    let reload = machine.run("systemctl reload proxy");
    assert_eq!(reload.status.code(), Some(1));
    let status = machine.property("StatusText");
    assert!(status.contains("/etc/segue/segue.toml") && status.contains("segue"), "{status}");
}

fn check_needs_no_root(release: Release) {
    let machine = Machine::installed(release);
    let as_nobody = "setpriv --reuid nobody --regid nogroup --clear-groups segue check";
    machine.ok(as_nobody);
    machine.configure("[site.\"*\"]\nto = 5\n");
    assert_eq!(machine.run(as_nobody).status.code(), Some(78));
}

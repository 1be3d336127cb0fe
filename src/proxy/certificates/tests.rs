//! What is served of files that change.

use std::time::Duration;

use super::super::certificate_problem::problems;
use super::*;
use crate::tls::tests::Root;

/// A directory with a directory for each of these hosts, as certbot makes it, and the configuration of their sites.
struct Hosts {
    directory: tempfile::TempDir,
    root: Root,
}

impl Hosts {
    fn new(hosts: &[&str]) -> Self {
        let hosts_of = Self { directory: tempfile::tempdir().expect("directory"), root: Root::new("a root") };
        hosts.iter().for_each(|host| drop(hosts_of.issue(host)));
        hosts_of
    }

    fn path(&self, host: &str) -> std::path::PathBuf {
        self.directory.path().join(host)
    }

    /// The same as another certificate, or the first one.
    fn issue(&self, host: &str) -> CertificateFiles {
        std::fs::create_dir_all(self.path(host)).expect("directory");
        self.root.write(&self.path(host), &[host], |_| {})
    }

    fn config(&self, sites: &[(&str, &str)]) -> Config {
        let sites = sites
            .iter()
            .map(|(host, path)| format!("[site.\"{host}\"]\nto = ['a:1']\ntls = \"{}\"\n", self.path(path).display()));
        let text = format!("[listen.https]\ntls = true\naddress = ':443'\n{}", sites.collect::<String>());
        Config::from_toml(&text).expect("a good configuration")
    }
}

/// What a client gets that asks for `host`, as the DER of its certificate.
fn served(store: &CertificateStore, host: Option<&str>) -> Option<Vec<u8>> {
    let schemes = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
    store.in_use().get().pick(host, &schemes, SystemTime::now()).map(|one| one.chain()[0].to_vec())
}

fn look(store: &mut CertificateStore) -> Vec<String> {
    let words = |one| match one {
        CertificateNews::Taken { hosts, before, .. } => format!("{hosts}: taken, before: {}", before.is_some()),
        CertificateNews::Refused { hosts, until, .. } => format!("{hosts}: refused, until: {}", until.is_some()),
        CertificateNews::ClientsTaken { host, .. } => format!("{host}: clients taken"),
        CertificateNews::ClientsRefused { host, .. } => format!("{host}: clients refused"),
    };
    store.look(SystemTime::now() + Duration::from_secs(60)).into_iter().map(words).collect()
}

fn der(files: &CertificateFiles) -> Vec<u8> {
    Certificate::load(files).expect("a certificate").chain()[0].to_vec()
}

#[test]
fn a_pair_that_is_replaced_in_two_steps_is_taken_when_both_match_and_is_no_fault_meanwhile() {
    let hosts = Hosts::new(&["a.test", "b.test", "new"]);
    let mut store = CertificateStore::load(&hosts.config(&[("a.test", "a.test"), ("b.test", "b.test")]));
    let before = served(&store, Some("a.test"));
    let new = hosts.root.write(&hosts.path("new"), &["a.test"], |_| {});
    std::fs::rename(&new.key, hosts.path("a.test").join("privkey.pem")).expect("renamed");
    assert_eq!(look(&mut store), Vec::<String>::new());
    assert_eq!(served(&store, Some("a.test")), before);
    std::fs::rename(&new.certificate, hosts.path("a.test").join("fullchain.pem")).expect("renamed");
    assert_eq!(look(&mut store), ["a.test: taken, before: true"]);
    let after = served(&store, Some("a.test"));
    assert_ne!(after, before);
    assert_eq!(after, Some(der(&CertificateFiles::in_directory(&hosts.path("a.test")))));
    assert_eq!(look(&mut store), Vec::<String>::new());
}

#[test]
fn files_that_stay_wrong_are_said_once_and_the_certificate_goes_on() {
    let hosts = Hosts::new(&["a.test", "b.test"]);
    let mut store = CertificateStore::load(&hosts.config(&[("a.test", "a.test"), ("b.test", "b.test")]));
    let before = [Some("a.test"), Some("b.test")].map(|host| served(&store, host));
    std::fs::write(hosts.path("a.test").join("fullchain.pem"), "nothing").expect("written");
    let said: Vec<_> = (0..4).map(|_| look(&mut store)).collect();
    assert_eq!(said, [vec![], vec!["a.test: refused, until: true".to_owned()], vec![], vec![]]);
    assert_eq!([Some("a.test"), Some("b.test")].map(|host| served(&store, host)), before);
    hosts.issue("a.test");
    assert_eq!(look(&mut store), ["a.test: taken, before: true"]);
}

#[test]
fn what_another_generation_read_is_served_where_the_files_are_wrong_and_nowhere_else() {
    let hosts = Hosts::new(&["a.test", "b.test"]);
    let sites = [("a.test", "a.test"), ("b.test", "b.test")];
    let before = CertificateStore::load(&hosts.config(&sites));
    std::fs::remove_file(hosts.path("a.test").join("privkey.pem")).expect("removed");
    hosts.issue("b.test");
    let mut store = CertificateStore::load(&hosts.config(&sites));
    let own = served(&store, Some("b.test"));
    assert_eq!(served(&store, Some("a.test")), None);
    store.fall_back(crate::tls::handed::from_bytes(&crate::tls::handed::to_bytes(
        before.certificates().map(AsRef::as_ref),
    )));
    assert_eq!(served(&store, Some("a.test")), served(&before, Some("a.test")));
    assert_eq!(served(&store, Some("b.test")), own);
    let found = problems(&store, SystemTime::now());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.starts_with("the site \"a.test\" keeps the certificate from before, which expires on "));
}

#[test]
fn certificates_come_and_go_in_a_directory_of_many() {
    let hosts = Hosts::new(&["many/a.test", "many/b.test"]);
    let mut store = CertificateStore::load(&hosts.config(&[("*", "many")]));
    let is_served = |store: &CertificateStore, host| served(store, Some(host)).is_some();
    assert!(["many/a.test", "many/b.test"].iter().all(|host| is_served(&store, host)));
    hosts.issue("many/c.test");
    assert_eq!(look(&mut store), ["*: taken, before: false"]);
    assert!(is_served(&store, "many/c.test"));
    std::fs::remove_dir_all(hosts.path("many/b.test")).expect("removed");
    look(&mut store);
    assert!(is_served(&store, "many/b.test"), "it may be back in a moment");
    look(&mut store);
    assert!(!is_served(&store, "many/b.test") && is_served(&store, "many/a.test"));
}

#[test]
fn a_client_that_names_no_host_gets_the_only_certificate_or_that_of_the_site_for_every_host() {
    let hosts = Hosts::new(&["a.test", "b.test"]);
    let is_for = |sites: &[(&str, &str)], host: Option<&str>| {
        let store = CertificateStore::load(&hosts.config(sites));
        served(&store, None) == host.map(|host| der(&CertificateFiles::in_directory(&hosts.path(host))))
    };
    assert!(is_for(&[("a.test", "a.test")], Some("a.test")));
    assert!(is_for(&[("a.test", "a.test"), ("b.test", "b.test")], None));
    assert!(is_for(&[("a.test", "a.test"), ("*", "b.test")], Some("b.test")));
}

#[test]
fn what_is_wrong_is_said_with_the_site_the_file_and_what_to_do() {
    let hosts = Hosts::new(&["a.test", "late", "early"]);
    let at = |now: SystemTime, days: i64| now + Duration::from_secs(24 * 60 * 60) * u32::try_from(days).expect("days");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for (host, from, until) in [("late", 0, 10), ("early", 30, 40)] {
        hosts.root.write(&hosts.path(host), &[host], |params| {
            (params.not_before, params.not_after) = (at(now, from).into(), at(now, until).into());
        });
    }
    let store = CertificateStore::load(&hosts.config(&[
        ("b.test", "a.test"),
        ("gone.test", "gone"),
        ("late", "late"),
        ("early", "early"),
    ]));
    let said: Vec<_> = problems(&store, at(now, 12)).into_iter().map(|one| (one.message, one.help)).collect();
    let said = said.iter().map(|(message, help)| {
        let directory = hosts.directory.path().display().to_string();
        (message.replace(&directory, ""), help.clone().unwrap_or_default())
    });
    let expected = [
        (
            "the certificate of the site \"b.test\" is for a.test, and clients refuse it: /a.test/fullchain.pem",
            "subjectAltName",
        ),
        ("the certificate of the site \"early\" is not valid before 2027-02-14: /early/fullchain.pem", "clock"),
        ("the site \"gone.test\" has no certificate: /gone/fullchain.pem: there is no such file", "certbot"),
        ("the certificate of the site \"late\" expired 2 days ago, on 2027-01-25: /late/fullchain.pem", "renew"),
    ];
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for ((message, help), (wanted, word)) in said.iter().zip(expected) {
        assert_eq!(message, wanted);
        assert!(help.contains(word), "{help}");
    }
}

//! Certificates of a real certificate authority.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::certificates::shown;
use crate::support::ari::Ari;
use crate::support::pebble::{Pebble, PebbleOptions, certificate_file};
use crate::support::{Answering, Run, Service, Wire, free_address, signal, socket, wait_for};

/// The sockets of a proxy, both at one address.
struct Ports {
    http: (TcpListener, SocketAddr),
    https: (TcpListener, SocketAddr),
}

impl Ports {
    fn new() -> Self {
        let (http, address) = socket();
        let https = TcpListener::bind((address.ip(), 0)).expect("a free port");
        let https_address = https.local_addr().expect("address");
        Self { http: (http, address), https: (https, https_address) }
    }

    fn pebble(&self, options: PebbleOptions) -> Pebble {
        let (http, https) = (self.http.1, self.https.1);
        Pebble::start(http.ip(), (http.port(), https.port()), options)
    }

    fn run(&self, config: &str) -> Run {
        let run = Run::new(config)
            .socket("http", self.http.0.try_clone().expect("dup"))
            .socket("https", self.https.0.try_clone().expect("dup"));
        let state = run.path("state");
        run.variable("STATE_DIRECTORY", &state.display().to_string())
    }
}

fn sites(hosts: &[&str]) -> String {
    let site = |host: &&str| format!("[site.\"{host}\"]\nto = [\"127.0.0.1:1\"]\ntls = \"auto\"\n");
    hosts.iter().map(site).collect()
}

/// What `segue certs` says of a host.
fn certificate(service: &Service, host: &str) -> Value {
    let status = service.status();
    let generations = status["generations"].as_array().cloned().unwrap_or_default();
    let serving = generations.iter().rfind(|one| one["state"] == "serving").cloned().unwrap_or_default();
    let all = serving["worker"]["certificates"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["hosts"][0] == host).unwrap_or_default()
}

#[track_caller]
fn wait_issued(service: &Service, host: &str) -> Value {
    wait_for("the certificate", || {
        let one = certificate(service, host);
        let issuer = one["issuer"].as_str().unwrap_or_default();
        (issuer.contains("Pebble") && one["acme"]["order"] == "waiting").then_some(one)
    })
}

/// Waits until `segue certs` says that the last order of a host failed.
#[track_caller]
fn wait_failed(service: &Service, host: &str) -> Value {
    wait_for("the failure in the status", || {
        let one = certificate(service, host);
        (one["acme"]["order"] == "failed").then_some(one)
    })
}

#[test]
fn a_site_that_asks_for_it_has_its_certificate_issued_by_a_request_over_http() {
    let ports = Ports::new();
    let pebble = ports.pebble(PebbleOptions { rejects: 15, ..PebbleOptions::default() });
    let run = ports.run(&format!("{}{}", pebble.table("contact = \"admin@a.test\""), sites(&["a.test", "b.a.test"])));
    let service = run.start();
    wait_issued(&service, "b.a.test");
    let one = wait_issued(&service, "a.test");
    assert!(one["file"].as_str().is_some_and(|file| file.ends_with("/state/acme/certificates/a.test.pem")), "{one}");
    assert!(one["acme"]["next"].as_str().is_some_and(|next| next < one["until"].as_str().unwrap_or_default()), "{one}");
    shown(ports.https.1, Some("a.test")).expect("a certificate");
    run.wait_log("Certificate of a.test taken, which expires on ");
    // readable by the service alone
    let state = run.path("state");
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&certificate_file(&state, "a.test")), 0o600);
    let accounts = std::fs::read_dir(state.join("acme/accounts")).expect("a directory");
    let accounts: Vec<_> = accounts.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(accounts.iter().map(|path| mode(path)).collect::<Vec<_>>(), [0o600]);
    // nothing stays of the order
    assert_eq!(std::fs::read_dir(state.join("acme/challenges")).expect("a directory").count(), 0);
    let order = std::fs::read_to_string(state.join("acme/orders/a.test.json")).expect("a file");
    assert!(!order.contains("PRIVATE KEY"), "{order}");
}

#[test]
fn a_challenge_is_answered_in_a_handshake_where_port_80_is_not_to_be_used() {
    let ports = Ports::new();
    let https = ports.https.1;
    let nothing = free_address().port();
    let pebble = Pebble::start(https.ip(), (nothing, https.port()), PebbleOptions::default());
    let run = ports.run(&format!("{}{}", pebble.table("challenge = \"tls-alpn-01\""), sites(&["a.test"])));
    let service = run.start();
    wait_issued(&service, "a.test");
    shown(ports.https.1, Some("a.test")).expect("a certificate");
}

#[test]
fn a_wildcard_is_issued_by_a_record_that_a_command_makes_and_removes() {
    let ports = Ports::new();
    let pebble = ports.pebble(PebbleOptions::default());
    let keys = format!("challenge = \"dns-01\"\ndns_hook = \"{}\"", pebble.hook().display());
    let run = ports.run(&format!("{}{}", pebble.table(&keys), sites(&["*.a.test"])));
    let service = run.start();
    wait_issued(&service, "*.a.test");
    shown(ports.https.1, Some("b.a.test")).expect("a certificate");
    let calls = std::fs::read_to_string(pebble.path("hook.log")).expect("a log");
    assert_eq!(calls, "present _acme-challenge.a.test.\ncleanup _acme-challenge.a.test.\n");
}

#[test]
fn an_account_belongs_to_an_external_one_where_the_authority_demands_that() {
    let ports = Ports::new();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let external = vec![("kid-1".to_owned(), key.to_owned())];
    let pebble = ports.pebble(PebbleOptions { external, ..PebbleOptions::default() });
    let run = ports.run(&format!("{}{}", pebble.table(""), sites(&["a.test"])));
    let service = run.start();
    // the reason is told, by what the authority calls it
    run.wait_log("Certificate of a.test not issued, there is none, tried again at ");
    run.wait_log("externalAccountRequired");
    let path = run.path("eab.key");
    std::fs::write(&path, format!("{key}=\n")).expect("written");
    let keys = format!("eab_kid = \"kid-1\"\neab_key = \"{}\"", path.display());
    run.configure(&format!("{}{}", pebble.table(&keys), sites(&["a.test"])));
    service.reload_well();
    wait_issued(&service, "a.test");
}

#[test]
fn an_authority_that_is_away_at_the_start_is_asked_again() {
    let ports = Ports::new();
    let (http, https) = (ports.http.1, ports.https.1);
    let mut pebble = Pebble::new(http.ip(), (http.port(), https.port()), PebbleOptions::default());
    let server = Answering::start("app");
    let site = format!("[site.\"a.test\"]\nto = [\"{}\"]\ntls = \"auto\"\nhttps_redirect = false\n", server.address);
    let run = ports.run(&format!("{}{site}", pebble.table("")));
    let service = run.start();
    run.wait_log("Certificate of a.test not issued, there is none, tried again at ");
    let one = wait_failed(&service, "a.test");
    assert_eq!(one["state"], "missing", "{one}");
    assert!(one["acme"]["error"].as_str().is_some_and(|error| error.contains("refused")), "{one}");
    // what needs no certificate is served, and a client over TLS hears that there is none
    let mut client = Wire::connect(http).of_host("a.test");
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    assert!(shown(https, Some("a.test")).is_err_and(|alert| alert.contains("UnrecognisedName")));
    pebble.run();
    wait_issued(&service, "a.test");
}

/// The request that tells the authority to look at the answer. From then on it waits five seconds, in which a machine with
/// much to do may not have the next worker ready: so an order is held before it, not while the authority looks.
const ANSWER_IS_READY: &str = "POST /chalZ/";

#[test]
fn an_order_goes_on_in_the_next_generation() {
    let ports = Ports::new();
    let pebble = ports.pebble(PebbleOptions::default());
    let front = Ari::that_swallows(&pebble, ANSWER_IS_READY);
    let config = |more: &str| format!("{}{}{more}", pebble.table_of(pebble.front, ""), sites(&["a.test"]));
    let run = ports.run(&config(""));
    let service = run.start();
    front.wait_swallowed();
    run.configure(&config("[log]\nslow = \"2s\"\n"));
    service.reload_well();
    wait_issued(&service, "a.test");
    assert_eq!(pebble.asked("There are now 1 orders"), 1, "{}", pebble.log());
    assert_eq!(pebble.asked("There are now 2 orders"), 0, "{}", pebble.log());
    assert_eq!(pebble.asked("There are now 2 accounts"), 0, "{}", pebble.log());
}

#[test]
fn an_order_whose_answer_is_being_made_is_the_next_generations() {
    let ports = Ports::new();
    let pebble = ports.pebble(PebbleOptions::default());
    let hook = pebble.hook_that("until [ -e \"$0.go\" ]; do sleep 0.1; done;");
    let keys = format!("challenge = \"dns-01\"\ndns_hook = \"{}\"", hook.display());
    let config = |more: &str| format!("{}{}{more}", pebble.table(&keys), sites(&["a.test"]));
    let run = ports.run(&config(""));
    let service = run.start();
    let calls = || std::fs::read_to_string(pebble.path("hook.log")).unwrap_or_default();
    wait_for("the command", || calls().contains("present").then_some(()));
    run.configure(&config("[log]\nslow = \"2s\"\n"));
    service.reload_well();
    service.settled();
    wait_for("the command once more", || (calls().matches("present").count() == 2).then_some(()));
    let (generation, worker) = service.serving();
    signal(worker, Signal::KILL);
    wait_for("another worker", || (service.serving().0 != generation).then_some(()));
    wait_for("the command a third time", || (calls().matches("present").count() == 3).then_some(()));
    std::fs::write(pebble.path("hook.go"), "").expect("written");
    wait_issued(&service, "a.test");
    assert_eq!(pebble.asked("There are now 2 orders"), 0, "{}", pebble.log());
    assert_eq!(pebble.asked("There are now 2 accounts"), 0, "{}", pebble.log());
    assert_eq!(calls().matches("cleanup").count(), 1, "{}", calls());
}

#[test]
fn an_order_goes_on_after_its_worker_died() {
    let ports = Ports::new();
    let pebble = ports.pebble(PebbleOptions::default());
    let front = Ari::that_swallows(&pebble, ANSWER_IS_READY);
    let run = ports.run(&format!("{}{}", pebble.table_of(pebble.front, ""), sites(&["a.test"])));
    let service = run.start();
    front.wait_swallowed();
    let (generation, worker) = service.serving();
    signal(worker, Signal::KILL);
    wait_for("another worker", || (service.serving().0 != generation).then_some(()));
    wait_issued(&service, "a.test");
    assert_eq!(pebble.asked("There are now 2 orders"), 0, "{}", pebble.log());
    assert_eq!(pebble.asked("There are now 2 accounts"), 0, "{}", pebble.log());
}

#[test]
fn a_certificate_is_renewed_under_traffic_and_stays_when_the_authority_is_away() {
    let ports = Ports::new();
    let mut pebble = ports.pebble(PebbleOptions { lasts: Some(12), ..PebbleOptions::default() });
    let run = ports.run(&format!("{}{}", pebble.table(""), sites(&["a.test"])));
    let service = run.start();
    wait_issued(&service, "a.test");
    let until = Instant::now() + Duration::from_secs(40);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        assert!(Instant::now() < until, "{} certificates; {}", seen.len(), run.log());
        let one = shown(ports.https.1, Some("a.test")).expect("a certificate at any time");
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    pebble.end();
    run.wait_log("not issued, the one that expires on ");
    let last = seen.last().expect("a certificate");
    assert!(
        shown(ports.https.1, Some("a.test")).is_ok_and(|one| seen.len() == 3 && (one == *last || !seen.contains(&one)))
    );
    wait_failed(&service, "a.test");
}

#[test]
fn a_host_that_fails_its_challenge_is_not_asked_for_again_and_again() {
    let ports = Ports::new();
    let (listener, nothing) = socket();
    drop(listener); // the authority finds no server there
    let pebble = Pebble::start(nothing.ip(), (nothing.port(), nothing.port()), PebbleOptions::default());
    let config = |more: &str| format!("{}{}{more}", pebble.table(""), sites(&["a.test"]));
    let run = ports.run(&config(""));
    let service = run.start();
    run.wait_log("not issued, there is none");
    let one = wait_failed(&service, "a.test");
    assert!(one["acme"]["error"].as_str().is_some_and(|error| error.contains("a.test: ")), "{one}");
    // a reload is no reason to ask again
    for number in 2..5 {
        run.configure(&config(&format!("[log]\nslow = \"{number}s\"\n")));
        service.reload_well();
        service.settled();
        wait_failed(&service, "a.test");
    }
    assert_eq!(pebble.asked("There are now 2 orders"), 0, "{}", pebble.log());
}

#[test]
fn what_the_authority_asks_for_other_orders_is_the_servers() {
    let ports = Ports::new();
    let pebble = ports.pebble(PebbleOptions::default());
    let server = Answering::start("app");
    let site = format!("[site.\"a.test\"]\nto = [\"{}\"]\ntls = \"auto\"\n", server.address);
    let run = ports.run(&format!("{}{site}", pebble.table("")));
    let service = run.start();
    wait_issued(&service, "a.test");
    let mut client = Wire::connect(ports.http.1).of_host("a.test");
    client.send("GET /.well-known/acme-challenge/another HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(client.answer().status(), 308);
}

#[test]
fn a_certificate_is_renewed_when_its_authority_says_so_and_the_order_names_it() {
    let ports = Ports::new();
    let pebble = ports.pebble(PebbleOptions { lasts: Some(3600), ..PebbleOptions::default() });
    let ari = Ari::before(&pebble);
    let run = ports.run(&format!("{}{}", pebble.table_of(pebble.front, ""), sites(&["a.test"])));
    let service = run.start();
    let first = wait_for("the first certificate", || shown(ports.https.1, Some("a.test")).ok());
    let one = wait_issued(&service, "a.test");
    // not before a quarter of its time, as nothing is asked for again and again
    assert!(one["acme"]["next"].as_str().is_some_and(|next| next > one["from"].as_str().unwrap_or("z")), "{one}");
    let id = wait_for("the question", || ari.asked.lock().expect("a lock").about.first().cloned());
    // that time is over
    drop(service);
    let path = run.path("state/acme/orders/a.test.json");
    let mut saved: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    saved["next_try"] = Value::Null;
    std::fs::write(&path, saved.to_string()).expect("written");
    let service = run.start();
    let second =
        wait_for("another certificate", || shown(ports.https.1, Some("a.test")).ok().filter(|one| *one != first));
    assert_eq!(ari.asked.lock().expect("a lock").replaces, [id]);
    wait_for("the question about the other one", || (ari.asked.lock().expect("a lock").about.len() == 2).then_some(()));
    // which is to be renewed in ten years, when it has expired long since
    let one = wait_issued(&service, "a.test");
    assert!(one["acme"]["next"].as_str().is_some_and(|next| next < one["until"].as_str().unwrap_or_default()), "{one}");
    assert!(shown(ports.https.1, Some("a.test")).is_ok_and(|one| one == second));
}

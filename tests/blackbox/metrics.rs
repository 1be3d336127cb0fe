//! `[metrics]`: what Prometheus reads.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    Answering, DEADLINE, Run, Server, Wire, assert_serves, free_address, get, signal, socket, wait_for,
};

const RELOADS: u64 = 10;

fn config(server: SocketAddr, metrics: SocketAddr) -> String {
    format!("[site.'*']\nto = 'farm'\n[pool.farm]\nservers = ['{server}']\n[metrics]\non = '{metrics}'\n")
}

fn ask(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut client = TcpStream::connect_timeout(&address, DEADLINE)?;
    client.set_read_timeout(Some(DEADLINE))?;
    client.write_all(format!("{request} HTTP/1.1\r\nHost: metrics\r\n\r\n").as_bytes())?;
    let mut response = String::new();
    client.read_to_string(&mut response)?;
    Ok(response)
}

/// The series of one scrape, without the labels taken apart.
fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    series(&ask(address, "GET /metrics").expect("a scrape"))
}

fn series(response: &str) -> BTreeMap<String, f64> {
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    let series = body.lines().filter(|line| !line.starts_with('#'));
    let series = series.map(|line| line.rsplit_once(' ').expect("a name and a value"));
    series.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn no_scrape_fails_and_no_counter_goes_back_over_reloads_and_the_death_of_a_worker() {
    let (listening, address) = socket();
    let (server, metrics) = (Answering::start("well"), free_address());
    let run = Run::new(&config(server.address, metrics)).argument("--probation=50ms").socket("http", listening);
    let service = run.start();
    let stop = AtomicBool::new(false);
    let exchanges = "segue_exchanges_total{listener=\"http\",class=\"2xx\"}";
    let (scrapes, asked) = std::thread::scope(|threads| {
        let scraper = threads.spawn(|| {
            let (mut before, mut scrapes, mut failed) = (scrape(metrics), 1, 0);
            while !stop.load(Ordering::Relaxed) {
                let response = ask(metrics, "GET /metrics").ok().filter(|response| !response.is_empty());
                let Some(response) = response else {
                    failed += 1; // the worker died that answered it
                    continue;
                };
                let now = series(&response);
                for (name, value) in before.iter().filter(|(name, _)| name.contains("_total")) {
                    assert!(now.get(name).is_some_and(|now| now >= value), "{name}: {value}, then {:?}", now.get(name));
                }
                (before, scrapes) = (now, scrapes + 1);
            }
            assert!(failed <= 1, "{failed} scrapes failed");
            scrapes
        });
        let mut asked = 0;
        for reload in 0..RELOADS {
            for _ in 0..5 {
                get(address).expect("a response");
                asked += 1;
            }
            if reload == RELOADS / 2 {
                run.wait_memory();
                let (before, worker) = service.settled();
                signal(worker, Signal::KILL);
                wait_for("a replacement", || (service.serving().0 > before).then_some(()));
            }
            service.reload_anyway();
        }
        wait_for("all exchanges", || (scrape(metrics).get(exchanges) == Some(&f64::from(asked))).then_some(()));
        stop.store(true, Ordering::Relaxed);
        (scraper.join().expect("no scrape failed"), asked)
    });
    assert!(scrapes > 10, "{scrapes} scrapes");
    let last = scrape(metrics);
    let server = format!("pool=\"farm\",server=\"{}\"", server.address);
    assert_eq!(last[&format!("segue_server_exchanges_total{{{server},class=\"2xx\"}}")], f64::from(asked));
    assert_eq!(last[&format!("segue_server_weight{{{server}}}")], 1.0);
    assert_eq!(last["segue_generations{state=\"serving\"}"], 1.0);
    assert_eq!(last["segue_events_total{event=\"reload-done\"}"], RELOADS as f64);
    assert_eq!(last["segue_events_total{event=\"worker-died\"}"], 1.0);
    assert_eq!(last["segue_exchange_seconds_count{listener=\"http\"}"], f64::from(asked));
    assert_eq!(last["segue_site_exchanges_total{site=\"*\",class=\"2xx\"}"], f64::from(asked));
}

#[test]
fn metrics_are_read_by_get_and_head_and_silent_clients_keep_no_scrape_waiting() {
    let (listening, _) = socket();
    let metrics = free_address();
    let run = Run::new(&config(metrics, metrics)).socket("http", listening);
    let _service = run.start();
    let head = ask(metrics, "HEAD /metrics").expect("a response");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(ask(metrics, "GET /").expect("a response").starts_with("HTTP/1.1 404 "));
    let refused = ask(metrics, "POST /metrics").expect("a response");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.to_lowercase().contains("allow: get, head"), "{refused}");
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(metrics).expect("connect")).collect();
    assert!(!scrape(metrics).is_empty());
    drop(silent);
}

#[test]
fn an_address_that_a_reload_takes_from_metrics_is_free_although_a_worker_still_drains() {
    let (http, address) = socket();
    let (server, metrics) = (Server::new(), free_address());
    let tunnel = free_address();
    let tcp = format!("[tcp.bytes]\nlisten = '{tunnel}'\nto = ['{}']\n", server.address);
    let run = Run::new(&(config(server.address, metrics) + &tcp)).argument("--probation=50ms").socket("http", http);
    let service = run.start();
    let (mut client, mut upstream) = (Wire::connect(tunnel), server.accept());
    client.send("up");
    upstream.expect("up");
    let without = config(server.address, address);
    run.configure(without.split_once("[metrics]").expect("metrics").0);
    service.reload_well();
    wait_for("the drain", || run.log().contains("Generation 1 drains").then_some(()));
    run.notifications().so_far(); // a message that is not read holds the socket
    wait_for("the end", || TcpStream::connect_timeout(&metrics, Duration::from_secs(1)).is_err().then_some(()));
    upstream.send("down");
    client.expect("down"); // by the worker that drains
}

#[test]
fn a_start_goes_on_without_metrics_where_their_address_is_taken() {
    let (http, address) = socket();
    let (server, other) = (Answering::start("well"), TcpListener::bind("127.0.0.1:0").expect("bind"));
    let metrics = other.local_addr().expect("address");
    let run = Run::new(&config(server.address, metrics)).socket("http", http);
    let service = run.start();
    run.wait_log("[metrics] cannot be bound to");
    assert_serves(address);
    drop(other);
    service.reload_anyway();
    scrape(metrics);
}

#[test]
fn scrapes_that_are_given_up_are_not_made_and_a_client_that_half_closes_is_answered() {
    let (http, _) = socket();
    let metrics = free_address();
    let run = Run::new(&config(metrics, metrics)).socket("http", http);
    let service = run.start();
    for _ in 0..500 {
        let mut client = TcpStream::connect(metrics).expect("connect");
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    }
    service.reload_anyway(); // the supervisor answers others
    let mut client = TcpStream::connect(metrics).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("an option");
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    client.shutdown(std::net::Shutdown::Write).expect("half-closed");
    let mut response = String::new();
    client.read_to_string(&mut response).expect("a response");
    assert!(!series(&response).is_empty());
}

#[test]
fn a_reload_brings_takes_and_moves_the_address_of_metrics_and_is_refused_where_it_is_taken() {
    let (listening, address) = socket();
    let (server, [first, second]) = (Answering::start("well"), [free_address(), free_address()]);
    let run = Run::new(&config(server.address, first)).argument("--probation=50ms").socket("http", listening);
    let service = run.start();
    scrape(first);
    run.configure(&config(server.address, second));
    service.reload_well();
    scrape(second);
    wait_for("the end of the first", || {
        TcpStream::connect_timeout(&first, Duration::from_secs(1)).is_err().then_some(())
    });
    let other = TcpListener::bind(first).expect("free again");
    run.configure(&config(server.address, first));
    let (good, text) = service.reload();
    assert!(!good && text.contains("[metrics] cannot be bound to") && text.contains("ddress"), "{text}");
    drop(other);
    scrape(second);
    run.configure(&config(server.address, address));
    let (good, text) = service.reload();
    assert!(!good, "{text}");
    let without = config(server.address, first);
    run.configure(without.split_once("[metrics]").expect("metrics").0);
    service.reload_well();
    run.notifications().so_far(); // a message that is not read holds the socket
    wait_for("the end", || TcpStream::connect_timeout(&second, Duration::from_secs(1)).is_err().then_some(()));
    assert_serves(address);
}

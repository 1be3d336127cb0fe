//! How many generations there may be, what they may use, and which of them the kernel takes first.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::support::{Asked, Run, Server, Service, Wire, signal, socket, wait_for};

/// A service with one server, that is answered by hand.
struct Bench {
    run: Run,
    address: SocketAddr,
    server: Server,
    drain: &'static str,
}

impl Bench {
    fn new(drain: &'static str) -> Self {
        let (server, (listening, address)) = (Server::new(), socket());
        let run = Run::new(&config(&server, drain, 1)).socket("http", listening).argument("--probation=50ms");
        Self { run, address, server, drain }
    }

    /// A request that the generation which serves now cannot finish, with the server's end of it.
    fn open(&self) -> (Wire, Wire) {
        let mut client = Wire::connect(self.address);
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut asked = self.server.accept();
        asked.head();
        (client, asked)
    }

    /// Makes a generation whose site leads to another pool, so that what is open does not move there, and waits until the
    /// one before drains.
    fn pass(&self, service: &Service<'_>) {
        let (before, _) = service.serving();
        self.run.configure(&config(&self.server, self.drain, before + 1));
        service.reload_well();
        self.run.wait_log(&format!("Generation {before} drains"));
    }
}

fn config(server: &Server, drain: &str, number: u64) -> String {
    let times = "timeout = \"1h\"\nhurry_timeout = \"5s\"";
    let pool = format!("[pool.number-{number}]\nservers = [\"{}\"]", server.address);
    format!("[drain]\n{times}\n{drain}\n[site.\"*\"]\nto = \"number-{number}\"\n{pool}\n")
}

#[test]
fn a_reload_that_would_be_one_too_many_waits_for_the_oldest_which_can_finish() {
    let bench = Bench::new("generations = 3");
    let service = bench.run.start();
    let (mut client, mut asked) = bench.open();
    bench.pass(&service);
    let held = bench.open();
    bench.pass(&service);
    let caller = Asked::reload(&bench.run.run_dir());
    bench.run.wait_log("Generation 1 has 5.0 s left for 1 connection: 3 generations are the most");
    assert_eq!(service.generations().len(), 3, "it waits");
    asked.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    assert!(caller.verdict().is_good());
    drop(held);
}

#[test]
fn the_oldest_is_cut_with_a_record_when_it_does_not_finish() {
    let bench = Bench::new("generations = 3");
    let service = bench.run.start();
    let (mut client, _unanswered) = bench.open();
    bench.pass(&service);
    let held = bench.open();
    bench.pass(&service);
    let (good, text) = service.reload_with(&["--force"]);
    assert!(good, "{text}");
    client.rest();
    bench.run.wait_log("cut at the drain deadline before the response came");
    bench.run.wait_log("Generation 1 ended: 0 connections finished, 0 moved, 1 cut");
    drop(held);
}

/// Such a record once said that no site had been found, and that nothing had been received.
#[test]
fn a_request_body_that_is_cut_is_recorded_and_counted_as_far_as_it_came() {
    let bench = Bench::new("memory = \"1KiB\"");
    let service = bench.run.start();
    let mut client = Wire::connect(bench.address);
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello");
    let mut asked = bench.server.accept();
    asked.head();
    asked.expect("hello");
    bench.pass(&service);
    client.rest();
    bench.run.wait_log("cut at the drain deadline while the request was sent on");
    service.settled();
    assert_eq!(service.status()["counters"]["listeners"]["http"]["bytes_in"], 5);
}

#[test]
fn older_generations_that_use_too_much_memory_finish_early() {
    let bench = Bench::new("memory = \"1KiB\"");
    let service = bench.run.start();
    let (mut client, _unanswered) = bench.open();
    bench.pass(&service);
    bench.run.wait_log(": older generations use");
    client.rest();
    assert_eq!(service.settled().0, 2);
}

#[test]
fn the_kernel_takes_older_generations_first() {
    let Bench { run, .. } = Bench::new("");
    let run = run.argument("--probation=1h");
    let service = run.start();
    let (_, old) = service.serving();
    let base = score(old);
    service.reload_anyway();
    wait_for("a parked worker that is rather taken", || (score(old) == base + 250).then_some(()));
    let (_, new) = service.serving();
    assert_eq!(score(new), base);
    signal(new, Signal::KILL);
    run.wait_log("Rolled back");
    wait_for("the one that serves again to be spared", || (score(old) == base).then_some(()));
}

#[test]
fn a_generation_that_drains_is_taken_before_all_others() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (_, old) = service.serving();
    let base = score(old);
    let held = bench.open();
    bench.pass(&service);
    wait_for("a draining worker that is taken first", || (score(old) == base + 500).then_some(()));
    drop(held);
    assert_eq!(service.settled().0, 2);
}

fn score(pid: u32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a worker");
    text.trim().parse().expect("a number")
}

/// A connection that had one answer and is idle from then on. Which thread has it the kernel decides.
fn idle(address: SocketAddr) -> Wire {
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(client.answer().status(), 404);
    client
}

/// Whether the other end has closed a connection.
fn is_closed(client: &Wire) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(client.stream().as_fd(), PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[test]
fn at_the_limit_an_idle_connection_makes_room_at_once_on_whichever_thread() {
    for (limit, threads) in [("[listen.http]\nmax_connections = 6", 2), ("[worker]\nmax_connections = 6", 3)] {
        let (listening, address) = socket();
        let server = Server::new();
        let threads = if limit.starts_with("[worker") {
            format!("threads = {threads}")
        } else {
            format!("[worker]\nthreads = {threads}")
        };
        let config = format!("{limit}\n{threads}\n[site.\"a.test\"]\nto = [\"{}\"]\n", server.address);
        let run = Run::new(&config).socket("http", listening);
        let service = run.start();
        let mut busy = Wire::connect(address);
        busy.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let mut asked = server.accept();
        asked.head();
        let mut clients: Vec<Wire> = (0..5).map(|_| idle(address)).collect();
        clients.extend((0..5).map(|_| idle(address)));
        let closed = || clients.iter().filter(|client| is_closed(client)).count();
        wait_for("as many are closed as came", || (closed() >= 5).then_some(()));
        run.wait_log("max_connections = 6: idle connections are closed for new ones");
        asked.send("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(busy.answer().status(), 204, "what is busy stays");
        // where another thread still waited for room, its next response ended a connection as well
        let evicted = || service.status().to_string().contains("\"evicted\":0").then_some(());
        wait_for("evictions are counted", || evicted().is_none().then_some(()));
    }
}

//! What a reload does not forget: the health of servers, the place in the round, and every number that was counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Answering, Run, Server, Service, Wire, assert_serves, signal, socket, wait_for};

/// A farm of two servers of which the second is down, on a listener; checks are so rare that there is only the first.
struct Farm {
    run: Run,
    address: SocketAddr,
    sick: Server,
    _well: Answering,
}

impl Farm {
    fn new() -> Self {
        let (listening, address) = socket();
        let (well, sick) = (Answering::start("well"), Server::new());
        let run = Run::new("").socket("http", listening);
        let farm = Self { run, address, sick, _well: well };
        farm.configure("check = 'GET /'\ncheck_interval = '10m'");
        farm
    }

    fn configure(&self, keys: &str) {
        let (well, sick) = (self._well.address, self.sick.address);
        let pool = format!("[pool.farm]\nservers = ['{well}', '{sick}']\n{keys}\n");
        self.run.configure(&format!("[site.'*']\nto = 'farm'\n{pool}"));
    }

    /// Starts it and has the first check of the sick server fail.
    fn start(&self) -> Service<'_> {
        let service = self.run.spawn();
        self.fail_a_check();
        self.run.notifications().wait("READY=1");
        service
    }

    fn fail_a_check(&self) {
        let mut check = self.sick.accept();
        check.head();
        check.send("HTTP/1.1 503 Sick\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}

/// What the generation that serves says of a server.
fn server(service: &Service<'_>, index: usize) -> Value {
    wait_for("the status of the servers", || {
        let status = service.status();
        let list = status["generations"].as_array()?;
        let serving = list.iter().rfind(|one| one["state"] == "serving")?;
        let server = &serving["worker"]["pools"][0]["servers"][index];
        (!server.is_null()).then(|| server.clone())
    })
}

/// One request on a fresh connection: the whole answer.
fn fetch(address: SocketAddr) -> String {
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (answer, _) = client.rest();
    String::from_utf8(answer).expect("text")
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn a_server_that_is_down_stays_down_over_reloads_without_being_asked() {
    let farm = Farm::new();
    let service = farm.start();
    let before = server(&service, 1);
    assert_eq!(before["state"], "down", "{before}");
    for keys in ["check = 'GET /'\ncheck_interval = '10m'", "check = 'GET /'\ncheck_interval = '20m'\nfall = 7"] {
        farm.configure(keys);
        service.reload_anyway();
        service.settled();
        for _ in 0..4 {
            assert!(fetch(farm.address).ends_with("well"));
        }
        assert_eq!(server(&service, 1), before, "since, history and last finding are as they were");
    }
    farm.sick.assert_untouched();
    assert_eq!(count(&farm.run.log(), "is down"), 1, "{}", farm.run.log());
    assert_eq!(service.settled().0, 3);
}

#[test]
fn a_server_with_another_check_is_checked_before_the_new_generation_serves() {
    let farm = Farm::new();
    let service = farm.start();
    farm.configure("check = 'GET /other'\ncheck_interval = '10m'");
    std::thread::scope(|scope| {
        scope.spawn(|| farm.fail_a_check());
        service.reload_anyway();
    });
    let status = server(&service, 1);
    assert_eq!(status["state"], "down");
    let reasons: Vec<_> = status["history"].as_array().expect("a list").iter().map(|one| &one["reason"]).collect();
    assert_eq!(
        reasons,
        ["first check failed: status 503", "the check is another one", "first check failed: status 503"]
    );
}

#[test]
fn a_server_that_is_not_checked_any_more_is_up() {
    let farm = Farm::new();
    let service = farm.start();
    farm.configure("");
    service.reload_anyway();
    assert_eq!(server(&service, 1)["state"], "up");
    farm.run.wait_log("it is not checked any more");
}

#[test]
fn a_reload_beside_a_worker_that_hangs_goes_on_from_what_that_one_said_before() {
    let farm = Farm::new();
    let service = farm.start();
    let (_, serving) = service.serving();
    farm.run.wait_memory();
    signal(serving, Signal::STOP);
    // the one that serves says nothing; whether it is given up on for that is another matter
    let _ = service.reload_with(&["--force"]);
    assert_serves(farm.address);
    assert_eq!(server(&service, 1)["state"], "down");
    farm.sick.assert_untouched();
    assert!(!farm.run.log().contains("did not tell"), "{}", farm.run.log());
    signal(serving, Signal::CONT);
}

#[test]
fn the_round_goes_on_over_a_reload() {
    let (listening, address) = socket();
    let servers = [Answering::start("a"), Answering::start("b"), Answering::start("c")];
    let list: Vec<_> = servers.iter().map(|server| format!("'{}'", server.address)).collect();
    let run =
        Run::new(&format!("[site.'*']\nto = [{}]\n[worker]\nthreads = 1\n", list.join(", "))).socket("http", listening);
    let service = run.start();
    let mut served: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..6 {
        let answer = fetch(address);
        *served.entry(answer[answer.len() - 1..].to_owned()).or_default() += 1;
        service.reload_anyway();
    }
    let shares: Vec<_> = served.values().copied().collect();
    assert_eq!(shares, [2, 2, 2], "with one request for each generation: {served:?}");
}

/// Every number below `counters`, by its path.
fn numbers(value: &Value, path: String, into: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(names) => {
            for (name, value) in names {
                numbers(value, format!("{path}/{name}"), into);
            }
        }
        other => drop(other.as_u64().map(|number| into.insert(path, number))),
    }
}

fn counters(service: &Service<'_>) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    numbers(&service.status()["counters"], String::new(), &mut counters);
    counters
}

/// Looks at the counters again and again; none may ever go back.
struct Looking<'a> {
    service: &'a Service<'a>,
    stop: &'a AtomicBool,
    looks: &'a AtomicU64,
}

impl Looking<'_> {
    fn run(&self) {
        let mut before = counters(self.service);
        while !self.stop.load(Ordering::Relaxed) {
            let now = counters(self.service);
            for (path, count) in &before {
                let now = now.get(path).unwrap_or_else(|| panic!("{path} is gone"));
                assert!(now >= count, "{path} went back from {count} to {now}");
            }
            before = now;
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Ends the looking when the fact ends, also when that is by a failure.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const ACCEPTED: &str = "/listeners/http/connections/accepted";

/// Waits until everything that the client did was counted.
fn counted(service: &Service<'_>, requests: u64) {
    wait_for("every connection to be counted", || {
        let counters = counters(service);
        let exchanges = counters.get("/listeners/http/exchanges/2xx")?;
        (counters.get(ACCEPTED) == Some(&requests) && *exchanges == requests).then_some(())
    });
}

#[test]
fn no_counter_ever_goes_back_and_none_is_lost() {
    let (listening, address) = socket();
    let server = Answering::start("a");
    let config = format!("[site.'*']\nto = ['{}']\n", server.address);
    let run = Run::new(&config).socket("http", listening).argument("--probation=30s");
    let service = run.start();
    let (stop, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let looking = Looking { service: &service, stop: &stop, looks: &looks };
        let ending = Ending(&stop);
        let looker = scope.spawn(move || looking.run());
        let mut requests = 0;
        let mut ask = |times: u64| {
            (0..times).for_each(|_| assert!(fetch(address).ends_with('a')));
            requests += times;
            requests
        };
        // a reload that is rolled back, one that is followed by another, and a worker that is killed
        counted(&service, ask(3));
        service.reload_anyway();
        let (_, serving) = service.serving();
        ask(4);
        signal(serving, Signal::KILL); // before it could tell anybody
        run.wait_log("Rolled back");
        counted(&service, ask(2));
        for _ in 0..3 {
            service.reload_anyway();
            ask(3);
        }
        counted(&service, ask(0));
        let serving = service.serving();
        signal(serving.1, Signal::KILL);
        wait_for("another one that serves", || (service.serving().0 != serving.0).then_some(()));
        counted(&service, ask(2));
        drop(ending);
        looker.join().expect("nothing went back");
    });
    assert!(looks.load(Ordering::Relaxed) > 0);
}

//! The admin API and its commands: `segue servers`, `drain`, `maint`, `ready`, `weight`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Uid};
use rustix::process::Signal;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde_json::Value;

use crate::support::{Answering, DEADLINE, Run, Server, Wire, get, signal, socket, wait_for};

/// A service with the pool `farm` of two servers.
pub struct Farm {
    pub run: Run,
    pub address: SocketAddr,
    pub one: Answering,
    pub other: Answering,
}

impl Farm {
    pub fn new() -> Self {
        let (listening, address) = socket();
        let (one, other) = (Answering::start("one"), Answering::start("other"));
        let run =
            Run::new("").variable("SEGUE_WORKER_THREADS", "1").argument("--probation=50ms").socket("http", listening);
        let farm = Self { run, address, one, other };
        farm.configure(1, "");
        farm
    }

    /// With this weight of the first server, and more keys of the pool.
    fn configure(&self, weight: u32, more: &str) {
        let (one, other) = (self.one.address, self.other.address);
        let servers = format!("servers = [{{ address = '{one}', weight = {weight} }}, '{other}']");
        self.run.configure(&format!("[site.'*']\nto = 'farm'\n[pool.farm]\n{servers}\n{more}\n"));
    }

    /// A command that must succeed; what it printed.
    #[track_caller]
    pub fn segue(&self, arguments: &[&str]) -> String {
        let output = self.run.segue(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stderr), self.run.log());
        text(&output.stdout)
    }

    /// A command that must fail; what it said.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run.segue(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn name(&self) -> String {
        self.one.address.to_string()
    }

    /// How many of 12 requests the first server gets.
    #[track_caller]
    fn share(&self) -> usize {
        (0..12).filter(|_| answer(self.address) == "one").count()
    }

    /// The first server, as `segue servers` has it.
    fn shown(&self) -> Value {
        let list: Value = serde_json::from_str(&self.segue(&["servers", "farm", "--json"])).expect("JSON");
        list["pools"][0]["servers"][0].clone()
    }
}

/// The body of an answer to a client of the proxy.
#[track_caller]
fn answer(address: SocketAddr) -> String {
    let mut wire = Wire::connect(address);
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wire.answer().text()
}

/// One request over the socket, as root.
fn ask(run_dir: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(run_dir.join("admin.sock")).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let (line, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let (line, fields) =
        line.split_once('\n').map_or((line, String::new()), |(line, fields)| (line, format!("{fields}\r\n")));
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
    let _ = stream.write_all(head.as_bytes()); // what refuses the head may not read the body
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

#[test]
fn a_drained_server_gets_no_request_over_a_reload_a_killed_worker_and_a_restart_and_then_its_time_is_over() {
    let farm = Farm::new();
    let mut service = farm.run.start();
    assert_eq!(farm.share(), 6);
    let began = Instant::now();
    let said = farm.segue(&["drain", &farm.name(), "--for", "8s", "--reason", "a new disk"]);
    assert!(said.contains(&format!("farm/{}: drain for 8s", farm.name())), "{said}");
    assert_eq!(farm.share(), 0, "as soon as the command has ended");
    service.reload_anyway();
    assert_eq!(farm.share(), 0, "after a reload");
    farm.run.wait_memory();
    let (before, worker) = service.settled();
    signal(worker, Signal::KILL);
    wait_for("a replacement", || (service.serving().0 > before).then_some(()));
    assert_eq!(farm.share(), 0, "after the death of the worker");
    service.signal(Signal::TERM);
    service.ended();
    let service = farm.run.start();
    assert_eq!(farm.share(), 0, "after a restart");
    let shown = farm.shown();
    assert!(began.elapsed() < Duration::from_secs(8), "the machine is too slow for this");
    assert_eq!(shown["admin"][0]["value"], "drain", "{shown}");
    assert_eq!(shown["admin"][0]["reason"], "a new disk", "{shown}");
    let line = |service: &crate::support::Service<'_>| service.status()["line"].as_str().expect("a line").to_owned();
    wait_for("its part of the status", || line(&service).contains("1/2 servers up").then_some(()));
    wait_for("the end of its time", || farm.shown()["admin"][0].is_null().then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(farm.share(), 6);
    let log = farm.run.log();
    assert!(log.contains(&format!("Server farm/{} is set to drain by uid 0 (segue) for 8", farm.name())), "{log}");
    assert!(log.contains(&format!("Server farm/{} is set to ready: its time is over", farm.name())), "{log}");
}

#[test]
fn what_is_set_during_probation_holds_after_the_roll_back() {
    let farm = Farm::new();
    let run = Farm {
        run: Run::new("").variable("SEGUE_WORKER_THREADS", "1").argument("--probation=1h").socket("http", socket().0),
        ..farm
    };
    run.configure(1, "");
    let service = run.run.start();
    run.configure(1, "connect_timeout = '2s'");
    service.reload_well();
    let (number, worker) = service.serving();
    run.segue(&["maint", &run.name()]);
    signal(worker, Signal::KILL);
    wait_for("the roll-back", || (service.serving().0 < number).then_some(()));
    assert_eq!(run.shown()["admin"][0]["value"], "maint");
    run.segue(&["ready", &run.name()]);
    assert!(run.shown()["admin"][0].is_null());
}

#[test]
fn a_weight_holds_until_the_configuration_has_another_one() {
    let farm = Farm::new();
    let service = farm.run.start();
    farm.segue(&["weight", &farm.name(), "3"]);
    assert_eq!(farm.share(), 9);
    farm.configure(1, "connect_timeout = '2s'");
    service.reload_well();
    assert_eq!(farm.share(), 9, "another key has changed");
    let listed = farm.segue(&["servers"]);
    assert!(listed.contains("3 (of 1)"), "{listed}");
    farm.configure(2, "");
    let differs = farm.run.segue(&["diff"]);
    let differs = String::from_utf8_lossy(&differs.stdout).into_owned();
    assert!(differs.contains("would undo") && differs.contains("weight 3"), "{differs}");
    service.reload_well();
    assert_eq!(farm.share(), 8, "the configuration says 2");
    farm.run.wait_log("is set to weight configured: the configuration says otherwise");
    farm.configure(1, "");
    service.reload_well();
    assert_eq!(farm.share(), 6, "what was undone does not come back");
    farm.segue(&["weight", &farm.name(), "0"]);
    assert_eq!(farm.share(), 0);
    farm.segue(&["weight", &farm.name(), "configured"]);
    assert_eq!(farm.share(), 6);
}

#[test]
fn a_server_in_maintenance_is_not_checked_and_one_that_is_ready_again_is_at_once() {
    let (listening, address) = socket();
    let (checked, well) = (Server::new(), Answering::start("well"));
    let servers = format!("servers = ['{}', '{}']", checked.address, well.address);
    let config =
        format!("[site.'*']\nto = 'farm'\n[pool.farm]\n{servers}\ncheck = 'GET /'\ncheck_interval = '100ms'\n");
    let run = Run::new(&config).argument("--probation=50ms").socket("http", listening);
    let good = |check: &mut Wire| {
        check.head();
        check.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let service = std::thread::scope(|scope| {
        scope.spawn(|| good(&mut checked.accept()));
        run.start()
    });
    let name = checked.address.to_string();
    let output = run.segue(&["maint", &name]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // checks that began before come to their end
    while checked.is_waited_at() {
        good(&mut checked.accept());
    }
    service.reload_anyway();
    checked.assert_untouched_for(1);
    for _ in 0..4 {
        assert_eq!(answer(address), "well");
    }
    run.segue(&["ready", &name]);
    good(&mut checked.accept());
}

#[test]
fn a_typo_is_answered_with_what_there_is() {
    let farm = Farm::new();
    let _service = farm.run.start();
    let near = format!("{}x", farm.name());
    let said = farm.refused(&["drain", &near]);
    assert!(said.contains(&format!("no server {near}; did you mean {}?", farm.name())), "{said}");
    let said = farm.refused(&["drain", "farm/10.0.0.1:80"]);
    assert!(said.contains(&format!("in pool farm; it has {}", farm.name())), "{said}");
    let said = farm.segue(&["maint", &farm.one.address.ip().to_string()]);
    assert!(said.starts_with(&format!("farm/{}: maint", farm.name())), "without its port: {said}");
    farm.segue(&["ready", &format!("farm/{}", farm.name())]);
    assert!(farm.refused(&["weight", &farm.name(), "1001"]).contains("from 0 to 1000"));
    assert!(farm.refused(&["servers", "frm"]).contains("no pool frm; there is farm"));
    let noted = farm.run.segue(&["drain", &farm.name()]);
    assert!(noted.stderr.is_empty(), "{}", String::from_utf8_lossy(&noted.stderr));
    let noted = farm.run.segue(&["drain", &farm.other.address.to_string()]);
    assert!(String::from_utf8_lossy(&noted.stderr).contains("no other server of pool farm takes requests"));
    assert!(get(farm.address).expect("a response").starts_with("HTTP/1.1 503 "));
}

#[test]
fn the_api_is_answered_during_every_reload() {
    let farm = Farm::new();
    let service = farm.run.start();
    let stop = AtomicBool::new(false);
    let run_dir = farm.run.run_dir();
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                let response = ask(&run_dir, "GET /v1/servers");
                assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
                asked += 1;
            }
            asked
        });
        (0..10).for_each(|_| service.reload_anyway());
        stop.store(true, Ordering::Relaxed);
        asking.join().expect("every answer came")
    });
    assert!(asked > 10, "{asked} answers");
}

#[test]
fn what_is_no_request_of_the_api_changes_nothing() {
    let farm = Farm::new();
    let _service = farm.run.start();
    let run_dir = farm.run.run_dir();
    let path = format!("/v1/pools/farm/servers/{}", farm.name());
    let json = "Content-Type: application/json";
    let large = "x".repeat(100_000);
    for (request, status) in [
        (format!("POST {path}\n{json}\n\n{{\"state\":\"down\"}}"), 422),
        (format!("POST {path}\n{json}\n\n{{"), 422),
        (format!("POST {path}\nContent-Type: text/plain\n\n{{\"state\":\"drain\"}}"), 415),
        (format!("POST {path}\n\n{{\"state\":\"drain\"}}"), 415),
        (format!("POST {path}x\n{json}\n\n{{\"state\":\"drain\"}}"), 404),
        (format!("POST {path}\n{json}\n\n{large}"), 413),
        (format!("DELETE {path}"), 405),
        ("POST /v1/status".to_owned(), 405),
        ("GET /v2/status".to_owned(), 404),
        ("GET /v1/servers?pool=x".to_owned(), 404),
        ("GET /metrics".to_owned(), 200),
        (format!("GET {path}"), 200),
    ] {
        let response = ask(&run_dir, &request);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.100}: {response:.300}");
        if status >= 400 {
            assert!(response.contains("{\"error\":\""), "{response}");
        }
    }
    assert_eq!(farm.share(), 6);
    let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(run_dir.join("admin.sock"))).collect();
    farm.segue(&["servers"]);
    drop(silent);
}

/// Calls `act` as another user, in these groups. Where this process is not root nothing is called.
fn as_user<T: Send>(uid: u32, groups: &[u32], act: impl FnOnce() -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            set_thread_groups(&groups).ok()?;
            set_thread_res_gid(group, group, group).ok()?;
            set_thread_res_uid(user, user, user).ok()?;
            Some(act())
        });
        acting.join().expect("no panic")
    })
}

#[test]
fn another_user_can_neither_look_nor_change_and_keeps_no_operator_out() {
    let farm = Farm::new();
    let _service = farm.run.start();
    let run_dir = farm.run.run_dir();
    for directory in run_dir.ancestors().take(2) {
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).expect("open to all");
    }
    let path = format!("/v1/pools/farm/servers/{}", farm.name());
    let change = format!("POST {path}\nContent-Type: application/json\n\n{{\"state\":\"drain\"}}");
    let asked = as_user(65_534, &[], || {
        let looks = ask(&run_dir, "GET /v1/servers");
        let changes: Vec<_> = (0..20).map(|_| ask(&run_dir, &change)).collect();
        let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(run_dir.join("admin.sock"))).collect();
        (looks, changes, silent)
    });
    let Some((looks, changes, _silent)) = asked else { return };
    assert!(looks.starts_with("HTTP/1.1 403 ") && looks.contains("only root"), "{looks}");
    assert!(changes.iter().all(|one| one.starts_with("HTTP/1.1 403 ")), "{changes:?}");
    farm.segue(&["servers"]);
    assert_eq!(farm.share(), 6);
    farm.run.wait_log("Refused: uid 65534 (");
    let refusals = farm.run.log().matches("Refused: uid 65534").count();
    assert!(refusals < 5, "{refusals} lines");
}

/// Holds a value against a schema of the description, as far as that goes: types, enumerations, what has to be there, and that
/// nothing else is.
fn assert_described(api: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').expect("a place in the file");
        return assert_described(api, api.pointer(pointer).unwrap_or_else(|| panic!("{name}")), value, place);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<_> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    assert!(kinds.contains(&kind), "{place} is {kind}, and should be {kinds:?}");
    let words = schema["enum"].as_array();
    assert!(words.is_none_or(|words| words.contains(value)), "{place} is {value}");
    if let (Some(list), schema @ Value::Object(_)) = (value.as_array(), &schema["items"]) {
        list.iter().for_each(|item| assert_described(api, schema, item, &format!("{place}[]")));
    }
    let (Some(fields), Some(described)) = (value.as_object(), schema["properties"].as_object()) else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(required.as_str().expect("a name")), "{place} has no {required}");
    }
    for (name, field) in fields {
        let schema = described.get(name).unwrap_or_else(|| panic!("{place}.{name} is not described"));
        assert_described(api, schema, field, &format!("{place}.{name}"));
    }
}

fn json_of(response: &str) -> Value {
    let body = response.split_once("\r\n\r\n").expect("a head").1;
    serde_json::from_str(body).unwrap_or_else(|fault| panic!("{fault}: {response}"))
}

#[test]
fn every_answer_is_as_the_description_has_it() {
    let farm = Farm::new();
    let _service = farm.run.start();
    farm.share();
    let _client = Wire::connect(farm.address);
    let run_dir = farm.run.run_dir();
    let api = json_of(&ask(&run_dir, "GET /v1/openapi.json"));
    let server = format!("/v1/pools/farm/servers/{}", farm.name());
    let json = "Content-Type: application/json";
    let mut asked: Vec<(String, &str, &str)> = vec![
        (
            format!("POST {server}\n{json}\n\n{{\"state\":\"drain\",\"weight\":3,\"reason\":\"r\",\"for\":\"1h\"}}"),
            "/v1/pools/{pool}/servers/{server}",
            "200",
        ),
        (format!("POST {server}\n{json}\n\n{{\"state\":\"up\"}}"), "/v1/pools/{pool}/servers/{server}", "422"),
        (format!("POST {server}\n\n{{}}"), "/v1/pools/{pool}/servers/{server}", "415"),
        (format!("GET {server}"), "/v1/pools/{pool}/servers/{server}", "200"),
        (format!("GET {server}0"), "/v1/pools/{pool}/servers/{server}", "404"),
        ("GET /v1/servers?pool=x".to_owned(), "/v1/servers", "404"),
        ("GET /v1/connections?state=x".to_owned(), "/v1/connections", "422"),
        ("DELETE /v1/connections/1-0-99".to_owned(), "/v1/connections/{id}", "404"),
    ];
    let of_paths = [
        "/v1/status",
        "/v1/servers",
        "/v1/connections",
        "/v1/session",
        "/v1/history",
        "/v1/events",
        "/v1/openapi.json",
    ];
    asked.extend(of_paths.map(|path| (format!("GET {path}"), path, "200")));
    for (request, path, status) in asked {
        let response = ask(&run_dir, &request);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {response}");
        let method = request.split(' ').next().expect("a method").to_lowercase();
        let described = &api["paths"][path][method]["responses"][status];
        let described = match described["$ref"].as_str() {
            Some(name) => api.pointer(&name[1..]).expect("a response"),
            None => described,
        };
        let schema = &described["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{request}: {status} is not described");
        assert_described(&api, schema, &json_of(&response), path);
    }
    let listed = json_of(&ask(&run_dir, &format!("GET {server}")));
    assert_eq!(listed["admin"].as_array().map(Vec::len), Some(2), "{listed}");
}

/// An open event stream, as a page has it.
struct Live {
    stream: UnixStream,
    seen: String,
}

impl Live {
    fn open(run_dir: &Path) -> Self {
        let mut stream = UnixStream::connect(run_dir.join("admin.sock")).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.write_all(b"GET /v1/live HTTP/1.1\r\nHost: x\r\n\r\n").expect("asked");
        Self { stream, seen: String::new() }
    }

    /// Reads on until there is `text` in what came since the last time.
    #[track_caller]
    fn until(&mut self, text: &str) {
        let mut new = String::new();
        let mut buffer = [0; 65536];
        while !new.contains(text) {
            let read = self.stream.read(&mut buffer).expect("the stream goes on");
            assert_ne!(read, 0, "the stream was closed; before: {}", self.seen);
            new.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        self.seen.push_str(&new);
    }
}

#[test]
fn an_event_stream_goes_on_over_reloads_and_loses_no_event() {
    let farm = Farm::new();
    let service = farm.run.start();
    let run_dir = farm.run.run_dir();
    let mut live = Live::open(&run_dir);
    live.until("event: status");
    assert!(live.seen.contains("Content-Type: text/event-stream\r\n"), "{}", live.seen);
    for generation in 2..6 {
        service.reload_anyway();
        live.until("Reload done in ");
        live.until("event: status");
        assert!(service.serving().0 >= generation);
    }
    farm.segue(&["drain", &farm.name(), "--reason", "a test"]);
    live.until("server-administered");
    assert_eq!(live.seen.matches("HTTP/1.1 200 OK").count(), 1, "one response");
    let numbers: Vec<u64> = live
        .seen
        .split("\"number\":")
        .skip(1)
        .map(|rest| rest.split(',').next().expect("a number").parse().expect("a number"))
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none twice, none lost: {numbers:?}");
    let events = json_of(&ask(&run_dir, "GET /v1/events"));
    let kinds: Vec<_> = events["events"].as_array().expect("a list").iter().map(|one| one["event"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "reload-done").count(), 4, "{kinds:?}");
}

#[test]
fn the_page_is_served_with_a_strict_policy() {
    let farm = Farm::new();
    let _service = farm.run.start();
    let run_dir = farm.run.run_dir();
    let page = ask(&run_dir, "GET /");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("<!doctype html>"), "{page:.300}");
    assert!(page.contains("content-security-policy: default-src 'none';"), "{page:.600}");
    assert!(ask(&run_dir, "GET /page.js").contains("content-type: text/javascript"));
    assert!(ask(&run_dir, "GET /page.jsx").starts_with("HTTP/1.1 404 "));
    assert!(ask(&run_dir, "POST /page.js").starts_with("HTTP/1.1 404 "));
}

#[test]
fn what_is_open_is_said_of_the_moment_in_which_a_server_gets_nothing_new() {
    let (listening, address) = socket();
    let (slow, well) = (Server::new(), Answering::start("well"));
    let servers = format!("servers = ['{}', '{}']", slow.address, well.address);
    let run = Run::new(&format!("[site.'*']\nto = 'farm'\n[pool.farm]\n{servers}\n")).socket("http", listening);
    let _service = run.start();
    let mut clients: Vec<_> = (0..2).map(|_| Wire::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    let mut upstream = slow.accept();
    upstream.head();
    let output = run.segue(&["drain", &slow.address.to_string()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("drain; 1 open"), "{said}");
    let listed: Value = serde_json::from_slice(&run.segue(&["servers", "--json"]).stdout).expect("JSON");
    assert_eq!(listed["pools"][0]["servers"][0]["open_attempts"], 1, "{listed}");
}

#[test]
fn the_page_opens_its_stream_again_after_a_roll_back() {
    let farm = Farm::new();
    let farm = Farm { run: Run::new("").argument("--probation=1h").socket("http", socket().0), ..farm };
    farm.configure(1, "");
    let service = farm.run.start();
    farm.configure(1, "connect_timeout = '2s'");
    service.reload_well();
    let (number, worker) = service.serving();
    signal(worker, Signal::KILL);
    wait_for("the roll-back", || (service.serving().0 < number).then_some(()));
    Live::open(&farm.run.run_dir()).until("event: status");
}

#[test]
fn what_a_reload_changed_is_told_in_the_journal_and_the_events() {
    let farm = Farm::new();
    let service = farm.run.start();
    farm.configure(5, "retries = 1");
    service.reload_well();
    farm.configure(5, "retries = 1\nretires = 1");
    assert!(!service.reload().0);
    let changed = format!("\npool.farm: server {}: weight 1 → 5", farm.name());
    let events = json_of(&ask(&farm.run.run_dir(), "GET /v1/events"));
    let text = |event: &str| {
        let all = events["events"].as_array().expect("events").iter();
        let mut texts = all.filter(|one| one["event"] == *event).map(|one| one["text"].as_str().expect("text"));
        texts.next_back().unwrap_or_else(|| panic!("{event}: {events}")).to_owned()
    };
    let done = text("reload-done");
    assert!(done.starts_with("Reload done in ") && done.contains(&changed), "{done}");
    assert!(done.contains("\npool.farm.retries: 3 → 1") && done.lines().count() == 3, "{done}");
    let refused = text("reload-refused");
    assert!(refused.contains("retires") && !refused.contains('\n'), "lines of the file are for operators: {events}");
    assert!(farm.run.log().contains("pool.farm.retries: 3 → 1"), "{}", farm.run.log());
}

//! The status page on a path of a site.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Answering, Run, SEGUE, Wire, socket};

struct Page {
    run: Run,
    address: SocketAddr,
    server: Answering,
    users: String,
}

impl Page {
    fn new() -> Self {
        let (listening, address) = socket();
        let run = Run::new("").argument("--probation=50ms").socket("http", listening);
        let users = format!("'{}'", user("admin", "a secret"));
        let page = Self { run, address, server: Answering::start("well"), users };
        page.configure("allow = 'change'");
        page
    }

    fn configure(&self, more: &str) {
        let (server, users) = (self.server.address, &self.users);
        let site = format!("[site.'*']\nto = 'farm'\n[pool.farm]\nservers = ['{server}', '127.0.0.1:9']\n");
        self.run.configure(&format!("{site}[dashboard]\non = '*/lb'\nusers = [{users}]\n{more}\n"));
    }

    /// Sends a request for the page with these fields; the status, the fields and the body.
    #[track_caller]
    fn ask(&self, request: &str, fields: &str, body: &str) -> (u16, String, String) {
        let mut wire = Wire::connect(self.address);
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        wire.send(format!("{request} HTTP/1.1\r\nHost: a\r\n{fields}{length}\r\n{body}"));
        let answer = wire.answer();
        (answer.status(), answer.head.text().to_owned(), answer.text())
    }

    #[track_caller]
    fn session(&self) -> Value {
        let (status, _, body) = self.ask("GET /lb/v1/session", RIGHT, "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

/// `admin:a secret`
const RIGHT: &str = "Authorization: Basic YWRtaW46YSBzZWNyZXQ=\r\n";
/// `admin:wrong`
const WRONG: &str = "Authorization: Basic YWRtaW46d3Jvbmc=\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

/// What `segue password` makes of a password.
fn user(name: &str, password: &str) -> String {
    let mut command = Command::new(SEGUE);
    command.args(["password", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("segue");
    child.stdin.take().expect("a pipe").write_all(format!("{password}\n").as_bytes()).expect("written");
    let output = child.wait_with_output().expect("the end");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn the_page_is_for_its_users_and_all_other_paths_go_to_the_pool() {
    let page = Page::new();
    let _service = page.run.start();
    let (status, head, _) = page.ask("GET /lb/", "", "");
    assert_eq!(status, 401);
    assert!(head.to_lowercase().contains("www-authenticate: basic realm=\"segue\""), "{head}");
    let (status, _, body) = page.ask("GET /lb/", RIGHT, "");
    assert!(status == 200 && body.contains("<!doctype html>"), "{status} {body:.300}");
    let (status, head, _) = page.ask("GET /lb", "", "");
    assert!(
        !head.to_lowercase().contains("www-authenticate"),
        "a browser would send the password to the servers: {head}"
    );
    assert!(status == 308 && head.to_lowercase().contains("location: /lb/\r\n"), "{head}");
    assert_eq!(page.ask("GET /lb/page.js", RIGHT, "").0, 200);
    assert_eq!(page.ask("GET /lb/nothing", RIGHT, "").0, 404);
    let (status, _, body) = page.ask("GET /lb/v1/status", RIGHT, "");
    assert!(status == 200 && !body.contains("[dashboard]\",\"balance"), "its own pool is no pool of the site: {body}");
    for path in ["/", "/lbx", "/x/lb/", "/LB/"] {
        assert_eq!(page.ask(&format!("GET {path}"), "", "").2, "well", "{path}");
    }
}

#[test]
fn a_change_needs_the_token_of_the_session_and_a_page_that_allows_it() {
    let page = Page::new();
    let service = page.run.start();
    let session = page.session();
    assert_eq!((&session["may_change"], &session["user"]), (&Value::from(true), &Value::from("admin")));
    let token = format!("Segue-Token: {}\r\n", session["token"].as_str().expect("a token"));
    let drain = "POST /lb/v1/pools/farm/servers/127.0.0.1:9";
    let body = r#"{"state":"drain","reason":"from the page"}"#;
    for fields in [format!("{RIGHT}{JSON}"), format!("{RIGHT}{JSON}Segue-Token: 00\r\n"), format!("{JSON}{token}")] {
        let (status, _, text) = page.ask(drain, &fields, body);
        assert!([401, 403].contains(&status), "{fields}: {status} {text}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(page.ask(drain, &format!("{RIGHT}{form}{token}"), "state=drain").0, 415);
    let (status, _, text) = page.ask(drain, &format!("{RIGHT}{JSON}{token}"), body);
    assert_eq!(status, 200, "{text}");
    service.reload_anyway();
    assert_eq!(page.session()["token"], session["token"], "an open page goes on with the next worker");
    page.run.wait_log("is set to drain by uid");
    assert!(page.run.log().contains("(page, user admin): from the page"), "{}", page.run.log());
    page.configure("allow = 'look'");
    service.reload_well();
    let session = page.session();
    assert_eq!(session["may_change"], false);
    let token = format!("Segue-Token: {}\r\n", session["token"].as_str().expect("a token"));
    assert_eq!(page.ask(drain, &format!("{RIGHT}{JSON}{token}"), body).0, 403);
}

#[test]
fn a_hundred_wrong_passwords_are_refused_and_recorded_and_slow_no_exchange() {
    let page = Page::new();
    let _service = page.run.start();
    page.session();
    let statuses = std::thread::scope(|scope| {
        let guessing = scope.spawn(|| (0..100).map(|_| page.ask("GET /lb/", WRONG, "").0).collect::<Vec<_>>());
        let mut slowest = Duration::ZERO;
        while !guessing.is_finished() {
            let began = Instant::now();
            assert_eq!(page.ask("GET /", "", "").2, "well");
            slowest = slowest.max(began.elapsed());
        }
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        guessing.join().expect("no panic")
    });
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10, "{statuses:?}");
    assert!(statuses[10..].iter().all(|status| *status == 429), "{statuses:?}");
    page.run.wait_log("may not log in to the page: wrong user or password");
    assert_eq!(page.ask("GET /lb/", RIGHT, "").0, 200, "what logged in before goes on");
    assert!(!page.run.log().contains("YWRtaW46"), "no password is in the log");
}

#[test]
fn a_user_that_is_taken_out_of_the_file_is_out_at_once_with_what_it_has_open() {
    let page = Page::new();
    let file = page.run.path("users");
    std::fs::write(&file, format!("{}\n", user("admin", "a secret"))).expect("written");
    let page = Page { users: String::new(), ..page };
    page.configure(&format!("users_file = '{}'", file.display()));
    let service = page.run.start();
    page.session();
    let mut wire = Wire::connect(page.address);
    wire.send(format!("GET /lb/v1/live HTTP/1.1\r\nHost: a\r\n{RIGHT}\r\n"));
    wire.until(b"event: status");
    std::fs::write(&file, "# none\n").expect("written");
    assert_eq!(page.ask("GET /lb/", RIGHT, "").0, 401, "without a reload");
    service.reload_anyway();
    assert_eq!(wire.rest().1, crate::support::Ending::Closed);
}

#[test]
fn clients_that_are_not_logged_in_keep_no_user_from_the_page() {
    let page = Page::new();
    let _service = page.run.start();
    page.session();
    let mut silent: Vec<_> = (0..100).map(|_| Wire::connect(page.address)).collect();
    for wire in &mut silent {
        wire.send("POST /lb/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    }
    assert_eq!(page.ask("GET /lb/page.js", RIGHT, "").0, 200);
}

#[test]
fn a_service_with_an_open_page_stops_at_once() {
    let page = Page::new();
    let mut service = page.run.start();
    let mut wire = Wire::connect(page.address);
    wire.send(format!("GET /lb/v1/live HTTP/1.1\r\nHost: a\r\n{RIGHT}\r\n"));
    wire.until(b"event: status");
    service.signal(rustix::process::Signal::TERM);
    wire.until(b"\r\n0\r\n\r\n");
    service.ended();
}

#[test]
fn the_event_stream_of_a_page_goes_on_over_reloads() {
    let page = Page::new();
    let service = page.run.start();
    let mut wire = Wire::connect(page.address);
    wire.send(format!("GET /lb/v1/live HTTP/1.1\r\nHost: a\r\n{RIGHT}\r\n"));
    wire.until(b"event: status");
    for _ in 0..3 {
        service.reload_anyway();
        wire.until(b"Reload done in");
        wire.until(b"event: status");
        service.settled();
    }
}

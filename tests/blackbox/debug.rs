//! `segue debug`: one client or one site, watched while its exchanges go on.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::support::{Answering, Run, SEGUE, Server, Wire, free_address, signal, socket, wait_for};

/// A `segue debug` that runs, with what it has printed so far.
pub struct Watching {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Watching {
    /// Returns once the generations show what is asked for.
    #[track_caller]
    pub fn start(run: &Run, arguments: &[&str]) -> Self {
        let mut command = Command::new(SEGUE);
        command.arg("debug").args(arguments).arg("--run-dir").arg(run.run_dir()).stdin(Stdio::null());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("segue");
        let mut told = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("shows exchanges") {
            line.clear();
            assert!(told.read_line(&mut line).expect("a line") > 0, "{arguments:?} shows nothing");
        }
        let lines = Arc::new(Mutex::new(vec![line]));
        let (output, all) = (BufReader::new(process.stdout.take().expect("a pipe")), lines.clone());
        let reader = std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| all.lock().expect("lines").push(line));
            let mut rest = String::new();
            let _ = told.read_to_string(&mut rest);
            all.lock().expect("lines").push(rest);
        });
        Self { process, lines, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.lines.lock().expect("lines").join("\n")
    }

    /// Waits until a line has all of these words; gives everything so far.
    #[track_caller]
    pub fn wait(&self, words: &[&str]) -> String {
        wait_for(&format!("a line with {words:?}"), || {
            let text = self.text();
            let found = text.lines().any(|line| words.iter().all(|word| line.contains(word)));
            found.then_some(text)
        })
    }

    /// Waits until it ends by itself; gives everything that it printed.
    #[track_caller]
    fn ended(mut self) -> (ExitStatus, String) {
        let status = wait_for("the end of segue debug", || self.process.try_wait().expect("wait"));
        self.reader.take().expect("once").join().expect("lines");
        (status, self.text())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A listener that takes the client from `X-Forwarded-For`, two sites and the servers behind them.
fn config(farm: &[SocketAddr], shop: SocketAddr) -> String {
    let farm: Vec<String> = farm.iter().map(|address| format!("'{address}'")).collect();
    format!(
        "[listen.http]\ntrusted_proxies = ['127.0.0.0/8']\n[log]\naccess = 'all'\n\
         [site.'a.example']\nto = 'farm'\n[site.'*.shop.example']\nto = 'shop'\n\
         [pool.farm]\nservers = [{}]\n[pool.shop]\nservers = ['{shop}']\n",
        farm.join(", ")
    )
}

/// One request in the name of `client`, answered.
#[track_caller]
fn ask(address: SocketAddr, client: &str, host: &str, target: &str) {
    let mut wire = Wire::connect(address);
    wire.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(wire.answer().status(), 200);
}

#[test]
fn the_way_of_a_request_of_one_client_is_shown_line_by_line_and_no_other_client_and_no_secret() {
    let (listening, address) = socket();
    let server = Server::new();
    let run = Run::new(&config(&[server.address], server.address)).socket("http", listening);
    let _service = run.start();
    let watching = Watching::start(&run, &["--client", "10.0.0.7"]);
    let secrets = "Authorization: Basic c2VjcmV0\r\nCookie: id=c2VjcmV0\r\nProxy-Authorization: Basic c2VjcmV0\r\n\
                   X-Api-Key: c2VjcmV0\r\nReferer: http://a.example/?c2VjcmV0\r\n";
    for client in ["10.0.0.8", "10.0.0.7"] {
        let mut wire = Wire::connect(address);
        wire.send(format!(
            "POST /of/{client};id=c2VjcmV0?token=c2VjcmV0 HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: {client}\r\n\
             {secrets}Content-Length: 8\r\n\r\nc2VjcmV0"
        ));
        let mut upstream = server.accept();
        upstream.head();
        upstream.expect("c2VjcmV0");
        upstream.send("HTTP/1.1 103 Early Hints\r\nLink: </c2VjcmV0>\r\n\r\n");
        upstream
            .send("HTTP/1.1 201 Created\r\nSet-Cookie: id=c2VjcmV0\r\nContent-Length: 8\r\nConnection: close\r\n\r\n");
        upstream.send("c2VjcmV0");
        assert_eq!(wire.head().status(), 103);
        assert_eq!(wire.answer().status(), 201);
    }
    let text = watching.wait(&["over: ok in phase done", "status 201", "8 bytes in and 8 out", "a record"]);
    for words in [
        &["request POST /of/10.0.0.7;id=*?token=* of a.example from 10.0.0.7", "by way of 127.", "body of 8 bytes"][..],
        &["fields Host X-Forwarded-For Authorization Cookie Proxy-Authorization X-Api-Key Referer Content-Length"],
        &["site \"a.example\", pool farm"],
        &["server farm/", "picked: round-robin, 1 of 1 servers take requests (first attempt)"],
        &["connection to the server opened in"],
        &["request sent: 8 bytes of body"],
        &["informational response 103"],
        &["response 201 from the server", "body of 8 bytes"],
        &["response whole: 8 bytes of body"],
        &["the client's connection stays open"],
    ] {
        assert!(text.lines().any(|line| words.iter().all(|word| line.contains(word))), "{words:?} in\n{text}");
    }
    assert!(!text.contains("10.0.0.8"), "another client in\n{text}");
    assert!(!text.contains("c2VjcmV0"), "a secret in\n{text}");
    let log = run.log();
    assert!(!log.contains("picked") && !log.contains("request sent"), "{log}");
}

#[test]
fn a_network_a_site_and_a_host_choose_exchanges_and_both_filters_must_be_met() {
    let (listening, address) = socket();
    let server = Answering::start("one");
    let run = Run::new(&config(&[server.address], server.address)).socket("http", listening);
    let _service = run.start();
    let of_net = Watching::start(&run, &["--client", "10.1.0.0/16"]);
    let of_site = Watching::start(&run, &["--site", "*.SHOP.example"]);
    let of_host = Watching::start(&run, &["--site", "www.shop.example", "--for", "1m"]);
    let of_both = Watching::start(&run, &["--site", "a.example", "--client", "10.1.0.1"]);
    for (client, host, target) in [
        ("10.1.0.1", "a.example", "/both"),
        ("10.1.255.1", "a.example", "/net"),
        ("10.2.0.1", "a.example", "/neither"),
        ("10.2.0.1", "www.shop.example", "/host"),
        ("10.2.0.1", "eu.shop.example", "/site"),
    ] {
        ask(address, client, host, target);
    }
    ask(address, "10.1.0.1", "www.shop.example", "/all"); // but of_both
    ask(address, "10.1.0.1", "a.example", "/last"); // but of_site and of_host
    for (watching, last, targets) in [
        (&of_net, "/last", &["/both", "/net", "/all", "/last"][..]),
        (&of_site, "/all", &["/host", "/site", "/all"]),
        (&of_host, "/all", &["/host", "/all"]),
        (&of_both, "/last", &["/both", "/last"]),
    ] {
        let text = watching.wait(&[&format!("request GET {last} ")]);
        let shown: Vec<_> = text.lines().filter_map(|line| line.split_once("request GET ")).collect();
        let shown: Vec<_> = shown.iter().filter_map(|(_, rest)| rest.split(' ').next()).collect();
        assert_eq!(shown, targets, "{text}");
    }
}

#[test]
fn a_failed_attempt_says_why_and_where_the_request_goes_next() {
    let (listening, address) = socket();
    let (dead, server) = (free_address(), Answering::start("one"));
    let run = Run::new(&config(&[dead, server.address], dead)).socket("http", listening);
    let _service = run.start();
    let watching = Watching::start(&run, &["--site", "a.example"]);
    let text = wait_for("a retry", || {
        ask(address, "10.0.0.1", "a.example", "/");
        let text = watching.text();
        text.contains("(retry 1 of ").then_some(text)
    });
    let failed = text.lines().find(|line| line.contains("attempt failed: connect-failed (Connection refused"));
    assert!(failed.is_some_and(|line| line.ends_with("the request may go to a server again")), "{text}");
    let mut wire = Wire::connect(address);
    wire.send("GET /nowhere HTTP/1.1\r\nHost: b.example\r\nContent-Length: 1x\r\n\r\n");
    assert_eq!(wire.answer().status(), 400);
    let of_peer = Watching::start(&run, &["--client", "127.0.0.0/8"]);
    let mut wire = Wire::connect(address);
    wire.send("GET /nowhere HTTP/1.1\r\nHost: b.example\r\nContent-Length: 1x\r\n\r\n");
    assert_eq!(wire.answer().status(), 400);
    of_peer.wait(&["request GET /nowhere from 127.", "whose head is not right"]);
    of_peer.wait(&["refused with 400; the client's connection closes"]);
    of_peer.wait(&["over: bad-request in phase head"]);
}

#[test]
fn it_ends_with_its_time_and_with_the_service_and_says_so() {
    let (listening, address) = socket();
    let server = Answering::start("one");
    let run = Run::new(&config(&[server.address], server.address)).socket("http", listening);
    let mut service = run.start();
    let short = Watching::start(&run, &["--site", "a.example", "--for", "500ms"]);
    ask(address, "10.0.0.1", "a.example", "/");
    let (status, text) = short.ended();
    assert!(status.success() && text.contains("segue: the time is over, "), "{text}");
    let long = Watching::start(&run, &["--site", "a.example", "--for", "10m"]);
    service.signal(Signal::TERM);
    assert!(service.ended().success());
    let (status, text) = long.ended();
    assert!(status.success() && text.contains("segue: the service has ended"), "{text}");
}

#[test]
fn it_goes_on_over_a_reload_and_names_the_generation_of_each_line() {
    let (listening, address) = socket();
    let server = Answering::start("one");
    let run = Run::new(&config(&[server.address], server.address)).socket("http", listening);
    let service = run.start();
    let watching = Watching::start(&run, &["--client", "10.0.0.7"]);
    ask(address, "10.0.0.7", "a.example", "/before");
    watching.wait(&[" g1 ", "GET /before"]);
    service.reload_anyway();
    watching.wait(&["-- generation 2 shows its exchanges from here on"]);
    watching.wait(&["-- generation 2 serves"]);
    assert_eq!(service.settled().0, 2);
    watching.wait(&["-- generation 1 has ended"]);
    ask(address, "10.0.0.7", "a.example", "/after");
    watching.wait(&[" g2 ", "GET /after"]);
    // a worker that dies is replaced by one that shows its exchanges too
    signal(service.settled().1, Signal::KILL);
    watching.wait(&["-- generation 3 serves"]);
    ask(address, "10.0.0.7", "a.example", "/later");
    watching.wait(&[" g3 ", "GET /later"]);
}

#[test]
fn a_terminal_that_is_stopped_holds_no_request_up_and_hears_how_many_lines_it_missed() {
    let (listening, address) = socket();
    let server = Answering::start("one");
    let run = Run::new(&config(&[server.address], server.address)).socket("http", listening);
    let _service = run.start();
    let watching = Watching::start(&run, &["--client", "10.0.0.7"]);
    ask(address, "10.0.0.7", "a.example", "/first");
    watching.wait(&["GET /first"]);
    signal(watching.process.id(), Signal::STOP);
    for _ in 0..300 {
        ask(address, "10.0.0.7", "a.example", "/many");
    }
    signal(watching.process.id(), Signal::CONT);
    // a line that is shown says what is missing before it
    let text = wait_for("word of what was lost", || {
        ask(address, "10.0.0.7", "a.example", "/again");
        let text = watching.text();
        text.contains("lines are lost").then_some(text)
    });
    assert!(text.contains("GET /many"), "what there was room for is shown");
}

#[test]
fn a_ninth_is_refused_until_another_one_has_ended() {
    let run = Run::new(&config(&[free_address()], free_address())).socket("http", socket().0);
    let _service = run.start();
    let mut all: Vec<_> = (0..8).map(|_| Watching::start(&run, &["--client", "10.0.0.7"])).collect();
    let refused = run.segue(&["debug", "--client", "10.0.0.7"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("8 of `segue debug` run already"), "{text}");
    drop(all.pop());
    wait_for("room", || {
        let output = run.segue(&["debug", "--client", "10.0.0.7", "--for", "1ms"]);
        output.status.success().then_some(())
    });
}

#[test]
fn what_cannot_be_shown_is_refused_with_what_to_write() {
    let run = Run::new(&config(&[free_address()], free_address())).socket("http", socket().0);
    let service = run.start();
    for (arguments, said) in [
        (&["--client", "10.0.0.300"][..], "no part of an address is above 255, and 300 is"),
        (&["--client", "a.example"], "write for example \"10.0.0.0/8\""),
        (&["--site", "a.exmaple"], "did you mean \"a.example\"?"),
        (&["--site", "nothing.else"], "its sites are "),
        (&["--site", "http://a.example/"], "no site of generation 1 answers to"),
        (&["--client", "10.0.0.1", "--for", "1h"], "is the longest"),
        (&[], "--client"),
    ] {
        let output = run.segue(&[&["debug"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{arguments:?}: {text}");
    }
    drop(service);
    let output = run.segue(&["debug", "--client", "10.0.0.1"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("no supervisor of segue runs"), "{text}");
}

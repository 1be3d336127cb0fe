//! Servers that die, fall silent or close connections, while requests are on their way.

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{Crowd, Farm, Habit, Manners};
use crate::support::{Run, Service, get, socket, wait_for};

const CHECKED: &str = "check = \"GET /\"\ncheck_interval = \"200ms\"\ncheck_timeout = \"300ms\"";

#[test]
fn a_server_that_dies_and_comes_back_is_not_seen_by_idempotent_requests() {
    let mut farm = Farm::new(3, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config(CHECKED)).socket("http", listening);
    let _service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Staying, Habit::Put, Habit::Staying]);
    crowd.wait_served(20);
    farm.kill(1);
    run.wait_log("is down");
    crowd.wait_served(20);
    farm.revive(1);
    run.wait_log("is up after");
    crowd.wait_served(20);
    crowd.end();
}

/// What the status of the one generation that is left says of the ejection of a server.
fn ejected(service: &Service<'_>, server: usize) -> Value {
    service.settled();
    let status = service.status();
    status["generations"][0]["worker"]["pools"][0]["servers"][server]["ejected"].clone()
}

/// The same, once it is ejected.
#[track_caller]
fn ejection(service: &Service<'_>, server: usize) -> Value {
    wait_for("the ejection in the status", || Some(ejected(service, server)).filter(|ejected| !ejected.is_null()))
}

#[test]
fn without_a_check_a_server_that_refuses_is_ejected_over_reloads_too_and_comes_back() {
    let mut farm = Farm::new(3, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Staying, Habit::Put, Habit::Staying]);
    crowd.wait_served(20);
    farm.kill(1);
    run.wait_log("is ejected");
    let before = ejection(&service, 1);
    assert!(before["reason"].as_str().is_some_and(|reason| reason.contains("in a row failed")), "{before}");
    service.reload_anyway();
    assert_eq!(ejection(&service, 1)["since"], before["since"]);
    crowd.wait_served(20);
    farm.revive(1);
    run.wait_log("takes exchanges again");
    wait_for("the end of the ejection in the status", || ejected(&service, 1).is_null().then_some(()));
    crowd.wait_served(20);
    crowd.end();
    let log = run.log();
    assert_eq!([log.matches("is ejected").count(), log.matches("takes exchanges again").count()], [1, 1], "{log}");
}

/// A listening socket that swallows connections once there is one that was not accepted.
fn swallowing() -> Socket {
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    silent.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    silent.listen(0).expect("listen");
    silent
}

// Every second request waited for the whole connect timeout, for ever.
#[test]
fn without_a_check_a_server_that_swallows_connections_is_ejected() {
    let farm = Farm::new(1, Manners::Keeping);
    let silent = swallowing();
    let place = silent.local_addr().expect("address").as_socket().expect("of the internet");
    let _fills_the_queue = std::net::TcpStream::connect(place).expect("the one that fits");
    let (listening, address) = socket();
    let config =
        farm.config("connect_timeout = \"300ms\"").replace("servers = [", &format!("servers = [\"{place}\", "));
    let run = Run::new(&config).socket("http", listening);
    let service = run.start();
    wait_for("the ejection", || {
        let answer = get(address).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        run.log().contains("is ejected").then_some(())
    });
    let reason = ejection(&service, 0)["reason"].clone();
    assert_eq!(reason, "3 connections in a row failed: no connection within 300ms");
    let failed = || run.log().matches("connect-timeout").count();
    let before = failed();
    for _ in 0..10 {
        assert!(get(address).expect("an answer").starts_with("HTTP/1.1 200"));
    }
    assert_eq!(failed(), before, "no request goes there any more");
}

#[test]
fn a_request_leaves_a_server_that_goes_down_while_it_waits_for_a_connection() {
    let farm = Farm::new(1, Manners::Keeping);
    let silent = swallowing();
    let place = silent.local_addr().expect("address").as_socket().expect("of the internet");
    let (listening, address) = socket();
    // the first check is what fills the queue: it finds the server good, and no other one does
    let check =
        "check = \"connect\"\ncheck_interval = \"300ms\"\ncheck_timeout = \"300ms\"\nconnect_timeout = \"5min\"";
    let config = farm.config(check).replace("servers = [", &format!("servers = [\"{place}\", "));
    let run = Run::new(&config).socket("http", listening);
    let _service = run.start();
    let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(move || get(address))).collect();
    for client in clients {
        let answer = client.join().expect("the client").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn the_only_server_of_a_pool_is_asked_whatever_it_does() {
    let mut farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("retries = 0")).socket("http", listening);
    let _service = run.start();
    farm.kill(0);
    for _ in 0..8 {
        assert!(get(address).expect("an answer").starts_with("HTTP/1.1 502"));
    }
    assert!(!run.log().contains("is ejected"), "{}", run.log());
    farm.revive(0);
    assert!(get(address).expect("an answer").starts_with("HTTP/1.1 200"));
}

// A request waited for the whole response timeout, 50 s, for a server that its checks had found dead long before.
#[test]
fn idempotent_requests_leave_a_silent_server_once_its_checks_fail() {
    let farm = Farm::new(2, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config(CHECKED)).socket("http", listening);
    let _service = run.start();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Staying, Habit::Put]);
    crowd.wait_served(20);
    farm.silence(0);
    run.wait_log("is down");
    crowd.wait_served(20);
    // their deadline is far below the response timeout
    crowd.end();
    run.wait_log("went down");
}

#[test]
fn a_post_waits_for_its_own_server_however_silent() {
    let farm = Farm::new(2, Manners::Keeping);
    let (listening, address) = socket();
    let config = farm.config(&format!("{CHECKED}\nresponse_timeout = \"3s\""));
    let run = Run::new(&config).socket("http", listening);
    let _service = run.start();
    let crowd = Crowd::start(address, &[Habit::Post]);
    crowd.wait_served(5);
    farm.silence(0);
    run.wait_log("504");
    let losses = crowd.losses();
    assert!(losses.iter().all(|loss| loss.starts_with("http/1.1 504")), "{losses:#?}");
}

// Servers that close after each answer without a word made one POST in a hundred fail, and one large PUT in five.
#[test]
fn what_cannot_be_sent_again_never_meets_a_server_that_is_just_closing_the_connection() {
    for manners in [Manners::Closing, Manners::ClosingLate] {
        let farm = Farm::new(2, manners);
        let (listening, address) = socket();
        let run = Run::new(&format!("{}[worker]\nthreads = 1\n", farm.config(""))).socket("http", listening);
        let _service = run.start();
        let crowd = Crowd::start(address, &[Habit::Staying]);
        crowd.wait_served(50); // by then it is known what they do
        crowd.end();
        let crowd = Crowd::start(address, &[Habit::Post, Habit::LargePut, Habit::Staying, Habit::Put]);
        crowd.wait_served(500);
        crowd.end();
    }
}

//! Reloads that take something away: what is gone stays where it is until its deadline, everything else moves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;

use super::Scene;
use crate::strict::{Change, Habits};
use crate::support::{Answering, DEADLINE, Run, Service, Wire, free_address, socket, wait_for};

const UPGRADE: &str = "GET /websocket HTTP/1.1\r\nHost: $host\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const GET: &str = "GET /get HTTP/1.1\r\nHost: $host\r\n\r\n";

/// What there is beside the scene: listeners of either kind that a reload takes away, a relay whose server it changes,
/// and a site whose pool it takes away.
struct Passing {
    http: SocketAddr,
    tcp: SocketAddr,
    other: SocketAddr,
}

impl Passing {
    fn new() -> Self {
        Self { http: free_address(), tcp: free_address(), other: free_address() }
    }

    fn before(&self, scene: &Scene) -> String {
        let Self { http, tcp, .. } = self;
        let pool =
            format!("[site.\"gone.example\"]\nto = \"gone\"\n[pool.gone]\nservers = [\"{}\"]", scene.servers.http[3]);
        let listeners = format!("[listen.gone]\naddress = \"{http}\"\n[tcp.going]\nlisten = \"{tcp}\"\nto = \"bytes\"");
        format!("{}\n{pool}\n{listeners}\n", self.with_relay_to(scene, scene.servers.tcp[0]))
    }

    fn after(&self, scene: &Scene) -> String {
        self.with_relay_to(scene, scene.servers.tcp[3])
    }

    fn with_relay_to(&self, scene: &Scene, server: SocketAddr) -> String {
        let other = format!("[tcp.other]\nlisten = \"{}\"\nto = [\"{server}\"]", self.other);
        format!("{}\n[drain]\ntimeout = \"3s\"\n{other}", scene.config(Change::Nothing))
    }
}

#[test]
fn what_a_reload_takes_away_stays_until_its_deadline_and_everything_else_moves() {
    let (scene, passing) = (Scene::new(), Passing::new());
    let run = scene.run();
    // The old worker keeps its own deadline: long enough for what is asked of the tunnels, also on a busy machine.
    run.configure(&passing.before(&scene).replace("timeout = \"3s\"", "timeout = \"12s\""));
    let service = run.start();
    let crowd = scene.crowd(Habits::EVERYBODY);
    let mut tunnels = [
        ("a relay that is gone", session(passing.tcp)),
        ("a relay to other servers", session(passing.other)),
        ("a listener that is gone", websocket(passing.http, "localhost")),
        ("a pool that is gone", websocket(scene.http, "gone.example")),
    ];
    let (_, old) = service.serving();
    run.configure(&passing.after(&scene));
    crowd.mark("reload");
    service.reload_well();
    run.wait_log("Generation 1 drains");
    for address in [passing.http, passing.tcp] {
        wait_for("a listener to be gone", || TcpStream::connect(address).is_err().then_some(()));
    }
    for (what, tunnel) in &mut tunnels {
        tunnel.send(format!("{what} still echoes"));
        tunnel.expect(format!("{what} still echoes"));
    }
    assert!(service.workers().contains(&old), "its worker is gone before its tunnels");
    crowd.wait_requests(300);
    for (what, tunnel) in &mut tunnels {
        let (rest, _) = tunnel.rest();
        assert!(rest.is_empty(), "{what}: {rest:?}");
    }
    assert_eq!(service.settled().0, 2);
    run.wait_log("Generation 1 ended");
    let log = run.log();
    let ended = log.lines().find(|line| line.contains("Generation 1 ended")).unwrap_or_default();
    assert!(ended.contains(" 4 cut"), "{ended}");
    crowd.assert_tunnels_run();
    let tally = crowd.end();
    tally.assert_unseen();
    scene.assert_served_once();
}

#[test]
fn a_connection_whose_site_is_gone_moves_and_is_answered_by_the_new_configuration() {
    let (scene, passing) = (Scene::new(), Passing::new());
    let run = scene.run();
    run.configure(&passing.before(&scene));
    let service = run.start();
    let mut client = Wire::connect(scene.http).of_host("gone.example");
    client.send(GET);
    assert_eq!(client.answer().status(), 204);
    run.configure(&passing.after(&scene).replace("[site.\"*\"]", "[site.\"localhost\"]"));
    service.reload_well();
    assert_eq!(service.settled().0, 2);
    client.send(GET);
    let answer = client.answer();
    assert_ne!(answer.status(), 204, "answered by a site that is gone: {}", answer.head.text());
    let mut client = client.of_host("localhost");
    client.send(GET);
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn an_idle_connection_of_a_listener_that_is_gone_is_told_with_an_answer_or_closed_at_the_deadline() {
    let (scene, passing) = (Scene::new(), Passing::new());
    let run = scene.run();
    run.configure(&passing.before(&scene));
    let service = run.start();
    let idle = || {
        let mut client = Wire::connect(passing.http).of_host("localhost");
        client.send(GET);
        assert_eq!(client.answer().status(), 204);
        client
    };
    let (mut asks, mut waits) = (idle(), idle());
    run.configure(&passing.after(&scene));
    service.reload_well();
    run.wait_log("Generation 1 drains");
    wait_for("the listener to be gone", || TcpStream::connect(passing.http).is_err().then_some(()));
    // when is spread over the time of the drain
    wait_for("the last answer", || {
        asks.send(GET);
        let answer = asks.answer();
        assert_eq!(answer.status(), 204);
        answer.says_close().then_some(())
    });
    asks.assert_closed();
    waits.assert_closed();
    run.wait_log("was cut at the drain deadline, idle for");
    assert_eq!(service.settled().0, 2);
}

#[test]
fn a_download_from_a_server_that_a_reload_removes_moves_and_new_requests_go_elsewhere() {
    let (listener, old) = socket();
    let (goes_on, told) = channel();
    let server = std::thread::spawn(move || {
        let (mut client, mut bytes) = (listener.accept().expect("a connection").0, [0; 4096]);
        assert_ne!(client.read(&mut bytes).expect("a request"), 0);
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").expect("written");
        let () = told.recv_timeout(DEADLINE).expect("the word");
        client.write_all(b"world").expect("written");
        client.read(&mut bytes).expect("its end")
    });
    let new = Answering::start("new");
    let (listening, address) = socket();
    let config =
        |server: SocketAddr, more| format!("[listen.http]\n[site.'*']\nto = ['{server}']\n[log]\nslow = '{more}s'\n");
    let run = Run::new(&config(old, 1)).socket("http", listening);
    let service = run.start();
    let mut client = Wire::connect(address).of_host("a.test");
    client.send(GET);
    assert_eq!(client.head().status(), 200);
    client.expect("hello");
    let removed = |service: &Service| {
        let status = service.status();
        let generations = status["generations"].as_array().cloned().unwrap_or_default();
        let serving = generations.into_iter().rfind(|one| one["state"] == "serving").unwrap_or_default();
        let servers = serving["worker"]["pools"][0]["servers"].as_array().cloned().unwrap_or_default();
        servers.iter().map(|server| server["removed"].as_bool()).collect::<Vec<_>>()
    };
    // twice: the generation after the next one has it not from the configuration before
    for (more, generation) in [(2, 2), (3, 3)] {
        run.configure(&config(new.address, more));
        service.reload_well();
        assert_eq!(service.settled().0, generation, "one worker is left");
        wait_for("the removed server in the status", || (removed(&service) == [Some(false), Some(true)]).then_some(()));
        let mut other = Wire::connect(address).of_host("a.test");
        other.send(GET);
        assert_eq!(other.answer().text(), "new");
    }
    goes_on.send(()).expect("the server");
    client.expect("world");
    assert_eq!(server.join().expect("the server"), 0, "its connection is not kept");
    client.send(GET);
    assert_eq!(client.answer().text(), "new");
    wait_for("the removed server to be gone from the status", || (removed(&service) == [Some(false)]).then_some(()));
}

/// A tunnel through a relay.
#[track_caller]
fn session(address: SocketAddr) -> Wire {
    echoing(Wire::connect(address))
}

/// A tunnel after an upgrade.
#[track_caller]
fn websocket(address: SocketAddr, host: &str) -> Wire {
    let mut wire = Wire::connect(address).of_host(host);
    wire.send(UPGRADE);
    assert_eq!(wire.head().status(), 101);
    echoing(wire)
}

// the first byte tells the server to echo
#[track_caller]
fn echoing(mut wire: Wire) -> Wire {
    wire.send("E");
    wire.expect("E");
    wire
}

//! `segue connections`: what is open, in which generation it may be, and the closing of one.

use std::net::SocketAddr;

use serde_json::Value;

use crate::http2::client::{H2, HEADERS, WHOLE, block, request};
use crate::support::{Run, Server, Wire, socket, wait_for};
use crate::unseen::inside::wait_dormant;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// A service before one server.
struct Bench {
    run: Run,
    address: SocketAddr,
    bytes: SocketAddr,
    /// Where the host that is asked for by TLS chooses the server.
    names: SocketAddr,
    server: Server,
}

impl Bench {
    fn new() -> Self {
        let (server, (http, address), (tcp, bytes), (sni, names)) = (Server::new(), socket(), socket(), socket());
        let to = server.address;
        let sites = format!("[site.'a.test']\nto = 'farm'\n[site.'b.test']\nto = ['{to}']\n");
        let config = format!(
            "[listen.http]\nh2c = true\n[log]\naccess = 'all'\n{sites}[pool.farm]\nservers = ['{to}']\n[tcp.bytes]\nto = ['{to}']\n\
             [tcp.names]\nto = ['{to}']\nsni = {{ 'a.test' = 'farm' }}\n"
        );
        let run = Run::new(&config)
            .socket("http", http)
            .socket("bytes", tcp)
            .socket("names", sni)
            .argument("--probation=50ms");
        Self { run, address, bytes, names, server }
    }

    /// A client that has sent this request, and the server that got its head.
    #[track_caller]
    fn asked(&self, host: &str, path: &str, fields: &str) -> (Wire, Wire) {
        let mut client = Wire::connect(self.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        let mut server = self.server.accept();
        assert!(server.head().line().starts_with(&format!("GET {path} ")));
        (client, server)
    }

    /// An idle connection that had one exchange.
    #[track_caller]
    fn idle(&self) -> Wire {
        let (mut client, mut server) = self.asked("a.test", "/", "");
        server.send(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.answer().text(), "ok");
        client
    }

    /// A tunnel.
    #[track_caller]
    fn tunnel(&self) -> (Wire, Wire) {
        let (mut client, mut server) = self.asked("a.test", "/socket", UPGRADE);
        server.send(format!("HTTP/1.1 101 Switching Protocols\r\n{UPGRADE}\r\n"));
        assert_eq!(client.head().status(), 101);
        (client, server)
    }

    /// The connections that these options select.
    #[track_caller]
    fn list(&self, options: &[&str]) -> Vec<Value> {
        let output = self.run.segue(&[&["connections", "--json"], options].concat());
        assert!(output.status.success(), "{options:?}: {output:?}{}", self.run.log());
        let view: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(view["silent"], Value::Array(Vec::new()), "{view}");
        view["connections"].as_array().expect("a list").clone()
    }

    /// Waits until the options select connections of these clients, and of no other; gives them in the order of the clients.
    #[track_caller]
    fn find(&self, options: &[&str], clients: &[&Wire]) -> Vec<Value> {
        wait_for("the connections", || {
            let list = self.list(options);
            let of = |client: &&Wire| list.iter().find(|one| one["client"] == *name(client)).cloned();
            let found: Option<Vec<_>> = clients.iter().map(of).collect();
            found.filter(|found| found.len() == list.len())
        })
    }

    /// Has the connection closed.
    #[track_caller]
    fn close(&self, id: &str, reason: &str) -> String {
        let output = self.run.segue(&["connections", "--close", id, "--reason", reason]);
        assert!(output.status.success(), "{output:?}{}", self.run.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command that must fail; what it said.
    #[track_caller]
    fn refused(&self, options: &[&str]) -> String {
        let output = self.run.segue(&[&["connections"], options].concat());
        assert!(!output.status.success(), "{options:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// The address of a client, as the proxy has it.
fn name(client: &Wire) -> String {
    client.stream().local_addr().expect("an address").to_string()
}

fn id(connection: &Value) -> String {
    connection["id"].as_str().expect("an id").to_owned()
}

#[test]
fn connections_are_found_by_client_listener_site_server_and_state_with_what_is_open_on_them() {
    let bench = Bench::new();
    let _service = bench.run.start();
    let idle = bench.idle();
    let (waiting, _first) = bench.asked("b.test", "/wait;key=1?token=2", "");
    let (tunnel, _second) = bench.tunnel();
    let (tcp, _third) = (Wire::connect(bench.bytes), bench.server.accept());
    bench.find(&["--idle"], &[&idle]);
    let all = bench.find(&[], &[&idle, &waiting, &tunnel, &tcp]);
    let (open, idle_ms) = (|one: usize| all[one]["open"].as_u64(), &all[0]["idle_ms"]);
    assert!((0..4).map(open).eq([Some(0), Some(1), Some(1), Some(1)]) && idle_ms.is_u64(), "{all:?}");
    let exchange = &all[1]["exchanges"][0];
    let server = bench.server.address.to_string();
    for (key, value) in [("kind", "exchange"), ("method", "GET"), ("path", "/wait;key=*"), ("site", "b.test")] {
        assert_eq!(exchange[key], value, "{exchange}");
    }
    assert_eq!((exchange["protocol"].as_str(), exchange["server"].as_str()), (Some("http/1.1"), Some(&*server)));
    assert_eq!(all[2]["exchanges"][0]["kind"], "upgrade", "{all:?}");
    assert_eq!(all[3]["exchanges"][0]["kind"], "tcp", "{all:?}");
    let busy = [&waiting, &tunnel, &tcp];
    bench.find(&["--busy"], &busy);
    bench.find(&["--server", &server], &busy);
    bench.find(&["--server", &format!("farm/{server}")], &[&tunnel]);
    bench.find(&["--pool", "farm"], &[&tunnel]);
    bench.find(&["--site", "B.test"], &[&waiting]);
    bench.find(&["--listener", "bytes"], &[&tcp]);
    bench.find(&["--client", "127.0.0.0/8", "--older", "1ms", "--listener", "http"], &[&idle, &waiting, &tunnel]);
    bench.find(&["--client", "10.0.0.7"], &[]);
    bench.find(&["--older", "1h"], &[]);
    let oldest: Vec<_> = bench.list(&["--limit", "1"]).iter().map(id).collect();
    assert_eq!(oldest, [id(&all[0])]);
    let text = bench.run.segue(&["connections"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.starts_with("ID ") && text.contains("GET b.test/wait;key=* to "), "{text}");
}

#[test]
fn a_connection_keeps_its_id_over_reloads_and_is_closed_by_it_with_what_is_open_on_it() {
    let bench = Bench::new();
    let service = bench.run.start();
    let mut idle = bench.idle();
    let (mut waiting, first) = bench.asked("b.test", "/wait", "");
    let (mut tunnel, second) = bench.tunnel();
    let (mut tcp, third) = (Wire::connect(bench.bytes), bench.server.accept());
    let mut session = H2::begin(Wire::connect(bench.address), &[]);
    session.send(HEADERS, WHOLE, 1, &block(&request("GET", "a.test", "/stream")));
    let mut fourth = bench.server.accept();
    fourth.head();
    let stays = bench.idle();
    let ids = |bench: &Bench| bench.list(&[]).iter().map(id).collect::<std::collections::BTreeSet<_>>();
    let before = wait_for("all", || Some(ids(&bench)).filter(|ids| ids.len() == 6));
    for _ in 0..2 {
        service.reload_anyway();
        service.settled();
        assert_eq!(ids(&bench), before, "{}", bench.run.log());
    }
    let all = bench.list(&[]);
    let of = |name: String| id(all.iter().find(|one| one["client"] == *name).expect("the connection"));
    let ended = [&idle, &waiting, &tunnel, &tcp, &session.wire].map(|client| of(name(client)));
    for id in &ended {
        let said = bench.close(id, "in the test");
        assert!(said.starts_with(&format!("{id} of 127.0.0.1:")) && said.contains(" is closed, "), "{said}");
        bench.run.wait_log(&format!("Connection {id} of 127.0.0.1:"));
    }
    idle.assert_closed();
    waiting.rest();
    tunnel.rest();
    tcp.rest();
    session.rest();
    for mut server in [first, second, third, fourth] {
        server.rest();
    }
    wait_for("one is left", || {
        Some(bench.list(&[])).filter(|list| list.len() == 1 && list[0]["client"] == *name(&stays))
    });
    wait_for("the records", || (bench.run.log().matches("an operator had it closed").count() == 4).then_some(()));
    assert!(bench.run.log().contains(": in the test"), "{}", bench.run.log());
}

#[test]
fn a_connection_whose_first_message_is_to_come_is_closed() {
    let bench = Bench::new();
    let _service = bench.run.start();
    let mut client = Wire::connect(bench.names);
    let found = bench.find(&["--listener", "names", "--busy"], &[&client]);
    bench.close(&id(&found[0]), "");
    client.assert_closed();
    assert!(bench.list(&[]).is_empty());
}

#[test]
fn a_dormant_connection_is_listed_and_closed() {
    let bench = Bench::new();
    let service = bench.run.start();
    let mut clients = [bench.idle(), bench.idle()];
    wait_dormant(service.serving().1, 2);
    let found = bench.find(&["--idle", "--older", "1s"], &[&clients[0], &clients[1]]);
    bench.close(&id(&found[0]), "");
    clients[0].assert_closed();
    bench.find(&[], &[&clients[1]]);
    wait_dormant(service.serving().1, 1);
}

#[test]
fn what_is_no_connection_and_no_filter_is_told_with_what_there_is() {
    let bench = Bench::new();
    let _service = bench.run.start();
    for (options, said) in [
        (&["--close", "1-0-99"][..], "no connection 1-0-99 is open"),
        (&["--close", "abc"], "three numbers"),
        (&["--close", "1-0-99", "--idle"], "cannot be used with"),
        (&["--server", "10.0.0.1:1"], "no server 10.0.0.1:1"),
        (&["--idle", "--busy"], "cannot be used with"),
        (&["--client", "x"], "no address"),
        (&["--limit", "0"], "from 1 to 1000"),
    ] {
        let fault = bench.refused(options);
        assert!(fault.contains(said), "{options:?}: {fault}");
    }
    let none = bench.run.segue(&["connections", "--idle"]);
    assert!(none.status.success() && String::from_utf8_lossy(&none.stderr).contains("no such connection is open"));
}

//! Where servers are, and how they take connections.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{Proxy, Run, Server, Wire, get, socket, wait_for};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// The timer of the TCP connection between these two, as the end `local` has it (`tr` of proc_net_tcp(5)).
fn timer(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let written = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port()),
        SocketAddr::V6(_) => unreachable!("the tests use IPv4"),
    };
    let ends = format!("{} {} 01 ", written(local), written(remote));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections");
    let line = table.lines().find(|line| line.contains(&ends))?;
    line.split_whitespace().nth(5).map(|timer| timer[..2].to_owned())
}

/// Waits until the proxy's ends of a tunnel have this timer: one that was to acknowledge something may still run.
fn assert_timers(client: &Wire, server: &Wire, expected: &str) {
    for wire in [client, server] {
        let (own, its) = (wire.stream().local_addr().expect("address"), wire.stream().peer_addr().expect("address"));
        wait_for("the timer of keep-alive", || (timer(its, own).as_deref() == Some(expected)).then_some(()));
    }
}

#[test]
fn both_sides_of_a_tunnel_have_tcp_keep_alive_over_reloads_too() {
    const KEEP_ALIVE: &str = "02";
    const NONE: &str = "00";
    let server = Server::new();
    let (http, _) = socket();
    let (bytes, address) = socket();
    let config = format!("[site.\"*\"]\nto = [\"{0}\"]\n[tcp.bytes]\nto = [\"{0}\"]\n", server.address);
    let off = format!("{config}[worker]\ntcp_keep_alive = \"off\"\n");
    let run = Run::new(&off).socket("http", http).socket("bytes", bytes);
    let service = run.start();
    let (old_client, old_server) = (Wire::connect(address), server.accept());
    assert_timers(&old_client, &old_server, NONE);
    run.configure(&config);
    service.reload_well();
    let (client, upstream) = (Wire::connect(address), server.accept());
    assert_timers(&client, &upstream, KEEP_ALIVE);
    assert_timers(&old_client, &old_server, KEEP_ALIVE); // they moved to the new generation
    run.configure(&off);
    service.reload_well();
    assert_timers(&client, &upstream, NONE);
    let (client, upstream) = (Wire::connect(address), server.accept());
    assert_timers(&client, &upstream, NONE);
}

/// A listening socket with room for one connection that is not accepted.
fn short_queue(path: &Path) -> UnixListener {
    let server = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    server.bind(&SockAddr::unix(path).expect("a path")).expect("bind");
    server.listen(0).expect("listen");
    server.into()
}

// Where the machine says that `localhost` is ::1 first, there is nothing at that address here.
#[test]
fn a_name_is_served_by_whichever_of_its_addresses_has_a_server() {
    let server = Server::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind"));
    let port = server.address.port();
    let config = format!(
        "[site.\"*\"]\nto = [\"localhost:{port}\"]\nconnect_timeout = \"2s\"\n[tcp.bytes]\nto = [\"localhost:{port}\"]\n"
    );
    let proxy = Proxy::with_listeners(&config, &["http", "bytes"]);
    for _ in 0..3 {
        let mut client = proxy.client_of("http");
        client.send(GET);
        let mut upstream = server.accept();
        upstream.head();
        upstream.send(OK);
        assert_eq!(client.answer().text(), "ok");
        let (mut client, mut upstream) = (proxy.client_of("bytes"), server.accept());
        client.send("hello");
        upstream.expect("hello");
    }
}

#[test]
fn a_unix_server_whose_queue_is_full_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.sock");
    let server = short_queue(&path);
    let (listening, address) = socket();
    let run = Run::new(&format!("[site.\"*\"]\nto = [\"unix:{}\"]\n", path.display())).socket("http", listening);
    let _service = run.start();
    let clients: Vec<_> = (0..20).map(|_| std::thread::spawn(move || get(address))).collect();
    for _ in &clients {
        let (mut upstream, _) = server.accept().expect("accept");
        let mut head = BufReader::new(&upstream).lines();
        while !head.next().expect("a whole head").expect("text").is_empty() {}
        upstream.write_all(OK.as_bytes()).expect("write");
    }
    for client in clients {
        let answer = client.join().expect("the client").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn a_unix_server_whose_queue_stays_full_is_given_up_at_the_deadline() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.sock");
    let _server = short_queue(&path);
    let _only = std::os::unix::net::UnixStream::connect(&path).expect("the one that fits");
    let (listening, address) = socket();
    let config =
        format!("[site.\"*\"]\nto = [\"unix:{}\"]\nconnect_timeout = \"300ms\"\nretries = 0\n", path.display());
    let run = Run::new(&config).socket("http", listening);
    let _service = run.start();
    let answer = get(address).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

// With 320 requests at once, and 128 kept, every fifth request opened a connection: half of the work of HTTP/2.
#[test]
fn as_many_connections_are_kept_as_requests_came_at_once_and_then_as_few_as_are_said() {
    const AT_ONCE: usize = 6;
    const KEPT: usize = 2;
    let server = Server::new();
    let site =
        format!("[site.\"*\"]\nto = [\"{}\"]\nkeep_alive_connections = {KEPT}\nkeep_alive = \"1h\"\n", server.address);
    let proxy = Proxy::start(&site);
    let mut clients: Vec<_> = (0..AT_ONCE).map(|_| proxy.client()).collect();
    let mut connections: Vec<Wire> = Vec::new();
    wait_for("a second in which no connection is opened", || {
        clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let mut opened = 0;
        let mut asked = Vec::new();
        wait_for("every request", || {
            if server.is_waited_at() {
                connections.push(server.accept());
                opened += 1;
            }
            let waiting = connections.extract_if(.., |connection| !connection.is_silent());
            asked.extend(waiting.filter_map(|mut connection| connection.head_or_end().map(|_| connection)));
            (asked.len() == AT_ONCE).then_some(())
        });
        asked.iter_mut().for_each(|connection| connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        connections.extend(asked);
        clients.iter_mut().for_each(|client| assert_eq!(client.answer().head.status(), 200));
        (opened == 0).then_some(())
    });
    wait_for("the end of those that are too many", || {
        connections.retain(Wire::is_silent);
        (connections.len() <= KEPT).then_some(())
    });
    assert_eq!(connections.len(), KEPT);
}

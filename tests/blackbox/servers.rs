//! Where servers are, and how they take connections.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{Proxy, Run, Server, get, socket};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// A listening socket with room for one connection that nobody has accepted.
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

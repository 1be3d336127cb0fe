//! What goes wrong on one side stays there: the other side, and the next request, are not harmed.

use crate::support::{Proxy, Server, Site};

const GET: &str = "GET / HTTP/1.1\r\nHost: $host\r\n\r\n";

#[test]
fn a_client_connection_goes_on_after_a_servers_fault() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn an_upstream_connection_is_not_used_again_after_a_client_broke_off() {
    let site = Site::new();
    let mut client = site.client();
    client.send(GET);
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.until(b"hello");
    client.reset();
    server.assert_closed();
    let mut client = site.client();
    client.send(GET);
    let mut fresh = site.server.accept();
    fresh.head();
    fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_fault_before_the_body_was_read_closes_after_the_answer_is_whole() {
    let refused = crate::support::free_address();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{refused}\"]\nretries = 0\n"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n");
    let _ = client.try_send(vec![b'x'; 900_000]);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (502, true));
    client.assert_closed();
}

#[test]
fn without_a_server_that_is_up_it_is_a_503_with_a_time_to_come_back() {
    let refused = crate::support::free_address();
    let config =
        format!("[site.\"*\"]\nto = [\"{refused}\"]\ncheck = \"connect\"\nfall = 1\ncheck_interval = \"100ms\"\n");
    let proxy = Proxy::start(&config);
    let answer = crate::support::wait_for("a server that is down", || {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        Some(client.answer()).filter(|answer| answer.status() == 503)
    });
    assert!(answer.head.has("retry-after"), "{}", answer.head.text());
    assert!(!answer.says_close());
}

#[test]
fn a_slow_client_does_not_hold_up_the_others() {
    let site = Site::new();
    let mut slow = site.client();
    slow.send("GET / HTTP/1.1\r\nHost: $host\r\nA: ");
    let mut waiting = site.client();
    waiting.send(GET);
    let mut server = site.server.accept();
    server.head();
    for _ in 0..3 {
        let mut client = site.client();
        client.send(GET);
        let mut server = site.server.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn servers_on_unix_sockets_are_asked_like_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("server.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"unix:{}\"]\n", path.display()));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut upstream, _) = listener.accept().expect("accept");
    std::io::Write::write_all(&mut upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("to send");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn servers_take_turns() {
    let servers = [Server::new(), Server::new()];
    let [first, second] = &servers;
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\", \"{}\"]\n", first.address, second.address));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client
        })
        .collect();
    for server in servers.iter().chain(&servers) {
        server.accept().head();
    }
    drop(clients);
}

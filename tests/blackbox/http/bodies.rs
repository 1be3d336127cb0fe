//! Bodies as streams: nothing is kept that need not be, and the slower side sets the pace.

use std::io::Write;
use std::net::TcpStream;
use std::thread::JoinHandle;

use crate::support::{Proxy, Server, Site, Wire};

const MIB: usize = 1 << 20;

/// Sends so many bytes from a thread of its own; they are all alike.
fn pour(wire: &Wire, mebibytes: usize) -> JoinHandle<std::io::Result<()>> {
    let mut stream: TcpStream = wire.stream().try_clone().expect("dup");
    std::thread::spawn(move || {
        let block = vec![b'x'; MIB];
        (0..mebibytes).try_for_each(|_| stream.write_all(&block))
    })
}

/// Takes so many bytes.
fn drink(wire: &mut Wire, mebibytes: usize) {
    for _ in 0..mebibytes {
        assert!(wire.take(MIB).iter().all(|byte| *byte == b'x'));
    }
}

/// A proxy with one site for all hosts.
fn simple() -> (Proxy, Server) {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\n", server.address));
    (proxy, server)
}

#[test]
fn an_upload_waits_for_a_slow_server_in_bounded_memory() {
    const SIZE: usize = 200;
    let (proxy, server) = simple();
    let mut client = proxy.client();
    let before = proxy.memory();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", SIZE * MIB));
    let pouring = pour(&client, SIZE);
    let mut upstream = server.accept();
    upstream.head();
    drink(&mut upstream, 1);
    client.assert_silent(); // meanwhile all buffers between the two fill up
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "{grown} bytes for one upload");
    drink(&mut upstream, SIZE - 1);
    pouring.join().expect("the client").expect("to send");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "{grown} bytes for one upload");
}

#[test]
fn a_download_waits_for_a_slow_client_in_bounded_memory() {
    const SIZE: usize = 200;
    let (proxy, server) = simple();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let before = proxy.memory();
    let mut upstream = server.accept();
    upstream.head();
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SIZE * MIB));
    let pouring = pour(&upstream, SIZE);
    client.head();
    drink(&mut client, 1);
    upstream.assert_silent();
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 * MIB as u64, "{grown} bytes for one download");
    drink(&mut client, SIZE - 1);
    pouring.join().expect("the server").expect("to send");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn every_piece_of_an_upload_goes_on_at_once() {
    let site = Site::new();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    for piece in ["a", "bc", "def"] {
        client.send(format!("{}\r\n{piece}\r\n", piece.len()));
        server.expect(format!("{}\r\n{piece}\r\n", piece.len()));
    }
    client.send("0\r\n\r\n");
    server.expect("0\r\n\r\n");
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn every_piece_of_a_response_goes_on_at_once() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().field("transfer-encoding"), Some("chunked"));
    for piece in ["a", "bc", "def"] {
        server.send(format!("{}\r\n{piece}\r\n", piece.len()));
        client.expect(format!("{}\r\n{piece}\r\n", piece.len()));
    }
    server.send("0\r\n\r\n");
    client.expect("0\r\n\r\n");
}

/// The response may begin before the request has ended, and both go on side by side.
#[test]
fn request_and_response_stream_at_the_same_time() {
    let site = Site::new();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n");
    let mut server = site.server.accept();
    server.head();
    server.expect("1\r\n0\r\n");
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    for turn in 1..5 {
        client.send(format!("1\r\n{turn}\r\n"));
        server.expect(format!("1\r\n{turn}\r\n"));
        server.send(format!("2\r\n!{turn}\r\n"));
        client.expect(format!("2\r\n!{turn}\r\n"));
    }
    client.send("0\r\n\r\n");
    server.expect("0\r\n\r\n");
    server.send("0\r\n\r\n");
    client.expect("0\r\n\r\n");
}

#[test]
fn an_early_answer_to_an_upload_arrives_whole() {
    let site = Site::new();
    let body = "y".repeat(100_000);
    for _ in 0..5 {
        let mut client = site.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
        let pouring = pour(&client, 64);
        let mut server = site.server.accept();
        server.head();
        server.send(format!("HTTP/1.1 413 Too Large\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        server.finish();
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text() == body), (413, true));
        assert!(answer.says_close());
        // nobody wants the rest, and it is read all the same: a reset would have cost the client its answer
        let _ = client.rest();
        let _ = pouring.join().expect("the client");
    }
}

#[test]
fn an_early_answer_of_a_server_that_resets_arrives_all_the_same() {
    let site = Site::new();
    let mut client = site.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let pouring = pour(&client, 64);
    let answer = client.answer();
    drop(server); // unread bytes make this a reset
    assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    let _ = client.rest();
    let _ = pouring.join();
}

#[test]
fn an_upload_that_was_not_wanted_whole_is_not_the_next_request() {
    let site = Site::new();
    let mut client = site.client();
    let forged = "GET /forged HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: {}\r\n\r\n", forged.len()));
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
    client.send(forged);
    let (rest, _) = client.rest();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    let (rest, _) = server.rest();
    assert!(rest.is_empty() || forged.as_bytes().starts_with(&rest), "{}", String::from_utf8_lossy(&rest));
    site.server.assert_untouched();
}

#[test]
fn a_client_that_goes_away_in_an_upload_is_cut_for_the_server() {
    let site = Site::new();
    for framing in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let mut client = site.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: $host\r\n{framing}\r\n\r\n5\r\nab"));
        let mut server = site.server.accept();
        server.head();
        drop(client);
        let (rest, _) = server.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn a_client_that_goes_away_in_a_download_frees_the_server() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    client.head();
    client.reset();
    let (_, _) = server.rest();
}

#[test]
fn a_client_that_goes_away_while_it_waits_frees_the_server() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    client.reset();
    let (rest, _) = server.rest();
    assert!(rest.is_empty());
}

#[test]
fn an_upload_that_ends_too_early_is_answered_and_cut_for_the_server() {
    let site = Site::new();
    for framing in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let mut client = site.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: $host\r\n{framing}\r\n\r\n5\r\nab"));
        let mut server = site.server.accept();
        server.head();
        client.finish();
        let answer = client.answer();
        assert_eq!((answer.status(), answer.says_close()), (400, true));
        client.assert_closed();
        let (rest, _) = server.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn a_server_that_closes_inside_an_upload_is_a_502() {
    let site = Site::new();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 1000000\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.finish();
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (502, true));
    client.assert_closed();
}

#[test]
fn requests_that_wait_for_their_turn_wait_in_the_kernel() {
    let (proxy, server) = simple();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut upstream = server.accept();
    upstream.head();
    let before = proxy.memory();
    let mut stream = client.stream().try_clone().expect("dup");
    let pouring = std::thread::spawn(move || {
        let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
        while stream.write_all(requests.as_bytes()).is_ok() {}
    });
    client.assert_silent();
    upstream.assert_silent();
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 8 * MIB as u64, "{grown} bytes of requests that wait");
    let _ = client.stream().shutdown(std::net::Shutdown::Both);
    pouring.join().expect("the client");
}

//! Bodies of responses that are under way at a reload: they go on in the next generation, and keep no worker.

use std::io::Read;
use std::net::SocketAddr;

use rustix::process::Signal;

use crate::support::{Answering, Run, Server, Service, Wire, signal, socket, wait_for};

const RELOADS: u64 = 3;

fn config(server: SocketAddr) -> String {
    format!("[listen.http]\n[log]\naccess = 'all'\n[site.'*']\nto = 'farm'\n[pool.farm]\nservers = ['{server}']\n")
}

/// A client whose request `target` a server has, and both.
#[track_caller]
fn asked(address: SocketAddr, server: &Server, request: &str) -> (Wire, Wire) {
    let mut client = Wire::connect(address);
    client.send(request);
    let mut upstream = server.accept();
    upstream.head();
    (client, upstream)
}

/// Reloads once; then one worker is left, within the deadline of every wait, which is far below that of the drain.
#[track_caller]
pub fn reload(service: &Service<'_>) -> u64 {
    service.reload_anyway();
    service.settled().0
}

const GET: &str = "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn an_event_stream_goes_on_over_reloads_and_keeps_no_worker() {
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let (mut client, mut upstream) = asked(address, &server, GET);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    for number in 0..RELOADS {
        upstream.send(format!("8\r\nevent {number}\n\r\n"));
        client.until(format!("event {number}\n\r\n").as_bytes());
        assert_eq!(reload(&service), number + 2);
    }
    upstream.send("5\r\nlast\n\r\n0\r\n\r\n");
    client.expect("5\r\nlast\n\r\n0\r\n\r\n");
    // both connections serve the next request
    client.send("GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(upstream.head().text().starts_with("GET /next "));
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    let record =
        wait_for("the record", || run.log().lines().find(|line| line.contains("/stream →")).map(str::to_owned));
    assert!(record.contains("→ 200 from farm/") && record.contains(" 29 bytes out"), "{record}");
    assert_eq!(run.log().matches("/stream →").count(), 1, "one record of one exchange\n{}", run.log());
}

#[test]
fn a_download_by_length_goes_on_with_every_byte_although_its_client_reads_nothing_meanwhile() {
    const LENGTH: usize = 48 << 20;
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let (mut client, mut upstream) = asked(address, &server, GET);
    let sending = std::thread::spawn(move || {
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        for block in 0..LENGTH / 4096 {
            upstream.send([block as u8; 4096]);
        }
    });
    assert_eq!(client.head().status(), 200);
    for number in 0..RELOADS {
        assert_eq!(reload(&service), number + 2);
        for block in 0..256 {
            let block = (number as usize * 256 + block) as u8;
            assert!(client.take(4096).iter().all(|byte| *byte == block), "block {block} of reload {number}");
        }
    }
    for block in RELOADS as usize * 256..LENGTH / 4096 {
        assert!(client.take(4096).iter().all(|byte| *byte == block as u8), "block {block}");
    }
    sending.join().expect("all is sent");
    client.send("GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut upstream = server.accept(); // the thread has dropped the one before
    upstream.head();
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn what_a_slow_client_has_still_to_take_of_a_response_that_came_whole_keeps_no_worker() {
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    for framing in ["Content-Length: 6000000", "Transfer-Encoding: chunked"] {
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        client.set_recv_buffer_size(4096).expect("an option");
        client.connect(&address.into()).expect("connect");
        let mut client = Wire::new(client.into());
        client.send(GET);
        let mut upstream = server.accept();
        upstream.head();
        upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\nConnection: close\r\n\r\n"));
        let sending = std::thread::spawn(move || {
            let mut body = vec![b'x'; 6_000_000];
            if framing.starts_with('T') {
                body.splice(0..0, *b"5b8d80\r\n");
                body.extend(b"\r\n0\r\n\r\n");
            }
            upstream.send(body);
        });
        // as much is read as lets the server send all, and the proxy hold the rest
        let (mut taken, mut buffer) = (Vec::new(), [0; 4096]);
        let mut take = |taken: &mut Vec<u8>| {
            let read = client.stream().read(&mut buffer).expect("more");
            assert!(read > 0, "{} bytes came", taken.len());
            taken.extend_from_slice(&buffer[..read]);
        };
        while !sending.is_finished() {
            take(&mut taken);
        }
        sending.join().expect("sent");
        reload(&service);
        assert!(taken.len() < 6_000_000, "the client has all already");
        let head = String::from_utf8_lossy(&taken).find("\r\n\r\n").expect("a head") + 4;
        while taken.len() < head + 6_000_000 || framing.starts_with('T') && !taken.ends_with(b"\r\n0\r\n\r\n") {
            take(&mut taken);
        }
        client.send("GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut upstream = server.accept();
        upstream.head();
        upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status(), 204);
    }
}

#[test]
fn chunks_and_trailers_that_a_reload_cuts_anywhere_go_on() {
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let request = "GET /stream HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    let (mut client, mut upstream) = asked(address, &server, request);
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\n!\r\n");
    client.head();
    client.until(b"!\r\n");
    let body = "5\r\nhello\r\n0c;name=\"v\"\r\n0123456789ab\r\n1\r\n.\r\n0\r\nX-Sum: 12\r\n\r\n";
    for piece in body.as_bytes().chunks(4) {
        upstream.send(piece);
        // what is read is moved, and what is not read yet too: both are cut here
        reload(&service);
    }
    let (payload, trailers) = client.chunks();
    assert_eq!((&*payload, &*trailers), (&b"hello0123456789ab."[..], "x-sum: 12\r\n"));
}

#[test]
fn bodies_that_end_with_a_connection_go_on() {
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let (mut modern, mut to_modern) = asked(address, &server, GET);
    let (mut old, mut to_old) = asked(address, &server, "GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n");
    for upstream in [&mut to_modern, &mut to_old] {
        upstream.send("HTTP/1.1 200 OK\r\n\r\nfirst");
    }
    assert!(modern.head().has("transfer-encoding"));
    modern.expect("5\r\nfirst\r\n");
    old.head();
    old.expect("first");
    reload(&service);
    for mut upstream in [to_modern, to_old] {
        upstream.send("second");
        drop(upstream);
    }
    modern.expect("6\r\nsecond\r\n0\r\n\r\n");
    old.expect("second");
    old.assert_closed();
}

#[test]
fn what_a_client_pipelined_behind_an_open_response_is_served_by_the_next_generation() {
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let next = "GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (mut client, mut upstream) = asked(address, &server, &[GET, next, &next[..20]].concat());
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.head();
    client.expect("hello");
    reload(&service);
    upstream.send("world");
    client.expect("world");
    assert!(upstream.head().text().starts_with("GET /next "));
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    client.send(&next[20..]);
    assert!(upstream.head().text().starts_with("GET /next "));
}

#[test]
fn a_response_that_its_server_breaks_off_after_a_move_is_cut_and_recorded_as_ever() {
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let (mut client, mut upstream) = asked(address, &server, GET);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.head();
    client.expect("hello");
    reload(&service);
    drop(upstream);
    let (rest, _) = client.rest();
    assert!(rest.is_empty());
    run.wait_log("/stream → 200 from farm/");
    let log = run.log();
    let record = log.lines().find(|line| line.contains("/stream →")).expect("just seen");
    assert!(
        record.contains("the server closed the connection while the response was relayed")
            && record.contains(" 5 bytes out"),
        "{record}"
    );
}

#[test]
fn a_response_stays_whose_site_the_reload_takes_away_and_ends_whole() {
    let (server, other, (listening, address)) = (Server::new(), Answering::start("other"), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let (mut client, mut upstream) = asked(address, &server, GET);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.head();
    client.expect("hello");
    run.configure(&config(other.address).replace("'*'", "'localhost'"));
    service.reload_well();
    run.wait_log("Generation 1 drains");
    assert_eq!(service.generations().len(), 2);
    upstream.send("world");
    client.expect("world");
    assert_eq!(service.settled().0, 2);
    client.send("GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn open_responses_that_the_next_generation_drops_dead_under_stay_where_they_are() {
    let (server, (listening, address)) = (Server::new(), socket());
    let run = Run::new(&config(server.address)).socket("http", listening);
    let service = run.start();
    let (mut client, mut upstream) = asked(address, &server, GET);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nhello");
    client.head();
    client.expect("hello");
    service.reload_anyway();
    signal(service.serving().1, Signal::KILL); // in its probation or just after it
    wait_for("another one", || {
        service.generations().iter().any(|(number, state, _)| *number != 2 && state == "serving").then_some(())
    });
    upstream.send("world");
    let (came, _) = (client.take(5), ());
    assert_eq!(came, b"world");
}

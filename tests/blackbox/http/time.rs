//! Deadlines: nothing waits for ever, and each wait that ends says so.

use crate::support::{Ending, Proxy, Server, Site};

#[test]
fn a_head_that_does_not_come_whole_in_time_is_answered_408() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("GET / HTTP/1.1\r\nHost: $host\r\nA: ");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (408, true));
    client.assert_closed();
    site.server.assert_untouched();
}

/// The deadline is of the whole head: a byte now and then does not move it.
#[test]
fn a_head_that_drips_is_answered_408() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("GET / HTTP/1.1\r\n");
    for _ in 0..2 {
        client.assert_silent();
        let _ = client.try_send("A: b\r\n");
    }
    assert_eq!(client.answer().status(), 408);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.assert_closed();
    let mut client = site.client_of("hasty");
    client.send("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(client.answer().status(), 404);
    client.assert_closed();
}

#[test]
fn a_body_that_stalls_is_answered_408_and_cut_for_the_server() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 10\r\n\r\nhello");
    let mut server = site.server.accept();
    server.head();
    server.expect("hello");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (408, true));
    client.assert_closed();
    server.assert_closed();
}

#[test]
fn a_body_that_goes_on_slowly_is_no_stall() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    for byte in "hello".bytes() {
        client.assert_silent(); // all in all for longer than the timeout
        client.send([byte]);
        server.expect([byte]);
    }
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    let block = vec![b'x'; 1 << 20];
    let failed = (0..900).find_map(|_| server.try_send(&block).err());
    assert!(failed.is_some(), "the server's connection is still read from");
}

#[test]
fn a_half_closed_client_is_waited_for_as_long_as_its_timeout() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    client.finish();
    let mut server = site.server.accept();
    server.head();
    let (seen, _) = client.rest();
    assert!(seen.is_empty(), "{}", String::from_utf8_lossy(&seen));
    server.assert_closed();
}

#[test]
fn a_half_closed_client_and_one_that_left_are_told_apart() {
    let site = Site::new();
    let mut left = site.client();
    left.send("GET /left HTTP/1.1\r\nHost: $host\r\n\r\n");
    let mut unasked = site.server.accept();
    unasked.head();
    let mut waits = site.client();
    waits.send("GET /waits HTTP/1.1\r\nHost: $host\r\n\r\n");
    waits.finish();
    let mut server = site.server.accept();
    server.head();
    drop(left);
    unasked.assert_closed();
    waits.expect("H"); // sent ahead, to see whether it is there
    server.send("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 404 Not Here\r\nContent-Length: 2\r\n\r\nno");
    let (rest, _) = waits.rest();
    let rest = format!("H{}", String::from_utf8_lossy(&rest));
    assert!(rest.starts_with("HTTP/1.1 103 Early Hints\r\nLink: a\r\n"), "{rest}");
    assert!(rest.contains("\r\n\r\nHTTP/1.1 404 Not Here\r\n") && rest.ends_with("\r\n\r\nno"), "{rest}");
}

#[test]
fn a_half_closed_client_of_an_event_stream_and_one_that_left_are_told_apart() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    client.finish();
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\n\r\nevent");
    client.until(b"5\r\nevent\r\n");
    client.expect("0"); // of the size of the next chunk
    server.send("more");
    client.until(b"4\r\nmore\r\n");
    drop(client);
    server.assert_closed();
}

#[test]
fn a_half_closed_client_is_waited_for_no_longer_when_it_has_pipelined() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n".repeat(2));
    client.finish();
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
    server.head();
    let (seen, _) = client.rest();
    assert!(seen.is_empty(), "{}", String::from_utf8_lossy(&seen));
    server.assert_closed();
}

/// A proxy whose server has little time.
fn impatient() -> (Proxy, Server) {
    let server = Server::new();
    let config = format!("[site.\"*\"]\nto = [\"{}\"]\nresponse_timeout = \"500ms\"\n", server.address);
    (Proxy::start(&config), server)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_server_that_does_not_answer_is_a_504() {
    let (proxy, server) = impatient();
    let mut client = proxy.client();
    client.send(GET);
    let mut upstream = server.accept();
    upstream.head();
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (504, false));
    upstream.assert_closed();
    server.assert_untouched(); // a slow server is not asked twice
}

#[test]
fn half_a_response_head_is_no_answer() {
    let (proxy, server) = impatient();
    let mut client = proxy.client();
    client.send(GET);
    let mut upstream = server.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nA: ");
    assert_eq!(client.answer().status(), 504);
}

#[test]
fn a_server_that_falls_silent_inside_a_response_cuts_it() {
    let (proxy, server) = impatient();
    for (request, ending) in [(GET, None), ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", Some(Ending::Reset))] {
        let mut client = proxy.client();
        client.send(request);
        let mut upstream = server.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        client.until(b"hello");
        let (seen, ended) = client.rest();
        assert!(!seen.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&seen));
        assert!(ending.is_none_or(|ending| ending == ended), "{ended:?}");
        upstream.assert_closed();
    }
}

#[test]
fn the_time_of_a_slow_client_is_not_the_servers() {
    let (proxy, server) = impatient();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    let mut upstream = server.accept();
    upstream.head();
    for byte in "hello".bytes() {
        client.assert_silent(); // all in all more than the server has
        client.send([byte]);
        upstream.expect([byte]);
    }
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer().text(), "ok");
}

/// A server may begin to answer, and then read on for as long as the upload takes.
#[test]
fn the_time_of_a_slow_client_is_not_the_servers_either_once_it_answers() {
    let (proxy, server) = impatient();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    let mut upstream = server.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    client.head();
    for byte in "hello".bytes() {
        client.assert_silent(); // all in all more than the server has
        client.send([byte]);
        upstream.expect([byte]);
    }
    upstream.send("ok");
    client.expect("ok");
}

#[test]
fn a_server_that_falls_silent_after_the_upload_cuts_its_response() {
    let (proxy, server) = impatient();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    let mut upstream = server.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    client.until(b"ok\r\n");
    client.send("hello");
    upstream.expect("hello");
    let (rest, _) = client.rest();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_body_that_stalls_beside_its_response_is_cut_for_the_server() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 10\r\n\r\nhello");
    let mut server = site.server.accept();
    server.head();
    server.expect("hello");
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    client.until(b"ok\r\n");
    server.assert_closed();
    drop(server);
    let (rest, _) = client.rest();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_server_that_takes_nothing_more_of_an_upload_is_a_504() {
    let (proxy, server) = impatient();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    let mut sending = client.stream().try_clone().expect("dup");
    let pouring = std::thread::spawn(move || {
        use std::io::Write;
        let block = vec![b'x'; 1 << 20];
        while sending.write_all(&block).is_ok() {}
    });
    let mut upstream = server.accept();
    upstream.head();
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (504, true));
    client.finish(); // or the rest would be read for as long as it comes
    let _ = pouring.join();
}

#[test]
fn a_server_that_accepts_no_connection_in_time_is_a_504() {
    let full = full_backlog();
    let config = format!(
        "[site.\"*\"]\nto = [\"{}\"]\nconnect_timeout = \"500ms\"\nretries = 0\n",
        full.local_addr().expect("address")
    );
    let proxy = Proxy::start(&config);
    let _waiting = fill(&full);
    let mut client = proxy.client();
    client.send(GET);
    let answer = client.answer();
    assert_eq!(answer.status(), 504);
}

#[test]
fn a_server_that_accepts_no_connection_in_time_is_passed_over() {
    let (full, server) = (full_backlog(), Server::new());
    let full_address = full.local_addr().expect("address");
    let config =
        format!("[site.\"*\"]\nto = [\"{full_address}\", \"{}\"]\nconnect_timeout = \"300ms\"\n", server.address);
    let proxy = Proxy::start(&config);
    let _waiting = fill(&full);
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let mut upstream = server.accept();
        upstream.head();
        upstream.expect("hello");
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}

/// A listening socket with the shortest backlog, from which nobody accepts.
fn full_backlog() -> std::net::TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket.listen(0).expect("listen");
    socket.into()
}

/// Fills its backlog: from here on the kernel answers no SYN.
fn fill(listener: &std::net::TcpListener) -> Vec<std::net::TcpStream> {
    let address = listener.local_addr().expect("address");
    let connect = || std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)).ok();
    std::iter::from_fn(connect).take(16).collect()
}

/// It is no request, so nothing may be sent that would be taken for the answer to the next one.
#[test]
fn an_empty_line_alone_leaves_a_connection_idle() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("\r\n");
    client.assert_closed();
}

#[test]
fn a_half_closed_client_gets_a_long_answer_whole() {
    let site = Site::new();
    let mut client = site.client_of("hasty");
    client.send("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    client.finish();
    let mut server = site.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    client.head();
    for byte in "hello".bytes() {
        client.assert_silent(); // all in all for longer than the timeout
        server.send([byte]);
        client.expect([byte]);
    }
    client.assert_closed();
}

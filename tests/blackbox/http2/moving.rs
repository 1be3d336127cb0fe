//! Connections that go on in the next generation, with their open streams: no client is told anything.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::http2::client::*;
use crate::support::{Answering, Run, Server, Service, Wire, leave_files, limit_files, signal, socket, wait_for};

const RELOADS: u64 = 3;

fn config(server: SocketAddr) -> String {
    format!(
        "[listen.http]\nh2c = true\n[log]\naccess = 'all'\n[drain]\ntimeout = '8s'\n[site.'a.test']\nto = 'farm'\n[pool.farm]\nservers = ['{server}']\n"
    )
}

fn run(server: &Server) -> (Run, SocketAddr) {
    let (listener, address) = socket();
    (Run::new(&config(server.address)).socket("http", listener), address)
}

/// Reloads once; then one worker is left, within the deadline of every wait, which is far below that of the drain.
#[track_caller]
fn reload(service: &Service<'_>) -> u64 {
    service.reload_anyway();
    service.settled().0
}

/// A client whose tables we use, and which uses ours.
#[track_caller]
fn begin(address: SocketAddr) -> H2 {
    H2::begin(Wire::connect(address), &[(1, 4096)])
}

/// The server has the next request, and its head is this long and starts so.
#[track_caller]
fn asked(server: &Server, line: &str) -> Wire {
    let mut upstream = server.accept();
    let head = upstream.head();
    assert!(head.text().starts_with(line), "{}", head.text());
    upstream
}

/// The client has half of the response to its stream 1.
#[track_caller]
fn half_served(client: &mut H2, server: &Server) -> Wire {
    client.get(1, "a.test", "/open");
    let mut upstream = asked(server, "GET /open ");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    upstream
}

/// It gets the other half, and so has the response whole.
#[track_caller]
fn serve_rest(client: &mut H2, mut upstream: Wire) {
    upstream.send("world");
    assert_eq!(client.response(1).body, b"helloworld");
}

/// The client is told to open no stream more here.
#[track_caller]
fn assert_told(client: &mut H2) {
    let told = client.next(GOAWAY);
    assert_eq!((told.number(), told.code()), (0x7fff_ffff, 0));
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Served: Yes, by one server\r\n\r\nok";

#[test]
fn an_idle_connection_goes_on_over_reloads_with_the_tables_of_both_sides() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    // both fields get a place in the table, which later blocks name by one octet each
    let first =
        [&block(&request("GET", "a.test", "/first"))[..], b"\x40\x03x-a\x05first\x40\x03x-b\x06second"].concat();
    client.send(HEADERS, WHOLE, 1, &first);
    let mut upstream = asked(&server, "GET /first HTTP/1.1\r\n");
    upstream.send(OK);
    assert!(client.response(1).fields.contains("x-served: Yes, by one server\n"));
    for number in 0..RELOADS as u32 {
        assert_eq!(reload(&service), u64::from(number) + 2);
        let stream = 3 + 2 * number;
        client.send(HEADERS, WHOLE, stream, &[&block(&request("GET", "a.test", "/again"))[..], &[0xbf, 0xbe]].concat());
        let mut upstream = server.accept();
        let head = upstream.head();
        assert!(head.text().contains("x-a: first\r\nx-b: second\r\n"), "{}", head.text());
        upstream.send(OK);
        let response = client.response(stream);
        assert_eq!((&response.body[..], response.reset), (&b"ok"[..], None));
        assert!(response.fields.contains("x-served: Yes, by one server\n"), "{}", response.fields);
    }
    client.assert_not_told();
}

#[test]
fn a_frame_and_a_field_block_that_a_reload_cuts_anywhere_go_on() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    client.settle();
    let fields = block(&request("GET", "a.test", "/cut"));
    let (start, end) = fields.split_at(20);
    let request = [frame(HEADERS, 1, 1, start), frame(CONTINUATION, END_HEADERS, 1, end)].concat();
    // inside the head of HEADERS, its payload, between both, inside the second
    for piece in [&request[..5], &request[5..15], &request[15..29], &request[29..40]] {
        client.wire.send(piece);
        reload(&service);
    }
    client.wire.send(&request[40..]);
    asked(&server, "GET /cut HTTP/1.1\r\n").send(OK);
    assert_eq!(client.response(1).body, b"ok");
    client.assert_not_told();
}

#[test]
fn streams_go_on_over_reloads_whatever_they_wait_for_and_keep_no_worker() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    client.get(1, "a.test", "/events");
    let mut events = asked(&server, "GET /events ");
    events.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.get(3, "a.test", "/poll");
    let mut poll = asked(&server, "GET /poll ");
    client.post(5, "a.test", &[("content-length", "31")]);
    let mut upload = asked(&server, "POST / ");
    client.get(7, "a.test", "/download");
    let mut download = asked(&server, "GET /download ");
    download.send("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n");
    for number in 0..RELOADS {
        events.send(format!("8\r\nevent {number}\n\r\n"));
        client.send(DATA, 0, 5, b"upload 10.");
        download.send("0123456789");
        assert_eq!(reload(&service), number + 2);
        assert_eq!(upload.take(10), b"upload 10.");
    }
    client.send(DATA, END_STREAM, 5, b"!");
    assert_eq!(upload.take(1), b"!");
    upload.send(OK);
    assert_eq!(client.response(5).body, b"ok");
    poll.send(OK);
    let response = client.response(3);
    assert_eq!((response.status(), &response.body[..]), ("200", &b"ok"[..]));
    assert_eq!(client.response(7).body, b"0123456789".repeat(RELOADS as usize));
    events.send("0\r\n\r\n");
    let response = client.response(1);
    assert_eq!(response.body, b"event 0\nevent 1\nevent 2\n");
    client.assert_not_told();
    for (target, bytes) in
        [("events", "24 bytes out"), ("poll", "2 bytes out"), ("", "31 in"), ("download", "30 bytes out")]
    {
        let target = format!("a.test/{target} →");
        run.wait_log(&target);
        let log = run.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&target)).collect();
        let is_right = lines.len() == 1 && lines[0].contains("→ 200 from farm/") && lines[0].contains(bytes);
        assert!(is_right, "{lines:?}");
    }
}

#[test]
fn what_a_client_lets_nothing_be_sent_of_goes_on_with_every_byte_and_its_trailers() {
    const LENGTH: usize = 300_000;
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = H2::begin(Wire::connect(address), &[(4, 10)]);
    client.send(HEADERS, WHOLE, 1, &block(&[&request("GET", "a.test", "/slow")[..], &[("te", "trailers")]].concat()));
    let mut upstream = asked(&server, "GET /slow ");
    let sending = std::thread::spawn(move || {
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        for block in 0..LENGTH / 1000 {
            upstream.send([&b"3e8\r\n"[..], &[block as u8; 1000], b"\r\n"].concat());
        }
        upstream.send("0\r\nX-Sum: 12\r\n\r\n");
        upstream
    });
    client.get(3, "nobody.test", "/refused"); // the page of the refusal waits for a window too
    for stream in [1, 3] {
        client.peek(|frame| frame.kind == HEADERS && frame.stream == stream);
    }
    for window in [10_u32, 40_000] {
        reload(&service);
        client.send(WINDOW_UPDATE, 0, 1, &window.to_be_bytes());
    }
    reload(&service);
    client.send(WINDOW_UPDATE, 0, 1, &(LENGTH as u32).to_be_bytes());
    client.send(WINDOW_UPDATE, 0, 0, &(LENGTH as u32).to_be_bytes());
    client.send(WINDOW_UPDATE, 0, 3, &(LENGTH as u32).to_be_bytes());
    let response = client.response(1);
    assert_eq!((response.body.len(), &*response.trailers), (LENGTH, "x-sum: 12\n"));
    assert!(response.body.chunks(1000).enumerate().all(|(number, block)| block == [number as u8; 1000]));
    let refused = client.response(3);
    assert_eq!((refused.status(), refused.reset), ("404", None));
    let length = refused.fields.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    assert_eq!(length, Some(refused.body.len()));
    sending.join().expect("all is sent");
    client.assert_not_told();
}

#[test]
fn the_next_stream_is_served_by_the_new_configuration_and_those_before_by_their_own() {
    let (server, other) = (Server::new(), Answering::start("other"));
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    client.get(1, "a.test", "/before");
    let mut before = asked(&server, "GET /before ");
    before.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    run.configure(&format!(
        "[listen.http]\nh2c = true\nmax_streams = 2\n[site.'a.test']\nto = 'farm'\n[site.'b.test']\nto = 'more'\n\
         [pool.farm]\nservers = ['{}']\n[pool.more]\nservers = ['{}']\n",
        server.address, other.address
    ));
    service.reload_well();
    service.settled();
    client.settle();
    let settings = client.find(|frame| frame.kind == SETTINGS && frame.payload == [0, 3, 0, 0, 0, 2]);
    assert_eq!(settings.flags, 0);
    client.send(SETTINGS, ACK, 0, &[]); // of the first ones
    client.send(SETTINGS, ACK, 0, &[]);
    client.get(3, "b.test", "/after");
    let response = client.response(3);
    assert_eq!((response.status(), response.reset), ("200", None));
    before.send("world");
    assert_eq!(client.response(1).body, b"helloworld");
    client.get(5, "a.test", "/held");
    client.get(7, "a.test", "/held");
    client.get(9, "a.test", "/one-too-many");
    assert_eq!(client.response(9).reset, Some(7));
    client.assert_not_told();
}

#[test]
fn more_streams_than_may_be_opened_from_now_on_go_on_to_their_ends() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    let mut upstreams = Vec::new();
    for number in 0..100 {
        client.get(2 * number + 1, "a.test", "/");
        upstreams.push(asked(&server, "GET / "));
    }
    run.configure(&config(server.address).replace("h2c = true", "h2c = true\nmax_streams = 2"));
    service.reload_well();
    service.settled();
    (0..2).for_each(|_| client.send(SETTINGS, ACK, 0, &[]));
    client.settle();
    reload(&service); // now there is room for two
    for (number, upstream) in upstreams.iter_mut().enumerate() {
        upstream.send(OK);
        assert_eq!(client.response(2 * number as u32 + 1).body, b"ok");
    }
    client.assert_not_told();
}

#[test]
fn a_hundred_streams_move_together_with_their_servers() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    let streams: Vec<u32> = (0..128).map(|number| 2 * number + 1).collect();
    let mut upstreams = Vec::new();
    for stream in &streams {
        client.get(*stream, "a.test", &format!("/{stream}"));
        upstreams.push(asked(&server, &format!("GET /{stream} ")));
    }
    for _ in 0..RELOADS {
        reload(&service);
    }
    for (upstream, stream) in upstreams.iter_mut().zip(&streams) {
        let text = format!("this is {stream}");
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        assert_eq!(client.response(*stream).body, text.as_bytes());
    }
    client.assert_not_told();
}

#[test]
fn a_connection_stays_that_the_next_generation_drops_dead_under() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    let upstream = half_served(&mut client, &server);
    service.reload_anyway();
    signal(service.serving().1, Signal::KILL); // in its probation or just after it
    wait_for("another one", || {
        service.generations().iter().any(|(number, state, _)| *number != 2 && state == "serving").then_some(())
    });
    serve_rest(&mut client, upstream);
    client.assert_not_told();
}

#[test]
fn streams_that_the_next_generation_is_short_of_descriptors_for_go_on_where_they_are_and_move_later() {
    let server = Server::new();
    let (run, address) = run(&server);
    let run = run.argument("--probation=2s");
    let service = run.start();
    let mut client = begin(address);
    let mut upstreams: Vec<_> = (0..20)
        .map(|number| {
            client.get(2 * number + 1, "a.test", "/open");
            let mut upstream = asked(&server, "GET /open ");
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
            upstream
        })
        .collect();
    service.reload_anyway();
    let (number, receiver) = service.serving();
    let before = leave_files(receiver, 8);
    run.wait_log("move-broken");
    for upstream in &mut upstreams {
        upstream.send("0123456789");
    }
    client.get(101, "a.test", "/new");
    let mut new = asked(&server, "GET /new ");
    new.send(OK);
    assert_eq!(client.response(101).body, b"ok");
    limit_files(receiver, before);
    assert_eq!(service.settled().0, number);
    for (stream, mut upstream) in upstreams.into_iter().enumerate() {
        upstream.send("abcdefghij");
        assert_eq!(client.response(2 * stream as u32 + 1).body, b"0123456789abcdefghij");
    }
    client.assert_not_told();
}

#[test]
fn a_client_is_told_to_go_when_the_listener_speaks_no_http_2_any_more() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    client.get(1, "a.test", "/open");
    let mut upstream = asked(&server, "GET /open ");
    run.configure(&config(server.address).replace("h2c = true", ""));
    service.reload_well();
    assert_told(&mut client);
    upstream.send(OK);
    assert_eq!(client.response(1).body, b"ok");
    assert_eq!(client.goes_away(), 0);
    service.settled();
}

#[test]
fn a_connection_moves_with_a_stream_whose_server_is_gone_and_its_next_stream_goes_elsewhere() {
    let (server, other) = (Server::new(), Server::new());
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    let upstream = half_served(&mut client, &server);
    run.configure(&config(other.address));
    service.reload_well();
    assert_eq!(service.settled().0, 2, "one worker is left");
    client.get(3, "a.test", "/next");
    asked(&other, "GET /next ").send(OK);
    assert_eq!(client.response(3).body, b"ok");
    assert_eq!(reload(&service), 3);
    serve_rest(&mut client, upstream);
    client.assert_not_told();
}

#[test]
fn a_client_is_told_to_go_when_the_site_of_a_stream_is_gone_and_the_stream_ends_well() {
    let server = Server::new();
    let (run, address) = run(&server);
    let service = run.start();
    let mut client = begin(address);
    let upstream = half_served(&mut client, &server);
    run.configure(&config(server.address).replace("a.test", "b.test"));
    service.reload_well();
    assert_told(&mut client);
    serve_rest(&mut client, upstream);
    assert_eq!(client.goes_away(), 0);
    service.settled();
}

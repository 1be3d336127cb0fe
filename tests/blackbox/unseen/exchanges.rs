//! Exchanges that a reload finds before their response, or with a part of their request: they go on in the next
//! generation, and keep no worker.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::inside;
use super::responses::reload;
use super::rollback::is_stopped;
use crate::support::{Run, Server, Wire, signal, socket, wait_for};

const RELOADS: u64 = 3;
const GET: &str = "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn config(servers: &[SocketAddr], pool: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|server| format!("'{server}'")).collect();
    let log = "[log]\naccess = 'all'\nrequest_id_in_response = true\nuser_agent = true\n";
    let pool = format!("[pool.farm]\nservers = [{}]\n{pool}\n", servers.join(", "));
    format!("[listen.http]\n{log}[site.'*']\nto = 'farm'\n{pool}")
}

/// A proxy before one server, and a client of it.
struct Bench {
    run: Run,
    address: SocketAddr,
    server: Server,
}

impl Bench {
    fn new(pool: &str) -> Self {
        let (server, (listening, address)) = (Server::new(), socket());
        let run = Run::new(&config(&[server.address], pool)).socket("http", listening);
        Self { run, address, server }
    }

    /// A client that has sent this, and the server that got its head.
    #[track_caller]
    fn asked(&self, request: impl AsRef<[u8]>) -> (Wire, Wire) {
        let mut client = Wire::connect(self.address);
        client.send(request);
        (client, self.server.accept())
    }

    /// The record of a request, which is the only one of it.
    #[track_caller]
    fn record(&self, path: &str) -> String {
        let arrow = format!("{path} →");
        let find = || self.run.log().lines().find(|line| line.contains(&arrow)).map(str::to_owned);
        let record = wait_for("the record", find);
        assert_eq!(self.run.log().matches(&arrow).count(), 1, "one record of one exchange\n{}", self.run.log());
        record
    }
}

/// Both connections serve the next request.
#[track_caller]
fn goes_on(client: &mut Wire, upstream: &mut Wire) {
    client.send("GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(upstream.head().text().starts_with("GET /next "));
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn a_long_poll_goes_on_over_reloads_with_its_id_and_its_record() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) = bench.asked(GET.replace("\r\n\r\n", "\r\nUser-Agent: poller/1\r\n\r\n"));
    let seen = upstream.head();
    let id = seen.field("x-request-id").expect("an id").to_owned();
    for number in 0..RELOADS {
        assert_eq!(reload(&service), number + 2);
        client.assert_silent();
    }
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.head.field("x-request-id"), Some(&*id));
    goes_on(&mut client, &mut upstream);
    let record = bench.record("/wait");
    assert!(record.contains("→ 200 from farm/") && record.contains(" 5 bytes out"), "{record}");
}

#[test]
fn a_head_that_has_come_in_part_behind_informational_ones_is_read_on() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) = bench.asked(GET);
    upstream.head();
    upstream.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(client.head().status(), 103);
    for piece in
        ["HTTP/1.1 10", "3 Early Hints\r\nLink: </b>\r\n", "\r\nHTTP/1.1 200 OK\r\nCont", "ent-Length: 2\r\nX-A"]
    {
        upstream.send(piece);
        reload(&service);
    }
    assert_eq!(client.head().field("link"), Some("</b>"));
    upstream.send(": b\r\n\r\nok");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.head.field("x-a"), &*answer.body), (200, Some("b"), &b"ok"[..]));
    goes_on(&mut client, &mut upstream);
}

#[test]
fn an_upload_by_length_goes_on_over_reloads_with_every_byte() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) =
        bench.asked("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n");
    upstream.head();
    let block = |number: usize| [number as u8; 1000];
    for number in 0..400 {
        client.send(block(number));
        if number % 100 == 50 {
            reload(&service);
        }
        assert_eq!(upstream.take(1000), block(number), "block {number}");
    }
    reload(&service);
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
    goes_on(&mut client, &mut upstream);
    let record = bench.record("/up");
    assert!(record.contains(" 400000 in"), "{record}");
}

#[test]
fn an_upload_whose_server_reads_nothing_goes_on_with_all_that_is_held_of_it() {
    const LENGTH: usize = 24 << 20;
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) =
        bench.asked(format!("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let sending = std::thread::spawn(move || {
        for block in 0..LENGTH / 4096 {
            client.send([block as u8; 4096]);
        }
        client
    });
    upstream.head();
    for number in 0..RELOADS as usize {
        reload(&service);
        for block in number * 256..(number + 1) * 256 {
            assert!(upstream.take(4096).iter().all(|byte| *byte == block as u8), "block {block}");
        }
    }
    for block in RELOADS as usize * 256..LENGTH / 4096 {
        assert!(upstream.take(4096).iter().all(|byte| *byte == block as u8), "block {block}");
    }
    let mut client = sending.join().expect("all is sent");
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn chunks_and_trailers_of_a_request_that_a_reload_cuts_anywhere_go_on() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) = bench.asked(
        "POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\n!\r\n",
    );
    upstream.head();
    let body = "5\r\nhello\r\n0c;name=\"v\"\r\n0123456789ab\r\n1\r\n.\r\n0\r\nX-Sum: 12\r\n\r\n";
    for piece in body.as_bytes().chunks(5) {
        client.send(piece);
        reload(&service);
    }
    let (payload, trailers) = upstream.chunks();
    assert_eq!((&*payload, &*trailers), (&b"!hello0123456789ab."[..], "x-sum: 12\r\n"));
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
    goes_on(&mut client, &mut upstream);
}

#[test]
fn both_directions_go_on_when_the_response_began_before_the_request_was_whole() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) =
        bench.asked("POST /both HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    upstream.head();
    upstream.expect("5\r\nfirst\r\n");
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    for number in 0..RELOADS {
        upstream.send(format!("6\r\ndown {number}\r\n"));
        client.send(format!("4\r\nup {number}\r\n"));
        reload(&service);
        client.expect(format!("6\r\ndown {number}\r\n"));
        upstream.expect(format!("4\r\nup {number}\r\n"));
    }
    client.send("0\r\n\r\n");
    upstream.expect("0\r\n\r\n");
    reload(&service);
    upstream.send("0\r\n\r\n");
    client.expect("0\r\n\r\n");
    client.assert_closed(); // the head of the response came before the request was whole
    let record = bench.record("/both");
    assert!(record.contains(" 17 in") && record.contains(" 18 bytes out"), "{record}");
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on_by_whichever_generation_hears_it() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let request = "PUT /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    // the server says it
    let (mut client, mut upstream) = bench.asked(request);
    reload(&service);
    assert!(upstream.head().has("expect"));
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    client.send("hel");
    upstream.expect("hel");
    reload(&service);
    client.send("lo");
    upstream.expect("lo");
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
    // the server says nothing
    client.send(request);
    upstream.head();
    reload(&service);
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    upstream.expect("hello");
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn a_request_whose_server_dies_after_a_move_is_sent_again_where_that_is_safe() {
    let (servers, (listening, address)) = ([Server::new(), Server::new()], socket());
    let run = Run::new(&config(&[servers[0].address, servers[1].address], "")).socket("http", listening);
    let service = run.start();
    let accept = || {
        wait_for("a request at one of the servers", || {
            servers.iter().position(|server| server.is_waited_at()).map(|index| (index, servers[index].accept()))
        })
    };
    for (request, is_safe) in [
        ("GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n", true),
        ("PUT /again HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", true),
        ("POST /once HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", false),
    ] {
        let mut client = Wire::connect(address);
        client.send(request);
        let (first, mut upstream) = accept();
        let body = request.rsplit("\r\n").next().expect("a body");
        upstream.head();
        upstream.expect(body);
        reload(&service);
        drop(upstream);
        if !is_safe {
            assert_eq!(client.answer().status(), 502);
            continue;
        }
        let (second, mut upstream) = accept();
        assert_ne!(first, second, "the other server");
        upstream.head();
        upstream.expect(body);
        reload(&service);
        upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status(), 204);
    }
    run.wait_log("/once → 502");
    let log = run.log();
    let again: Vec<_> = log.lines().filter(|line| line.contains("/again →")).collect();
    assert_eq!(again.len(), 2, "{log}");
    assert!(again.iter().all(|line| line.contains("closed the connection")), "{again:#?}");
}

#[test]
fn an_exchange_whose_connection_is_still_being_opened_is_dispatched_by_the_next_generation() {
    let (listener, (listening, address)) = (FullListener::new(), socket());
    let run = Run::new(&config(&[listener.address], "connect_timeout = '15s'")).socket("http", listening);
    let service = run.start();
    let mut client = Wire::connect(address);
    client.send("PUT /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel");
    client.assert_silent();
    reload(&service);
    client.send("lo");
    let mut upstream = listener.open();
    upstream.head();
    upstream.expect("hello");
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn deadlines_go_on_over_reloads_and_do_not_begin_anew() {
    let (server, full, (listening, address)) = (Server::new(), FullListener::new(), socket());
    let times = "header_timeout = '3s'\nbody_timeout = '3s'\nhalf_close_timeout = '3s'\n";
    let config = config(&[server.address], "response_timeout = '3s'\nretries = 0");
    let slow = format!("[site.'slow']\nto = ['{}']\nconnect_timeout = '3s'\nretries = 0\n", full.address);
    let config = config.replace("[log]", &format!("{times}[log]")) + &slow;
    let run = Run::new(&config).socket("http", listening);
    let service = run.start();
    let mut clients = Vec::new();
    for (request, status) in [
        (GET, 504),
        ("GET / HTTP/1.1\r\nHost: slow\r\n\r\n", 504),
        ("GET / HTTP/1.1\r\nHost:", 408),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel", 408),
    ] {
        let mut client = Wire::connect(address);
        client.send(request);
        clients.push((request, Some(status), client));
    }
    let mut silent = Wire::connect(address);
    silent.send("GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut upstreams = [server.accept(), server.accept(), server.accept()];
    for upstream in &mut upstreams {
        if upstream.head().text().starts_with("GET /silent ") {
            upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
        }
    }
    silent.head();
    silent.expect("hel");
    clients.push(("a silent body", None, silent));
    let mut finished = Wire::connect(address);
    finished.send("GET /finished HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut upstream = server.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    finished.head();
    finished.finish();
    clients.push(("a client that sends no more", None, finished));
    // a reload takes less than each timeout, so one that began anew would go on so for ever
    for reloads in 0.. {
        let waiting: Vec<_> = clients.iter().filter(|one| one.2.is_silent()).map(|one| one.0).collect();
        if waiting.is_empty() {
            break;
        }
        assert!(reloads < 40, "{waiting:?} are not ended");
        reload(&service);
    }
    for (request, status, mut client) in clients {
        match status {
            Some(status) => assert_eq!(client.answer().status(), status, "{request:?}"),
            None => assert!(client.rest().0.is_empty(), "{request}"),
        }
    }
}

#[test]
fn a_worker_that_dies_while_exchanges_come_to_it_takes_with_it_no_more_than_it_has() {
    const MANY: usize = 60;
    let bench = Bench::new("");
    let run = &bench.run;
    let service = run.start();
    for death in 0..4_u32 {
        let mut open: Vec<_> = (0..MANY).map(|_| bench.asked(GET)).collect();
        open.iter_mut().for_each(|(_, upstream)| drop(upstream.head()));
        let (giver, _) = service.settled();
        service.reload_anyway();
        let (number, receiver) = service.serving();
        run.wait_log(&format!("Generation {giver} drains"));
        let until = Instant::now() + death * Duration::from_millis(2);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        signal(receiver, Signal::STOP);
        wait_for("the worker to be stopped", || is_stopped(receiver).then_some(()));
        let held = inside::connections(receiver, &[bench.address]);
        signal(receiver, Signal::KILL);
        wait_for("the next worker", || (service.serving().0 > number).then_some(()));
        service.settled();
        let mut lost = 0;
        for (client, upstream) in &mut open {
            let answered = upstream.try_send(NO_CONTENT).is_ok() && client.head_or_end().is_some();
            lost += usize::from(!answered);
        }
        assert!(lost <= held, "{lost} of {MANY} are lost, and it had {held}");
    }
}

#[test]
fn a_client_that_closed_its_sending_side_gets_its_response_from_the_next_generation() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) = bench.asked(GET);
    upstream.head();
    client.finish();
    for _ in 0..RELOADS {
        reload(&service);
    }
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    client.assert_closed();
}

#[test]
fn a_connection_that_its_server_authenticates_moves_with_the_request_that_is_on_it() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) = bench.asked(GET);
    upstream.head();
    let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\n";
    upstream.send(challenge);
    upstream.send("no");
    assert_eq!(client.answer().status(), 401);
    for _ in 0..2 {
        client.send(GET);
        upstream.head();
        reload(&service); // before the head
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        client.head();
        client.expect("ab");
        reload(&service); // inside the body
        upstream.send("cd");
        client.expect("cd");
        reload(&service); // idle
    }
    let (mut other, mut connection) = bench.asked(GET);
    connection.head();
    connection.send(NO_CONTENT);
    assert_eq!(other.answer().status(), 204, "which must not get that connection");
    goes_on(&mut client, &mut upstream);
}

#[test]
fn an_upgrade_that_waits_for_101_goes_on_and_becomes_a_tunnel() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut client, mut upstream) =
        bench.asked("GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    upstream.head();
    reload(&service);
    upstream.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    assert_eq!(client.head().field("upgrade"), Some("websocket"));
    client.expect("hello");
    client.send("up");
    upstream.expect("up");
    reload(&service);
    upstream.send("down");
    client.expect("down");
}

#[test]
fn an_exchange_moves_whose_server_the_reload_takes_away_and_ends_whole() {
    let (bench, other) = (Bench::new(""), Server::new());
    let service = bench.run.start();
    let (mut client, mut upstream) = bench.asked(GET);
    upstream.head();
    bench.run.configure(&config(&[other.address], ""));
    service.reload_well();
    assert_eq!(service.settled().0, 2);
    other.assert_untouched_for(3); // what waits is looked after each second, and could be sent there too
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
    client.send("GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut upstream = other.accept();
    upstream.head();
    upstream.send(NO_CONTENT);
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn exchanges_go_on_where_they_are_when_the_next_generation_dies_or_proves_bad() {
    let bench = Bench::new("");
    let service = bench.run.start();
    let (mut poller, mut to_poller) = bench.asked(GET);
    to_poller.head();
    let (mut uploader, mut to_uploader) =
        bench.asked("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello");
    to_uploader.head();
    for _ in 0..3 {
        let serving = service.serving().0;
        service.reload_anyway();
        signal(service.serving().1, Signal::KILL); // in its probation
        wait_for("another one", || {
            let all = service.generations();
            all.iter().any(|(number, state, _)| *number != serving + 1 && state == "serving").then_some(())
        });
    }
    reload(&service);
    to_poller.send(NO_CONTENT);
    assert_eq!(poller.answer().status(), 204);
    uploader.send("world");
    to_uploader.expect("helloworld");
    to_uploader.send(NO_CONTENT);
    assert_eq!(uploader.answer().status(), 204);
}

/// A listener whose backlog is full: the kernel drops what asks to connect, so a connection to it is opened only after
/// room was made.
struct FullListener {
    listener: TcpListener,
    address: SocketAddr,
    fillers: Vec<TcpStream>,
}

impl FullListener {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("bind");
        socket.listen(0).expect("listen");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("an address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let fillers: Vec<_> = std::iter::from_fn(|| connect().ok()).take(16).collect();
        assert!(fillers.len() < 16, "the backlog is not bounded");
        Self { listener, address, fillers }
    }

    /// Makes room, and gives the connection that was waited for.
    fn open(self) -> Wire {
        let own: Vec<_> = self.fillers.iter().map(|one| one.local_addr().expect("an address")).collect();
        loop {
            let (stream, peer) = self.listener.accept().expect("a connection");
            if !own.contains(&peer) {
                return Wire::new(stream);
            }
        }
    }
}

//! Connections with TLS over reloads: their clients see nothing of it, and no record number is used twice.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::support::sealed::assert_no_number_twice;
use crate::support::{Answering, Run, Service, socket, wait_for};
use crate::unseen::inside::wait_dormant;

const RELOADS: u64 = 3;
const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A service with TLS, and what its clients need.
pub(super) struct Scene {
    pub(super) address: SocketAddr,
    pub(super) roots: Arc<RootCertStore>,
    files: tempfile::TempDir,
    pub(super) run: Run,
}

impl Scene {
    pub(super) fn new(server: SocketAddr) -> Self {
        let (files, (listening, address)) = (tempfile::tempdir().expect("a directory"), socket());
        let mut roots = RootCertStore::empty();
        for host in ["a.test", "b.test"] {
            roots.add(issue(&files.path().join(host), host)).expect("a root");
        }
        let run = Run::new(&config(&files, server, "b.test")).socket("https", listening);
        let numbers = files.path().join("numbers");
        let run = run.variable("SEGUE_SEALED_NUMBERS", numbers.to_str().expect("text"));
        Self { address, roots: roots.into(), files, run }
    }

    fn client(&self, version: &'static rustls::SupportedProtocolVersion) -> Tls {
        self.client_of("a.test", version)
    }

    fn client_of(&self, host: &str, version: &'static rustls::SupportedProtocolVersion) -> Tls {
        let socket = TcpStream::connect(self.address).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
        tls_client(socket, self.roots.clone(), host, version)
    }

    /// How many numbers were sealed so far; none of them twice.
    #[track_caller]
    pub(super) fn assert_no_number_twice(&self) -> usize {
        assert_no_number_twice(self.files.path())
    }
}

fn config(files: &tempfile::TempDir, server: SocketAddr, second: &str) -> String {
    let path = files.path().display();
    format!(
        "[listen.https]\ntls = true\n[log]\naccess = 'all'\n[drain]\ntimeout = '5s'\n[site.'a.test']\nto = 'farm'\ntls = '{path}/a.test'\n\
         [site.'{second}']\nto = 'farm'\ntls = '{path}/b.test'\n[pool.farm]\nservers = ['{server}']\n"
    )
}

/// Reloads once; then one worker is left, within the deadline of every wait, which is far below that of the drain.
#[track_caller]
pub(super) fn reload(service: &Service<'_>) {
    service.reload_anyway();
    service.settled();
}

#[track_caller]
fn exchange(client: &mut Tls) -> String {
    exchange_with(client, "a.test")
}

#[track_caller]
fn exchange_with(client: &mut Tls, host: &str) -> String {
    write!(client, "GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("written");
    read_until(client, "itself")
}

#[test]
fn idle_connections_move_with_either_version_and_keys_that_change_before_and_after() {
    let server = Answering::start("itself");
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    let mut clients = VERSIONS.map(|version| scene.client(version));
    clients.iter_mut().for_each(|client| drop(exchange(client)));
    for _ in 0..RELOADS {
        for client in &mut clients {
            if client.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                client.conn.refresh_traffic_keys().expect("a KeyUpdate");
                client.flush().expect("written");
            }
        }
        reload(&service);
        for client in &mut clients {
            let response = exchange(client);
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && !response.contains("close"), "{response}");
        }
    }
    assert!(scene.assert_no_number_twice() >= 2 * (RELOADS as usize + 1));
}

#[test]
fn dormant_connections_go_on_with_their_keys_here_and_after_reloads() {
    let server = Answering::start("itself");
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    let mut clients = VERSIONS.map(|version| scene.client(version));
    clients.iter_mut().for_each(|client| drop(exchange(client)));
    for round in 0..3 {
        wait_dormant(service.settled().1, clients.len());
        for client in &mut clients {
            if client.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                client.conn.refresh_traffic_keys().expect("a KeyUpdate");
            }
            let response = exchange(client);
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && !response.contains("close"), "{response}");
        }
        if round == 1 {
            wait_dormant(service.settled().1, clients.len());
            reload(&service);
        }
    }
    assert!(scene.assert_no_number_twice() >= 8);
}

#[test]
fn connections_whose_client_hello_is_not_whole_keep_no_worker_and_their_handshake_goes_on() {
    let server = Answering::start("itself");
    let scene = Scene::new(server.address);
    let patient = config(&scene.files, server.address, "b.test");
    let patient = patient.replace("tls = true\n", "tls = true\nhandshake_timeout = '2m'\n").replace("'5s'", "'2m'");
    scene.run.configure(&patient);
    let service = scene.run.start();
    for version in VERSIONS {
        let mut begun: Vec<_> = [0, 3, 100, usize::MAX]
            .map(|cut| {
                let mut client = scene.client(version);
                let mut hello = Vec::new();
                client.conn.write_tls(&mut hello).expect("a vector");
                let rest = hello.split_off(cut.min(hello.len() - 1));
                client.sock.write_all(&hello).expect("written");
                (client, rest)
            })
            .into();
        reload(&service);
        let (mut later, hello) = begun.remove(0);
        later.sock.write_all(&hello[..3]).expect("written"); // and it waits once more
        reload(&service);
        begun.push((later, hello[3..].to_vec()));
        for (mut client, rest) in begun {
            client.sock.write_all(&rest).expect("written");
            let response = exchange(&mut client);
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && !response.contains("close"), "{response}");
        }
    }
    let gone = scene.client(&rustls::version::TLS13);
    reload(&service);
    drop(gone); // without a word
    wait_for("its end", || (service.status()["connections"]["open"] == 0).then_some(()));
}

#[test]
fn a_handshake_that_moves_has_no_more_time_than_it_had() {
    let scene = Scene::new(Answering::start("itself").address);
    let hasty = config(&scene.files, scene.address, "b.test");
    scene.run.configure(&hasty.replace("tls = true\n", "tls = true\nhandshake_timeout = '6s'\n"));
    let service = scene.run.start();
    let (mut client, began) = (scene.client(&rustls::version::TLS13), std::time::Instant::now());
    while began.elapsed() < Duration::from_secs(5) {
        reload(&service);
    }
    reload(&service);
    assert_eq!(client.sock.read(&mut [0; 16]).expect("the end, in time"), 0);
    assert!(began.elapsed() < Duration::from_secs(10), "it has as much time again: {:?}", began.elapsed());
    scene.run.wait_log("the handshake did not end in time");
}

#[test]
fn a_record_that_came_by_half_before_a_reload_is_opened_after_it() {
    let server = Answering::start("itself");
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    for version in VERSIONS {
        for cut in [3, 5, 20] {
            let mut client = scene.client(version);
            exchange(&mut client);
            let mut sealed = Vec::new();
            client.conn.writer().write_all(GET.as_bytes()).expect("taken");
            client.conn.write_tls(&mut sealed).expect("a vector");
            client.sock.write_all(&sealed[..cut]).expect("written");
            reload(&service);
            client.sock.write_all(&sealed[cut..]).expect("written");
            read_until(&mut client, "itself");
        }
    }
    scene.assert_no_number_twice();
}

#[test]
fn tunnels_and_responses_under_way_move_with_tls() {
    let server = Server::new();
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    for version in VERSIONS {
        let mut tunnel = scene.client(version);
        write!(tunnel, "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .expect("written");
        let mut behind = server.accept();
        behind.head();
        behind.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        read_until(&mut tunnel, "\r\n\r\n");
        let mut stream = scene.client(version);
        stream.write_all(GET.as_bytes()).expect("written");
        let mut events = server.accept();
        events.head();
        events.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        read_until(&mut stream, "\r\n\r\n");
        for number in 0..RELOADS {
            reload(&service);
            tunnel.write_all(b"up").expect("written");
            behind.expect("up");
            behind.send(format!("down {number}"));
            read_until(&mut tunnel, &format!("down {number}"));
            events.send(format!("7\r\nevent {number}\r\n"));
            read_until(&mut stream, &format!("event {number}\r\n"));
        }
        events.send("0\r\n\r\n");
        read_until(&mut stream, "0\r\n\r\n");
    }
    scene.assert_no_number_twice();
}

#[test]
fn a_download_over_tls_goes_on_with_every_byte_although_its_client_reads_nothing_meanwhile() {
    const LENGTH: usize = 8 << 20;
    let server = Server::new();
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    for version in VERSIONS {
        let mut client = scene.client(version);
        client.write_all(GET.as_bytes()).expect("written");
        let mut behind = server.accept();
        behind.head();
        behind.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let sending = std::thread::spawn(move || {
            (0..LENGTH / 4096).for_each(|block| behind.send([block as u8; 4096]));
            behind
        });
        let mut head = vec![0; 4096];
        let read = client.read(&mut head).expect("a head");
        let end = head[..read].windows(4).position(|end| end == b"\r\n\r\n").expect("all of it") + 4;
        let mut body = head[end..read].to_vec();
        for _ in 0..RELOADS {
            reload(&service);
            let mut more = vec![0; 300_000];
            client.read_exact(&mut more).expect("more");
            body.extend_from_slice(&more);
        }
        let mut rest = vec![0; LENGTH - body.len()];
        client.read_exact(&mut rest).expect("the rest");
        body.extend_from_slice(&rest);
        assert!(body.chunks(4096).enumerate().all(|(block, bytes)| bytes.iter().all(|byte| *byte == block as u8)));
        drop(sending.join().expect("all is sent"));
    }
    scene.assert_no_number_twice();
}

#[test]
fn clients_of_a_site_that_is_gone_are_told_to_close_and_others_move() {
    let server = Answering::start("itself");
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    let (mut stays, mut moves) = (scene.client_of("b.test", VERSIONS[1]), scene.client(VERSIONS[1]));
    exchange_with(&mut stays, "b.test");
    exchange(&mut moves);
    scene.run.configure(&config(&scene.files, server.address, "c.test"));
    service.reload_well();
    scene.run.wait_log("drains");
    assert!(!exchange(&mut moves).contains("close"));
    // when is spread over the time of the drain
    wait_for("the last answer", || exchange_with(&mut stays, "b.test").contains("connection: close").then_some(()));
    assert_eq!(stays.read(&mut [0; 1]).expect("close_notify"), 0);
    service.settled();
    assert!(!exchange(&mut moves).contains("close"));
}

//! HTTP/2 over TLS: by ALPN, and over reloads.

use super::client_certificates::{REQUIRED, SERIAL, Scene as MutualScene};
use super::moves::{Scene, reload};
use super::*;
use crate::http2::client::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WHOLE, block, frame, request};

const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The next frame: kind, flags, stream, payload.
#[track_caller]
fn next(client: &mut Tls) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    client.read_exact(&mut head).expect("a frame");
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    client.read_exact(&mut payload).expect("its payload");
    assert!(![GOAWAY, RST_STREAM].contains(&kind), "told to go: {payload:?}");
    (kind, flags, u32::from_be_bytes(stream), payload)
}

/// Reads frames until this stream has had this much of its body.
#[track_caller]
fn until(client: &mut Tls, stream: u32, body: &str) {
    let mut got = Vec::new();
    while got != body.as_bytes() {
        let (kind, _, of, payload) = next(client);
        if kind == DATA && of == stream {
            got.extend_from_slice(&payload);
        }
    }
}

#[test]
fn http_2_is_chosen_by_alpn_and_its_open_streams_move_with_the_connection() {
    let server = Server::new();
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    for version in VERSIONS {
        let socket = TcpStream::connect(scene.address).expect("connect");
        let mut client = alpn_client(socket, scene.roots.clone(), "a.test", version, &ALPN);
        let headers = |stream: u32| {
            let mut fields = request("GET", "a.test", "/events");
            fields[1].1 = "https";
            frame(HEADERS, WHOLE, stream, &block(&fields))
        };
        let start = [&segue::http2::frame::PREFACE[..], &frame(SETTINGS, 0, 0, &[]), &headers(1)].concat();
        client.write_all(&start).expect("written");
        assert_eq!(client.conn.alpn_protocol(), Some(&b"h2"[..]));
        let mut events = server.accept();
        assert!(events.head().text().contains("\r\nx-forwarded-proto: https\r\n"));
        events.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..3 {
            events.send(format!("7\r\nevent {number}\r\n"));
            until(&mut client, 1, &format!("event {number}"));
            reload(&service);
        }
        client.write_all(&headers(3)).expect("written");
        let mut other = server.accept();
        other.head();
        other.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
        until(&mut client, 3, "other");
        events.send("4\r\nlast\r\n0\r\n\r\n");
        until(&mut client, 1, "last");
    }
    scene.assert_no_number_twice();
}

#[test]
fn a_certificate_for_one_site_counts_for_no_other_one_whose_streams_come_over_the_same_connection() {
    let scene = MutualScene::new(REQUIRED);
    let _service = scene.run.start();
    let shown = scene.authority.issue("the client", SERIAL);
    let mut config = ClientConfig::clone(&scene.config(VERSIONS[1], &shown));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let ask = |client: &mut Tls, stream: u32, host: &str, more: &[(&str, &str)]| {
        let mut fields = request("GET", host, "/x");
        fields[1].1 = "https";
        fields.extend_from_slice(more);
        client.write_all(&frame(HEADERS, WHOLE, stream, &block(&fields))).expect("written");
    };
    let start = [&segue::http2::frame::PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat();
    let mut client = scene.connect(&config, "a.test");
    client.write_all(&start).expect("written");
    let forged = [("x-ssl-client-verify", "SUCCESS"), ("client-cert", ":AAAA:")];
    for (stream, host, is_told) in [(1, "a.test", true), (3, "b.test", false), (5, "a.test", true)] {
        ask(&mut client, stream, host, &forged);
        let mut server = scene.server.accept();
        let told = server.head().text().to_owned();
        assert_eq!(told.matches("x-ssl-client-verify: SUCCESS").count(), usize::from(is_told), "{told}");
        assert_eq!(told.contains("x-ssl-client-cn: the client"), is_told, "{told}");
        assert!(!told.contains(":AAAA:"), "{told}");
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nother");
        until(&mut client, stream, "other");
    }
    let mut client = scene.connect(&config, "b.test");
    client.write_all(&start).expect("written");
    ask(&mut client, 1, "a.test", &[]);
    while !matches!(next(&mut client), (DATA, flags, 1, _) if flags & END_STREAM != 0) {}
    scene.run.wait_log("a.test/x → 421");
    scene.server.assert_untouched();
}

#[test]
fn a_client_that_chose_http_2_and_speaks_http_1_is_told_that_this_is_no_preface() {
    let setup = Setup::new("");
    let mut client = alpn_client(setup.socket(), setup.roots.clone(), "a.test", VERSIONS[1], &ALPN);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("written");
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got); // with a reset or without
    let is_goaway = |window: &[u8]| window[0] == GOAWAY && window[1..6] == [0; 5];
    assert!(got.windows(6).any(is_goaway) && !got.starts_with(b"HTTP/1.1"), "{got:?}");
    setup.server.assert_untouched();
}

#[test]
fn a_listener_without_http_2_offers_http_1_alone() {
    let setup = Setup::new("h2 = false");
    let mut client = alpn_client(setup.socket(), setup.roots.clone(), "a.test", VERSIONS[1], &ALPN);
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("written");
    assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut server = setup.server.accept();
    server.head();
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    read_until(&mut client, "hello");
}

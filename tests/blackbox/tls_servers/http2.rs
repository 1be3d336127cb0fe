//! HTTP/2 over TLS to servers.

use segue::http2::frame::PREFACE;
use segue::http2::hpack::{HpackDecoder, Strings};

use super::*;
use crate::http2::client::{ACK, DATA, END_STREAM, HEADERS, SETTINGS, WHOLE, block, frame};

/// The end of a connection that a server has.
struct Frames {
    tls: Tls,
    decoder: HpackDecoder,
}

impl TlsServer {
    /// From now on it takes these protocols.
    fn take_protocols(&mut self, protocols: &[&str]) {
        let mut config = (*self.config).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self.config = config.into();
    }
}

impl Frames {
    #[track_caller]
    fn accept(server: &TlsServer) -> Self {
        let mut tls = server.accept();
        let mut preface = [0; PREFACE.len()];
        tls.read_exact(&mut preface).expect("a preface");
        assert_eq!(&preface, PREFACE);
        tls.write_all(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).expect("written"); // no table
        Self { tls, decoder: HpackDecoder::new(4096) }
    }

    #[track_caller]
    fn next(&mut self, wanted: u8) -> (u8, u32, Vec<u8>) {
        loop {
            let mut head = [0; 9];
            self.tls.read_exact(&mut head).expect("a frame");
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.tls.read_exact(&mut payload).expect("its payload");
            if kind == wanted && (kind, flags) != (SETTINGS, ACK) {
                return (flags, u32::from_be_bytes(stream), payload);
            }
        }
    }

    /// The next request: its stream and fields.
    #[track_caller]
    fn request(&mut self) -> (u32, String) {
        let (_, stream, payload) = self.next(HEADERS);
        let mut text = String::new();
        let take = |name: &[u8], value: &[u8]| {
            text.push_str(&format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        };
        self.decoder.decode(&payload, &mut Strings::default(), take).expect("a field block");
        (stream, text)
    }

    #[track_caller]
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.tls.write_all(&frame(kind, flags, stream, payload)).expect("written");
    }
}

#[test]
fn http_2_over_tls_is_agreed_on_and_requests_share_the_connection() {
    for version in VERSIONS {
        let authority = Authority::new();
        let mut server = authority.server(&[OWN], &[version]);
        server.take_protocols(&["http/1.1", "h2"]);
        let proxy = Proxy::start(&config(&authority, &format!("h2s://{}", server.address()), ""));
        let (mut one, mut two) = (proxy.client(), proxy.client());
        one.send(get("/one"));
        let mut frames = Frames::accept(&server);
        assert_eq!(frames.tls.conn.alpn_protocol(), Some(&b"h2"[..]));
        let (first, fields) = frames.request();
        assert!(fields.starts_with(":method: GET\n:scheme: https\n:authority: a.test\n:path: /one\n"), "{fields}");
        two.send(get("/two"));
        let (second, _) = frames.request();
        for (client, stream, body) in [(&mut two, second, b"two"), (&mut one, first, b"one")] {
            frames.send(HEADERS, 4, stream, &block(&[(":status", "200"), ("content-length", "3")]));
            frames.send(DATA, END_STREAM, stream, body);
            assert_eq!(client.answer().body, body);
        }
        assert!(!server.server.is_waited_at(), "one connection for both");
    }
}

#[test]
fn large_bodies_go_both_ways_over_http_2_and_tls() {
    const MORE: [u8; 4] = [0x7f, 0, 0, 0];
    let body = "0123456789abcdef".repeat(50_000);
    let authority = Authority::new();
    let mut server = authority.server(&[OWN], &VERSIONS);
    server.take_protocols(&["h2"]);
    let proxy = Proxy::start(&config(&authority, &format!("h2s://{}", server.address()), ""));
    let mut client = proxy.client();
    client.send(format!("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut frames = Frames::accept(&server);
            let (stream, _) = frames.request();
            frames.send(8, 0, 0, &MORE);
            frames.send(8, 0, stream, &MORE);
            let mut got = Vec::new();
            loop {
                let (flags, _, data) = frames.next(DATA);
                got.extend(data);
                if flags & END_STREAM != 0 {
                    break;
                }
            }
            assert!(got == body.as_bytes());
            frames.send(HEADERS, 4, stream, &block(&[(":status", "200")]));
            let (mut window, mut left) = (0x1_0000_usize, body.as_bytes());
            while !left.is_empty() {
                if window == 0 {
                    let (_, of, by) = frames.next(8);
                    if of == stream {
                        window += u32::from_be_bytes(by.try_into().expect("four octets")) as usize;
                    }
                    continue;
                }
                let (now, rest) = left.split_at(left.len().min(window).min(16_384));
                frames.send(DATA, if rest.is_empty() { END_STREAM } else { 0 }, stream, now);
                (window, left) = (window - now.len(), rest);
            }
        });
        client.send(&body);
        assert_eq!(client.head().status(), 200);
        assert!(client.chunks().0 == body.as_bytes());
    });
}

#[test]
fn a_server_that_does_not_take_http_2_is_a_502_that_says_so() {
    let authority = Authority::new();
    let mut server = authority.server(&[OWN], &VERSIONS);
    for protocols in [&["http/1.1"][..], &[]] {
        server.take_protocols(protocols);
        let config = config(&authority, &format!("h2s://{}", server.address()), "retries = 0\n");
        assert_refused(&config, &server, 502, "the server does not take HTTP/2 (ALPN)");
    }
}

#[test]
fn what_is_offered_goes_by_the_address_of_each_server() {
    let authority = Authority::new();
    let (old, mut new) = (authority.server(&[OWN], &VERSIONS), authority.server(&[OWN], &VERSIONS));
    new.take_protocols(&["h2"]);
    let both = format!("https://{}\", \"h2s://{}", old.address(), new.address());
    let proxy = Proxy::start(&config(&authority, &both, ""));
    let mut clients = [proxy.client(), proxy.client()];
    clients[0].send(get("/"));
    let mut tls = old.accept();
    answer(&mut tls);
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    clients[1].send(get("/"));
    let mut frames = Frames::accept(&new);
    let (stream, _) = frames.request();
    frames.send(HEADERS, WHOLE, stream, &block(&[(":status", "204")]));
    assert_eq!(clients.each_mut().map(|client| client.head().status()), [200, 204]);
}

#[test]
fn a_server_is_asked_for_its_health_over_http_2_and_tls() {
    let authority = Authority::new();
    let mut server = authority.server(&[OWN], &VERSIONS);
    server.take_protocols(&["h2"]);
    let more = "check = \"grpc\"\ncheck_interval = \"100ms\"\n";
    let (listening, _) = socket();
    let run = Run::new(&config(&authority, &format!("h2s://{}", server.address()), more)).socket("http", listening);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut frames = Frames::accept(&server);
            let (stream, fields) = frames.request();
            assert!(fields.contains(":scheme: https\n"), "{fields}");
            assert!(fields.contains(":path: /grpc.health.v1.Health/Check\n"), "{fields}");
            frames.send(HEADERS, 4, stream, &block(&[(":status", "200"), ("content-type", "application/grpc")]));
            frames.send(DATA, 0, stream, b"\0\0\0\0\x02\x08\x01");
            frames.send(HEADERS, WHOLE, stream, &block(&[("grpc-status", "0")]));
            let _ = frames.tls.read(&mut [0; 1]); // it stays until the answer is read
        });
        let service = run.start();
        let is_up = || service.status().to_string().contains("health SERVING").then_some(());
        wait_for("a good check", is_up);
    });
}

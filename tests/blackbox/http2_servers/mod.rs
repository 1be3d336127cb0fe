//! HTTP/2 to servers, which write and read every frame by themselves.

mod abuse;
mod bodies;
mod connections;
mod grpc;
mod messages;
mod moving;
mod tunnels;

use crate::http2::client::{ACK, GOAWAY, H2, HEADERS, PING, SETTINGS, WHOLE, block};
use crate::support::{Proxy, Server, Wire};

/// SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_STREAMS: u16 = 3;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;

/// A proxy with servers of HTTP/2 behind it.
struct Setup {
    proxy: Proxy,
    servers: Vec<Server>,
}

impl Setup {
    fn new() -> Self {
        Self::with(1, "")
    }

    /// So many servers, and keys of their pool.
    fn with(servers: usize, keys: &str) -> Self {
        let servers: Vec<_> = (0..servers).map(|_| Server::new()).collect();
        let list: Vec<_> = servers.iter().map(|server| format!("\"h2://{}\"", server.address)).collect();
        let config = format!("[listen.http]\nh2c = true\n[site.\"a.test\"]\nto = [{}]\n{keys}\n", list.join(", "));
        Self { proxy: Proxy::start(&config), servers }
    }

    /// A client of HTTP/1.
    fn client(&self) -> Wire {
        self.proxy.client().of_host("a.test")
    }

    /// A client of HTTP/2.
    fn h2(&self) -> H2 {
        H2::begin(self.proxy.client(), &[])
    }

    /// The next connection to the only server, which says these settings.
    #[track_caller]
    fn accept(&self, settings: &[(u16, u32)]) -> H2 {
        H2::accept(self.servers[0].accept(), settings)
    }
}

/// What a server does.
trait ServerSide {
    /// The next request: its stream and fields.
    fn request(&mut self) -> (u32, String);
    /// Answers with a head and no body.
    fn answer(&mut self, stream: u32, status: &str);
    /// Sends a head that ends nothing.
    fn head(&mut self, stream: u32, fields: &[(&str, &str)]);
    /// Says that streams above this number are not served.
    fn go_away(&mut self, last: u32);
}

impl ServerSide for H2 {
    #[track_caller]
    fn request(&mut self) -> (u32, String) {
        let head = self.next(HEADERS);
        (head.stream, self.fields(&head.payload))
    }

    #[track_caller]
    fn answer(&mut self, stream: u32, status: &str) {
        self.send(HEADERS, WHOLE, stream, &block(&[(":status", status)]));
    }

    #[track_caller]
    fn head(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, 4, stream, &block(fields));
    }

    #[track_caller]
    fn go_away(&mut self, last: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    }
}

#[test]
fn a_connection_begins_as_that_of_a_client_does() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut server = setup.accept(&[]);
    let settings = server.next(SETTINGS);
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 2, 0, 0, 0, 0]), "no push");
    server.find(|frame| frame.kind == SETTINGS && frame.flags == ACK);
    server.send(PING, 0, 0, b"whatever");
    server.find(|frame| frame.kind == PING && frame.flags == ACK && frame.payload == b"whatever");
    let (stream, fields) = server.request();
    assert_eq!(stream, 1);
    assert!(fields.starts_with(":method: GET\n:scheme: http\n:authority: a.test\n:path: /\n"), "{fields}");
    server.answer(1, "204");
    assert_eq!(client.head().status(), 204);
}

#[test]
fn a_server_that_speaks_http_1_is_found_out() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut server = setup.servers[0].accept();
    server.take(24);
    server.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(client.head().status(), 502);
}

//! What has TLS to a server goes on over reloads.

use super::*;
use crate::support::Service;
use crate::support::sealed::assert_no_number_twice;

const RELOADS: usize = 5;
/// Bytes of one piece of a body: more than one record.
const PIECE: usize = 40_000;

/// A service whose workers note every number that they seal.
struct Scene {
    authority: Authority,
    server: TlsServer,
    address: SocketAddr,
    run: Run,
}

impl Scene {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let authority = Authority::new();
        let server = authority.server(&[OWN, "app.test"], &[version]);
        let (listening, address) = socket();
        let numbers = authority.files.path().join("numbers");
        let run = Run::new(&Self::config_with(&authority, &server, "")).socket("http", listening);
        let run = run.variable("SEGUE_SEALED_NUMBERS", numbers.to_str().expect("text"));
        Self { authority, server, address, run }
    }

    fn config_with(authority: &Authority, server: &TlsServer, more: &str) -> String {
        let more = format!("keep_alive = \"60s\"\n{more}[worker]\nthreads = 1\n");
        config(authority, &format!("https://{}", server.address()), &more)
    }

    fn configure(&self, more: &str) {
        self.run.configure(&Self::config_with(&self.authority, &self.server, more));
    }

    /// A client that has sent this, and the server's side of it.
    fn open(&self, request: &str) -> (Wire, Tls) {
        let mut client = Wire::connect(self.address);
        client.send(request);
        let mut server = self.server.accept();
        read_until(&mut server, "\r\n\r\n");
        (client, server)
    }

    #[track_caller]
    fn assert_no_number_twice(&self) {
        assert_no_number_twice(self.authority.files.path());
    }
}

/// Reloads once; then one worker is left, within the deadline of every wait, which is far below that of the drain.
#[track_caller]
fn reload(service: &Service<'_>) {
    service.reload_anyway();
    service.settled();
}

fn piece(seed: usize, number: usize) -> Vec<u8> {
    (0..PIECE).map(|at| (at * 7 + seed * 31 + number * 101 + at / 251) as u8).collect()
}

#[track_caller]
fn take(server: &mut Tls, want: &[u8]) {
    let mut got = vec![0; want.len()];
    server.read_exact(&mut got).expect("bytes");
    assert!(got == want, "other bytes than those that were sent");
}

#[test]
fn responses_uploads_and_websockets_over_tls_to_a_server_go_on_over_reloads() {
    for version in VERSIONS {
        let scene = Scene::new(version);
        let service = scene.run.start();
        let (mut down, mut down_server) = scene.open(&get("/down"));
        let length = RELOADS * PIECE;
        write!(down_server, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").expect("written");
        let upload = format!("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n");
        let (mut up, mut up_server) = scene.open(&upload);
        let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
        let (mut socket, mut socket_server) = scene.open(&format!("GET /ws HTTP/1.1\r\nHost: a.test\r\n{upgrade}\r\n"));
        write!(socket_server, "HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n").expect("written");
        assert_eq!(socket.head().status(), 101);
        let (mut poll, mut poll_server) = scene.open(&get("/poll"));
        down.head();
        for number in 0..RELOADS {
            let (first, second) = (piece(1, number), piece(2, number));
            down_server.write_all(&first[..PIECE / 2]).expect("written");
            up.send(&second[..PIECE / 2]);
            socket_server.write_all(b"before").expect("written");
            socket.send("BEFORE");
            if version == &rustls::version::TLS13 {
                down_server.conn.refresh_traffic_keys().expect("a KeyUpdate");
                socket_server.conn.refresh_traffic_keys().expect("a KeyUpdate");
            }
            reload(&service);
            down_server.write_all(&first[PIECE / 2..]).expect("written");
            up.send(&second[PIECE / 2..]);
            socket_server.write_all(b"after").expect("written");
            socket.send("AFTER");
            down.expect(&first);
            take(&mut up_server, &second);
            socket.expect("beforeafter");
            take(&mut socket_server, b"BEFOREAFTER");
        }
        for (client, server) in [(&mut up, &mut up_server), (&mut poll, &mut poll_server)] {
            server.write_all(OK).expect("written");
            assert_eq!(client.answer().text(), "ok");
        }
        down.send(get("/next"));
        assert!(!scene.server.server.is_waited_at(), "the connections are kept");
        drop((down, socket));
        scene.assert_no_number_twice();
    }
}

#[test]
fn a_connection_that_moved_is_kept_unless_other_servers_are_believed_now() {
    for (more, is_kept) in [("", true), ("tls_server_name = \"app.test\"\n", false)] {
        let scene = Scene::new(&rustls::version::TLS13);
        let service = scene.run.start();
        let (mut client, mut server) = scene.open(&get("/"));
        scene.configure(more);
        reload(&service);
        server.write_all(OK).expect("written");
        assert_eq!(client.answer().status(), 200);
        client.send(get("/again"));
        if !is_kept {
            server = scene.server.accept();
        }
        assert!(answer(&mut server).starts_with("GET /again "));
        assert_eq!(client.answer().status(), 200);
        assert_eq!(server.conn.server_name(), (!is_kept).then_some("app.test"));
    }
}

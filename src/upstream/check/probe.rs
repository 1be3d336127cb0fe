//! One check of one server: connect, send the request, read the head of the response, report the finding.
//!
//! hyper's client speaks HTTP here, and not the code that relays traffic: a check is no client's request, and a
//! defect of the one must not look like a fault of the servers.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::{CheckFault, MAX_HEAD};
use super::http2;
use crate::config::{Address, CheckKind, PoolSettings, ServerScheme, scheme};
use crate::net::Stream;
use crate::pool::health::{CheckVerdict, Finding};
use crate::pool::{Addresses, Server};
use crate::upstream::connect::{self, Faults};
use crate::upstream::send_proxy;

/// The request to one server, made once.
#[derive(Debug)]
pub(super) struct Probe {
    timeout: Duration,
    /// `None`: an accepted connection is enough.
    request: Option<Request<String>>,
    /// HTTP/2 is spoken.
    is_http2: bool,
    /// The answer is one of the health protocol of gRPC.
    is_health: bool,
    /// White space may stand before a colon; LF may end a line in any case.
    is_lenient: bool,
    /// The header of the PROXY protocol.
    header: Option<Vec<u8>>,
}

const MAX_FIELDS: usize = 128;

impl Probe {
    /// The probe for the server of this name in a pool with these settings.
    pub(super) fn new(settings: &PoolSettings, server: &str) -> Self {
        let (scheme, address) = scheme(server);
        let host = settings.check_host.as_deref().unwrap_or(match scheme {
            _ if address.starts_with("unix:") => "localhost", // a path is no host
            ServerScheme::Https | ServerScheme::H2s => address.strip_suffix(":443").unwrap_or(address),
            ServerScheme::Http | ServerScheme::H2 => address,
        });
        let request = match &settings.check {
            None | Some(CheckKind::Connect) => None,
            Some(CheckKind::Http { method, path }) => Some(request(method, path, host)),
            Some(CheckKind::Grpc { service }) => Some(http2::question(host, service)),
        };
        let is_health = matches!(settings.check, Some(CheckKind::Grpc { .. }));
        let header = settings.send_proxy.map(|version| send_proxy::header(version, None));
        let (timeout, is_lenient) = (settings.check_timeout, settings.lenient);
        Self { timeout, request, is_http2: scheme.is_http2(), is_health, is_lenient, header }
    }

    /// Makes the check: of each address of the server, until one is good, which is tried first from then on. Takes at
    /// most its timeout, and [`PATIENCE`] for the end of the connection.
    pub(super) async fn run(&self, server: &Server, addresses: &Addresses<'_>) -> Finding {
        let started = Instant::now();
        let ask = |address| self.ask(server, address, started + self.timeout);
        let good = connect::first(addresses, self.timeout, ask).await;
        let took = started.elapsed();
        let (verdict, detail) = match good {
            Ok((address, good)) => {
                connect::answered(server, address);
                (CheckVerdict::Good, good.end().await)
            }
            Err(faults) => judge(&faults),
        };
        Finding { verdict, detail, took }
    }

    /// Asks at one address.
    async fn ask(&self, server: &Server, address: Address, deadline: Instant) -> Result<PassedCheck, CheckFault> {
        let connected = timeout_at(deadline, connect::stream(server, &address, self.header.as_deref())).await;
        let stream = connected.map_err(|_| CheckFault::NotConnected(self.timeout))??;
        let Some(request) = &self.request else { return Ok(PassedCheck::Connected) };
        if self.is_http2 {
            let answered = timeout_at(deadline, http2::ask(stream, request.clone(), self.is_health)).await;
            return match answered.map_err(|_| CheckFault::Silent(self.timeout))?? {
                200 if self.is_health => Ok(PassedCheck::Serving),
                status @ 200..400 if !self.is_health => Ok(PassedCheck::Answered(status)),
                status => Err(CheckFault::Status(status)),
            };
        }
        let answered = timeout_at(deadline, ask(stream, request.clone(), self.is_lenient)).await;
        match answered.map_err(|_| CheckFault::Silent(self.timeout))?? {
            (status @ 200..400, stream) => Ok(PassedCheck::Status(status, stream)),
            (status, mut stream) => {
                let_end(&mut stream).await;
                Err(CheckFault::Status(status))
            }
        }
    }
}

/// The response of a server that is well.
enum PassedCheck {
    Connected,
    Status(u16, Stream),
    /// Over HTTP/2.
    Answered(u16),
    /// By the health protocol of gRPC.
    Serving,
}

impl PassedCheck {
    /// In words, once the connection has ended.
    async fn end(self) -> Cow<'static, str> {
        match self {
            Self::Connected => "connected".into(),
            Self::Serving => "health SERVING".into(),
            Self::Answered(status) => format!("status {status}").into(),
            Self::Status(status, mut stream) => {
                let_end(&mut stream).await;
                format!("status {status}").into()
            }
        }
    }
}

fn request(method: &str, path: &str, host: &str) -> Request<String> {
    let mut request = Request::new(String::new());
    // the configuration has neither another method nor another host
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    *request.uri_mut() = target(path);
    let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("localhost"));
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("segue-check"));
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

/// The path as a request target. The configuration takes every visible character; those that RFC 3986 §2 does not
/// permit, and that [`Uri`] may refuse, are percent-encoded.
fn target(path: &str) -> Uri {
    let target = PathAndQuery::try_from(path).or_else(|_| {
        let encode = |byte: char| match byte {
            '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' => format!("%{:02X}", u32::from(byte)),
            byte => byte.to_string(),
        };
        PathAndQuery::try_from(path.chars().map(encode).collect::<String>())
    });
    target.map_or_else(|_| Uri::from_static("/"), Uri::from)
}

/// Sends the request; returns the status of the response after interim ones (1xx), and the stream with the rest.
async fn ask(stream: Stream, request: Request<String>, is_lenient: bool) -> Result<(u16, Stream), CheckFault> {
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true).max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
    builder.allow_spaces_after_header_name_in_responses(is_lenient);
    let (mut sender, mut connection) = builder.handshake(TokioIo::new(stream)).await.map_err(CheckFault::of_http1)?;
    let mut response = pin!(sender.send_request(request));
    let mut has_ended = false;
    let answered = poll_fn(|cx| {
        // when the connection ends, the response has the reason
        has_ended = has_ended || connection.poll_without_shutdown(cx).is_ready();
        response.as_mut().poll(cx)
    });
    let status = answered.await.map_err(CheckFault::of_http1)?.status().as_u16();
    Ok((status, connection.into_parts().io.into_inner()))
}

/// Lets the server finish: a close with its bytes unread would reset the connection, and fill its log with errors.
async fn let_end(stream: &mut Stream) {
    let end = async {
        let mut rest = [0; 4096];
        for _ in 0..64 {
            if !matches!(stream.read(&mut rest).await, Ok(1..)) {
                return;
            }
        }
    };
    // a connection that stays open longer is no fault: the verdict is made
    let _ = timeout(PATIENCE, end).await;
}

/// How long a server may take to end the connection after its answer.
const PATIENCE: Duration = Duration::from_millis(100);

/// A server that could not be asked has no finding: a lack of resources on this machine must not make all servers
/// look dead.
fn judge(faults: &Faults<CheckFault>) -> (CheckVerdict, Cow<'static, str>) {
    let is_ours = |(address, fault): &(Address, CheckFault)| matches!(fault, CheckFault::Socket(fault) if connect::lacks(fault, address));
    let verdict = if faults.iter().all(is_ours) { CheckVerdict::Nothing } else { CheckVerdict::Bad };
    (verdict, connect::joined(faults, ToString::to_string).into())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rustix::io::Errno;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, UnixListener};

    use super::*;
    use crate::pool::Pool;
    use crate::pool::tests::{checked, server, settings};

    /// Makes the check of a server at a fixed address.
    async fn run(probe: &Probe, address: &Address) -> Finding {
        let pool = Pool::new(settings(vec![server("10.0.0.1:80", 1)]), std::time::SystemTime::UNIX_EPOCH);
        probe.run(&pool.servers[0], &Addresses::Fixed(address)).await
    }

    fn http(method: &str) -> CheckKind {
        CheckKind::Http { method: method.to_owned(), path: "/health?full".to_owned() }
    }

    async fn listener() -> (TcpListener, Address) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        (listener, Address::Ip(address))
    }

    async fn read_head(stream: &mut tokio::net::TcpStream) -> String {
        let mut head = BytesMut::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.expect("read"), 0);
        }
        String::from_utf8(head.to_vec()).expect("text")
    }

    /// The finding when the server sends these bytes and closes.
    async fn found(answer: &[u8]) -> (CheckVerdict, String) {
        let (listener, address) = listener().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            read_head(&mut stream).await;
            stream.write_all(answer).await.expect("write");
        };
        let probe = Probe::new(&checked(http("GET")), "app");
        let (finding, ()) = tokio::join!(run(&probe, &address), serve);
        (finding.verdict, finding.detail.into_owned())
    }

    #[tokio::test]
    async fn the_status_decides() {
        for (status, verdict) in [
            (200, CheckVerdict::Good),
            (204, CheckVerdict::Good),
            (302, CheckVerdict::Good),
            (399, CheckVerdict::Good),
            (400, CheckVerdict::Bad),
            (404, CheckVerdict::Bad),
            (503, CheckVerdict::Bad),
            (999, CheckVerdict::Bad),
        ] {
            let answer = format!("HTTP/1.1 {status} Some Reason\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(found(answer.as_bytes()).await, (verdict, format!("status {status}")));
        }
        let switched =
            found(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n").await;
        assert_eq!(switched, (CheckVerdict::Bad, "status 101".to_owned()));
        let old = found(b"HTTP/1.0 200\r\n\r\n").await;
        assert_eq!(old, (CheckVerdict::Good, "status 200".to_owned()));
    }

    #[tokio::test]
    async fn interim_answers_are_passed_over() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 No\r\n\r\n";
        assert_eq!(found(answer).await, (CheckVerdict::Bad, "status 500".to_owned()));
    }

    #[tokio::test]
    async fn what_is_no_http_answer_is_bad_and_says_why() {
        let too_long = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; MAX_HEAD]].concat();
        for (answer, detail) in [
            (b"".as_slice(), "connection closed without an answer"),
            (b"HTTP/1.1 20", "connection closed without an answer"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "answer is not HTTP"),
            (b"\x16\x03\x01\0\x02", "answer is not HTTP"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "answer is not HTTP"),
            (&too_long, "head of the answer is longer than 16384 bytes"),
        ] {
            assert_eq!(found(answer).await, (CheckVerdict::Bad, detail.to_owned()));
        }
    }

    #[tokio::test]
    async fn the_request_names_the_server_and_asks_to_close() {
        let (listener, address) = listener().await;
        let probe = Probe::new(&checked(http("HEAD")), "10.0.0.1:80");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let head = read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("write");
            head
        };
        let (finding, head) = tokio::join!(run(&probe, &address), serve);
        assert_eq!(finding.verdict, CheckVerdict::Good);
        assert_eq!(
            head,
            "HEAD /health?full HTTP/1.1\r\nHost: 10.0.0.1:80\r\nUser-Agent: segue-check\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn every_path_of_the_configuration_is_a_request_target() {
        for byte in (b'!'..=b'~').filter(|byte| *byte != b'#') {
            let path = format!("/a{0}b?c{0}d", char::from(byte));
            let target = target(&path).to_string();
            let encoded = path.replace(char::from(byte), &format!("%{byte:02X}"));
            assert!(target == path || target == encoded, "{path} became {target}");
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_bad_after_the_timeout() {
        let (_listener, address) = listener().await;
        let mut check = checked(http("GET"));
        check.check_timeout = Duration::from_millis(50);
        let finding = run(&Probe::new(&check, "app"), &address).await;
        assert_eq!(finding.verdict, CheckVerdict::Bad);
        assert_eq!(finding.detail, "no answer within 50ms");
        assert!(finding.took >= check.check_timeout, "{:?}", finding.took);
    }

    #[tokio::test]
    async fn a_server_that_stops_inside_the_head_is_bad_after_the_timeout() {
        let (listener, address) = listener().await;
        let mut check = checked(http("GET"));
        check.check_timeout = Duration::from_millis(50);
        let probe = Probe::new(&check, "app");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.expect("write");
            stream
        };
        let (finding, _stream) = tokio::join!(run(&probe, &address), serve);
        assert_eq!(finding.detail, "no answer within 50ms");
    }

    #[tokio::test]
    async fn a_server_that_keeps_the_connection_open_is_good_all_the_same() {
        let (listener, address) = listener().await;
        let probe = Probe::new(&checked(http("GET")), "app");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
            stream.write_all(answer).await.expect("write");
            stream
        };
        let started = Instant::now();
        let (finding, _stream) = tokio::join!(run(&probe, &address), serve);
        assert_eq!(finding.verdict, CheckVerdict::Good);
        let waited = started.elapsed() - finding.took;
        assert!(waited >= PATIENCE, "the wait for the end is not the server's time: {waited:?}");
    }

    #[tokio::test]
    async fn a_server_sees_its_answer_read_to_the_end() {
        let (listener, address) = listener().await;
        let probe = Probe::new(&checked(http("GET")), "app");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let answer = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'x'; 50_000]].concat();
            read_head(&mut stream).await;
            stream.write_all(&answer).await.expect("write");
            stream.shutdown().await.expect("FIN");
            stream.read(&mut [0; 1]).await
        };
        let (finding, end) = tokio::join!(run(&probe, &address), serve);
        assert_eq!(finding.detail, "status 200");
        assert_eq!(end.expect("no reset"), 0);
    }

    #[tokio::test]
    async fn a_reset_is_bad() {
        let (listener, address) = listener().await;
        let probe = Probe::new(&checked(http("GET")), "app");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            read_head(&mut stream).await;
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
        };
        let (finding, ()) = tokio::join!(run(&probe, &address), serve);
        assert_eq!((finding.verdict, &*finding.detail), (CheckVerdict::Bad, "connection reset"));
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let (listener, address) = listener().await;
        drop(listener);
        for kind in [CheckKind::Connect, http("GET")] {
            let finding = run(&Probe::new(&checked(kind), "app"), &address).await;
            assert_eq!((finding.verdict, &*finding.detail), (CheckVerdict::Bad, "connection refused"));
        }
    }

    #[tokio::test]
    async fn an_accepted_connection_is_enough_for_a_connect_check() {
        let (_listener, address) = listener().await;
        let finding = run(&Probe::new(&checked(CheckKind::Connect), "app"), &address).await;
        assert_eq!((finding.verdict, &*finding.detail), (CheckVerdict::Good, "connected"));
    }

    #[tokio::test]
    async fn unix_sockets_are_checked_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app.sock");
        let address = Address::Unix(path.clone());
        let probe = Probe::new(&checked(http("GET")), &address.to_string());
        assert!(probe.request.as_ref().is_some_and(|request| request.headers()[HOST] == "localhost"));
        assert_eq!(run(&probe, &address).await.detail, "no socket at this path");

        let listener = UnixListener::bind(&path).expect("bind");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("write");
            stream
        };
        let (finding, _stream) = tokio::join!(run(&probe, &address), serve);
        assert_eq!(finding.detail, "status 200");
    }

    #[test]
    fn what_this_machine_lacks_says_nothing_of_the_server() {
        let address = || Address::Ip("127.0.0.1:80".parse().expect("an address"));
        let verdict = |errno: Errno| judge(&vec![(address(), CheckFault::Socket(errno.into()))]).0;
        assert_eq!(verdict(Errno::MFILE), CheckVerdict::Nothing);
        assert_eq!(verdict(Errno::ADDRNOTAVAIL), CheckVerdict::Nothing);
        assert_eq!(verdict(Errno::CONNREFUSED), CheckVerdict::Bad);
        assert_eq!(verdict(Errno::HOSTUNREACH), CheckVerdict::Bad);
        let mixed = [Errno::MFILE, Errno::CONNREFUSED].map(|errno| (address(), CheckFault::Socket(errno.into())));
        assert_eq!(judge(&mixed.into()).0, CheckVerdict::Bad);
        assert_eq!(super::super::fault::in_words(&Errno::PROTO.into()), "Protocol error");
    }
}

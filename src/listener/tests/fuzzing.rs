//! A client connection under any bytes at any time, with a paused clock: it ends, and what it writes is HTTP/1, or HTTP/2
//! after the preface of that.
//!
//! The input is what the client sends. The octet 255 is followed by an operation, see [`Operation`].

use std::cell::OnceCell;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::http2::frame::{FrameHead, FrameKind, HEAD, MAX_FRAME, PREFACE};

use super::support::{Answers, Fixture, forget, requests, short};
use crate::listener::connection::ClientConnection;
use crate::listener::kind::Kind;
use crate::net::Stream;
use crate::observe::end::Reason;
use crate::proxy::Client;

/// The most octets that the client takes of the responses.
const MOST_READ: u64 = 256 * 1024;
/// Longer than every timeout of the listener together.
const EVER: Duration = Duration::from_secs(3600);

/// What a client does beside sending.
enum Operation {
    /// It sends what stood before, and does nothing for so long.
    Pause(Duration),
    /// It takes so many octets at most.
    Read(usize),
    /// The responses that wait are given.
    Go,
    /// It sends no more.
    Finish,
    /// It goes away, with a reset if octets are unread.
    Leave,
}

impl Operation {
    fn of(octet: u8) -> Self {
        match octet {
            0..=99 => Self::Pause(Duration::from_millis(1 << (octet % 20))),
            100..=199 => Self::Read(usize::from(octet - 99) * 512),
            200..=219 => Self::Go,
            220..=239 => Self::Finish,
            _ => Self::Leave,
        }
    }
}

/// Serves one connection.
pub fn connection(data: &[u8]) {
    if memchr::memmem::find(data, b"panic").is_some() {
        return; // the service panics at that path
    }
    thread_local! {
        static RUNTIME: OnceCell<(tokio::runtime::LocalRuntime, Fixture)> = const { OnceCell::new() };
    }
    RUNTIME.with(|cell| {
        let (runtime, fixture) = cell.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build_local(tokio::runtime::LocalOptions::default())
                .expect("a runtime");
            let fixture = runtime.block_on(async { Fixture::with(short) });
            (runtime, fixture)
        });
        runtime.block_on(serve(fixture, data));
    });
}

async fn serve(fixture: &Fixture, data: &[u8]) {
    forget();
    let (server, mut client) = UnixStream::pair().expect("a socket pair");
    let peer = Client::new(fixture.thread.timer_wheel.timer(), &fixture.thread.clients, 0, None);
    let permit = fixture.limits.take_anyway();
    let (thread, stream) = (&fixture.thread, Stream::Unix(server));
    let served = ClientConnection::<Answers>::new(thread, peer, Kind::Http(0), stream, b"", permit);
    let served = tokio::task::spawn_local(served);
    let mut output = Vec::new();
    let stays = act(fixture, &mut client, data, &mut output).await;
    if stays {
        let mut rest = (&mut client).take(MOST_READ);
        let read = tokio::time::timeout(EVER, rest.read_to_end(&mut output)); // a reset is an end too
        let read = tokio::select! {
            read = read => read,
            () = keep_going(fixture) => unreachable!("it goes on for ever"),
        };
        let is_tunnel = || memchr::memmem::find(&output, b"HTTP/1.1 101 ").is_some();
        assert!(read.is_ok() || is_tunnel(), "the connection waits for ever");
    }
    drop(client);
    let over = tokio::select! {
        over = tokio::time::timeout(EVER, served) => over,
        () = keep_going(fixture) => unreachable!("it goes on for ever"),
    };
    over.expect("the connection ends").expect("without a panic");
    assert_ne!(fixture.end().await.reason, Reason::Internal);
    if data.starts_with(PREFACE) {
        forget();
        is_http2(&output);
    } else {
        is_http(&output);
    }
}

/// Reads frames: each is one that a server may send.
fn is_http2(mut output: &[u8]) {
    while let Some(head) = FrameHead::read(output) {
        let Some(rest) = output.get(HEAD + head.len..) else { return };
        assert!(head.len <= MAX_FRAME, "{head:?}");
        let is_of_stream = match head.kind.expect("a type that is known") {
            FrameKind::Data | FrameKind::Headers | FrameKind::Continuation | FrameKind::RstStream => true,
            FrameKind::Settings | FrameKind::Ping | FrameKind::GoAway => false,
            FrameKind::WindowUpdate => head.stream != 0,
            other => panic!("{other:?}"),
        };
        assert_eq!(is_of_stream, head.stream % 2 == 1, "{head:?}");
        output = rest;
    }
}

/// Gives every response that waits, the one of the next request too.
async fn keep_going(fixture: &Fixture) {
    loop {
        fixture.go();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Whether the client is still there at the end.
async fn act(fixture: &Fixture, client: &mut UnixStream, data: &[u8], output: &mut Vec<u8>) -> bool {
    let mut parts = data.split(|&octet| octet == 255);
    let mut text = parts.next().unwrap_or_default();
    loop {
        let sent = tokio::time::timeout(EVER, client.write_all(text));
        if !matches!(sent.await, Ok(Ok(()))) {
            return true; // the connection was closed; what it said can still be read
        }
        let Some(part) = parts.next() else { return true };
        let (operation, rest) =
            part.split_first().map_or((Operation::Go, part), |(octet, rest)| (Operation::of(*octet), rest));
        text = rest;
        match operation {
            Operation::Pause(pause) => tokio::time::sleep(pause).await,
            Operation::Read(most) => {
                let read = (&mut *client).take(most as u64);
                let mut read = std::pin::pin!(read);
                let _ = tokio::time::timeout(Duration::from_millis(1), read.read_buf(output)).await;
            }
            Operation::Go => fixture.go(),
            Operation::Finish => drop(client.shutdown().await),
            Operation::Leave => return false,
        }
    }
}

/// Reads the responses to the requests that the service saw.
fn is_http(mut output: &[u8]) {
    let mut requests = requests().into_iter();
    while !output.is_empty() {
        let Some(end) = memchr::memmem::find(output, b"\r\n\r\n") else { return };
        let head = std::str::from_utf8(&output[..end]).expect("a head");
        output = &output[end + 4..];
        let status = head.strip_prefix("HTTP/1.1 ").expect(head).get(..3).expect(head);
        if status == "100" {
            continue;
        }
        if status == "101" {
            return; // whatever the tunnel carries
        }
        let request = requests.next().unwrap_or_default(); // a refused one is not seen
        let fields: Vec<_> = head.lines().skip(1).map(|line| line.split_once(": ").expect(head)).collect();
        let of =
            |name: &str| fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        let length: usize = of("content-length").expect(head).parse().expect(head);
        if request.starts_with("HEAD ") {
            continue;
        }
        if output.len() < length {
            return; // it was cut, or not read
        }
        output = &output[length..];
        if of("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            assert!(output.is_empty(), "after the last response: {}", output.escape_ascii());
        }
    }
}

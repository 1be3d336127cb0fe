//! Against the crate `h2` as the server: whatever the sizes of bodies, pieces and windows, both sides have the same messages.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::UnixStream;

use super::{SharedConnections, UpstreamStream};
use crate::http1::response::Asked;
use crate::message::body::{Demand, Piece};
use crate::net::Stream;
use crate::pool::Pool;
use crate::pool::tests::{server, settings};
use crate::timer::TimerWheel;

/// Numbers that look like chance, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

fn octets(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|place| (seed + place * 7) as u8).collect()
}

/// A server that sends the body of each request back after one of its own, with the length of both as a trailer.
async fn serve(socket: UnixStream, window: u32, streams: u32) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(window).max_concurrent_streams(streams);
    let mut connection = builder.handshake::<_, Bytes>(socket).await.expect("a handshake");
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.expect("a request");
        tokio::task::spawn_local(async move {
            let own: usize = request.headers()["x-own"].to_str().expect("text").parse().expect("a number");
            let mut body = request.into_body();
            let mut send = respond.send_response(Response::new(()), false).expect("open");
            give(&mut send, octets(own, own)).await;
            let mut came = 0;
            while let Some(data) = body.data().await {
                let data = data.expect("data");
                came += data.len();
                body.flow_control().release_capacity(data.len()).expect("capacity");
                give(&mut send, data.to_vec()).await;
            }
            let trailers = body.trailers().await.expect("trailers").unwrap_or_default();
            let mut last = HeaderMap::new();
            last.insert("x-length", HeaderValue::from(own + came));
            last.extend(trailers);
            send.send_trailers(last).expect("open");
        });
    }
}

async fn give(send: &mut h2::SendStream<Bytes>, data: Vec<u8>) {
    let mut rest = Bytes::from(data);
    while !rest.is_empty() {
        send.reserve_capacity(rest.len());
        let room = poll_fn(|cx| send.poll_capacity(cx)).await.expect("open").expect("room");
        send.send_data(rest.split_to(room.min(rest.len())), false).expect("open");
    }
}

/// Sends a request with a body that is framed as said, in pieces, and gives what came back.
async fn ask(
    mut stream: UpstreamStream,
    own: usize,
    body: &[u8],
    framing: usize,
    mut dice: Dice,
) -> (Vec<u8>, HeaderMap) {
    let field =
        if framing == 0 { format!("content-length: {}", body.len()) } else { "transfer-encoding: chunked".to_owned() };
    let head = format!("POST /p HTTP/1.1\r\nhost: a.test\r\nx-own: {own}\r\n{field}\r\n\r\n");
    poll_fn(|cx| stream.poll_write_head(cx, head.as_bytes())).await.expect("open");
    let mut wire = Vec::new();
    match framing {
        0 => wire.extend_from_slice(body),
        _ => {
            let mut rest = body;
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((1 + dice.below(5_000)).min(rest.len()));
                wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
                rest = behind;
            }
            let trailers = if framing == 2 { "0\r\nx-sent: yes\r\n\r\n" } else { "0\r\n\r\n" };
            wire.extend_from_slice(trailers.as_bytes());
        }
    }
    let (mut sent, mut came, mut trailers, mut has_head) = (0, Vec::new(), HeaderMap::new(), false);
    poll_fn(|cx| {
        loop {
            let mut is_stuck = true;
            if sent < wire.len() {
                let most = (1 + dice.below(20_000)).min(wire.len() - sent);
                match stream.write(&wire[sent..sent + most]) {
                    Ok(written) => (sent, is_stuck) = (sent + written, false),
                    Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                        is_stuck = stream.poll_write_ready(cx).is_pending();
                    }
                    Err(fault) => panic!("{fault}"),
                }
            }
            if !has_head {
                if let Poll::Ready(head) = stream.poll_head(cx, Asked::default()) {
                    assert_eq!(head.expect("a head").status, 200);
                    (has_head, is_stuck) = (true, false);
                }
            } else {
                let demand = if dice.below(2) == 0 { Demand::Little } else { Demand::Much };
                match stream.poll_body(cx, demand) {
                    Poll::Ready(Some(Ok(Piece::Data(data)))) => {
                        came.extend_from_slice(&data);
                        is_stuck = false;
                    }
                    Poll::Ready(Some(Ok(Piece::Trailers(map)))) => (trailers, is_stuck) = (map, false),
                    Poll::Ready(Some(Err(fault))) => panic!("{fault}"),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if is_stuck {
                return Poll::Pending;
            }
        }
    })
    .await;
    assert!(stream.is_whole() && sent == wire.len());
    (came, trailers)
}

async fn take(shared: &SharedConnections, pool: &Pool) -> UpstreamStream {
    loop {
        if let Some(stream) = shared.take(&pool.servers[0]) {
            return stream;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "local")]
async fn both_sides_have_the_same_messages() {
    let pool = Pool::new(settings(vec![server("h2://127.0.0.1:1", 1)]), std::time::SystemTime::UNIX_EPOCH);
    let timer_wheel = TimerWheel::new();
    tokio::task::spawn_local(timer_wheel.clone().run());
    for (seed, window, streams) in [(1, 1, 3), (2, 100, 1), (3, 16_384, 10), (4, 65_535, 100), (5, 1 << 20, 4)] {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        tokio::task::spawn_local(serve(theirs, window, streams));
        let shared = Rc::new(SharedConnections::default());
        let version = pool.servers[0].address_version();
        drop(shared.put(Stream::Unix(ours), None, version, Duration::from_secs(60), &timer_wheel));
        let done = Rc::new(RefCell::new(0));
        let mut dice = Dice(seed);
        let most = if window < 1000 { 3_000 } else { 300_000 };
        for number in 0..12 {
            let (own, len, framing) = (dice.below(most), dice.below(most), number % 3);
            let (stream, done) = (take(&shared, &pool).await, done.clone());
            tokio::task::spawn_local(async move {
                let body = octets(number, len);
                let (came, trailers) = ask(stream, own, &body, framing, Dice(seed + number as u64)).await;
                assert!(came == [octets(own, own), body].concat(), "{seed} {number}");
                assert_eq!(trailers["x-length"], (own + len).to_string().as_str());
                assert_eq!(trailers.contains_key("x-sent"), framing == 2);
                *done.borrow_mut() += 1;
            });
        }
        let all = async {
            while *done.borrow() < 12 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("every exchange ends");
        assert_eq!(shared.len(), 1);
    }
}

// The first one took each window whole, and the others had none of it until its body was sent.
#[tokio::test(flavor = "local")]
async fn uploads_share_a_window_of_the_connection_that_is_too_small_for_all() {
    const STREAMS: usize = 6;
    const LENGTH: usize = 300_000;
    let pool = Pool::new(settings(vec![server("h2://127.0.0.1:1", 1)]), std::time::SystemTime::UNIX_EPOCH);
    let timer_wheel = TimerWheel::new();
    tokio::task::spawn_local(timer_wheel.clone().run());
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let came = Rc::new(RefCell::new([0; STREAMS]));
    tokio::task::spawn_local(count(theirs, came.clone()));
    let shared = Rc::new(SharedConnections::default());
    let version = pool.servers[0].address_version();
    drop(shared.put(Stream::Unix(ours), None, version, Duration::from_secs(60), &timer_wheel));
    for number in 0..STREAMS {
        let stream = take(&shared, &pool).await;
        tokio::task::spawn_local(async move {
            ask(stream, number, &octets(number, LENGTH), 0, Dice(number as u64)).await;
        });
    }
    let first = async {
        loop {
            let came = *came.borrow();
            if came.contains(&LENGTH) {
                return came;
            }
            tokio::task::yield_now().await;
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(60), first).await.expect("one ends");
    assert!(came.iter().all(|came| *came > LENGTH / 2), "{came:?}");
}

/// A server with large windows of streams, and a small one for all of them.
async fn count(socket: UnixStream, counted: Rc<RefCell<[usize; 6]>>) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(65_535);
    let mut connection = builder.handshake::<_, Bytes>(socket).await.expect("a handshake");
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.expect("a request");
        let counted = counted.clone();
        tokio::task::spawn_local(async move {
            let number: usize = request.headers()["x-own"].to_str().expect("text").parse().expect("a number");
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                let data = data.expect("data");
                counted.borrow_mut()[number] += data.len();
                body.flow_control().release_capacity(data.len()).expect("capacity");
            }
            respond.send_response(Response::new(()), true).expect("open");
        });
    }
}

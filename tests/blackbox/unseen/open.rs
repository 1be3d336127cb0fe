//! Many exchanges that are open over many reloads, in every stage: each lasts for several of them, and every byte is
//! compared.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::responses::reload;
use crate::support::{DEADLINE, Run, Wire, socket};

const CLIENTS: u64 = 66;
const RELOADS: u64 = 12;
/// Ticks that one exchange lasts.
const LASTS: u64 = 4;
/// Bytes of one piece of a body.
const PIECE: usize = 20_000;

/// Counts up before each reload. Clients and servers wait for it between two pieces, so that pieces pass while the
/// connections move.
#[derive(Default)]
struct Ticks {
    now: Mutex<u64>,
    changed: Condvar,
}

impl Ticks {
    fn now(&self) -> u64 {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, to: u64) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }

    #[track_caller]
    fn wait(&self, tick: u64) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(now, DEADLINE, |now| *now < tick);
        assert!(!waited.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "tick {tick} does not come");
    }
}

/// The bytes of a piece: no two pieces of one body are the same, nor any two bodies.
fn piece(seed: u64, number: u64) -> Vec<u8> {
    let mut state = (seed << 20 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(PIECE).collect()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// One exchange of a client. The seed is in the target.
fn ask(client: &mut Wire, kind: u64, seed: u64, ticks: &Ticks) {
    let first = ticks.now();
    let head = |kind: &str, fields: &str| format!("POST /{kind}/{seed} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let pieces = |client: &mut Wire, framed: fn(&[u8]) -> Vec<u8>| {
        for number in 0..LASTS {
            client.send(framed(&piece(seed, number)));
            ticks.wait(first + number + 1);
        }
    };
    let length = LASTS as usize * PIECE;
    match kind {
        0 => {
            client.send(format!("GET /poll/{seed} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            assert_eq!(client.head().status(), 103);
        }
        1 => {
            client.send(head("up", &format!("Content-Length: {length}\r\n")));
            pieces(client, <[u8]>::to_vec);
        }
        2 => {
            client.send(head("up", "Transfer-Encoding: chunked\r\n"));
            pieces(client, chunk);
            client.send("0\r\n\r\n");
        }
        3 => {
            client.send(head("up", &format!("Content-Length: {length}\r\nExpect: 100-continue\r\n")));
            assert_eq!(client.head().status(), 100);
            pieces(client, <[u8]>::to_vec);
        }
        4 => {
            client.send(head("echo", "Transfer-Encoding: chunked\r\n"));
            client.send(chunk(&piece(seed, 0)));
            assert_eq!(client.head().status(), 200);
            for number in 0..LASTS {
                if number > 0 {
                    client.send(chunk(&piece(seed, number)));
                }
                expect_payload(client, &piece(seed, number));
                ticks.wait(first + number + 1);
            }
            client.send("0\r\n\r\n");
            client.expect("0\r\n\r\n");
            return;
        }
        _ => client.send(format!("GET /down/{seed} HTTP/1.1\r\nHost: localhost\r\n\r\n")),
    }
    let answer = client.answer();
    assert_eq!(answer.status(), 200);
    let whole: Vec<u8> = (0..LASTS).flat_map(|number| piece(seed, number)).collect();
    let wanted = match kind {
        0 => seed.to_string().into_bytes(),
        1..=3 => b"the same".to_vec(),
        _ => whole,
    };
    assert!(answer.body == wanted, "kind {kind}, {} bytes: {:.100}", answer.body.len(), answer.text());
}

/// This payload, in whatever chunks.
#[track_caller]
fn expect_payload(wire: &mut Wire, wanted: &[u8]) {
    let mut left = wanted;
    while !left.is_empty() {
        let line = String::from_utf8(wire.until(b"\r\n")).expect("a size");
        let size = usize::from_str_radix(line.trim_end(), 16).expect("a size");
        assert!((1..=left.len()).contains(&size), "a chunk of {size} bytes, {} are to come", left.len());
        let (now, rest) = left.split_at(size);
        assert!(wire.take(size) == now, "other bytes");
        wire.expect("\r\n");
        left = rest;
    }
}

/// Answers the requests on one connection to the server, until it closes.
fn answer(mut wire: Wire, ticks: &Ticks) {
    while let Some(head) = wire.head_or_end() {
        let first = ticks.now();
        let target = head.line().split(' ').nth(1).expect("a target").to_owned();
        let (kind, seed) = target[1..].split_once('/').expect("a kind");
        let seed: u64 = seed.parse().expect("a seed");
        let whole: Vec<u8> = (0..LASTS).flat_map(|number| piece(seed, number)).collect();
        match kind {
            "poll" => {
                ticks.wait(first + 1);
                wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nConte");
                ticks.wait(first + LASTS);
                let body = seed.to_string();
                wire.send(format!("nt-Length: {}\r\n\r\n{body}", body.len()));
            }
            "up" => {
                if head.has("expect") {
                    ticks.wait(first + 1);
                    let _ = wire.try_send("HTTP/1.1 100 Continue\r\n\r\n");
                }
                let body = match head.field("content-length") {
                    Some(length) => wire.take(length.parse().expect("a length")),
                    None => wire.chunks().0,
                };
                let body = if body == whole { "the same" } else { "other" };
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
            "echo" => {
                wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for number in 0..LASTS {
                    expect_payload(&mut wire, &piece(seed, number));
                    wire.send(chunk(&piece(seed, number)));
                }
                wire.expect("0\r\n\r\n");
                wire.send("0\r\n\r\n");
            }
            _ => {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len()));
                for number in 0..LASTS {
                    wire.send(piece(seed, number));
                    ticks.wait(first + number + 1);
                }
            }
        }
    }
}

fn serve(listener: &TcpListener, ticks: &Arc<Ticks>) {
    while let Ok((stream, _)) = listener.accept() {
        let ticks = ticks.clone();
        std::thread::spawn(move || answer(Wire::new(stream), &ticks));
    }
}

#[test]
fn every_byte_of_many_open_exchanges_passes_over_many_reloads() {
    let ((server, upstream), (listening, address)) = (socket(), socket());
    let ticks = Arc::new(Ticks::default());
    {
        let ticks = ticks.clone();
        std::thread::spawn(move || serve(&server, &ticks)); // as long as the tests run
    }
    let run = Run::new(&config(upstream)).socket("http", listening);
    let service = run.start();
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| std::thread::spawn(client(number, address, ticks.clone()))).collect();
    for number in 0..RELOADS {
        ticks.set(number + 1);
        assert_eq!(reload(&service), number + 2);
    }
    ticks.set(u64::MAX);
    let asked: u64 = clients.into_iter().map(|client| client.join().expect("every byte")).sum();
    assert!(asked >= CLIENTS * 2, "{asked} exchanges");
    let broken: Vec<_> =
        run.log().lines().filter(|line| line.contains(" → ") && !line.contains(" → 200 ")).map(str::to_owned).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Asks for one thing after the other, and gives how many it got.
fn client(number: u64, address: SocketAddr, ticks: Arc<Ticks>) -> impl FnOnce() -> u64 {
    move || {
        let mut asked = 0;
        let mut client = Wire::connect(address);
        while ticks.now() < RELOADS {
            let kind = (number + asked) % 6;
            ask(&mut client, kind, number << 8 | asked, &ticks);
            asked += 1;
            if kind == 4 {
                client.assert_closed(); // the response began before the request was whole
                client = Wire::connect(address);
            }
        }
        asked
    }
}

fn config(server: SocketAddr) -> String {
    format!(
        "[listen.http]\n[log]\naccess = 'all'\n[site.'*']\nto = 'farm'\n[pool.farm]\nservers = ['{server}']\nretries = 0\n"
    )
}

//! What is served, whatever way the bytes come.

use proptest::prelude::*;

use super::support::{LONG, get};
use super::{Fixture, run};
use crate::observe::end::{End, Phase, Reason};

#[test]
fn a_small_request_is_answered_and_the_connection_serves_the_next() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        for path in ["/a", "/b", "/c"] {
            let answer = peer.get(path).await;
            assert_eq!((answer.status(), answer.text()), ("200", path));
        }
        drop(peer);
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
    });
}

#[test]
fn a_head_that_comes_byte_by_byte_is_served() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        for byte in get("/slow").as_bytes() {
            peer.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(peer.answer().await.text(), "/slow");
    });
}

#[test]
fn a_head_larger_than_one_read_is_served() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_head = 64 * 1024);
        let mut peer = fixture.connect().await;
        for _ in 0..2 {
            peer.send(format!("GET /large HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(50_000))).await;
            assert_eq!(peer.answer().await.text(), "/large");
        }
    });
}

#[test]
fn pipelined_requests_with_bodies_are_answered_in_order() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        let length = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst";
        let chunked =
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n";
        peer.send(format!("{length}{chunked}{}", get("/third"))).await;
        for text in ["first", "second", "/third"] {
            assert_eq!(peer.answer().await.text(), text);
        }
    });
}

#[test]
fn a_next_head_waits_in_the_gate_while_an_exchange_is_open() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        fixture.seen(1).await;
        peer.send(get("/next")).await;
        fixture.go();
        assert_eq!(peer.answer().await.text(), "waited");
        assert_eq!(peer.answer().await.text(), "/next");
        assert_eq!(fixture.seen(2).await, ["GET /wait", "GET /next"]);
    });
}

#[test]
fn more_is_pipelined_than_the_gate_reads_ahead() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        let requests = get("/wait") + &get("/n").repeat(2000);
        let (mut read, mut write) = peer.stream.split();
        let writing = async {
            tokio::io::AsyncWriteExt::write_all(&mut write, requests.as_bytes()).await.expect("write");
        };
        let reading = async {
            fixture.seen(1).await;
            fixture.go();
            let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
            while text.iter().filter(|byte| **byte == b'/').count() < 2000 * 2 + 1 {
                let len = tokio::io::AsyncReadExt::read(&mut read, &mut buffer).await.expect("read");
                assert_ne!(len, 0);
                text.extend_from_slice(&buffer[..len]);
            }
        };
        tokio::join!(writing, reading);
    });
}

#[test]
fn a_client_that_pipelines_without_end_leaves_turns_to_others() {
    run(|| async {
        let fixture = Fixture::new();
        let (flood, mut other) = (fixture.connect().await, fixture.connect().await);
        assert_eq!(other.get("/first").await.text(), "/first");
        flood.stream.writable().await.expect("room");
        let written = flood.stream.try_write(get("/flood").repeat(20_000).as_bytes()).expect("room");
        assert!(written > 1000 * get("/flood").len(), "{written}");
        assert_eq!(other.get("/other").await.text(), "/other");
        let seen = fixture.seen(2).await;
        let before = seen.iter().take_while(|request| *request != "GET /other").count();
        assert!(before < 200, "{before} requests of one client before that of the other");
    });
}

#[test]
fn an_expectation_is_met_before_the_body_comes() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
        assert_eq!(peer.answer().await.status(), "100");
        peer.send("body").await;
        assert_eq!(peer.answer().await.text(), "body");
        assert_eq!(peer.get("/after").await.text(), "/after");
    });
}

#[test]
fn a_body_that_was_not_read_is_not_taken_for_the_next_request() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        let body = get("/hidden");
        peer.send(format!("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        let answer = peer.answer().await;
        assert!(answer.text() == "/unread" && answer.closes());
        peer.expect_end().await;
        assert_eq!(fixture.seen(1).await, ["POST /unread"]);
    });
}

#[test]
fn a_large_head_behind_a_body_that_had_to_wait_is_read_whole() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_head = 64 * 1024);
        let mut peer = fixture.connect().await;
        peer.send("POST /patient HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").await;
        fixture.seen(1).await;
        peer.send(format!("bodyGET /large HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(50_000))).await;
        peer.rest_a_moment().await; // the connection learns that bytes are there
        fixture.go();
        assert_eq!(peer.answer().await.text(), "body");
        assert_eq!(peer.answer().await.text(), "/large");
    });
}

#[test]
fn a_client_that_resets_is_noticed_whatever_it_sent_before() {
    run(|| async {
        let fixture = Fixture::new();
        let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
        for sent in [
            get("/wait"),
            get("/wait") + &get("/next").repeat(2000),
            post("/wait"),
            post("/wait") + &"y".repeat(100_000),
            post("/deaf"),
            post("/deaf") + &"y".repeat(100_000),
        ] {
            let mut peer = fixture.connect().await;
            peer.send(&sent).await;
            peer.rest_a_moment().await;
            peer.reset();
            let ended = tokio::time::timeout(LONG / 6, fixture.end()).await;
            assert_eq!(
                ended.ok(),
                Some(End::new(Phase::Response, Reason::ClientClosed)),
                "{} bytes: {}",
                sent.len(),
                &sent[..20]
            );
        }
    });
}

#[test]
fn http_1_0_closes_after_the_response() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send("GET /old HTTP/1.0\r\n\r\n").await;
        assert_eq!(peer.answer().await.text(), "/old");
        peer.expect_end().await;
        assert_eq!(fixture.end().await, End::OK);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_of_pipelined_requests_gives_the_same_requests(
        bodies in prop::collection::vec(("[a-z]{0,40}", any::<bool>(), 1_usize..7), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        leaving in any::<bool>(),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|(body, chunked, size)| request(body, *chunked, *size)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        run(|| async {
            let fixture = Fixture::new();
            let mut peer = fixture.connect().await;
            let mut from = 0;
            for to in cuts.iter().copied().chain([stream.len()]) {
                peer.send(&stream[from..to]).await;
                from = to;
                if leaving {
                    fixture.thread.clients.wake_all();
                }
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
            for (body, ..) in &bodies {
                assert_eq!(peer.answer().await.text(), body);
            }
        });
    }
}

fn request(body: &str, chunked: bool, size: usize) -> Vec<u8> {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    if !chunked {
        return format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into();
    }
    let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.as_bytes().chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

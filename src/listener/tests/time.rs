//! What a client may take its time for, and what happens then.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::support::{SHORT, get};
use super::{Fixture, run};
use crate::observe::end::{End, Phase, Reason};

/// As little as can be.
const NONE: Duration = Duration::from_millis(1);

#[test]
fn a_slow_head_gets_408() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.header_timeout = SHORT);
        let mut peer = fixture.connect().await;
        assert_eq!(peer.get("/first").await.status(), "200");
        let began = Instant::now();
        peer.send("GET / HTTP/1.1\r\nHo").await;
        assert_eq!(peer.answer().await.status(), "408");
        assert!(began.elapsed() >= SHORT);
        peer.expect_end().await;
        drop(peer);
        assert_eq!(fixture.end().await, End::new(Phase::Head, Reason::ClientTimeout));
    });
}

#[test]
fn bytes_that_trickle_do_not_extend_the_time_for_a_head() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.header_timeout = SHORT);
        let mut peer = fixture.connect().await;
        peer.send("GET / HTTP/1.1\r\nX: ").await;
        let mut tick = tokio::time::interval(SHORT / 8);
        let answer = loop {
            tokio::select! {
                answer = peer.answer() => break answer,
                _ = tick.tick() => {}
            }
            if peer.stream.write_all(b"y").await.is_err() {
                break peer.answer().await;
            }
        };
        assert_eq!(answer.status(), "408");
    });
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.idle_timeout = SHORT);
        let mut fresh = fixture.connect().await;
        let mut used = fixture.connect().await;
        assert_eq!(used.get("/").await.status(), "200");
        fresh.expect_end().await;
        used.expect_end().await;
        drop((fresh, used));
        assert_eq!((fixture.end().await, fixture.end().await), (End::IDLE_TIMEOUT, End::IDLE_TIMEOUT));
    });
}

#[test]
fn a_silent_body_fails_the_exchange() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.body_timeout = SHORT);
        let mut peer = fixture.connect().await;
        peer.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
        assert_eq!(peer.answer().await.text(), "bad body");
        peer.expect_end().await;
        drop(peer);
        assert_eq!(fixture.end().await, End::new(Phase::Request, Reason::ClientTimeout));
    });
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.write_timeout = SHORT);
        let mut peer = fixture.connect().await;
        peer.send(get("/bytes/100000000")).await;
        assert_eq!(fixture.end().await, End::new(Phase::Response, Reason::ClientTimeout));
        assert!(peer.rest().await.map_or(0, |bytes| bytes.len()) < 100_000_000);
    });
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        peer.stream.shutdown().await.expect("FIN");
        fixture.seen(1).await;
        fixture.go();
        assert_eq!(peer.answer().await.text(), "waited");
        peer.expect_end().await;
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
    });
}

#[test]
fn a_half_closed_client_has_left_where_it_has_no_time() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.half_close_timeout = NONE);
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        fixture.seen(1).await;
        peer.stream.shutdown().await.expect("FIN");
        assert_eq!(fixture.end().await, End::new(Phase::Response, Reason::ClientClosed));
        assert!(fixture.thread.clients.is_empty());
    });
}

#[test]
fn a_half_closed_client_gets_a_response_that_is_whole_where_it_has_no_time() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.half_close_timeout = NONE);
        let mut peer = fixture.connect().await;
        peer.send(get("/a")).await;
        fixture.seen(1).await;
        peer.stream.shutdown().await.expect("FIN");
        assert_eq!(peer.answer().await.text(), "/a");
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
    });
}

#[test]
fn a_half_closed_client_waits_no_longer_than_configured() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.half_close_timeout = SHORT);
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        let began = Instant::now();
        peer.stream.shutdown().await.expect("FIN");
        assert_eq!(fixture.end().await, End::new(Phase::Response, Reason::ClientClosed));
        assert!(began.elapsed() >= SHORT);
    });
}

#[test]
fn a_half_closed_client_that_reads_slowly_gets_all() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.half_close_timeout = SHORT);
        let mut peer = fixture.connect().await;
        peer.send(get("/bytes/20000000")).await;
        peer.stream.shutdown().await.expect("FIN");
        let mut left: usize = 20_000_000;
        let mut tick = tokio::time::interval(SHORT / 10);
        let mut buffer = vec![0; 1_000_000];
        while left > 0 {
            tick.tick().await;
            let len = tokio::io::AsyncReadExt::read(&mut peer.stream, &mut buffer).await.expect("read");
            assert_ne!(len, 0, "{left} bytes before the end");
            left = left.saturating_sub(len);
        }
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
    });
}

#[test]
fn a_client_that_closes_ends_its_exchange_although_others_are_waited_for() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        fixture.seen(1).await;
        drop(peer);
        assert_eq!(fixture.end().await, End::new(Phase::Response, Reason::ClientClosed));
    });
}

#[test]
fn a_half_closed_client_has_a_little_of_its_answer_early_and_no_byte_twice() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        peer.stream.shutdown().await.expect("FIN");
        let mut early = [0; 2];
        peer.stream.read_exact(&mut early).await.expect("bytes");
        assert_eq!(&early, b"HT");
        fixture.go();
        let rest = peer.rest().await.expect("an answer");
        assert!(rest.starts_with(b"TP/1.1 200 OK\r\n") && rest.ends_with(b"waited"), "{rest:?}");
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
    });
}

#[test]
fn a_client_that_leaves_while_it_waits_half_closed_is_noticed() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        peer.stream.shutdown().await.expect("FIN");
        let mut early = [0];
        peer.stream.read_exact(&mut early).await.expect("a byte");
        drop(peer);
        assert_eq!(fixture.end().await, End::new(Phase::Response, Reason::ClientClosed));
    });
}

#[test]
fn pipelined_requests_before_a_half_close_are_all_answered() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(get("/a") + &get("/b") + &get("/c")).await;
        peer.stream.shutdown().await.expect("FIN");
        for path in ["/a", "/b", "/c"] {
            assert_eq!(peer.answer().await.text(), path);
        }
        peer.expect_end().await;
    });
}

#[test]
fn a_client_that_resets_ends_its_exchange_at_once() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(get("/wait")).await;
        fixture.seen(1).await;
        peer.stream.set_zero_linger().expect("linger");
        drop(peer);
        assert_eq!(fixture.end().await, End::new(Phase::Response, Reason::ClientClosed));
        assert!(fixture.thread.clients.is_empty());
    });
}

#[test]
fn a_client_that_leaves_inside_a_head_is_noticed() {
    run(|| async {
        let fixture = Fixture::new();
        for with_reset in [false, true] {
            let mut peer = fixture.connect().await;
            peer.send("GET / HT").await;
            if with_reset {
                peer.stream.set_zero_linger().expect("linger");
            }
            drop(peer);
            assert_eq!(fixture.end().await, End::new(Phase::Head, Reason::ClientClosed));
        }
    });
}

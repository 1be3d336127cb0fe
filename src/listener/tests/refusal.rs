//! What must not pass, and how the client learns of it.

use super::support::get;
use super::{Fixture, run};
use crate::observe::end::{End, Phase, Reason};

#[test]
fn a_bare_lf_is_refused_with_a_page_and_hyper_never_sees_it() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send("GET / HTTP/1.1\nHost: a\n\n").await;
        let answer = peer.answer().await;
        assert_eq!(answer.status(), "400");
        assert!(answer.text().contains("LF"), "{}", answer.text());
        peer.expect_end().await;
        drop(peer);
        assert_eq!(fixture.end().await, End::new(Phase::Head, Reason::BadRequest));
        assert!(fixture.seen(0).await.is_empty());
    });
}

#[test]
fn requests_before_a_bad_one_are_answered_first() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        let echo = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
        peer.send(format!("{}{echo}GET / HTTP/1.1\r\nHost : a\r\n\r\n{}", get("/good"), get("/never"))).await;
        assert_eq!(peer.answer().await.text(), "/good");
        assert_eq!(peer.answer().await.text(), "ok");
        assert_eq!(peer.answer().await.status(), "400");
        peer.expect_end().await;
        drop(peer);
        assert_eq!(fixture.end().await, End::new(Phase::Head, Reason::BadRequest));
        assert_eq!(fixture.seen(2).await.len(), 2);
    });
}

#[test]
fn a_head_over_the_limit_is_refused_before_it_is_whole() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_head = 8192);
        let mut peer = fixture.connect().await;
        peer.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(9000))).await;
        assert_eq!(peer.answer().await.status(), "431");
        peer.expect_end().await;
    });
}

#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send("POST /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 600000\r\n\r\n").await;
        peer.send(vec![b'z'; 600_000]).await;
        assert_eq!(peer.answer().await.status(), "400");
        peer.expect_end().await;
    });
}

#[test]
fn an_answer_before_the_body_was_read_arrives_whole() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n").await;
        peer.send(vec![b'z'; 600_000]).await;
        let answer = peer.answer().await;
        assert!(answer.closes());
        assert_eq!(answer.body.len(), 100_000);
        peer.expect_end().await;
        drop(peer);
        assert_eq!(fixture.end().await, End::OK);
    });
}

#[test]
fn a_broken_chunk_fails_the_body_and_ends_the_connection() {
    run(|| async {
        let fixture = Fixture::new();
        for early in ["", "3\r\nabc\r\n"] {
            let mut peer = fixture.connect().await;
            peer.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{early}")).await;
            peer.send(format!("zz\r\n{}", get("/smuggled"))).await;
            assert_eq!(peer.answer().await.text(), "bad body");
            peer.expect_end().await;
            drop(peer);
            assert_eq!(fixture.end().await, End::new(Phase::Request, Reason::BadRequest));
        }
        assert!(fixture.seen(2).await.iter().all(|request| request == "POST /echo"));
    });
}

#[test]
fn a_panic_ends_its_connection_alone() {
    run(|| async {
        let fixture = Fixture::new();
        let mut other = fixture.connect().await;
        assert_eq!(other.get("/before").await.status(), "200");
        let mut peer = fixture.connect().await;
        peer.send(get("/panic")).await;
        assert!(peer.rest().await.unwrap_or_default().is_empty());
        assert_eq!(fixture.end().await, End::new(Phase::Response, Reason::Internal));
        assert_eq!(other.get("/after").await.status(), "200");
    });
}

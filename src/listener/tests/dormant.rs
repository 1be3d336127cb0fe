//! Connections that have been idle for so long that they are no task.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::support::{Peer, get};
use super::{Fixture, run};
use crate::drain::Stage;
use crate::observe::end::{End, Phase, Reason};

/// So many connections that are dormant, each after one exchange.
async fn dormant(fixture: &Fixture, count: usize) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = fixture.connect().await;
        assert_eq!(peer.get("/first").await.text(), "/first");
        peers.push(peer);
    }
    fixture.dormant(count).await;
    assert_eq!(fixture.thread.clients.idle(), count, "they are idle all the same");
    peers
}

#[test]
fn a_dormant_connection_is_served_as_often_as_it_comes_back() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peers = dormant(&fixture, 3).await;
        peers[1].send("GET /in-two ").await;
        fixture.dormant(2).await;
        peers[1].send("HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(peers[1].answer().await.text(), "/in-two");
        fixture.dormant(3).await;
        for peer in &mut peers {
            assert_eq!(peer.get("/again").await.text(), "/again");
        }
        assert_eq!((fixture.thread.clients.len(), fixture.limits.listener().open()), (3, 3));
    });
}

#[test]
fn a_dormant_connection_ends_when_its_client_does() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peers = dormant(&fixture, 2).await.into_iter();
        let (mut half, whole) = (peers.next().expect("one"), peers.next());
        half.stream.shutdown().await.expect("FIN");
        half.expect_end().await;
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
        drop(whole);
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
        assert_eq!((fixture.thread.clients.len(), fixture.limits.listener().open()), (0, 0));
    });
}

#[test]
fn a_dormant_connection_ends_at_its_time() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.idle_timeout = Duration::from_secs(3));
        for mut peer in dormant(&fixture, 2).await {
            peer.expect_end().await;
            drop(peer);
            assert_eq!(fixture.end().await, End::IDLE_TIMEOUT);
        }
    });
}

#[test]
fn a_dormant_connection_makes_room() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_connections = 2);
        let mut peers = dormant(&fixture, 2).await;
        let mut next = fixture.connect().await;
        assert_eq!(next.get("/next").await.text(), "/next");
        peers[0].expect_end().await;
        assert_eq!(fixture.end().await, End::EVICTED);
        assert_eq!(peers[1].get("/stays").await.text(), "/stays");
    });
}

#[test]
fn a_generation_that_ends_wakes_its_dormant_connections() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peers = dormant(&fixture, 2).await;
        fixture.drain(Duration::from_secs(20));
        fixture.dormant(0).await;
        assert!(peers[0].get("/last").await.closes());
        fixture.enter(Stage::Cut);
        peers[1].expect_end().await;
        drop(peers);
        let ends = [fixture.end().await, fixture.end().await];
        assert!(ends.contains(&End::OK) && ends.contains(&End::new(Phase::Idle, Reason::Drained)), "{ends:?}");
    });
}

#[test]
fn a_dormant_connection_may_send_before_it_is_watched() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peers = dormant(&fixture, 40).await;
        for round in 0..3 {
            for peer in &mut peers {
                peer.send(get("/all-at-once")).await;
            }
            for peer in &mut peers {
                assert_eq!(peer.answer().await.text(), "/all-at-once", "{round}");
            }
        }
    });
}

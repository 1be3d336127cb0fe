//! Connections that become idle, and generations that end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::support::{Fixture as Thread, LONG, SHORT, get};
use super::{Fixture, run};
use crate::drain::Stage;
use crate::observe::end::{End, Reason};

/// Asks every connection to leave, as often as the thread has a turn for it.
async fn ask_to_leave(fixture: &Thread) {
    loop {
        fixture.thread.clients.wake_all();
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_client_in_full_swing_notices_nothing_of_connections_that_leave() {
    run(|| async {
        let fixture = Fixture::new();
        let count = Rc::new(Cell::new(0));
        let clients = async {
            let mut tasks = Vec::new();
            for _ in 0..5 {
                let (mut peer, count) = (fixture.connect().await, count.clone());
                tasks.push(tokio::task::spawn_local(async move {
                    for turn in 0..400 {
                        let answer = match turn % 4 {
                            0 => {
                                peer.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab").await;
                                peer.send("cde").await;
                                peer.answer().await
                            }
                            1 => {
                                peer.send(get("/one") + &get("/two")).await;
                                assert_eq!(peer.answer().await.text(), "/one");
                                peer.answer().await
                            }
                            _ => peer.get("/n").await,
                        };
                        assert!(answer.status() == "200" && !answer.closes());
                        count.set(count.get() + 1);
                    }
                }));
            }
            for task in tasks {
                task.await.expect("no client failed");
            }
        };
        tokio::select! {
            () = clients => {}
            () = ask_to_leave(&fixture) => {}
        }
        assert_eq!(count.get(), 2000);
    });
}

#[test]
fn a_slow_reader_gets_all_of_a_response_while_the_connection_is_asked_to_leave() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        let reading = async {
            peer.send(get("/bytes/20000000")).await;
            let answer = peer.answer().await;
            assert_eq!(answer.body.len(), 20_000_000);
            assert_eq!(peer.get("/after").await.text(), "/after");
        };
        tokio::select! {
            () = reading => {}
            () = ask_to_leave(&fixture) => {}
        }
    });
}

#[test]
fn a_parked_connection_serves_again() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        for _ in 0..3 {
            assert_eq!(peer.get("/again").await.text(), "/again");
            fixture.parked(1).await;
        }
        drop(peer);
        assert_eq!(fixture.end().await, End::CLIENT_DONE);
    });
}

#[test]
fn a_draining_generation_announces_the_end_with_the_next_response() {
    run(|| async {
        let fixture = Fixture::new();
        let mut idle = fixture.connect().await;
        let mut busy = fixture.connect().await;
        assert!(!idle.get("/").await.closes());
        busy.send(get("/wait")).await;
        fixture.seen(2).await;
        fixture.drain(LONG);
        fixture.go();
        assert!(busy.answer().await.closes());
        busy.expect_end().await;
        assert!(idle.get("/late").await.closes(), "an idle connection stays for its next request");
        idle.expect_end().await;
        drop((idle, busy));
        assert_eq!((fixture.end().await, fixture.end().await), (End::OK, End::OK));
    });
}

#[test]
fn a_draining_generation_keeps_idle_connections_no_longer_than_it_may() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        assert_eq!(peer.get("/").await.status(), "200");
        fixture.drain(SHORT);
        peer.expect_end().await;
        drop(peer);
        assert_eq!(fixture.end().await, End::IDLE_TIMEOUT);
    });
}

#[test]
fn at_the_deadline_everything_is_cut() {
    run(|| async {
        let fixture = Fixture::new();
        let mut busy = fixture.connect().await;
        let mut fresh = fixture.connect().await;
        let mut idle = fixture.connect().await;
        assert_eq!(idle.get("/").await.status(), "200");
        busy.send(get("/wait")).await;
        fixture.seen(2).await;
        fixture.drain(LONG);
        fixture.enter(Stage::Cut);
        for peer in [&mut busy, &mut fresh, &mut idle] {
            assert!(peer.rest().await.unwrap_or_default().is_empty());
            assert_eq!(fixture.end().await.reason, Reason::Drained);
        }
        assert!(fixture.thread.clients.is_empty());
    });
}

#[test]
fn an_acceptor_that_parks_leaves_connections_in_the_backlog_for_the_next() {
    run(|| async {
        let mut fixture = Fixture::new();
        let mut first = fixture.connect().await;
        assert_eq!(first.get("/").await.status(), "200");
        let socket = fixture.acceptor.take().expect("accepts").park();
        assert!(socket.is_some());
        let mut second = fixture.connect().await;
        second.send(get("/backlog")).await;
        assert!(tokio::time::timeout(Duration::from_millis(50), second.answer()).await.is_err());
        assert_eq!(fixture.thread.clients.len(), 1);
        assert_eq!(first.get("/still").await.status(), "200");
        fixture.accept();
        assert_eq!(second.answer().await.text(), "/backlog");
    });
}

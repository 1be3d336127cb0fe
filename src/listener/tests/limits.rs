//! Which connections are taken, and how many are open at once.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Answers, get};
use super::{Fixture, run};
use crate::listener::accept::Acceptor;
use crate::listener::kind::Kind;
use crate::observe::end::End;

#[test]
fn connections_beyond_the_limit_wait_in_the_backlog_while_all_are_busy() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_connections = 2);
        let mut first = fixture.connect().await;
        let mut second = fixture.connect().await;
        first.send(get("/wait")).await;
        second.send(get("/wait")).await;
        fixture.seen(2).await;
        let mut third = fixture.connect().await;
        third.send(get("/3")).await;
        assert!(tokio::time::timeout(Duration::from_millis(50), third.answer()).await.is_err());
        assert_eq!(fixture.limits.listener().open(), 2);
        fixture.go();
        assert_eq!(first.answer().await.status(), "200");
        assert_eq!(third.answer().await.text(), "/3");
    });
}

#[test]
fn at_the_limit_the_connection_that_is_idle_longest_is_closed_for_a_new_one() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_connections = 3);
        let mut busy = fixture.connect().await;
        busy.send(get("/wait")).await;
        fixture.seen(1).await;
        let mut first = fixture.connect().await;
        let mut second = fixture.connect().await;
        assert_eq!(second.get("/2").await.status(), "200");
        assert_eq!(first.get("/1").await.status(), "200");
        fixture.parked(2).await;
        let mut third = fixture.connect().await;
        assert_eq!(third.get("/3").await.text(), "/3");
        second.expect_end().await;
        assert_eq!(fixture.end().await, End::EVICTED);
        assert_eq!(first.get("/1").await.text(), "/1", "it is idle for a shorter time, and stays");
        assert_eq!(fixture.limits.listener().open(), 3);
        drop(busy);
    });
}

#[test]
fn a_connection_that_gets_idle_while_others_wait_makes_room() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_connections = 1);
        let mut first = fixture.connect().await;
        first.send(get("/wait")).await;
        fixture.seen(1).await;
        let mut second = fixture.connect().await;
        second.send(get("/2")).await;
        assert!(tokio::time::timeout(Duration::from_millis(50), second.answer()).await.is_err());
        fixture.go();
        assert_eq!(first.answer().await.status(), "200");
        assert_eq!(second.answer().await.text(), "/2");
    });
}

#[test]
fn a_unix_listener_serves_http() {
    run(|| async {
        let fixture = Fixture::new();
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("http.sock");
        let socket = UnixListener::bind(&path).expect("bind");
        socket.set_nonblocking(true).expect("nonblocking");
        let (thread, limits) = (fixture.thread.clone(), fixture.limits.clone());
        let acceptor = Acceptor::start_on::<Answers>(thread, 0, Kind::Http(0), socket.into(), limits);
        let mut peer = tokio::net::UnixStream::connect(&path).await.expect("connect");
        peer.write_all(b"GET /unix HTTP/1.0\r\n\r\n").await.expect("write");
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.expect("read");
        assert!(answer.ends_with("/unix"), "{answer}");
        drop(acceptor);
    });
}

#[test]
fn a_tcp_listener_relays_from_the_first_moment() {
    run(|| async {
        let mut fixture = Fixture::new();
        let socket = fixture.acceptor.take().and_then(Acceptor::park).expect("the socket");
        let (thread, limits) = (fixture.thread.clone(), fixture.limits.clone());
        let acceptor = Acceptor::start_on::<Answers>(thread, 0, Kind::Tcp(0), socket, limits);
        let mut peer = fixture.connect().await;
        assert_eq!(peer.rest().await.expect("the end"), b"tcp 0");
        assert_eq!(fixture.end().await, End::OK);
        drop(acceptor);
    });
}

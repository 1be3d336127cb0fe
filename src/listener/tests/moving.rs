//! Connections that another generation takes, and those that it does not.

use super::Fixture;
use super::support::{Fixture as Thread, LONG, get, run};
use crate::control::channel::Channel;
use crate::control::message::Held;
use crate::handover::capabilities::Capabilities;
use crate::handover::receiver::Receiver;
use crate::handover::sender::Sender;
use crate::handover::successor::Successor;
use crate::listener::arrive::arrive_on;
use crate::listener::kind::Kind;
use crate::listener::tests::support::Answers;
use crate::observe::end::{End, Phase, Reason};

/// A way from one thread to another one that has the listener, or has not.
async fn link(from: &Thread, to_has_it: bool) -> (Successor, Receiver) {
    let (here, there) = Channel::pair().expect("pair");
    let config = &from.thread.runtime_config.config;
    let held = [Held { listener: "http".to_owned(), bound: None }];
    let own = Capabilities::new(config, &held);
    let receiver =
        Receiver::open(there, &Capabilities::new(config, if to_has_it { &held } else { &[] })).expect("receiver");
    let (sender, successor) = Sender::open(here).expect("sender");
    sender.receive_capabilities(config, &own).await.expect("welcome");
    tokio::task::spawn_local(sender.run());
    from.thread.set_successor(successor.clone());
    (successor, receiver)
}

/// Drains one thread into the other; returns when so many connections have arrived.
async fn drain_into(from: &Thread, to: &Thread, receiver: &Receiver, count: usize) {
    from.thread.clients.wake_all();
    from.drain(LONG);
    let mut arrived = 0;
    while arrived < count {
        for transfer in receiver.next().await.expect("taken").expect("some") {
            arrive_on::<Answers>(&to.thread, 0, Kind::Http(0), &to.limits, transfer).expect("arrive");
            arrived += 1;
        }
    }
}

#[test]
fn an_idle_connection_goes_on_in_the_next_generation() {
    run(|| async {
        let (old, new) = (Fixture::new(), Fixture::new());
        let (mut used, mut fresh) = (old.connect().await, old.connect().await);
        assert_eq!(used.get("/old").await.text(), "/old");
        old.parked(2).await;
        let (_successor, receiver) = link(&old, true).await;
        drain_into(&old, &new, &receiver, 2).await;
        for peer in [&mut used, &mut fresh] {
            let answer = peer.get("/new").await;
            assert!(answer.text() == "/new" && !answer.closes());
        }
        assert_eq!(
            (old.end().await, old.end().await),
            (End::new(Phase::Idle, Reason::Moved), End::new(Phase::Idle, Reason::Moved))
        );
        assert_eq!((old.thread.clients.len(), new.thread.clients.len()), (0, 2));
    });
}

#[test]
fn a_request_that_has_come_in_part_is_read_on_by_the_next_generation() {
    run(|| async {
        let (old, new) = (Fixture::new(), Fixture::new());
        let (mut slow, mut next) = (old.connect().await, old.connect().await);
        slow.send("GET /half HTTP/1.1\r\nHo").await;
        assert_eq!(next.get("/first").await.text(), "/first");
        next.send("POST /echo HTTP/1.1\r\n").await;
        old.parked(0).await;
        let (_successor, receiver) = link(&old, true).await;
        drain_into(&old, &new, &receiver, 2).await;
        slow.send("st: a\r\n\r\n").await;
        assert_eq!(slow.answer().await.text(), "/half");
        next.send("Host: a\r\nContent-Length: 3\r\n\r\nabc").await;
        assert_eq!(next.answer().await.text(), "abc");
        assert_eq!(old.thread.clients.len(), 0);
    });
}

#[test]
fn an_open_exchange_ends_where_it_began_and_what_was_pipelined_behind_it_is_answered_by_the_next_generation() {
    run(|| async {
        let (old, new) = (Fixture::new(), Fixture::new());
        let mut peer = old.connect().await;
        peer.send(get("/wait") + &get("/second") + &get("/third")).await;
        old.seen(1).await;
        let (_successor, receiver) = link(&old, true).await;
        old.thread.clients.wake_all();
        old.drain(LONG);
        old.go();
        drain_into(&old, &new, &receiver, 1).await;
        for text in ["waited", "/second", "/third"] {
            let answer = peer.answer().await;
            assert!(answer.text() == text && !answer.closes(), "{text}: {}", answer.head);
        }
        assert_eq!(old.end().await, End::new(Phase::Head, Reason::Moved));
        assert_eq!(old.seen(3).await, ["GET /wait", "GET /second", "GET /third"], "each was served once");
    });
}

#[test]
fn a_connection_whose_successor_dies_stays_and_moves_to_the_next_successor() {
    run(|| async {
        let (old, new) = (Fixture::new(), Fixture::new());
        let mut peer = old.connect().await;
        assert_eq!(peer.get("/").await.status(), "200");
        old.parked(1).await;
        let (_gone, dead) = link(&old, true).await;
        old.drain(LONG);
        tokio::task::yield_now().await; // it is on its way now
        drop(dead);
        let answer = peer.get("/still").await;
        assert!(answer.text() == "/still", "{}", answer.head);
        let (_successor, receiver) = link(&old, true).await;
        drain_into(&old, &new, &receiver, 1).await;
        assert_eq!(peer.get("/new").await.text(), "/new");
        assert_eq!(new.thread.clients.len(), 1);
    });
}

#[test]
fn a_connection_of_a_listener_that_is_gone_ends_with_its_next_answer() {
    run(|| async {
        let old = Fixture::new();
        let mut peer = old.connect().await;
        assert_eq!(peer.get("/").await.status(), "200");
        let (_successor, _taker) = link(&old, false).await;
        old.thread.clients.wake_all();
        old.drain(LONG);
        assert!(peer.get("/last").await.closes());
        peer.expect_end().await;
        assert_eq!(old.end().await, End::OK);
    });
}

#[test]
fn an_idle_connection_is_cut_with_an_end_and_what_its_client_sends_then_resets_nothing() {
    run(|| async {
        let old = Fixture::new();
        let mut peer = old.connect().await;
        assert_eq!(peer.get("/").await.status(), "200");
        old.parked(1).await;
        old.drain(LONG);
        old.enter(crate::drain::Stage::Cut);
        peer.send(get("/too-late")).await;
        peer.expect_end().await;
        drop(peer);
        assert_eq!(old.end().await, End::new(Phase::Idle, Reason::Drained));
    });
}

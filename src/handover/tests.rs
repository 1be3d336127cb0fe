//! Facts about the way of connections: real links, real descriptors, and either side dying at any point.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;

use super::capabilities::Capabilities;
use super::exchange::{
    ExchangeTransfer, SavedAsking, SavedAttempt, SavedBody, SavedExchange, SavedGo, SavedResponse, SavedRetries,
    SavedStage, SavedState, SavedUpload,
};
use super::http2::{Http2Transfer, MOST_STREAMS, SavedHttp2, SavedStream, StreamTransfer};
use super::message::{Batch, ToSender, pack, unpack};
use super::receiver::Receiver;
use super::sender::{SendError, Sender};
use super::successor::{Returned, Successor};
use super::transfer::{
    AcceptedTransfer, ClientFacts, FirstMessage, Http1Client, Http1Transfer, Load, PrivateTransfer, SavedDirection,
    SavedFraming, SavedHalfClosed, SavedHttp1, Transfer, TunnelTransfer,
};
use crate::config::Config;
use crate::control::channel::Channel;
use crate::control::connections::ConnectionId;
use crate::control::link::Link;
use crate::http1::chunked::{Decoded, Decoder};
use crate::http2::Session;
use crate::http2::settings::LocalSettings;
use crate::net::Detached;
use crate::observe::end::{End, Phase, Reason};
use crate::observe::record::{Outcome, Protocol, RequestId, Timers};

mod exchanges;
mod with_tls;

fn config() -> Config {
    Config::from_toml("[site.\"*\"]\nto = [\"10.0.0.1:80\"]\n").expect("good")
}

fn facts(exchanges: u32) -> ClientFacts {
    let peer = Some(([192, 0, 2, 7], 1234).into());
    let (age, idle) = (Duration::from_secs(60), Duration::from_millis(1500));
    ClientFacts {
        listener: "http".to_owned(),
        peer,
        id: Some(ConnectionId::first(7, 1)),
        age,
        idle,
        exchanges,
        tls: true,
        reached: peer,
        saved: None,
    }
}

fn plain(socket: UnixStream) -> Detached {
    Detached { socket: socket.into(), tls: None }
}

/// One idle connection, and the end that its client has.
fn idle(number: u32, ahead: &[u8]) -> (Transfer, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let load = Load::Idle { ahead: BytesMut::from(ahead), began: None, private: Vec::new() };
    (Transfer { socket: plain(ours), client: facts(number), load }, theirs)
}

fn saved_exchange() -> SavedExchange {
    SavedExchange {
        id: RequestId::new(1, 2),
        age: Duration::from_secs(9),
        silent: Duration::from_millis(20),
        site: Some("*".to_owned()),
        pool: "farm".to_owned(),
        server: "10.0.0.1:80".to_owned(),
        protocol: Protocol::Http11,
        method: Some("GET".to_owned()),
        target: "/socket?secret=1".to_owned(),
        host: "app.test".to_owned(),
        status: 101,
        timers: Timers { head: 1, connected: 2, sent: 3, responded: 4, total: 5 },
        attempts: vec![SavedAttempt {
            server: "10.0.0.1:80".to_owned(),
            reused: false,
            outcome: Outcome::Responded,
            took: 7,
        }],
        client: Some("192.0.2.1:0".parse().expect("an address")),
    }
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("in time") })
}

/// Both ends of a link.
async fn linked() -> (Sender, Successor, Receiver) {
    let (here, there) = Channel::pair().expect("pair");
    let (config, capabilities) = (config(), Capabilities::new(&config(), &[]));
    let receiver = Receiver::open(there, &capabilities).expect("receiver");
    let (sender, successor) = Sender::open(here).expect("sender");
    sender.receive_capabilities(&config, &capabilities).await.expect("capabilities");
    (sender, successor, receiver)
}

/// What was written into the client's end comes out of the socket of the transfer.
fn holds(transfer: &Transfer, client: &mut UnixStream) -> bool {
    client.write_all(b"x").expect("write");
    let mut socket = UnixStream::from(transfer.socket.socket.try_clone().expect("dup"));
    let mut byte = [0];
    socket.read_exact(&mut byte).is_ok_and(|()| byte == *b"x")
}

#[test]
fn an_idle_connection_arrives_with_what_was_read_ahead() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        let giving = tokio::task::spawn_local(sender.run());
        let (transfer, mut client) = idle(3, b"GET / HT");
        let place = successor.place().await.expect("a place");
        let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
        given.expect("given");
        let [transfer] = &taken.expect("taken").expect("some")[..] else { panic!("one transfer") };
        assert_eq!(transfer.client, facts(3));
        assert!(matches!(&transfer.load, Load::Idle { ahead, .. } if **ahead == *b"GET / HT"));
        assert!(holds(transfer, &mut client));
        drop(successor);
        let report = giving.await.expect("no panic");
        assert!(report.moved == 1 && report.returned == 0 && report.broken.is_none(), "{report:?}");
        assert!(receiver.next().await.expect("the end").is_none());
    });
}

#[test]
fn private_connections_arrive_with_the_client_connection_that_they_belong_to() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        let (mut transfer, _client) = idle(1, b"GET");
        let (server, mut there) = UnixStream::pair().expect("a pair");
        let private =
            PrivateTransfer { socket: plain(server), tls: None, pool: "farm".to_owned(), server: "a:80".to_owned() };
        transfer.load = Load::Idle { ahead: BytesMut::from("GET"), began: None, private: vec![private] };
        let place = successor.place().await.expect("a place");
        let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
        given.expect("given");
        let load = taken.expect("taken").expect("some").pop().map(|transfer| transfer.load);
        let Some(Load::Idle { ahead, private, .. }) = load else { panic!("an idle connection") };
        let [PrivateTransfer { socket, pool, server, .. }] = &private[..] else { panic!("one private connection") };
        assert_eq!((&ahead[..], pool.as_str(), server.as_str()), (&b"GET"[..], "farm", "a:80"));
        there.write_all(b"x").expect("write");
        let mut byte = [0];
        UnixStream::from(socket.socket.try_clone().expect("dup")).read_exact(&mut byte).expect("its other end");
    });
}

#[test]
fn a_tunnel_arrives_whole() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        let (mut transfer, _client) = idle(1, b"");
        let (server, _there) = UnixStream::pair().expect("a pair");
        let up =
            || SavedDirection { pending: BytesMut::from(&b"up"[..]), ended: true, finished: false, bytes: 1 << 40 };
        let down = || SavedDirection { pending: BytesMut::from(&b"down"[..]), ended: false, finished: false, bytes: 3 };
        let tunnel = TunnelTransfer { server: plain(server), exchange: saved_exchange(), up: up(), down: down() };
        transfer.load = Load::Tunnel(Box::new(tunnel));
        let place = successor.place().await.expect("a place");
        let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
        given.expect("given");
        let Some(Load::Tunnel(tunnel)) = taken.expect("taken").expect("some").pop().map(|transfer| transfer.load)
        else {
            panic!("a tunnel")
        };
        assert_eq!((tunnel.exchange, tunnel.up, tunnel.down), (saved_exchange(), up(), down()));
    });
}

#[test]
fn the_time_for_a_head_arrives_with_what_came_of_it() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        let (mut transfer, _client) = idle(1, b"");
        let began = Some(Duration::from_millis(1500));
        transfer.load = Load::Idle { ahead: BytesMut::from("GET"), began, private: Vec::new() };
        let place = successor.place().await.expect("a place");
        let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
        given.expect("given");
        let taken = taken.expect("taken").expect("some").pop().map(|transfer| transfer.load);
        assert!(matches!(taken, Some(Load::Idle { began: arrived, .. }) if arrived == began));
    });
}

#[test]
fn a_first_message_arrives_as_far_as_it_came_and_its_time_is_what_is_left() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        for first in [FirstMessage::ProxyHeader, FirstMessage::ClientHello] {
            let (mut transfer, _client) = idle(1, b"");
            let left = Duration::from_millis(1500);
            transfer.load = Load::Accepted(AcceptedTransfer { first, received: BytesMut::from("PRO"), left });
            let place = successor.place().await.expect("a place");
            let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
            given.expect("given");
            let load = taken.expect("taken").expect("some").pop().map(|transfer| transfer.load);
            let Some(Load::Accepted(arrived)) = load else { panic!("another load") };
            assert_eq!((arrived.first, &arrived.received[..], arrived.left), (first, &b"PRO"[..], left));
        }
    });
}

#[test]
fn a_thousand_connections_go_in_few_packets_and_in_order() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        for number in 0..1000 {
            let successor = successor.clone();
            tokio::task::spawn_local(async move {
                let place = successor.place().await.expect("a place");
                place.give(idle(number, b"").0).await.expect("given");
            });
        }
        let mut batches = Vec::new();
        while batches.iter().map(Vec::len).sum::<usize>() < 1000 {
            batches.push(receiver.next().await.expect("taken").expect("some"));
        }
        assert!(batches.len() < 20, "{}", batches.len());
        let numbers: Vec<_> = batches.iter().flatten().map(|transfer| transfer.client.exchanges).collect();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    });
}

#[test]
fn another_version_moves_nothing() {
    run(async {
        let (here, there) = Channel::pair().expect("pair");
        let mut capabilities = Capabilities::new(&config(), &[]);
        capabilities.version += 1;
        let _taker = Receiver::open(there, &capabilities).expect("receiver");
        let (sender, successor) = Sender::open(here).expect("sender");
        assert!(matches!(sender.receive_capabilities(&config(), &capabilities).await, Err(SendError::Foreign(2))));
        assert!(successor.reach().is_none());
    });
}

#[test]
fn a_taker_that_is_slow_to_say_what_it_takes_is_waited_for() {
    run(async {
        let (here, there) = Channel::pair().expect("pair");
        let (sender, successor) = Sender::open(here).expect("sender");
        let sender = tokio::task::spawn_local(async move {
            sender.receive_capabilities(&config(), &Capabilities::new(&config(), &[])).await.expect("capabilities");
        });
        tokio::time::sleep(Duration::from_millis(1500)).await; // a second was once too long
        assert!(successor.reach().is_none() && !successor.is_gone(), "nothing is known of it yet");
        let _taker = Receiver::open(there, &Capabilities::new(&config(), &[])).expect("receiver");
        sender.await.expect("no panic");
        assert!(successor.reach().is_some());
    });
}

#[test]
fn a_batch_of_another_shape_is_not_taken_and_stays_with_the_giver() {
    run(async {
        let (here, there) = Channel::pair().expect("pair");
        let receiver = Receiver::open(there, &Capabilities::default()).expect("receiver");
        let (one, _other) = UnixStream::pair().expect("a pair");
        let mut json = serde_json::json!({"number": 0, "connections": [
            {"client": facts(1), "load": {"idle": {"ahead": 0}}}, {"client": facts(2), "load": {"idle": {"ahead": 0}}}]});
        here.send(&json, &[std::os::fd::AsFd::as_fd(&one)]).expect("send");
        assert!(receiver.next().await.is_err(), "a descriptor too few");
        json["connections"][1]["load"]["idle"]["ahead"] = 5.into();
        here.send(&json, &[std::os::fd::AsFd::as_fd(&one)]).expect("send");
        assert!(receiver.next().await.is_err(), "no bytes");
    });
}

/// How a hand-over goes wrong.
#[derive(Clone, Copy, Debug)]
enum Death {
    Nobody,
    /// The receiver dies when it has taken so many batches, and one more has been received but not acknowledged.
    Receiver {
        after: usize,
        unread: bool,
    },
    /// The sender dies when so many batches were taken.
    Sender {
        after: usize,
    },
}

fn death() -> impl Strategy<Value = Death> {
    prop_oneof![
        Just(Death::Nobody),
        (0..4_usize, any::<bool>()).prop_map(|(after, unread)| Death::Receiver { after, unread }),
        (0..4_usize).prop_map(|after| Death::Sender { after }),
    ]
}

/// Offers `count` connections and lets one side die. Gives which connections each side has in the end.
async fn hand_over(count: u32, ahead: usize, death: Death) -> (Vec<u32>, Vec<u32>, Vec<UnixStream>) {
    let (sender, successor, receiver) = linked().await;
    let giving = tokio::task::spawn_local(sender.run());
    let (mut offers, mut clients) = (Vec::new(), Vec::new());
    for number in 0..count {
        let (transfer, client) = idle(number, &vec![b'a'; ahead]);
        clients.push(client);
        let successor = successor.clone();
        offers.push(tokio::task::spawn_local(async move {
            let Some(place) = successor.place().await else { return Some(number) };
            match place.give(transfer).await {
                Ok(()) => None,
                Err(Returned::Whole(transfer)) => Some(transfer.client.exchanges),
                Err(Returned::Lost) => None,
            }
        }));
    }
    drop(successor);
    let mut taken: Vec<u32> = Vec::new();
    let mut batches = 0;
    let mut receiver = Some(receiver);
    while let Some(link) = &receiver {
        match death {
            Death::Receiver { after, unread } if batches >= after => {
                if unread {
                    tokio::task::yield_now().await; // batches are on their way
                }
                receiver = None;
                continue;
            }
            Death::Sender { after } if batches >= after => giving.abort(),
            _ => {}
        }
        match link.next().await.expect("in order") {
            Some(transfers) => {
                batches += 1;
                taken.extend(transfers.iter().map(|transfer| transfer.client.exchanges));
            }
            None => break,
        }
    }
    let mut kept = Vec::new();
    for offer in offers {
        kept.extend(offer.await.expect("no panic"));
    }
    (kept, taken, clients)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_connection_has_exactly_one_owner_whichever_side_dies_when(
        count in 1..1200_u32, ahead in prop_oneof![Just(0), 1..100_usize], death in death()
    ) {
        let (mut kept, mut taken, _clients) = run(hand_over(count, ahead, death));
        taken.sort_unstable();
        kept.sort_unstable();
        match death {
            Death::Nobody => prop_assert!(taken.iter().copied().eq(0..count)),
            Death::Receiver { .. } => {
                // what the receiver had acknowledged died with it; all else is with the sender, and nothing with both
                let mut all = [&kept[..], &taken[..]].concat();
                all.sort_unstable();
                prop_assert!(all.iter().copied().eq(0..count), "{} kept and {} taken", kept.len(), taken.len());
            }
            Death::Sender { .. } => {
                prop_assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "nothing twice");
                prop_assert!(kept.iter().all(|number| !taken.contains(number)), "nothing with both");
            }
        }
    }
}

/// Offers `count` connections to a receiver that acknowledges batches by these numbers above the right ones, and keeps
/// whatever came. Gives which connections each side has in the end.
async fn hand_over_to_a_confused_one(count: u32, above: &[u64]) -> (Vec<u32>, Vec<u32>) {
    let (here, there) = Channel::pair().expect("pair");
    let (sender, successor) = Sender::open(here).expect("sender");
    let link = Link::new(there).expect("link");
    link.try_send(&ToSender::Capabilities(Box::new(Capabilities::new(&config(), &[]))), &[]).expect("said");
    sender.receive_capabilities(&config(), &Capabilities::new(&config(), &[])).await.expect("capabilities");
    let giving = tokio::task::spawn_local(sender.run());
    let (mut offers, mut clients) = (Vec::new(), Vec::new());
    for number in 0..count {
        let (transfer, client) = idle(number, b"");
        clients.push(client);
        let successor = successor.clone();
        offers.push(tokio::task::spawn_local(async move {
            let Some(place) = successor.place().await else { return Some(number) };
            match place.give(transfer).await {
                Ok(()) | Err(Returned::Lost) => None,
                Err(Returned::Whole(transfer)) => Some(transfer.client.exchanges),
            }
        }));
    }
    drop(successor);
    let mut taken = Vec::new();
    for above in above {
        let heard = tokio::time::timeout(Duration::from_millis(50), link.receive::<Batch>()).await;
        let Ok(Ok(Some((batch, descriptors)))) = heard else { break };
        let number = batch.number + above;
        let transfers = unpack(batch, descriptors).expect("whole");
        taken.extend(transfers.iter().map(|transfer| transfer.client.exchanges));
        // the sender may have ended already
        let _ = link.try_send(&ToSender::Taken { number }, &[]);
    }
    drop(link);
    let report = giving.await.expect("no panic");
    let mut kept = Vec::new();
    for offer in offers {
        kept.extend(offer.await.expect("no panic"));
    }
    assert_eq!(report.moved + report.returned + report.lost, u64::from(count) - not_offered(&kept, &report));
    (kept, taken)
}

/// Those that found no place were never on their way.
fn not_offered(kept: &[u32], report: &super::sender::TransferReport) -> u64 {
    kept.len() as u64 - report.returned
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn nothing_goes_on_here_that_a_taker_may_have_which_acknowledges_what_was_not_sent(
        count in 1..800_u32, above in prop::collection::vec(prop_oneof![3 => Just(0_u64), 1 => 1..3_u64], 0..6)
    ) {
        let (kept, taken) = run(hand_over_to_a_confused_one(count, &above));
        let both: Vec<_> = kept.iter().filter(|number| taken.contains(number)).collect();
        prop_assert!(both.is_empty(), "served twice: {both:?}, acknowledged {above:?}");
    }
}

#[test]
fn a_taker_that_cannot_receive_a_batch_says_so_and_the_giver_keeps_it() {
    run(async {
        let (here, there) = Channel::pair().expect("pair");
        let (sender, successor) = Sender::open(here).expect("sender");
        let link = Link::new(there).expect("link");
        link.try_send(&ToSender::Capabilities(Box::new(Capabilities::new(&config(), &[]))), &[]).expect("said");
        sender.receive_capabilities(&config(), &Capabilities::new(&config(), &[])).await.expect("capabilities");
        let giving = tokio::task::spawn_local(sender.run());
        let place = successor.place().await.expect("a place");
        let offered = tokio::task::spawn_local(place.give(idle(1, b"").0));
        assert!(link.receive::<Batch>().await.expect("heard").is_some());
        link.try_send(&ToSender::Refused { why: "too many open files".to_owned() }, &[]).expect("said");
        drop((link, successor));
        assert!(matches!(offered.await.expect("no panic"), Err(Returned::Whole(_))));
        let report = giving.await.expect("no panic");
        assert_eq!(report.returned, 1);
        assert!(matches!(report.broken, Some(SendError::Refused(_))), "{report:?}");
    });
}

#[test]
fn descriptors_that_moved_are_closed_here() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        let (transfer, mut client) = idle(1, b"");
        let place = successor.place().await.expect("a place");
        let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
        given.expect("given");
        drop(taken);
        assert_eq!(client.read(&mut [0; 1]).expect("the end"), 0, "no process has it any more");
    });
}

#[test]
fn an_older_version_finds_the_messages_under_the_names_that_it_knows() {
    let capabilities = ToSender::Capabilities(Box::new(Capabilities::new(&config(), &[])));
    let json = serde_json::to_value(capabilities).expect("json");
    assert_eq!(json["welcome"]["version"], 1);
    run(async {
        let (mut transfer, _client) = idle(1, b"");
        let (server, _there) = UnixStream::pair().expect("a pair");
        let nothing = || SavedDirection { pending: BytesMut::new(), ended: false, finished: false, bytes: 0 };
        let tunnel =
            TunnelTransfer { server: plain(server), exchange: saved_exchange(), up: nothing(), down: nothing() };
        transfer.load = Load::Tunnel(Box::new(tunnel));
        let packed = pack(0, [&transfer].into_iter()).expect("a batch");
        let json = serde_json::to_string(&packed.batch).expect("json");
        assert!(json.contains(r#""tunnel":{"story":{"#), "{json}");
    });
}

//! TLS on connections that move.

use std::sync::Arc;

use super::exchanges::{asking_exchange, saved_http1};
use super::*;
use crate::net::TlsParts;
use crate::tls::{HandshakeFacts, ShownCertificate, Suite, TlsState, Version};
use rustls::pki_types::CertificateDer;

fn tls(byte: u8) -> Box<TlsParts> {
    let (version, suite) = (Version::Tls13, 0x1301);
    let (server_name, alpn) = (Some("app.test".into()), Some("http/1.1".into()));
    let client = vec![CertificateDer::from(vec![byte; 7]), CertificateDer::from(vec![8])];
    let facts = Arc::new(HandshakeFacts {
        version,
        suite,
        server_name,
        alpn,
        resumed: true,
        client: ShownCertificate::new(&client),
    });
    let state = TlsState::stand_in(Version::Tls13, Suite::Aes128Gcm, byte);
    let [received, plain, sealed] = [&b"half a rec"[..], b"GET /", b"rest"].map(BytesMut::from);
    Box::new(TlsParts { state, facts, received, plain, sealed, promised: 3 })
}

fn over_tls(number: u8, ahead: &[u8]) -> (Transfer, UnixStream) {
    let (mut transfer, client) = idle(number.into(), ahead);
    transfer.socket.tls = Some(tls(number));
    (transfer, client)
}

fn assert_same(got: &TlsParts, want: &TlsParts) {
    let bytes = |parts: &TlsParts| {
        let mut bytes = [0; TlsState::LENGTH];
        parts.state.write(&mut bytes);
        (bytes, parts.facts.clone(), parts.received.clone(), parts.plain.clone(), parts.sealed.clone())
    };
    assert!(bytes(got) == bytes(want) && got.promised == want.promised, "{got:?} for {want:?}");
}

#[test]
fn tls_arrives_with_whatever_the_load_is_and_beside_connections_without() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        let giving = tokio::task::spawn_local(sender.run());
        let (transfers, clients): (Vec<_>, Vec<_>) =
            [over_tls(1, b"ahead"), idle(2, b""), over_tls(3, b"")].into_iter().unzip();
        let mut answers = Vec::new();
        for transfer in transfers {
            let place = successor.place().await.expect("a place");
            answers.push(tokio::task::spawn_local(place.give(transfer)));
        }
        let mut arrived = Vec::new();
        while arrived.len() < 3 {
            arrived.extend(receiver.next().await.expect("taken").expect("some"));
        }
        for answer in answers {
            answer.await.expect("no panic").expect("given");
        }
        for (transfer, (number, mut client)) in arrived.iter().zip((1..).zip(clients)) {
            assert_eq!(transfer.client.exchanges, number);
            assert!(holds(transfer, &mut client));
            match &transfer.socket.tls {
                Some(parts) => assert_same(parts, &tls(number as u8)),
                None => assert_eq!(number, 2),
            }
        }
        assert!(matches!(&arrived[0].load, Load::Idle { ahead, .. } if **ahead == *b"ahead"));
        drop(successor);
        let report = giving.await.expect("no panic");
        assert!(report.moved == 3 && report.returned == 0 && report.broken.is_none(), "{report:?}");
    });
}

#[test]
fn a_session_over_tls_with_as_many_streams_as_may_move_fits_into_one_message() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        let giving = tokio::task::spawn_local(sender.run());
        let (mut transfer, _client) = over_tls(1, b"");
        let stream = |_| StreamTransfer {
            state: SavedStream::default(),
            exchange: Some(asking_exchange(plain(UnixStream::pair().expect("a pair").0))),
            pending: BytesMut::new(),
            received: BytesMut::new(),
        };
        transfer.load = Load::Http2(Box::new(Http2Transfer {
            session: Session::new(LocalSettings::default()).save(),
            client: SavedHttp2::default(),
            streams: (0..MOST_STREAMS).map(stream).collect(),
            ahead: BytesMut::new(),
        }));
        let place = successor.place().await.expect("a place");
        let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
        given.expect("given");
        let arrived = taken.expect("taken").expect("some").pop().expect("a connection");
        assert_eq!((arrived.descriptors(), arrived.socket.tls.is_some()), (1 + MOST_STREAMS, true));
        drop(successor);
        assert!(giving.await.expect("no panic").broken.is_none());
    });
}

#[test]
fn a_receiver_that_dies_before_it_takes_leaves_the_connection_with_its_state() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        let giving = tokio::task::spawn_local(sender.run());
        let place = successor.place().await.expect("a place");
        let given = tokio::task::spawn_local(place.give(over_tls(5, b"").0));
        tokio::task::yield_now().await;
        drop(receiver);
        let Err(Returned::Whole(transfer)) = given.await.expect("no panic") else { panic!("returned") };
        assert_same(transfer.socket.tls.as_ref().expect("TLS"), &tls(5));
        drop(successor);
        assert_eq!(giving.await.expect("no panic").returned, 1);
    });
}

/// A tunnel whose client speaks TLS or not, to a server that does.
fn tunnel_to_tls(number: u8, client_speaks_it: bool) -> (Transfer, UnixStream) {
    let (mut transfer, client) = idle(number.into(), b"");
    transfer.socket.tls = client_speaks_it.then(|| tls(number));
    let socket = UnixStream::pair().expect("a pair").0.into();
    let server = Detached { socket, tls: Some(tls(number + 100)) };
    let direction = |text: &str| SavedDirection { pending: BytesMut::from(text), ..SavedDirection::default() };
    let tunnel = TunnelTransfer { server, exchange: saved_exchange(), up: direction("up"), down: direction("down") };
    transfer.load = Load::Tunnel(Box::new(tunnel));
    (transfer, client)
}

/// An open exchange of a client without TLS, and a private connection, to servers that speak it.
fn exchange_to_tls(number: u8) -> (Transfer, UnixStream) {
    let (mut transfer, client) = idle(number.into(), b"");
    let to = |byte| Detached { socket: UnixStream::pair().expect("a pair").0.into(), tls: Some(tls(byte)) };
    let exchange = asking_exchange(to(number + 100));
    let [unsent, ahead] = [&b"unsent"[..], b"ahead"].map(BytesMut::from);
    let private = PrivateTransfer {
        socket: to(number + 50),
        tls: Some([9; 16]),
        pool: "farm".to_owned(),
        server: "https://a".to_owned(),
    };
    let client_side = Http1Client { state: saved_http1(), unsent, ahead };
    let http1 = Http1Transfer { exchange, client: client_side, private: vec![private] };
    transfer.load = Load::Http1(Box::new(http1));
    (transfer, client)
}

#[test]
fn tls_to_servers_arrives_with_the_connections_of_their_clients() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        let giving = tokio::task::spawn_local(sender.run());
        let transfers = [tunnel_to_tls(1, true), over_tls(2, b"x"), tunnel_to_tls(3, false), exchange_to_tls(4)];
        let (transfers, _clients): (Vec<_>, Vec<_>) = transfers.into_iter().unzip();
        let mut answers = Vec::new();
        for transfer in transfers {
            let place = successor.place().await.expect("a place");
            answers.push(tokio::task::spawn_local(place.give(transfer)));
        }
        let mut arrived = Vec::new();
        while arrived.len() < 4 {
            arrived.extend(receiver.next().await.expect("taken").expect("some"));
        }
        for answer in answers {
            answer.await.expect("no panic").expect("given");
        }
        for (transfer, number) in arrived.iter().zip(1_u8..) {
            assert_eq!(transfer.socket.tls.is_some(), number < 3);
            transfer.socket.tls.iter().for_each(|parts| assert_same(parts, &tls(number)));
            match &transfer.load {
                Load::Idle { ahead, .. } => assert_eq!((number, &ahead[..]), (2, &b"x"[..])),
                Load::Tunnel(tunnel) => {
                    assert_same(tunnel.server.tls.as_ref().expect("TLS"), &tls(number + 100));
                    assert_eq!([&tunnel.up.pending[..], &tunnel.down.pending], [&b"up"[..], b"down"]);
                }
                Load::Http1(http1) => {
                    let server = http1.exchange.server.as_ref().expect("a server");
                    assert_same(server.tls.as_ref().expect("TLS"), &tls(number + 100));
                    let [private] = &http1.private[..] else { panic!("one private connection") };
                    assert_same(private.socket.tls.as_ref().expect("TLS"), &tls(number + 50));
                    assert_eq!((private.tls, &private.server[..]), (Some([9; 16]), "https://a"));
                    assert_eq!([&http1.client.unsent[..], &http1.client.ahead], [&b"unsent"[..], b"ahead"]);
                }
                Load::Accepted(_) | Load::Http2(_) => panic!("none was sent"),
            }
        }
        drop(successor);
        let report = giving.await.expect("no panic");
        assert!(report.moved == 4 && report.returned == 0 && report.broken.is_none(), "{report:?}");
    });
}

#[test]
fn a_tunnel_with_tls_to_its_server_is_whole_on_one_side_whatever_becomes_of_the_link() {
    for (unpacks, client_speaks_it) in [(true, true), (true, false), (false, true), (false, false)] {
        run(async move {
            let (here, there) = Channel::pair().expect("pair");
            let giver = tokio::task::spawn_local(giving(here, tunnel_to_tls(5, client_speaks_it).0));
            let (link, batch, descriptors) = received(there).await;
            let batch = if unpacks {
                let taken = unpack(batch, descriptors).expect("a batch");
                assert_eq!(taken.len(), 1);
                None
            } else {
                Some((batch, descriptors))
            };
            drop(link); // dies before it acknowledges
            let (given, _) = giver.await.expect("no panic");
            match given {
                Ok(()) => assert!(unpacks),
                Err(Returned::Whole(transfer)) => {
                    let Load::Tunnel(tunnel) = transfer.load else { panic!("a tunnel") };
                    assert_same(tunnel.server.tls.as_ref().expect("TLS"), &tls(105));
                    assert_eq!(transfer.socket.tls.is_some(), client_speaks_it);
                    let (batch, descriptors) = batch.expect("it was not taken");
                    assert!(unpack(batch, descriptors).expect("a batch").is_empty());
                }
                Err(Returned::Lost) => panic!("lost"),
            }
        });
    }
}

/// The receiver's side by hand: the batch, unpacked or not, and no acknowledgement.
async fn received(there: Channel) -> (Link, Batch, Vec<std::os::fd::OwnedFd>) {
    let link = Link::new(there).expect("link");
    let capabilities = ToSender::Capabilities(Box::new(Capabilities::new(&config(), &[])));
    link.send(&capabilities, &[]).await.expect("sent");
    let (batch, descriptors) = link.receive::<Batch>().await.expect("received").expect("a batch");
    (link, batch, descriptors)
}

async fn giving(here: Channel, transfer: Transfer) -> (Result<(), Returned>, crate::handover::sender::TransferReport) {
    let (sender, successor) = Sender::open(here).expect("sender");
    let config = config();
    sender.receive_capabilities(&config, &Capabilities::new(&config, &[])).await.expect("capabilities");
    let run = tokio::task::spawn_local(sender.run());
    let place = successor.place().await.expect("a place");
    let given = place.give(transfer).await;
    drop(successor);
    (given, run.await.expect("no panic"))
}

#[test]
fn a_connection_that_was_taken_does_not_come_back_whatever_becomes_of_the_acknowledgement() {
    run(async {
        let (here, there) = Channel::pair().expect("pair");
        let giver = tokio::task::spawn_local(giving(here, over_tls(5, b"").0));
        let (link, batch, descriptors) = received(there).await;
        let taken = unpack(batch, descriptors).expect("a batch");
        assert_same(taken[0].socket.tls.as_ref().expect("TLS"), &tls(5));
        drop(link); // dies before it acknowledges
        let (given, report) = giver.await.expect("no panic");
        given.expect("it is not here any more");
        assert!(report.moved == 1 && report.returned == 0 && report.lost == 0, "{report:?}");
    });
}

#[test]
fn a_connection_that_came_back_cannot_be_taken_any_more() {
    run(async {
        let (here, there) = Channel::pair().expect("pair");
        let giver = tokio::task::spawn_local(giving(here, over_tls(5, b"").0));
        let (link, batch, descriptors) = received(there).await;
        drop(link); // and what was received is looked at late
        let (given, _) = giver.await.expect("no panic");
        assert!(matches!(given, Err(Returned::Whole(_))));
        assert!(unpack(batch, descriptors).expect("a batch").is_empty());
    });
}

#[test]
fn what_is_acknowledged_and_not_taken_goes_on_here_and_is_not_offered_again() {
    run(async {
        let (here, there) = Channel::pair().expect("pair");
        let giver = tokio::task::spawn_local(giving(here, over_tls(5, b"").0));
        let (link, batch, _descriptors) = received(there).await;
        link.send(&ToSender::Taken { number: batch.number }, &[]).await.expect("sent");
        let (given, report) = giver.await.expect("no panic");
        assert!(matches!(given, Err(Returned::Whole(_))));
        assert!(matches!(report.broken, Some(SendError::Left)) && report.returned == 1, "{report:?}");
    });
}

#[test]
fn the_messages_tell_no_keys() {
    let transfers = [over_tls(5, b"").0];
    let packed = pack(1, transfers.iter()).expect("packed");
    let text = serde_json::to_string(&packed.batch).expect("JSON");
    assert!(text.contains("\"tls\":{\"facts\":{\"version\":\"1.3\",\"suite\":4865,"), "{text}");
    let mut state = [0; TlsState::LENGTH];
    tls(5).state.write(&mut state);
    let payload =
        crate::control::payload::Payload::from(packed.descriptors()[1].try_clone_to_owned().expect("a descriptor"));
    let bytes = payload.read().expect("bytes");
    let secret = &state[20..36];
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    assert!(!format!("{transfers:?}").contains("5, 5, 5"), "nor does Debug");
}

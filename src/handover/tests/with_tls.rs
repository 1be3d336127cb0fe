//! TLS on connections that move.

use std::sync::Arc;

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

/// The receiver's side by hand: the batch, unpacked or not, and no acknowledgement.
async fn received(there: Channel) -> (Link, Batch, Vec<std::os::fd::OwnedFd>) {
    let link = Link::new(there).expect("link");
    let capabilities = ToSender::Capabilities(Capabilities::new(&config(), &[]));
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

//! Both sides of this program at one connection.

use std::io::IoSlice;

use bytes::BytesMut;

use super::super::tests::Server;
use super::super::{Established, Handshake, OpenedRecord, Records};
use super::*;

fn upstream(server: &Server, trust: ServerTrust) -> UpstreamTls {
    let options = UpstreamTlsOptions { trust, certificate: None };
    assert!(!server.config.alpn_protocols.is_empty());
    let name = ServerName::try_from("app.example").expect("a name");
    PoolTls::new(&options).expect("TLS").to_server(name, &[b"http/1.1"])
}

fn roots(server: &Server) -> ServerTrust {
    ServerTrust::Roots(Arc::new(vec![server.root()]))
}

/// A whole handshake, each flight in pieces of `piece` bytes, and the two ends of the connection.
fn shake(upstream: &UpstreamTls, server: &Server, piece: usize) -> Result<[Established; 2], HandshakeError> {
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let (mut client, mut accepting) = (upstream.begin(&mut to_server)?, Handshake::default());
    let (mut at_server, mut at_client) = (Vec::new(), BytesMut::new());
    let (mut here, mut there) = (None, None);
    for _ in 0..10 {
        for bytes in std::mem::take(&mut to_server).chunks(piece) {
            at_server.extend_from_slice(bytes);
            let (taken, done) = accepting.receive(&at_server, &mut to_client, |_| Some(server.config.clone()))?;
            at_server.drain(..taken);
            there = there.or(done);
        }
        for bytes in std::mem::take(&mut to_client).chunks(piece) {
            at_client.extend_from_slice(bytes);
            if here.is_none() {
                here = client.receive(&mut at_client, &mut to_server)?;
            }
        }
        if to_server.is_empty() && here.is_some() && there.is_some() {
            break;
        }
    }
    let (mut here, there) = (here.expect("a client"), there.expect("a server"));
    let mut records = Records::new(here.state).expect("keys");
    records.give_tickets_to(here.tickets.take().expect("what takes tickets"));
    while !at_client.is_empty() {
        let length = records.length(&at_client).expect("a record").expect("a header");
        let mut record = at_client.split_to(length);
        assert_eq!(records.open(&mut record, &mut Vec::new()), Ok(OpenedRecord::Nothing), "tickets come behind it");
    }
    here.state = records.park();
    Ok([here, there])
}

#[test]
fn a_handshake_ends_in_keys_that_both_sides_have_and_in_a_session_whatever_pieces_it_comes_in() {
    let server = Server::new();
    for piece in [1, 7, 100, 100_000] {
        let upstream = upstream(&server, roots(&server));
        for is_resumed in [false, true] {
            let [here, there] = shake(&upstream, &server, piece).expect("a handshake");
            assert_eq!((here.facts.resumed, there.facts.resumed), (is_resumed, is_resumed), "{piece}");
            assert_eq!(here.facts.alpn.as_deref(), Some("http/1.1"));
            assert_eq!(here.facts.server_name.as_deref(), Some("app.example"));
            assert!(here.state.is_client() && !there.state.is_client());
            let mut ends = [here, there].map(|end| Records::new(end.state).expect("keys"));
            for from in [0, 1] {
                let mut sealed = Vec::new();
                ends[from].seal(&[IoSlice::new(b"data")], &mut sealed).expect("sealed");
                let opened = ends[1 - from].open(&mut sealed, &mut Vec::new()).expect("opened");
                let OpenedRecord::Data(range) = opened else { panic!("data") };
                assert_eq!(&sealed[range], b"data");
            }
        }
    }
}

#[test]
fn a_server_that_shows_nothing_right_is_refused() {
    let (server, other) = (Server::new(), Server::new());
    let refused = |trust| shake(&upstream(&server, trust), &server, 1000).expect_err("refused");
    let error = refused(roots(&other));
    // both roots have one name
    assert_eq!(error, HandshakeError::Refused(Error::InvalidCertificate(CertificateError::BadSignature)));
    assert!(matches!(refused(ServerTrust::Roots(Arc::default())), HandshakeError::Refused(_)));
    let why = "the file is gone".to_owned();
    assert_eq!(refused(ServerTrust::Nothing(why.clone())), HandshakeError::Refused(Error::General(why)));
    shake(&upstream(&server, ServerTrust::Anything), &server, 1000).expect("whatever it shows");
}

#[test]
fn settings_that_believe_or_show_something_else_have_another_fingerprint() {
    let (server, other) = (Server::new(), Server::new());
    let with = |trust, name: &'static str, alpn: &[&[u8]]| {
        let options = UpstreamTlsOptions { trust, certificate: None };
        let name = ServerName::try_from(name).expect("a name");
        PoolTls::new(&options).expect("TLS").to_server(name, alpn).fingerprint()
    };
    let of = |trust, name| with(trust, name, &[]);
    assert_eq!(of(roots(&server), "app.example"), of(roots(&server), "app.example"));
    let all = [
        of(roots(&server), "app.example"),
        of(roots(&server), "b.example"),
        of(roots(&other), "app.example"),
        of(ServerTrust::Anything, "app.example"),
        of(ServerTrust::Nothing(String::new()), "app.example"),
        with(roots(&server), "app.example", &[b"h2"]),
    ];
    assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])));
}

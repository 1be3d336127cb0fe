//! Exchanges and connections of HTTP/2 arrive as they were given.

use super::*;

pub(super) fn saved_http1() -> SavedHttp1 {
    let half_closed = Some(SavedHalfClosed { age: Duration::from_secs(1), left: Duration::from_secs(59) });
    SavedHttp1 {
        request: SavedBody::Length(7),
        framing: SavedFraming::Chunked,
        has_head: true,
        closes: true,
        sent_ahead: 3,
        half_closed,
        read: Some(Duration::from_secs(2)),
        write: None,
    }
}

/// One of each kind.
pub(super) fn stages() -> [SavedStage; 4] {
    let retries = || SavedRetries {
        made: 1,
        most: 2,
        tried: vec!["a".to_owned()],
        fresh_only: true,
        timeout: Duration::from_secs(60),
        age: Duration::from_millis(3),
    };
    let upload = |sent| SavedUpload {
        chunked: true,
        limit: 1 << 30,
        length: None,
        received: 4,
        ended: false,
        asked_for: true,
        started: true,
        sent,
        broken: false,
    };
    let attempt = SavedAsking {
        written: 4,
        expects: true,
        go: SavedGo::Within(Duration::from_millis(400)),
        refuses: false,
        lenient: true,
        informational: 30,
        silent: Some(Duration::from_secs(5)),
        idle: Some(Duration::from_secs(9)),
        private: true,
        tls: Some([7; 16]),
    };
    let mut decoder = Decoder::response();
    let decoded = decoder.decode(&mut BytesMut::from(&b"a;name=\"va"[..]));
    assert_eq!(decoded, Ok(Decoded::NeedMore), "inside a quoted string of an extension");
    let response = SavedResponse {
        left: SavedBody::Chunked(Box::new(decoder)),
        server_keeps: true,
        server_keeps_for: Some(Duration::from_secs(5)),
        patience: Some(Duration::from_secs(55)),
        timeout: Duration::from_secs(60),
        is_tunnel: true,
        private: true,
        tls: Some([7; 16]),
    };
    let (connecting, pause) = (Duration::from_millis(7), Some(Duration::from_millis(200)));
    [
        SavedStage::Dispatch { retries: retries(), upload: upload(Some(2)), connecting, pause },
        SavedStage::Ask { retries: retries(), upload: upload(Some(2)), attempt },
        SavedStage::Response { response, upload: Some(upload(None)) },
        SavedStage::Whole,
    ]
}

/// An exchange that waits for the head of its response.
pub(super) fn asking_exchange(server: Detached) -> ExchangeTransfer {
    let [_, stage, ..] = stages();
    let state = SavedState {
        bytes_in: 1,
        bytes_out: 2,
        waits_for_continue: false,
        continued: false,
        end: None,
        detail: None,
        stage,
    };
    let [head, sent_head, body, unread] = [&b"head"[..], b"sent", b"body", b"unread"].map(BytesMut::from);
    ExchangeTransfer { server: Some(server), exchange: saved_exchange(), state, head, sent_head, body, unread }
}

#[test]
fn an_open_exchange_arrives_whole() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        for stage in stages() {
            let (end, detail) = (Some(End::new(Phase::Connect, Reason::ServerTimeout)), Some("late".to_owned()));
            let (mut transfer, _client) = idle(1, b"");
            let [server, private] = [(); 2].map(|()| plain(UnixStream::pair().expect("a pair").0));
            let state = SavedState {
                bytes_in: 1 << 40,
                bytes_out: 3,
                waits_for_continue: true,
                continued: true,
                end,
                detail,
                stage,
            };
            let [head, sent_head, body, unread] = [&b"head"[..], b"sent", b"body", b"unread"].map(BytesMut::from);
            let [unsent, ahead] = [&b"unsent"[..], b"ahead"].map(BytesMut::from);
            let server = (state.stage != SavedStage::Whole).then_some(server);
            let (exchange, saved) = (saved_exchange(), state.clone());
            let exchange = ExchangeTransfer { server, exchange, state: saved, head, sent_head, body, unread };
            let client = Http1Client { state: saved_http1(), unsent, ahead };
            let private =
                vec![PrivateTransfer { socket: private, tls: None, pool: "farm".to_owned(), server: "a".to_owned() }];
            transfer.load = Load::Http1(Box::new(Http1Transfer { exchange, client, private }));
            let place = successor.place().await.expect("a place");
            let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
            given.expect("given");
            let Some(Load::Http1(http1)) = taken.expect("taken").expect("some").pop().map(|transfer| transfer.load)
            else {
                panic!("an open exchange")
            };
            let Http1Transfer { exchange, client, private } = *http1;
            assert_eq!((&exchange.exchange, &exchange.state), (&saved_exchange(), &state));
            assert_eq!(exchange.server.is_some(), state.stage != SavedStage::Whole);
            assert_eq!([exchange.head, exchange.sent_head, exchange.body], [&b"head"[..], b"sent", b"body"]);
            assert_eq!([exchange.unread, client.unsent, client.ahead], [&b"unread"[..], b"unsent", b"ahead"]);
            assert_eq!((client.state, private.len()), (saved_http1(), 1));
        }
    });
}

#[test]
fn a_connection_of_http_2_arrives_whole() {
    run(async {
        let (sender, successor, receiver) = linked().await;
        tokio::task::spawn_local(sender.run());
        let (mut transfer, _client) = idle(1, b"");
        let exchange = asking_exchange(plain(UnixStream::pair().expect("a pair").0));
        let state = exchange.state.clone();
        let stream = SavedStream {
            left: Some(7),
            is_sent: false,
            is_tunnel: true,
            trailers: Some(vec![("x-sum".to_owned(), b"\xff1".to_vec())]),
            received_trailers: None,
            waits: Some(Duration::from_millis(3)),
            blocked: None,
        };
        let open = |exchange| StreamTransfer {
            state: stream.clone(),
            exchange,
            pending: BytesMut::from("pending"),
            received: BytesMut::from("received"),
        };
        let mut session = Session::new(LocalSettings::default()).save();
        (session.table, session.block) = (b"table".to_vec(), b"block".to_vec());
        let (state_of_session, unsent) = (session.state.clone(), session.unsent.clone());
        let client = SavedHttp2 { inside: Some((5, Duration::from_millis(2))), ..SavedHttp2::default() };
        let (streams, ahead) = (vec![open(None), open(Some(exchange))], BytesMut::from("ahead"));
        transfer.load = Load::Http2(Box::new(Http2Transfer { session, client: client.clone(), streams, ahead }));
        assert_eq!((transfer.descriptors(), transfer.bytes()), (2, 15 + unsent.len() + 2 * 15 + 18));
        let place = successor.place().await.expect("a place");
        let (given, taken) = tokio::join!(place.give(transfer), receiver.next());
        given.expect("given");
        let Some(Load::Http2(arrived)) = taken.expect("taken").expect("some").pop().map(|transfer| transfer.load)
        else {
            panic!("a connection of HTTP/2")
        };
        assert_eq!((arrived.session.state, arrived.session.unsent), (state_of_session, unsent));
        assert_eq!(
            [&arrived.session.table[..], &arrived.session.block, &arrived.ahead],
            [&b"table"[..], b"block", b"ahead"]
        );
        assert_eq!(arrived.client, client);
        for (number, arrived) in arrived.streams.iter().enumerate() {
            assert_eq!(arrived.state, stream);
            assert_eq!([&arrived.pending, &arrived.received], [&b"pending"[..], b"received"]);
            assert_eq!(arrived.exchange.as_ref().map(|exchange| &exchange.state), (number == 1).then_some(&state));
        }
        let exchange = arrived.streams.into_iter().find_map(|stream| stream.exchange).expect("an exchange");
        assert_eq!([exchange.head, exchange.body, exchange.unread], [&b"head"[..], b"body", b"unread"]);
    });
}

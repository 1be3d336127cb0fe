//! Records beside the vectors of RFC 8448, against themselves, and with rustls at the other end.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::super::suite::{KEY, SECRET};
use super::super::tests::{Server, client, give, hex, sent, shake, suites};
use super::*;

const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];
const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Chacha20Poly1305];

/// Records whose two directions have the same keys, so that they open what they have sealed.
fn mirror(version: Version, suite: Suite) -> Records {
    from(version, suite, 0)
}

fn from(version: Version, suite: Suite, sequence: u64) -> Records {
    let mut state = TlsState::new(version, suite);
    let state_of = &mut *state;
    for direction in [&mut state_of.reading, &mut state_of.writing] {
        match version {
            Version::Tls13 => direction.set_secret(suite, &[7; SECRET], sequence).expect("expanded"),
            Version::Tls12 => {
                direction.key = [7; KEY];
                direction.iv = std::array::from_fn(|at| at as u8);
                direction.sequence = sequence;
            }
        }
    }
    Records::new(state).expect("keys")
}

/// All pairs of version and suite.
fn all() -> impl Iterator<Item = (Version, Suite)> {
    VERSIONS.into_iter().flat_map(|version| SUITES.into_iter().map(move |suite| (version, suite)))
}

fn seal(records: &mut Records, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    records.seal(&[IoSlice::new(data)], &mut out).expect("sealed");
    out
}

/// One record of any type.
fn record(records: &mut Records, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    records.seal_record(kind, &[content], &mut out).expect("sealed");
    out
}

/// Opens the records in `bytes`: their data, and what was answered.
fn open_all(records: &mut Records, mut bytes: &mut [u8]) -> Result<(Vec<u8>, Vec<u8>), RecordError> {
    let (mut data, mut answer) = (Vec::new(), Vec::new());
    while let Some(length) = records.length(bytes)? {
        let (record, rest) = bytes.split_at_mut(length);
        if let OpenedRecord::Data(range) = records.open(record, &mut answer)? {
            data.extend_from_slice(&record[range]);
        }
        bytes = rest;
    }
    Ok((data, answer))
}

fn open_one(records: &mut Records, mut record: Vec<u8>) -> Result<OpenedRecord, RecordError> {
    records.open(&mut record, &mut Vec::new())
}

/// Writes the state as bytes and goes on from those, as another process does.
fn moved(records: Records) -> Records {
    let mut bytes = [0; TlsState::LENGTH];
    records.park().write(&mut bytes);
    Records::new(TlsState::read(&bytes).expect("a state")).expect("keys")
}

/// RFC 8448 §3: the client's records are opened, the server's are sealed, byte for byte.
#[test]
fn records_are_those_of_rfc_8448() {
    let secret = |text| {
        let mut secret = [0; SECRET];
        secret[..32].copy_from_slice(&hex(text));
        secret
    };
    let client = secret("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    let server = secret("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    let mut state = TlsState::new(Version::Tls13, Suite::Aes128Gcm);
    state.reading.set_secret(Suite::Aes128Gcm, &client, 0).expect("expanded");
    // the ticket was number 0
    state.writing.set_secret(Suite::Aes128Gcm, &server, 1).expect("expanded");
    let mut records = Records::new(state).expect("keys");

    let data: Vec<u8> = (0..50).collect();
    let mut from_client =
        hex("1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a
                               20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4");
    let opened = records.open(&mut from_client, &mut Vec::new()).expect("opened");
    assert_eq!(opened, OpenedRecord::Data(5..55));
    assert_eq!(from_client[5..55], data);
    let from_server =
        hex("17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a
                           59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d");
    assert_eq!(seal(&mut records, &data), from_server);
    let close = hex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3");
    assert_eq!(open_one(&mut records, close), Ok(OpenedRecord::Closed));
    let mut out = Vec::new();
    records.close(&mut out);
    assert_eq!(out, hex("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"));
}

#[test]
fn what_is_sealed_is_opened_and_every_record_may_be_followed_by_a_move() {
    for (version, suite) in all() {
        let mut records = from(version, suite, 41);
        for length in [1, 100, MOST - 1, MOST, MOST + 1, 3 * MOST] {
            let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut sealed = seal(&mut records, &data);
            records = moved(records);
            let opened = open_all(&mut records, &mut sealed).expect("opened");
            assert_eq!(opened, (data, Vec::new()), "{version:?} {suite:?} {length}");
        }
    }
}

#[test]
fn slices_fill_records_as_if_they_were_one() {
    for (version, suite) in all() {
        let (mut whole, mut sliced) = (mirror(version, suite), mirror(version, suite));
        let data: Vec<u8> = (0..50_000_u32).map(|at| at as u8).collect();
        let slices: Vec<IoSlice<'_>> =
            [&data[..0], &data[..10], &data[10..20_000], &data[20_000..20_000], &data[20_000..]]
                .map(IoSlice::new)
                .into();
        let mut out = Vec::new();
        sliced.seal(&slices, &mut out).expect("sealed");
        assert_eq!(out, seal(&mut whole, &data), "{version:?} {suite:?}");
        sliced.seal(&[], &mut out).expect("nothing to seal");
        assert_eq!(sliced.state.writing.sequence, 4, "no record without data");
    }
}

#[test]
fn rustls_opens_what_is_sealed_and_the_other_way_round() {
    let server = Server::new();
    for suite in suites() {
        let mut client = client(&server.client_with(suite, &[]));
        let (established, _) = shake(&mut client, &server.config, 100_000);
        let mut records = Records::new(established.state).expect("keys");
        for length in [1, 1000, 100_000] {
            let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut got = vec![0; length];
            let mut rest = &seal(&mut records, &data)[..];
            let mut at = 0;
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("read");
                client.process_new_packets().expect("opened");
                at += client.reader().read(&mut got[at..]).unwrap_or(0);
            }
            assert_eq!((at, &got), (length, &data), "{suite:?}");
            let mut sealed = Vec::new();
            for piece in data.chunks(10_000) {
                client.writer().write_all(piece).expect("taken");
                sealed.extend(sent(&mut client));
            }
            records = moved(records);
            assert_eq!(open_all(&mut records, &mut sealed).expect("opened").0, data, "{suite:?}");
        }
        let mut out = Vec::new();
        records.close(&mut out);
        let mut rest = &out[..];
        client.read_tls(&mut rest).expect("read");
        assert!(client.process_new_packets().expect("close_notify").peer_has_closed());
        client.send_close_notify();
        assert_eq!(open_one(&mut records, sent(&mut client)), Ok(OpenedRecord::Closed));
    }
}

#[test]
fn a_key_update_of_rustls_is_followed_and_answered_before_the_next_data() {
    let server = Server::new();
    for suite in suites().into_iter().filter(|suite| suite.tls13().is_some()) {
        let mut client = client(&server.client_with(suite, &[]));
        let (established, _) = shake(&mut client, &server.config, 100_000);
        let mut records = Records::new(established.state).expect("keys");
        for round in 0..4_u8 {
            client.refresh_traffic_keys().expect("a KeyUpdate");
            client.writer().write_all(&[round]).expect("taken");
            let (data, answer) = open_all(&mut records, &mut sent(&mut client)).expect("opened");
            assert_eq!((data, answer), (vec![round], vec![]));
            assert_eq!(records.state.reading.sequence, 1, "counted from 0 under the new key");
            records = moved(records);
            let key = records.state.writing.key;
            let sealed = seal(&mut records, b"answer");
            assert_ne!(records.state.writing.key, key);
            give(&mut client, &sealed).expect("opened");
            let mut got = [0; 6];
            client.reader().read_exact(&mut got).expect("the answer");
            assert_eq!(&got, b"answer");
        }
    }
}

#[test]
fn a_key_update_without_a_question_changes_one_direction_only() {
    for suite in SUITES {
        let (mut here, mut there) = (mirror(Version::Tls13, suite), mirror(Version::Tls13, suite));
        there.state.owes_key_update = true;
        let mut sealed = seal(&mut there, b"new key");
        assert_eq!(open_all(&mut here, &mut sealed).expect("opened").0, b"new key");
        assert!(!here.state.owes_key_update);
        assert_eq!(here.state.writing.sequence, 0);
    }
}

#[test]
fn a_key_update_may_come_in_parts_and_is_kept_over_a_move() {
    let message = [KEY_UPDATE, 0, 0, 1, 1];
    for cut in 1..KeyUpdatePart::MOST {
        let (mut here, mut there) = (mirror(Version::Tls13, SUITES[0]), mirror(Version::Tls13, SUITES[0]));
        assert_eq!(open_one(&mut here, record(&mut there, HANDSHAKE, &message[..cut])), Ok(OpenedRecord::Nothing));
        here = moved(here);
        assert_eq!(open_one(&mut here, record(&mut there, HANDSHAKE, &message[cut..])), Ok(OpenedRecord::Nothing));
        assert!(here.state.owes_key_update);
        assert_eq!(here.state.reading.sequence, 0);
    }
}

#[test]
fn nothing_may_stand_between_the_parts_of_a_key_update() {
    for (kind, content) in [(DATA, &b"data"[..]), (DATA, b""), (ALERT, &[WARNING, CLOSE_NOTIFY])] {
        let (mut here, mut there) = (mirror(Version::Tls13, SUITES[0]), mirror(Version::Tls13, SUITES[0]));
        open_one(&mut here, record(&mut there, HANDSHAKE, &[KEY_UPDATE, 0])).expect("a part");
        assert_eq!(open_one(&mut here, record(&mut there, kind, content)), Err(RecordError::UnexpectedMessage));
    }
}

#[test]
fn handshake_messages_that_have_no_place_are_refused() {
    let cases: [(&[u8], RecordError); 7] = [
        (&[CLIENT_HELLO, 0, 0, 0], RecordError::UnexpectedMessage),
        (&[4], RecordError::UnexpectedMessage),
        (&[KEY_UPDATE, 0, 0, 2, 0], RecordError::DecodeError),
        (&[KEY_UPDATE, 0, 0, 0], RecordError::DecodeError),
        (&[KEY_UPDATE, 0, 0, 1, 2], RecordError::IllegalParameter),
        (&[KEY_UPDATE, 0, 0, 1, 0, KEY_UPDATE, 0, 0, 1, 0], RecordError::UnexpectedMessage),
        (&[], RecordError::UnexpectedMessage),
    ];
    for (content, error) in cases {
        let (mut here, mut there) = (mirror(Version::Tls13, SUITES[0]), mirror(Version::Tls13, SUITES[0]));
        let bytes = record(&mut there, HANDSHAKE, content);
        assert_eq!(open_one(&mut here, bytes), Err(error), "{content:?}");
    }
}

/// Records of a client whose server has the same keys.
fn of_client(version: Version) -> Records {
    let mut records = mirror(version, Suite::Aes128Gcm);
    records.state.is_client = true;
    records
}

#[test]
fn tickets_of_a_server_are_passed_over_whatever_records_and_moves_they_come_in() {
    let ticket =
        |length: usize| [&[NEW_SESSION_TICKET, 0, (length >> 8) as u8, length as u8][..], &vec![9; length]].concat();
    let messages = [ticket(300), ticket(1), ticket(5000), vec![KEY_UPDATE, 0, 0, 1, 0]].concat();
    for size in [1, 2, 3, 5, 7, 100, 4000, messages.len()] {
        let mut server = mirror(Version::Tls13, Suite::Aes128Gcm);
        let mut client = of_client(Version::Tls13);
        for part in messages.chunks(size) {
            let opened = open_one(&mut client, record(&mut server, HANDSHAKE, part));
            assert_eq!(opened, Ok(OpenedRecord::Nothing), "{size}");
            client.state.fruitless = 0; // so many records in a row are too many
            client = moved(client);
        }
        server.state.writing.update(Suite::Aes128Gcm).expect("updated");
        server.sealing = Suite::Aes128Gcm.prepare(&server.state.writing.key).expect("prepared");
        let data = seal(&mut server, b"data");
        assert!(matches!(open_one(&mut client, data), Ok(OpenedRecord::Data(_))), "{size}");
    }
}

#[test]
fn nothing_may_stand_inside_a_ticket_and_a_client_sends_none() {
    let mut server = mirror(Version::Tls13, Suite::Aes128Gcm);
    let mut client = of_client(Version::Tls13);
    let part = record(&mut server, HANDSHAKE, &[NEW_SESSION_TICKET, 0, 0, 9, 1]);
    open_one(&mut client, part).expect("a part");
    assert_eq!(open_one(&mut client, seal(&mut server, b"x")), Err(RecordError::UnexpectedMessage));
    let mut mirrored = mirror(Version::Tls13, Suite::Aes128Gcm);
    let ticket = record(&mut mirrored, HANDSHAKE, &[NEW_SESSION_TICKET, 0, 0, 1, 1]);
    assert_eq!(open_one(&mut mirrored, ticket), Err(RecordError::UnexpectedMessage));
    for message in [&[13, 0, 0, 1, 0][..], &[NEW_SESSION_TICKET, 0, 0, 0], &[HELLO_REQUEST, 0, 0, 0]] {
        let (mut server, mut client) = (mirror(Version::Tls13, Suite::Aes128Gcm), of_client(Version::Tls13));
        let sent = record(&mut server, HANDSHAKE, message);
        open_one(&mut client, sent).expect_err("it has no place");
    }
}

#[test]
fn a_server_of_tls_1_2_may_ask_for_a_renegotiation_once() {
    let (mut server, mut client) = (mirror(Version::Tls12, Suite::Aes128Gcm), of_client(Version::Tls12));
    let mut ask = |client: &mut Records| {
        let mut answer = Vec::new();
        let mut asked = record(&mut server, HANDSHAKE, &[HELLO_REQUEST, 0, 0, 0]);
        client.open(&mut asked, &mut answer).map(|opened| (opened, answer.len()))
    };
    assert!(matches!(ask(&mut client), Ok((OpenedRecord::Nothing, 1..))), "no_renegotiation is the answer");
    assert_eq!(ask(&mut client), Err(RecordError::UnexpectedMessage));
}

#[test]
fn a_key_that_has_sealed_enough_is_followed_by_the_next_one() {
    for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm] {
        let limit = suite.most_records();
        assert!(limit as f64 <= 2_f64.powf(24.5));
        let (mut here, mut there) = (from(Version::Tls13, suite, limit - 1), from(Version::Tls13, suite, limit - 1));
        for sequence in [limit, 1, 2] {
            let mut sealed = seal(&mut here, b"data");
            assert_eq!(here.state.writing.sequence, sequence, "{suite:?}");
            assert_eq!(open_all(&mut there, &mut sealed).expect("opened").0, b"data");
        }
    }
}

#[test]
fn tls_1_2_ends_with_close_notify_when_its_key_has_sealed_enough() {
    let limit = Suite::Aes128Gcm.most_records();
    let mut records = from(Version::Tls12, Suite::Aes128Gcm, limit);
    let mut out = Vec::new();
    assert_eq!(records.seal(&[IoSlice::new(b"data")], &mut out), Err(RecordError::Exhausted));
    assert_eq!(out, b"");
    records.close(&mut out);
    let mut there = from(Version::Tls12, Suite::Aes128Gcm, limit);
    assert_eq!(open_one(&mut there, out), Ok(OpenedRecord::Closed));
}

#[test]
fn numbers_that_are_used_up_end_the_connection_and_never_wrap() {
    for version in VERSIONS {
        let mut records = from(version, Suite::Chacha20Poly1305, u64::MAX);
        let mut out = Vec::new();
        assert_eq!(records.seal_record(DATA, &[b"data"], &mut out), Err(RecordError::Exhausted));
        records.close(&mut out);
        assert_eq!(out, b"");
        let bytes = record(&mut mirror(version, Suite::Chacha20Poly1305), DATA, b"data");
        assert_eq!(open_one(&mut records, bytes), Err(RecordError::Exhausted));
    }
}

#[test]
fn a_record_that_was_changed_is_not_opened() {
    for (version, suite) in all() {
        let sealed = seal(&mut mirror(version, suite), b"data");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let opened = open_one(&mut mirror(version, suite), changed);
            // TLS 1.2 sends the version that the other data is authenticated with as 3.3, whatever the header says
            let is_ignored = at == 2 && version == Version::Tls12;
            assert_eq!(opened.is_err(), !is_ignored, "{version:?} {suite:?}: byte {at}");
        }
        let mut twice = mirror(version, suite);
        open_one(&mut twice, sealed.clone()).expect("the first time");
        assert_eq!(open_one(&mut twice, sealed.clone()), Err(RecordError::BadRecordMac), "a record again");
        for length in 0..sealed.len() {
            assert!(open_one(&mut mirror(version, suite), sealed[..length].to_vec()).is_err());
        }
    }
}

#[test]
fn padding_is_taken_away_and_nothing_but_padding_is_refused() {
    // what `seal_record` takes as the content is followed by one more byte that is not 0
    let padded = |content: &[u8]| {
        let mut there = mirror(Version::Tls13, SUITES[0]);
        let (_, nonce) = there.state.writing.step().expect("a number");
        let [high, low] = u16::try_from(content.len() + TAG).expect("short").to_be_bytes();
        let header = [DATA, 3, 3, high, low];
        let mut body = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        there.sealing.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).expect("sealed");
        [&header[..], &body].concat()
    };
    let open = |content: &[u8]| open_one(&mut mirror(Version::Tls13, SUITES[0]), padded(content));
    assert_eq!(open(&[1, 0, 2, DATA, 0, 0, 0]), Ok(OpenedRecord::Data(5..8)));
    assert_eq!(open(&[DATA, 0, 0]), Ok(OpenedRecord::Nothing));
    assert_eq!(open(&[0; 100]), Err(RecordError::UnexpectedMessage));
    assert_eq!(open(&[]), Err(RecordError::UnexpectedMessage));
    assert_eq!(open(&[1, 20]), Err(RecordError::UnexpectedMessage), "ChangeCipherSpec");
    let mut most = vec![1; MOST + 1];
    most[MOST] = DATA;
    assert_eq!(open(&most), Ok(OpenedRecord::Data(5..5 + MOST)));
    most.push(0);
    assert_eq!(open(&most), Err(RecordError::RecordOverflow), "padding counts too");
}

#[test]
fn headers_that_announce_no_record_are_refused_before_the_record_is_there() {
    for (version, suite) in all() {
        let records = mirror(version, suite);
        let overhead = if version == Version::Tls13 { 17 } else { 16 + records.state.explicit_nonce() };
        let header = |kind, major, length: usize| {
            let [high, low] = u16::try_from(length).expect("short").to_be_bytes();
            records.length(&[kind, major, 3, high, low])
        };
        assert_eq!(records.length(&[DATA, 3, 3, 0]), Ok(None));
        assert_eq!(header(DATA, 3, MOST + overhead), Ok(Some(HEADER + MOST + overhead)));
        assert_eq!(header(DATA, 3, MOST + overhead + 1), Err(RecordError::RecordOverflow));
        assert_eq!(header(DATA, 2, 100), Err(RecordError::DecodeError));
        assert_eq!(header(b'G', 3, 100), Err(RecordError::UnexpectedMessage));
        assert_eq!(header(20, 3, 1), Err(RecordError::UnexpectedMessage), "ChangeCipherSpec");
        assert_eq!(header(ALERT, 3, 2).is_err(), version == Version::Tls13, "an alert in plaintext");
    }
}

#[test]
fn records_without_data_are_allowed_up_to_32_in_a_row() {
    let fruitless: [(u8, &[u8]); 3] =
        [(DATA, b""), (ALERT, &[WARNING, USER_CANCELED]), (HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 1])];
    for (kind, content) in fruitless {
        let (mut here, mut there) = (mirror(Version::Tls13, SUITES[0]), mirror(Version::Tls13, SUITES[0]));
        let mut send = |records: &mut Records, kind, content: &[u8]| {
            let bytes = record(&mut there, kind, content);
            if kind == HANDSHAKE {
                there.state.writing.update(SUITES[0]).expect("expanded");
                there.sealing = SUITES[0].prepare(&there.state.writing.key).expect("a key");
            }
            open_one(records, bytes)
        };
        for _ in 0..2 {
            for _ in 0..MOST_FRUITLESS {
                send(&mut here, kind, content).expect("allowed");
                here = moved(here);
            }
            send(&mut here, DATA, b"data").expect("data: counted anew");
        }
        for _ in 0..MOST_FRUITLESS {
            send(&mut here, kind, content).expect("allowed");
        }
        assert_eq!(send(&mut here, kind, content), Err(RecordError::UnexpectedMessage));
    }
}

#[test]
fn alerts_end_the_connection_but_for_those_that_say_nothing() {
    for version in VERSIONS {
        let alert = |content: &[u8]| {
            let bytes = record(&mut mirror(version, SUITES[0]), ALERT, content);
            open_one(&mut mirror(version, SUITES[0]), bytes)
        };
        assert_eq!(alert(&[WARNING, CLOSE_NOTIFY]), Ok(OpenedRecord::Closed));
        assert_eq!(alert(&[FATAL, CLOSE_NOTIFY]), Ok(OpenedRecord::Closed));
        assert_eq!(alert(&[WARNING, USER_CANCELED]), Ok(OpenedRecord::Nothing));
        assert_eq!(alert(&[FATAL, 20]), Err(RecordError::Alert(20)));
        let other_warning = match version {
            Version::Tls12 => Ok(OpenedRecord::Nothing),
            Version::Tls13 => Err(RecordError::Alert(41)),
        };
        assert_eq!(alert(&[WARNING, 41]), other_warning);
        assert_eq!(alert(&[FATAL]), Err(RecordError::DecodeError));
        assert_eq!(alert(&[]), Err(RecordError::UnexpectedMessage));
    }
}

#[test]
fn what_comes_after_close_notify_is_not_looked_at_and_the_other_direction_goes_on() {
    for (version, suite) in all() {
        let (mut here, mut there) = (mirror(version, suite), mirror(version, suite));
        let mut close = Vec::new();
        there.close(&mut close);
        assert_eq!(open_one(&mut here, close), Ok(OpenedRecord::Closed));
        here = moved(here);
        assert_eq!(open_one(&mut here, vec![1; 100]), Ok(OpenedRecord::Closed));
        let sealed = seal(&mut here, b"data");
        assert!(open_one(&mut mirror(version, suite), sealed).is_ok());
    }
}

#[test]
fn nothing_is_sealed_after_the_last_alert() {
    for (version, suite) in all() {
        for fail in [None, Some(RecordError::BadRecordMac), Some(RecordError::Alert(40))] {
            let (mut records, mut out) = (mirror(version, suite), Vec::new());
            match fail {
                Some(error) => records.fail(error, &mut out),
                None => records.close(&mut out),
            }
            let told = match fail {
                None => Ok(OpenedRecord::Closed),
                Some(RecordError::Alert(_)) => Err(RecordError::DecodeError),
                Some(error) => Err(RecordError::Alert(error.alert().expect("one"))),
            };
            assert_eq!(open_one(&mut mirror(version, suite), out.clone()), told);
            let length = out.len();
            records = moved(records);
            records.close(&mut out);
            records.fail(RecordError::DecodeError, &mut out);
            assert_eq!(records.seal(&[IoSlice::new(b"data")], &mut out), Err(RecordError::Exhausted));
            assert_eq!(out.len(), length);
        }
    }
}

#[test]
fn tls_1_2_refuses_renegotiation_once_and_then_ends() {
    for suite in SUITES {
        let (mut here, mut there) = (mirror(Version::Tls12, suite), mirror(Version::Tls12, suite));
        let hello = [CLIENT_HELLO, 0, 0, 2, 3, 3];
        let (_, mut answer) = open_all(&mut here, &mut record(&mut there, HANDSHAKE, &hello)).expect("refused");
        assert_eq!(open_all(&mut mirror(Version::Tls12, suite), &mut answer), Ok((vec![], vec![])));
        assert_eq!(answer[answer.len() - TAG - 2..][..2], [WARNING, NO_RENEGOTIATION], "opened in place");
        here = moved(here);
        let again = record(&mut there, HANDSHAKE, &hello);
        assert_eq!(open_one(&mut here, again), Err(RecordError::UnexpectedMessage));
    }
}

#[test]
fn debug_shows_nothing_secret() {
    let shown = format!("{:?}", mirror(Version::Tls13, Suite::Aes128Gcm));
    assert_eq!(shown, "Records(TlsState { version: Tls13, suite: Aes128Gcm, read: 0, written: 0, .. })");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes: an error or data, and no panic.
    #[test]
    fn any_bytes_are_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 20..24_u8) {
        for (version, suite) in all() {
            let mut records = mirror(version, suite);
            let _ = open_one(&mut records, bytes.clone());
            if bytes.len() >= HEADER {
                let [high, low] = ((bytes.len() - HEADER) as u16).to_be_bytes();
                let record = [&[kind, 3, 3, high, low], &bytes[HEADER..]].concat();
                prop_assert!(open_one(&mut records, record).is_err());
            }
        }
    }

    /// Pieces of any size, with moves between them, are the same stream of bytes.
    #[test]
    fn any_pieces_are_one_stream(pieces in prop::collection::vec((0..40_000_usize, any::<bool>()), 1..6)) {
        for (version, suite) in all() {
            let (mut here, mut there) = (mirror(version, suite), mirror(version, suite));
            for &(length, moves) in &pieces {
                let data = vec![length as u8; length];
                let mut sealed = seal(&mut there, &data);
                prop_assert_eq!(open_all(&mut here, &mut sealed).expect("opened").0, data);
                if moves {
                    here = moved(here);
                    there = moved(there);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_opened_was_sealed_whatever_comes_between_and_whenever_keys_and_processes_change(
        steps in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        fuzzing::run(&steps);
    }
}

#[test]
fn the_type_of_a_record_of_tls_1_3_stands_before_its_padding() {
    // the last byte that is not 0 of what is sealed as type 0
    for (version, opened) in [(Version::Tls13, Ok(1)), (Version::Tls12, Err(RecordError::UnexpectedMessage))] {
        let (mut here, mut peer) = (mirror(version, Suite::Aes128Gcm), mirror(version, Suite::Aes128Gcm));
        let sealed = record(&mut peer, 0, &[b'x', DATA, 0, 0]);
        let length = match open_one(&mut here, sealed) {
            Ok(OpenedRecord::Data(data)) => Ok(data.len()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(length, opened, "{version:?}");
    }
}

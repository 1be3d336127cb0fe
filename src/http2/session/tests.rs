//! Facts about a session: frames in, events and frames out.

use super::*;
use crate::http2::frame::{Flags, head};

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A session whose client has begun, and what it does with more.
struct Fixture {
    session: Session,
    fields: FieldSection,
    age: Duration,
}

/// What came of bytes: the events as text, or the code of the error.
type Came = Result<Vec<String>, ErrorCode>;

impl Fixture {
    fn new() -> Self {
        Self::with(LocalSettings { max_streams: 4, ..LocalSettings::default() })
    }

    fn with(local: LocalSettings) -> Self {
        let mut fixture = Self { session: Session::new(local), fields: FieldSection::default(), age: Duration::ZERO };
        assert_eq!(fixture.take(&[&PREFACE[..], SETTINGS].concat()), Ok(vec![]));
        fixture.sent();
        fixture
    }

    fn take(&mut self, input: &[u8]) -> Came {
        let (mut rest, mut events) = (input, Vec::new());
        loop {
            let (used, event) = self.session.next(rest, &mut self.fields, self.age).map_err(|error| error.code)?;
            rest = &rest[used..];
            let Some(event) = event else { break };
            let text = match &event {
                Event::Request { key, is_too_large: false } => {
                    format!(
                        "request {key} {}",
                        String::from_utf8_lossy(self.fields.text()).lines().next().expect("a line")
                    )
                }
                Event::Data { key, data } => format!("data {key} {}", data.len()),
                Event::Broken { key, .. } => format!("Broken {{ key: {key} }}"),
                other => format!("{other:?}"),
            };
            events.push(text);
        }
        assert!(rest.is_empty(), "whole frames");
        Ok(events)
    }

    /// The frames that were sent since the last time: type, flags, stream, payload.
    fn sent(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let (octets, mut frames) = (self.session.output().to_vec(), Vec::new());
        self.session.wrote(octets.len());
        let mut rest = &octets[..];
        while let Some(head) = FrameHead::read(rest) {
            frames.push((rest[3], head.flags.0, head.stream, rest[HEAD..HEAD + head.len].to_vec()));
            rest = &rest[HEAD + head.len..];
        }
        frames
    }

    /// The resets among them: stream and code.
    fn resets(&mut self) -> Vec<(u32, u32)> {
        let resets = self.sent().into_iter().filter(|frame| frame.0 == FrameKind::RstStream as u8);
        resets.map(|(_, _, stream, payload)| (stream, frame::number(&payload))).collect()
    }
}

pub(super) fn frame(kind: FrameKind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&head(payload.len(), kind, Flags(flags), stream)[..], payload].concat()
}

pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    block
}

pub(super) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(FrameKind::Headers, 5, stream, &block(&GET))
}

/// A request whose body has this length, or is to come without one.
pub(super) fn post(stream: u32, length: Option<&str>) -> Vec<u8> {
    let mut fields = GET.to_vec();
    fields[0].1 = "POST";
    fields.extend(length.map(|length| ("content-length", length)));
    frame(FrameKind::Headers, 4, stream, &block(&fields))
}

pub(super) fn data(stream: u32, ends: bool, data: &[u8]) -> Vec<u8> {
    frame(FrameKind::Data, ends.into(), stream, data)
}

#[test]
fn a_request_opens_a_stream_and_its_response_closes_it() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.take(&get(1)), Ok(vec!["request 0 GET / HTTP/1.1".to_owned()]));
    fixture.session.respond(0, 200, b"Content-Length: 2\r\nConnection: x\r\nX-A:  b \r\n", false);
    fixture.session.send(0, b"ok", true);
    fixture.session.finish(0);
    let sent = fixture.sent();
    assert_eq!(sent.iter().map(|frame| (frame.0, frame.1, frame.2)).collect::<Vec<_>>(), [(1, 4, 1), (0, 1, 1)]);
    let mut fields = Vec::new();
    let take = |name: &[u8], value: &[u8]| fields.push((name.to_vec(), value.to_vec()));
    HpackDecoder::new(4096).decode(&sent[0].3, &mut crate::http2::hpack::Strings::default(), take).expect("a block");
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| [&name[..], b"=", value].concat().escape_ascii().to_string()).collect();
    assert_eq!(fields, [":status=200", "content-length=2", "x-a=b"], "names in lower case, nothing of HTTP/1");
    assert_eq!(fixture.session.open(), 0);
}

#[test]
fn frames_may_come_in_single_octets() {
    let mut fixture = Fixture::new();
    let (input, mut events) = ([get(1), post(3, None), data(3, true, b"abc")].concat(), Vec::new());
    let mut ahead = Vec::new();
    for octet in input {
        ahead.push(octet);
        loop {
            let (used, event) = fixture.session.next(&ahead, &mut fixture.fields, Duration::ZERO).expect("no fault");
            events.extend(event.map(|event| format!("{event:?}").split(' ').next().unwrap_or_default().to_owned()));
            ahead.drain(..used);
            if used == 0 {
                break;
            }
        }
    }
    assert_eq!((events, ahead.len()), (["Request", "Request", "Data"].map(str::to_owned).to_vec(), 0));
}

#[test]
fn what_does_not_begin_as_http_2_is_refused() {
    for input in
        [&b"GET / HTTP/1.1\r\n\r\n      "[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", &[&PREFACE[..], &get(1)].concat()]
    {
        let mut session = Session::new(LocalSettings::default());
        let error = session.next(input, &mut FieldSection::default(), Duration::ZERO).expect_err("a fault");
        assert_eq!(error.code, ErrorCode::ProtocolError);
    }
}

// The request was whole for the server with its last octet, and DATA beyond it could only be reset afterwards.
#[test]
fn a_body_is_as_long_as_it_says_and_not_whole_before_its_end() {
    let mut fixture = Fixture::new();
    fixture.take(&[post(1, Some("3")), data(1, false, b"abc")].concat()).expect("so far");
    assert!(fixture.session.awaits_end(0));
    assert_eq!(fixture.take(&data(1, true, b"")), Ok(vec!["data 0 0".to_owned()]));
    assert!(!fixture.session.awaits_end(0) && fixture.session.is_received(0));
    for rest in [data(3, false, b"abcd"), data(3, true, b"ab"), frame(FrameKind::Headers, 5, 3, &block(&[("a", "b")]))]
    {
        let mut fixture = Fixture::new();
        fixture.take(&[get(1), post(3, Some("3"))].concat()).expect("so far");
        assert_eq!(fixture.take(&rest).expect("the stream alone"), ["Broken { key: 1 }"]);
        assert_eq!((fixture.resets(), fixture.session.open()), (vec![(3, 1)], 1));
    }
}

#[test]
fn trailers_end_a_body() {
    let mut fixture = Fixture::new();
    let trailers = frame(FrameKind::Headers, 5, 1, &block(&[("x-sum", "7"), ("host", "b")]));
    assert!(
        fixture.take(&[post(1, None), data(1, false, b"abc"), trailers].concat()).is_ok_and(|events| events.len() == 3)
    );
    assert!(fixture.session.is_received(0));
    let fault = [&b":path"[..], b"connection", b"X"];
    for name in fault {
        let mut fixture = Fixture::new();
        let name = std::str::from_utf8(name).expect("text");
        let trailers = frame(FrameKind::Headers, 5, 1, &block(&[(name, "7")]));
        let events = fixture.take(&[post(1, None), trailers].concat()).expect("the stream alone");
        assert_eq!((&events[1][..], fixture.resets()), ("Broken { key: 0 }", vec![(1, 1)]), "{name}");
    }
}

#[test]
fn padding_and_priorities_are_taken_off() {
    let mut fixture = Fixture::new();
    let padded = [&[2][..], &[0, 0, 0, 0, 16], &block(&GET), &[0; 2]].concat();
    assert_eq!(fixture.take(&frame(FrameKind::Headers, 0x2c, 1, &padded)).map(|events| events.len()), Ok(1));
    assert_eq!(fixture.take(&frame(FrameKind::Data, 9, 1, b"\x03abcXYZ")), Ok(vec!["data 0 3".to_owned()]));
    let mut fixture = Fixture::new();
    fixture.take(&post(1, None)).expect("a request");
    assert_eq!(fixture.take(&frame(FrameKind::Data, 8, 1, b"\x05abc")), Err(ErrorCode::ProtocolError));
    assert_eq!(Fixture::new().take(&frame(FrameKind::Headers, 0x2d, 1, b"\x00")), Err(ErrorCode::FrameSizeError));
}

#[test]
fn a_window_is_given_back_when_the_body_is_taken() {
    let local = LocalSettings { stream_window: 100_000, connection_window: 200_000, ..LocalSettings::default() };
    let mut fixture = Fixture::with(local);
    fixture.take(&post(1, None)).expect("a request");
    for _ in 0..6 {
        fixture.take(&data(1, false, &[0; 16_384])).expect("room");
    }
    assert_eq!(fixture.sent(), [], "nothing was taken");
    assert_eq!(fixture.take(&data(1, false, &[0; 10_000])).expect("the stream alone"), ["Broken { key: 0 }"]);
    let updates = |sent: Vec<(u8, u8, u32, Vec<u8>)>| {
        sent.into_iter().map(|frame| (frame.0, frame.2, frame::number(&frame.3))).collect::<Vec<_>>()
    };
    // the connection has back what was held of the stream that is reset
    assert_eq!(updates(fixture.sent()), [(3, 1, 3), (8, 0, 6 * 16_384 + 10_000)]);
    fixture.take(&post(3, None)).expect("a request");
    for _ in 0..4 {
        fixture.take(&data(3, false, &[0; 16_384])).expect("room");
        fixture.session.give_back(0, 16_384);
    }
    assert_eq!(updates(fixture.sent()), [(8, 3, 4 * 16_384)]);
}

#[test]
fn more_than_the_window_of_the_connection_ends_it() {
    let local = LocalSettings { stream_window: 1 << 20, connection_window: 65_535, ..LocalSettings::default() };
    let mut fixture = Fixture::with(local);
    fixture.take(&post(1, None)).expect("a request");
    (0..3).for_each(|_| drop(fixture.take(&data(1, false, &[0; 16_384])).expect("room")));
    assert_eq!(fixture.take(&data(1, false, &[0; 16_384])), Err(ErrorCode::FlowControlError));
}

#[test]
fn the_windows_of_the_client_bound_what_is_sent() {
    let mut fixture = Fixture::new();
    fixture.take(&get(1)).expect("a request");
    fixture.session.respond(0, 200, b"", false);
    assert_eq!(fixture.session.room(0), 65_535);
    let small = frame(FrameKind::Settings, 0, 0, &[0, 4, 0, 0, 0, 5]);
    assert_eq!(fixture.take(&small), Ok(vec!["Windows { key: None }".to_owned()]));
    assert_eq!(fixture.session.room(0), 5);
    fixture.session.send(0, b"12345", false);
    fixture.take(&frame(FrameKind::Settings, 0, 0, &[0, 4, 0, 0, 0, 1])).expect("a smaller window");
    assert_eq!(fixture.session.room(0), 0, "it is negative");
    let update = |stream: u32, by: u32| frame(FrameKind::WindowUpdate, 0, stream, &by.to_be_bytes());
    fixture.take(&update(1, 6)).expect("a window");
    assert_eq!(fixture.session.room(0), 2);
    fixture.sent();
    assert_eq!(fixture.take(&update(1, 0)).expect("the stream alone"), ["Broken { key: 0 }"]);
    assert_eq!(fixture.resets(), [(1, 1)]);
    assert_eq!(fixture.take(&update(0, 0x7fff_ffff)), Err(ErrorCode::FlowControlError));
}

#[test]
fn a_large_head_goes_on_in_continuation() {
    let mut fixture = Fixture::new();
    fixture.take(&get(1)).expect("a request");
    let large = format!("x-large: {}\r\n", "\u{7f}".repeat(40_000)); // no code is shorter
    fixture.session.respond(0, 200, large.as_bytes(), true);
    let sent: Vec<_> = fixture.sent().into_iter().map(|frame| (frame.0, frame.1, frame.3.len())).collect();
    assert_eq!(sent[..2], [(1, 1, 16_384), (9, 0, 16_384)]);
    assert_eq!((sent.len(), sent[2].0, sent[2].1), (3, 9, 4));
}

#[test]
fn a_stream_above_the_limit_may_be_tried_again() {
    let mut fixture = Fixture::new();
    (0..4).for_each(|place| drop(fixture.take(&get(2 * place + 1)).expect("a request")));
    assert_eq!(fixture.take(&get(9)), Ok(vec![]));
    assert_eq!(fixture.resets(), [(9, 7)]);
    assert_eq!(fixture.take(&data(9, true, b"")), Ok(vec![]), "it was on its way");
    assert_eq!(fixture.resets(), []);
}

#[test]
fn what_the_connection_does_not_survive() {
    let settings = |id: u8, value: u32| [&[0, id][..], &value.to_be_bytes()].concat();
    let cases: [(&str, Vec<u8>, ErrorCode); 22] = [
        ("DATA on no stream", data(0, true, b""), ErrorCode::ProtocolError),
        ("DATA on an idle stream", data(1, true, b""), ErrorCode::ProtocolError),
        ("HEADERS on an even stream", get(2), ErrorCode::ProtocolError),
        ("a number that goes back", [get(5), get(3)].concat(), ErrorCode::ProtocolError),
        ("a reset of an idle stream", frame(FrameKind::RstStream, 0, 1, &[0; 4]), ErrorCode::ProtocolError),
        ("a short reset", frame(FrameKind::RstStream, 0, 1, &[0; 3]), ErrorCode::FrameSizeError),
        ("a short PRIORITY", frame(FrameKind::Priority, 0, 1, &[0; 4]), ErrorCode::FrameSizeError),
        (
            "a stream that depends on itself",
            frame(FrameKind::Priority, 0, 1, &[0, 0, 0, 1, 0]),
            ErrorCode::ProtocolError,
        ),
        ("SETTINGS on a stream", frame(FrameKind::Settings, 0, 1, &[]), ErrorCode::ProtocolError),
        ("a short SETTINGS", frame(FrameKind::Settings, 0, 0, &[0; 5]), ErrorCode::FrameSizeError),
        (
            "an acknowledgement that says something",
            frame(FrameKind::Settings, 1, 0, &[0; 6]),
            ErrorCode::FrameSizeError,
        ),
        ("a flag of 2", frame(FrameKind::Settings, 0, 0, &settings(2, 2)), ErrorCode::ProtocolError),
        ("a window of 2^31", frame(FrameKind::Settings, 0, 0, &settings(4, 1 << 31)), ErrorCode::FlowControlError),
        ("a small frame size", frame(FrameKind::Settings, 0, 0, &settings(5, 16_383)), ErrorCode::ProtocolError),
        ("PUSH_PROMISE", frame(FrameKind::PushPromise, 4, 1, &[0; 4]), ErrorCode::ProtocolError),
        ("PING on a stream", frame(FrameKind::Ping, 0, 1, &[0; 8]), ErrorCode::ProtocolError),
        ("a short PING", frame(FrameKind::Ping, 0, 0, &[0; 7]), ErrorCode::FrameSizeError),
        ("GOAWAY on a stream", frame(FrameKind::GoAway, 0, 1, &[0; 8]), ErrorCode::ProtocolError),
        ("CONTINUATION of nothing", frame(FrameKind::Continuation, 4, 1, &[]), ErrorCode::ProtocolError),
        (
            "a frame inside a field block",
            [frame(FrameKind::Headers, 1, 1, &block(&GET)), frame(FrameKind::Ping, 0, 0, &[0; 8])].concat(),
            ErrorCode::ProtocolError,
        ),
        ("a malformed field block", frame(FrameKind::Headers, 5, 1, &[0x80]), ErrorCode::CompressionError),
        ("a frame that is too large", head(16_385, FrameKind::Data, Flags(0), 1).to_vec(), ErrorCode::FrameSizeError),
    ];
    for (what, input, code) in cases {
        assert_eq!(Fixture::new().take(&input), Err(code), "{what}");
    }
}

#[test]
fn what_is_not_known_is_ignored() {
    let mut fixture = Fixture::new();
    let unknown = [&[0, 0, 1, 0x55, 0xff, 0, 0, 0, 7][..], b"x"].concat();
    let setting = frame(FrameKind::Settings, 0, 0, &[0, 0x55, 0, 0, 0, 1]);
    assert_eq!(fixture.take(&[unknown, setting].concat()), Ok(vec![]));
    assert_eq!(fixture.sent(), [(4, 1, 0, vec![])], "an acknowledgement");
}

#[test]
fn frames_after_the_end_of_a_stream_are_told_and_those_after_our_reset_are_not() {
    let mut fixture = Fixture::new();
    fixture.take(&[get(1), post(3, None)].concat()).expect("requests");
    fixture.session.respond(0, 204, b"", true);
    fixture.session.finish(0);
    fixture.session.respond(1, 204, b"", true);
    fixture.session.finish(1);
    assert_eq!(fixture.resets(), [(3, 0)], "the rest of a request is not wanted");
    fixture.take(&[data(1, true, b"x"), data(3, false, b"y")].concat()).expect("no fault of the connection");
    assert_eq!(fixture.resets(), [(1, 5)]);
    fixture.take(&frame(FrameKind::Headers, 5, 3, &block(&[("a", "b")]))).expect("trailers that were on their way");
    let mut fixture = Fixture::new();
    fixture.take(&get(1)).expect("a request");
    fixture.session.respond(0, 204, b"", true);
    fixture.session.finish(0);
    assert_eq!(fixture.take(&get(1)), Err(ErrorCode::StreamClosed));
}

#[test]
fn a_malformed_request_ends_its_stream_alone() {
    let mut fixture = Fixture::new();
    let malformed = frame(FrameKind::Headers, 5, 1, &block(&GET[..3]));
    let events = fixture.take(&[malformed, get(3)].concat()).expect("the stream alone");
    assert!(events[0].starts_with("Malformed") && events[1].starts_with("request"), "{events:?}");
    assert_eq!(fixture.resets(), [(1, 1)]);
}

#[test]
fn floods_end_the_connection_and_a_polite_client_may_say_much() {
    let ping = frame(FrameKind::Ping, 0, 0, &[0; 8]);
    let reset = |stream: u32| [get(stream), frame(FrameKind::RstStream, 0, stream, &[0, 0, 0, 8])].concat();
    let malformed = |stream: u32| frame(FrameKind::Headers, 5, stream, &block(&GET[..3]));
    let settings = frame(FrameKind::Settings, 0, 0, &[]);
    let empty = data(1, false, b"");
    let most = |each: &dyn Fn(u32) -> Vec<u8>| {
        let mut fixture = Fixture::new();
        fixture.take(&post(1, None)).expect("a request");
        let ends = (1..10_000_u32).find(|round| match fixture.take(&each(2 * round + 1)) {
            Ok(_) => {
                fixture.sent();
                false
            }
            Err(code) => {
                assert_eq!(code, ErrorCode::EnhanceYourCalm);
                true
            }
        });
        ends.expect("an end")
    };
    for (what, ends, bound) in [
        ("rapid reset", most(&reset), 250),
        ("streams that we have to reset", most(&malformed), 250),
        ("PING", most(&|_| ping.clone()), 2100),
        ("SETTINGS", most(&|_| settings.clone()), 2100),
        ("empty DATA", most(&|_| empty.clone()), 500),
        ("windows", most(&|_| frame(FrameKind::WindowUpdate, 0, 0, &[0, 0, 0, 1])), 2100),
        ("priorities", most(&|_| frame(FrameKind::Priority, 0, 9, &[0; 5])), 2100),
        ("priorities of RFC 9218", most(&|_| frame(FrameKind::PriorityUpdate, 0, 0, b"\0\0\0\x01u=1")), 2100),
    ] {
        assert!(ends <= bound, "{what} went on for {ends}");
    }
    // a window for each frame of a long response, and a ping now and then
    let mut fixture = Fixture::new();
    fixture.take(&get(1)).expect("a request");
    fixture.session.respond(0, 200, b"", false);
    for round in 0..100_000_u32 {
        fixture.session.send(0, &[0; 1000], false);
        for stream in [0, 1] {
            fixture.take(&frame(FrameKind::WindowUpdate, 0, stream, &1000_u32.to_be_bytes())).expect("a window");
        }
        if round % 10 == 0 {
            fixture.take(&ping).expect("a ping");
        }
        fixture.sent();
    }
}

#[test]
fn a_field_block_without_end_is_refused() {
    let mut fixture = Fixture::new();
    fixture.take(&frame(FrameKind::Headers, 0, 1, &[])).expect("a beginning");
    let many = (0..40).find_map(|_| fixture.take(&frame(FrameKind::Continuation, 0, 1, b"")).err());
    assert_eq!(many, Some(ErrorCode::EnhanceYourCalm));
    let mut fixture = Fixture::new();
    fixture.take(&frame(FrameKind::Headers, 0, 1, &[])).expect("a beginning");
    let large = (0..10).find_map(|_| fixture.take(&frame(FrameKind::Continuation, 0, 1, &[0; 16_384])).err());
    assert_eq!(large, Some(ErrorCode::EnhanceYourCalm));
}

#[test]
fn a_head_that_is_too_large_is_told_and_the_next_one_is_read() {
    let mut fixture = Fixture::with(LocalSettings { max_fields: 100, ..LocalSettings::default() });
    let value = "v".repeat(100);
    let large: Vec<_> = GET.into_iter().chain([("x-large", &value[..])]).collect();
    // an entry of the dynamic table, used again after the limit: references of one octet each
    let bomb = [&[0x40, 1, b'a', 100][..], value.as_bytes(), &[0xbe; 20]].concat();
    let bomb = frame(FrameKind::Headers, 5, 3, &[&block(&GET)[..], &bomb].concat());
    let events =
        fixture.take(&[frame(FrameKind::Headers, 5, 1, &block(&large)), bomb, get(5)].concat()).expect("no fault");
    assert_eq!(events[0], "Request { key: 0, is_too_large: true }");
    assert_eq!(events[1], "Request { key: 1, is_too_large: true }");
    assert_eq!(events[2], "request 2 GET / HTTP/1.1");
    assert!(fixture.fields.text().len() < 100);
}

#[test]
fn a_client_that_leaves_in_time_loses_nothing() {
    let mut fixture = Fixture::new();
    fixture.take(&get(1)).expect("a request");
    fixture.session.announce_leave();
    let sent = fixture.sent();
    assert_eq!((sent[0].0, frame::number(&sent[0].3), sent[1].0), (7, 0x7fff_ffff, 6));
    assert_eq!(fixture.take(&get(3)).map(|events| events.len()), Ok(1), "it was on its way");
    let answer = frame(FrameKind::Ping, 1, 0, &sent[1].3);
    assert_eq!(fixture.take(&answer), Ok(vec!["LeaveIsKnown".to_owned()]));
    fixture.session.leave(ErrorCode::NoError);
    assert_eq!(frame::number(&fixture.sent()[0].3), 3);
    assert_eq!(fixture.take(&[get(5), data(5, true, b"")].concat()), Ok(vec![]), "the client knows better");
    assert_eq!((fixture.sent(), fixture.session.open()), (vec![], 2));
}

#[test]
fn priorities_are_known_as_long_as_streams_are_open() {
    let mut fixture = Fixture::new();
    let fields: Vec<_> = GET.into_iter().chain([("priority", "u=1, i")]).collect();
    fixture.take(&[get(1), frame(FrameKind::Headers, 5, 3, &block(&fields))].concat()).expect("requests");
    assert_eq!(fixture.session.priority(1), Some(Priority { urgency: 1, is_incremental: true }));
    assert_eq!((fixture.session.priority(0), fixture.session.has_priorities()), (None, true));
    fixture.take(&frame(FrameKind::PriorityUpdate, 0, 0, b"\0\0\0\x01u=7")).expect("an update");
    assert_eq!(fixture.session.priority(0).map(|priority| priority.urgency), Some(7));
    (0..2).for_each(|key| fixture.session.finish(key));
    assert!(!fixture.session.has_priorities());
}

//! Frames of an HTTP/2 server, as the first octet cuts them: a session in the role of the client says the same of them whole,
//! in pieces, and when it moves to another process in between, and what it sends are frames.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use segue_fuzz::cut;
use segue_fuzz::http2::frame::{FrameHead, HEAD, PREFACE};
use segue_fuzz::http2::session::client::RequestHints;
use segue_fuzz::http2::session::saved::SavedSession;
use segue_fuzz::http2::settings::LocalSettings;
use segue_fuzz::http2::{Event, FieldSection, Session};

fuzz_target!(|data: &[u8]| {
    let Some((cut, frames)) = cut(data) else { return };
    let whole = ask(frames, &[frames.len()], false);
    assert_eq!(ask(frames, &[cut, frames.len()], false), whole);
    assert_eq!(ask(frames, &[cut, frames.len()], true).0, whole.0);
    let every: Vec<usize> = (0..=frames.len()).collect();
    assert_eq!(ask(frames, &every, false), whole);
});

const LOCAL: LocalSettings =
    LocalSettings { table: 4096, max_streams: 0, stream_window: 1000, connection_window: 70_000, max_fields: 512 };
const HEADS: [(&[u8], bool); 3] = [
    (b"GET /a HTTP/1.1\r\nhost: a.test\r\nx-a: b\r\n\r\n", true),
    (b"POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n", false),
    (b"HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n", true),
];

/// What a session hears of frames that come in pieces, and what it sends.
fn ask(frames: &[u8], ends: &[usize], moves: bool) -> (Vec<String>, Vec<u8>) {
    let (mut session, mut section) = (Session::client(LOCAL), FieldSection::default());
    let (mut heard, mut used) = (Vec::new(), 0);
    request(&mut session, 0);
    for &end in ends {
        loop {
            match session.next(&frames[used..end], &mut section, Duration::ZERO) {
                Err(error) => {
                    heard.push(error.to_string());
                    return (heard, sent(&session));
                }
                Ok((len, event)) => {
                    used += len;
                    let Some(event) = event else { break };
                    heard.push(said(&session, &event, &section));
                    answer(&mut session, &event, heard.len());
                }
            }
        }
        if moves && end < frames.len() {
            let SavedSession { state, table, block, unsent } = session.save();
            let state = serde_json::from_str(&serde_json::to_string(&state).expect("JSON")).expect("the same");
            let saved = SavedSession { state, table, block, unsent };
            session = Session::resumed(saved, LOCAL).expect("what a session is can be saved");
        }
    }
    (heard, sent(&session))
}

fn request(session: &mut Session, place: usize) {
    let (head, ends) = HEADS[place % HEADS.len()];
    session.request(head, RequestHints { scheme: b"http", protocol: None, ends });
}

/// An event, with numbers in the place of keys, which are others after a move.
fn said(session: &Session, event: &Event<'_>, section: &FieldSection) -> String {
    match *event {
        Event::Response { key } => {
            let (status, lines) = (section.status().as_u16(), section.lines().escape_ascii());
            assert!(status != 101 && (100..1000).contains(&status));
            format!("{} {status} {lines}", session.id(key))
        }
        Event::Data { key, data } => format!("{} {}", session.id(key), data.escape_ascii()),
        Event::Trailers { key } => format!("{} {:?}", session.id(key), section.trailers()),
        Event::Windows { key } => format!("{:?}", key.map(|key| session.id(key))),
        Event::Reset { code, .. } => format!("reset {code:?}"),
        Event::Broken { rule, .. } => rule.to_owned(),
        ref other => format!("{other:?}"),
    }
}

fn answer(session: &mut Session, event: &Event<'_>, place: usize) {
    match *event {
        Event::Data { key, data } => {
            session.give_back(key, data.len());
            close(session, key);
        }
        Event::Response { key } | Event::Trailers { key } => close(session, key),
        Event::Windows { key: Some(key) } if !session.is_sent(key) => {
            let room = session.room(key).min(3);
            session.send(key, &b"yyy"[..room], place % 5 == 0);
        }
        Event::GoAway { last, .. } => drop(session.close_unknown(last)),
        Event::Settings => request(session, place),
        _ => {}
    }
    assert!(session.streams_left() as u64 <= u64::from(u32::MAX));
}

fn close(session: &mut Session, key: usize) {
    if session.is_received(key) && session.is_sent(key) {
        session.finish(key);
    }
}

fn sent(session: &Session) -> Vec<u8> {
    let mut rest = session.output();
    rest = rest.strip_prefix(&PREFACE[..]).unwrap_or(rest);
    while let Some(head) = FrameHead::read(rest) {
        assert!(head.kind.is_some());
        rest = &rest[HEAD + head.len..];
    }
    assert!(rest.is_empty(), "whole frames");
    session.output().to_vec()
}

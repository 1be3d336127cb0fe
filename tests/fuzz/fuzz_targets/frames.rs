//! Frames of an HTTP/2 client, as the first octet cuts them: a session says the same of them whole and in pieces, what it
//! answers are frames, and a field block that is understood is one that can be written again.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use segue_fuzz::cut;
use segue_fuzz::http2::frame::{FrameHead, HEAD, PREFACE};
use segue_fuzz::http2::hpack::{HpackDecoder, HpackEncoder, Strings};
use segue_fuzz::http2::session::saved::SavedSession;
use segue_fuzz::http2::settings::LocalSettings;
use segue_fuzz::http2::{Event, FieldSection, Session};

fuzz_target!(|data: &[u8]| {
    let Some((cut, frames)) = cut(data) else { return };
    let whole = serve(frames, [frames.len()]);
    assert_eq!(serve(frames, [cut, frames.len()]), whole);
    assert_eq!(serve(frames, 0..=frames.len()), whole);
    let (moved, stayed) = (events(frames, cut, true), events(frames, cut, false));
    assert_eq!(moved, stayed);
    fields(frames);
});

/// What a session says of frames that come in pieces, and what it sends.
fn serve(frames: &[u8], ends: impl IntoIterator<Item = usize>) -> (Vec<String>, Vec<u8>) {
    let local = LocalSettings { max_streams: 8, max_fields: 512, ..LocalSettings::default() };
    let (mut session, mut section) = (Session::new(local), FieldSection::default());
    let input = [&PREFACE[..], frames].concat();
    let (mut said, mut used) = (Vec::new(), 0);
    for end in ends {
        loop {
            match session.next(&input[used..PREFACE.len() + end], &mut section, Duration::ZERO) {
                Err(error) => {
                    said.push(error.to_string());
                    return (said, sent(&session));
                }
                Ok((len, event)) => {
                    used += len;
                    let Some(event) = event else { break };
                    said.push(format!("{event:?}"));
                    answer(&mut session, &event, &section, &mut said);
                }
            }
        }
    }
    (said, sent(&session))
}

/// What a session hears of frames, when it goes on in another process after the first `cut` octets or stays.
fn events(frames: &[u8], cut: usize, moves: bool) -> Vec<String> {
    let local = LocalSettings { max_streams: 8, max_fields: 512, ..LocalSettings::default() };
    let (mut session, mut section) = (Session::new(local), FieldSection::default());
    let input = [&PREFACE[..], frames].concat();
    let (mut heard, mut used) = (Vec::new(), 0);
    for end in [PREFACE.len() + cut, input.len()] {
        loop {
            match session.next(&input[used..end], &mut section, Duration::ZERO) {
                Err(error) => {
                    heard.push(error.to_string());
                    return heard;
                }
                Ok((len, event)) => {
                    used += len;
                    let Some(event) = event else { break };
                    heard.push(match event {
                        // a key is another one after a move
                        Event::Request { key, is_too_large } => format!("{} {is_too_large}", session.id(key)),
                        Event::Data { key, data } => format!("{} {}", session.id(key), data.escape_ascii()),
                        Event::Trailers { key } => format!("{} {:?}", session.id(key), section.trailers()),
                        Event::Windows { key } => format!("{:?}", key.map(|key| session.id(key))),
                        Event::Reset { .. } => "reset".to_owned(),
                        Event::Broken { .. } => "broken".to_owned(),
                        ref other => format!("{other:?}"),
                    });
                    answer(&mut session, &event, &section, &mut heard);
                }
            }
        }
        if moves && end < input.len() {
            let SavedSession { state, table, block, unsent } = session.save();
            let state = serde_json::from_str(&serde_json::to_string(&state).expect("JSON")).expect("the same");
            let saved = SavedSession { state, table, block, unsent };
            session = Session::resumed(saved, local).expect("what a session is can be saved");
        }
    }
    heard
}

fn answer(session: &mut Session, event: &Event<'_>, section: &FieldSection, said: &mut Vec<String>) {
    match *event {
        Event::Request { key, .. } => {
            said.push(section.text().escape_ascii().to_string());
            session.respond(key, 200, b"X-A: b\r\nContent-Type: text/plain\r\n", false);
            let room = session.room(key).min(1000);
            session.send(key, &[b'x'; 1000][..room], false);
        }
        Event::Data { key, data } => {
            session.give_back(key, data.len());
            if session.is_received(key) {
                session.send(key, &[], true);
                session.finish(key);
            }
        }
        Event::Trailers { key } => {
            said.push(format!("{:?}", section.trailers()));
            session.trailers(key, &section.trailers());
            session.finish(key);
        }
        Event::Windows { key: Some(key) } => session.send(key, &[b'y'; 3][..session.room(key).min(3)], false),
        _ => {}
    }
}

fn sent(session: &Session) -> Vec<u8> {
    let mut rest = session.output();
    while let Some(head) = FrameHead::read(rest) {
        assert!(head.kind.is_some());
        rest = &rest[HEAD + head.len..];
    }
    assert!(rest.is_empty(), "whole frames");
    session.output().to_vec()
}

/// A field block, with a table of 100 octets.
fn fields(block: &[u8]) {
    let mut seen = Vec::new();
    let take = |name: &[u8], value: &[u8]| seen.push((name.to_vec(), value.to_vec()));
    if HpackDecoder::new(100).decode(block, &mut Strings::default(), take).is_err() {
        return;
    }
    let (mut encoder, mut decoder) = (HpackEncoder::default(), HpackDecoder::new(4096));
    for _ in 0..2 {
        let (mut written, mut again) = (Vec::new(), Vec::new());
        encoder.begin(&mut written);
        seen.iter().for_each(|(name, value)| encoder.field(&mut written, name, value));
        let take = |name: &[u8], value: &[u8]| again.push((name.to_vec(), value.to_vec()));
        decoder.decode(&written, &mut Strings::default(), take).expect("what was written is understood");
        assert_eq!(again, seen);
    }
}

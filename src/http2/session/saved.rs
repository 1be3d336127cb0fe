//! A session that goes on in another process: all that its client counts on, as plain data.
//!
//! The table of our encoder is not part of it. The next field block clears that of the client, which costs the first
//! responses some octets and spares as many of each session that moves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::output::OutputBuffer;
use super::{Begun, FieldBlock, Leaving, Session, SessionRole};
use crate::http2::account::AbuseAccount;
use crate::http2::frame::MAX_31;
use crate::http2::hpack::{HpackDecoder, HpackEncoder};
use crate::http2::settings::{self, Id, LocalSettings, PeerSettings};
use crate::http2::streams::{RecentlyClosed, StreamState, Streams};
use crate::http2::window::{ReceiveWindow, SendWindow};

/// A session between two processes.
#[derive(Debug, PartialEq)]
pub struct SavedSession {
    /// What is small.
    pub state: SessionState,
    /// The dynamic table of the decoder, as a field block that makes it out of an empty one.
    pub table: Vec<u8>,
    /// What has come of a field block.
    pub block: Vec<u8>,
    /// What is on its way to the client: its first octet may stand inside a frame.
    pub unsent: Vec<u8>,
}

/// The state of a session but for what is large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    /// Of a server, where a generation without other ones says nothing.
    #[serde(default)]
    role: SessionRole,
    local: LocalSettings,
    /// SETTINGS that the client has not acknowledged.
    unacknowledged: u32,
    next_max_streams: Option<u32>,
    peer: PeerSettings,
    begun: Begun,
    block: Option<SavedBlock>,
    /// In the order of their keys.
    streams: Vec<StreamState>,
    /// The oldest first.
    closed: Vec<u32>,
    last: u32,
    send: SendWindow,
    receive: ReceiveWindow,
    /// The size that the table of the encoder may have.
    table: usize,
    account: AbuseAccount,
    leaving: Leaving,
    #[serde(default)]
    is_told_to_go: bool,
}

/// A field block of which not all has come, without its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedBlock {
    stream: u32,
    ends: bool,
    frames: u32,
}

/// A saved session is none that [`Session::save`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved state of an HTTP/2 connection contradicts itself")]
pub struct Contradiction;

/// More streams than a client may have open, whatever its settings.
const MOST_STREAMS: usize = 1000;
/// Octets of a table that a decoder may have.
const MOST_TABLE: u32 = 64 * 1024;

impl Session {
    /// Takes the session apart. The open streams have new keys in the next one: their places in the order of the keys here.
    #[must_use]
    pub fn save(self) -> SavedSession {
        let (saved, block) = match self.block {
            Some(block) => {
                let FieldBlock { stream, ends, octets, frames } = *block;
                (Some(SavedBlock { stream, ends, frames }), octets)
            }
            None => (None, Vec::new()),
        };
        let (streams, closed) = self.streams.save();
        let state = SessionState {
            role: self.role,
            local: self.local,
            unacknowledged: self.unacknowledged,
            next_max_streams: self.next_max_streams,
            peer: self.peer,
            begun: self.begun,
            block: saved,
            streams,
            closed,
            last: self.last,
            send: self.send,
            receive: self.receive,
            table: self.encoder.max_size(),
            account: self.account,
            leaving: self.leaving,
            is_told_to_go: self.is_told_to_go,
        };
        SavedSession { state, table: self.decoder.save(), block, unsent: self.output.rest().to_vec() }
    }

    /// Goes on with a session, for which `local` holds from now on: the client hears of what is new, its windows stay.
    ///
    /// # Errors
    /// When [`Session::save`] does not make such a thing.
    pub fn resumed(saved: SavedSession, local: LocalSettings) -> Result<Self, Contradiction> {
        let SavedSession { state, table, block, unsent } = saved;
        let is_right = state.is_right() && (state.block.is_some() || block.is_empty());
        let mut decoder = HpackDecoder::new(state.local.table as usize);
        if !is_right || !decoder.restore(&table) {
            return Err(Contradiction);
        }
        let block = state
            .block
            .map(|SavedBlock { stream, ends, frames }| Box::new(FieldBlock { stream, ends, octets: block, frames }));
        let mut session = Self {
            role: state.role,
            local: state.local,
            unacknowledged: state.unacknowledged,
            next_max_streams: state.next_max_streams,
            peer: state.peer,
            begun: state.begun,
            block,
            streams: Streams::restored(state.streams, state.closed),
            last: state.last,
            send: state.send,
            receive: state.receive,
            decoder,
            encoder: HpackEncoder::restored(state.table),
            account: state.account,
            age: Duration::ZERO,
            leaving: state.leaving,
            is_told_to_go: state.is_told_to_go,
            output: OutputBuffer::from(unsent),
        };
        session.set_local(local);
        Ok(session)
    }

    /// Says what is new of `local` to the client. It may have more streams at once, and fewer once it knows (RFC 9113
    /// §6.5.3).
    fn set_local(&mut self, local: LocalSettings) {
        let said = self.next_max_streams.unwrap_or(self.local.max_streams);
        let streams = (local.max_streams != said).then_some((Id::MaxConcurrentStreams, local.max_streams));
        let is_other = local.max_fields != self.local.max_fields;
        let fields = is_other.then_some((Id::MaxHeaderListSize, local.max_fields));
        if streams.is_none() && fields.is_none() {
            return;
        }
        self.local.max_fields = local.max_fields;
        self.local.max_streams = self.local.max_streams.max(local.max_streams);
        self.next_max_streams = (local.max_streams < self.local.max_streams).then_some(local.max_streams);
        settings::put(self.output.octets(), streams.into_iter().chain(fields));
        self.unacknowledged += 1;
    }
}

impl SessionState {
    fn is_right(&self) -> bool {
        let is_of_client = |id: u32| !id.is_multiple_of(2) && id <= self.last;
        let ids: Vec<u32> = self.streams.iter().map(|stream| stream.id).collect();
        let are_distinct = ids.iter().enumerate().all(|(place, id)| !ids[..place].contains(id));
        let is_block_right = self.block.is_none_or(|block| !block.stream.is_multiple_of(2) && block.stream <= MAX_31);
        self.last <= MAX_31
            && ids.len() <= MOST_STREAMS
            && ids.iter().all(|id| is_of_client(*id))
            && are_distinct
            && is_block_right
            && self.closed.len() <= RecentlyClosed::MOST
            && self.local.table <= MOST_TABLE
            && self.local.max_streams as usize <= MOST_STREAMS
            && self.send.is_right()
            && self.receive.is_right()
            && self.streams.iter().all(|stream| stream.send.is_right() && stream.receive.is_right())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GET, block, data, frame as frame_of, get, post};
    use super::*;
    use crate::http2::Event;
    use crate::http2::frame::{FrameHead, FrameKind, HEAD, PREFACE};
    use crate::http2::hpack::Strings;
    use crate::http2::request::FieldSection;

    const LOCAL: LocalSettings =
        LocalSettings { table: 4096, max_streams: 3, stream_window: 100, connection_window: 70_000, max_fields: 500 };

    /// What another process gets of a session.
    fn moved(session: Session) -> SavedSession {
        let SavedSession { state, table, block, unsent } = session.save();
        let text = serde_json::to_string(&state).expect("JSON");
        SavedSession { state: serde_json::from_str(&text).expect("the same"), table, block, unsent }
    }

    /// A session whose server answers each request with a part of a body, and what came of that.
    struct Served {
        session: Session,
        fields: FieldSection,
        events: Vec<String>,
        sent: Vec<u8>,
    }

    impl Served {
        /// Takes frames, and writes no more than `most` octets: the rest waits.
        fn take(&mut self, input: &[u8], most: usize) -> usize {
            let mut used = 0;
            loop {
                let next = self.session.next(&input[used..], &mut self.fields, Duration::ZERO);
                let (len, event) = next.expect("a client that breaks no rule");
                used += len;
                let Some(event) = event else { break };
                let id = |key: &usize| self.session.id(*key);
                match event {
                    Event::Request { key, is_too_large } => {
                        self.events.push(format!("{} {is_too_large} {}", id(&key), self.fields.text().escape_ascii()));
                        self.session.respond(key, 200, b"X-A: b\r\nContent-Type: text/plain\r\n", false);
                        let room = self.session.room(key).min(40);
                        self.session.send(key, &[b'x'; 40][..room], false);
                    }
                    Event::Data { key, data } => {
                        self.events.push(format!("{} {}", id(&key), data.escape_ascii()));
                        self.session.give_back(key, data.len());
                        if self.session.is_received(key) {
                            self.session.finish(key);
                        }
                    }
                    Event::Windows { key: Some(key) } => {
                        let room = self.session.room(key).min(40);
                        self.session.send(key, &[b'y'; 40][..room], false);
                    }
                    Event::Trailers { key } => {
                        self.events.push(format!("{} {:?}", id(&key), self.fields.trailers()));
                        self.session.trailers(key, &self.fields.trailers());
                        self.session.finish(key);
                    }
                    Event::Reset { .. } => self.events.push("reset".to_owned()), // its key may be another
                    other => self.events.push(format!("{other:?}")),
                }
            }
            let written = self.session.output().len().min(most);
            self.sent.extend_from_slice(&self.session.output()[..written]);
            self.session.wrote(written);
            used
        }

        /// The frames that the client has got, with the fields that they mean.
        fn frames(&self) -> Vec<String> {
            let (mut rest, mut frames, mut decoder) = (&self.sent[..], Vec::new(), HpackDecoder::new(4096));
            while let Some(head) = FrameHead::read(rest) {
                let payload = &rest[HEAD..HEAD + head.len];
                let mut text = format!("{head:?}");
                if head.kind == Some(FrameKind::Headers) {
                    text = format!("HEADERS {:?} {}", head.flags, head.stream);
                    let take = |name: &[u8], value: &[u8]| {
                        text.push_str(&format!(" {}: {}", name.escape_ascii(), value.escape_ascii()));
                    };
                    decoder.decode(payload, &mut Strings::default(), take).expect("a field block");
                } else {
                    text.push_str(&payload.escape_ascii().to_string());
                }
                frames.push(text);
                rest = &rest[HEAD + head.len..];
            }
            assert!(rest.is_empty(), "whole frames");
            frames
        }
    }

    /// Serves the octets, which are cut there, with a move to another process in between and `most` octets written before.
    fn serve(input: &[u8], cut: usize, moves: bool, most: usize) -> Served {
        let (fields, session) = (FieldSection::default(), Session::new(LOCAL));
        let mut served = Served { session, fields, events: Vec::new(), sent: Vec::new() };
        let used = served.take(&input[..cut], most);
        if moves {
            served.session = Session::resumed(moved(served.session), LOCAL).expect("a session");
        }
        served.take(&input[used..], usize::MAX);
        served
    }

    /// A client that does some of everything.
    fn everything() -> Vec<u8> {
        // a table with entries, which later blocks use
        let mut indexed = block(&GET);
        indexed.extend_from_slice(b"\x40\x03x-a\x05first\x40\x03x-b\x06second");
        let again = [&block(&GET)[..], &[0xbf, 0xbe]].concat();
        let (start, end) = again.split_at(30);
        let priority: Vec<_> = GET.into_iter().chain([("priority", "u=1, i")]).collect();
        [
            &PREFACE[..],
            &frame_of(FrameKind::Settings, 0, 0, &[0, 4, 0, 0, 0, 50, 0, 1, 0, 0, 4, 0]),
            &frame_of(FrameKind::Settings, 1, 0, b""),
            &frame_of(FrameKind::Headers, 5, 1, &indexed),
            &post(3, Some("60")),
            &data(3, false, &[b'a'; 60]),
            &frame_of(FrameKind::Headers, 1, 5, start),
            &frame_of(FrameKind::Continuation, 0, 5, b""),
            &frame_of(FrameKind::Continuation, 4, 5, end),
            &frame_of(FrameKind::WindowUpdate, 0, 1, &[0, 0, 0, 30]),
            &frame_of(FrameKind::Headers, 5, 7, &block(&priority)), // one too many
            &data(3, true, b""),
            &frame_of(FrameKind::RstStream, 0, 1, &[0, 0, 0, 8]),
            &get(9),
            &data(7, false, b"was refused"),
            &frame_of(FrameKind::PriorityUpdate, 0, 0, b"\0\0\0\x05u=7"),
            &frame_of(FrameKind::Ping, 0, 0, b"12345678"),
            &post(11, None),
            &data(11, false, b"body"),
            &frame_of(FrameKind::Headers, 5, 11, &block(&[("x-trailer", "1")])),
            &frame_of(FrameKind::Headers, 5, 13, &again),
        ]
        .concat()
    }

    #[test]
    fn a_session_goes_on_in_another_process_wherever_it_is_cut() {
        let input = everything();
        let stayed = serve(&input, input.len(), false, usize::MAX);
        assert_eq!(stayed.events.len(), 12, "{:#?}", stayed.events);
        for cut in 0..=input.len() {
            for most in [usize::MAX, 11, 0] {
                let went = serve(&input, cut, true, most);
                assert_eq!(went.events, stayed.events, "{cut}");
                assert_eq!(went.frames(), stayed.frames(), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_new_is_told_and_fewer_streams_hold_once_the_client_knows() {
        let mut served = serve(&[&PREFACE[..], &frame_of(FrameKind::Settings, 0, 0, b"")].concat(), 0, false, 1000);
        let fewer = LocalSettings { max_streams: 1, max_fields: 400, ..LOCAL };
        served.sent.clear();
        served.session = Session::resumed(moved(served.session), fewer).expect("a session");
        served.take(&[get(1), get(3)].concat(), 0);
        assert_eq!(served.session.open(), 2, "it does not know yet");
        assert_eq!(served.session.output()[..21], *b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x01\0\x06\0\0\x01\x90");
        let ack = frame_of(FrameKind::Settings, 1, 0, b"");
        served.take(&ack, 0); // that of the first ones
        served.session = Session::resumed(moved(served.session), fewer).expect("a session");
        served.take(&[&ack[..], &get(5)].concat(), 0);
        assert_eq!((served.session.open(), served.session.max_streams()), (2, 1));
        let more = LocalSettings { max_streams: 4, ..fewer };
        served.session = Session::resumed(moved(served.session), more).expect("a session");
        served.take(&[get(7), get(9)].concat(), 0);
        assert_eq!(served.session.open(), 4, "more hold at once");
    }

    #[test]
    fn a_state_that_contradicts_itself_is_refused() {
        let input = everything();
        let saved = || moved(serve(&input, input.len(), false, 0).session);
        assert!(Session::resumed(saved(), LOCAL).is_ok());
        let broken: [fn(&mut SavedSession); 8] = [
            |saved| saved.table.push(0xff),
            |saved| saved.block.push(0),
            |saved| saved.state.last = 3,
            |saved| saved.state.streams[0].id = 4,
            |saved| saved.state.streams[0].id = saved.state.streams[1].id,
            |saved| saved.state.closed = vec![1; 33],
            |saved| saved.state.send = SendWindow::new(i64::MAX),
            |saved| saved.state.local.table = u32::MAX,
        ];
        for (place, breaks) in broken.iter().enumerate() {
            let mut saved = saved();
            breaks(&mut saved);
            assert_eq!(Session::resumed(saved, LOCAL).err(), Some(Contradiction), "{place}");
        }
    }
}

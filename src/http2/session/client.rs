//! What a client does on its connection, and what only a server says.

use smallvec::SmallVec;

use super::outgoing::{is_of_http1, lines};
use super::{Event, Session, SessionRole};
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::frame::{self, MAX_31};
use crate::http2::request::{FieldSection, FieldsFault, SectionKind};
use crate::http2::session::Begun;
use crate::http2::settings::{Id, LocalSettings};
use crate::http2::streams::StreamState;
use crate::http2::window::{ReceiveWindow, SendWindow};

/// What a request is beside its head as HTTP/1.1 has it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHints<'h> {
    /// `:scheme`.
    pub scheme: &'h [u8],
    /// `:protocol`: the request asks for a tunnel (RFC 8441 §4).
    pub protocol: Option<&'h [u8]>,
    /// No body follows.
    pub ends: bool,
}

impl Session {
    /// The connection of a client, of which nothing has come. Its first frames are in the output.
    #[must_use]
    pub fn client(local: LocalSettings) -> Self {
        let mut session = Self::blank(SessionRole::Client, local);
        local.put_of_client(session.output.octets());
        session
    }

    /// Whether the server has said what it takes.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.begun == Begun::Settings
    }

    /// How many more streams may be opened: one before the server has said how many.
    #[must_use]
    pub fn streams_left(&self) -> usize {
        let is_over = self.is_told_to_go || self.last >= MAX_31 - 1;
        let most = if self.has_settings() { self.peer.max_streams as usize } else { 1 };
        if is_over { 0 } else { most.saturating_sub(self.open()) }
    }

    /// Whether no stream will ever be opened again.
    #[must_use]
    pub fn is_told_to_go(&self) -> bool {
        self.is_told_to_go || self.last >= MAX_31 - 1
    }

    /// Whether the server takes requests that ask for a tunnel with a protocol in it (RFC 8441 §3).
    #[must_use]
    pub fn takes_protocols(&self) -> bool {
        self.peer.takes_protocols
    }

    /// Whether this side of a stream has ended.
    #[must_use]
    pub fn is_sent(&self, key: usize) -> bool {
        self.streams.get(key).is_none_or(|stream| stream.is_sent)
    }

    /// Opens a stream with a request, of which `head` is the whole head as HTTP/1.1 has it, and was found right. Gives its
    /// key; none when no stream may be opened.
    pub fn request(&mut self, head: &[u8], hints: RequestHints<'_>) -> Option<usize> {
        if self.streams_left() == 0 {
            return None;
        }
        let line = memchr::memchr(b'\n', head)?;
        let mut words = head[..line].split(|octet| *octet == b' ');
        let (method, target, fields) = (words.next()?, words.next()?, &head[line + 1..]);
        let id = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = id;
        let at = self.begin_block(id, hints.ends);
        let host =
            lines(fields).find(|(name, _)| name.eq_ignore_ascii_case(b"host")).map_or(&b""[..], |(_, value)| value);
        let out = self.output.octets();
        let asked = if hints.protocol.is_some() { b"CONNECT" } else { method };
        self.encoder.field(out, b":method", asked);
        self.encoder.field(out, b":scheme", hints.scheme);
        if !host.is_empty() {
            self.encoder.field(out, b":authority", host);
        }
        self.encoder.field(out, b":path", target);
        if let Some(protocol) = hints.protocol {
            self.encoder.field(out, b":protocol", protocol);
        }
        let mut lower: SmallVec<[u8; 64]> = SmallVec::new();
        for (name, value) in lines(fields) {
            lower.clear();
            lower.extend(name.iter().map(u8::to_ascii_lowercase));
            let is_replaced = match &*lower {
                b"host" => true,
                b"sec-websocket-key" => hints.protocol.is_some(), // it means nothing here (RFC 8441 §5)
                _ => false,
            };
            if !is_of_http1(&lower) && !is_replaced {
                self.encoder.field(out, &lower, value);
            }
        }
        self.end_block(at);
        let state = StreamState {
            id,
            send: SendWindow::new(self.peer.stream_window.into()),
            receive: ReceiveWindow::new(self.local.stream_window),
            is_received: false,
            is_sent: hints.ends,
            is_head: method == b"HEAD",
            has_response: false,
            length: None,
            held: 0,
            priority: None,
        };
        Some(self.streams.insert(state))
    }

    /// Closes the streams that GOAWAY says the server knows nothing of, and gives their keys.
    pub fn close_unknown(&mut self, last: u32) -> Vec<usize> {
        let unknown = |(key, stream): (usize, &mut StreamState)| (stream.id > last).then_some(key);
        let keys: Vec<usize> = self.streams.iter_mut().filter_map(unknown).collect();
        keys.iter().for_each(|key| self.close(*key, false));
        keys
    }

    /// What a field block of a server has, on a stream with this key.
    pub(super) fn kind_of(&self, key: Option<usize>) -> SectionKind {
        let stream = key.and_then(|key| self.streams.get(key));
        if stream.is_some_and(|stream| stream.has_response) { SectionKind::Trailers } else { SectionKind::Response }
    }

    /// The head of a response.
    pub(super) fn response<'i>(
        &mut self,
        key: usize,
        ends: bool,
        fields: &mut FieldSection,
    ) -> Result<Option<Event<'i>>, ConnectionError> {
        match fields.finish(false) {
            Ok(()) => {}
            Err(FieldsFault::Malformed(rule)) => return self.broken(key, ErrorCode::ProtocolError, rule),
            Err(FieldsFault::TooLarge) => {
                return self.broken(key, ErrorCode::Cancel, "The response head is too large.");
            }
        }
        let status = fields.status();
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if status.is_informational() {
            let rule = "A response that is informational ends its stream.";
            return if ends {
                self.broken(key, ErrorCode::ProtocolError, rule)
            } else {
                Ok(Some(Event::Response { key }))
            };
        }
        (stream.has_response, stream.is_received) = (true, ends);
        let has_none = stream.is_head || matches!(status.as_u16(), 204 | 304);
        stream.length = if has_none { Some(0) } else { fields.length() };
        if ends && stream.length.is_some_and(|length| length > 0) {
            return self.broken(key, ErrorCode::ProtocolError, "Content-Length says more than came.");
        }
        Ok(Some(Event::Response { key }))
    }

    /// A setting that means something to a client.
    pub(super) fn server_says(&mut self, id: Id, value: u32) -> Result<(), ConnectionError> {
        match id {
            Id::MaxConcurrentStreams => self.peer.max_streams = value,
            Id::EnablePush if value != 0 => {
                return Err(ConnectionError::protocol("A server says that pushes are taken."));
            }
            Id::EnableConnectProtocol if value > 1 => {
                return Err(ConnectionError::protocol("SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1."));
            }
            Id::EnableConnectProtocol => self.peer.takes_protocols = value == 1,
            _ => {}
        }
        Ok(())
    }

    /// GOAWAY of a server.
    pub(super) fn told_to_go<'i>(&mut self, payload: &[u8]) -> Result<Option<Event<'i>>, ConnectionError> {
        self.is_told_to_go = true;
        let code = ErrorCode::from(frame::number(&payload[4..]));
        Ok(Some(Event::GoAway { last: frame::number(payload) & MAX_31, code }))
    }
}

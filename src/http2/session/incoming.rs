//! Frames of the peer.

use super::{Event, FieldBlock, Leaving, Session, SessionRole};
use crate::http2::account::Cost;
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::frame::{self, Flags, FrameHead, FrameKind, MAX_31};
use crate::http2::priority::Priority;
use crate::http2::request::{FieldSection, FieldsFault, SectionKind};
use crate::http2::session::Begun;
use crate::http2::settings::{self, Id};
use crate::http2::streams::StreamState;
use crate::http2::window::{ReceiveWindow, SendWindow};

/// Most frames that a field block comes in: as many as the largest one needs, and some.
const FRAMES: u32 = 32;
/// What a field block may measure at least, however little is kept of it: its sender shall hear why it is refused.
const BLOCK: usize = 64 * 1024;

/// What a frame leads to, if to anything that the connection has to hear of.
type FrameResult<'i> = Result<Option<Event<'i>>, ConnectionError>;

impl Session {
    pub(super) fn frame<'i>(
        &mut self,
        head: FrameHead,
        payload: &'i [u8],
        fields: &mut FieldSection,
    ) -> FrameResult<'i> {
        if let Some(block) = &self.block
            && (head.kind != Some(FrameKind::Continuation) || head.stream != block.stream)
        {
            return Err(ConnectionError::protocol("A frame stands inside a field block."));
        }
        match head.kind {
            Some(FrameKind::Data) => self.data_frame(head, payload),
            Some(FrameKind::Headers) => self.headers_frame(head, payload, fields),
            Some(FrameKind::Continuation) => self.continuation(head, payload, fields),
            Some(FrameKind::Priority) => self.priority_frame(head, payload),
            Some(FrameKind::RstStream) => self.reset_frame(head, payload),
            Some(FrameKind::Settings) => self.settings_frame(head, payload),
            Some(FrameKind::PushPromise) => {
                Err(ConnectionError::protocol("PUSH_PROMISE comes from a client, or to one that takes none."))
            }
            Some(FrameKind::Ping) => self.ping(head, payload),
            Some(FrameKind::GoAway) => self.go_away_frame(head, payload),
            Some(FrameKind::WindowUpdate) => self.window_update(head, payload),
            Some(FrameKind::PriorityUpdate) => self.priority_update(head, payload),
            None => self.nothing(Cost::Control),
        }
    }

    /// A frame that costs and leads to nothing.
    fn nothing<'i>(&mut self, cost: Cost) -> FrameResult<'i> {
        self.charge(cost)?;
        Ok(None)
    }

    /// Whether no frame but HEADERS and PRIORITY may come on a stream, since it was never opened (RFC 9113 §5.1).
    fn is_idle(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || stream > self.last
    }

    fn on_stream(&self, head: FrameHead) -> Result<(), ConnectionError> {
        if self.is_idle(head.stream) {
            return Err(ConnectionError::protocol("A frame stands on a stream that was never opened."));
        }
        Ok(())
    }

    fn data_frame<'i>(&mut self, head: FrameHead, payload: &'i [u8]) -> FrameResult<'i> {
        self.on_stream(head)?;
        self.receive
            .received(payload.len())
            .map_err(|code| ConnectionError::new(code, "DATA is more than the window of the connection."))?;
        let data = unpad(head.flags, payload)?;
        let Some(key) = self.streams.key(head.stream) else {
            self.give_back_connection(payload.len());
            return self.on_closed(head.stream);
        };
        if self.role == SessionRole::Client {
            self.give_back_connection(payload.len()); // what one client does not take must not stop those beside it
        }
        let ends = head.flags.has(Flags::END_STREAM);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        let broken = if stream.is_received {
            Some((ErrorCode::StreamClosed, "DATA stands behind the end of its stream."))
        } else if stream.receive.received(payload.len()).is_err() {
            Some((ErrorCode::FlowControlError, "DATA is more than the window of its stream."))
        } else if self.role == SessionRole::Client && !stream.has_response {
            Some((ErrorCode::ProtocolError, "DATA stands before the head of a response."))
        } else {
            let rule = "DATA is more or less than Content-Length says.";
            (!stream.counts(data.len(), ends)).then_some((ErrorCode::ProtocolError, rule))
        };
        if let Some((code, rule)) = broken {
            if self.role == SessionRole::Server {
                self.give_back_connection(payload.len());
            }
            return self.broken(key, code, rule);
        }
        stream.held += payload.len();
        stream.is_received = ends;
        self.give_back(key, payload.len() - data.len()); // the padding is nothing to keep
        if data.is_empty() && !ends {
            self.charge(Cost::Empty)?;
        }
        Ok(Some(Event::Data { key, data }))
    }

    /// DATA on a stream that is closed: from before the peer heard of that, if we closed it. Then it costs a server nothing:
    /// it is its client that resets.
    fn on_closed<'i>(&mut self, stream: u32) -> FrameResult<'i> {
        let is_late = self.streams.closed(stream) == Some(true);
        if is_late && self.role == SessionRole::Client {
            return Ok(None);
        }
        if !is_late {
            self.streams.refused(stream);
            frame::put_reset(self.output.octets(), stream, ErrorCode::StreamClosed);
        }
        self.nothing(Cost::Empty)
    }

    /// The peer broke a rule on an open stream.
    pub(super) fn broken<'i>(&mut self, key: usize, code: ErrorCode, rule: &'static str) -> FrameResult<'i> {
        self.reset(key, code);
        self.charge_reset()?;
        Ok(Some(Event::Broken { key, rule }))
    }

    /// A stream ended by a reset. One that a server ends cost a request, and its client bears that.
    fn charge_reset(&mut self) -> Result<(), ConnectionError> {
        if self.role == SessionRole::Server { self.charge(Cost::Reset) } else { Ok(()) }
    }

    fn headers_frame<'i>(&mut self, head: FrameHead, payload: &'i [u8], fields: &mut FieldSection) -> FrameResult<'i> {
        if head.stream.is_multiple_of(2) {
            return Err(ConnectionError::protocol("HEADERS stands on a stream that no client opens."));
        }
        let mut block = unpad(head.flags, payload)?;
        if head.flags.has(Flags::PRIORITY) {
            let (priority, rest) =
                block.split_at_checked(5).ok_or(ConnectionError::frame_size("HEADERS is too short for a priority."))?;
            depends(head.stream, priority)?;
            block = rest;
        }
        let ends = head.flags.has(Flags::END_STREAM);
        if head.flags.has(Flags::END_HEADERS) {
            return self.fields(head.stream, ends, block, fields);
        }
        let octets = block.to_vec();
        self.block = Some(Box::new(FieldBlock { stream: head.stream, ends, octets, frames: 1 }));
        Ok(None)
    }

    fn continuation<'i>(&mut self, head: FrameHead, payload: &'i [u8], fields: &mut FieldSection) -> FrameResult<'i> {
        let most = BLOCK.max(4 * self.local.max_fields as usize);
        let Some(block) = &mut self.block else {
            return Err(ConnectionError::protocol("CONTINUATION follows no HEADERS."));
        };
        block.frames += 1;
        if block.frames > FRAMES || block.octets.len() + payload.len() > most {
            let rule = "A field block is far larger than SETTINGS_MAX_HEADER_LIST_SIZE, or comes in too many frames.";
            return Err(ConnectionError::new(ErrorCode::EnhanceYourCalm, rule));
        }
        block.octets.extend_from_slice(payload);
        if payload.is_empty() {
            self.charge(Cost::Empty)?;
        }
        match self.block.take_if(|_| head.flags.has(Flags::END_HEADERS)) {
            Some(block) => self.fields(block.stream, block.ends, &block.octets, fields),
            None => Ok(None),
        }
    }

    /// A whole field block: a request, or the trailers of one.
    fn fields<'i>(&mut self, stream: u32, ends: bool, block: &[u8], fields: &mut FieldSection) -> FrameResult<'i> {
        let open = self.streams.key(stream);
        let kind = match (self.role, open) {
            (SessionRole::Client, open) => self.kind_of(open),
            (SessionRole::Server, Some(_)) => SectionKind::Trailers,
            (SessionRole::Server, None) => SectionKind::Request,
        };
        fields.begin(kind, self.local.max_fields as usize);
        // also of what is refused: the table of the decoder has to follow
        fields.decode(&mut self.decoder, block).map_err(|_| {
            ConnectionError::new(ErrorCode::CompressionError, "A field block breaks the rules of HPACK.")
        })?;
        if fields.excess() > 0 {
            self.charge(Cost::Oversized(u32::try_from(fields.excess()).unwrap_or(u32::MAX)))?;
        }
        if let Some(key) = open {
            return match kind {
                SectionKind::Response => self.response(key, ends, fields),
                _ => self.trailers_of(key, ends, fields),
            };
        }
        if stream <= self.last {
            return match self.streams.closed(stream) {
                Some(true) if self.role == SessionRole::Client => Ok(None),
                Some(true) => self.nothing(Cost::Control),
                Some(false) => {
                    Err(ConnectionError::new(ErrorCode::StreamClosed, "HEADERS stands on a stream that has ended."))
                }
                None => Err(ConnectionError::protocol("The number of a stream is not above those before it.")),
            };
        }
        if self.role == SessionRole::Client {
            return Err(ConnectionError::protocol("HEADERS stands on a stream that was never opened."));
        }
        self.last = stream;
        if matches!(self.leaving, Leaving::Last(_)) {
            self.streams.refused(stream); // the client tries it elsewhere (RFC 9113 §6.8)
            return Ok(None);
        }
        if self.streams.open() >= self.local.max_streams as usize {
            self.refuse(stream, ErrorCode::RefusedStream);
            return self.nothing(Cost::Reset);
        }
        match fields.finish(!ends) {
            Ok(()) => Ok(Some(self.open_stream(stream, ends, false, fields))),
            Err(FieldsFault::TooLarge) => {
                self.charge(Cost::Refused)?;
                Ok(Some(self.open_stream(stream, ends, true, fields)))
            }
            Err(FieldsFault::Malformed(rule)) => {
                self.refuse(stream, ErrorCode::ProtocolError);
                self.charge(Cost::Reset)?;
                Ok(Some(Event::Malformed { rule }))
            }
        }
    }

    fn refuse(&mut self, stream: u32, code: ErrorCode) {
        self.streams.refused(stream);
        frame::put_reset(self.output.octets(), stream, code);
    }

    fn open_stream<'i>(&mut self, id: u32, ends: bool, is_too_large: bool, fields: &FieldSection) -> Event<'i> {
        let key = self.streams.insert(StreamState {
            id,
            send: SendWindow::new(self.peer.stream_window.into()),
            receive: ReceiveWindow::new(self.local.stream_window),
            is_received: ends,
            is_sent: false,
            is_head: false,
            has_response: false,
            length: fields.length().filter(|_| !is_too_large),
            held: 0,
            priority: fields.priority().map(Priority::read),
        });
        Event::Request { key, is_too_large }
    }

    fn trailers_of<'i>(&mut self, key: usize, ends: bool, fields: &mut FieldSection) -> FrameResult<'i> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        let is_whole = ends && stream.counts(0, true); // not inside a body, and not before its length has come
        if stream.is_received || !is_whole || fields.finish(false).is_err() {
            let code = if stream.is_received { ErrorCode::StreamClosed } else { ErrorCode::ProtocolError };
            return self.broken(key, code, "Trailers break a rule, or stand inside a body.");
        }
        stream.is_received = true;
        Ok(Some(Event::Trailers { key }))
    }

    fn priority_frame<'i>(&mut self, head: FrameHead, payload: &[u8]) -> FrameResult<'i> {
        if payload.len() != 5 {
            return Err(ConnectionError::frame_size("PRIORITY is not 5 octets long."));
        }
        if head.stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY stands on no stream."));
        }
        depends(head.stream, payload)?;
        self.nothing(Cost::Control)
    }

    fn priority_update<'i>(&mut self, head: FrameHead, payload: &[u8]) -> FrameResult<'i> {
        let Some((stream, value)) = payload.split_at_checked(4) else {
            return Err(ConnectionError::frame_size("PRIORITY_UPDATE is shorter than 4 octets."));
        };
        let stream = frame::number(stream) & MAX_31;
        if head.stream != 0 || stream.is_multiple_of(2) || self.role == SessionRole::Client {
            return Err(ConnectionError::protocol(
                "PRIORITY_UPDATE is for no stream of a client, or comes from a server.",
            ));
        }
        if let Some(key) = self.streams.key(stream) {
            self.streams.set_priority(key, Priority::read(value));
        }
        self.nothing(Cost::Control)
    }

    fn reset_frame<'i>(&mut self, head: FrameHead, payload: &[u8]) -> FrameResult<'i> {
        if payload.len() != 4 {
            return Err(ConnectionError::frame_size("RST_STREAM is not 4 octets long."));
        }
        self.on_stream(head)?;
        let Some(key) = self.streams.key(head.stream) else { return self.nothing(Cost::Control) };
        self.close(key, false);
        self.charge_reset()?;
        Ok(Some(Event::Reset { key, code: ErrorCode::from(frame::number(payload)) }))
    }

    fn settings_frame<'i>(&mut self, head: FrameHead, payload: &[u8]) -> FrameResult<'i> {
        let is_ack = head.flags.has(Flags::ACK);
        if head.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS stands on a stream."));
        }
        if !payload.len().is_multiple_of(6) || is_ack && !payload.is_empty() {
            return Err(ConnectionError::frame_size("The length of SETTINGS is wrong."));
        }
        if is_ack {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            if self.unacknowledged == 0 {
                self.local.max_streams = self.next_max_streams.take().unwrap_or(self.local.max_streams);
            }
            return self.nothing(Cost::Control);
        }
        self.begun = Begun::Settings;
        let mut has_windows = false;
        for (id, value) in settings::read(payload) {
            settings::check(id, value)?;
            match id {
                Id::HeaderTableSize => self.encoder.set_limit(value as usize),
                Id::InitialWindowSize => {
                    has_windows = true;
                    self.streams_grow(value)?;
                }
                Id::EnablePush | Id::EnableConnectProtocol | Id::MaxConcurrentStreams
                    if self.role == SessionRole::Client =>
                {
                    self.server_says(id, value)?;
                }
                Id::MaxFrameSize
                | Id::EnablePush
                | Id::EnableConnectProtocol
                | Id::MaxConcurrentStreams
                | Id::MaxHeaderListSize
                | Id::NoRfc7540Priorities => {}
            }
        }
        frame::put(self.output.octets(), FrameKind::Settings, Flags::ACK, 0, &[]);
        self.charge(Cost::Control)?;
        if self.role == SessionRole::Client {
            return Ok(Some(Event::Settings));
        }
        Ok(has_windows.then_some(Event::Windows { key: None }))
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE changes the windows of all streams that are open (RFC 9113 §6.9.2).
    fn streams_grow(&mut self, window: u32) -> Result<(), ConnectionError> {
        let by = i64::from(window) - i64::from(self.peer.stream_window);
        self.peer.stream_window = window;
        for (_, stream) in self.streams.iter_mut() {
            let rule = "SETTINGS_INITIAL_WINDOW_SIZE makes a window larger than 2^31 - 1.";
            stream.send.grow(by).map_err(|code| ConnectionError::new(code, rule))?;
        }
        Ok(())
    }

    fn ping<'i>(&mut self, head: FrameHead, payload: &[u8]) -> FrameResult<'i> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("PING stands on a stream."));
        }
        if payload.len() != 8 {
            return Err(ConnectionError::frame_size("PING is not 8 octets long."));
        }
        self.charge(Cost::Control)?;
        if !head.flags.has(Flags::ACK) {
            frame::put(self.output.octets(), FrameKind::Ping, Flags::ACK, 0, payload);
            return Ok(None);
        }
        let is_ours = self.leaving == Leaving::Announced && payload == Self::LEAVE;
        Ok(is_ours.then_some(Event::LeaveIsKnown))
    }

    fn go_away_frame<'i>(&mut self, head: FrameHead, payload: &[u8]) -> FrameResult<'i> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("GOAWAY stands on a stream."));
        }
        if payload.len() < 8 {
            return Err(ConnectionError::frame_size("GOAWAY is shorter than 8 octets."));
        }
        if self.role == SessionRole::Client {
            return self.told_to_go(payload);
        }
        self.nothing(Cost::Control) // it pushes nothing; its streams end as they would
    }

    fn window_update<'i>(&mut self, head: FrameHead, payload: &[u8]) -> FrameResult<'i> {
        if payload.len() != 4 {
            return Err(ConnectionError::frame_size("WINDOW_UPDATE is not 4 octets long."));
        }
        let by = i64::from(frame::number(payload) & MAX_31);
        self.charge(Cost::Control)?;
        if head.stream == 0 {
            if by == 0 {
                return Err(ConnectionError::protocol("WINDOW_UPDATE opens a window by nothing."));
            }
            let was_closed = self.send.room() == 0;
            self.send
                .grow(by)
                .map_err(|code| ConnectionError::new(code, "The window of the connection is larger than 2^31 - 1."))?;
            return Ok(was_closed.then_some(Event::Windows { key: None }));
        }
        self.on_stream(head)?;
        let Some(key) = self.streams.key(head.stream) else { return Ok(None) };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if by == 0 {
            return self.broken(key, ErrorCode::ProtocolError, "WINDOW_UPDATE opens a window by nothing.");
        }
        if stream.send.grow(by).is_err() {
            return self.broken(key, ErrorCode::FlowControlError, "The window of a stream is larger than 2^31 - 1.");
        }
        Ok(Some(Event::Windows { key: Some(key) }))
    }
}

/// What is left of a payload without its padding (RFC 9113 §6.1).
fn unpad(flags: Flags, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !flags.has(Flags::PADDED) {
        return Ok(payload);
    }
    let (&len, rest) =
        payload.split_first().ok_or(ConnectionError::frame_size("A padded frame has no length of its padding."))?;
    let len = rest.len().checked_sub(len.into());
    len.map(|len| &rest[..len]).ok_or(ConnectionError::protocol("A frame has more padding than payload."))
}

/// A priority of RFC 7540, which says nothing any more but must not name its own stream.
fn depends(stream: u32, priority: &[u8]) -> Result<(), ConnectionError> {
    if frame::number(priority) & MAX_31 == stream {
        return Err(ConnectionError::protocol("A stream depends on itself."));
    }
    Ok(())
}

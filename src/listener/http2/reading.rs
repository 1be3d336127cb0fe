//! What the client sends, and what follows from it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Version;
use tokio::time::Instant;

use super::Http2;
use super::stream::OpenStream;
use crate::http1::request::{HeadLimits, HeadSearch, Refusal};
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::frame::{FrameHead, FrameKind};
use crate::http2::{Event, FieldSection};
use crate::listener::service::Service;
use crate::observe::end::{Phase, Reason};
use crate::proxy::fault::Fault;
use crate::proxy::request::{ClientRequest, RefusedHead};
use crate::proxy::response::Response;
use crate::turn::Turn;

impl<S: Service> Http2<S> {
    /// Reads once. Ready when something came, or will come no more.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let thread = self.thread.clone();
        let mut lent = thread.frames.borrow_mut();
        let (octets, fields, search) = lent.lend();
        let had = self.ahead.len();
        octets[..had].copy_from_slice(&self.ahead);
        loop {
            match self.stream.try_read(&mut octets[had..]) {
                Ok(0) => self.is_finished = true,
                Ok(len) => {
                    if had + len < octets.len() {
                        self.stream.note_drained();
                    }
                    self.take_frames(&octets[..had + len], fields, search, now);
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    if self.stream.poll_read_ready(cx).is_pending() {
                        return Poll::Pending;
                    }
                    continue;
                }
                Err(_) => self.is_finished = true,
            }
            return Poll::Ready(());
        }
    }

    /// Takes what was read by another part of the connection.
    pub(super) fn take(&mut self, read: &[u8], now: Instant) {
        let thread = self.thread.clone();
        let mut lent = thread.frames.borrow_mut();
        let (_, fields, search) = lent.lend();
        self.take_frames(read, fields, search, now);
    }

    fn take_frames(&mut self, read: &[u8], fields: &mut FieldSection, search: &mut HeadSearch, now: Instant) {
        let age = now - self.client.origin.connection.at;
        let mut used = 0;
        loop {
            match self.session.next(&read[used..], fields, age) {
                Ok((len, event)) => {
                    used += len;
                    match event {
                        Some(event) => self.event(event, fields, search, now),
                        None => break,
                    }
                }
                Err(error) => return self.fail(error, now),
            }
        }
        let rest = &read[used..];
        if !self.ahead.is_empty() || !rest.is_empty() {
            self.ahead = BytesMut::from(rest);
        }
        self.look_at_rest(rest, used > 0, now);
    }

    /// Looks at what is there of a frame: of DATA, and its stream has sent something, or perhaps of the head of a request.
    fn look_at_rest(&mut self, rest: &[u8], is_new: bool, now: Instant) {
        let partial = FrameHead::read(rest);
        if let Some(head) = partial.filter(|head| head.kind == Some(FrameKind::Data)) {
            if let Some(Some(stream)) = self.session.key(head.stream).and_then(|key| self.streams.get_mut(key)) {
                stream.received.waits_since = stream.received.waits_since.map(|_| now);
            }
            self.inside = None;
            return;
        }
        let inside = self.session.inside_head().or_else(|| (!rest.is_empty()).then_some(u32::MAX));
        let is_other = is_new && inside == Some(u32::MAX);
        let began = self.inside.filter(|(head, _)| inside == Some(*head) && !is_other).map_or(now, |(_, began)| began);
        self.inside = inside.map(|inside| (inside, began));
    }

    fn event(&mut self, event: Event<'_>, fields: &FieldSection, search: &mut HeadSearch, now: Instant) {
        match event {
            Event::Request { key, is_too_large } => {
                self.client.exchanges = self.client.exchanges.wrapping_add(1);
                if self.session.open() == 1 {
                    self.turn = Turn::default();
                }
                let taken =
                    if is_too_large { Err(Refusal::HeadTooLarge) } else { self.request(key, fields, search, now) };
                if let Err(refusal) = taken {
                    self.refuse(key, refusal, fields, now);
                }
                self.ready.set(key);
            }
            Event::Data { key, data } => {
                if let Some(Some(stream)) = self.streams.get_mut(key) {
                    stream.received.data.extend_from_slice(data);
                    stream.received.waits_since = None;
                    self.ready.set(key);
                } else {
                    self.session.give_back(key, data.len());
                }
            }
            Event::Trailers { key } => {
                if let Some(Some(stream)) = self.streams.get_mut(key) {
                    stream.received.trailers = Some(fields.trailers());
                    self.ready.set(key);
                }
            }
            Event::Reset { key, .. } => self.drop_stream(key, Reason::ClientClosed),
            Event::Broken { key, .. } => self.drop_stream(key, Reason::BadRequest),
            Event::Malformed { rule } => {
                self.client.exchanges = self.client.exchanges.wrapping_add(1);
                self.record(Fault::Malformed(rule), fields.text(), now);
            }
            Event::Windows { key: Some(key) } => self.ready.set(key),
            Event::Windows { key: None } => (0..self.streams.len()).for_each(|key| self.ready.set(key)),
            Event::Response { .. } | Event::Settings | Event::GoAway { .. } => {} // come to clients
            Event::LeaveIsKnown => {
                self.session.leave(ErrorCode::NoError);
                self.deadlines.leaves_at = None;
            }
        }
    }

    /// Has a request served, if its head is right as one of HTTP/1.
    fn request(
        &mut self,
        key: usize,
        fields: &FieldSection,
        search: &mut HeadSearch,
        now: Instant,
    ) -> Result<(), Refusal> {
        let settings = self.settings();
        let limits = HeadLimits {
            max_head: settings.max_head,
            max_target: settings.max_target,
            max_fields: settings.max_fields,
        };
        let text = fields.text();
        let looked = search.look(text, &limits).and_then(|facts| facts.ok_or(Refusal::Malformed));
        let mut facts = looked.inspect_err(|_| *search = HeadSearch::new())?; // which would go on inside this head
        if fields.is_extended_connect() && !facts.upgrade {
            return Err(Refusal::Connect); // into a protocol that no tunnel may have
        }
        facts.version = Version::HTTP_2;
        let head = search.take(&text[..facts.len]);
        let began = self.inside.map_or(now, |(_, began)| began);
        let request = ClientRequest { facts, head: Rc::new(head), reached: None, began, complete: now };
        let handler = S::call(&self.thread, &self.client.origin, request);
        self.insert(key, OpenStream::new(handler, facts.method.head));
        Ok(())
    }

    /// Answers a request that is refused.
    fn refuse(&mut self, key: usize, refusal: Refusal, fields: &FieldSection, now: Instant) {
        let (response, body) = self.record(Fault::Refused(refusal), fields.text(), now);
        self.session.respond(key, response.status.as_u16(), &response.fields, body.is_empty());
        self.insert(key, OpenStream::refused(body));
    }

    /// Records a request whose head is not right, and gives the answer.
    fn record(&mut self, fault: Fault, seen: &[u8], now: Instant) -> (Response, Bytes) {
        let began = self.inside.map_or(now, |(_, began)| began);
        let refused = RefusedHead { fault, seen, began, version: Version::HTTP_2 };
        S::refuse(&self.thread, &self.client.origin, &refused)
    }

    pub(super) fn insert(&mut self, key: usize, stream: OpenStream<S::Handler>) {
        if self.streams.len() <= key {
            self.streams.resize_with(key + 1, || None);
        }
        self.streams[key] = Some(Box::new(stream));
    }

    /// The client broke a rule that ends the connection.
    fn fail(&mut self, error: ConnectionError, now: Instant) {
        let fault = match error.code {
            ErrorCode::EnhanceYourCalm => Fault::Flood(error.rule),
            _ => Fault::Malformed(error.rule),
        };
        self.end_with(fault, error.code, now);
    }

    /// The head of a request, or the beginning of the connection, did not come whole in time.
    pub(super) fn fail_slow(&mut self, now: Instant) {
        self.end_with(Fault::SlowHead, ErrorCode::ProtocolError, now);
    }

    fn end_with(&mut self, fault: Fault, code: ErrorCode, now: Instant) {
        let end = fault.end(Phase::Head);
        self.client.exchanges = self.client.exchanges.wrapping_add(1);
        self.record(fault, b"", now);
        self.break_off(end.reason);
        self.inside = None;
        self.session.leave(code);
        self.last = Some(end);
    }
}

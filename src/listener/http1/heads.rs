//! The heads of requests on a connection: read, looked at, and served or refused.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http::Version;
use tokio::time::Instant;

use super::reader::Position;
use super::{Http1, Http1State, Next, QUIET, ends};
use crate::http1::request::{HeadLimits, Refusal};
use crate::http2::frame::PREFACE;
use crate::listener::service::Service;
use crate::listener::timeouts::Direction;
use crate::observe::end::{End, Phase, Reason};
use crate::proxy::fault::Fault;
use crate::proxy::request::{ClientRequest, RefusedHead};
use crate::turn::Turn;

impl<S: Service> Http1<S> {
    /// Reads the next head.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        if !self.reader.is_finished
            && let Some(successor) = self.thread.successor_of(&self.client.origin, &self.client.private)
        {
            return Poll::Ready(Some(Next::Moves(successor)));
        }
        if self.reader.is_unwatched() && self.reader.take_unwatched(&self.stream, &self.thread).is_err() {
            return Poll::Ready(self.lost());
        }
        match self.reader.position {
            Position::Head { began } => self.poll_rest_of_head(cx, began),
            _ if !self.reader.ahead.is_empty() => {
                self.look_ahead(Instant::now());
                Poll::Ready(None)
            }
            _ if self.reader.is_finished => Poll::Ready(Some(ends(End::CLIENT_DONE))),
            _ => self.poll_first(cx),
        }
    }

    /// Reads the first bytes of a message. Of those that are a whole head none has to be kept.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let thread = self.thread.clone();
        let mut scratch = thread.scratch.borrow_mut();
        loop {
            match self.stream.try_read(&mut scratch[..]) {
                Ok(0) => {
                    self.reader.is_finished = true;
                    return Poll::Ready(Some(ends(End::CLIENT_DONE)));
                }
                Ok(len) => {
                    if len < scratch.len() {
                        self.stream.note_drained();
                    }
                    self.admit(&scratch[..len]);
                    return Poll::Ready(None);
                }
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    if self.stream.poll_read_ready(cx).is_pending() {
                        self.begin_wait(Direction::Read, QUIET);
                        return if self.is_over(Direction::Read) {
                            Poll::Ready(Some(Next::Idle))
                        } else {
                            Poll::Pending
                        };
                    }
                }
                Err(_) => return Poll::Ready(self.lost()),
            }
        }
    }

    fn poll_rest_of_head(&mut self, cx: &mut Context<'_>, began: Instant) -> Poll<Option<Next>> {
        if self.reader.is_finished {
            return Poll::Ready(Some(ends(End::new(Phase::Head, Reason::ClientClosed))));
        }
        match self.reader.poll_ahead(cx, &self.stream, &self.thread) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Some(ends(End::new(Phase::Head, Reason::ClientClosed)))),
            Poll::Ready(Ok(_)) => self.look_ahead(began),
            Poll::Ready(Err(_)) => return Poll::Ready(self.lost()),
            Poll::Pending if !self.is_over(Direction::Read) => return Poll::Pending,
            // an empty line alone is no request, and its client may have none: an answer would be taken for the next
            Poll::Pending if *self.reader.ahead == *b"\r\n" => {
                self.reader.ahead.clear();
                return Poll::Ready(Some(Next::Idle));
            }
            Poll::Pending => self.refuse(Fault::SlowHead, began),
        }
        Poll::Ready(None)
    }

    /// Looks at the first bytes of a message, of which nothing is kept yet.
    pub(super) fn admit(&mut self, bytes: &[u8]) {
        let began = Instant::now();
        let looked = self.look(bytes, began);
        let len = looked.as_ref().map_or(0, |len| len.unwrap_or_default());
        self.reader.ahead.extend_from_slice(&bytes[len..]);
        self.looked(&looked, began);
    }

    /// Looks at what was read ahead.
    fn look_ahead(&mut self, began: Instant) {
        let mut ahead = std::mem::take(&mut self.reader.ahead);
        let looked = self.look(&ahead, began);
        if let Ok(Some(len)) = looked {
            ahead.advance(len);
        }
        self.reader.ahead = ahead;
        self.looked(&looked, began);
    }

    fn looked(&mut self, looked: &Result<Option<usize>, Refusal>, began: Instant) {
        match looked {
            Ok(Some(_)) => {}
            Ok(None) if matches!(self.reader.position, Position::Head { .. }) => {}
            Ok(None) => {
                self.reader.position = Position::Head { began };
                let timeout = self.settings().header_timeout;
                self.timeouts.renew(Direction::Read, timeout, &self.client.timer);
            }
            Err(refusal) => self.refuse(Fault::Refused(*refusal), began),
        }
    }

    /// Has the request served with which `bytes` start, if its head is whole; gives the length of the head.
    fn look(&mut self, bytes: &[u8], began: Instant) -> Result<Option<usize>, Refusal> {
        let settings = self.settings();
        if settings.h2c && self.client.exchanges == 0 && is_preface(bytes) {
            if bytes.len() >= PREFACE.len() {
                self.state = Http1State::Http2;
            }
            return Ok(None);
        }
        let limits = HeadLimits {
            max_head: settings.max_head,
            max_target: settings.max_target,
            max_fields: settings.max_fields,
        };
        let Some(mut facts) = self.reader.search.look(bytes, &limits)? else { return Ok(None) };
        facts.expects_continue &= bytes.len() == facts.len; // a client that sends already does not wait
        self.end_wait(Direction::Read);
        let head = self.reader.search.take(&bytes[..facts.len]);
        // HTTP/1.0 alone may leave it out (RFC 9112 §3.2)
        let names_host = facts.version == Version::HTTP_11 || head.host().is_some() || head.authority().is_some();
        let request = ClientRequest {
            facts,
            head: Rc::new(head),
            reached: (!names_host).then(|| self.stream.reached_at().into()),
            began,
            complete: if matches!(self.reader.position, Position::Head { .. }) { Instant::now() } else { began },
        };
        self.reader.begin_body(facts.framing);
        self.request = Some(facts);
        (self.has_head, self.half_closed) = (false, None);
        self.client.exchanges = self.client.exchanges.wrapping_add(1);
        self.turn = Turn::default();
        self.state = Http1State::Exchange(S::call(&self.thread, &self.client.origin, request));
        Ok(Some(facts.len))
    }

    /// Refuses what came instead of a request, which is all that was read ahead.
    fn refuse(&mut self, fault: Fault, began: Instant) {
        self.end_wait(Direction::Read);
        self.client.exchanges = self.client.exchanges.wrapping_add(1);
        let end = fault.end(Phase::Head);
        let refused = RefusedHead { fault, seen: &self.reader.ahead, began, version: Version::HTTP_11 };
        let (response, body) = S::refuse(&self.thread, &self.client.origin, &refused);
        self.writer.respond(&response, Version::HTTP_11, true);
        if !body.is_empty() {
            self.writer.send(body);
        }
        self.client.idle_since = Instant::now();
        (self.reader.ahead, self.request) = (BytesMut::new(), None);
        self.state = Http1State::Last(end);
    }
}

/// Whether `bytes` begin with the preface of HTTP/2, or with as much of it as there are.
fn is_preface(bytes: &[u8]) -> bool {
    let len = bytes.len().min(PREFACE.len());
    bytes[..len] == PREFACE[..len]
}

//! A connection that goes on in another generation, with the streams that are open on it.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::stream::OpenStream;
use super::{Http2, ROUND_TRIP, local_settings};
use crate::drain::Stage;
use crate::handover::capabilities::Reach;
use crate::handover::http2::{Http2Transfer, MOST_STREAMS, SavedHttp2};
use crate::handover::successor::{Successor, TransferPermit};
use crate::http2::error::ErrorCode;
use crate::http2::rotation::SendRotation;
use crate::http2::session::Session;
use crate::listener::service::Service;
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::proxy::client::before;
use crate::proxy::handler::{Leaving, RequestHandler};
use crate::proxy::response::Then;
use crate::proxy::{Client, Thread};

/// For so long streams may keep their connection from moving, before the client is told to go on elsewhere: those with a
/// server that the next generation does not know. New streams go to the other servers meanwhile, so most connections move
/// when such streams have ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for streams on a connection to a server that other clients share, as a share of the drain. Such streams may last for
/// the whole of it, and the client that is told would open a second connection for nothing; once it is told, what is left of
/// the drain is for its last requests here.
const SHARED_PATIENCE: f64 = 0.75;
/// What an exchange holds at most beside its heads: of the body of the request, of what was read from the server, and of the
/// response.
const HELD: usize = 192 * 1024;
/// What all exchanges of a connection hold at most, so that one connection fits into one batch.
const MOST_BYTES: usize = 48 << 20;
/// How often a connection that is to move looks whether it still is.
const LOOK: Duration = Duration::from_secs(1);

/// A connection that moves, with its streams.
pub(in crate::listener) struct OpenSession {
    pub(in crate::listener) client: Box<Client>,
    pub(in crate::listener) stream: Stream,
    pub(in crate::listener) leaving: LeavingStreams,
    pub(in crate::listener) transfer: Box<Http2Transfer>,
}

/// The exchanges of a connection that moves.
pub(in crate::listener) struct LeavingStreams(Vec<Leaving>);

impl LeavingStreams {
    /// They go on elsewhere, with their records.
    pub(in crate::listener) fn leave(self) {
        self.0.into_iter().for_each(Leaving::leaves);
    }

    /// Nothing of them goes on.
    pub(in crate::listener) fn end(self, reason: Reason) -> End {
        let ends = self.0.into_iter().map(|leaving| leaving.ends(reason));
        ends.last().unwrap_or(End::new(Phase::Idle, reason))
    }
}

impl<S: Service> Http2<S> {
    /// Goes on with a connection that another generation had, or this one before it was to move.
    ///
    /// # Errors
    /// When its state contradicts itself.
    pub(in crate::listener) fn resumed(
        thread: &Rc<Thread>,
        client: Box<Client>,
        listener: usize,
        stream: Stream,
        transfer: Http2Transfer,
    ) -> Result<Box<Self>, Contradicted> {
        let Http2Transfer { session, client: saved, streams, ahead } = transfer;
        let is_between_frames = session.unsent.is_empty();
        let resumed = Session::resumed(session, local_settings(thread, listener));
        let Some(session) = resumed.ok().filter(|session| session.open() == streams.len()) else {
            return Err(Contradicted { client, stream, is_between_frames });
        };
        let now = Instant::now();
        let mut http2 = Self::blank(thread, client, listener, stream, session);
        http2.ahead = ahead;
        http2.inside = saved.inside.map(|(stream, age)| (stream, before(now, age)));
        http2.deadlines.write_since = saved.write.map(|age| before(now, age));
        http2.deadlines.idle_since = saved.idle.map(|age| before(now, age));
        http2.is_late = saved.write.is_some();
        http2.rotation = SendRotation::beginning_with(saved.next);
        if http2.session.is_leaving() && !http2.session.has_left() {
            http2.deadlines.leaves_at = Some(now + ROUND_TRIP);
        }
        for (key, stream) in streams.into_iter().enumerate() {
            match OpenStream::resumed::<S>(thread, &http2.client.origin, stream, now) {
                Ok(stream) => {
                    http2.insert(key, stream);
                    http2.ready.set(key);
                }
                Err(_) => http2.session.reset(key, ErrorCode::InternalError), // what it led to is gone
            }
        }
        Ok(http2)
    }

    /// Takes the connection apart with what is open on it.
    pub(in crate::listener) fn into_open(mut self) -> OpenSession {
        let now = Instant::now();
        self.client.timer.off();
        // the response of each is whole, and on its way
        for handler in self.finished.drain(..) {
            self.client.idle_since = handler.close(true, Then::KeepAlive);
            self.session.served();
        }
        let (mut leaving, mut streams, mut before) = (Vec::new(), Vec::new(), 0);
        let successor = self.thread.successor_if(|_| true);
        let reach = successor.as_ref().and_then(Successor::reach);
        for (key, stream) in self.streams.drain(..).enumerate() {
            match stream.map(|stream| stream.save(reach, now)) {
                Some(Some((exchange, stream))) => {
                    leaving.extend(exchange);
                    streams.push(stream);
                    before += usize::from(key < self.rotation.next());
                }
                Some(None) => self.session.reset(key, ErrorCode::InternalError),
                None => {}
            }
        }
        let client = SavedHttp2 {
            inside: self.inside.map(|(stream, began)| (stream, now - began)),
            write: self.deadlines.write_since.map(|since| now - since),
            idle: self.deadlines.idle_since.map(|since| now - since),
            // else a reload would begin with the first ones again, and the others had none of a small window
            next: before,
        };
        let transfer = Http2Transfer { session: self.session.save(), client, streams, ahead: self.ahead };
        let leaving = LeavingStreams(leaving);
        OpenSession { client: self.client, stream: self.stream, leaving, transfer: Box::new(transfer) }
    }

    /// Ready when the connection moves now.
    pub(super) fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<TransferPermit> {
        let mut wait = std::mem::take(&mut self.wait);
        let permit = wait.poll(cx, || self.successor());
        self.wait = wait;
        permit
    }

    /// What takes the connection over now, with all that is open on it.
    fn successor(&self) -> Option<Successor> {
        let ends = self.last.is_some() || self.is_finished || self.session.has_left() && self.session.open() == 0;
        if ends || !matches!(self.thread.drain.stage(), Stage::Draining(_)) {
            return None;
        }
        self.thread.successor_if(|reach| self.can_move(reach))
    }

    fn can_move(&self, reach: &Reach) -> bool {
        let heads = 2 * self.settings().max_head;
        self.client.origin.is_in(reach)
            && reach.has_session(self.client.origin.listener.into())
            && self.session.open() <= MOST_STREAMS
            && self.session.open() * (heads + HELD) <= MOST_BYTES
            && self.streams.iter().flatten().all(|stream| stream.can_move(reach))
    }

    /// Whether the connection is to move, and is not kept from that for too long: its client need not hear of the end.
    pub(super) fn is_to_move(&mut self, now: Instant) -> bool {
        let listener = self.client.origin.listener.into();
        let Some(successor) =
            self.thread.successor_if(|reach| self.client.origin.is_in(reach) && reach.has_session(listener))
        else {
            return self.thread.is_between_successors();
        };
        if successor.reach().is_some_and(|reach| self.can_move(reach)) {
            self.stays_since = None;
            return true;
        }
        now < *self.stays_since.get_or_insert(now) + self.patience()
    }

    /// A part of the drain, at whose end the connection is cut: its client has to hear of that in time.
    fn patience(&self) -> Duration {
        let Stage::Draining(draining) = self.thread.drain.stage() else { return PATIENCE };
        let whole = draining.deadline - draining.began;
        if self.streams.iter().flatten().any(|stream| stream.is_on_shared_connection()) {
            return whole.mul_f64(SHARED_PATIENCE);
        }
        PATIENCE.min(whole / 4)
    }

    /// When to look again whether the connection is to move.
    pub(super) fn look_again(&self, now: Instant) -> Instant {
        self.stays_since.map_or(now + LOOK, |since| since + self.patience())
    }
}

/// A connection whose state contradicts itself.
pub(in crate::listener) struct Contradicted {
    pub(in crate::listener) client: Box<Client>,
    pub(in crate::listener) stream: Stream,
    /// No frame was sent in part.
    pub(in crate::listener) is_between_frames: bool,
}

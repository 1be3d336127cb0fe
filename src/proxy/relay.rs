//! The body of a server's response on its way to the client, and what is left of the request body, which goes on
//! meanwhile. Plain data, but for the deadline.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::attempt::{Answer, InUse, Lent, PoolOf};
use super::client_side::ClientSide;
use super::exchange::Exchange;
use super::thread::Thread;
use crate::handover::exchange::{SavedResponse, SavedUpload};
use crate::message::body::{Piece, RequestBody};
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::pool::Open;
use crate::upstream::connection::Connection;
use crate::upstream::error::ResponseError;
use crate::upstream::upload::{Upload, Waiting};

/// A response body that comes from a server.
pub(super) struct Relay {
    /// `None` once the response is whole and the connection was put away.
    connection: Option<InUse>,
    pool: usize,
    server: usize,
    /// The server's silence; lent at the first wait, which small bodies do not have.
    timer: Option<Lent>,
    waiting: bool,
    timeout: Duration,
    /// Bytes pass both ways, and none of them is a message.
    is_tunnel: bool,
    /// What is left of the request body.
    upload: Option<Box<Uploading>>,
    open: Option<Open<PoolOf>>,
    /// When the head came. A body that is whole at the first poll came with it.
    came: Option<Instant>,
}

/// A response body on its way through, as another generation goes on with it.
pub(super) struct SavedRelay {
    pub(super) stream: Stream,
    /// What was read from the server.
    pub(super) unread: BytesMut,
    pub(super) response: SavedResponse,
    /// What is left of the request body, with what is held of it.
    pub(super) upload: Option<(SavedUpload, BytesMut)>,
}

/// The rest of the request body.
struct Uploading {
    upload: Upload,
    going: Going,
    /// Bytes that had come when the server's silence was last judged.
    seen: u64,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    /// The client has to send more.
    Client,
    /// The server has to take more.
    Server,
    /// All of it was sent.
    Whole,
    /// The rest will never come.
    Broken,
}

/// Why a response body ends before it is whole; the client sees its connection end.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The server broke it off.
    #[error("the response body was broken off")]
    Server(#[from] ResponseError),
    /// The server fell silent.
    #[error("the server sent nothing more of the response body")]
    Silent,
    /// Nothing passed through a tunnel for too long.
    #[error("nothing passed in either direction")]
    Idle,
}

impl RelayError {
    pub(super) fn end(&self) -> End {
        End::new(
            if matches!(self, Self::Idle) { Phase::Tunnel } else { Phase::Body },
            match self {
                Self::Idle => Reason::ClientTimeout,
                Self::Server(error) if error.is_invalid() => Reason::ServerBadResponse,
                Self::Server(_) => Reason::ServerClosed,
                Self::Silent => Reason::ServerTimeout,
            },
        )
    }
}

impl Relay {
    /// Relays the body of an answer; `upload` is what is left of the request body.
    pub(super) fn new(
        exchange: &mut Exchange,
        pool: usize,
        answer: Answer,
        upload: Option<Upload>,
        timeout: Duration,
        side: &mut ClientSide<'_>,
    ) -> Self {
        let Answer { connection, server, open, .. } = answer;
        let mut relay = Self {
            connection: Some(connection),
            pool,
            server,
            timer: None,
            waiting: false,
            timeout,
            is_tunnel: false,
            upload: upload.map(|upload| Box::new(Uploading { upload, going: Going::Client, seen: 0 })),
            open: Some(open),
            came: Some(exchange.responded),
        };
        let came = relay.came;
        relay.finish_if_whole(exchange, side, came);
        relay
    }

    /// Passes bytes both ways with a server that has switched protocols, while any pass within `timeout`.
    pub(super) fn tunnel(
        exchange: &mut Exchange,
        pool: usize,
        answer: Answer,
        timeout: Duration,
        side: &mut ClientSide<'_>,
    ) -> Self {
        let mut relay = Self::new(exchange, pool, answer, Some(Upload::of_tunnel()), timeout, side);
        relay.is_tunnel = true;
        relay
    }

    /// Goes on with the body of a response that another generation began to relay.
    pub(super) fn resumed(
        thread: &Rc<Thread>,
        (pool, server): (usize, usize),
        connection: Box<Connection>,
        saved: &SavedResponse,
        upload: Option<(SavedUpload, BytesMut)>,
    ) -> Self {
        let uploading = |(saved, held): (SavedUpload, BytesMut)| {
            let going = if saved.broken { Going::Broken } else { Going::Client };
            Box::new(Uploading { upload: Upload::resumed(&saved, held), going, seen: saved.received })
        };
        Self {
            connection: Some(InUse::new(connection)),
            pool,
            server,
            timer: saved.patience.map(|left| Lent::after(thread, left)),
            waiting: saved.patience.is_some(),
            timeout: saved.timeout,
            is_tunnel: saved.is_tunnel,
            upload: upload.map(uploading),
            open: Some(Open::new(PoolOf::new(thread, pool), server)),
            came: None,
        }
    }

    /// The server whose connection the body of the response comes over; none when it came whole, and for a stream of HTTP/2.
    pub(super) fn needs(&self) -> Option<usize> {
        self.connection.as_ref().is_some_and(|connection| !connection.is_stream()).then_some(self.server)
    }

    /// Whether the response comes over a stream of HTTP/2.
    pub(super) fn is_on_shared_connection(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_stream())
    }

    /// Takes it apart: the connection to the server with what was read from it, what another generation goes on with, and
    /// what is held of the body of the request. None when the response came whole.
    pub(super) fn save(self) -> Option<SavedRelay> {
        let connection = self.connection?.into_inner();
        let (private, tls) = (connection.is_private(), connection.tls_settings());
        let (stream, unread, open) = connection.into_open()?;
        let patience = self.timer.as_ref().filter(|_| self.waiting).and_then(|timer| timer.left());
        let response = SavedResponse {
            left: open.left,
            server_keeps: open.keep_alive,
            server_keeps_for: open.server_keeps,
            patience,
            timeout: self.timeout,
            is_tunnel: self.is_tunnel,
            private,
            tls,
        };
        let upload = self.upload.filter(|uploading| uploading.going != Going::Whole).map(|uploading| {
            let broken = uploading.going == Going::Broken;
            let (saved, held) = uploading.upload.save();
            (SavedUpload { broken, ..saved }, held)
        });
        Some(SavedRelay { stream, unread, response, upload })
    }

    /// The next piece; `None` when the response is whole. Nothing is read while there is no room for it, and the request
    /// body goes on all the same.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        side: &mut ClientSide<'_>,
    ) -> Poll<Option<Result<Piece, RelayError>>> {
        self.poll_upload(cx, exchange, side.body);
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let Some(room) = side.room else { return Poll::Pending };
        let came = self.came.take();
        let Poll::Ready(piece) = connection.poll_body(cx, &exchange.thread.reads, room) else {
            return self.poll_patience(cx, exchange).map(|error| Some(Err(error)));
        };
        self.waiting = false;
        if !matches!(piece, Some(Err(_))) {
            self.finish_if_whole(exchange, side, came);
        }
        Poll::Ready(piece.map(|piece| piece.map_err(RelayError::from)))
    }

    /// Sends more of the request body. When the rest will never come the server sees that its request was cut, and
    /// decides by itself what becomes of the response.
    fn poll_upload(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange, body: &mut dyn RequestBody) {
        let (Some(connection), Some(uploading)) = (&mut self.connection, &mut self.upload) else { return };
        if matches!(uploading.going, Going::Whole | Going::Broken) {
            return;
        }
        let waiting = uploading.upload.poll_send(cx, body, connection, &exchange.thread.turns, &mut false);
        uploading.going = match waiting {
            Ok(Waiting::Client) => Going::Client,
            Ok(Waiting::Server) => Going::Server,
            Ok(Waiting::Nothing) => Going::Whole,
            Err(_) => Going::Broken,
        };
        connection.is_stuck = uploading.going == Going::Server;
        exchange.bytes_in = exchange.bytes_in.max(uploading.upload.received());
        match uploading.going {
            Going::Broken => connection.cut_request(),
            Going::Whole if self.is_tunnel => connection.finish_tunnel(),
            _ => {}
        }
    }

    /// Only silence that the client waits for counts: the clock starts when we find nothing to read.
    fn poll_patience(&mut self, cx: &mut Context<'_>, exchange: &Exchange) -> Poll<RelayError> {
        let timer = self.timer.get_or_insert_with(|| Lent::new(&exchange.thread));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.set(self.timeout);
        }
        while timer.poll_due(cx).is_ready() {
            let is_tunnel = self.is_tunnel;
            if !self.upload.as_mut().is_some_and(|uploading| uploading.goes_on(is_tunnel)) {
                return Poll::Ready(if is_tunnel { RelayError::Idle } else { RelayError::Silent });
            }
            timer.set(self.timeout);
        }
        Poll::Pending
    }

    /// Puts the connection away as soon as the response is whole: kept for the next request if it can be. `came` is when
    /// it was, if that is known.
    fn finish_if_whole(&mut self, exchange: &mut Exchange, side: &mut ClientSide<'_>, came: Option<Instant>) {
        if !self.connection.as_ref().is_some_and(|connection| connection.is_whole()) {
            return;
        }
        let now = came.unwrap_or_else(Instant::now);
        exchange.finish(now);
        let uploaded = self.upload.take().is_none_or(|uploading| uploading.going == Going::Whole);
        if let Some(connection) = self.connection.take()
            && connection.is_reusable()
            && uploaded
            && self.open.as_ref().is_some_and(|open| !open.server().is_removed())
        {
            let connection = connection.into_inner();
            if connection.is_private() {
                side.private.keep(self.pool, self.server, connection, now);
            } else {
                let thread = &exchange.thread;
                thread.pools[self.pool].idle.put(&thread.timer_wheel, self.server, connection, now);
            }
        }
        self.open = None;
        self.timer = None;
    }
}

impl Uploading {
    /// Whether the server had something to read since this was last asked, or waits for the client to send it, which in a
    /// tunnel it always does.
    fn goes_on(&mut self, is_tunnel: bool) -> bool {
        let received = self.upload.received();
        std::mem::replace(&mut self.seen, received) != received || self.going == Going::Client && !is_tunnel
    }
}

//! The body of a response on its way to the client. The exchange lives in it, and ends with it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::attempt::{Answer, PoolOf};
use super::client::{self, Client};
use super::exchange::Exchange;
use crate::net::Stream;
use crate::observe::WithCauses;
use crate::observe::record::{End, Phase, Protocol};
use crate::pool::Open;
use crate::upstream::connection::{Connection, Piece, ResponseError};
use crate::upstream::upload::{Upload, Waiting};
use crate::wheel::Alarm;

/// The body of a response: our own words, or what a server sends.
pub struct Reply {
    source: Source,
    /// Why it is broken off. hyper drops what it holds of a response when it hears of that, so it does not before all
    /// that came from the server is written.
    broken: Option<BodyError>,
    /// All of it was given to hyper.
    is_whole: bool,
    /// `None` once a tunnel has taken it over.
    exchange: Option<Box<Exchange>>,
}

enum Source {
    Own(Option<Bytes>),
    Server(Box<FromServer>),
}

/// Why a response body ends before it is whole; the client sees its connection end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The server broke it off.
    #[error("the response body was broken off")]
    Server(#[from] ResponseError),
    /// The server fell silent.
    #[error("the server sent nothing more of the response body")]
    Silent,
}

/// A response body that comes from a server.
struct FromServer {
    /// `None` once the response is whole and the connection was put away.
    connection: Option<Box<Connection>>,
    pool: usize,
    server: usize,
    /// The server's silence; lent at the first wait, which small bodies do not have.
    alarm: Option<Alarm>,
    waiting: bool,
    timeout: Duration,
    upload: Option<Uploading>,
    open: Option<Open<PoolOf>>,
    /// When the head came. A body that is whole the first time that hyper asks for it came with it.
    came: Option<Instant>,
}

/// The rest of the request body, which goes on while the response comes.
struct Uploading {
    task: JoinHandle<()>,
    stream: Rc<Stream>,
    sent: Rc<Cell<Sent>>,
    /// Bytes that had come when the server's silence was last judged.
    seen: u64,
}

/// How far it is.
#[derive(Clone, Copy, Default)]
struct Sent {
    received: u64,
    going: Going,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Going {
    /// The client has to send more.
    #[default]
    Client,
    /// The server has to take more.
    Server,
    /// All of it was sent.
    Whole,
    /// The rest will never come.
    Broken,
}

impl Uploading {
    /// Whether the server had something to read since this was last asked, or waits for the client to send it.
    fn goes_on(&mut self) -> bool {
        let Sent { received, going } = self.sent.get();
        std::mem::replace(&mut self.seen, received) != received || going == Going::Client
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.task.abort();
        if self.sent.get().going == Going::Server {
            let _ = self.stream.reset_on_close(); // the kernel would try for minutes to get rid of what it has
        }
    }
}

impl Reply {
    /// A body of our own.
    pub(super) fn own(exchange: Box<Exchange>, bytes: Bytes) -> Self {
        let source = Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty()));
        Self { source, broken: None, is_whole: false, exchange: Some(exchange) }
    }

    /// The empty body of a switch of protocols, whose exchange goes on as a tunnel.
    pub(super) fn switch() -> Self {
        Self { source: Source::Own(None), broken: None, is_whole: false, exchange: None }
    }

    /// What the server sends.
    pub(super) fn relay(mut exchange: Box<Exchange>, pool: usize, answer: Answer) -> Self {
        let Answer { connection, server, upload, open, .. } = answer;
        let upload = upload.map(|upload| {
            let sent = Rc::new(Cell::new(Sent::default()));
            let (stream, client) = (connection.stream().clone(), exchange.client.clone());
            let task = tokio::task::spawn_local(send_rest(upload, stream.clone(), sent.clone(), client));
            Uploading { task, stream, sent, seen: 0 }
        });
        let mut relayed = FromServer {
            connection: Some(connection),
            pool,
            server,
            alarm: None,
            waiting: false,
            timeout: exchange.thread.plan.pools[pool].settings.response_timeout,
            upload,
            open: Some(open),
            came: Some(exchange.responded),
        };
        let came = relayed.came;
        relayed.finish_if_whole(&mut exchange, came);
        Self { source: Source::Server(Box::new(relayed)), broken: None, is_whole: false, exchange: Some(exchange) }
    }

    /// The exchange ended well, or as the error says.
    fn ended(&mut self, error: Option<&BodyError>) {
        let Some(exchange) = &mut self.exchange else { return };
        match error {
            None => {
                self.is_whole = true;
                exchange.ends(End::Ok, Phase::Done);
            }
            Some(error) => {
                let end = match error {
                    BodyError::Server(ResponseError::Closed | ResponseError::Io(_)) => End::ServerClosed,
                    BodyError::Server(_) => End::ServerBadResponse,
                    BodyError::Silent => End::ServerTimeout,
                };
                exchange.ends(end, Phase::Body);
                exchange.explain(&WithCauses(error));
            }
        }
    }

    /// The response breaks off, after hyper has written what it holds.
    fn break_off(&mut self, cx: &Context<'_>, error: BodyError) {
        self.ended(Some(&error));
        self.broken = Some(error);
        if let Some(exchange) = &self.exchange {
            exchange.client.await_flush();
            cx.waker().wake_by_ref(); // hyper flushes whenever it is polled
        }
    }

    fn poll_broken(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &self.exchange {
            Some(exchange) if exchange.client.awaits_flush() => Poll::Pending,
            _ => Poll::Ready(self.broken.take().map(Err)),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.broken.is_some() {
            return this.poll_broken();
        }
        let polled = match (&mut this.source, &mut this.exchange) {
            (Source::Own(bytes), _) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            (Source::Server(server), Some(exchange)) => server.poll_frame(cx, exchange),
            (Source::Server(_), None) => Poll::Ready(None),
        };
        match polled {
            Poll::Ready(Some(Err(error))) => {
                this.break_off(cx, error);
                return Poll::Pending;
            }
            Poll::Pending => {}
            Poll::Ready(None) => this.ended(None),
            Poll::Ready(Some(Ok(ref frame))) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &mut this.exchange) {
                    exchange.bytes_out += data.len() as u64;
                    exchange.client.was_given();
                }
                if this.is_end_stream() {
                    this.ended(None); // hyper does not ask again
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Server(server) => server.connection.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.source {
            Source::Own(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Server(server) => server.connection.as_ref().map_or(Some(0), |connection| connection.left()),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.ended(None); // a body that is empty is never polled
        }
        let Some(exchange) = &mut self.exchange else { return };
        if let Source::Server(server) = &mut self.source {
            if !self.is_whole && exchange.protocol == Protocol::Http10 {
                exchange.client.truncate();
            }
            server.give_back(exchange);
        }
    }
}

impl FromServer {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let Some(most) = exchange.client.may_have() else {
            exchange.client.await_flush(); // then there may be room again
            return Poll::Pending;
        };
        let came = self.came.take();
        let polled = connection.poll_body(cx, &exchange.thread.reads, most == client::Piece::Small);
        let Poll::Ready(piece) = polled else { return self.poll_patience(cx, exchange) };
        self.waiting = false;
        match piece {
            None => {
                self.finish_if_whole(exchange, came);
                Poll::Ready(None)
            }
            Some(Ok(Piece::Data(data))) => {
                self.finish_if_whole(exchange, came);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Ok(Piece::Trailers(fields))) => {
                self.finish_if_whole(exchange, came);
                Poll::Ready(Some(Ok(Frame::trailers(fields))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    /// Only silence that the client waits for counts: the clock starts when we find nothing to read.
    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let alarm = self.alarm.get_or_insert_with(|| exchange.thread.lend_alarm());
        if !std::mem::replace(&mut self.waiting, true) {
            alarm.set(self.timeout);
        }
        while alarm.poll_due(cx).is_ready() {
            if !self.upload.as_mut().is_some_and(Uploading::goes_on) {
                return Poll::Ready(Some(Err(BodyError::Silent)));
            }
            alarm.set(self.timeout);
        }
        Poll::Pending
    }

    /// Puts the connection away as soon as the response is whole: kept for the next request if it can be. `came` is when
    /// it was, if that is known.
    fn finish_if_whole(&mut self, exchange: &mut Exchange, came: Option<Instant>) {
        if !self.connection.as_ref().is_some_and(|connection| connection.is_whole()) {
            return;
        }
        let now = came.unwrap_or_else(Instant::now);
        exchange.finish(now);
        let uploaded = self.stop_upload(exchange);
        if let Some(connection) = self.connection.take()
            && connection.is_reusable()
            && uploaded
        {
            if connection.is_private() {
                exchange.client.private.borrow_mut().keep(self.pool, self.server, connection, now);
            } else {
                let thread = &exchange.thread;
                thread.pools[self.pool].idle.put(&thread.wheel, self.server, connection, now);
            }
        }
        self.give_back(exchange);
    }

    /// Whether the request body was sent whole.
    fn stop_upload(&mut self, exchange: &mut Exchange) -> bool {
        let Some(upload) = self.upload.take() else { return true };
        let Sent { received, going } = upload.sent.get();
        exchange.bytes_in = exchange.bytes_in.max(received);
        going == Going::Whole
    }

    fn give_back(&mut self, exchange: &mut Exchange) {
        self.stop_upload(exchange);
        self.open = None;
        if let Some(alarm) = self.alarm.take() {
            exchange.thread.return_alarm(alarm);
        }
    }
}

/// Sends what is left of a request body to a server that has answered already. When the rest will never come the server
/// sees that its request was cut, and decides by itself what becomes of the response.
async fn send_rest(mut upload: Upload, stream: Rc<Stream>, sent: Rc<Cell<Sent>>, client: Rc<Client>) {
    std::future::poll_fn(|cx| {
        let waiting = upload.poll_send(cx, &stream, &mut false);
        let going = match waiting {
            Ok(Waiting::Client) => Going::Client,
            Ok(Waiting::Server) => Going::Server,
            Ok(Waiting::Nothing) => Going::Whole,
            Err(_) => Going::Broken,
        };
        client.hold_body(going == Going::Server);
        client.note_server_room(upload.has_room());
        sent.set(Sent { received: upload.received(), going });
        match going {
            Going::Client | Going::Server => return Poll::Pending,
            Going::Whole => {}
            Going::Broken => drop(stream.finish_writing()), // fails when the server is gone already
        }
        Poll::Ready(())
    })
    .await;
}

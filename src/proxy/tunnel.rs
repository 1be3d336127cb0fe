//! Bytes both ways, after an upgrade or in TCP mode.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::attempt::{self, PoolOf};
use super::client::Client;
use super::exchange::Exchange;
use super::thread::Thread;
use crate::drain::Stage;
use crate::net::Stream;
use crate::observe::record::{End, Phase};
use crate::pool::Open;
use crate::upstream::connection::ReadBuffer;

/// Room asked for before a read.
const ROOM: usize = 64 * 1024;
/// Longest silence once one side has said that it is done.
const HALF_CLOSED: Duration = Duration::from_secs(60);

/// What an exchange becomes that switches protocols: its connection to the server, and what was read ahead of it.
pub struct Tunnel {
    exchange: Box<Exchange>,
    server: Rc<Stream>,
    ahead: Bytes,
    timeout: Duration,
    /// The attempt is open for its server as long as the tunnel.
    _open: Option<Open<PoolOf>>,
}

impl Tunnel {
    pub(super) fn new(
        exchange: Box<Exchange>,
        server: Rc<Stream>,
        ahead: Bytes,
        timeout: Duration,
        open: Open<PoolOf>,
    ) -> Self {
        Self { exchange, server, ahead, timeout, _open: Some(open) }
    }

    /// A tunnel that leads nowhere, for tests of what comes before one.
    #[cfg(test)]
    pub(crate) fn stand_in(thread: &Rc<Thread>, client: &Rc<Client>) -> Self {
        let (server, _) = tokio::net::UnixStream::pair().expect("a socket pair");
        Self {
            exchange: Exchange::open_tcp(thread, client),
            server: Rc::new(Stream::Unix(server)),
            ahead: Bytes::new(),
            timeout: HALF_CLOSED,
            _open: None,
        }
    }
}

/// Relays both ways until both sides are done, one of them breaks, or nothing passes for too long. `read_ahead` is
/// what the client sent already.
pub async fn run(thread: &Rc<Thread>, client: &Rc<Client>, stream: Stream, read_ahead: Bytes, tunnel: Tunnel) {
    let Tunnel { mut exchange, server, ahead, timeout, _open } = tunnel;
    exchange.becomes_tunnel();
    let mut ways =
        Ways { client: &stream, server: &server, up: Way::new(read_ahead), down: Way::new(ahead), moved: 0, timeout };
    client.alarm.set(timeout);
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = ways.poll(cx, &thread.reads) {
            return Poll::Ready(ended);
        }
        if ways.has_moved() {
            client.alarm.set(ways.patience());
        }
        if thread.drain.stage() == Stage::Cut {
            return Poll::Ready(Ok(Some(End::Drained)));
        }
        client.alarm.poll_due(cx).map(|()| Ok(Some(End::ClientTimeout)))
    })
    .await;
    (exchange.bytes_in, exchange.bytes_out) = (ways.up.bytes, ways.down.bytes);
    match ended {
        Ok(None) => exchange.ends(End::Ok, Phase::Done),
        Ok(Some(end)) => {
            exchange.ends(end, Phase::Tunnel);
            if end == End::ClientTimeout {
                exchange.explain(&format_args!("nothing passed for {}", humantime::format_duration(ways.patience())));
            }
        }
        Err(broken) => {
            exchange.ends(broken.end, Phase::Tunnel);
            exchange.explain(&broken.cause);
        }
    }
}

/// Relays a connection of the TCP listener `tcp` (an index into the configuration) to a server of its pool.
pub async fn relay(thread: &Rc<Thread>, client: &Rc<Client>, tcp: usize, stream: Stream) {
    let mut exchange = Exchange::open_tcp(thread, client);
    let pool = thread.plan.config.tcp[tcp].pool;
    exchange.pool = Some(pool as u16);
    exchange.phase = Phase::Connect;
    match attempt::dial(&mut exchange, pool).await {
        Ok((connection, open)) => {
            let timeout = thread.plan.pools[pool].settings.tunnel_timeout;
            exchange.phase = Phase::Tunnel;
            let (server, ahead) = connection.into_parts();
            run(thread, client, stream, Bytes::new(), Tunnel::new(exchange, server, ahead.freeze(), timeout, open))
                .await;
        }
        Err(fault) => exchange.fails(&fault),
    }
}

/// One side broke.
struct Broken {
    end: End,
    cause: io::Error,
}

/// Both directions of a tunnel.
struct Ways<'a> {
    client: &'a Stream,
    server: &'a Stream,
    up: Way,
    down: Way,
    /// Bytes that had passed when it was last looked at.
    moved: u64,
    timeout: Duration,
}

/// One direction: what was read and not yet written, and whether the reading side is at its end.
struct Way {
    pending: BytesMut,
    ended: bool,
    finished: bool,
    bytes: u64,
}

impl Ways<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, reads: &ReadBuffer) -> Poll<Result<Option<End>, Broken>> {
        let up = self.up.poll(cx, self.client, self.server, reads);
        let up = up.map_err(|fault| fault.broken(End::ClientClosed, End::ServerClosed));
        let down = self.down.poll(cx, self.server, self.client, reads);
        let down = down.map_err(|fault| fault.broken(End::ServerClosed, End::ClientClosed));
        match (up, down) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(Err(broken)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(None)),
            _ => Poll::Pending,
        }
    }

    /// Whether anything passed since this was last asked.
    fn has_moved(&mut self) -> bool {
        let bytes = self.up.bytes + self.down.bytes + u64::from(self.up.ended) + u64::from(self.down.ended);
        std::mem::replace(&mut self.moved, bytes) != bytes
    }

    /// How long nothing may pass.
    fn patience(&self) -> Duration {
        if self.up.ended || self.down.ended { self.timeout.min(HALF_CLOSED) } else { self.timeout }
    }
}

/// Which end of a direction failed.
enum WayError {
    Read(io::Error),
    Write(io::Error),
}

impl WayError {
    fn broken(self, read: End, write: End) -> Broken {
        match self {
            Self::Read(cause) => Broken { end: read, cause },
            Self::Write(cause) => Broken { end: write, cause },
        }
    }
}

impl Way {
    fn new(read_ahead: Bytes) -> Self {
        Self { bytes: 0, pending: BytesMut::from(read_ahead), ended: false, finished: false }
    }

    /// Ready when everything has passed and the end too.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
        reads: &ReadBuffer,
    ) -> Poll<Result<(), WayError>> {
        loop {
            while !self.pending.is_empty() {
                let written = ready!(to.poll_write_some(cx, &self.pending)).map_err(WayError::Write)?;
                self.pending.advance(written);
                self.bytes += written as u64;
            }
            if self.finished {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                self.finished = true;
                // a peer that is gone already shows on its own side
                let _ = to.finish_writing();
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read(cx, from, to, reads))?;
        }
    }

    /// Reads once and passes on what fits at once; only the rest is kept, so that a quiet tunnel holds no buffer.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
        reads: &ReadBuffer,
    ) -> Poll<Result<(), WayError>> {
        let mut buffer = reads.borrow_mut();
        if buffer.capacity() < ROOM {
            buffer.reserve(ROOM);
        }
        let read = ready!(from.poll_read_into(cx, &mut buffer)).map_err(WayError::Read)?;
        self.ended = read == 0;
        match to.try_write(&buffer) {
            Ok(written) => {
                self.bytes += written as u64;
                buffer.advance(written);
            }
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(fault) => return Poll::Ready(Err(WayError::Write(fault))),
        }
        self.pending = if buffer.is_empty() { BytesMut::new() } else { buffer.split() };
        buffer.clear();
        Poll::Ready(Ok(()))
    }
}

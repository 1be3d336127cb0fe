//! Bytes both ways, after an upgrade or in TCP mode: to the end, or until another generation goes on with it.

mod course;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use self::course::Course;
use super::attempt::{Dispatch, PoolOf};
use super::client::{Client, before};
use super::exchange::Exchange;
use super::origin::Origin;
use super::thread::Thread;
use crate::handover::capabilities::Reach;
use crate::handover::successor::{Returned, Successor, TransferPermit, Wait};
use crate::handover::transfer::{Load, Transfer, TunnelTransfer};
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::pool::Open;

/// Longest silence once one side has said that it is done.
const HALF_CLOSED: Duration = Duration::from_secs(60);

/// What an exchange becomes that switches protocols: its connection to the server, and what was read and not yet
/// passed on.
pub struct Tunnel {
    exchange: Box<Exchange>,
    server: Stream,
    up: Course,
    down: Course,
    timeout: Duration,
    /// When something passed last.
    moved: Instant,
    /// It was said that it stays while others move.
    stays: bool,
    /// It leads to its server by way of a connection that others share, and stays with that.
    is_shared: bool,
    /// The attempt is open for its server as long as the tunnel.
    _open: Option<Open<PoolOf>>,
}

impl Tunnel {
    pub(super) fn new(
        mut exchange: Box<Exchange>,
        server: Stream,
        ahead: BytesMut,
        timeout: Duration,
        open: Open<PoolOf>,
    ) -> Self {
        exchange.becomes_tunnel();
        let (up, down, moved) = (Course::default(), Course::new(ahead), Instant::now());
        Self { exchange, server, up, down, timeout, moved, stays: false, is_shared: false, _open: Some(open) }
    }

    /// The same, which stays with this process if so said.
    pub(super) fn here(self, is_shared: bool) -> Self {
        Self { is_shared, ..self }
    }

    /// Goes on with a tunnel of another generation.
    ///
    /// # Errors
    /// When this one has no such site, pool or server, or the socket of the server cannot be watched.
    pub fn arrived(thread: &Rc<Thread>, origin: &Rc<Origin>, transfer: TunnelTransfer) -> io::Result<Self> {
        let TunnelTransfer { server, exchange: saved, up, down } = transfer;
        let unknown = || io::Error::other(format!("no server {} in a pool {}", saved.server, saved.pool));
        let mut exchange = Exchange::resume_tunnel(thread, origin, &saved).ok_or_else(unknown)?;
        let (Some(pool), Some(index)) = (exchange.pool, exchange.server()) else { return Err(unknown()) };
        let pool = PoolOf::new(thread, pool.into());
        exchange.becomes_tunnel();
        let server = server.attach()?;
        let _ = server.keep_alive(thread.runtime_config.config.worker.tcp_keep_alive); // fails for one that is gone
        Ok(Self {
            exchange,
            server,
            up: up.into(),
            down: down.into(),
            timeout: pool.settings.tunnel_timeout,
            moved: before(Instant::now(), saved.silent),
            stays: false,
            is_shared: false,
            _open: Some(Open::new(pool, index.into())),
        })
    }

    /// A tunnel that leads nowhere, for tests of what comes before one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn stand_in(thread: &Rc<Thread>, origin: &Rc<Origin>) -> Self {
        let (server, _) = tokio::net::UnixStream::pair().expect("a socket pair");
        Self {
            exchange: Exchange::open_tcp(thread, origin, None),
            server: Stream::Unix(server),
            up: Course::default(),
            down: Course::default(),
            timeout: HALF_CLOSED,
            moved: Instant::now(),
            stays: false,
            is_shared: false,
            _open: None,
        }
    }
}

/// Relays both ways until both sides are done, one of them breaks, nothing passes for too long, or another generation
/// takes the tunnel over. `read_ahead` is what the client sent already.
pub async fn run(thread: &Rc<Thread>, client: &mut Client, stream: Stream, read_ahead: Bytes, tunnel: Tunnel) -> End {
    let (mut stream, mut tunnel) = (stream, tunnel);
    tunnel.up.push(&read_ahead);
    loop {
        match tunnel.relay(thread, client, &stream).await {
            Stop::Ends(reason) => {
                if reason == Reason::Killed {
                    tunnel.reset(&stream);
                }
                return tunnel.end(reason, None);
            }
            Stop::Breaks(reason, cause) => {
                tunnel.reset(&stream);
                return tunnel.end(reason, Some(cause));
            }
            Stop::Moves(place) => match tunnel.give(thread, client, stream, place).await {
                Given::Away(end) => return end,
                Given::Back(same_stream, same_tunnel) => (stream, tunnel) = (same_stream, *same_tunnel),
            },
        }
    }
}

/// Relays a connection of a TCP listener to a server of this pool, an index into the configuration. `host` is what its client
/// asked for by TLS; `first` was read from it already.
pub async fn relay(
    thread: &Rc<Thread>,
    client: &mut Client,
    pool: usize,
    host: Option<&str>,
    stream: Stream,
    first: Bytes,
) -> End {
    let mut exchange = Exchange::open_tcp(thread, &client.origin, host);
    exchange.pool = Some(pool as u16);
    exchange.phase = Phase::Connect;
    let mut attempts = Box::new(Dispatch::dialling(&exchange, pool));
    let dialled = thread.until_cut(client, poll_fn(|cx| attempts.poll_dial(cx, &mut exchange))).await;
    match dialled {
        Ok(Ok((connection, open))) => {
            let timeout = thread.runtime_config.pools[pool].settings.tunnel_timeout;
            exchange.phase = Phase::Tunnel;
            let Some((server, ahead)) = connection.into_parts() else {
                let end = End::new(Phase::Tunnel, Reason::Internal); // the check lets no such pool through
                exchange.ends(end);
                return end;
            };
            run(thread, client, stream, first, Tunnel::new(exchange, server, ahead, timeout, open)).await
        }
        Ok(Err(fault)) => {
            exchange.fails(&fault);
            fault.end(Phase::Connect)
        }
        Err(reason) => {
            let end = End::new(Phase::Connect, reason);
            exchange.ends(end);
            end
        }
    }
}

/// Why the relaying stops.
enum Stop {
    Ends(Reason),
    /// One side failed.
    Breaks(Reason, io::Error),
    /// There is room on the way to the successor.
    Moves(TransferPermit),
}

/// What became of a tunnel that was to move.
enum Given {
    /// It is not here any more.
    Away(End),
    Back(Stream, Box<Tunnel>),
}

impl Tunnel {
    async fn relay(&mut self, thread: &Thread, client: &Client, stream: &Stream) -> Stop {
        client.timer.set(self.patience().saturating_sub(self.moved.elapsed()));
        let mut wait = Wait::default();
        poll_fn(|cx| {
            if let Some(reason) = thread.cuts(client) {
                return Poll::Ready(Stop::Ends(reason));
            }
            // before anything is read: a tunnel in full swing uses up its turn, and would never come to it
            if let Poll::Ready(place) = self.poll_place(cx, thread, &mut wait) {
                return Poll::Ready(Stop::Moves(place));
            }
            if let Poll::Ready(ended) = self.poll(cx, stream, thread) {
                return Poll::Ready(
                    ended.map_or_else(|(why, cause)| Stop::Breaks(why, cause), |()| Stop::Ends(Reason::Ok)),
                );
            }
            if self.up.has_moved() | self.down.has_moved() {
                self.moved = Instant::now();
                client.timer.set(self.patience());
            }
            client.timer.poll_due(cx).map(|()| Stop::Ends(Reason::ClientTimeout))
        })
        .await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &Stream,
        thread: &Thread,
    ) -> Poll<Result<(), (Reason, io::Error)>> {
        let up = self.up.poll(cx, client, &self.server, &thread.reads, &thread.turns);
        let up = up.map_err(|error| error.because(Reason::ClientClosed, Reason::ServerClosed));
        let down = self.down.poll(cx, &self.server, client, &thread.reads, &thread.turns);
        let down = down.map_err(|error| error.because(Reason::ServerClosed, Reason::ClientClosed));
        match (up, down) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(Err(broken)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Ready when the tunnel moves now.
    fn poll_place(&mut self, cx: &mut Context<'_>, thread: &Thread, wait: &mut Wait) -> Poll<TransferPermit> {
        let permit = wait.poll(cx, || self.successor(thread));
        if permit.is_pending() && !self.stays && thread.has_successor() && self.successor(thread).is_none() {
            self.stays = true;
            thread.tunnel_stays(&self.exchange.origin, self.exchange.server_name());
        }
        permit
    }

    fn successor(&self, thread: &Thread) -> Option<Successor> {
        if self.is_shared {
            return None;
        }
        let site = self.exchange.site.map(usize::from);
        let (pool, server) = (self.exchange.pool?, self.exchange.server()?);
        let origin = &self.exchange.origin;
        let has = |reach: &Reach| reach.has_tunnel(origin.listener.into(), site, pool.into(), server.into());
        thread.successor_if(|reach| origin.is_in(reach) && has(reach))
    }

    /// Has either side end with a reset that has not had all that there was for it, and must not take it for that.
    fn reset(&self, client: &Stream) {
        for (course, to) in [(&self.up, &self.server), (&self.down, client)] {
            if !course.has_finished() {
                let _ = to.reset_on_close(); // fails for a side that is gone
            }
        }
    }

    /// How long nothing may pass.
    fn patience(&self) -> Duration {
        if self.up.has_ended() || self.down.has_ended() { self.timeout.min(HALF_CLOSED) } else { self.timeout }
    }

    fn end(mut self, reason: Reason, cause: Option<io::Error>) -> End {
        let patience = self.patience();
        let exchange = &mut self.exchange;
        (exchange.bytes_in, exchange.bytes_out) = (self.up.bytes(), self.down.bytes());
        let end = if reason == Reason::Ok { End::OK } else { End::new(Phase::Tunnel, reason) };
        exchange.ends(end);
        match cause {
            Some(cause) => exchange.explain(&cause),
            None if reason == Reason::ClientTimeout => {
                exchange.explain(&format_args!("nothing passed for {}", humantime::format_duration(patience)));
            }
            None => {}
        }
        end
    }
}

/// Moving.
impl Tunnel {
    /// Gives the tunnel to the successor. Nothing of it is read or written until that is decided.
    async fn give(self, thread: &Thread, client: &Client, stream: Stream, place: TransferPermit) -> Given {
        let Self { mut exchange, server, up, down, timeout, moved, stays, is_shared, _open } = self;
        let sockets =
            (|| Some((stream.detach().ok()?, server.detach().ok()?, exchange.saved(moved, exchange.server())?)))();
        let away = |exchange: &mut Exchange, reason| {
            let end = End::new(Phase::Tunnel, reason);
            exchange.ends(end);
            Given::Away(end)
        };
        let Some((socket, server, saved)) = sockets else {
            return away(&mut exchange, Reason::Internal); // no runtime, or no descriptor, is left
        };
        let tunnel = TunnelTransfer { server, exchange: saved, up: up.into(), down: down.into() };
        (exchange.bytes_in, exchange.bytes_out) = (tunnel.up.bytes, tunnel.down.bytes);
        let facts = client.facts(thread.listener_name(client.origin.listener));
        let transfer = Transfer { socket, client: facts, load: Load::Tunnel(Box::new(tunnel)) };
        let given = thread.until_drained(client, pin!(place.give(transfer))).await;
        match given.unwrap_or(Err(Returned::Lost)) {
            Ok(()) => {
                exchange.leaves();
                Given::Away(End::new(Phase::Tunnel, Reason::Moved))
            }
            Err(Returned::Whole(transfer)) => match unpack(*transfer) {
                Ok((stream, server, up, down)) => {
                    let tunnel = Self { exchange, server, up, down, timeout, moved, stays, is_shared, _open };
                    Given::Back(stream, Box::new(tunnel))
                }
                Err(fault) => {
                    exchange.explain(&fault);
                    away(&mut exchange, Reason::Internal)
                }
            },
            Err(Returned::Lost) => away(&mut exchange, Reason::Drained),
        }
    }
}

fn unpack(transfer: Transfer) -> io::Result<(Stream, Stream, Course, Course)> {
    let Load::Tunnel(tunnel) = transfer.load else { return Err(io::Error::other("it came back without its server")) };
    let TunnelTransfer { server, up, down, .. } = *tunnel;
    Ok((transfer.socket.attach()?, server.attach()?, up.into(), down.into()))
}

//! An exchange that goes on in another generation, whatever it waits for.

use std::io;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{Handler, HandlerStage};
use crate::handover::capabilities::Reach;
use crate::handover::exchange::{ExchangeTransfer, SavedExchange, SavedStage, SavedState};
use crate::http1::request::RequestHead;
use crate::net::{Detached, Stream};
use crate::observe::end::{End, Phase, Reason};
use crate::observe::record::Index;
use crate::proxy::attempt::{Dispatch, SavedDispatch, SavedStep};
use crate::proxy::client::before;
use crate::proxy::exchange::Exchange;
use crate::proxy::origin::Origin;
use crate::proxy::private::Private;
use crate::proxy::relay::{Relay, SavedRelay};
use crate::proxy::thread::Thread;
use crate::upstream::connection::{Connection, OpenResponse};

/// An exchange of which another generation gets all that goes on.
pub struct Leaving(Box<Exchange>);

impl Leaving {
    /// It goes on elsewhere, with its record.
    pub fn leaves(mut self) {
        self.0.leaves();
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Nothing of it goes on.
    pub fn ends(mut self, reason: Reason) -> End {
        let end = End::new(self.0.phase(), reason);
        self.0.ends(end);
        end
    }
}

/// What an exchange that moves has beside its record: none of it where there is nothing of the kind.
#[derive(Default)]
struct MovingParts {
    server: Option<Stream>,
    sent_head: BytesMut,
    body: BytesMut,
    unread: BytesMut,
}

impl Handler {
    pub(super) fn moves(&self, reach: &Reach) -> bool {
        let exchange = &self.exchange;
        let server = match &self.stage {
            HandlerStage::Dispatch(attempts) => match attempts.needs() {
                Some(server) => server,
                None => return false,
            },
            HandlerStage::Relay(relay) => match relay.needs() {
                None => return false, // it ends in this turn
                server => server,
            },
            HandlerStage::Ended => None, // and the client has to take the rest
            // each is over with the next poll
            HandlerStage::Opened | HandlerStage::Own(_) | HandlerStage::Switched(_) => return false,
        };
        let server = exchange.pool.map(usize::from).zip(server);
        reach.has_exchange(exchange.origin.listener.into(), exchange.site.map(usize::from), server)
    }

    pub(super) fn save(self) -> Option<(Leaving, ExchangeTransfer)> {
        let Self { exchange, stage } = self;
        let server = match &stage {
            HandlerStage::Dispatch(attempts) => attempts.server().map(|server| server as Index),
            _ => exchange.server(),
        };
        let saved = exchange.saved(Instant::now(), server)?;
        let (stage, parts) = match stage {
            HandlerStage::Dispatch(attempts) => save_dispatch(attempts.save()?),
            HandlerStage::Relay(relay) => save_relay(relay.save()?),
            _ => (SavedStage::Whole, MovingParts::default()),
        };
        let (end, detail) = (exchange.end().0, exchange.end().1.map(str::to_owned));
        let MovingParts { server, sent_head, body, unread } = parts;
        let state = SavedState {
            bytes_in: exchange.bytes_in,
            bytes_out: exchange.bytes_out,
            waits_for_continue: exchange.waits_for_continue,
            continued: exchange.continued,
            end,
            detail,
            stage,
        };
        let (server, head) = (server.map(Stream::detach).transpose().ok()?, exchange.head.as_bytes().into());
        let transfer = ExchangeTransfer { server, exchange: saved, state, head, sent_head, body, unread };
        Some((Leaving(exchange), transfer))
    }

    /// Goes on with an exchange of another generation, and gives what its head says. A connection to a server that belongs
    /// to the client connection is noted in `private`.
    ///
    /// # Errors
    /// When this generation has no such site, pool or server, or the socket of the server cannot be watched.
    pub fn resumed(
        thread: &Rc<Thread>,
        origin: &Rc<Origin>,
        private: &mut Private,
        transfer: ExchangeTransfer,
    ) -> io::Result<(Self, RequestHead)> {
        let ExchangeTransfer { server, exchange: saved, state, head, sent_head, body, unread } = transfer;
        let server = server.map(Detached::attach).transpose()?;
        if let Some(server) = &server {
            let _ = server.keep_alive(thread.runtime_config.config.worker.tcp_keep_alive); // fails for one that is gone
        }
        let resumed = Exchange::resume_request(thread, origin, &saved, &state, &head);
        let (mut exchange, at) = resumed.ok_or_else(|| unknown(&saved))?;
        let parts = MovingParts { server, sent_head, body, unread };
        match resume_stage(&mut exchange, at, private, state.stage, parts) {
            Some(stage) => {
                let facts = exchange.facts;
                Ok((Self { exchange, stage }, facts))
            }
            None => {
                exchange.ends(End::new(exchange.phase(), Reason::Internal));
                Err(unknown(&saved))
            }
        }
    }
}

fn unknown(saved: &SavedExchange) -> io::Error {
    io::Error::other(format!("no server {} in a pool {}", saved.server, saved.pool))
}

fn save_dispatch(saved: SavedDispatch) -> (SavedStage, MovingParts) {
    let SavedDispatch { retries, upload, body, head, step } = saved;
    let parts = MovingParts { sent_head: BytesMut::from(&head[..]), body, ..MovingParts::default() };
    match step {
        SavedStep::Next { connecting, pause } => (SavedStage::Dispatch { retries, upload, connecting, pause }, parts),
        SavedStep::Ask { attempt, stream, unread } => {
            (SavedStage::Ask { retries, upload, attempt }, MovingParts { server: Some(stream), unread, ..parts })
        }
    }
}

fn save_relay(saved: SavedRelay) -> (SavedStage, MovingParts) {
    let SavedRelay { stream, unread, response, upload } = saved;
    let (upload, body) = upload.unzip();
    let parts = MovingParts { server: Some(stream), body: body.unwrap_or_default(), unread, ..MovingParts::default() };
    (SavedStage::Response { response, upload }, parts)
}

/// The stage of an exchange whose server is `at`, as this generation has it. None without what the stage needs.
fn resume_stage(
    exchange: &mut Exchange,
    at: Option<Index>,
    private: &mut Private,
    stage: SavedStage,
    parts: MovingParts,
) -> Option<HandlerStage> {
    let MovingParts { server: stream, sent_head, body, unread } = parts;
    if stage == SavedStage::Whole {
        return exchange.end().0.map(|_| HandlerStage::Ended);
    }
    let (thread, pool) = (exchange.thread.clone(), usize::from(exchange.pool?));
    let head = Vec::from(sent_head);
    let server = at.map(usize::from);
    Some(match stage {
        SavedStage::Dispatch { retries, upload, connecting, pause } => {
            exchange.phase = Phase::Connect;
            let step = SavedStep::Next { connecting, pause };
            let saved = SavedDispatch { retries, upload, body, head, step };
            HandlerStage::Dispatch(Box::new(Dispatch::resumed(exchange, pool, server, saved)?))
        }
        SavedStage::Ask { retries, upload, attempt } => {
            exchange.resume_attempt(at?, attempt.idle.is_some(), before(Instant::now(), retries.age));
            if attempt.private {
                private.begin(pool, server?);
            }
            let step = SavedStep::Ask { attempt, stream: stream?, unread };
            let saved = SavedDispatch { retries, upload, body, head, step };
            HandlerStage::Dispatch(Box::new(Dispatch::resumed(exchange, pool, server, saved)?))
        }
        SavedStage::Response { response, upload } => {
            if response.is_tunnel {
                exchange.phase = Phase::Tunnel;
                exchange.becomes_tunnel();
            } else {
                exchange.phase = Phase::Body;
            }
            let server = server.filter(|_| exchange.server() == at)?;
            let (left, keep_alive) = (response.left.clone(), response.server_keeps);
            let open = OpenResponse { left, keep_alive, server_keeps: response.server_keeps_for };
            let of = &thread.runtime_config.pools[pool].servers[server];
            let mut connection = Connection::resumed(stream?, unread, open, of);
            connection.set_tls_settings(response.tls, of);
            if response.private {
                connection.make_private();
                private.begin(pool, server);
            }
            let upload = upload.map(|upload| (upload, body));
            HandlerStage::Relay(Relay::resumed(&thread, (pool, server), connection, &response, upload))
        }
        SavedStage::Whole => HandlerStage::Ended,
    })
}

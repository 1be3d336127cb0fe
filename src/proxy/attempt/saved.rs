//! The attempts of an exchange that goes on in another generation.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::asking::Asking;
use super::retry::RetryState;
use super::{Dispatch, DispatchStep, Lent, PoolOf};
use crate::handover::exchange::{SavedAsking, SavedRetries, SavedUpload};
use crate::net::Stream;
use crate::pool::Open;
use crate::proxy::client::before;
use crate::proxy::exchange::Exchange;
use crate::proxy::thread::Thread;
use crate::upstream::connection::Connection;
use crate::upstream::upload::Upload;

/// The attempts of an exchange, as another generation goes on with them.
pub(in crate::proxy) struct SavedDispatch {
    pub(in crate::proxy) retries: SavedRetries,
    pub(in crate::proxy) upload: SavedUpload,
    /// What is held of the body of the request.
    pub(in crate::proxy) body: BytesMut,
    /// The head of the request, as servers get it.
    pub(in crate::proxy) head: Vec<u8>,
    pub(in crate::proxy) step: SavedStep,
}

/// Where the attempts are.
pub(in crate::proxy) enum SavedStep {
    /// No server has anything of the request.
    Next { connecting: Duration, pause: Option<Duration> },
    /// The request is on this connection, from which `unread` was read.
    Ask { attempt: SavedAsking, stream: Stream, unread: BytesMut },
}

impl Dispatch {
    /// The server without which the attempts cannot go on in another generation, if there is one; the outer none when they
    /// cannot at all.
    pub(in crate::proxy) fn needs(&self) -> Option<Option<usize>> {
        match &self.step {
            DispatchStep::Next | DispatchStep::Pause(_) | DispatchStep::Connect { .. } => {
                self.course.private.is_none().then_some(None)
            }
            DispatchStep::Ask { asking, .. } if asking.is_stream() => None,
            DispatchStep::Ask { server, .. } => Some(Some(*server)),
            DispatchStep::Finish { .. } | DispatchStep::Done => None,
        }
    }

    /// Whether the request is on a stream of HTTP/2.
    pub(in crate::proxy) fn is_on_shared_connection(&self) -> bool {
        matches!(&self.step, DispatchStep::Ask { asking, .. } if asking.is_stream())
    }

    /// The server of the attempt that is under way, or comes next.
    pub(in crate::proxy) fn server(&self) -> Option<usize> {
        match &self.step {
            DispatchStep::Connect { server, .. } | DispatchStep::Ask { server, .. } => Some(*server),
            _ => self.course.again,
        }
    }

    /// Takes the attempts apart; none where [`Dispatch::needs`] gives none.
    ///
    /// A connection that is being opened is not taken along: the next generation opens one of its own, in the time that is
    /// left. Nothing was sent over it, and its server may be one that the next configuration has not.
    pub(in crate::proxy) fn save(self) -> Option<SavedDispatch> {
        let Self { course, head, upload, step } = self;
        let retries = course.save();
        let (upload, body) = upload.save();
        let next = |connecting, pause| SavedStep::Next { connecting, pause };
        let step = match step {
            DispatchStep::Next => next(course.waited, None),
            DispatchStep::Pause(timer) => next(Duration::ZERO, timer.left()),
            DispatchStep::Connect { connecting, .. } => {
                next(connecting.map_or(course.waited, |connecting| connecting.waited()), None)
            }
            DispatchStep::Ask { asking, .. } => {
                let tells = course.pool.settings.send_proxy.is_some(); // and the next generation's pool may not
                let (attempt, stream, unread) = asking.save(tells)?;
                SavedStep::Ask { attempt, stream, unread }
            }
            DispatchStep::Finish { .. } | DispatchStep::Done => return None,
        };
        Some(SavedDispatch { retries, upload, body, head, step })
    }

    /// Goes on with the attempts of another generation in this pool; `server` is the one of the attempt that was under way,
    /// or came next. None when a request is on a connection to a server that is not there.
    pub(in crate::proxy) fn resumed(
        exchange: &Exchange,
        pool: usize,
        server: Option<usize>,
        saved: SavedDispatch,
    ) -> Option<Self> {
        let SavedDispatch { retries, upload, body, head, step } = saved;
        let mut course = RetryState::resumed(&exchange.thread, pool, &retries);
        let upload = Upload::resumed(&upload, body);
        let step = match step {
            SavedStep::Next { connecting, pause } => {
                let server = server.filter(|server| !course.pool.servers[*server].is_removed()); // another one is picked
                (course.again, course.waited) = (server, server.map_or(Duration::ZERO, |_| connecting));
                pause.map_or(DispatchStep::Next, |left| DispatchStep::Pause(Lent::after(&exchange.thread, left)))
            }
            SavedStep::Ask { attempt, stream, unread } => {
                let (server, pool) = (server?, &course.pool);
                let connection = Connection::resumed_before_head(stream, unread, &pool.servers[server]);
                let limits = course.limits();
                let asking = Asking::resumed(connection, pool, server, exchange, &attempt, &head, limits);
                DispatchStep::Ask { open: Open::new(pool.clone(), server), server, asking }
            }
        };
        Some(Self { course, head, upload, step })
    }
}

impl RetryState {
    fn save(&self) -> SavedRetries {
        let name = |server: &u16| self.pool.servers[usize::from(*server)].name.clone();
        SavedRetries {
            made: self.retries,
            most: self.most,
            tried: self.tried.iter().map(name).collect(),
            fresh_only: self.fresh_only,
            timeout: self.timeout,
            age: self.began.elapsed(),
        }
    }

    fn resumed(thread: &Rc<Thread>, pool: usize, saved: &SavedRetries) -> Self {
        let pool = PoolOf::new(thread, pool);
        let index = |name: &String| Some(pool.servers.iter().position(|server| server.name == *name)? as u16);
        Self {
            tried: saved.tried.iter().filter_map(index).collect(),
            retries: saved.made,
            again: None,
            private: None,
            fresh_only: saved.fresh_only,
            began: before(Instant::now(), saved.age),
            most: saved.most,
            timeout: saved.timeout,
            waited: Duration::ZERO,
            pool,
        }
    }
}

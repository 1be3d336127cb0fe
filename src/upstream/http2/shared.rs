//! The connections of HTTP/2 to one server, of one thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use bytes::BytesMut;

use super::connection::Http2Connection;
use super::driver::Driver;
use super::places::{OpeningGuard, PlaceQueue};
use super::stream::UpstreamStream;
use crate::net::Stream;
use crate::pool::Server;
use crate::timer::TimerWheel;

/// The connections to one server.
#[derive(Debug, Default)]
pub struct SharedConnections {
    open: RefCell<Vec<Rc<Http2Connection>>>,
    waiting: Rc<PlaceQueue>,
}

impl SharedConnections {
    /// A stream on a connection that has a place for it.
    #[must_use]
    pub fn take(&self, server: &Server) -> Option<UpstreamStream> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| {
            let is_right = connection.leads_to(server);
            if !is_right {
                connection.let_go();
            }
            is_right && !connection.has_ended()
        });
        let with_place = open.iter().find(|connection| connection.streams_left() > 0)?;
        Some(UpstreamStream::new(with_place.clone()))
    }

    /// Whether there will be a place soon: a connection is being opened, or its server is about to say what it takes. The
    /// task is woken then.
    pub fn is_opening(&self, cx: &Context<'_>) -> bool {
        let is_beginning = self.open.borrow().iter().any(|connection| connection.is_beginning());
        let is_opening = is_beginning || self.waiting.is_opening();
        if is_opening {
            self.waiting.watch(cx);
        }
        is_opening
    }

    /// A connection is being opened until this is dropped.
    #[must_use]
    pub fn begin(&self) -> OpeningGuard {
        self.waiting.begin()
    }

    /// Takes a connection that was just opened, and gives its first stream. It is kept for `keep` while no stream is open.
    pub fn put(
        &self,
        stream: Stream,
        address: Option<SocketAddr>,
        version: u64,
        keep: Duration,
        timer_wheel: &Rc<TimerWheel>,
    ) -> UpstreamStream {
        let connection = Http2Connection::new(address, version, stream.tls().is_some());
        let first = UpstreamStream::new(connection.clone());
        self.open.borrow_mut().push(connection.clone());
        let driver = Driver {
            connection,
            stream,
            waiting: self.waiting.clone(),
            timer: timer_wheel.timer(),
            keep,
            ahead: BytesMut::new(),
            blocked: None,
            places: 0,
        };
        tokio::task::spawn_local(driver.run());
        first
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes those on which no stream is open.
    pub fn close_idle(&self) {
        self.open.borrow().iter().filter(|connection| connection.is_idle()).for_each(|connection| connection.let_go());
    }
}

//! A server behind the proxy, of which every byte is written by the fact itself.

use std::net::{SocketAddr, TcpListener};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{DEADLINE, Wire};

/// A listening socket that is accepted from by hand.
pub struct Server {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Server {
    pub fn new() -> Self {
        Self::on(super::socket().0)
    }

    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("address");
        Self { listener, address }
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Wire {
        assert!(self.has_connection(DEADLINE.as_secs()), "no connection came to the server");
        let (stream, _) = self.listener.accept().expect("accept");
        Wire::new(stream)
    }

    /// No connection has come since the last one.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert!(!self.has_connection(0), "a connection came to the server");
    }

    /// No connection comes within so many seconds.
    #[track_caller]
    pub fn assert_untouched_for(&self, seconds: u64) {
        assert!(!self.has_connection(seconds), "a connection came to the server");
    }

    /// Whether a connection has come since the last one.
    pub fn is_waited_at(&self) -> bool {
        self.has_connection(0)
    }

    fn has_connection(&self, seconds: u64) -> bool {
        let timeout = Timespec { tv_sec: seconds.cast_signed(), tv_nsec: 0 };
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut ready, Some(&timeout)).expect("poll") > 0
    }
}

//! A dormant client connection: idle for so long that it needs no task, no timer and no place in the poller of the
//! runtime, which together are most of what an idle connection takes. The thread has it by its slot
//! ([`crate::proxy::clients`]), and it comes back as a task when something happens to it.

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};

use tokio::time::Instant;

use super::http2::DormantSession;
use super::limits::Permit;
use crate::net::{Detached, DormantTls, Stream};
use crate::proxy::client::DormantClient;
use crate::proxy::clients::{DormantConnection, Slot};
use crate::proxy::origin::Accepted;
use crate::proxy::{Client, Thread};
use crate::timer::Timer;
use crate::tls::Version;

/// What goes on with a connection that was dormant.
pub(super) trait Wake: 'static {
    /// Goes on with it. Its socket may not be watched again, which ends it.
    fn woken(thread: Rc<Thread>, client: Box<Client>, stream: io::Result<Stream>, woken: Woken);
}

/// What a dormant connection has beside client and socket.
pub(super) struct Woken {
    /// The settings, an index into the listeners of the configuration.
    pub(super) listener: usize,
    pub(super) permit: Permit,
    /// When it has been idle for too long.
    pub(super) until: Instant,
    /// Where HTTP/2 is spoken.
    pub(super) session: Option<Box<DormantSession>>,
}

/// The connection. It is as small as can be.
struct Dormant<W> {
    thread: Weak<Thread>,
    client: DormantClient,
    permit: Permit,
    until: Instant,
    socket: OwnedFd,
    listener: u32,
    /// What few connections have, or all are larger with.
    protocols: Option<Box<Protocols>>,
    wakes: PhantomData<W>,
}

struct Protocols {
    tls: Option<DormantTls>,
    session: Option<Box<DormantSession>>,
}

/// Makes a connection dormant whose socket is watched already.
pub(super) fn doze<W: Wake>(thread: &Rc<Thread>, client: Client, detached: Detached, woken: Woken) {
    let (client, slot) = client.doze();
    let Detached { socket, tls } = detached;
    let Woken { listener, permit, until, session } = woken;
    let has_protocols = tls.is_some() || session.is_some();
    let protocols =
        has_protocols.then(|| Box::new(Protocols { tls: tls.map(|parts| DormantTls::new(*parts)), session }));
    let (thread, listener) = (Rc::downgrade(thread), listener as u32); // as many as a configuration names
    let wakes = PhantomData::<W>;
    slot.keep(Box::new(Dormant { thread, client, permit, until, socket, listener, protocols, wakes }));
}

impl<W> AsFd for Dormant<W> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<W: Wake> DormantConnection for Dormant<W> {
    fn until(&self) -> Instant {
        self.until
    }

    fn accepted(&self) -> Accepted {
        self.client.connection()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.client.peer()
    }

    fn tls_version(&self) -> Option<Version> {
        Some(self.protocols.as_ref()?.tls.as_ref()?.facts().version)
    }

    fn wake(self: Box<Self>, slot: Slot, timer: Timer) {
        let Self { thread, client, permit, until, socket, listener, protocols, wakes: _ } = *self;
        let Some(thread) = thread.upgrade() else { return }; // which ends
        let goes_on = || {
            let (tls, session) = protocols.map_or((None, None), |protocols| (protocols.tls, protocols.session));
            let client = client.wake(timer, slot, tls.as_ref().map(DormantTls::facts), &thread.runtime_config);
            let parts = tls.map(|tls| Ok::<_, io::Error>(Box::new(tls.wake()?))).transpose();
            let stream = parts.and_then(|tls| Detached { socket, tls }.attach());
            W::woken(thread.clone(), client, stream, Woken { listener: listener as usize, permit, until, session });
        };
        // a panic ends this connection, and not the task that wakes all others
        if let Err(panic) = catch_unwind(AssertUnwindSafe(goes_on)) {
            thread.panicked(&*panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    #[test]
    fn a_dormant_connection_is_one_small_block() {
        assert_eq!(size_of::<Dormant<Nothing>>(), 136, "what malloc has a block of 144 for, with its own eight bytes");
    }
}

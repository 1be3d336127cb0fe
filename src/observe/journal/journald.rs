//! journald as output: events through `tracing`, records as entries of our own.
//!
//! Everything here runs on the writer thread. `tracing-journald` sends when its layer is made and for each event, and
//! such a send lasts as long as journald does not read: on any other thread it would block a start or an end.

use std::io;
use std::path::Path;
use std::time::Duration;

use tracing::Dispatch;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;

use super::left::{Done, Entries};
use super::queue::Queue;
use super::socket::{JournalSocket, SendRefusal};
use super::{Identity, bounded, entry};
use crate::observe::event::{Event, Level};

/// The pause before journald is tried again after its socket was not there.
const AWAY: Duration = Duration::from_millis(200);

pub(super) struct Journald {
    socket: JournalSocket,
    events: Events,
}

/// The layer for events, made for the first of them.
enum Events {
    Unmade(Make),
    Made(Dispatch),
}

/// Makes the layer for events; may wait for journald.
pub(super) type Make = Box<dyn Fn() -> io::Result<Dispatch> + Send>;

impl Journald {
    /// Fails when journald's socket is not at `path`. Does not block.
    pub(super) fn connect(path: &Path, identity: Identity) -> io::Result<Self> {
        Self::with_events(path, Box::new(move || events(identity)))
    }

    /// The same, with another layer for events.
    pub(super) fn with_events(path: &Path, make: Make) -> io::Result<Self> {
        Ok(Self { socket: JournalSocket::connect(path)?, events: Events::Unmade(make) })
    }

    /// Returns whether it was written. `tracing-journald` hides faults, so this waits until journald reads, at most
    /// as long as `queue` allows.
    pub(super) fn event(&mut self, event: &Event, identity: Identity, queue: &Queue) -> bool {
        loop {
            let ready = self.socket.wait().and_then(|()| self.events.get().map_err(|_| SendRefusal::Gone));
            match ready {
                Ok(events) => {
                    tracing::dispatcher::with_default(events, || emit(event, identity));
                    queue.progress();
                    return true;
                }
                Err(refusal) if !waited(&refusal, queue) => return false,
                Err(_) => {}
            }
        }
    }

    /// Sends entries, as long as `queue` allows.
    pub(super) fn entries(&mut self, entries: &Entries, queue: &Queue) -> Done {
        let messages: Vec<&[u8]> = entries.iter().collect();
        let mut done = Done::default();
        while done.through < messages.len() {
            match self.socket.send(&messages[done.through..]) {
                Ok(sent) => {
                    queue.progress();
                    done.through += sent;
                    done.written += sent;
                }
                Err(SendRefusal::Unsendable) => done.through += 1,
                Err(refusal) if !waited(&refusal, queue) => break,
                Err(_) => {}
            }
        }
        done
    }
}

impl Events {
    /// The layer for events. Fails while journald is away.
    fn get(&mut self) -> io::Result<&Dispatch> {
        if let Self::Unmade(make) = self {
            *self = Self::Made(make()?);
        }
        match self {
            Self::Made(dispatch) => Ok(dispatch),
            Self::Unmade(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Waits before another try if the send did not wait; `false` when there is no time left.
fn waited(refusal: &SendRefusal, queue: &Queue) -> bool {
    match refusal {
        SendRefusal::Busy => !queue.is_expired(),
        SendRefusal::Gone => queue.pause(AWAY),
        SendRefusal::Unsendable => false,
    }
}

fn events(identity: Identity) -> io::Result<Dispatch> {
    let layer = tracing_journald::layer()?
        // every field name is written below; traffic is in values only, which go with their length
        .with_field_prefix(None)
        .with_syslog_identifier(entry::IDENTIFIER.into())
        .with_priority_mappings(PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Notice,
            debug: Priority::Informational,
            trace: Priority::Debug,
        })
        .with_custom_fields([("PROXY_ROLE", identity.role.as_str())]);
    Ok(Dispatch::new(tracing_subscriber::registry().with(layer)))
}

/// The level of `tracing` events is part of their static description: one call site for each.
fn emit(event: &Event, identity: Identity) {
    macro_rules! emit {
        ($level:ident) => {{
            let fields = event.fields();
            tracing::event!(
                target: "segue",
                tracing::Level::$level,
                message = bounded::message(event),
                message_id = event.message_id(),
                proxy_event = event.name(),
                proxy_generation = fields.generation.or(identity.generation),
                proxy_listener = fields.listener,
                proxy_pool = fields.pool,
                proxy_server = fields.server,
                proxy_request_id = fields.request,
                proxy_data = bounded::data(event),
            );
        }};
    }
    match event.level() {
        Level::Error => emit!(ERROR),
        Level::Warn => emit!(WARN),
        Level::Info => emit!(INFO),
        Level::Debug => emit!(DEBUG),
    }
}

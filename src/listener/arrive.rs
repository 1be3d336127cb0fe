//! Connections that another generation gives to this one, on the thread that serves them from here on.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::{Arrival, Connection, Kind};
use super::limits::Limits;
use super::way::{Proxy, Way};
use crate::handover::parcel::{Load, Parcel};
use crate::net::Stream;
use crate::observe::record::Index;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::{Client, Thread};

/// Serves a connection that came as a parcel; `listener` is its listener's index in the names of the log. It counts
/// against the limits, which do not hold it up.
///
/// # Errors
/// When its sockets cannot be watched, or its tunnel leads to what this generation has not. The connection is closed
/// then.
pub fn arrive(
    thread: &Rc<Thread>,
    listener: Index,
    kind: Kind,
    limits: &Arc<Limits>,
    parcel: Parcel,
) -> io::Result<()> {
    arrive_on::<Proxy>(thread, listener, kind, limits, parcel)
}

pub(super) fn arrive_on<W: Way>(
    thread: &Rc<Thread>,
    listener: Index,
    kind: Kind,
    limits: &Arc<Limits>,
    parcel: Parcel,
) -> io::Result<()> {
    let Parcel { socket, client: facts, load } = parcel;
    if matches!((&load, kind), (Load::Idle { .. }, Kind::Tcp(_))) {
        return Err(io::Error::other("the listener relays bytes, and the connection speaks HTTP"));
    }
    let stream = Stream::from_fd(socket)?;
    // that of this generation, which may be another; a connection that is gone says so with the first read
    let _ = stream.keep_alive(thread.plan.config.worker.tcp_keep_alive);
    let client = Client::arrived(listener, &facts, thread.wheel.alarm());
    let permit = limits.take_anyway();
    thread.counters.arrived(listener);
    let connection = match load {
        Load::Idle { ahead, private } => {
            client.bring_private(private, thread);
            Connection::<W>::arrived(thread, Rc::new(client), kind, |_| Ok(Arrival::Idle(stream, ahead)), permit)
        }
        Load::Tunnel(tunnel) => {
            let arrival = |client: &Rc<Client>| Ok(Arrival::Tunnel(stream, Tunnel::arrived(thread, client, *tunnel)?));
            Connection::<W>::arrived(thread, Rc::new(client), kind, arrival, permit)
        }
    };
    tokio::task::spawn_local(connection.inspect_err(|_| thread.counters.closed(listener))?);
    Ok(())
}

//! Connections that another generation gives to this one, on the thread that serves them from here on.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::{Arrival, ClientConnection};
use super::http1::{OpenHttp1, ReadAhead};
use super::kind::Kind;
use super::limits::Limits;
use super::service::{Proxy, Service};
use crate::handover::transfer::{Load, Transfer};
use crate::observe::record::Index;
use crate::proxy::private::Private;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::{Client, Thread};

/// Serves a connection that came as a transfer; `listener` is its listener's index in the names of the log. It counts
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
    transfer: Transfer,
) -> io::Result<()> {
    arrive_on::<Proxy>(thread, listener, kind, limits, transfer)
}

pub(super) fn arrive_on<S: Service>(
    thread: &Rc<Thread>,
    listener: Index,
    kind: Kind,
    limits: &Arc<Limits>,
    mut transfer: Transfer,
) -> io::Result<()> {
    transfer.count_move();
    let Transfer { socket, client: facts, load } = transfer;
    let is_accepted = matches!(load, Load::Accepted(_));
    if matches!((&load, kind), (Load::Idle { .. } | Load::Http1(_) | Load::Http2(_), Kind::Tcp(_))) {
        return Err(io::Error::other("the listener relays bytes, and the connection speaks HTTP"));
    }
    let settings = &thread.runtime_config;
    if !is_accepted && kind.speaks_tls(&settings.config) != socket.tls.is_some() {
        return Err(io::Error::other("the listener and the connection do not agree on TLS"));
    }
    let stream = socket.attach()?;
    // that of this generation, which may be another; a connection that is gone says so with the first read
    let _ = stream.keep_alive(settings.config.worker.tcp_keep_alive);
    let mut client = Client::arrived(thread.timer_wheel.timer(), &thread.clients, listener, &facts);
    if let Some(tls) = stream.tls() {
        client.set_origin(client.origin.over_tls(tls.facts(), settings));
    }
    let permit = limits.take_anyway();
    thread.counters.arrived(listener);
    let arrival = match load {
        Load::Accepted(accepted) => Arrival::Accepted(accepted),
        Load::Idle { ahead, began, private } => {
            client.private = Private::unpack(private, &thread.runtime_config);
            Arrival::Idle(ReadAhead::resumed(ahead, began))
        }
        Load::Tunnel(tunnel) => {
            let tunnel = Tunnel::arrived(thread, &client.origin, *tunnel);
            Arrival::Tunnel(Box::new(tunnel.inspect_err(|_| thread.counters.closed(listener))?))
        }
        Load::Http1(http1) => {
            let resumed = OpenHttp1::resume::<S>(thread, &mut client, *http1);
            Arrival::Http1(Box::new(resumed.inspect_err(|_| thread.counters.closed(listener))?))
        }
        Load::Http2(http2) => Arrival::Http2(http2),
    };
    tokio::task::spawn_local(ClientConnection::<S>::arrived(thread, client, kind, stream, arrival, permit));
    Ok(())
}

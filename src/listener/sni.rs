//! The choice of a pool for a connection in TCP mode, by the host that its client asks for in the TLS handshake: in one that
//! was done here, or in one that goes on to the server.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;

use super::after::{Served, linger};
use super::lingering;
use crate::handover::transfer::{AcceptedTransfer, FirstMessage};
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::proxy::{Client, Thread, record_handshake};
use crate::tls::client_hello::{ClientHelloName, HelloReader, LONGEST_HELLO};

/// The most that is kept of a connection before its pool is known, in bytes: a ClientHello in records of a reasonable length.
const MOST: usize = LONGEST_HELLO + 8 * 1024;
/// What is read at once.
const READ: usize = 4 * 1024;
const LONG: &str = "the ClientHello is longer than 32 KiB";
const LATE: &str = "no ClientHello came in time";

/// Where the connection of a client leads that said so much.
pub(super) struct Routed {
    pub(super) client: Box<Client>,
    pub(super) stream: Stream,
    /// What was read, which is the server's.
    pub(super) received: BytesMut,
    /// An index into the pools of the configuration.
    pub(super) pool: usize,
    /// The host that the client asked for, where that was looked at.
    pub(super) host: Option<String>,
}

/// Finds the pool, within this time, or until another generation may take the connection.
///
/// # Errors
/// The end of the connection.
pub(super) async fn route(
    thread: &Rc<Thread>,
    client: Box<Client>,
    tcp: usize,
    stream: Stream,
    mut received: BytesMut,
    within: Duration,
) -> Result<Routed, Served> {
    let settings = &thread.runtime_config.config.tcp[tcp];
    if client.origin.tls.is_some() {
        let host = client.origin.server_name().map(str::to_owned);
        let pool = thread.runtime_config.pool_of_tcp(tcp, host.as_deref());
        return Ok(Routed { client, stream, received, pool, host });
    }
    if settings.routes.is_empty() {
        return Ok(Routed { client, stream, received, pool: settings.pool, host: None });
    }
    client.timer.set(within);
    let mut reader = HelloReader::default();
    let read = poll_fn(|cx| {
        loop {
            match reader.look(&received) {
                ClientHelloName::Host(host) => return Poll::Ready(Ok(Some(host))),
                ClientHelloName::Nothing => return Poll::Ready(Ok(None)),
                ClientHelloName::TooLong => return Poll::Ready(Err(Reason::BadRequest)),
                ClientHelloName::More if received.len() >= MOST => return Poll::Ready(Err(Reason::BadRequest)),
                ClientHelloName::More => {}
            }
            if thread.successor_of_accepted(&client.origin).is_some() {
                return Poll::Ready(Err(Reason::Moved));
            }
            if client.timer.poll_due(cx).is_ready() {
                return Poll::Ready(Err(Reason::ClientTimeout));
            }
            received.reserve(READ);
            match ready!(stream.poll_read_into(cx, &mut received)) {
                Ok(1..) => {}
                // what it has said goes to a server, which knows what to make of it
                Ok(0) if !received.is_empty() => return Poll::Ready(Ok(None)),
                Ok(0) | Err(_) => return Poll::Ready(Err(Reason::ClientClosed)),
            }
        }
    });
    let read = thread.until_cut(&client, pin!(read)).await;
    let left = client.timer.left().unwrap_or_default();
    client.timer.off();
    match read.unwrap_or_else(Err) {
        Ok(host) => {
            let pool = thread.runtime_config.pool_of_tcp(tcp, host.as_deref());
            Ok(Routed { client, stream, received, pool, host })
        }
        Err(Reason::Moved) => {
            let accepted = AcceptedTransfer { first: FirstMessage::ClientHello, received, left };
            Err(Served::Accepted(client, stream, accepted))
        }
        Err(Reason::ClientClosed) => Err(Served::Ended(client, End::CLIENT_DONE)),
        Err(reason) => {
            let end = End::new(Phase::Handshake, reason);
            match reason {
                Reason::BadRequest => record_handshake(thread, &client, reason, LONG),
                Reason::ClientTimeout => record_handshake(thread, &client, reason, LATE),
                _ => return Err(Served::Ended(client, end)),
            }
            Err(linger(thread.clone(), client, stream, end, lingering::BRIEF).await)
        }
    }
}

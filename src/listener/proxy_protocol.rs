//! The header of the PROXY protocol, with which a proxy in front of this one tells whose connection it relays
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! Only a trusted proxy is believed, and has to send it: "the receiver must not try to guess" (section 2), since a client
//! could then choose its address.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use proxy_header::{ParseConfig, ProxyHeader};

use super::after::{Served, linger};
use super::lingering;
use crate::handover::transfer::{AcceptedTransfer, FirstMessage};
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::proxy::{Client, Thread, record_refused};

/// The longest header, in bytes. Version 2 would allow 65,551; HAProxy takes what fits into its buffer of 16 KiB.
const MOST: usize = 16 * 1024;
/// What is read at once: a header without a client certificate in it.
const READ: usize = 1024;
const WRONG: &str = "the trusted proxy did not begin with a header of the PROXY protocol";
const LATE: &str = "the trusted proxy did not send a header of the PROXY protocol in time";

/// Reads it, within this time, or until another generation may take the connection. The client is from then on the one that it tells of; bytes that came behind the header are the client's.
///
/// # Errors
/// The end of the connection.
pub(super) async fn header(
    thread: &Rc<Thread>,
    mut client: Box<Client>,
    within: Duration,
    stream: Stream,
    mut received: BytesMut,
) -> Result<(Box<Client>, Stream, BytesMut), Served> {
    client.timer.set(within);
    let read = poll_fn(|cx| {
        loop {
            match ProxyHeader::parse(&received, ParseConfig::default()) {
                Ok((header, length)) => {
                    let addresses = header.proxied_address().map(|told| (told.source, told.destination));
                    let is_tls = header.ssl().is_some_and(|ssl| ssl.client_ssl());
                    return Poll::Ready(Ok((addresses, is_tls, length)));
                }
                Err(proxy_header::Error::BufferTooShort) if received.len() < MOST => {}
                Err(_) => return Poll::Ready(Err(Reason::BadRequest)),
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
                Ok(0) | Err(_) => return Poll::Ready(Err(Reason::ClientClosed)),
            }
        }
    });
    let read = thread.until_cut(&client, pin!(read)).await;
    let left = client.timer.left().unwrap_or_default();
    client.timer.off();
    match read.unwrap_or_else(Err) {
        Ok((addresses, is_tls, length)) => {
            received.advance(length);
            client.set_origin(client.origin.proxied(addresses, is_tls));
            Ok((client, stream, received))
        }
        Err(Reason::Moved) => {
            let accepted = AcceptedTransfer { first: FirstMessage::ProxyHeader, received, left };
            Err(Served::Accepted(client, stream, accepted))
        }
        Err(reason) => {
            let end = End::new(Phase::Idle, reason);
            match reason {
                Reason::BadRequest => record_refused(thread, &client, reason, WRONG),
                Reason::ClientTimeout => record_refused(thread, &client, reason, LATE),
                _ => return Err(Served::Ended(client, end)),
            }
            Err(linger(thread.clone(), client, stream, end, lingering::BRIEF).await)
        }
    }
}

//! The TLS handshake of a connection that was just accepted.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::{SendFlags, send};
use rustls::Error;
use rustls::server::ClientHello;

use super::after::{Served, linger};
use super::http1::ReadAhead;
use super::kind::Kind;
use super::lingering;
use crate::acme::challenges;
use crate::handover::transfer::{AcceptedTransfer, FirstMessage};
use crate::net::Stream;
use crate::net::tls::{AcceptError, accept};
use crate::observe::end::{End, Phase, Reason};
use crate::observe::metrics::Handshaken;
use crate::proxy::{Client, Thread, record_handshake};
use crate::tls::{ClientVerifier, HandshakeError};

/// What a client gets that speaks HTTP in plaintext where TLS is spoken.
const PLAINTEXT: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 27\r\n\
    content-type: text/plain\r\n\r\nThis port speaks TLS only.\n";

/// Does the handshake of a client of HTTP: then the connection is an idle one. `received` was read already.
pub(super) async fn handshake_of_http(
    thread: Rc<Thread>,
    client: Box<Client>,
    listener: usize,
    stream: Stream,
    received: BytesMut,
    within: Duration,
) -> Served {
    match handshake(&thread, client, Kind::Http(listener), stream, received, within).await {
        Ok((client, stream)) => Served::Idle(client, stream, ReadAhead::default()),
        Err(ended) => ended,
    }
}

/// The time for the handshake of a connection of this kind.
pub(super) fn handshake_timeout(thread: &Thread, kind: Kind) -> Duration {
    let config = &thread.runtime_config.config;
    match kind {
        Kind::Http(listener) => config.listeners[listener].handshake_timeout,
        Kind::Tcp(tcp) => config.tcp[tcp].handshake_timeout,
    }
}

/// Does the handshake on a connection of which `received` was read already, within this time. Before it has begun another
/// generation may take the connection.
///
/// # Errors
/// The end of the connection.
pub(super) async fn handshake(
    thread: &Rc<Thread>,
    mut client: Box<Client>,
    kind: Kind,
    stream: Stream,
    received: BytesMut,
    within: Duration,
) -> Result<(Box<Client>, Stream), Served> {
    let config = &thread.runtime_config;
    let rules = Cell::new(0);
    // those of now: later ones may say something else of a certificate that is shown
    let follows = |verifier: Option<&Arc<ClientVerifier>>| rules.set(verifier.map_or(0, |verifier| verifier.number()));
    let choose = |hello: &ClientHello<'_>| {
        let tls = config.tls.as_ref()?;
        match kind {
            Kind::Http(listener) => {
                let site = config.site_by_name(hello.server_name());
                follows(tls.client_verifier(site));
                tls.choose(hello, site, config.config.listeners[listener].h2)
            }
            Kind::Tcp(tcp) => {
                follows(tls.tcp_client_verifier(tcp));
                tls.choose_tcp(hello, tcp)
            }
        }
    };
    let origin = client.origin.clone();
    let moves = || thread.successor_of_accepted(&origin).is_some();
    let mut accepted = pin!(accept(stream, received, choose, moves));
    client.timer.set(within);
    let in_time = poll_fn(|cx| match accepted.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => client.timer.poll_due(cx).map(|()| None),
    });
    let done = thread.until_cut(&client, pin!(in_time)).await;
    let left = client.timer.left();
    client.timer.off();
    let failed = |client: &Client, reason, detail: &str| {
        thread.counters.handshake(client.origin.listener, Handshaken::Failed(reason));
        record_handshake(thread, client, reason, detail);
        End::new(Phase::Handshake, reason)
    };
    match done {
        Ok(Some(Ok(stream))) => {
            if let Some(tls) = stream.tls() {
                if tls.facts().alpn.as_deref().map(str::as_bytes) == Some(challenges::ALPN) {
                    // the handshake was all that a certificate authority wanted (RFC 8737 §3)
                    let end = End::new(Phase::Idle, Reason::Ok);
                    return Err(linger(thread.clone(), client, stream, end, lingering::BRIEF).await);
                }
                let end = if tls.facts().resumed { Handshaken::Resumed } else { Handshaken::Full };
                thread.counters.handshake(client.origin.listener, end);
                client.set_origin(client.origin.over_tls(tls.facts(), config));
                if let Some(shown) = tls.facts().client.as_ref().filter(|_| !tls.facts().resumed) {
                    shown.set_verified(rules.get()); // a session that is resumed was looked at by then, and not now
                }
            }
            Ok((client, stream))
        }
        Ok(Some(Err((stream, AcceptError::GivenUp(received))))) => {
            let left = left.unwrap_or_default();
            let accepted = AcceptedTransfer { first: FirstMessage::ClientHello, received, left };
            Err(Served::Accepted(client, stream, accepted))
        }
        Ok(Some(Err((_, AcceptError::Silent)))) => Err(Served::Ended(client, End::CLIENT_DONE)),
        Ok(Some(Err((stream, error)))) => {
            let end = failed(&client, reason_of(&error), &format!("no TLS: {error}"));
            if matches!((kind, error), (Kind::Http(_), AcceptError::Handshake(HandshakeError::NotTls))) {
                // a new connection has room for it, which the poller has not said yet
                let _ = send(&stream, PLAINTEXT, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
            Err(linger(thread.clone(), client, stream, end, lingering::BRIEF).await)
        }
        Ok(None) => {
            let end = failed(&client, Reason::ClientTimeout, "no TLS: the handshake did not end in time");
            Err(Served::Ended(client, end))
        }
        Err(reason) => {
            let end = failed(&client, reason, "no TLS: the connection was cut in the handshake");
            Err(Served::Ended(client, end))
        }
    }
}

fn reason_of(error: &AcceptError) -> Reason {
    match error {
        AcceptError::Silent | AcceptError::Ended | AcceptError::GivenUp(_) => Reason::ClientClosed,
        AcceptError::Handshake(error) => match error {
            HandshakeError::UnknownName(_) => Reason::NoSite,
            HandshakeError::NoSecrets => Reason::Internal,
            HandshakeError::NotTls | HandshakeError::Over => Reason::BadRequest,
            // it does not take the certificate, or found an error in what was sent
            HandshakeError::Refused(Error::AlertReceived(_)) => Reason::ClientClosed,
            HandshakeError::Refused(
                Error::PeerIncompatible(_)
                | Error::NoApplicationProtocol
                | Error::InvalidCertificate(_)
                | Error::NoCertificatesPresented,
            ) => Reason::Denied,
            HandshakeError::Refused(_) => Reason::BadRequest,
        },
    }
}

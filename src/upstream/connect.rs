//! Connecting to a server that may have several addresses: attempts start one a moment after the other, and the first
//! that succeeds is used (RFC 8305, "Happy Eyeballs").

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::send_proxy;
use crate::config::Address;
use crate::net::tls::ConnectError;
use crate::net::{self, Stream};
use crate::pool::{Addresses, Server};
use crate::tls::HandshakeError;

/// From one attempt to the next while the first has neither failed nor succeeded (RFC 8305 §5).
const DELAY: Duration = Duration::from_millis(250);
/// The least delay (RFC 8305 §5).
const LEAST_DELAY: Duration = Duration::from_millis(10);

/// The errors, with their addresses; never empty.
pub type Faults<E> = Vec<(Address, E)>;

/// Why a connection to a server could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The socket: what `connect(2)` says, or `send(2)`.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// TLS on it.
    #[error("TLS: {0}")]
    Tls(TlsError),
}

impl DialError {
    fn socket(&self) -> Option<&io::Error> {
        match self {
            Self::Socket(fault) => Some(fault),
            Self::Tls(_) => None,
        }
    }
}

/// Why there is no TLS on a connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server has not shown that it is the one that is meant.
    #[error("{0}")]
    Untrusted(String),
    /// The two sides did not agree, or the connection ended.
    #[error("{0}")]
    Handshake(String),
}

impl From<ConnectError> for DialError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Io(fault) => Self::Tls(TlsError::Handshake(fault.to_string())),
            ConnectError::Handshake(error) => match certificate_words(&error) {
                Some(words) => Self::Tls(TlsError::Untrusted(words)),
                None => Self::Tls(TlsError::Handshake(error.to_string())),
            },
            ConnectError::Ended => Self::Tls(TlsError::Handshake(error.to_string())),
        }
    }
}

/// What is wrong with the certificate of a server; none where that is not the reason.
fn certificate_words(error: &HandshakeError) -> Option<String> {
    use rustls::CertificateError as Wrong;
    let HandshakeError::Refused(error) = error else { return None };
    Some(match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            // the second one where another authority has the same name
            Wrong::UnknownIssuer | Wrong::BadSignature => "certificate of an unknown authority".to_owned(),
            Wrong::Expired | Wrong::ExpiredContext { .. } => "certificate expired".to_owned(),
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "certificate not valid yet".to_owned(),
            Wrong::NotValidForName => "certificate for another name".to_owned(),
            Wrong::NotValidForNameContext { expected, presented } if presented.is_empty() => {
                format!("certificate not for {}, and for no host (subjectAltName)", expected.to_str())
            }
            Wrong::NotValidForNameContext { expected, presented } => {
                // rustls has them as `DnsName("app.test")`
                let plain = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
                let names = presented.iter().take(5).map(plain).collect::<Vec<_>>().join(", ");
                format!("certificate not for {}, but for {names}", expected.to_str())
            }
            Wrong::Revoked => "certificate revoked".to_owned(),
            other => format!("certificate that cannot be used: {other}"),
        },
        rustls::Error::NoCertificatesPresented => "no certificate".to_owned(),
        rustls::Error::General(words) => words.clone(), // of the verifier, which has nothing to verify with
        _ => return None,
    })
}

/// Opens a connection to a server at the first of its addresses that takes one, with TLS where it speaks that; the address is
/// tried first from then on. `header` goes before everything. The caller owns the deadline, and passes the time `within` to which it
/// is set.
///
/// # Errors
/// When no address took the connection: the error of each.
pub async fn open(
    server: &Server,
    addresses: &Addresses<'_>,
    within: Duration,
    header: Option<&[u8]>,
) -> Result<Box<Connection>, Faults<DialError>> {
    let version = addresses.version();
    let opened = first(addresses, within, |address| async move {
        let stream = stream(server, &address, header).await?;
        Ok(Connection::opened(stream, server, &address, version))
    });
    opened.await.map(|(address, connection)| {
        answered(server, address);
        connection
    })
}

/// A connection to one address of a server, with TLS where the server speaks it: the seam below every protocol that is spoken
/// with servers. The caller owns the deadline.
///
/// # Errors
/// Why there is none.
pub async fn stream(server: &Server, address: &Address, header: Option<&[u8]>) -> Result<Stream, DialError> {
    let stream = Stream::connect(address).await?;
    if let Some(header) = header {
        send_proxy::send(&stream, header)?;
    }
    match (server.scheme.is_tls(), &server.tls) {
        (false, _) => Ok(stream),
        (true, Some(tls)) if server.scheme.is_http2() => agreed_on_http2(net::tls::connect(stream, tls).await),
        (true, Some(tls)) => Ok(net::tls::connect(stream, tls).await?),
        (true, None) => Err(DialError::Tls(TlsError::Handshake("nothing was set up for it".to_owned()))),
    }
}

/// What came of a handshake in which HTTP/2 alone was offered: it has to be chosen (RFC 9113 §3.2). A server that does not know
/// the extension chooses nothing, and one that speaks something else alone refuses (RFC 7301 §3.2).
fn agreed_on_http2(opened: Result<Stream, ConnectError>) -> Result<Stream, DialError> {
    const REFUSED: HandshakeError =
        HandshakeError::Refused(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol));
    let speaks = match &opened {
        Ok(stream) => stream.tls().is_some_and(|tls| tls.facts().alpn.as_deref() == Some("h2")),
        Err(ConnectError::Handshake(error)) => *error != REFUSED,
        Err(_) => true,
    };
    match speaks {
        true => Ok(opened?),
        false => Err(DialError::Tls(TlsError::Handshake("the server does not take HTTP/2 (ALPN)".to_owned()))),
    }
}

/// An address of the server worked: it is tried first from now on.
pub fn answered(server: &Server, address: Address) {
    if let Address::Ip(address) = address {
        server.answered_at(address);
    }
}

/// Makes an attempt at each address, in their order, until one succeeds: the next one begins as soon as one fails, or
/// when none has succeeded for a while. They share the time `within`, which is the caller's deadline.
///
/// # Errors
/// The error of every attempt.
pub async fn first<T, E, F: Future<Output = Result<T, E>>>(
    addresses: &Addresses<'_>,
    within: Duration,
    attempt: impl Fn(Address) -> F,
) -> Result<(Address, T), Faults<E>> {
    let list = match addresses {
        Addresses::Named { list, .. } if list.len() > 1 => list,
        _ => {
            let only = addresses.first();
            return match attempt(only.clone()).await {
                Ok(done) => Ok((only, done)),
                Err(fault) => Err(vec![(only, fault)]),
            };
        }
    };
    let delay = (within / (2 * list.len() as u32)).clamp(LEAST_DELAY, DELAY);
    let mut begun = Begun { open: Vec::new(), faults: Vec::new() };
    let mut left = list.iter();
    let mut pause = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let failed = begun.faults.len();
            if let Some(done) = begun.poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let is_next = begun.open.is_empty() || begun.faults.len() > failed || pause.as_mut().poll(cx).is_ready();
            match left.as_slice().first() {
                Some(address) if is_next => {
                    left.next();
                    begun.open.push((*address, Box::pin(attempt(Address::Ip(*address)))));
                    pause.as_mut().reset(Instant::now() + delay);
                }
                None if begun.open.is_empty() => return Poll::Ready(Err(std::mem::take(&mut begun.faults))),
                _ => return Poll::Pending,
            }
        }
    })
    .await
}

/// The attempts that were begun.
struct Begun<E, F> {
    open: Vec<(SocketAddr, Pin<Box<F>>)>,
    faults: Faults<E>,
}

impl<T, E, F: Future<Output = Result<T, E>>> Begun<E, F> {
    /// The result of the first attempt that succeeded.
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Option<(Address, T)> {
        let mut at = 0;
        while let Some((address, attempt)) = self.open.get_mut(at) {
            let address = Address::Ip(*address);
            match attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(done)) => return Some((address, done)),
                Poll::Ready(Err(fault)) => {
                    drop(self.open.remove(at));
                    self.faults.push((address, fault));
                }
                Poll::Pending => at += 1,
            }
        }
        None
    }
}

/// One error for all: with its address where there are several, once where all are the same.
#[must_use]
pub fn joined<E>(faults: &Faults<E>, text: impl Fn(&E) -> String) -> String {
    let texts: Vec<String> = faults.iter().map(|(_, fault)| text(fault)).collect();
    match &texts[..] {
        [] => String::new(),
        [text, rest @ ..] if rest.iter().all(|other| other == text) => text.clone(),
        _ => {
            let each = faults.iter().zip(&texts).map(|((address, _), text)| format!("{address}: {text}"));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Whether only this machine ran out of something for a moment: the servers are not at fault.
#[must_use]
pub fn is_shortage(faults: &Faults<DialError>) -> bool {
    faults.iter().all(|(address, fault)| fault.socket().is_some_and(|fault| lacks(fault, address)))
}

/// Whether this machine had no descriptor left.
#[must_use]
pub fn lack_descriptors(faults: &Faults<DialError>) -> bool {
    let errno = |fault: &DialError| fault.socket().and_then(Errno::from_io_error);
    faults.iter().any(|(_, fault)| matches!(errno(fault), Some(Errno::MFILE | Errno::NFILE)))
}

/// Whether this machine has no more of something: descriptors, memory, or local ports. Other connections may free one
/// in a moment.
#[must_use]
pub fn lacks(fault: &io::Error, to: &Address) -> bool {
    match (Errno::from_io_error(fault), to) {
        (Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS), _) => true,
        (Some(Errno::AGAIN), Address::Ip(_)) => true, // the routing table is full: connect(2)
        (Some(Errno::ADDRNOTAVAIL), Address::Ip(to)) => has_source(*to),
        _ => false,
    }
}

/// Whether this machine has an address to reach `to` from. `connect(2)` says `EADDRNOTAVAIL` where there is none, as for
/// `::1` with IPv6 switched off, and also when all ports of the address are in use: UDP tells the two apart.
fn has_source(to: SocketAddr) -> bool {
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(to)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    fn addresses(count: u16) -> Addresses<'static> {
        let list: Vec<SocketAddr> = (1..=count).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
        Addresses::Named { list: Arc::from(list), version: 1 }
    }

    /// The server at each port: how many milliseconds it takes, and whether it succeeds then.
    async fn race(servers: &[(u64, bool)], within: Duration) -> (Result<u16, usize>, Vec<(u16, u64)>, u64) {
        let (began, started) = (RefCell::new(Vec::new()), Instant::now());
        let attempt = |address: Address| {
            let Address::Ip(address) = address else { unreachable!("an address of a name") };
            began.borrow_mut().push((address.port(), started.elapsed().as_millis() as u64));
            let (takes, good) = servers[usize::from(address.port()) - 1];
            async move {
                sleep(Duration::from_millis(takes)).await;
                good.then_some(address.port()).ok_or(())
            }
        };
        let done = first(&addresses(servers.len() as u16), within, attempt).await;
        let done = done.map(|(_, port)| port).map_err(|faults| faults.len());
        (done, began.into_inner(), started.elapsed().as_millis() as u64)
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_at_once_when_one_fails_and_after_a_while_when_one_is_silent() {
        const SILENT: (u64, bool) = (1_000_000, false);
        for (servers, done, began, took) in [
            (&[(1, true), (1, true)][..], Ok(1), &[(1, 0)][..], 1),
            (&[(1, false), (1, true)], Ok(2), &[(1, 0), (2, 1)], 2),
            (&[SILENT, (1, true)], Ok(2), &[(1, 0), (2, 250)], 251),
            (&[(300, true), (100, true)], Ok(1), &[(1, 0), (2, 250)], 300),
            (&[(300, true), SILENT, (1, true)], Ok(1), &[(1, 0), (2, 250)], 300),
            (&[SILENT, (1, false), (1, true)], Ok(3), &[(1, 0), (2, 250), (3, 251)], 252),
            (&[(1, false), (2, false), (3, false)], Err(3), &[(1, 0), (2, 1), (3, 3)], 6),
            (&[(400, false), (1, false)], Err(2), &[(1, 0), (2, 250)], 400),
        ] {
            let (was, attempts, time) = race(servers, WITHIN).await;
            assert_eq!((was, &attempts[..], time), (done, began, took), "of {servers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_has_its_turn_within_the_time() {
        let mut servers = vec![(1_000_000, false); 39];
        servers.push((1, true));
        let (done, _, took) = race(&servers, Duration::from_secs(1)).await;
        assert_eq!(done, Ok(40));
        assert!(took < 1000, "{took} ms");
    }

    #[tokio::test]
    async fn a_name_is_reached_at_the_address_that_has_a_server_and_that_one_is_remembered() {
        let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.expect("bind");
        let good = listener.local_addr().expect("address");
        let dead = SocketAddr::from(([127, 0, 0, 3], good.port()));
        let pool = crate::pool::Pool::new(
            crate::pool::tests::settings(vec![crate::pool::tests::server("app.test:80", 1)]),
            std::time::SystemTime::UNIX_EPOCH,
        );
        let server = &pool.servers[0];
        server.relocate(&[dead, good], std::time::SystemTime::UNIX_EPOCH).expect("news");
        let addresses = server.addresses().expect("located");
        let mut connection = open(server, &addresses, WITHIN, None).await.expect("connected");
        assert_eq!(server.located().as_deref(), Some(&[good, dead][..]));
        assert!(connection.leads_to(server));
        server.relocate(&[dead], std::time::SystemTime::UNIX_EPOCH).expect("news");
        assert!(!connection.leads_to(server), "DNS names that address no longer");
    }

    #[test]
    fn several_faults_are_told_with_their_addresses_unless_they_are_the_same() {
        let fault = |port, text| (Address::Ip(SocketAddr::from(([10, 0, 0, 1], port))), text);
        let say = |text: &&str| (*text).to_owned();
        assert_eq!(joined(&vec![fault(1, "refused")], say), "refused");
        assert_eq!(joined(&vec![fault(1, "refused"), fault(2, "refused")], say), "refused");
        let both = vec![fault(1, "refused"), fault(2, "no route")];
        assert_eq!(joined(&both, say), "10.0.0.1:1: refused, 10.0.0.1:2: no route");
    }

    #[test]
    fn ports_are_out_where_an_address_to_come_from_is_there() {
        let out: io::Error = Errno::ADDRNOTAVAIL.into();
        assert!(lacks(&out, &Address::Ip("127.0.0.1:80".parse().expect("an address"))));
        assert!(!lacks(&out, &Address::Unix("/run/app.sock".into())));
        assert!(!lacks(&Errno::CONNREFUSED.into(), &Address::Ip("127.0.0.1:80".parse().expect("an address"))));
    }
}

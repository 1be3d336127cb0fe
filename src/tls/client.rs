//! The client's side of a handshake, up to its end: bytes in, bytes out. rustls does it, as it does the server's side.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, Error};

use super::handshake::{Established, FirstSecrets, HandshakeError, HandshakeFacts};
use super::record::{HEADER, LONGEST};
use super::sessions::SessionTickets;

/// A handshake that goes on.
///
/// ```text
/// (new) ──ClientHello──▶ Open ──Finished of both──▶ (Established)
///                         └──any error, an alert was written──▶ Over
/// ```
pub struct ClientHandshake {
    phase: ClientPhase,
    secrets: FirstSecrets,
    name: Box<str>,
    /// Bytes of what was received that rustls has seen: whole records, of which it waits for more.
    seen: usize,
}

enum ClientPhase {
    Open(Box<UnbufferedClientConnection>),
    Over,
}

/// What rustls wants next.
enum HandshakeStep {
    More,
    Done,
}

impl ClientHandshake {
    /// A handshake with the server of this name. What is to be sent first is appended to `out`.
    ///
    /// # Errors
    /// When the library for cryptography fails.
    pub fn begin(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        out: &mut Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        let mut secrets = FirstSecrets::default();
        let its_name = name.to_str().into();
        let connection = secrets.listen(|| UnbufferedClientConnection::new(config.clone(), name))?;
        let mut begun = Self { phase: ClientPhase::Open(Box::new(connection)), secrets, name: its_name, seen: 0 };
        begun.receive(&mut BytesMut::new(), out)?;
        Ok(begun)
    }

    /// Takes the records at the start of `received`, up to the last one of the handshake, and gives the connection once it
    /// is open. What is to be sent is appended to `out`, also with an error.
    ///
    /// # Errors
    /// The connection has to end, after `out` was sent.
    pub fn receive(
        &mut self,
        received: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Result<Option<Established>, HandshakeError> {
        let ClientPhase::Open(mut connection) = std::mem::replace(&mut self.phase, ClientPhase::Over) else {
            return Err(HandshakeError::Over);
        };
        loop {
            match self.secrets.listen(|| step(&mut connection, received, &mut self.seen, out))? {
                HandshakeStep::Done => return self.done(*connection).map(Some),
                // rustls drops without a word what it has read beyond the handshake, so it gets one record at a time
                HandshakeStep::More => match record_length(&received[self.seen..])? {
                    Some(length) if self.seen + length <= received.len() => self.seen += length,
                    _ => {
                        self.phase = ClientPhase::Open(connection);
                        return Ok(None);
                    }
                },
            }
        }
    }

    fn done(&self, connection: UnbufferedClientConnection) -> Result<Established, HandshakeError> {
        if self.seen > 0 {
            return Err(HandshakeError::NoSecrets); // a message goes on in the next record, under other keys
        }
        let facts = HandshakeFacts::of(&connection, Some(self.name.clone()), &[]).ok_or(HandshakeError::NoSecrets)?;
        let (secrets, connection) =
            connection.dangerous_into_kernel_connection().map_err(|_| HandshakeError::NoSecrets)?;
        let state = self.secrets.client_state(facts.version, &secrets).ok_or(HandshakeError::NoSecrets)?;
        Ok(Established { state, facts: Arc::new(facts), tickets: Some(SessionTickets::of(connection)) })
    }
}

/// Has rustls work on the first `seen` bytes, until it needs more or is done. What it has taken is removed.
fn step(
    connection: &mut UnbufferedClientConnection,
    received: &mut BytesMut,
    seen: &mut usize,
    out: &mut Vec<u8>,
) -> Result<HandshakeStep, Error> {
    let mut failed = None;
    loop {
        let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut received[..*seen]);
        let step = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let start = out.len();
                let needed = match data.encode(&mut []) {
                    Err(EncodeError::InsufficientSize(size)) => size.required_size,
                    _ => 0,
                };
                out.resize(start + needed, 0);
                let written = data.encode(&mut out[start..]).unwrap_or_default();
                out.truncate(start + written);
                None
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::BlockedHandshake) => Some(Ok(HandshakeStep::More)),
            Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(HandshakeStep::Done)),
            // data inside the handshake is none that was asked for
            Ok(_) => Some(Err(Error::HandshakeNotComplete)),
            // the alert for it comes with the next call
            Err(error) if failed.is_none() => {
                failed = Some(error);
                None
            }
            Err(error) => Some(Err(error)),
        };
        received.advance(discard);
        *seen -= discard;
        match (step, &failed) {
            (Some(_), Some(error)) => return Err(error.clone()),
            (Some(step), None) => return step,
            (None, _) => {}
        }
    }
}

/// How long the record at the start of `bytes` is; none when its header is not there yet. A length beyond what TLS allows is
/// left to rustls, which has the alert for it.
fn record_length(bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
    match *bytes {
        [kind, ..] if !KINDS.contains(&kind) => Err(HandshakeError::NotTls),
        [_, major, ..] if major != 3 => Err(HandshakeError::NotTls),
        [_, _, _, high, low, ..] => Ok(Some((HEADER + usize::from(u16::from_be_bytes([high, low]))).min(LONGEST))),
        _ => Ok(None),
    }
}

/// The content types of TLS (RFC 8446 §5.1).
const KINDS: std::ops::RangeInclusive<u8> = 20..=23;

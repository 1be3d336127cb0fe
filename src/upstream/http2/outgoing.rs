//! The body of a request on its way to a stream. It comes as HTTP/1.1 frames it, as it would go to any server: a request
//! that is tried again may go to one of HTTP/1.1.

use std::io;

use aws_lc_rs::digest;
use base64ct::{Base64, Encoding};

use crate::http1::chunked::Decoder;
use crate::http1::encode;
use crate::http2::Session;
use crate::http2::session::lines;

/// How the end of the body is told.
#[derive(Debug)]
pub(super) enum OutgoingBody {
    /// There is none, or all of it was sent.
    Whole,
    /// After so many octets.
    Length(u64),
    Chunked(Box<Decoder>),
    /// It is none: bytes pass through a tunnel, once the server has agreed to that.
    Tunnel,
}

impl OutgoingBody {
    /// That of a request with this head, which was written here.
    pub(super) fn of(head: &[u8]) -> Self {
        let fields = memchr::memchr(b'\n', head).map_or(&b""[..], |line| &head[line + 1..]);
        for (name, value) in lines(fields) {
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                return Self::Chunked(Box::new(Decoder::request()));
            }
            if name.eq_ignore_ascii_case(b"content-length") {
                let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                return length.filter(|length| *length > 0).map_or(Self::Whole, Self::Length);
            }
        }
        Self::Whole
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// Sends as much as there is room for: gives how many bytes were taken.
    ///
    /// # Errors
    /// When the body is framed wrong.
    pub(super) fn send(
        &mut self,
        session: &mut Session,
        key: usize,
        bytes: &[u8],
        mut room: usize,
    ) -> io::Result<usize> {
        match self {
            Self::Tunnel => {
                let len = bytes.len().min(room);
                if len > 0 {
                    session.send(key, &bytes[..len], false);
                }
                Ok(len)
            }
            Self::Whole => Ok(bytes.len()), // no caller has more than the head says
            Self::Length(left) => {
                let len = bytes.len().min(room).min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= len as u64;
                let ends = *left == 0;
                if len > 0 {
                    session.send(key, &bytes[..len], ends);
                }
                if ends {
                    *self = Self::Whole;
                }
                Ok(len)
            }
            Self::Chunked(decoder) => {
                let mut taken = 0;
                loop {
                    let (framing, payload) = decoder.step(&bytes[taken..], room).map_err(io::Error::other)?;
                    let data = &bytes[taken + framing..taken + framing + payload];
                    taken += framing + payload;
                    room -= payload;
                    if payload > 0 {
                        session.send(key, data, false);
                    }
                    if decoder.is_over() {
                        let trailers = decoder.trailers().map_err(io::Error::other)?;
                        match trailers.is_empty() {
                            true => session.send(key, &[], true),
                            false => session.trailers(key, &trailers),
                        }
                        *self = Self::Whole;
                        return Ok(taken);
                    }
                    if framing + payload == 0 {
                        return Ok(taken);
                    }
                }
            }
        }
    }
}

/// The protocol that a request wants to speak from here on, with the answer that a client of WebSocket in HTTP/1.1 wants to
/// see (RFC 6455 §4.2.2).
pub(super) fn wanted_protocol(head: &[u8]) -> Option<(&[u8], Option<String>)> {
    let fields = memchr::memchr(b'\n', head).map_or(&b""[..], |line| &head[line + 1..]);
    let value = |wanted: &str| {
        let mut found = lines(fields).filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        found.next().map(|(_, value)| value)
    };
    let protocol = value("upgrade")?.split(|byte| *byte == b',').next()?.trim_ascii();
    Some((protocol, value("sec-websocket-key").map(accepting)))
}

fn accepting(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    let mut text = [0; 28];
    Base64::encode(digest.as_ref(), &mut text).unwrap_or_default().to_owned() // 20 bytes are 28 characters
}

/// Whether these bytes end a head.
pub(super) fn ends_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n") || bytes == encode::END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_is_accepted_as_in_http_1() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nUpgrade: websocket, other\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; // RFC 6455 §1.3
        assert_eq!(wanted_protocol(head), Some((&b"websocket"[..], Some(accept.to_owned()))));
        assert_eq!(wanted_protocol(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), None);
    }
}

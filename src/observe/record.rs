//! The record of one exchange: plain data, filled on the way of the request, written by the journal's own thread.
//!
//! Names are indexes into [`RecordNames`], which the writer has: a record crosses threads without touching a reference
//! count that threads share. That of the handshake is the connection's own.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::end::{End, Reason};
use crate::tls::HandshakeFacts;

/// Index into one of the lists of [`RecordNames`].
pub type Index = u16;

/// The names behind the indexes of a record; made once for each generation.
#[derive(Clone, Debug, Default)]
pub struct RecordNames {
    /// Listener names.
    pub listeners: Vec<String>,
    /// Host patterns of the sites.
    pub sites: Vec<String>,
    /// Pool names, each with the names of its servers.
    pub pools: Vec<(String, Vec<String>)>,
}

/// One exchange, or a connection that ended before it became one.
#[derive(Clone, Debug)]
pub struct Record {
    /// The request id; forwarded as `X-Request-Id`, shown on error pages.
    pub id: RequestId,
    /// When the exchange opened, in microseconds since 1970.
    pub started: u64,
    /// The listener, an index into [`RecordNames::listeners`].
    pub listener: Index,
    /// The site, once routed.
    pub site: Option<Index>,
    /// The pool, once routed.
    pub pool: Option<Index>,
    /// The client's address: the peer, or the one that a trusted proxy named. `None` on unix sockets.
    pub client: Option<SocketAddr>,
    /// The protocol that the client speaks.
    pub protocol: Protocol,
    /// The TLS that the client speaks to this proxy.
    pub tls: Option<Arc<HandshakeFacts>>,
    /// The method; `None` when no request head was understood, and in TCP mode.
    pub method: Option<Method>,
    /// The request target as it came, query included; the writer redacts it.
    pub target: Text,
    /// The host asked for, in lower case, without the port.
    pub host: Text,
    /// The field `User-Agent`, where the configuration wants it.
    pub user_agent: Option<Text>,
    /// The field `Referer`, where the configuration wants it; the writer redacts it.
    pub referer: Option<Text>,
    /// The status sent to the client; 0 when none was.
    pub status: u16,
    /// The `grpc-status` that came with the response.
    pub grpc_status: Option<u32>,
    /// How the exchange ended.
    pub end: End,
    /// The details beyond `end`, if there are any: the error of the socket, the rule broken.
    pub detail: Option<Box<str>>,
    /// Durations of the phases.
    pub timers: Timers,
    /// Bytes of the request body that came from the client; in a tunnel, bytes from the client.
    pub bytes_in: u64,
    /// Bytes of the response body that went to the client; in a tunnel, bytes to the client.
    pub bytes_out: u64,
    /// Every try against a server, in order.
    pub attempts: SmallVec<[AttemptRecord; 1]>,
}

impl Record {
    /// Whether it failed: a status of 500 and above, or a reason other than [`Reason::Ok`].
    #[must_use]
    pub fn failed(&self) -> bool {
        self.status >= 500 || self.end.reason != Reason::Ok
    }

    /// The bytes of memory that it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = [Some(&self.target), Some(&self.host), self.user_agent.as_ref(), self.referer.as_ref()];
        let texts: usize = texts.into_iter().flatten().map(|text| text.shown.len()).sum();
        let attempts = if self.attempts.spilled() { self.attempts.capacity() * size_of::<AttemptRecord>() } else { 0 };
        let method = self.method.as_ref().map_or(0, |method| method.as_str().len());
        size_of::<Self>() + texts + attempts + method + self.detail.as_ref().map_or(0, |detail| detail.len())
    }
}

/// Text of a client or a server, no longer than [`Text::MOST`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The text, or its beginning.
    pub shown: Box<str>,
    /// The text was longer.
    pub cut: bool,
}

impl Text {
    /// The most bytes that are kept: more than a record shows.
    pub const MOST: usize = 2048;

    /// The same, of an owned text: nothing is copied.
    #[must_use]
    pub fn of_owned(bytes: Vec<u8>) -> Self {
        if bytes.len() > Self::MOST {
            return Self::of(&bytes);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self { shown: text.into(), cut: false },
            Err(fault) => Self::of(fault.as_bytes()),
        }
    }

    /// The text of `bytes`; what is no UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let cut = bytes.len() > Self::MOST;
        let mut bytes = &bytes[..bytes.len().min(Self::MOST)];
        if cut {
            // a character that was cut in two is left out
            let start = bytes.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(0);
            bytes = if std::str::from_utf8(&bytes[start..]).is_ok() { bytes } else { &bytes[..start] };
        }
        Self { shown: String::from_utf8_lossy(bytes).into(), cut }
    }
}

/// Microseconds from the opening of the exchange to each station; 0 when it was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timers {
    /// From the first byte of the head to its last, before the exchange opened.
    pub head: u32,
    /// To the upstream connection of the last attempt, idle or new.
    pub connected: u32,
    /// To the last byte of the request sent.
    pub sent: u32,
    /// To the head of the response.
    pub responded: u32,
    /// To the end, of the body too. A tunnel may last for longer than an hour, which is where 32 bits end.
    pub total: u64,
}

/// One try against one server.
#[derive(Clone, Copy, Debug)]
pub struct AttemptRecord {
    /// The server, an index into the servers of the record's pool.
    pub server: Index,
    /// Whether an idle upstream connection was used.
    pub reused: bool,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took until that was known, in microseconds.
    pub took: u32,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A response head came.
    Responded,
    /// The connection was refused or failed.
    ConnectFailed,
    /// The connection did not open in time.
    ConnectTimeout,
    /// The connection ended before a response head.
    Closed,
    /// No response head came in time.
    ResponseTimeout,
    /// Checks found the server down before a response head came.
    WentDown,
    /// What came was no valid response.
    BadResponse,
    /// The client went away first.
    Abandoned,
    /// The TLS handshake failed.
    #[serde(rename = "tls-handshake")]
    TlsFailed,
    /// The certificate of the server is not right.
    #[serde(rename = "tls-verify")]
    TlsUntrusted,
}

impl Outcome {
    /// Every outcome, in the order of the variants.
    pub const ALL: [Self; 10] = [
        Self::Responded,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::Closed,
        Self::ResponseTimeout,
        Self::WentDown,
        Self::BadResponse,
        Self::Abandoned,
        Self::TlsFailed,
        Self::TlsUntrusted,
    ];

    /// The word in `PROXY_DATA`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Responded => "responded",
            Self::ConnectFailed => "connect-failed",
            Self::ConnectTimeout => "connect-timeout",
            Self::Closed => "closed",
            Self::ResponseTimeout => "response-timeout",
            Self::WentDown => "went-down",
            Self::BadResponse => "bad-response",
            Self::Abandoned => "abandoned",
            Self::TlsFailed => "tls-handshake",
            Self::TlsUntrusted => "tls-verify",
        }
    }
}

/// The protocol that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// Bytes, in TCP mode.
    Tcp,
}

impl Protocol {
    /// The word in `PROXY_PROTOCOL`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "http/2.0",
            Self::Tcp => "tcp",
        }
    }
}

/// A request id: 128 bits as 26 digits of Crockford's base 32, time first (a ULID).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId([u8; 26]);

impl RequestId {
    /// The id of `millis` since 1970 and 80 random bits.
    #[must_use]
    pub fn new(millis: u64, random: u128) -> Self {
        let bits = (u128::from(millis) << 80) | (random & ((1 << 80) - 1));
        let mut text = [0; 26];
        // twelve digits are the most that a word holds whole
        write(&mut text[14..], bits as u64);
        write(&mut text[2..14], (bits >> 60) as u64);
        write(&mut text[..2], (bits >> 120) as u64);
        Self(text)
    }

    /// The 26 digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its last 20 random bits, spread over 0 to 999,999: the same number wherever the id is seen.
    #[must_use]
    pub fn draw(&self) -> u32 {
        let bits = self.0[22..].iter().fold(0_u64, |bits, digit| bits << 5 | value(*digit));
        ((bits * 1_000_000) >> 20) as u32
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for RequestId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = <[u8; 26]>::try_from(text.as_bytes()).map_err(|_| "a request id has 26 digits")?;
        let known = digits.iter().all(|digit| DIGITS.contains(digit));
        known.then_some(Self(digits)).ok_or("a request id has digits and capital letters")
    }
}

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Writes the last bits of a number, five for each digit.
fn write(digits: &mut [u8], mut bits: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[bits as usize & 31];
        bits >>= 5;
    }
}

/// What a digit stands for: Crockford's alphabet leaves out I, L, O and U.
fn value(digit: u8) -> u64 {
    memchr::memchr(digit, DIGITS).unwrap_or_default() as u64
}

#[cfg(test)]
pub(super) mod tests {
    use smallvec::smallvec;

    use super::*;

    /// An exchange that one server refused and the next one answered.
    pub(in crate::observe) fn retried() -> Record {
        let attempt = |server, outcome, took| AttemptRecord { server, reused: false, outcome, took };
        Record {
            id: RequestId::new(1_700_000_000_000, 42),
            started: 1_700_000_000_000_123,
            listener: 0,
            site: Some(0),
            pool: Some(0),
            client: Some(([192, 0, 2, 7], 50123).into()),
            protocol: Protocol::Http11,
            tls: None,
            method: Some(Method::GET),
            target: Text::of(b"/cart?item=7"),
            host: Text::of(b"shop.example.com"),
            user_agent: None,
            referer: None,
            status: 200,
            end: End::OK,
            detail: None,
            timers: Timers { head: 30, connected: 620, sent: 650, responded: 2_900, total: 3_249 },
            bytes_in: 0,
            grpc_status: None,
            bytes_out: 1_873,
            attempts: smallvec![attempt(0, Outcome::ConnectFailed, 220), attempt(1, Outcome::Responded, 2_300)],
        }
    }

    #[test]
    fn a_draw_is_made_of_the_last_random_bits() {
        assert_eq!(RequestId::new(7, 0).draw(), 0);
        assert_eq!(RequestId::new(7, 0xf_ffff).draw(), 999_999);
        assert_eq!(RequestId::new(7, 1 << 19).draw(), 500_000);
        assert_eq!(RequestId::new(7, 1 << 20).draw(), 0);
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(Text::of(b"/x"), Text { shown: "/x".into(), cut: false });
        let long = Text::of("é".repeat(3_000).as_bytes());
        assert!(long.cut && long.shown.chars().all(|char| char == 'é') && long.shown.len() == Text::MOST);
        let odd = Text::of(format!("/{}", "é".repeat(3_000)).as_bytes());
        assert_eq!((odd.shown.len(), odd.shown.contains('\u{fffd}')), (Text::MOST - 1, false));
    }

    #[test]
    fn request_ids_sort_by_time() {
        assert_eq!(RequestId::new(0, 0).as_str(), "00000000000000000000000000");
        assert!(RequestId::new(1, 0).as_str() > RequestId::new(0, u128::MAX).as_str());
        let spread = RequestId::new(0x0123_4567_89AB, 0xCDEF_0123_4567_89AB_CDEF);
        assert_eq!(spread.as_str(), "014D2PF2DBSQQG28T5CY4TQKFF");
    }
}

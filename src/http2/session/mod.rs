//! One connection of HTTP/2, as one of its sides has it: the server, or the client ([`client`]).
//!
//! ```text
//!   preface ──SETTINGS──▶ open ──GOAWAY with the largest number──▶ announced ──GOAWAY with the last one──▶ last
//! ```
//! In every state but the first streams open, and those that are open end as they would. A client announces nothing, and
//! is told: by GOAWAY of its server.

pub mod client;
mod incoming;
mod outgoing;
mod output;
pub mod saved;
#[cfg(test)]
mod tests;

pub(crate) use self::outgoing::lines;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::output::OutputBuffer;
use super::account::{AbuseAccount, Cost};
use super::error::{ConnectionError, ErrorCode};
use super::frame::{self, FrameHead, FrameKind, HEAD, MAX_FRAME, PREFACE};
use super::hpack::{HpackDecoder, HpackEncoder};
use super::priority::Priority;
use super::request::FieldSection;
use super::settings::{FIRST_WINDOW, LocalSettings, PeerSettings};
use super::streams::Streams;
use super::window::{ReceiveWindow, SendWindow};

/// One connection.
#[derive(Debug)]
pub struct Session {
    role: SessionRole,
    local: LocalSettings,
    /// SETTINGS of ours that the client has not acknowledged.
    unacknowledged: u32,
    /// How many streams may be open once it has.
    next_max_streams: Option<u32>,
    peer: PeerSettings,
    begun: Begun,
    /// A field block of which not all has come.
    block: Option<Box<FieldBlock>>,
    streams: Streams,
    /// The highest number of a stream that the client has begun, be it the peer or this side.
    last: u32,
    send: SendWindow,
    receive: ReceiveWindow,
    decoder: HpackDecoder,
    encoder: HpackEncoder,
    account: AbuseAccount,
    /// How old the connection was when something was read for the last time.
    age: Duration,
    leaving: Leaving,
    /// The server has sent GOAWAY: no stream may be opened.
    is_told_to_go: bool,
    output: OutputBuffer,
}

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SessionRole {
    #[default]
    Server,
    Client,
}

/// What has come of the beginning of a connection (RFC 9113 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Begun {
    /// Nothing, or part of the preface.
    Nothing,
    Preface,
    Settings,
}

/// Whether the client was told to go (RFC 9113 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Leaving {
    No,
    /// It was told that no streams will follow, and those that are on their way are served.
    Announced,
    /// It was told the last stream that is served.
    Last(u32),
}

/// A field block of which not all has come.
#[derive(Debug)]
struct FieldBlock {
    stream: u32,
    ends: bool,
    octets: Vec<u8>,
    /// Frames that it came in so far.
    frames: u32,
}

/// What came from the peer. `key` is that of an open stream, which it keeps until it is closed.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A request; its head stands in the [`FieldSection`].
    Request {
        /// The stream, which is open now.
        key: usize,
        /// The head is above the limit, and [`FieldSection`] has part of it only.
        is_too_large: bool,
    },
    /// A response, perhaps an informational one; its head stands in the [`FieldSection`].
    Response {
        /// The stream.
        key: usize,
    },
    /// Bytes of a body.
    Data {
        /// The stream.
        key: usize,
        /// The bytes; perhaps none.
        data: &'i [u8],
    },
    /// The fields after a body stand as lines in the [`FieldSection`]. The body is whole.
    Trailers {
        /// The stream.
        key: usize,
    },
    /// The peer has reset a stream. It is closed.
    Reset {
        /// The stream that it was.
        key: usize,
        /// Why.
        code: ErrorCode,
    },
    /// A rule was broken on a stream, which is reset and closed.
    Broken {
        /// The stream that it was.
        key: usize,
        /// The rule.
        rule: &'static str,
    },
    /// A request was malformed; its stream was reset and never opened.
    Malformed {
        /// The rule that it broke.
        rule: &'static str,
    },
    /// More may be sent: on this stream, or on every one.
    Windows {
        /// The stream.
        key: Option<usize>,
    },
    /// The client has got what [`Session::announce_leave`] said.
    LeaveIsKnown,
    /// The server has said what it takes: more may be sent, and more streams opened, or fewer.
    Settings,
    /// The server has sent GOAWAY. Streams with a higher number than `last` mean nothing to it.
    GoAway {
        /// The last one that the server acts on.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
}

impl Session {
    /// A connection of which nothing has come. Its first frames are in the output.
    #[must_use]
    pub fn new(local: LocalSettings) -> Self {
        let mut session = Self::blank(SessionRole::Server, local);
        local.put_of_server(session.output.octets());
        session
    }

    fn blank(role: SessionRole, local: LocalSettings) -> Self {
        Self {
            role,
            local,
            unacknowledged: 1,
            next_max_streams: None,
            peer: PeerSettings::default(),
            begun: if role == SessionRole::Client { Begun::Preface } else { Begun::Nothing },
            block: None,
            streams: Streams::default(),
            last: 0,
            send: SendWindow::new(FIRST_WINDOW.into()),
            receive: ReceiveWindow::new(local.connection_window),
            decoder: HpackDecoder::new(local.table as usize),
            encoder: HpackEncoder::default(),
            account: AbuseAccount::default(),
            age: Duration::ZERO,
            leaving: Leaving::No,
            is_told_to_go: false,
            output: OutputBuffer::default(),
        }
    }

    /// Looks at `input`, which begins with what was not used last time: gives how much of it is used now, and the first
    /// event, if there is one in whole frames. `age` is how long the connection lasts.
    ///
    /// # Errors
    /// When the peer breaks a rule that ends the connection.
    pub fn next<'i>(
        &mut self,
        input: &'i [u8],
        fields: &mut FieldSection,
        age: Duration,
    ) -> Result<(usize, Option<Event<'i>>), ConnectionError> {
        self.age = age;
        let mut used = 0;
        if self.begun == Begun::Nothing {
            let len = input.len().min(PREFACE.len());
            if input[..len] != PREFACE[..len] {
                return Err(ConnectionError::protocol("The connection does not begin as HTTP/2 does."));
            }
            if len < PREFACE.len() {
                return Ok((0, None));
            }
            (self.begun, used) = (Begun::Preface, len);
        }
        while let Some(head) = FrameHead::read(&input[used..]) {
            if head.len > MAX_FRAME {
                return Err(ConnectionError::frame_size("A frame is larger than SETTINGS_MAX_FRAME_SIZE."));
            }
            if self.begun == Begun::Preface
                && (head.kind != Some(FrameKind::Settings) || head.flags.has(frame::Flags::ACK))
            {
                return Err(ConnectionError::protocol("The first frame is no SETTINGS."));
            }
            let Some(payload) = input.get(used + HEAD..used + HEAD + head.len) else { break };
            used += HEAD + head.len;
            if let Some(event) = self.frame(head, payload, fields)? {
                return Ok((used, Some(event)));
            }
        }
        Ok((used, None))
    }

    /// The stream of which part of a field block has come; 0 before the first SETTINGS.
    #[must_use]
    pub fn inside_head(&self) -> Option<u32> {
        if self.begun != Begun::Settings { Some(0) } else { self.block.as_ref().map(|block| block.stream) }
    }

    /// The number of an open stream; 0 for one that is not open.
    #[must_use]
    pub fn id(&self, key: usize) -> u32 {
        self.streams.get(key).map_or(0, |stream| stream.id)
    }

    /// The key of the open stream with this number.
    #[must_use]
    pub fn key(&self, id: u32) -> Option<usize> {
        self.streams.key(id)
    }

    /// How many streams may be open at most, with those that the client may open before it hears of fewer.
    #[must_use]
    pub fn max_streams(&self) -> u32 {
        self.local.max_streams
    }

    /// How many streams are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.streams.open()
    }

    /// Whether the peer has ended its side of a stream.
    #[must_use]
    pub fn is_received(&self, key: usize) -> bool {
        self.streams.get(key).is_none_or(|stream| stream.is_received)
    }

    /// Whether so much of a body has come as `Content-Length` says, and not its end.
    #[must_use]
    pub fn awaits_end(&self, key: usize) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.length == Some(0) && !stream.is_received)
    }

    /// In which order a stream is served.
    #[must_use]
    pub fn priority(&self, key: usize) -> Option<Priority> {
        self.streams.get(key)?.priority
    }

    /// Whether a stream that is open, or was lately, has a priority of its own.
    #[must_use]
    pub fn has_priorities(&self) -> bool {
        self.streams.has_priorities()
    }

    /// Gives back memory that is not used while no stream is open.
    pub fn shrink(&mut self) {
        self.streams.shrink();
        self.decoder.shrink();
        self.encoder.clear();
        self.output.shrink();
    }

    /// An exchange was served.
    pub fn served(&mut self) {
        self.account.served();
    }

    fn charge(&mut self, cost: Cost) -> Result<(), ConnectionError> {
        if self.account.charge(cost, self.age) {
            return Ok(());
        }
        Err(ConnectionError::new(ErrorCode::EnhanceYourCalm, cost.rule()))
    }
}

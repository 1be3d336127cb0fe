//! SETTINGS (RFC 9113 §6.5): ours, and what the peer says.

use serde::{Deserialize, Serialize};

use super::error::{ConnectionError, ErrorCode};
use super::frame::{self, Flags, FrameKind, MAX_31, MAX_FRAME};

/// The window that both sides have for a stream and for the connection before anything is said (RFC 9113 §6.9.2).
pub const FIRST_WINDOW: u32 = 65_535;

/// What this side says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSettings {
    /// SETTINGS_HEADER_TABLE_SIZE.
    pub table: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub stream_window: u32,
    /// The window of the connection, which is no setting.
    pub connection_window: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE.
    pub max_fields: u32,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            table: 4096,
            max_streams: 128,
            stream_window: 128 << 10,
            connection_window: 1 << 20,
            max_fields: 16 << 10,
        }
    }
}

impl LocalSettings {
    /// Appends the first frames of a client (RFC 9113 §3.4).
    pub(super) fn put_of_client(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(frame::PREFACE);
        let settings = [
            (Id::EnablePush, 0),
            (Id::InitialWindowSize, self.stream_window),
            (Id::MaxHeaderListSize, self.max_fields),
        ];
        self.put_settings(&settings, out);
    }

    /// Appends the first frames of a server.
    pub(super) fn put_of_server(&self, out: &mut Vec<u8>) {
        let settings = [
            (Id::MaxConcurrentStreams, self.max_streams),
            (Id::InitialWindowSize, self.stream_window),
            (Id::MaxHeaderListSize, self.max_fields),
            (Id::EnableConnectProtocol, 1),
            (Id::NoRfc7540Priorities, 1),
        ];
        self.put_settings(&settings, out);
    }

    fn put_settings(&self, settings: &[(Id, u32)], out: &mut Vec<u8>) {
        put(out, settings.iter().copied());
        if let Some(by @ 1..) = self.connection_window.checked_sub(FIRST_WINDOW) {
            frame::put_window_update(out, 0, by);
        }
    }
}

/// Appends SETTINGS.
pub(super) fn put(out: &mut Vec<u8>, settings: impl Iterator<Item = (Id, u32)>) {
    let octets = |(id, value): (Id, u32)| (id as u16).to_be_bytes().into_iter().chain(value.to_be_bytes());
    let payload: Vec<u8> = settings.flat_map(octets).collect();
    frame::put(out, FrameKind::Settings, Flags::NONE, 0, &payload);
}

/// What the peer said of itself, and what it has before it says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSettings {
    /// The window that a new stream begins with.
    pub stream_window: u32,
    /// How many streams a server takes at once.
    #[serde(default = "unlimited")]
    pub max_streams: u32,
    /// A server takes the CONNECT of RFC 8441.
    #[serde(default)]
    pub takes_protocols: bool,
}

fn unlimited() -> u32 {
    u32::MAX
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self { stream_window: FIRST_WINDOW, max_streams: unlimited(), takes_protocols: false }
    }
}

/// The settings that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// SETTINGS_HEADER_TABLE_SIZE.
    HeaderTableSize = 1,
    /// SETTINGS_ENABLE_PUSH.
    EnablePush = 2,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    MaxConcurrentStreams = 3,
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    InitialWindowSize = 4,
    /// SETTINGS_MAX_FRAME_SIZE.
    MaxFrameSize = 5,
    /// SETTINGS_MAX_HEADER_LIST_SIZE.
    MaxHeaderListSize = 6,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3); that of a client says nothing.
    EnableConnectProtocol = 8,
    /// SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218 §2.1).
    NoRfc7540Priorities = 9,
}

/// The settings of a frame, those that are not known left out (RFC 9113 §6.5.2).
pub(super) fn read(payload: &[u8]) -> impl Iterator<Item = (Id, u32)> {
    let known = |number: u16| {
        Some(match number {
            1 => Id::HeaderTableSize,
            2 => Id::EnablePush,
            3 => Id::MaxConcurrentStreams,
            4 => Id::InitialWindowSize,
            5 => Id::MaxFrameSize,
            6 => Id::MaxHeaderListSize,
            8 => Id::EnableConnectProtocol,
            9 => Id::NoRfc7540Priorities,
            _ => return None,
        })
    };
    payload.chunks_exact(6).filter_map(move |setting| {
        let number = u16::from_be_bytes([setting[0], setting[1]]);
        known(number).map(|id| (id, frame::number(&setting[2..])))
    })
}

/// Whether a value is one that its setting can have (RFC 9113 §6.5.2).
pub(super) fn check(id: Id, value: u32) -> Result<(), ConnectionError> {
    match id {
        Id::EnablePush | Id::NoRfc7540Priorities if value > 1 => {
            Err(ConnectionError::protocol("A setting that is a flag is neither 0 nor 1."))
        }
        Id::InitialWindowSize if value > MAX_31 => {
            Err(ConnectionError::new(ErrorCode::FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is above 2^31 - 1."))
        }
        Id::MaxFrameSize if !(MAX_FRAME as u32..1 << 24).contains(&value) => {
            Err(ConnectionError::protocol("SETTINGS_MAX_FRAME_SIZE is not between 2^14 and 2^24 - 1."))
        }
        _ => Ok(()),
    }
}

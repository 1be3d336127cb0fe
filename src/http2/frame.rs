//! Frames (RFC 9113 §4, §6): their heads, flags and writing.

use super::error::ErrorCode;

/// The first octets of a client (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Octets of the head of a frame.
pub const HEAD: usize = 9;
/// The largest payload that a peer may send before it is told otherwise, which it is not.
pub const MAX_FRAME: usize = 16384;
/// The end of the numbers of streams, increments and windows.
pub const MAX_31: u32 = 0x7fff_ffff;

/// The types that RFC 9113 and RFC 9218 define.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// DATA.
    Data = 0,
    /// HEADERS.
    Headers = 1,
    /// PRIORITY, which says nothing any more.
    Priority = 2,
    /// RST_STREAM.
    RstStream = 3,
    /// SETTINGS.
    Settings = 4,
    /// PUSH_PROMISE.
    PushPromise = 5,
    /// PING.
    Ping = 6,
    /// GOAWAY.
    GoAway = 7,
    /// WINDOW_UPDATE.
    WindowUpdate = 8,
    /// CONTINUATION.
    Continuation = 9,
    /// PRIORITY_UPDATE (RFC 9218 §7.1).
    PriorityUpdate = 16,
}

/// What the flags of a frame say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Of SETTINGS and PING.
    pub const ACK: Self = Self(0x1);
    /// Of DATA and HEADERS.
    pub const END_STREAM: Self = Self(0x1);
    /// Of HEADERS and CONTINUATION.
    pub const END_HEADERS: Self = Self(0x4);
    /// Of DATA and HEADERS.
    pub const PADDED: Self = Self(0x8);
    /// Of HEADERS.
    pub const PRIORITY: Self = Self(0x20);

    /// Whether all of `other` are set.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With `other` too, if so said.
    #[must_use]
    pub fn with(self, other: Self, is_set: bool) -> Self {
        if is_set { Self(self.0 | other.0) } else { self }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Octets of the payload.
    pub len: usize,
    /// The type; none for one that is not known, which is to be ignored (RFC 9113 §4.1).
    pub kind: Option<FrameKind>,
    /// The flags.
    pub flags: Flags,
    /// The stream; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// Reads one from the octets at the start of a frame, if they are there.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let &[high, middle, low, kind, flags, ref stream @ ..] = octets.first_chunk::<HEAD>()?;
        Some(Self {
            len: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind: FrameKind::of(kind),
            flags: Flags(flags),
            stream: u32::from_be_bytes(*stream) & MAX_31,
        })
    }
}

impl FrameKind {
    fn of(octet: u8) -> Option<Self> {
        Some(match octet {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            16 => Self::PriorityUpdate,
            _ => return None,
        })
    }
}

/// The head of a frame as octets.
#[must_use]
pub fn head(len: usize, kind: FrameKind, flags: Flags, stream: u32) -> [u8; HEAD] {
    let [_, high, middle, low] = (len as u32).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    [high, middle, low, kind as u8, flags.0, a, b, c, d]
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: FrameKind, flags: Flags, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&head(payload.len(), kind, flags, stream));
    out.extend_from_slice(payload);
}

/// Appends RST_STREAM.
pub fn put_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    put(out, FrameKind::RstStream, Flags::NONE, stream, &code.number().to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    put(out, FrameKind::WindowUpdate, Flags::NONE, stream, &by.to_be_bytes());
}

/// Appends GOAWAY.
pub fn put_go_away(out: &mut Vec<u8>, last: u32, code: ErrorCode) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last.to_be_bytes());
    payload[4..].copy_from_slice(&code.number().to_be_bytes());
    put(out, FrameKind::GoAway, Flags::NONE, 0, &payload);
}

/// The number at the start of a payload, which has four octets at least.
#[must_use]
pub fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |octets| u32::from_be_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_back() {
        let octets = head(0x01_0203, FrameKind::Headers, Flags::END_HEADERS.with(Flags::END_STREAM, true), 7);
        let flags = Flags(0x5);
        assert_eq!(
            FrameHead::read(&octets),
            Some(FrameHead { len: 0x01_0203, kind: Some(FrameKind::Headers), flags, stream: 7 })
        );
        assert_eq!(FrameHead::read(&octets[..8]), None);
    }

    #[test]
    fn the_reserved_bit_is_ignored_and_an_unknown_type_is_none() {
        let mut octets = head(0, FrameKind::Data, Flags::NONE, 1);
        octets[5] |= 0x80;
        octets[3] = 0x55;
        let head = FrameHead::read(&octets).expect("a head");
        assert_eq!((head.stream, head.kind), (1, None));
    }
}

//! The little of WebSocket (RFC 6455 §5) that a client needs which has nothing to say: pings, and the end.

/// A ping with four bytes, masked as those of a client have to be. The mask hides nothing here.
pub(super) const PING: &[u8] = &[0x89, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'];
/// A close with the status 1001, going away.
pub(super) const CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// The opcode of a frame that ends the WebSocket.
const CLOSE_CODE: u8 = 8;

/// Where in the frames of the server the next byte is.
#[derive(Debug)]
pub(super) enum FramePlace {
    /// In a head, of which there is this much.
    Head(Vec<u8>),
    /// In a payload with so many bytes left.
    Payload(u64),
}

impl FramePlace {
    pub(super) fn first() -> Self {
        Self::Head(Vec::new())
    }

    /// Goes over what was received; whether a frame is among it that ends the WebSocket.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> bool {
        while let [next, rest @ ..] = bytes {
            match self {
                Self::Payload(left) => {
                    let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *left -= taken as u64;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        *self = Self::first();
                    }
                }
                Self::Head(head) => {
                    head.push(*next);
                    bytes = rest;
                    if head[0] & 0x0f == CLOSE_CODE {
                        return true;
                    }
                    match payload(head) {
                        None => {}
                        Some(0) => *self = Self::first(),
                        Some(length) => *self = Self::Payload(length),
                    }
                }
            }
        }
        false
    }
}

/// The length of the payload, once the head is whole.
fn payload(head: &[u8]) -> Option<u64> {
    let short = head.get(1)? & 0x7f;
    let mask = if head[1] & 0x80 == 0 { 0 } else { 4 };
    let long = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if head.len() < 2 + long + mask {
        return None;
    }
    let length = head[2..2 + long].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    Some(if long == 0 { u64::from(short) } else { length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_found_after_frames_of_any_length_however_they_come() {
        let mut frames = vec![0x8a, 4, b'p', b'i', b'n', b'g', 0x82, 0]; // a pong, and an empty message
        frames.extend([0x82, 126, 1, 44]);
        frames.extend([0x88; 300]);
        frames.extend([0x01, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        frames.extend([0x08; 65_536]);
        frames.extend(PING); // a server that echoes bytes
        for piece in [1, 3, 7, 100_000] {
            let mut place = FramePlace::first();
            assert!(!frames.chunks(piece).any(|bytes| place.pass(bytes)), "{piece}");
            assert!(place.pass(&[0x88, 0]), "{piece}");
        }
        assert!(FramePlace::first().pass(CLOSE));
    }
}

//! Which stream is the next to send of a window that all streams of a connection share (RFC 9113 §5.2.1).

/// What counts as the turn of a stream, in octets of a body.
const TURN: usize = 8 * 1024;

/// The order in which streams send: by key, and round again. A stream that got less than a turn, because no more was left of
/// a window, stays the next one. Else windows that are smaller than a turn, or end within one, would go to the same
/// streams, and others had none of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendRotation {
    last: usize,
    /// What the last one sent since another one did.
    sent: usize,
}

impl SendRotation {
    /// An order that begins with this key.
    #[must_use]
    pub fn beginning_with(key: usize) -> Self {
        Self { last: key, sent: 0 }
    }

    /// A stream sent so many octets of a body.
    pub fn sent(&mut self, key: usize, octets: usize) {
        if octets > 0 {
            let before = if self.last == key { self.sent } else { 0 };
            *self = Self { last: key, sent: before + octets };
        }
    }

    /// The key of the next one, which may be that of no stream: then the first one behind it is the next.
    #[must_use]
    pub fn next(&self) -> usize {
        self.last + usize::from(self.sent >= TURN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_the_one_behind_when_a_whole_turn_was_sent_in_however_many_parts() {
        let mut rotation = SendRotation::beginning_with(3);
        assert_eq!(rotation.next(), 3);
        for next in [3, 3, 4] {
            rotation.sent(3, TURN / 3 + 1);
            assert_eq!(rotation.next(), next);
        }
        rotation.sent(4, 1); // what was left of a window
        rotation.sent(5, 0);
        assert_eq!(rotation.next(), 4);
    }
}

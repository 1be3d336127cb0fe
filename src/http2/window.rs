//! Windows of flow control (RFC 9113 §5.2, §6.9), in octets.

use serde::{Deserialize, Serialize};

use super::error::ErrorCode;
use super::frame::MAX_31;

/// What the peer lets us send. A change of SETTINGS_INITIAL_WINDOW_SIZE can make it negative (RFC 9113 §6.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendWindow(i64);

impl SendWindow {
    /// A window of this size.
    #[must_use]
    pub fn new(size: i64) -> Self {
        Self(size)
    }

    /// Whether a connection can come to have such a window.
    pub(super) fn is_right(self) -> bool {
        (-i64::from(MAX_31)..=i64::from(MAX_31)).contains(&self.0)
    }

    /// How much may be sent.
    #[must_use]
    pub fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// So much was sent.
    pub fn sent(&mut self, octets: usize) {
        self.0 -= octets as i64;
    }

    /// The peer lets us send so much more, or less.
    ///
    /// # Errors
    /// FLOW_CONTROL_ERROR above 2^31 - 1.
    pub fn grow(&mut self, by: i64) -> Result<(), ErrorCode> {
        self.0 += by;
        if self.0 > i64::from(MAX_31) { Err(ErrorCode::FlowControlError) } else { Ok(()) }
    }
}

/// What we let the peer send. Room that is given back is announced in lumps of half the window: a WINDOW_UPDATE for each
/// frame would cost a frame for each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveWindow {
    /// What the peer may still send.
    left: i64,
    /// What was given back and is not announced.
    owed: i64,
    size: i64,
}

impl ReceiveWindow {
    /// A window of this size, all of which the peer knows of.
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self { left: i64::from(size), owed: 0, size: i64::from(size) }
    }

    /// Whether a connection can come to have such a window.
    pub(super) fn is_right(self) -> bool {
        let could_be = 0..=i64::from(MAX_31);
        [self.left, self.owed, self.size].iter().all(|octets| could_be.contains(octets))
    }

    /// So much came.
    ///
    /// # Errors
    /// FLOW_CONTROL_ERROR when it is more than the peer may send.
    pub fn received(&mut self, octets: usize) -> Result<(), ErrorCode> {
        self.left -= octets as i64;
        if self.left < 0 { Err(ErrorCode::FlowControlError) } else { Ok(()) }
    }

    /// So much was taken, and may come again. Returns what to announce now.
    #[must_use]
    pub fn give_back(&mut self, octets: usize) -> Option<u32> {
        self.owed += octets as i64;
        if self.owed * 2 < self.size {
            return None;
        }
        self.left += self.owed;
        u32::try_from(std::mem::take(&mut self.owed)).ok().filter(|by| *by > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_be_negative_and_comes_back() {
        let mut window = SendWindow::new(100);
        window.sent(80);
        window.grow(-60).expect("smaller");
        assert_eq!(window, SendWindow(-40));
        assert_eq!(window.room(), 0);
        window.grow(50).expect("larger");
        assert_eq!(window.room(), 10);
        assert_eq!(window.grow(i64::from(MAX_31)), Err(ErrorCode::FlowControlError));
    }

    #[test]
    fn room_is_announced_in_lumps_and_never_lost() {
        let mut window = ReceiveWindow::new(1000);
        let mut announced = 0;
        for _ in 0..100 {
            window.received(70).expect("room");
            announced += window.give_back(70).unwrap_or(0);
        }
        assert!(announced > 6000 && announced % 10 == 0);
        assert_eq!(window.left + window.owed, 1000);
        assert_eq!(window.received(1001), Err(ErrorCode::FlowControlError));
    }
}

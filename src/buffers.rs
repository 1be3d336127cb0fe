//! Buffers that a thread lends to its connections for as long as they hold bytes.

use std::cell::RefCell;

/// Buffers that are kept. One is in use in most moments: the others are for connections whose clients take nothing.
const MOST: usize = 4;
/// The largest buffer that is kept, in bytes: what a connection of HTTP/2 gathers before it writes, and its last response.
const LARGEST: usize = 256 * 1024;

/// Empty buffers of one thread. A buffer that is used again at once is warm, and has grown to what is needed. A buffer of
/// its own for each connection costs memory while the connection waits, and a new one for each turn costs time.
#[derive(Debug)]
pub struct FreeBuffers(RefCell<Vec<Vec<u8>>>);

impl FreeBuffers {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// An empty buffer, with what memory it has had before.
    #[must_use]
    pub fn lend(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back a buffer, whatever it holds.
    pub fn take_back(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.0.borrow_mut();
        if buffers.len() < MOST && (1..=LARGEST).contains(&buffer.capacity()) {
            buffer.clear();
            buffers.push(buffer);
        }
    }
}

impl Default for FreeBuffers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_is_lent_again_empty_and_what_is_too_large_or_too_many_is_not_kept() {
        let buffers = FreeBuffers::new();
        buffers.take_back(vec![1; 100]);
        let lent = buffers.lend();
        assert!(lent.is_empty() && lent.capacity() >= 100);
        buffers.take_back(vec![1; LARGEST + 1]);
        assert_eq!(buffers.lend().capacity(), 0);
        (0..=MOST).for_each(|_| buffers.take_back(vec![1]));
        assert_eq!((0..=MOST).filter(|_| buffers.lend().capacity() > 0).count(), MOST);
    }
}

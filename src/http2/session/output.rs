//! What is on its way to the client.

use crate::buffers::FreeBuffers;

thread_local! {
    static BUFFERS: FreeBuffers = const { FreeBuffers::new() };
}

/// Octets that are not with the kernel yet.
#[derive(Debug, Default)]
pub(super) struct OutputBuffer {
    octets: Vec<u8>,
    /// How many of them were written.
    written: usize,
}

impl From<Vec<u8>> for OutputBuffer {
    /// What another process had.
    fn from(octets: Vec<u8>) -> Self {
        Self { octets, written: 0 }
    }
}

impl OutputBuffer {
    /// Those that are not written.
    pub(super) fn rest(&self) -> &[u8] {
        &self.octets[self.written..]
    }

    /// Where to append.
    pub(super) fn octets(&mut self) -> &mut Vec<u8> {
        if self.octets.capacity() == 0 {
            self.octets = BUFFERS.with(FreeBuffers::lend);
        }
        &mut self.octets
    }

    /// So many more were written.
    pub(super) fn wrote(&mut self, octets: usize) {
        self.written += octets;
        if self.written >= self.octets.len() {
            self.written = 0;
            let octets = std::mem::take(&mut self.octets);
            BUFFERS.with(|buffers| buffers.take_back(octets));
        }
    }

    /// Gives back memory that is not used.
    pub(super) fn shrink(&mut self) {
        self.octets.drain(..std::mem::take(&mut self.written));
        self.octets.shrink_to_fit();
    }
}

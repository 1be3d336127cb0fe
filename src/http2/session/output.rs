//! What is on its way to the client.

/// What the buffer keeps for what comes next.
const KEPT: usize = 32 * 1024;

/// Octets that are not with the kernel yet.
#[derive(Debug, Default)]
pub(super) struct OutputBuffer {
    pub(super) octets: Vec<u8>,
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

    /// So many more were written.
    pub(super) fn wrote(&mut self, octets: usize) {
        self.written += octets;
        if self.written >= self.octets.len() {
            self.octets.clear();
            self.written = 0;
            self.octets.shrink_to(KEPT);
        }
    }

    /// Gives back memory that is not used.
    pub(super) fn shrink(&mut self) {
        self.octets.drain(..std::mem::take(&mut self.written));
        self.octets.shrink_to_fit();
    }
}

//! Looks at the chunked body of a request as it passes by to hyper, merges its chunks, and finds its end.

use super::chunks::Chunks;
use super::{ChunkFault, trailers};

/// Validates one chunked body.
#[derive(Debug)]
pub struct Scanner(Chunks);

/// What was found in the bytes of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Bytes that belong to the body; those after them, to the next message.
    pub consumed: usize,
    /// How many of them were payload.
    pub payload: usize,
    /// The body ended with the consumed bytes.
    pub done: bool,
}

impl Scanner {
    /// A scanner before the first byte of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self(Chunks::new())
    }

    /// Looks at the next bytes of the body. All of `bytes` is consumed unless the body ends in them.
    ///
    /// Trailers that would frame or route the request are refused; the others that may not come as trailers
    /// ([`is_forbidden_in_trailers`](crate::http1::fields::is_forbidden_in_trailers)) pass, and are to be dropped when
    /// the trailers are forwarded.
    ///
    /// # Errors
    /// The rule that was broken, the same one however the body was cut into pieces. The scanner is of no use then.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, ChunkFault> {
        let mut scan = Scan::default();
        loop {
            let step = self.0.step(&bytes[scan.consumed..])?;
            scan.consumed += step.framing + step.payload;
            scan.payload += step.payload;
            if step.done {
                trailers::check(self.0.section())?;
            }
            if step.done || scan.consumed == bytes.len() {
                scan.done = step.done;
                return Ok(scan);
            }
        }
    }

    /// As [`Scanner::scan`], and moves the payload in `bytes` to their front, out of its framing: ten thousand chunks of
    /// one byte are then no more work for the next one to look at them than a single chunk.
    ///
    /// # Errors
    /// As [`Scanner::scan`].
    pub fn merge(&mut self, bytes: &mut [u8]) -> Result<Scan, ChunkFault> {
        let mut scan = Scan::default();
        loop {
            let step = self.0.step(&bytes[scan.consumed..])?;
            let start = scan.consumed + step.framing;
            scan.consumed = start + step.payload;
            if start > scan.payload && step.payload > 0 {
                bytes.copy_within(start..scan.consumed, scan.payload);
            }
            scan.payload += step.payload;
            if step.done {
                trailers::check(self.0.section())?;
            }
            if step.done || scan.consumed == bytes.len() {
                scan.done = step.done;
                return Ok(scan);
            }
        }
    }

    /// The trailer section of a body that is over, with the empty line at its end.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        if self.0.section().is_empty() { b"\r\n" } else { self.0.section() }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

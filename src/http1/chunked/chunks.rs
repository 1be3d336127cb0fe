//! The framing of one chunked body, byte by byte; payload is stepped over.

use serde::{Deserialize, Serialize};

use super::extension::Extension;
use super::{ChunkFault, MAX_EXTENSIONS, MAX_TRAILER_FIELDS, MAX_TRAILERS};
use crate::http1::head::{Bounds, Walk};

/// Digits of a size that is read at once: any that a piece in one buffer can have.
const PLAIN_DIGITS: usize = 8;

/// Where the walk over one chunked body is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunks {
    state: ChunkState,
    /// Payload left in the current chunk; while its size is read, what was read so far.
    left: u64,
    digits: u8,
    extensions: usize,
    trailers: Walk,
    /// The trailer section with its empty line; empty when there are no trailers.
    section: Vec<u8>,
    /// The body is that of a request, which white space at the end of a line breaks.
    of_request: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum ChunkState {
    Size,
    /// White space behind the size, and perhaps an extension after it.
    Space,
    Extension(Extension),
    SizeLf,
    Payload,
    PayloadCr,
    PayloadLf,
    Trailers,
    Done,
}

/// What the next bytes of a body are: first some of framing, then some of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkStep {
    pub framing: usize,
    pub payload: usize,
    pub done: bool,
}

impl Chunks {
    pub(super) const fn new(of_request: bool) -> Self {
        Self {
            state: ChunkState::Size,
            left: 0,
            digits: 0,
            extensions: 0,
            trailers: Walk::trailers(),
            section: Vec::new(),
            of_request,
        }
    }

    /// Steps over `bytes` as far as the end of the first payload in them.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<ChunkStep, ChunkFault> {
        let mut framing = 0;
        while self.state != ChunkState::Done && framing < bytes.len() {
            if self.state == ChunkState::Payload {
                let payload = self.take_payload(bytes.len() - framing);
                return Ok(ChunkStep { framing, payload, done: false });
            }
            self.state = self.take(bytes[framing])?;
            framing += 1;
        }
        Ok(ChunkStep { framing, payload: 0, done: self.state == ChunkState::Done })
    }

    /// Steps over framing alone: as far as the next payload, the end of the body or the end of `bytes`. Returns how much
    /// that is, and how long the payload is that comes next.
    pub(super) fn step_to_payload(&mut self, bytes: &[u8]) -> Result<(usize, u64), ChunkFault> {
        if let Some(size) = self.take_plain_line(bytes) {
            return Ok((size, self.left));
        }
        let mut framing = 0;
        while !matches!(self.state, ChunkState::Done | ChunkState::Payload) && framing < bytes.len() {
            self.state = self.take(bytes[framing])?;
            framing += 1;
        }
        Ok((framing, if self.state == ChunkState::Payload { self.left } else { 0 }))
    }

    /// Steps over the end of a payload and the size of the next one when both are there whole and nothing else is: a client
    /// that sends chunks of one byte costs a sixth of what it does byte by byte. Returns the length of the two.
    fn take_plain_line(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.state != ChunkState::PayloadCr {
            return None;
        }
        let line = bytes.strip_prefix(b"\r\n")?;
        let digits = line.iter().take(PLAIN_DIGITS + 1).position(|byte| *byte == b'\r')?;
        let hexadecimal = |size: u64, byte: &u8| Some(size << 4 | u64::from(char::from(*byte).to_digit(16)?));
        let size = line[..digits].iter().try_fold(0, hexadecimal)?;
        if size == 0 || line.get(digits + 1) != Some(&b'\n') {
            return None;
        }
        (self.state, self.left, self.digits) = (ChunkState::Payload, size, digits as u8);
        Some(digits + 4)
    }

    /// Whether the body is over.
    pub(super) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// The trailer section with its empty line, empty when there were no trailers; to be asked once the body is done.
    pub(super) fn take_section(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.section)
    }

    /// Steps over as much of the payload that comes next as is there.
    pub(super) fn take_payload(&mut self, available: usize) -> usize {
        let payload = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= payload as u64;
        if self.left == 0 {
            self.state = ChunkState::PayloadCr;
        }
        payload
    }

    /// Whether the body is that of a request.
    pub(super) fn is_of_request(&self) -> bool {
        self.of_request
    }

    fn take(&mut self, byte: u8) -> Result<ChunkState, ChunkFault> {
        match self.state {
            ChunkState::Size => self.take_size(byte),
            ChunkState::Space => self.take_space(byte),
            ChunkState::Extension(extension) => self.take_extension(extension, byte),
            ChunkState::SizeLf if byte != b'\n' => Err(ChunkFault::LineEnd),
            ChunkState::SizeLf if self.left == 0 => Ok(ChunkState::Trailers),
            ChunkState::SizeLf => Ok(ChunkState::Payload),
            ChunkState::PayloadCr if byte == b'\r' => Ok(ChunkState::PayloadLf),
            ChunkState::PayloadLf if byte == b'\n' => {
                self.digits = 0;
                Ok(ChunkState::Size)
            }
            ChunkState::PayloadCr | ChunkState::PayloadLf => Err(ChunkFault::PayloadEnd),
            ChunkState::Trailers => self.take_trailer(byte),
            ChunkState::Payload | ChunkState::Done => Ok(self.state), // `step` takes no byte in these
        }
    }

    fn take_size(&mut self, byte: u8) -> Result<ChunkState, ChunkFault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b' ' | b'\t' | b';' if self.digits > 0 => return self.take_space(byte),
            b'\r' if self.digits > 0 => return Ok(ChunkState::SizeLf),
            b'\n' if self.digits > 0 => return Err(ChunkFault::LineEnd),
            _ => return Err(ChunkFault::Size),
        };
        // one more digit must leave the size below 2^63, and zeros in front are bounded too
        if self.digits == 16 || self.left > (i64::MAX as u64) >> 4 {
            return Err(ChunkFault::SizeTooLarge);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(ChunkState::Size)
    }

    /// White space may stand before an extension (RFC 9112 §7.1.1). Old servers write it without one, to fill up a size
    /// that was written after its chunk; no client has a reason to.
    fn take_space(&mut self, byte: u8) -> Result<ChunkState, ChunkFault> {
        match byte {
            b'\r' if self.of_request => Err(ChunkFault::TrailingSpace),
            b'\r' => Ok(ChunkState::SizeLf),
            b'\n' => Err(ChunkFault::LineEnd),
            b';' => Ok(ChunkState::Extension(Extension::Begin)),
            b' ' | b'\t' => self.count_extension(ChunkState::Space),
            _ => Err(ChunkFault::Size),
        }
    }

    fn take_extension(&mut self, extension: Extension, byte: u8) -> Result<ChunkState, ChunkFault> {
        match byte {
            b'\r' if extension.is_spaced() && self.of_request => Err(ChunkFault::TrailingSpace),
            b'\r' if extension.may_end() => Ok(ChunkState::SizeLf),
            b'\n' if extension.may_end() => Err(ChunkFault::LineEnd),
            _ => self.count_extension(ChunkState::Extension(extension.next(byte)?)),
        }
    }

    fn count_extension(&mut self, next: ChunkState) -> Result<ChunkState, ChunkFault> {
        if self.extensions == MAX_EXTENSIONS {
            return Err(ChunkFault::ExtensionsTooLarge);
        }
        self.extensions += 1;
        Ok(next)
    }

    fn take_trailer(&mut self, byte: u8) -> Result<ChunkState, ChunkFault> {
        const BOUNDS: Bounds = Bounds { head: MAX_TRAILERS, target: 0, fields: MAX_TRAILER_FIELDS, is_lenient: false };
        let is_whole = self.trailers.push(byte, &BOUNDS)?;
        // most bodies have no trailers, only the empty line, and cost no allocation here
        if !self.section.is_empty() || !matches!(byte, b'\r' | b'\n') {
            self.section.push(byte);
        }
        Ok(if is_whole { ChunkState::Done } else { ChunkState::Trailers })
    }
}

//! Takes the chunked body of a response apart.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::chunks::Chunks;
use super::{ChunkFault, trailers};

/// Takes one chunked body off a buffer, piece by piece.
#[derive(Debug)]
pub struct Decoder(Chunks);

/// What came off the buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// A piece of payload, never empty: a chunk, or as much of it as there is.
    Data(Bytes),
    /// The trailers, without those that may not come as such, at most once; [`Decoded::Done`] follows.
    Trailers(HeaderMap),
    /// The buffer is empty, and the body is not over.
    NeedMore,
    /// The body is over; what is in the buffer does not belong to it.
    Done,
}

impl Decoder {
    /// A decoder before the first byte of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self(Chunks::new())
    }

    /// Takes the next piece off `buffer`. Data shares the memory of the buffer.
    ///
    /// # Errors
    /// The rule that was broken. The connection is of no use then, and the message must not end as if it were whole.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, ChunkFault> {
        let step = self.0.step(buffer)?;
        buffer.advance(step.framing);
        if step.payload > 0 {
            return Ok(Decoded::Data(buffer.split_to(step.payload).freeze()));
        }
        if !step.done {
            return Ok(Decoded::NeedMore);
        }
        let trailers = trailers::parse(self.0.take_section())?;
        Ok(if trailers.is_empty() { Decoded::Done } else { Decoded::Trailers(trailers) })
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

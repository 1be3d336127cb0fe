//! Takes a chunked body apart.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::chunks::Chunks;
use super::{ChunkFault, trailers};

/// Takes one chunked body off a buffer, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoder {
    chunks: Chunks,
    /// Found behind payload, which goes before it.
    fault: Option<ChunkFault>,
}

/// Largest chunk that is copied behind the one before it. A larger one is a piece by itself, which costs less.
const MERGED: u64 = 2048;

/// What came off the buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// A piece of payload, never empty: a chunk and the small ones after it, as far as they are there.
    Data(Bytes),
    /// The trailers, without those that may not come as such, at most once; [`Decoded::Done`] follows.
    Trailers(HeaderMap),
    /// The buffer is empty, and the body is not over.
    NeedMore,
    /// The body is over; what is in the buffer does not belong to it.
    Done,
}

impl Decoder {
    /// A decoder before the first byte of the body of a request.
    #[must_use]
    pub const fn request() -> Self {
        Self { chunks: Chunks::new(true), fault: None }
    }

    /// A decoder before the first byte of the body of a response.
    #[must_use]
    pub const fn response() -> Self {
        Self { chunks: Chunks::new(false), fault: None }
    }

    /// Takes the next piece off `buffer`. Data shares the memory of the buffer.
    ///
    /// # Errors
    /// The rule that was broken. The connection is of no use then, and the message must not end as if it were whole.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, ChunkFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let step = self.chunks.step(buffer)?;
        buffer.advance(step.framing);
        if step.payload > 0 {
            return Ok(Decoded::Data(self.merge(buffer, step.payload)));
        }
        if !step.done {
            return Ok(Decoded::NeedMore);
        }
        let section = self.chunks.take_section();
        if self.chunks.is_of_request() {
            // in responses they are dropped
            trailers::check(&section)?;
        }
        let trailers = trailers::parse(section)?;
        Ok(if trailers.is_empty() { Decoded::Done } else { Decoded::Trailers(trailers) })
    }

    /// Looks at bytes that stay where they are: gives how many of framing come first, and how many of payload behind those,
    /// which is at most `most`.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn step(&mut self, bytes: &[u8], most: usize) -> Result<(usize, usize), ChunkFault> {
        let (framing, payload) = self.chunks.step_to_payload(bytes)?;
        let available = (bytes.len() - framing).min(most);
        Ok((framing, if payload > 0 { self.chunks.take_payload(available) } else { 0 }))
    }

    /// The trailers of a body that is over, once.
    ///
    /// # Errors
    /// When they are no fields.
    pub fn trailers(&mut self) -> Result<HeaderMap, ChunkFault> {
        trailers::parse(self.chunks.take_section())
    }

    /// Whether the end of the body was seen behind the last piece; [`Decoder::decode`] still tells of trailers.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.chunks.is_done()
    }

    /// Takes the first `len` bytes off the buffer, and the payload of the small chunks that follow: each piece costs
    /// its receiver as much as a large one.
    fn merge(&mut self, buffer: &mut BytesMut, len: usize) -> Bytes {
        let (mut merged, mut at) = (len, len);
        while at < buffer.len() {
            match self.chunks.step_to_payload(&buffer[at..]) {
                Ok((framing, payload)) => {
                    at += framing;
                    if !(1..=MERGED).contains(&payload) {
                        break;
                    }
                }
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
            let payload = self.chunks.take_payload(buffer.len() - at);
            buffer.copy_within(at..at + payload, merged);
            (merged, at) = (merged + payload, at + payload);
        }
        let data = buffer.split_to(merged).freeze();
        buffer.advance(at - merged);
        data
    }
}

//! stub
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ChunkFault;
/// x
#[derive(Debug, Default)]
pub struct Decoder;
/// x
pub enum Decoded {
    /// x
    Data(Bytes),
    /// x
    More,
    /// x
    Done(Option<HeaderMap>),
}
impl Decoder {
    /// x
    pub fn decode(&mut self, _b: &mut BytesMut) -> Result<Decoded, ChunkFault> {
        Err(ChunkFault)
    }
}

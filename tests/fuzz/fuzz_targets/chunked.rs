//! A chunked body means the same in pieces; a request is refused beyond what a response is for its trailers, and
//! for white space at the end of a line.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use segue_fuzz::cut;
use segue_fuzz::http1::chunked::{ChunkFault, Decoded, Decoder};

fuzz_target!(|data: &[u8]| {
    let Some((cut, message)) = cut(data) else { return };
    let request = decode_in_pieces(Decoder::request(), message, [message.len()]);
    assert_eq!(decode_in_pieces(Decoder::request(), message, [cut, message.len()]), request);
    assert_eq!(decode_in_pieces(Decoder::request(), message, 0..=message.len()), request);
    let response = decode_in_pieces(Decoder::response(), message, [message.len()]);
    assert_eq!(decode_in_pieces(Decoder::response(), message, [cut, message.len()]), response);
    if request != response {
        assert!(matches!(request, Err(ChunkFault::ForbiddenTrailer | ChunkFault::TrailingSpace)));
    }
});

/// The payload, and what does not belong to the body.
fn decode_in_pieces(
    mut decoder: Decoder,
    message: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> Result<(Vec<u8>, Vec<u8>), ChunkFault> {
    let (mut buffer, mut start) = (BytesMut::new(), 0);
    let (mut payload, mut done) = (Vec::new(), false);
    for end in ends {
        buffer.extend_from_slice(&message[start..end]);
        start = end;
        while !done {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(data) => payload.extend_from_slice(&data),
                Decoded::Trailers(trailers) => assert!(!trailers.is_empty()),
                Decoded::NeedMore => break,
                Decoded::Done => done = true,
            }
        }
    }
    Ok((payload, buffer.to_vec()))
}

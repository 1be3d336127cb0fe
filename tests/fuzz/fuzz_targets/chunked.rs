//! A chunked body means the same in pieces, and scanner and decoder agree on where it ends.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use segue_fuzz::cut;
use segue_fuzz::http1::chunked::{ChunkFault, Decoded, Decoder, Scan, Scanner};

fuzz_target!(|data: &[u8]| {
    let Some((cut, message)) = cut(data) else { return };
    let scan = scan_in_pieces(message, [message.len()]);
    assert_eq!(scan_in_pieces(message, [cut, message.len()]), scan);
    assert_eq!(scan_in_pieces(message, 0..=message.len()), scan);
    let body = decode_in_pieces(message, [message.len()]);
    assert_eq!(decode_in_pieces(message, [cut, message.len()]), body);
    assert_eq!(decode_in_pieces(message, 0..=message.len()), body);
    match (scan, body) {
        (Ok(scan), Ok((payload, rest))) => {
            assert_eq!(scan.payload, payload.len());
            assert_eq!(&message[scan.consumed..], rest);
        }
        (scan, Ok(_)) => assert_eq!(scan, Err(ChunkFault::ForbiddenTrailer)),
        (scan, Err(fault)) => assert_eq!(scan, Err(fault)),
    }
});

fn scan_in_pieces(message: &[u8], ends: impl IntoIterator<Item = usize>) -> Result<Scan, ChunkFault> {
    let (mut scanner, mut total) = (Scanner::new(), Scan::default());
    for end in ends {
        let scan = scanner.scan(&message[total.consumed..end.max(total.consumed)])?;
        total.consumed += scan.consumed;
        total.payload += scan.payload;
        total.done = scan.done;
    }
    Ok(total)
}

/// The payload, and what does not belong to the body.
fn decode_in_pieces(message: &[u8], ends: impl IntoIterator<Item = usize>) -> Result<(Vec<u8>, Vec<u8>), ChunkFault> {
    let (mut decoder, mut buffer, mut start) = (Decoder::new(), BytesMut::new(), 0);
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

//! Chunked bodies (RFC 9112 §7.1), of requests and responses alike: [`Decoder`] takes one apart.
//!
//! It is strict, because a body that two parsers cut differently hides a request: sizes are hex digits and nothing else,
//! every line ends in CRLF, and what may come without payload (extensions, trailers) is bounded.

mod chunks;
mod decoder;
mod extension;
mod trailers;

use std::fmt;

pub use decoder::{Decoded, Decoder};
use serde::{Deserialize, Serialize};

use super::head::{Break, LineFault};

/// Most bytes of chunk extensions in one body. They are dropped, so few are enough.
pub const MAX_EXTENSIONS: usize = 8 * 1024;
/// Most bytes of a trailer section.
pub const MAX_TRAILERS: usize = 8 * 1024;
/// Most fields of a trailer section.
pub const MAX_TRAILER_FIELDS: usize = 64;

/// A rule that a chunked body broke. Where the message ends is not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkFault {
    /// A chunk size is not hex digits, followed by white space, an extension or the end of the line.
    Size,
    /// White space at the end of the line of a chunk size, in a request.
    TrailingSpace,
    /// A chunk size of 2^63 or more, or of more than 16 digits.
    SizeTooLarge,
    /// An extension that breaks the grammar.
    Extension,
    /// More than [`MAX_EXTENSIONS`], white space before them included.
    ExtensionsTooLarge,
    /// A line ends in something other than CRLF.
    LineEnd,
    /// A chunk is longer than its size says.
    PayloadEnd,
    /// A line of the trailer section is wrong.
    Trailer(LineFault),
    /// More than [`MAX_TRAILERS`] or [`MAX_TRAILER_FIELDS`].
    TrailersTooLarge,
    /// A field in the trailers of a request that would have framed or routed it.
    ForbiddenTrailer,
}

impl ChunkFault {
    /// The rule that was broken, as one sentence.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Size => "A chunk size is not made of hexadecimal digits alone.",
            Self::TrailingSpace => "The line of a chunk size ends in white space.",
            Self::SizeTooLarge => "A chunk size is 2^63 or more, or has more than 16 digits.",
            Self::Extension => "A chunk extension is not a name, or a name with a token or a quoted string.",
            Self::ExtensionsTooLarge => "The chunk extensions are longer than 8 KiB.",
            Self::LineEnd => "A line between chunks does not end in CRLF.",
            Self::PayloadEnd => "A chunk is longer than its size says.",
            Self::Trailer(fault) => fault.rule(),
            Self::TrailersTooLarge => "The trailers are longer than 8 KiB, or more than 64.",
            Self::ForbiddenTrailer => "Content-Length, Transfer-Encoding and Host may not come as trailers.",
        }
    }
}

impl fmt::Display for ChunkFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.rule())
    }
}

impl std::error::Error for ChunkFault {}

impl From<Break> for ChunkFault {
    fn from(broken: Break) -> Self {
        match broken {
            Break::Line(fault) => Self::Trailer(fault),
            // the others are of start lines, which no walk over trailers meets
            _ => Self::TrailersTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::HeaderMap;

    use super::*;

    /// How many bytes of the front of `text` belong to the body, and whether it is over.
    fn scan(text: &[u8]) -> Result<(usize, bool), ChunkFault> {
        let (mut buffer, mut decoder) = (BytesMut::from(text), Decoder::request());
        loop {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(_) | Decoded::Trailers(_) => {}
                Decoded::NeedMore => return Ok((text.len(), false)),
                Decoded::Done => return Ok((text.len() - buffer.len(), true)),
            }
        }
    }

    /// Payload, trailers and what is left of the buffer.
    fn decode(text: &[u8]) -> Result<(Vec<u8>, HeaderMap, BytesMut), ChunkFault> {
        let mut buffer = BytesMut::from(text);
        let mut decoder = Decoder::response();
        let (mut payload, mut trailers) = (Vec::new(), HeaderMap::new());
        loop {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(data) => payload.extend_from_slice(&data),
                Decoded::Trailers(fields) => trailers = fields,
                Decoded::NeedMore => panic!("incomplete: {text:?}"),
                Decoded::Done => return Ok((payload, trailers, buffer)),
            }
        }
    }

    /// Every row: what is sent, and the one rule that it breaks.
    const FAULTS: &[(&str, ChunkFault)] = &[
        ("\r\n", ChunkFault::Size),
        ("x", ChunkFault::Size),
        ("0x5\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("+5\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("-5\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        (" 5\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("5 5\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("5 a\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("5\t\0\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("5_\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        (";a\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("\n5\r\nhello\r\n0\r\n\r\n", ChunkFault::Size),
        ("8000000000000000\r\n", ChunkFault::SizeTooLarge),
        ("ffffffffffffffff\r\n", ChunkFault::SizeTooLarge),
        ("10000000000000005\r\n", ChunkFault::SizeTooLarge),
        ("00000000000000005\r\n", ChunkFault::SizeTooLarge),
        ("5\nhello\r\n0\r\n\r\n", ChunkFault::LineEnd),
        ("5\rhello\r\n0\r\n\r\n", ChunkFault::LineEnd),
        ("5;a\nhello\r\n0\r\n\r\n", ChunkFault::LineEnd),
        ("5 \nhello\r\n0\r\n\r\n", ChunkFault::LineEnd),
        ("5;a\rb\r\nhello\r\n0\r\n\r\n", ChunkFault::LineEnd),
        ("5;\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a;\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;;a\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;=a\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a=\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a b\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a=b c\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a=b=c\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a=\"b\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a=\"b\\\"\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;(a)\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;\u{e4}\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a\0\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5;a=\"\x7f\"\r\nhello\r\n0\r\n\r\n", ChunkFault::Extension),
        ("5\r\nhello0\r\n\r\n", ChunkFault::PayloadEnd),
        ("5\r\nhello!\r\n0\r\n\r\n", ChunkFault::PayloadEnd),
        ("5\r\nhello\n0\r\n\r\n", ChunkFault::PayloadEnd),
        ("5\r\nhello\r0\r\n\r\n", ChunkFault::PayloadEnd),
        ("0\r\n\n", ChunkFault::Trailer(LineFault::BareLf)),
        ("0\r\nA: b\n\r\n", ChunkFault::Trailer(LineFault::BareLf)),
        ("0\r\n\rX", ChunkFault::Trailer(LineFault::BareCr)),
        ("0\r\nA: b\rc\r\n\r\n", ChunkFault::Trailer(LineFault::BareCr)),
        ("0\r\n A: b\r\n\r\n", ChunkFault::Trailer(LineFault::Fold)),
        ("0\r\nA: b\r\n c\r\n\r\n", ChunkFault::Trailer(LineFault::Fold)),
        ("0\r\nA : b\r\n\r\n", ChunkFault::Trailer(LineFault::SpaceBeforeColon)),
        ("0\r\nA\r\n\r\n", ChunkFault::Trailer(LineFault::FieldName)),
        ("0\r\n: b\r\n\r\n", ChunkFault::Trailer(LineFault::FieldName)),
        ("0\r\nA: \0\r\n\r\n", ChunkFault::Trailer(LineFault::FieldValue)),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", ChunkFault::Trailer(LineFault::SpaceBeforeColon)),
    ];

    #[test]
    fn every_broken_rule_is_a_fault_by_its_name() {
        for (text, fault) in FAULTS {
            assert_eq!(scan(text.as_bytes()), Err(*fault), "scan {text:?}");
            assert_eq!(decode(text.as_bytes()).err(), Some(*fault), "decode {text:?}");
        }
    }

    #[test]
    fn a_size_behind_a_chunk_means_what_the_first_one_means() {
        for (text, fault) in FAULTS {
            assert_eq!(scan(format!("1\r\nx\r\n{text}").as_bytes()), Err(*fault), "{text:?}");
        }
        for size in ["5", "05", "00000005", "000000005", "0000000000000005", "5 ;a", "5;a"] {
            let text = format!("1\r\nx\r\n{size}\r\nhello\r\n0\r\n\r\n");
            let (decoded, ..) = decode(text.as_bytes()).expect("no fault");
            assert_eq!(&decoded[..], b"xhello", "{size}");
            for end in 0..text.len() {
                assert_eq!(scan(&text.as_bytes()[..end]), Ok((end, false)), "{size} cut at {end}");
            }
        }
    }

    #[test]
    fn a_body_ends_where_its_last_chunk_says() {
        for (text, payload) in [
            ("0\r\n\r\n", ""),
            ("000\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!"),
            ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
            ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "hello"),
            ("5 \t ;a\r\nhello\r\n0 ;\tb\r\n\r\n", "hello"),
            ("5;a=\"\\\"\\\\;\u{e4}\";b\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5 ; a = b ; c = \"d e\"\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n0\r\n"),
        ] {
            let pipelined = format!("{text}GET / HTTP/1.1\r\n");
            assert_eq!(scan(pipelined.as_bytes()), Ok((text.len(), true)), "{text:?}");
            let (decoded, trailers, rest) = decode(pipelined.as_bytes()).expect("no fault");
            assert_eq!((&decoded[..], trailers.len()), (payload.as_bytes(), 0), "{text:?}");
            assert_eq!(&rest[..], b"GET / HTTP/1.1\r\n");
        }
    }

    #[test]
    fn white_space_at_the_end_of_a_size_is_passed_over_in_responses_and_refused_in_requests() {
        for text in [
            "5 \r\nhello\r\n0\r\n\r\n",
            "5\t\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0 \t\r\n\r\n",
            "5;a \r\nhello\r\n0\r\n\r\n",
            "5;a=b\t\r\nhello\r\n0\r\n\r\n",
            "5 ; a = \"d e\" \r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(&decode(text.as_bytes()).expect("no fault").0[..], b"hello", "{text:?}");
            assert_eq!(scan(text.as_bytes()), Err(ChunkFault::TrailingSpace), "{text:?}");
            assert_eq!(scan(format!("1\r\nx\r\n{text}").as_bytes()), Err(ChunkFault::TrailingSpace), "{text:?}");
        }
        let no_line_end = b"5 \rhello\r\n0\r\n\r\n";
        assert_eq!(decode(no_line_end).err(), Some(ChunkFault::LineEnd));
        assert_eq!(scan(no_line_end), Err(ChunkFault::TrailingSpace));
    }

    #[test]
    fn ten_thousand_chunks_of_one_byte_are_one_piece() {
        let mut text = "1\r\nx\r\n".repeat(10_000).into_bytes();
        text.extend_from_slice(b"0\r\n\r\nGET");
        let mut buffer = BytesMut::from(&text[..]);
        let mut decoder = Decoder::response();
        let Ok(Decoded::Data(data)) = decoder.decode(&mut buffer) else { panic!("no data") };
        assert!(data.len() == 10_000 && data.iter().all(|&byte| byte == b'x'));
        assert_eq!(decoder.decode(&mut buffer), Ok(Decoded::Done));
        assert_eq!(&buffer[..], b"GET");
    }

    #[test]
    fn a_large_chunk_is_a_piece_of_its_own_and_not_copied() {
        let text = format!("2\r\nab\r\n1;x\r\nc\r\n1000\r\n{}\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n", "e".repeat(4096));
        let (mut buffer, mut decoder, mut pieces) = (BytesMut::from(&text[..]), Decoder::response(), Vec::new());
        let trailers = loop {
            match decoder.decode(&mut buffer).expect("no fault") {
                Decoded::Data(data) => pieces.push(data.len()),
                Decoded::Trailers(trailers) => break trailers,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((pieces, &trailers["a"]), (vec![3, 4097], &http::HeaderValue::from_static("b")));
    }

    #[test]
    fn what_came_before_a_broken_chunk_comes_before_the_fault() {
        let mut buffer = BytesMut::from("1\r\na\r\n1\r\nb\r\nx\r\n");
        let mut decoder = Decoder::response();
        assert_eq!(decoder.decode(&mut buffer), Ok(Decoded::Data(bytes::Bytes::from_static(b"ab"))));
        assert_eq!(decoder.decode(&mut buffer), Err(ChunkFault::Size));
        assert_eq!(decoder.decode(&mut buffer), Err(ChunkFault::Size), "for ever");
    }

    #[test]
    fn a_body_cut_short_is_never_done() {
        let text = b"5;x\r\nhello\r\n0\r\nA: b\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(scan(&text[..end]), Ok((end, false)));
        }
        assert!(scan(text).is_ok_and(|(_, done)| done));
    }

    #[test]
    fn a_decoder_that_is_done_takes_nothing_more() {
        let (mut buffer, mut decoder) = (BytesMut::from("0\r\n\r\n5\r\n"), Decoder::request());
        for _ in 0..2 {
            assert_eq!(decoder.decode(&mut buffer), Ok(Decoded::Done));
            assert_eq!(&buffer[..], b"5\r\n");
        }
    }

    #[test]
    fn extensions_are_bounded_over_the_whole_body() {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(MAX_EXTENSIONS / 2));
        assert!(scan(chunk.repeat(2).as_bytes()).is_ok());
        let third = format!("{}1;e", chunk.repeat(2));
        assert_eq!(scan(third.as_bytes()), Err(ChunkFault::ExtensionsTooLarge));
        let padded = format!("1{}\r\n", " ".repeat(MAX_EXTENSIONS + 1));
        assert_eq!(scan(padded.as_bytes()), Err(ChunkFault::ExtensionsTooLarge));
    }

    #[test]
    fn trailers_are_bounded_in_bytes_and_number() {
        let section = |count: usize| format!("0\r\n{}\r\n", "a:b\r\n".repeat(count));
        assert!(scan(section(MAX_TRAILER_FIELDS).as_bytes()).is_ok_and(|(_, done)| done));
        let (_, trailers, _) = decode(section(MAX_TRAILER_FIELDS).as_bytes()).expect("no fault");
        assert_eq!(trailers.len(), MAX_TRAILER_FIELDS);
        let too_many = section(MAX_TRAILER_FIELDS + 1);
        assert_eq!(scan(too_many.as_bytes()), Err(ChunkFault::TrailersTooLarge));
        let value = |len: usize| format!("0\r\na:{}\r\n\r\n", "b".repeat(len - 6));
        assert!(scan(value(MAX_TRAILERS).as_bytes()).is_ok_and(|(_, done)| done));
        assert_eq!(scan(value(MAX_TRAILERS + 1).as_bytes()), Err(ChunkFault::TrailersTooLarge));
    }

    #[test]
    fn trailers_that_frame_or_route_are_refused_in_requests_and_dropped_in_responses() {
        for name in ["Content-Length", "transfer-encoding", "Host"] {
            let text = format!("0\r\nX-Sum: 1\r\n{name}: 5\r\n\r\n");
            assert_eq!(scan(text.as_bytes()), Err(ChunkFault::ForbiddenTrailer), "{name}");
            let (_, trailers, _) = decode(text.as_bytes()).expect("no fault");
            assert!(trailers.len() == 1 && trailers["x-sum"] == "1", "{name}");
        }
        let (_, trailers, _) =
            decode(b"0\r\nConnection: x\r\nX-Forwarded-For: a\r\nCookie: b\r\n\r\n").expect("no fault");
        assert!(trailers.is_empty());
    }
}

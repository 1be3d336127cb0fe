//! However a message is cut into pieces, it means the same; and what is let through means the same to others.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::chunked::{ChunkFault, Decoded, Decoder};
use super::encode;
use super::lines::Lines;
use super::request::{HeadLimits, HeadSearch, Refusal, RequestHead, check};
use super::response::{Asked, ResponseFault, ResponseHead, ResponseSearch};
use crate::message::framing::Known;

const LIMITS: HeadLimits = HeadLimits { max_head: 300, max_target: 24, max_fields: 6 };

/// Messages put together from likely parts, then damaged in a few places.
fn messages(starts: &'static [&'static str], parts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<Index>(), 0..4_u8, select(b"\r\n\t \0:;,/#5ax\x7f\x80".as_slice()));
    (select(starts), vec(select(parts), 0..8), vec(damage, 0..3)).prop_map(|(start, parts, damages)| {
        let mut message = format!("{start}{}\r\nrest\r\n", parts.concat()).into_bytes();
        for (at, kind, byte) in damages {
            let at = at.index(message.len());
            match kind {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                2 => drop(message.remove(at)),
                _ => message.truncate(at.max(1)),
            }
        }
        message
    })
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    messages(
        &[
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET /%41?b=\"c\" HTTP/1.0\r\n",
            "POST http://b:80/c HTTP/1.1\r\nHost: a.example:8080\r\n",
            "\r\nOPTIONS * HTTP/1.1\r\nhost: [::1]\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n",
            "GET /0123456789/0123456789/ HTTP/1.1\r\nHost: a\r\n",
        ],
        &[
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding:\tgzip\r\n",
            "Connection: upgrade, close\r\n",
            "Upgrade: websocket\r\n",
            "Expect: 100-continue\r\n",
            "TE: trailers\r\n",
            "Host: b\r\n",
            "X-Long: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n",
            "A:\r\n",
        ],
    )
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    messages(
        &["HTTP/1.1 200 OK\r\n", "HTTP/1.0 304\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: a\r\n", "HTTP/1.1 204 \r\n"],
        &[
            "Content-Length: 5\r\n",
            "Content-Length: 5, 05\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: keep-alive, x-a\r\n",
            "Keep-Alive: timeout=5\r\n",
            "Trailer: x-b\r\n",
            "X-A: 1\r\n",
            "X-B \t: 1\n",
            "Content-Length : 5\n",
            "Set-Cookie: a=b\r\n",
        ],
    )
}

fn chunked_bodies() -> impl Strategy<Value = Vec<u8>> {
    messages(
        &["", "5\r\nhello\r\n", "a;x=\"y\"\r\n0123456789\r\n"],
        &["1\r\n!\r\n", "0010\r\n0123456789abcdef\r\n", "0\r\n", "0\r\nX-Sum: 1\r\n", "\r\n", "Content-Length: 1\r\n"],
    )
}

/// Cuts `message` at the given places; the last piece ends with it.
fn ends(message: &[u8], cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
    ends.push(message.len());
    ends.sort_unstable();
    ends
}

fn check_in_pieces(message: &[u8], ends: &[usize]) -> Result<Option<RequestHead>, Refusal> {
    let mut search = HeadSearch::new();
    for &end in ends {
        if let Some(head) = search.look(&message[..end], &LIMITS)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// The head and what stays in the buffer, with all that comes after it.
fn parse_in_pieces(
    message: &[u8],
    ends: &[usize],
    asked: Asked,
) -> Result<(Option<Box<ResponseHead>>, Vec<u8>), ResponseFault> {
    let (mut search, mut buffer, mut start) = (ResponseSearch::new(), BytesMut::new(), 0);
    for &end in ends {
        buffer.extend_from_slice(&message[start..end]);
        start = end;
        if let Some(head) = search.look(&mut buffer, asked, LIMITS.max_head)? {
            buffer.extend_from_slice(&message[end..]);
            return Ok((Some(head), buffer.to_vec()));
        }
    }
    Ok((None, buffer.to_vec()))
}

#[derive(Debug, Default, PartialEq)]
struct Body {
    payload: Vec<u8>,
    trailers: HeaderMap,
    rest: Vec<u8>,
    done: bool,
}

fn decode_in_pieces(mut decoder: Decoder, message: &[u8], ends: &[usize]) -> Result<Body, ChunkFault> {
    let (mut buffer, mut start, mut body) = (BytesMut::new(), 0, Body::default());
    for &end in ends {
        buffer.extend_from_slice(&message[start..end]);
        start = end;
        while !body.done {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(data) => body.payload.extend_from_slice(&data),
                Decoded::Trailers(trailers) => body.trailers = trailers,
                Decoded::NeedMore => break,
                Decoded::Done => body.done = true,
            }
        }
    }
    body.rest = buffer.to_vec();
    Ok(body)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_request_head_means_the_same_in_pieces(message in requests(), cuts in vec(any::<Index>(), 0..5)) {
        let whole = check(&message, &LIMITS);
        prop_assert_eq!(check_in_pieces(&message, &ends(&message, &cuts)), whole);
        let single: Vec<usize> = (0..=message.len()).collect();
        prop_assert_eq!(check_in_pieces(&message, &single), whole);
        prop_assert_ne!(whole, Err(Refusal::Malformed), "the short way and the walk disagree");
    }

    #[test]
    fn a_request_that_passes_is_one_for_another_parser_too(message in requests()) {
        let Ok(Some(head)) = check(&message, &LIMITS) else { return Ok(()) };
        let mut table = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut table);
        let parsed = request.parse(&message);
        if parsed == Err(httparse::Error::Version) {
            return Ok(()); // a later minor version, which httparse does not know
        }
        prop_assert_eq!(parsed, Ok(httparse::Status::Complete(head.len)));
        prop_assert!(http::Method::from_bytes(request.method.unwrap_or_default().as_bytes()).is_ok());
        for field in request.headers.iter() {
            prop_assert!(HeaderName::from_bytes(field.name.as_bytes()).is_ok());
            prop_assert!(HeaderValue::from_bytes(field.value).is_ok());
        }
    }

    #[test]
    fn a_response_head_means_the_same_in_pieces(
        message in responses(),
        cuts in vec(any::<Index>(), 0..5),
        head: bool,
        upgrade: bool,
        lenient: bool,
    ) {
        let asked = Asked { head, upgrade, lenient };
        let whole = format!("{:?}", parse_in_pieces(&message, &[message.len()], asked));
        let cut = ends(&message, &cuts);
        prop_assert_eq!(&format!("{:?}", parse_in_pieces(&message, &cut, asked)), &whole);
        let single: Vec<usize> = (0..=message.len()).collect();
        prop_assert_eq!(&format!("{:?}", parse_in_pieces(&message, &single, asked)), &whole);
    }

    #[test]
    fn a_response_that_passes_has_no_hop_by_hop_field(message in responses(), upgrade: bool, lenient: bool) {
        let asked = Asked { head: false, upgrade, lenient };
        if let Ok((Some(head), _)) = parse_in_pieces(&message, &[message.len()], asked) {
            let mut lines = Lines::new(&head.fields);
            while let Some(Some(line)) = lines.field() {
                let known = Known::of(line.name);
                let may_stay = (head.upgraded || head.demands_upgrade) && known == Known::Upgrade;
                prop_assert!(may_stay || !known.is_hop_by_hop(), "{:?}", head);
            }
            prop_assert_eq!(lines.len(), head.fields.len(), "nothing but lines: {:?}", head);
        }
    }

    #[test]
    fn a_lenient_pool_takes_what_a_strict_one_takes_and_as_that(message in responses(), cuts in vec(any::<Index>(), 0..5)) {
        let cuts = ends(&message, &cuts);
        let strict = parse_in_pieces(&message, &cuts, Asked::default());
        let lenient = parse_in_pieces(&message, &cuts, Asked { lenient: true, ..Asked::default() });
        if matches!(strict, Ok((Some(_), _))) {
            prop_assert_eq!(format!("{lenient:?}"), format!("{strict:?}"));
        }
        if let Ok((Some(head), _)) = lenient {
            let fields = [b"HTTP/1.1 200 OK\r\n", &head.fields[..], b"\r\n"].concat();
            let again = parse_in_pieces(&fields, &[fields.len()], Asked::default());
            prop_assert!(matches!(again, Ok((Some(_), _))), "what goes on is in the right form: {:?}", head);
        }
    }

    #[test]
    fn a_chunked_body_means_the_same_in_pieces(message in chunked_bodies(), cuts in vec(any::<Index>(), 0..5)) {
        let (whole, cut) = ([message.len()], ends(&message, &cuts));
        let request = decode_in_pieces(Decoder::request(), &message, &whole);
        prop_assert_eq!(&decode_in_pieces(Decoder::request(), &message, &cut), &request);
        let response = decode_in_pieces(Decoder::response(), &message, &whole);
        prop_assert_eq!(&decode_in_pieces(Decoder::response(), &message, &cut), &response);
        if request != response {
            prop_assert!(matches!(request, Err(ChunkFault::ForbiddenTrailer | ChunkFault::TrailingSpace)));
        }
    }

    #[test]
    fn what_is_encoded_in_chunks_is_decoded_again(
        chunks in vec(vec(any::<u8>(), 1..600), 0..6),
        sums in vec("[!-~]{0,20}", 0..4),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let mut trailers = HeaderMap::new();
        for sum in &sums {
            trailers.append("x-sum", HeaderValue::from_str(sum).expect("visible"));
        }
        let mut message = Vec::new();
        for chunk in &chunks {
            encode::chunk_head(&mut message, chunk.len());
            message.extend_from_slice(chunk);
            message.extend_from_slice(encode::CHUNK_END);
        }
        encode::end_of_chunks(&mut message, &trailers);
        let expected = Body { payload: chunks.concat(), trailers, rest: Vec::new(), done: true };
        prop_assert_eq!(decode_in_pieces(Decoder::response(), &message, &ends(&message, &cuts)), Ok(expected));
    }
}

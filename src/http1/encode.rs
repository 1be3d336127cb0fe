//! Writes the parts of a message: request line, fields, chunks. What goes in is already checked by its types.

use bytes::BufMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use super::request::{Framing, RequestHead};

/// Ends a head, or a trailer section.
pub const END: &[u8] = b"\r\n";
/// Comes after the payload of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The last chunk; trailers and [`END`] follow.
pub const LAST_CHUNK: &[u8] = b"0\r\n";
/// The last chunk of a body without trailers.
pub const END_OF_CHUNKS: &[u8] = b"0\r\n\r\n";

/// `METHOD target HTTP/1.1`. The target is in origin-form, or `*`; an empty path becomes `/`.
pub fn request_line(out: &mut impl BufMut, method: &[u8], target: &[u8]) {
    out.put_slice(method);
    out.put_slice(if matches!(target.first(), None | Some(b'?')) { b" /" } else { b" " });
    out.put_slice(target);
    out.put_slice(b" HTTP/1.1\r\n");
}

/// Longest [`digest`], in bytes.
pub const LONGEST_DIGEST: usize = 160;

/// What hyper has to know of a request, as a head: whether it is `HEAD`, the framing, and what becomes of the connection.
pub fn digest(out: &mut impl BufMut, head: &RequestHead) {
    let is_old = head.version == Version::HTTP_10;
    out.put_slice(if head.method.head { b"HEAD / HTTP/1." } else { b"GET / HTTP/1." });
    out.put_slice(if is_old { b"0\r\n" } else { b"1\r\n" });
    if head.keep_alive == is_old {
        out.put_slice(if is_old { b"connection: keep-alive\r\n" } else { b"connection: close\r\n" });
    }
    match head.framing {
        Framing::None | Framing::Length(0) => {}
        Framing::Length(length) => content_length(out, length),
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
    }
    if head.expects_continue {
        out.put_slice(b"expect: 100-continue\r\n");
    }
    if head.te_trailers {
        out.put_slice(b"te: trailers\r\n"); // or hyper sends the client none
    }
    out.put_slice(END);
}

/// `HTTP/1.1 status reason`.
pub fn status_line(out: &mut impl BufMut, status: StatusCode) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// One field.
pub fn field(out: &mut impl BufMut, name: &HeaderName, value: &HeaderValue) {
    raw_field(out, name.as_str(), value.as_bytes());
}

/// One field, of parts that the caller knows to be a token and a field value.
pub fn raw_field(out: &mut impl BufMut, name: &str, value: &[u8]) {
    bytes_field(out, name.as_bytes(), value);
}

/// The same, of a name in any case.
pub fn bytes_field(out: &mut impl BufMut, name: &[u8], value: &[u8]) {
    debug_assert!(super::fields::is_token(name) && super::fields::is_field_value(value));
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Every field of `headers`, repeated ones each on a line.
pub fn fields(out: &mut impl BufMut, headers: &HeaderMap) {
    for (name, value) in headers {
        field(out, name, value);
    }
}

/// `content-length: length`.
pub fn content_length(out: &mut impl BufMut, length: u64) {
    raw_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
}

/// Writes the size of a chunk into a head of eight digits and CRLF, which has its place already.
pub fn fixed_chunk_head(out: &mut [u8], len: usize) {
    let digits = out.iter_mut().take(8).rev();
    for (place, digit) in digits.enumerate() {
        *digit = b"0123456789abcdef"[(len >> (4 * place)) & 15];
    }
}

/// The line before the payload of a chunk. `length` is not 0: that would end the body.
pub fn chunk_head(out: &mut impl BufMut, length: usize) {
    debug_assert!(length > 0, "an empty chunk ends the body");
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    const MOST: usize = usize::BITS as usize / 4;
    let mut line = [0; MOST + 2];
    line[MOST..].copy_from_slice(b"\r\n");
    let mut start = MOST;
    let mut rest = length;
    while start == MOST || rest > 0 {
        start -= 1;
        line[start] = DIGITS[rest % 16];
        rest /= 16;
    }
    out.put_slice(&line[start..]);
}

/// The end of a chunked body with its trailers.
pub fn end_of_chunks(out: &mut impl BufMut, trailers: &HeaderMap) {
    out.put_slice(LAST_CHUNK);
    fields(out, trailers);
    out.put_slice(END);
}

#[cfg(test)]
mod tests {
    use super::super::request::{Limits, check};
    use super::*;

    #[test]
    fn a_head_is_written_line_by_line() {
        let mut headers = HeaderMap::new();
        headers.append("host", HeaderValue::from_static("a"));
        headers.append("x", HeaderValue::from_static("1"));
        headers.append("x", HeaderValue::from_static(""));
        let mut out = Vec::new();
        request_line(&mut out, b"POST", b"/p?q");
        fields(&mut out, &headers);
        content_length(&mut out, u64::MAX);
        out.put_slice(END);
        let text = "POST /p?q HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: \r\ncontent-length: 18446744073709551615\r\n\r\n";
        assert_eq!(String::from_utf8(out).expect("text"), text);
    }

    #[test]
    fn a_digest_says_what_frames_a_request_and_what_becomes_of_its_connection() {
        const LIMITS: Limits = Limits { max_head: 1024, max_target: 64, max_fields: 8 };
        for (sent, told) in [
            ("PUT /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n", "GET / HTTP/1.1\r\n"),
            ("HEAD http://a HTTP/1.1\r\nHost: a\r\n", "HEAD / HTTP/1.1\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: a, Close\r\n", "GET / HTTP/1.1\r\nconnection: close\r\n"),
            ("GET / HTTP/1.0\r\n", "GET / HTTP/1.0\r\n"),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", "GET / HTTP/1.0\r\nconnection: keep-alive\r\n"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n", "GET / HTTP/1.1\r\ncontent-length: 5\r\n"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n", "GET / HTTP/1.1\r\n"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\nTE: trailers\r\n",
                "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\nte: trailers\r\n",
            ),
        ] {
            let head = check(format!("{sent}\r\n").as_bytes(), &LIMITS).expect("no fault").expect("whole");
            let mut out = Vec::new();
            digest(&mut out, &head);
            assert_eq!(String::from_utf8_lossy(&out), format!("{told}\r\n"), "{sent:?}");
        }
    }

    #[test]
    fn no_digest_is_longer_than_the_longest() {
        let head = "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9223372036854775807\r\n\
                    Expect: 100-continue\r\nTE: trailers\r\n\r\n";
        let limits = Limits { max_head: 1024, max_target: 64, max_fields: 8 };
        let head = check(head.as_bytes(), &limits).expect("no fault").expect("whole");
        let mut out = Vec::new();
        digest(&mut out, &head);
        assert!(out.len() + "keep-alive".len() <= LONGEST_DIGEST, "{}", out.len());
    }

    #[test]
    fn a_status_line_has_its_space_even_without_a_reason() {
        let mut out = Vec::new();
        status_line(&mut out, StatusCode::NOT_FOUND);
        status_line(&mut out, StatusCode::from_u16(999).expect("status"));
        assert_eq!(out, b"HTTP/1.1 404 Not Found\r\nHTTP/1.1 999 \r\n");
    }

    #[test]
    fn chunk_sizes_are_hex_without_leading_zeros() {
        for (length, line) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xab_cdef, "abcdef\r\n")] {
            let mut out = Vec::new();
            chunk_head(&mut out, length);
            assert_eq!(out, line.as_bytes());
        }
        let mut out = Vec::new();
        chunk_head(&mut out, usize::MAX);
        assert_eq!(out, b"ffffffffffffffff\r\n");
    }
}

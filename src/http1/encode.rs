//! Writes the parts of a message: request line, fields, chunks. What goes in is already checked by its types.

use bytes::BufMut;
use http::StatusCode;

use crate::message::lines::write_field;
use http::header::{HeaderMap, HeaderName, HeaderValue};

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

/// How every head of a response begins.
pub const VERSION: &[u8] = b"HTTP/1.1 ";

/// `HTTP/1.1 status reason`; without a reason, the one that is registered for the status.
pub fn status_line(out: &mut impl BufMut, status: StatusCode, reason: Option<&[u8]>) {
    if status == StatusCode::OK && reason.is_none() {
        return out.put_slice(b"HTTP/1.1 200 OK\r\n"); // most of them
    }
    out.put_slice(VERSION);
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(reason.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().as_bytes()));
    out.put_slice(b"\r\n");
}

/// One field.
pub fn field(out: &mut impl BufMut, name: &HeaderName, value: &HeaderValue) {
    raw_field(out, name.as_str(), value.as_bytes());
}

/// One field, of parts that the caller knows to be a token and a field value.
pub fn raw_field(out: &mut impl BufMut, name: &str, value: &[u8]) {
    write_field(out, name.as_bytes(), value);
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
    fn a_status_line_has_its_space_even_without_a_reason() {
        let mut out = Vec::new();
        status_line(&mut out, StatusCode::NOT_FOUND, None);
        status_line(&mut out, StatusCode::from_u16(999).expect("status"), None);
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

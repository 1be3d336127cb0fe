//! Writing heads and chunks without a formatter.

/// Writes `METHOD TARGET HTTP/1.1` and the end of the line.
pub fn request_line(out: &mut Vec<u8>, method: &str, target: &str) {
    for part in [method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Writes one field line.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Writes the line that begins a chunk of `length` bytes.
pub fn chunk_head(out: &mut Vec<u8>, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let places = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..places).rev().map(|place| DIGITS[length >> (4 * place) & 15]));
    out.extend_from_slice(b"\r\n");
}

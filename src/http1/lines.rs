//! The lines of a response head that came whole, cut in one go.
//!
//! This is the short way beside [`Walk`](super::head::Walk), which takes the same grammar byte by byte. What is not
//! whole or not right is left to the walk, which says why.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version};

use crate::sys;

/// What cuts the lines off the bytes of a head.
pub(super) struct Lines<'h> {
    bytes: &'h Bytes,
    /// Bytes cut.
    at: usize,
}

/// One field.
pub(super) struct Line<'h> {
    /// What stands before the colon; the caller sees whether it is a name.
    pub name: &'h [u8],
    /// Without the white space around it.
    pub value: HeaderValue,
}

impl<'h> Lines<'h> {
    pub(super) fn new(bytes: &'h Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes of the lines cut so far.
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// `HTTP/1.x`, a status, and perhaps a reason.
    pub(super) fn status_line(&mut self) -> Option<(Version, StatusCode)> {
        let (start, rest) = self.bytes.split_first_chunk::<12>()?;
        let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', status @ ..] = start else {
            return None;
        };
        let version = match minor {
            b'0' => Version::HTTP_10,
            b'1' => Version::HTTP_11,
            _ => return None,
        };
        let reason = match rest.first()? {
            b' ' => 1 + sys::field_value_len(&rest[1..]),
            _ => 0,
        };
        self.end_line(start.len() + reason)?;
        Some((version, StatusCode::from_bytes(status).ok()?))
    }

    /// The next field; `Some(None)` after the last one, once the empty line is cut too.
    #[inline]
    pub(super) fn field(&mut self) -> Option<Option<Line<'h>>> {
        let rest = &self.bytes[self.at..];
        if *rest.first()? == b'\r' {
            return self.end_line(0).map(|()| None);
        }
        let name = &rest[..rest.iter().position(|byte| *byte == b':')?];
        let (value, end) = sys::field_value_at(self.bytes, self.at + name.len() + 1);
        self.end_line(end - self.at)?;
        Some(Some(Line { name, value }))
    }

    /// Cuts a line of `len` bytes with the CRLF that must follow.
    fn end_line(&mut self, len: usize) -> Option<()> {
        let end = self.at + len;
        let is_ended = self.bytes.get(end..end + 2)? == b"\r\n";
        self.at = end + 2;
        is_ended.then_some(())
    }
}

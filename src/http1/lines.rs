//! The lines of a head that came whole, cut in one go.
//!
//! This is the short way beside [`Walk`](super::head::Walk), which takes the same grammar byte by byte. What is not
//! whole or not right is left to the walk, which says why.

use std::ops::Range;

use http::{StatusCode, Version};

use super::target;
use crate::message::fields;
use crate::message::lines::Line;

/// What cuts the lines off the bytes of a head.
pub(super) struct Lines<'h> {
    bytes: &'h [u8],
    /// Bytes cut.
    at: usize,
}

/// The first line of a request, of well-formed parts.
pub(super) struct RequestLine {
    pub method: Range<usize>,
    pub target: Range<usize>,
    pub version: Version,
}

impl<'h> Lines<'h> {
    pub(super) fn new(bytes: &'h [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes of the lines cut so far.
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// Method, target and `HTTP/1.x`, of any length; an empty line may lead.
    pub(super) fn request_line(&mut self) -> Option<RequestLine> {
        let start = if self.bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let method = start..start + fields::token_len(&self.bytes[start..]);
        let rest = self.bytes.get(method.end + 1..)?;
        let target = method.end + 1..method.end + 1 + target::len(rest);
        if method.is_empty() || target.is_empty() || self.bytes[method.end] != b' ' {
            return None;
        }
        let [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] = self.bytes[target.end..].first_chunk::<9>()?
        else {
            return None;
        };
        let version = match minor {
            b'2'..=b'9' => Version::HTTP_11, // as the highest that is known (RFC 9110 §2.5)
            minor => version(*minor)?,
        };
        self.at = target.end + 9;
        self.end_line(0)?;
        Some(RequestLine { method, target, version })
    }

    /// `HTTP/1.x`, a status, and the reason, which may be empty.
    pub(super) fn status_line(&mut self) -> Option<(Version, StatusCode, &'h [u8])> {
        let (start, rest) = self.bytes.split_first_chunk::<12>()?;
        let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', status @ ..] = start else {
            return None;
        };
        let version = version(*minor)?;
        let (space, reason) = match rest.split_first()? {
            (b' ', rest) => (1, &rest[..fields::value_len(rest)]),
            _ => (0, &rest[..0]),
        };
        self.end_line(start.len() + space + reason.len())?;
        Some((version, StatusCode::from_bytes(status).ok()?, reason))
    }

    /// The next field; `Some(None)` after the last one, once the empty line is cut too.
    #[inline(always)] // a line has many parts, and goes through memory otherwise
    pub(super) fn field(&mut self) -> Option<Option<Line<'h>>> {
        let (start, rest) = (self.at, &self.bytes[self.at..]);
        if *rest.first()? == b'\r' {
            return self.end_line(0).map(|()| None);
        }
        let (len, has_underscore) = fields::name_len(rest);
        if len == 0 || *rest.get(len)? != b':' {
            return None;
        }
        let (name, rest) = (&rest[..len], &rest[len + 1..]);
        let padded = &rest[..fields::value_len(rest)];
        self.end_line(len + 1 + padded.len())?;
        let place = start..self.at;
        let plain = match padded {
            [b' ', value @ ..] => Some(value).filter(|value| !is_padded(value)),
            _ => None,
        };
        let value = plain.unwrap_or_else(|| fields::trim(padded));
        Some(Some(Line { name, value, padded, place, is_plain: plain.is_some(), has_underscore }))
    }

    /// Cuts a line of `len` bytes with the CRLF that must follow.
    fn end_line(&mut self, len: usize) -> Option<()> {
        let end = self.at + len;
        let is_ended = self.bytes.get(end..end + 2)? == b"\r\n";
        self.at = end + 2;
        is_ended.then_some(())
    }
}

fn version(minor: u8) -> Option<Version> {
    match minor {
        b'0' => Some(Version::HTTP_10),
        b'1' => Some(Version::HTTP_11),
        _ => None,
    }
}

/// Whether white space stands at either end.
fn is_padded(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<Line<'_>> {
        Lines::new(text.as_bytes()).field()?
    }

    #[test]
    fn a_value_is_cut_out_of_its_line_without_its_white_space() {
        for (text, value, is_plain) in [
            ("a: b\r\n", "b", true),
            ("a: b c\r\n", "b c", true),
            ("a: \r\n", "", true),
            ("a:\r\n", "", false),
            ("a:b\r\n", "b", false),
            ("a:\tb\r\n", "b", false),
            ("a:  b\r\n", "b", false),
            ("a: b \t\r\n", "b", false),
            ("a:\t \r\n", "", false),
        ] {
            let line = line(text).unwrap_or_else(|| panic!("no line: {text:?}"));
            assert_eq!((line.name, line.value, line.is_plain), (&b"a"[..], value.as_bytes(), is_plain), "{text:?}");
            assert_eq!(line.place, 0..text.len());
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in ["a: b\n", "a: b\rc\r\n", "a: b", "a b: c\r\n", ": b\r\n", "a\r\n", "", "a: \0\r\n", "a : b\r\n"] {
            assert!(line(text).is_none(), "{text:?}");
        }
        assert!(line("a_b: c\r\n").is_some_and(|line| line.has_underscore));
        assert!(line("a-b: c_d\r\n").is_some_and(|line| !line.has_underscore));
    }
}

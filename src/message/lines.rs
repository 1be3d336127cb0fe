//! Fields as lines, each with its CRLF: that is how a head is held, whatever it came over, so that what only passes through
//! is copied once.

use std::ops::Range;

use super::fields;

/// One field, cut out of its line.
pub(crate) struct Line<'h> {
    pub name: &'h [u8],
    /// Without the white space around it.
    pub value: &'h [u8],
    /// With it.
    pub padded: &'h [u8],
    /// Where it stands, its CRLF included.
    pub place: Range<usize>,
    /// Between the colon and the value stands one space, and none after it: the line can go on as it is.
    pub is_plain: bool,
    /// The name holds a `_`.
    pub has_underscore: bool,
}

/// Copies lines of a head, those that stand next to each other in one go.
pub(crate) struct Copying<'h> {
    head: &'h [u8],
    /// Lines that are to be copied and are not yet.
    run: Range<usize>,
}

impl<'h> Copying<'h> {
    pub(crate) fn new(head: &'h [u8]) -> Self {
        Self { head, run: 0..0 }
    }

    /// Copies the line at `place`, perhaps not before the next call.
    #[inline]
    pub(crate) fn copy(&mut self, out: &mut Vec<u8>, place: Range<usize>) {
        if self.run.end != place.start {
            self.finish(out);
            self.run.start = place.start;
        }
        self.run.end = place.end;
    }

    /// Copies what is left.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head[self.run.clone()]);
        self.run = 0..0;
    }
}

/// Writes one field, of parts that the caller knows to be a token and a field value.
pub fn write_field(out: &mut impl bytes::BufMut, name: &[u8], value: &[u8]) {
    debug_assert!(fields::is_token(name) && fields::is_field_value(value));
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_side_by_side_are_copied_together() {
        let (head, mut out) = (b"0123456789", Vec::new());
        let mut copying = Copying::new(head);
        for place in [1..3, 3..4, 6..8, 8..10] {
            copying.copy(&mut out, place);
        }
        assert_eq!(out, b"123", "the last run may grow");
        copying.finish(&mut out);
        copying.finish(&mut out);
        assert_eq!(out, b"1236789");
    }
}

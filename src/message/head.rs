//! The head of a request that was found right, as it came: its bytes, and where its parts stand in them.
//!
//! The connection of the client makes it of each head that it lets through, and the exchange takes the fields from here.

use std::ops::Range;

use super::fields;
use super::framing::Known;
use super::lines::{Copying, Line, write_field};
use super::target;

/// A request head as it came.
#[derive(Debug, Default)]
pub struct RawHead {
    bytes: Vec<u8>,
    table: Table,
}

/// One field of it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'h> {
    /// As it came, in any case.
    pub name: &'h [u8],
    /// Without the white space around it.
    pub value: &'h [u8],
    /// What it means to a proxy.
    known: Known,
    has_underscore: bool,
}

/// A field that frames or routes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Expect`.
    Expect,
}

/// Where the parts of a head stand.
#[derive(Debug, Default)]
pub(crate) struct Table {
    method: Range<u32>,
    target: Range<u32>,
    fields: Vec<Place>,
}

/// Where one field stands: heads are far below 4 GiB, and no longer name is let through.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    /// Behind its CRLF.
    end: u32,
    name: u16,
    known: Known,
    is_plain: bool,
    has_underscore: bool,
}

impl RawHead {
    /// A head of which no more than this target is known.
    #[must_use]
    pub fn of_target(target: &str) -> Self {
        let table = Table { target: narrow(&(0..target.len())), ..Table::default() };
        Self { bytes: target.into(), table }
    }

    /// The head that `table` is of.
    pub(crate) fn new(head: &[u8], table: Table) -> Self {
        Self { bytes: head.to_vec(), table }
    }

    /// All of it, as it came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        &self.bytes[wide(&self.table.method)]
    }

    /// The host that the target names, in absolute-form; as it came, with a port, in any case.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        target::split(self.target()).0
    }

    /// The path and the query, or `*`. Without a path it is what follows the host: a query, or nothing.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        target::split(self.target()).1
    }

    fn target(&self) -> &[u8] {
        &self.bytes[wide(&self.table.target)]
    }

    /// What the `Host` field says.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.known(Known::Host).next()
    }

    /// The values of every `Upgrade` field.
    pub fn upgrades(&self) -> impl Iterator<Item = &[u8]> {
        self.known(Known::Upgrade)
    }

    /// The values of every `Connection` field.
    pub fn connections(&self) -> impl Iterator<Item = &[u8]> {
        self.known(Known::Connection)
    }

    fn known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.table.fields.iter().filter(move |place| place.known == known).map(|place| place.field(&self.bytes).value)
    }

    /// The values of every field of this name, which is in lower case.
    pub fn values<const N: usize>(&self, name: &'static [u8; N]) -> impl Iterator<Item = &[u8]> {
        self.fields().filter(|field| field.is(name)).map(|field| field.value)
    }

    /// Every field, in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.table.fields.iter().map(|place| place.field(&self.bytes))
    }

    /// Writes the fields that `goes_on` says, in the order in which they came.
    pub fn write_fields(&self, out: &mut Vec<u8>, mut goes_on: impl FnMut(&Field<'_>) -> bool) {
        let mut copying = Copying::new(&self.bytes);
        for place in &self.table.fields {
            let field = place.field(&self.bytes);
            if !goes_on(&field) {
                continue;
            }
            if place.is_plain {
                copying.copy(out, wide(&(place.start..place.end)));
            } else {
                copying.finish(out);
                write_field(out, field.name, field.value);
            }
        }
        copying.finish(out);
    }
}

impl Field<'_> {
    /// Whether this is its name, which is in lower case.
    #[must_use]
    pub fn is<const N: usize>(&self, name: &'static [u8; N]) -> bool {
        fields::is(self.name, name)
    }

    /// Whether the field is for one connection only, whatever `Connection` says (RFC 9110 §7.6.1).
    #[must_use]
    pub fn is_hop_by_hop(&self) -> bool {
        self.known.is_hop_by_hop()
    }

    /// Whether it is one of those that frame and route the request, which go on only as they were understood.
    #[must_use]
    pub fn frames(&self) -> Option<Frames> {
        match self.known {
            Known::Host => Some(Frames::Host),
            Known::ContentLength => Some(Frames::ContentLength),
            Known::Expect => Some(Frames::Expect),
            _ => None,
        }
    }

    /// Whether the name stands for a trusted or framing field to servers that turn `_` into `-`.
    #[must_use]
    pub fn is_underscore_twin(&self) -> bool {
        self.has_underscore && fields::underscore_twin(self.name)
    }
}

impl Table {
    /// Begins a head whose method and target stand there.
    pub(crate) fn begin(&mut self, method: &Range<usize>, target: &Range<usize>) {
        (self.method, self.target) = (narrow(method), narrow(target));
        self.fields.clear();
        if self.fields.capacity() == 0 {
            self.fields = Vec::with_capacity(FIELDS); // the way of `reserve` is longer
        }
    }

    pub(crate) fn push(&mut self, line: &Line<'_>, known: Known) {
        let Range { start, end } = narrow(&line.place);
        let (name, is_plain, has_underscore) = (line.name.len() as u16, line.is_plain, line.has_underscore);
        self.fields.push(Place { start, end, name, known, is_plain, has_underscore });
    }

    /// How many fields there are so far.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }
}

impl Place {
    #[inline]
    fn field<'h>(&self, head: &'h [u8]) -> Field<'h> {
        let line = &head[wide(&(self.start..self.end))];
        let (name, rest) = line.split_at(self.name.into());
        let value = &rest[1..rest.len() - 2];
        let value = if self.is_plain { &value[1..] } else { fields::trim(value) };
        Field { name, value, known: self.known, has_underscore: self.has_underscore }
    }
}

/// Fields that there is room for from the start: a browser sends about as many.
const FIELDS: usize = 16;

fn narrow(range: &Range<usize>) -> Range<u32> {
    range.start as u32..range.end as u32
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::request::{HeadLimits, HeadSearch};

    fn raw(text: &str) -> RawHead {
        let limits = HeadLimits { max_head: 1024, max_target: 64, max_fields: 16 };
        let mut search = HeadSearch::new();
        let head = search.look(text.as_bytes(), &limits).expect("no fault").expect("whole");
        search.take(&text.as_bytes()[..head.len])
    }

    #[test]
    fn the_parts_of_a_head_are_found_again() {
        let head = raw("\r\nGET /a?b HTTP/1.1\r\nHost:  c:80 \r\nX-A: 1\r\nx-a:\t2\r\nUpgrade: d\r\n\r\nbody");
        assert_eq!((head.method(), head.path(), head.authority()), (&b"GET"[..], &b"/a?b"[..], None));
        assert_eq!(head.host(), Some(&b"c:80"[..]));
        assert_eq!(head.values(b"x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.upgrades().collect::<Vec<_>>(), [b"d"]);
        assert_eq!(head.fields().count(), 4);
    }

    #[test]
    fn a_target_in_absolute_form_is_taken_apart() {
        for (target, host, path) in
            [("http://a.test:8080/b?c", "a.test:8080", "/b?c"), ("HTTPS://a?b/c", "a", "?b/c"), ("http://a", "a", "")]
        {
            let head = raw(&format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n"));
            assert_eq!((head.authority(), head.path()), (Some(host.as_bytes()), path.as_bytes()), "{target}");
        }
        let head = raw("OPTIONS * HTTP/1.1\r\nHost: other\r\n\r\n");
        assert_eq!((head.authority(), head.path()), (None, &b"*"[..]));
    }

    #[test]
    fn the_next_head_has_nothing_of_the_one_before() {
        let limits = HeadLimits { max_head: 1024, max_target: 64, max_fields: 16 };
        let mut search = HeadSearch::new();
        let refused = search.look(b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n", &limits);
        assert!(refused.is_err(), "no host");
        let text = b"GET /b HTTP/1.0\r\nX-B: 2\r\n\r\n";
        let head = search.look(text, &limits).expect("no fault").expect("whole");
        let head = search.take(&text[..head.len]);
        assert_eq!((head.fields().count(), head.values(b"x-b").count()), (1, 1));
    }

    #[test]
    fn fields_that_go_on_keep_their_order() {
        let head = raw("GET / HTTP/1.1\r\nHost: a\r\nB: 1\r\nc:2\r\nD: 3\r\nB: 4\r\n\r\n");
        let mut out = Vec::new();
        head.write_fields(&mut out, |field| !field.is(b"host") && !field.is(b"d"));
        assert_eq!(out, b"B: 1\r\nc: 2\r\nB: 4\r\n");
    }
}

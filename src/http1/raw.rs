//! The head of a request that was found right, as it came: its bytes, and where its parts stand in them.
//!
//! The gate makes it of each head that it lets through. hyper gets to see only what it has to know of the head; the
//! exchange takes the fields from here.

use std::ops::Range;

use super::encode;
use super::fields;
use super::framing::Known;
use super::lines::{Copying, Line, RequestLine};
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

/// Where the parts of a head stand.
#[derive(Debug, Default)]
pub(super) struct Table {
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
    pub(super) fn new(head: &[u8], table: Table) -> Self {
        Self { bytes: head.to_vec(), table }
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
                encode::bytes_field(out, field.name, field.value);
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

    /// Whether it is one of those that frame and route the request, which are written anew: `Host`, `Content-Length`,
    /// `Expect`.
    #[must_use]
    pub fn is_written_anew(&self) -> bool {
        matches!(self.known, Known::Host | Known::ContentLength | Known::Expect)
    }

    /// Whether the name stands for a trusted or framing field to servers that turn `_` into `-`.
    #[must_use]
    pub fn is_underscore_twin(&self) -> bool {
        self.has_underscore && fields::underscore_twin(self.name)
    }
}

impl Table {
    /// Begins a head that starts at `start` with this line.
    pub(super) fn begin(&mut self, line: &RequestLine) {
        (self.method, self.target) = (narrow(&line.method), narrow(&line.target));
        self.fields.clear();
        self.fields.reserve(FIELDS);
    }

    pub(super) fn push(&mut self, line: &Line<'_>, known: Known) {
        let Range { start, end } = narrow(&line.place);
        let (name, is_plain, has_underscore) = (line.name.len() as u16, line.is_plain, line.has_underscore);
        self.fields.push(Place { start, end, name, known, is_plain, has_underscore });
    }

    /// How many fields there are so far.
    pub(super) fn len(&self) -> usize {
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

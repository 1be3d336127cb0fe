//! Compression of fields in HTTP/2 (HPACK, RFC 7541), with state that is plain data: a connection that moves to another
//! process takes the table of its decoder along.
//!
//! No crate gives that state out: `hpack` and its forks keep the table private, `h2` does not show its own at all.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod static_table;
mod table;

pub use self::decoder::{HpackDecoder, Strings};
pub use self::encoder::HpackEncoder;
pub use self::table::DynamicTable;

/// A field block breaks the rules of RFC 7541.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field block is not well-formed")]
pub struct Malformed;

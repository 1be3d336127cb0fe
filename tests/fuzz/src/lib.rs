//! The modules under test, compiled from their sources.

#[path = "../../../src/http1/mod.rs"]
pub mod http1;
#[path = "../../../src/message/mod.rs"]
pub mod message;

/// Takes the first byte off `data` as a place to cut the rest at.
pub fn cut(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, message) = data.split_first()?;
    Some((usize::from(first) * message.len() / 255, message))
}

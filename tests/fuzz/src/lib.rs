//! What the targets have in common.

pub use segue::{http1, http2};

/// Takes the first byte off `data` as a place to cut the rest at.
pub fn cut(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, message) = data.split_first()?;
    Some((usize::from(first) * message.len() / 255, message))
}

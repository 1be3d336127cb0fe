//! The module under test, compiled from its sources: it builds in seconds.

#[path = "../../../src/http1/mod.rs"]
pub mod http1;

/// What the module uses of `sys`, the slow way: it shows at once when the quick way would let something through.
pub mod sys {
    use bytes::Bytes;
    use http::HeaderValue;

    /// `bytes` as a field value, if they may be one.
    pub fn field_value(bytes: Bytes) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(bytes).ok()
    }

    /// How many of the first bytes may stand in a field value.
    pub fn field_value_len(bytes: &[u8]) -> usize {
        let is_allowed = |byte: &&u8| **byte >= b' ' && **byte != 0x7f || **byte == b'\t';
        bytes.iter().take_while(is_allowed).count()
    }
}

/// Takes the first byte off `data` as a place to cut the rest at.
pub fn cut(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, message) = data.split_first()?;
    Some((usize::from(first) * message.len() / 255, message))
}

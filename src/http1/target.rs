//! The request target: which form, which bytes (RFC 9112 §3.2).

use super::refusal::Refusal;
use crate::message::target::{after_scheme, authority_len};
use crate::message::{authority, fields};

/// Longest target that `http::Uri` can hold, whatever the configured limit says.
pub(super) const LONGEST: usize = u16::MAX as usize - 1;

/// Checks the target of a request: origin-form, absolute-form of `http` and `https`, and `*` for `OPTIONS`. `CONNECT`
/// is refused: nothing here tunnels to where a client says.
pub(super) fn check(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    // the bytes first, because a head in pieces is refused for them before anything else is known
    if len(target) < target.len() {
        return Err(Refusal::Target);
    }
    if method == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    if target.first() == Some(&b'/') || target == b"*" && method == b"OPTIONS" {
        return Ok(());
    }
    let rest = after_scheme(target).ok_or(Refusal::TargetForm)?;
    authority::check(&rest[..authority_len(rest)]).map_err(Refusal::Host)
}

/// Whether a target that was found right asks for the server as a whole: `*`, or absolute-form without path and query,
/// which the last proxy turns into `*` (RFC 9112 §3.2.4).
pub(super) fn is_whole_server(method: &[u8], target: &[u8]) -> bool {
    let without_path = |rest: &[u8]| !rest.iter().any(|byte| matches!(byte, b'/' | b'?'));
    method == b"OPTIONS" && (target == b"*" || after_scheme(target).is_some_and(without_path))
}

/// How many of the first bytes may stand in a target.
pub(super) fn len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !fields::is_target_byte(byte)).unwrap_or(bytes.len())
}

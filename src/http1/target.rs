//! The request target: which form, which bytes (RFC 9112 §3.2).

use super::authority;
use super::refusal::Refusal;

/// Longest target that `http::Uri` can hold, whatever the configured limit says.
pub(super) const LONGEST: usize = u16::MAX as usize - 1;

/// Checks the target of a request: origin-form, absolute-form of `http` and `https`, and `*` for `OPTIONS`. `CONNECT`
/// is refused: nothing here tunnels to where a client says.
pub(super) fn check(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    if target.first() == Some(&b'/') && method != b"CONNECT" {
        return check_path(target);
    }
    // the bytes first, because a head in pieces is refused for them before anything else is known
    if !target.iter().copied().all(is_target_byte) {
        return Err(Refusal::Target);
    }
    if method == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    if target == b"*" && method == b"OPTIONS" {
        return Ok(());
    }
    let rest = after_scheme(target).ok_or(Refusal::TargetForm)?;
    let (host, path) = rest.split_at(authority_len(rest));
    authority::check(host).map_err(Refusal::Host)?;
    check_path(path)
}

/// Whether a target that was found right asks for the server as a whole: `*`, or absolute-form without path and query,
/// which the last proxy turns into `*` (RFC 9112 §3.2.4).
pub(super) fn is_whole_server(method: &[u8], target: &[u8]) -> bool {
    let without_path = |rest: &[u8]| !rest.iter().any(|byte| matches!(byte, b'/' | b'?'));
    method == b"OPTIONS" && (target == b"*" || after_scheme(target).is_some_and(without_path))
}

/// Takes a target that was found right apart into the host that it names, if it does, and what follows it.
pub(super) fn split(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    if target.first() == Some(&b'/') {
        return (None, target);
    }
    let Some(rest) = after_scheme(target) else { return (None, target) };
    let (host, path) = rest.split_at(authority_len(rest));
    (Some(host), path)
}

/// How many of the first bytes may stand in a target.
pub(super) fn len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_target_byte(byte)).unwrap_or(bytes.len())
}

/// Whether a byte may stand anywhere in a target. `<`, `>` and `#` may not: a fragment is never sent, and hyper refuses
/// the other two.
pub(super) const fn is_target_byte(byte: u8) -> bool {
    CLASS[byte as usize] != 0
}

fn check_path(path: &[u8]) -> Result<(), Refusal> {
    let mut allowed = PATH;
    for &byte in path {
        if byte == b'?' {
            allowed = QUERY;
        }
        if CLASS[byte as usize] & allowed == 0 {
            return Err(Refusal::Target);
        }
    }
    Ok(())
}

fn authority_len(rest: &[u8]) -> usize {
    rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len())
}

fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

const PATH: u8 = 1;
const QUERY: u8 = 2;

/// More than RFC 3986 has, because browsers send it: `"` in a path, a backquote in a query, and brackets, braces,
/// backslash, caret and bar in both. They cannot split a line, and they go on as they came.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'"' => PATH,
            b'`' => QUERY,
            b'#' | b'<' | b'>' => 0,
            b'!'..=b'~' => PATH | QUERY,
            _ => 0,
        };
        byte += 1;
    }
    table
};

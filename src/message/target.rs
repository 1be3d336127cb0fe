//! The parts of a request target (RFC 9110 §7.1).

/// Takes a target that was found right apart into the host that it names, if it does, and what follows it.
pub(crate) fn split(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    if target.first() == Some(&b'/') {
        return (None, target);
    }
    let Some(rest) = after_scheme(target) else { return (None, target) };
    let (host, path) = rest.split_at(authority_len(rest));
    (Some(host), path)
}

/// How many of the first bytes name a host and a port.
pub(crate) fn authority_len(rest: &[u8]) -> usize {
    rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len())
}

/// What follows the scheme of a target in absolute-form.
pub(crate) fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

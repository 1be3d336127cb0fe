//! `Upgrade`: the protocols of a request that may be tunnelled, and whether a server switches to one of them (RFC 9110
//! §7.8).

use super::fields::{elements, is_token};

/// The protocols of one `Upgrade` field, `name` or `name/version`, that may pass; none when a part of the field is no
/// protocol. Those that carry HTTP would let requests through that no rule is held against: `h2c` above all.
pub fn offers(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_right = elements(value).all(|protocol| protocol.splitn(2, |&byte| byte == b'/').all(is_token));
    elements(value).filter(move |protocol| is_right && !carries_http(protocol))
}

/// Whether a server that says `chosen` in its `Upgrade` field switches to what was offered, and to nothing else.
pub fn is_offered<'v>(chosen: &[u8], offered: impl Iterator<Item = &'v [u8]> + Clone) -> bool {
    elements(chosen).all(|protocol| offered.clone().any(|one| is_same(one, protocol)))
}

/// Names have no case; a version counts where both sides say one.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((name, version), (other_name, other_version)) = (parts(one), parts(other));
    let has_other = version.zip(other_version).is_some_and(|(one, other)| one != other);
    name.eq_ignore_ascii_case(other_name) && !has_other
}

fn carries_http(protocol: &[u8]) -> bool {
    let (name, _) = parts(protocol);
    [&b"h2c"[..], b"h2", b"http"].iter().any(|http| name.eq_ignore_ascii_case(http))
}

fn parts(protocol: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'/', protocol) {
        Some(slash) => (&protocol[..slash], Some(&protocol[slash + 1..])),
        None => (protocol, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_http_is_not_offered() {
        for (value, passing) in [
            ("websocket", &["websocket"][..]),
            ("SPDY/3.1, websocket", &["SPDY/3.1", "websocket"]),
            ("h2c, websocket,H2C", &["websocket"]),
            ("h2c", &[]),
            ("HTTP/2.0, tcp", &["tcp"]),
            ("h2", &[]),
            ("", &[]),
            ("web socket", &[]),
            ("tcp, a(b)", &[]),
            ("a/", &[]),
            ("/a", &[]),
        ] {
            let offered: Vec<_> = offers(value.as_bytes()).collect();
            assert_eq!(offered, passing.iter().map(|one| one.as_bytes()).collect::<Vec<_>>(), "{value}");
        }
    }

    #[test]
    fn a_server_may_switch_to_what_was_offered_alone() {
        for (offered, chosen, is_right) in [
            ("websocket", "WebSocket", true),
            ("tcp, SPDY/3.1", "spdy/3.1", true),
            ("SPDY/3.1", "SPDY", true),
            ("foo/1, bar", "bar, foo/1", true),
            ("SPDY/3.1", "SPDY/4", false),
            ("websocket", "tcp", false),
            ("websocket", "websocket, tcp", false),
            ("websocket, h2c", "h2c", false),
        ] {
            let offered = offers(offered.as_bytes()).collect::<Vec<_>>();
            assert_eq!(is_offered(chosen.as_bytes(), offered.iter().copied()), is_right, "{chosen}");
        }
    }
}

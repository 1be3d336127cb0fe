//! Host and port, as in `Host` and in absolute-form targets (RFC 9110 §7.2, RFC 3986 §3.2).

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// A host with its port, if one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// In lower case, without a trailing dot; IPv6 in brackets, in its canonical text.
    pub name: Cow<'a, str>,
    /// The port; an empty one counts as none.
    pub port: Option<u16>,
}

/// What is wrong with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFault {
    /// There is nothing.
    Empty,
    /// More than 255 bytes.
    TooLong,
    /// `user@`.
    UserInfo,
    /// A comma, as left by joined fields.
    Comma,
    /// A byte that no host name has.
    Name,
    /// Two dots in a row, or one at the start.
    EmptyLabel,
    /// No number from 1 to 65535.
    Port,
    /// Brackets without an IPv6 address inside.
    Ipv6,
}

impl HostFault {
    /// The rule that was broken, as a sentence.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Empty => "The host is empty.",
            Self::TooLong => "The host name is longer than 255 bytes.",
            Self::UserInfo => "The host holds user information.",
            Self::Comma => "The host holds a comma.",
            Self::Name => "The host holds a character that no host name has.",
            Self::EmptyLabel => "The host name has an empty label.",
            Self::Port => "The port of the host is not a number from 1 to 65535.",
            Self::Ipv6 => "The host has brackets without an IPv6 address in them.",
        }
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.rule())
    }
}

impl std::error::Error for HostFault {}

impl<'a> Host<'a> {
    /// Reads `text` as a host with an optional port.
    ///
    /// Host names hold letters, digits, `-`, `_` and `.`; percent-encoding, the other characters that RFC 3986 has, and
    /// IPvFuture are refused.
    ///
    /// # Errors
    /// What is wrong, when anything is.
    pub fn parse(text: &'a str) -> Result<Self, HostFault> {
        let parts = split(text.as_bytes())?;
        if let Some(address) = parts.ipv6 {
            let name = Cow::Owned(format!("[{address}]"));
            return Ok(Self { name, port: parts.port });
        }
        let name = &text[..parts.name];
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Ok(Self { name, port: parts.port })
    }
}

/// Says whether [`Host::parse`] would take `bytes`; never allocates.
pub(crate) fn check(bytes: &[u8]) -> Result<(), HostFault> {
    split(bytes).map(|_| ())
}

struct Parts {
    ipv6: Option<Ipv6Addr>,
    /// Length of the name, without a trailing dot.
    name: usize,
    port: Option<u16>,
}

fn split(bytes: &[u8]) -> Result<Parts, HostFault> {
    match bytes.first() {
        None => Err(HostFault::Empty),
        Some(b'[') => split_ipv6(bytes),
        Some(_) => split_name(bytes),
    }
}

fn split_name(bytes: &[u8]) -> Result<Parts, HostFault> {
    let mut end = bytes.len();
    let mut label = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'.' if label == 0 => return Err(HostFault::EmptyLabel),
            b'.' => label = 0,
            b':' => {
                end = at;
                break;
            }
            _ => return Err(odd(bytes, HostFault::Name)),
        }
    }
    let port = port(bytes, end)?;
    match end {
        0 => return Err(HostFault::Empty),
        256.. => return Err(HostFault::TooLong),
        _ => {}
    }
    let name = if bytes[end - 1] == b'.' { end - 1 } else { end };
    Ok(Parts { ipv6: None, name, port })
}

fn split_ipv6(bytes: &[u8]) -> Result<Parts, HostFault> {
    let end = memchr::memchr(b']', bytes).ok_or_else(|| odd(bytes, HostFault::Ipv6))?;
    let address = std::str::from_utf8(&bytes[1..end]).map_err(|_| HostFault::Ipv6)?;
    let address = address.parse().map_err(|_| odd(bytes, HostFault::Ipv6))?;
    let port = port(bytes, end + 1)?;
    Ok(Parts { ipv6: Some(address), name: end + 1, port })
}

/// The port after `end`, where the name ends.
fn port(bytes: &[u8], end: usize) -> Result<Option<u16>, HostFault> {
    let digits = match bytes.get(end) {
        None => return Ok(None),
        Some(b':') => &bytes[end + 1..],
        Some(_) => return Err(odd(bytes, HostFault::Ipv6)),
    };
    if digits.is_empty() {
        return Ok(None);
    }
    let fault = || odd(bytes, HostFault::Port);
    if digits.len() > 5 {
        return Err(fault());
    }
    let mut number = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(fault());
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    match u16::try_from(number) {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(fault()),
    }
}

/// The clearer word for what is wrong, where there is one.
fn odd(bytes: &[u8], otherwise: HostFault) -> HostFault {
    if bytes.contains(&b'@') {
        HostFault::UserInfo
    } else if bytes.contains(&b',') {
        HostFault::Comma
    } else {
        otherwise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, Option<u16>), HostFault> {
        Host::parse(text).map(|host| (host.name.into_owned(), host.port))
    }

    #[test]
    fn hosts_are_normalised() {
        for (text, name, port) in [
            ("example.com", "example.com", None),
            ("Example.COM:8080", "example.com", Some(8080)),
            ("example.com.", "example.com", None),
            ("example.com.:80", "example.com", Some(80)),
            ("example.com:", "example.com", None),
            ("a_b-c", "a_b-c", None),
            ("10.0.0.1:00080", "10.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]", Some(443)),
            ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]", None),
        ] {
            assert_eq!(parsed(text), Ok((name.into(), port)), "{text}");
        }
    }

    #[test]
    fn wrong_hosts_are_named() {
        let long = "a".repeat(256);
        for (text, fault) in [
            ("", HostFault::Empty),
            (":80", HostFault::Empty),
            (&long, HostFault::TooLong),
            ("user@example.com", HostFault::UserInfo),
            ("user:pass@example.com", HostFault::UserInfo),
            ("[::1]@example.com", HostFault::UserInfo),
            ("a.example,b.example", HostFault::Comma),
            ("a.example:80,b.example", HostFault::Comma),
            ("a b", HostFault::Name),
            ("a/b", HostFault::Name),
            ("a%2eb", HostFault::Name),
            ("bücher.example", HostFault::Name),
            ("a\\b", HostFault::Name),
            (".", HostFault::EmptyLabel),
            (".example.com", HostFault::EmptyLabel),
            ("a..b", HostFault::EmptyLabel),
            ("example.com..", HostFault::EmptyLabel),
            ("a:b", HostFault::Port),
            ("a:0", HostFault::Port),
            ("a:65536", HostFault::Port),
            ("a:+80", HostFault::Port),
            ("a:-80", HostFault::Port),
            ("a:000080", HostFault::Port),
            ("a:80:80", HostFault::Port),
            ("::1", HostFault::Port),
            ("[::1", HostFault::Ipv6),
            ("[::1]x", HostFault::Ipv6),
            ("[]", HostFault::Ipv6),
            ("[::g]", HostFault::Ipv6),
            ("[fe80::1%eth0]", HostFault::Ipv6),
            ("[v1.a]", HostFault::Ipv6),
            ("[127.0.0.1]", HostFault::Ipv6),
        ] {
            assert_eq!(parsed(text), Err(fault), "{text}");
        }
    }
}

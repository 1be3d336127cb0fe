//! Addresses as they are written: of listeners, of servers, and host names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 with a port.
    Ip(SocketAddr),
    /// A unix stream socket, written `unix:/path`.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Where a server is: known, or found by DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// A socket address or the path of a unix socket.
    Fixed(Address),
    /// A host name and a port; the server waits until DNS answers.
    Name {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A host name, `*.suffix`, or `*` for any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this name, in lower case, without a port.
    Exact(String),
    /// Any name that ends in `.suffix` (stored without the leading `*.`).
    Suffix(String),
    /// Every name, also none.
    #[default]
    Any,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => out.write_str(name),
            Self::Suffix(suffix) => write!(out, "*.{suffix}"),
            Self::Any => out.write_str("*"),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(address) => address.fmt(out),
            Self::Name { host, port } => write!(out, "{host}:{port}"),
        }
    }
}

/// Why a text is no address, with what to write instead where there is such a thing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No port at the end.
    #[error("it has no port")]
    NoPort(String),
    /// The port is no number from 1 to 65535 (from 0 for listeners).
    #[error("its port is no number from 1 to 65535")]
    Port,
    /// An IPv6 address with a port, without brackets.
    #[error("an IPv6 address needs brackets before the port")]
    Brackets(String),
    /// The path of a unix socket without `unix:`.
    #[error("a path needs `unix:` before it")]
    Unmarked(String),
    /// `http://…`, or with a path behind the port: a URL, not an address.
    #[error("it is a URL, not an address")]
    Url(String),
    /// A listener named by a host name.
    #[error("it is a host name; a listener needs an IP address, since names are not looked up to bind")]
    Name(String),
    /// `unix://…`, or with something behind the path.
    #[error("the path of a unix socket stands right after `unix:`, and nothing behind it")]
    AroundPath(String),
    /// `unix:` without an absolute path that fits into a socket address.
    #[error("the path of a unix socket must be absolute and at most 107 bytes long")]
    Path,
    /// A port alone.
    #[error("it has no host")]
    NoHost(String),
    /// Not an IP address, nor a host name.
    #[error("it is neither an IP address nor a host name")]
    Host,
}

/// Reads the address of a listener: `127.0.0.1:80`, `[::1]:80`, `:80` for every address, `unix:/path`.
///
/// # Errors
/// When it is none of these.
pub fn listener(text: &str) -> Result<Address, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(Address::Unix);
    }
    let port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"));
    if let Some(port) = port.filter(|port| !port.contains(':')) {
        let port = port.parse().map_err(|_| AddressError::Port)?;
        return Ok(Address::Ip((Ipv6Addr::UNSPECIFIED, port).into()));
    }
    let (host, port) = host_and_port(text)?;
    match host {
        HostPart::Ip(ip) => Ok(Address::Ip(SocketAddr::new(ip, port))),
        HostPart::Name(name) => {
            let ip = if name.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { "" };
            Err(AddressError::Name(format!("{ip}:{port}")))
        }
    }
}

/// Reads the address of a server: `10.0.0.1:80`, `[2001:db8::1]:80`, `app.internal:80`, `unix:/path`.
///
/// # Errors
/// When it is none of these.
pub fn server(text: &str) -> Result<ServerAddress, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(|path| ServerAddress::Fixed(Address::Unix(path)));
    }
    let (host, port) = host_and_port(text)?;
    if port == 0 {
        return Err(AddressError::Port);
    }
    Ok(match host {
        HostPart::Ip(ip) => ServerAddress::Fixed(Address::Ip(SocketAddr::new(ip, port))),
        HostPart::Name(host) => ServerAddress::Name { host, port },
    })
}

/// Why a text is no host pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// `https://…`, or with a path.
    #[error("it is a URL; a site is named by its host alone")]
    Url(String),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets, as clients send them")]
    Brackets(String),
    /// With a port.
    #[error("it has a port; a site is named by its host alone, and answers on every listener")]
    Port(String),
    /// A star or a dot at the front that is not the whole first label.
    #[error("a star must stand alone, or for the front as in `*.example.com`")]
    Star(Option<String>),
    /// More than one.
    #[error("it is several hosts; each has its own table")]
    Several(String),
    /// Characters outside of ASCII.
    #[error("it has characters outside of ASCII; browsers send such names in their `xn--` form")]
    NotAscii,
    /// Anything else.
    #[error("it is no host name")]
    Name,
}

/// Reads the host pattern of a site: a name, `*.suffix` or `*`; in lower case, without the dot at the end.
///
/// # Errors
/// When it is none of these.
pub fn host_pattern(text: &str) -> Result<HostPattern, HostError> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    if host != text {
        return Err(HostError::Url(host.to_owned()));
    }
    if !text.is_ascii() {
        return Err(HostError::NotAscii);
    }
    if text.starts_with('[') && text.strip_suffix(']').is_some_and(|ip| ip[1..].parse::<Ipv6Addr>().is_ok()) {
        return Ok(HostPattern::Exact(text.to_ascii_lowercase()));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(HostError::Brackets(format!("[{text}]")));
    }
    if let Some((name, port)) = text.rsplit_once(':') {
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if is_port { HostError::Port(name.to_owned()) } else { HostError::Name });
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (suffix, starred) = name.strip_prefix("*.").map_or((name.as_str(), false), |suffix| (suffix, true));
    if suffix.contains('*') || suffix.starts_with('.') {
        let below = suffix.trim_start_matches(['*', '.']);
        return Err(HostError::Star(is_host_name(below).then(|| format!("*.{below}"))));
    }
    let mut several = suffix.split([',', ' ', '|']).filter(|part| !part.is_empty());
    if let (Some(first), Some(_)) = (several.next(), several.next())
        && is_host_name(first)
    {
        return Err(HostError::Several(first.to_owned()));
    }
    if !is_host_name(suffix) {
        return Err(HostError::Name);
    }
    Ok(if starred { HostPattern::Suffix(suffix.to_owned()) } else { HostPattern::Exact(name) })
}

/// Letters, digits, `-` and `_` in labels of 1 to 63, at most 253 in all (RFC 1123 §2.1, and the underscore that
/// container networks use).
#[must_use]
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Whether `text` can be the value of a `Host` field: a host name or an IP address, perhaps with a port.
#[must_use]
pub fn is_host_field(text: &str) -> bool {
    let bare = text.parse::<SocketAddr>().is_ok() || text.parse::<Ipv4Addr>().is_ok();
    let (name, port) = text.split_once(':').unwrap_or((text, "80"));
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare || in_brackets.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
        || (is_host_name(name) && port.parse::<u16>().is_ok())
}

/// Whether two listeners can't both be bound: equal, or one takes every address of the other's port.
///
/// `[::]` takes IPv4 too, as Linux binds it by default.
#[must_use]
pub fn overlap(one: &Address, other: &Address) -> bool {
    let (Address::Ip(one), Address::Ip(other)) = (one, other) else {
        return one == other;
    };
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => narrow.is_ipv4(),
        _ => wide == narrow,
    };
    covers(one.ip(), other.ip()) || covers(other.ip(), one.ip())
}

enum HostPart {
    Ip(IpAddr),
    Name(String),
}

fn host_and_port(text: &str) -> Result<(HostPart, u16), AddressError> {
    let port = "80";
    if text.starts_with('/') {
        return Err(AddressError::Unmarked(format!("unix:{}", path_alone(text))));
    }
    // "http://unix:/path:/uri" of nginx, "unix//path" of Caddy
    let of_others = [text.split_once("://unix:").map(|(_, path)| path), text.strip_prefix("unix/")];
    if let Some(path) = of_others.into_iter().flatten().find(|path| path.starts_with('/')) {
        return Err(AddressError::AroundPath(format!("unix:{}", path_alone(path))));
    }
    if let Some(port) = text.strip_prefix(':').filter(|port| is_number(port)) {
        return Err(AddressError::NoHost(format!("127.0.0.1:{port}")));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split('/').next().unwrap_or_default();
    if authority != text {
        let port = if scheme == "https" { "443" } else { port };
        let instead = if has_port(authority) { authority.to_owned() } else { format!("{authority}:{port}") };
        return Err(AddressError::Url(instead));
    }
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        // "::1:80" is an address by itself, and was more likely meant as one with a port.
        let before = text.rsplit_once(':').filter(|(ip, port)| ip.parse::<Ipv6Addr>().is_ok() && is_number(port));
        if let Some((ip, port)) = before {
            return Err(AddressError::Brackets(format!("[{ip}]:{port}")));
        }
        return Err(AddressError::NoPort(format!("[{ip}]:{port}")));
    }
    let Some((host, given)) = text.rsplit_once(':').filter(|_| has_port(text)) else {
        host(text.strip_suffix(':').unwrap_or(text))?;
        return Err(AddressError::NoPort(format!("{}:{port}", text.trim_end_matches(':'))));
    };
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Brackets(format!("[{host}]:{given}")));
    }
    let host = self::host(host)?;
    Ok((host, given.parse().map_err(|_| AddressError::Port)?))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'))
}

fn host(text: &str) -> Result<HostPart, AddressError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().map(|ip: Ipv6Addr| HostPart::Ip(ip.into())).map_err(|_| AddressError::Host);
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(HostPart::Ip(ip.into()));
    }
    // A last label of digits makes it an IPv4 address that is wrong, never a name (RFC 1123 §2.1).
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric || !is_host_name(name) {
        return Err(AddressError::Host);
    }
    Ok(HostPart::Name(text.to_ascii_lowercase()))
}

/// A path without the slashes of a URL before it, and without a port or a second path behind it.
fn path_alone(path: &str) -> String {
    let (front, behind) = path.rsplit_once(':').unwrap_or((path, "-"));
    let is_behind = behind.bytes().all(|byte| byte.is_ascii_digit()) || behind.starts_with('/');
    let path = if is_behind { front } else { path };
    if path.starts_with("//") { format!("/{}", path.trim_start_matches('/')) } else { path.to_owned() }
}

fn unix(path: &str) -> Result<PathBuf, AddressError> {
    let alone = path_alone(path);
    if alone != path && alone.starts_with('/') {
        return Err(AddressError::AroundPath(format!("unix:{alone}")));
    }
    if !path.starts_with('/') || path.len() > 107 || path.contains('\0') {
        return Err(AddressError::Path);
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_take_ip_addresses_every_address_and_unix_sockets() {
        assert_eq!(listener(":8080").expect("every").to_string(), "[::]:8080");
        assert_eq!(listener("127.0.0.1:80").expect("v4").to_string(), "127.0.0.1:80");
        assert_eq!(listener("[::1]:80").expect("v6").to_string(), "[::1]:80");
        assert_eq!(listener("unix:/run/x.sock").expect("unix").to_string(), "unix:/run/x.sock");
        assert_eq!(listener("localhost:80"), Err(AddressError::Name("127.0.0.1:80".to_owned())));
        assert_eq!(listener(":99999"), Err(AddressError::Port));
        assert_eq!(listener("unix:relative"), Err(AddressError::Path));
    }

    #[test]
    fn a_server_without_a_port_is_shown_with_one() {
        assert_eq!(server("10.0.0.1"), Err(AddressError::NoPort("10.0.0.1:80".to_owned())));
        assert_eq!(server("app"), Err(AddressError::NoPort("app:80".to_owned())));
        assert_eq!(server("::1"), Err(AddressError::NoPort("[::1]:80".to_owned())));
        assert_eq!(server("[::1]"), Err(AddressError::NoPort("[::1]:80".to_owned())));
        assert_eq!(server("2001:db8::1:80x"), Err(AddressError::Brackets("[2001:db8::1]:80x".to_owned())));
        assert_eq!(server("::1:80"), Err(AddressError::Brackets("[::1]:80".to_owned())));
        assert_eq!(listener("::1:80"), Err(AddressError::Brackets("[::1]:80".to_owned())));
        assert_eq!(server("/run/x"), Err(AddressError::Unmarked("unix:/run/x".to_owned())));
        assert_eq!(server("app:80/x"), Err(AddressError::Url("app:80".to_owned())));
        assert_eq!(server("http://app/"), Err(AddressError::Url("app:80".to_owned())));
    }

    #[test]
    fn what_stands_around_the_path_of_a_unix_socket_is_taken_away() {
        let instead = |text: &str| match server(text) {
            Err(AddressError::AroundPath(instead) | AddressError::Unmarked(instead)) => instead,
            other => panic!("{text}: {other:?}"),
        };
        for text in [
            "unix:///run/a:b.sock",
            "unix:/run/a:b.sock:80",
            "unix:/run/a:b.sock:/",
            "http://unix:/run/a:b.sock:/x/y",
            "http://unix:/run/a:b.sock",
            "unix//run/a:b.sock",
            "/run/a:b.sock:80",
            "unix:/run/a:b.sock:",
        ] {
            assert_eq!(instead(text), "unix:/run/a:b.sock");
        }
        assert_eq!(server(":3000"), Err(AddressError::NoHost("127.0.0.1:3000".to_owned())));
    }

    #[test]
    fn servers_are_addresses_or_names() {
        let name = ServerAddress::Name { host: "app_1.internal".to_owned(), port: 3000 };
        assert_eq!(server("App_1.internal:3000"), Ok(name));
        assert!(matches!(server("[2001:db8::1]:80"), Ok(ServerAddress::Fixed(Address::Ip(_)))));
        assert_eq!(server("10.0.0.300:80"), Err(AddressError::Host));
        assert_eq!(server("a b:80"), Err(AddressError::Host));
        assert_eq!(server("app:0"), Err(AddressError::Port));
        assert_eq!(server("app:http"), Err(AddressError::Port));
    }

    #[test]
    fn host_patterns_are_one_spelling_of_each_host() {
        assert_eq!(host_pattern("App.Example.COM."), Ok(HostPattern::Exact("app.example.com".to_owned())));
        assert_eq!(host_pattern("*.example.com"), Ok(HostPattern::Suffix("example.com".to_owned())));
        assert_eq!(host_pattern("[::1]"), Ok(HostPattern::Exact("[::1]".to_owned())));
        assert_eq!(host_pattern("::1"), Err(HostError::Brackets("[::1]".to_owned())));
        assert_eq!(host_pattern("a.example:80"), Err(HostError::Port("a.example".to_owned())));
        assert_eq!(host_pattern("https://a.example/x"), Err(HostError::Url("a.example".to_owned())));
        assert_eq!(host_pattern("www.*"), Err(HostError::Star(None)));
        let below = HostError::Star(Some("*.example.com".to_owned()));
        assert_eq!(host_pattern("*example.com"), Err(below));
        assert_eq!(host_pattern("a.test, b.test"), Err(HostError::Several("a.test".to_owned())));
        assert_eq!(host_pattern("müller.example"), Err(HostError::NotAscii));
        assert_eq!(host_pattern(""), Err(HostError::Name));
    }

    #[test]
    fn host_fields_have_a_name_or_an_address_and_perhaps_a_port() {
        for good in ["a.example", "a.example:8080", "10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:80"] {
            assert!(is_host_field(good), "{good}");
        }
        for bad in ["", "http://a.example", "a.example/x", "a b", "a:b", "::1", "a\r\nb"] {
            assert!(!is_host_field(bad), "{bad}");
        }
    }

    #[test]
    fn wildcards_overlap_as_the_kernel_has_it() {
        let clash =
            |one: &str, other: &str| overlap(&listener(one).expect("address"), &listener(other).expect("address"));
        assert!(clash(":80", "127.0.0.1:80"));
        assert!(clash("0.0.0.0:80", "127.0.0.1:80"));
        assert!(clash("127.0.0.1:80", "127.0.0.1:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!clash("0.0.0.0:80", "[::1]:80"));
        assert!(!clash(":80", ":81"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
        assert!(clash("unix:/a", "unix:/a"));
    }
}

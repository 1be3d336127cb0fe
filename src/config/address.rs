//! Addresses as they are written: of listeners, of servers, and host names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::problem::quoted;

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

/// Why a text is no address, or no host of a site.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct AddressError {
    why: &'static str,
    /// What to write instead, where the text shows what was meant.
    pub help: Option<String>,
}

impl AddressError {
    fn new(why: &'static str, help: impl Into<Option<String>>) -> Self {
        Self { why, help: help.into() }
    }

    fn instead(why: &'static str, text: &str) -> Self {
        Self::new(why, format!("write {}", quoted(text)))
    }
}

const BAD_PORT: &str = "its port is no number from 1 to 65535";
const NEEDS_BRACKETS: &str = "an IPv6 address needs brackets before the port";
const AROUND_PATH: &str = "the path of a unix socket stands right after `unix:`, and nothing behind it";
const NO_HOST: &str = "it is neither an IP address nor a host name";

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
        let port = port.parse().map_err(|_| AddressError::new(BAD_PORT, None))?;
        return Ok(Address::Ip((Ipv6Addr::UNSPECIFIED, port).into()));
    }
    let (host, port) = host_and_port(text)?;
    match host {
        HostPart::Ip(ip) => Ok(Address::Ip(SocketAddr::new(ip, port))),
        HostPart::Name(name) => {
            let ip = if name.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { "" };
            let why = "it is a host name; a listener needs an IP address, since names are not looked up to bind";
            Err(AddressError::instead(why, &format!("{ip}:{port}")))
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
        return Err(AddressError::new(BAD_PORT, None));
    }
    Ok(match host {
        HostPart::Ip(ip) => ServerAddress::Fixed(Address::Ip(SocketAddr::new(ip, port))),
        HostPart::Name(host) => ServerAddress::Name { host, port },
    })
}

/// Reads the host pattern of a site: a name, `*.suffix` or `*`; in lower case, without the dot at the end.
///
/// # Errors
/// When it is none of these.
pub fn host_pattern(text: &str) -> Result<HostPattern, AddressError> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    let site = |host: &str| format!("write `[site.{}]`", quoted(host));
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    if host != text {
        return Err(AddressError::new("it is a URL; a site is named by its host alone", site(host)));
    }
    if !text.is_ascii() {
        let why = "it has characters outside of ASCII; browsers send such names in their `xn--` form";
        return Err(AddressError::new(why, None));
    }
    if text.starts_with('[') && text.strip_suffix(']').is_some_and(|ip| ip[1..].parse::<Ipv6Addr>().is_ok()) {
        return Ok(HostPattern::Exact(text.to_ascii_lowercase()));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let why = "an IPv6 address needs brackets, as clients send them";
        return Err(AddressError::new(why, site(&format!("[{text}]"))));
    }
    let no_name = AddressError::new("it is no host name", None);
    if let Some((name, port)) = text.rsplit_once(':') {
        let why = "it has a port; a site is named by its host alone, and answers on every listener";
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if is_port { AddressError::new(why, site(name)) } else { no_name });
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (suffix, starred) = name.strip_prefix("*.").map_or((name.as_str(), false), |suffix| (suffix, true));
    if suffix.contains('*') || suffix.starts_with('.') {
        let why = "a star must stand alone, or for the front as in `*.example.com`";
        let below = suffix.trim_start_matches(['*', '.']);
        return Err(AddressError::new(why, is_host_name(below).then(|| site(&format!("*.{below}")))));
    }
    let mut several = suffix.split([',', ' ', '|']).filter(|part| !part.is_empty());
    if let (Some(first), Some(_)) = (several.next(), several.next())
        && is_host_name(first)
    {
        let help = format!("{}, and a table like it for each other one", site(first));
        return Err(AddressError::new("it is several hosts; each has its own table", help));
    }
    match (is_host_name(suffix), starred) {
        (false, _) => Err(no_name),
        (true, true) => Ok(HostPattern::Suffix(suffix.to_owned())),
        (true, false) => Ok(HostPattern::Exact(name)),
    }
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
    if text.starts_with('/') {
        let path = format!("unix:{}", path_alone(text));
        return Err(AddressError::instead("a path needs `unix:` before it", &path));
    }
    // "http://unix:/path:/uri" of nginx, "unix//path" of Caddy
    let of_others = [text.split_once("://unix:").map(|(_, path)| path), text.strip_prefix("unix/")];
    if let Some(path) = of_others.into_iter().flatten().find(|path| path.starts_with('/')) {
        return Err(AddressError::instead(AROUND_PATH, &format!("unix:{}", path_alone(path))));
    }
    if let Some(port) = text.strip_prefix(':').filter(|port| is_number(port)) {
        return Err(AddressError::instead("it has no host", &format!("127.0.0.1:{port}")));
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split('/').next().unwrap_or_default();
    if authority != text {
        let port = if scheme == "https" { "443" } else { "80" };
        let plain = if has_port(authority) { authority.to_owned() } else { format!("{authority}:{port}") };
        let no_tls = match text.starts_with("https:") {
            true => " for plain HTTP; TLS towards servers is not supported in this version",
            false => "",
        };
        return Err(AddressError::new("it is a URL, not an address", format!("write {}{no_tls}", quoted(&plain))));
    }
    let no_port = |host: &str| {
        AddressError::new("it has no port", format!("write it with its port, as in {}", quoted(&format!("{host}:80"))))
    };
    let brackets = |ip: &str, port: &str| AddressError::instead(NEEDS_BRACKETS, &format!("[{ip}]:{port}"));
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        // "::1:80" is an address by itself, and was more likely meant as one with a port.
        let before = text.rsplit_once(':').filter(|(ip, port)| ip.parse::<Ipv6Addr>().is_ok() && is_number(port));
        return Err(before.map_or_else(|| no_port(&format!("[{ip}]")), |(ip, port)| brackets(ip, port)));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|_| has_port(text)) else {
        host(text.strip_suffix(':').unwrap_or(text))?;
        return Err(no_port(text.trim_end_matches(':')));
    };
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(brackets(host, port));
    }
    Ok((self::host(host)?, port.parse().map_err(|_| AddressError::new(BAD_PORT, None))?))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'))
}

fn host(text: &str) -> Result<HostPart, AddressError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().map(|ip: Ipv6Addr| HostPart::Ip(ip.into())).map_err(|_| AddressError::new(NO_HOST, None));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(HostPart::Ip(ip.into()));
    }
    // A last label of digits makes it an IPv4 address that is wrong, never a name (RFC 1123 §2.1).
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric || !is_host_name(name) {
        return Err(AddressError::new(NO_HOST, None));
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
        return Err(AddressError::instead(AROUND_PATH, &format!("unix:{alone}")));
    }
    if !path.starts_with('/') || path.len() > 107 || path.contains('\0') {
        let why = "the path of a unix socket must be absolute and at most 107 bytes long";
        return Err(AddressError::new(why, None));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a text is refused, and the text in quotes that the help has in its place.
    fn refusal<T: fmt::Debug>(read: Result<T, AddressError>) -> (&'static str, String) {
        let AddressError { why, help } = read.expect_err("refused");
        (why, help.and_then(|help| Some(help.split('"').nth(1)?.to_owned())).unwrap_or_default())
    }

    #[track_caller]
    fn assert_refused((why, instead): (&str, String), part: &str, meant: &str) {
        assert!(why.contains(part), "{why}");
        assert_eq!(instead, meant, "{why}");
    }

    #[test]
    fn listeners_take_ip_addresses_every_address_and_unix_sockets() {
        assert_eq!(listener(":8080").expect("every").to_string(), "[::]:8080");
        assert_eq!(listener("127.0.0.1:80").expect("v4").to_string(), "127.0.0.1:80");
        assert_eq!(listener("[::1]:80").expect("v6").to_string(), "[::1]:80");
        assert_eq!(listener("unix:/run/x.sock").expect("unix").to_string(), "unix:/run/x.sock");
        assert_refused(refusal(listener("localhost:80")), "host name", "127.0.0.1:80");
        assert_refused(refusal(listener(":99999")), "number", "");
        assert_refused(refusal(listener("unix:relative")), "absolute", "");
    }

    #[test]
    fn a_server_without_a_port_is_shown_with_one() {
        assert_refused(refusal(server("10.0.0.1")), "no port", "10.0.0.1:80");
        assert_refused(refusal(server("app")), "no port", "app:80");
        assert_refused(refusal(server("::1")), "no port", "[::1]:80");
        assert_refused(refusal(server("[::1]")), "no port", "[::1]:80");
        assert_refused(refusal(server("2001:db8::1:80x")), "brackets", "[2001:db8::1]:80x");
        assert_refused(refusal(server("::1:80")), "brackets", "[::1]:80");
        assert_refused(refusal(listener("::1:80")), "brackets", "[::1]:80");
        assert_refused(refusal(server("/run/x")), "needs `unix:`", "unix:/run/x");
        assert_refused(refusal(server("app:80/x")), "URL", "app:80");
        assert_refused(refusal(server("http://app/")), "URL", "app:80");
    }

    #[test]
    fn what_stands_around_the_path_of_a_unix_socket_is_taken_away() {
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
            assert_eq!(refusal(server(text)).1, "unix:/run/a:b.sock");
        }
        assert_refused(refusal(server(":3000")), "no host", "127.0.0.1:3000");
    }

    #[test]
    fn servers_are_addresses_or_names() {
        let name = ServerAddress::Name { host: "app_1.internal".to_owned(), port: 3000 };
        assert_eq!(server("App_1.internal:3000"), Ok(name));
        assert!(matches!(server("[2001:db8::1]:80"), Ok(ServerAddress::Fixed(Address::Ip(_)))));
        assert_refused(refusal(server("10.0.0.300:80")), "neither", "");
        assert_refused(refusal(server("a b:80")), "neither", "");
        assert_refused(refusal(server("app:0")), "number", "");
        assert_refused(refusal(server("app:http")), "number", "");
    }

    #[test]
    fn host_patterns_are_one_spelling_of_each_host() {
        assert_eq!(host_pattern("App.Example.COM."), Ok(HostPattern::Exact("app.example.com".to_owned())));
        assert_eq!(host_pattern("*.example.com"), Ok(HostPattern::Suffix("example.com".to_owned())));
        assert_eq!(host_pattern("[::1]"), Ok(HostPattern::Exact("[::1]".to_owned())));
        assert_refused(refusal(host_pattern("::1")), "brackets", "[::1]");
        assert_refused(refusal(host_pattern("a.example:80")), "port", "a.example");
        assert_refused(refusal(host_pattern("https://a.example/x")), "URL", "a.example");
        assert_refused(refusal(host_pattern("www.*")), "star", "");
        assert_refused(refusal(host_pattern("*example.com")), "star", "*.example.com");
        assert_refused(refusal(host_pattern("a.test, b.test")), "several", "a.test");
        assert_refused(refusal(host_pattern("müller.example")), "ASCII", "");
        assert_refused(refusal(host_pattern("")), "no host name", "");
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

//! Addresses as they are written: of listeners, of servers, and host names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::meant::{meant, rules};
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

/// What is spoken with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerScheme {
    /// HTTP/1.1, or whatever a TCP listener relays.
    #[default]
    Http,
    /// The same over TLS.
    Https,
    /// HTTP/2 without TLS, known beforehand (RFC 9113 §3.3).
    H2,
    /// HTTP/2 over TLS, as ALPN agrees on it (RFC 9113 §3.2).
    H2s,
}

impl ServerScheme {
    /// Those that stand before an address.
    const WRITTEN: [Self; 3] = [Self::Https, Self::H2, Self::H2s];

    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2s)
    }

    /// Whether HTTP/2 is spoken.
    #[must_use]
    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2 | Self::H2s)
    }

    /// What stands before the address.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Http => "",
            Self::Https => "https://",
            Self::H2 => "h2://",
            Self::H2s => "h2s://",
        }
    }

    /// The port of an address that has none (RFC 9110 §4.2).
    fn port(self) -> u16 {
        if self.is_tls() { 443 } else { 80 }
    }
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
#[derive(Debug, PartialEq, Eq)]
pub struct AddressError {
    /// In words, as a clause.
    pub why: &'static str,
    /// What to write instead, where the text shows what was meant.
    pub help: Option<String>,
}

/// Reads the address of a listener: `127.0.0.1:80`, `[::1]:80`, `:80` for every address, `unix:/path`.
///
/// # Errors
/// When it is none of these.
pub fn listener(text: &str) -> Result<Address, AddressError> {
    let read = |text: &str| {
        let every = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).filter(|port| !port.contains(':'));
        match address(&every.map_or_else(|| text.to_owned(), |port| format!("[::]:{port}")))? {
            ServerAddress::Fixed(address) => Ok(address),
            ServerAddress::Name { .. } => Err(NO_HOST),
        }
    };
    read(text).map_err(|why| fault(&["unix", "listener", "address"], text, why, |guess| read(guess).is_ok()))
}

/// What is spoken with a server, and its address without that.
pub fn scheme(text: &str) -> (ServerScheme, &str) {
    let mut found = ServerScheme::WRITTEN.into_iter();
    let found = found.find_map(|scheme| Some((scheme, text.strip_prefix(scheme.prefix())?)));
    found.unwrap_or((ServerScheme::Http, text))
}

/// Reads the address of a server: `10.0.0.1:80`, `[2001:db8::1]:80`, `app.internal:80`, `unix:/path`, with TLS
/// `https://app.internal:8443`, or with HTTP/2 `h2://app.internal:50051` and `h2s://app.internal:8443`. Behind `://` the port may be left out.
///
/// # Errors
/// When it is none of these.
pub fn server(text: &str) -> Result<ServerAddress, AddressError> {
    let read = |text: &str| match with_scheme(text)? {
        ServerAddress::Fixed(Address::Ip(address)) if address.port() == 0 => Err(BAD_PORT),
        ServerAddress::Name { port: 0, .. } => Err(BAD_PORT),
        address => Ok(address),
    };
    read(text).map_err(|why| fault(&["unix", "address"], text, why, |guess| read(guess).is_ok()))
}

/// What is wrong with a text that is no address: by the rules for its kinds, else `why`.
fn fault(kinds: &[&str], text: &str, why: &'static str, is_good: impl Fn(&str) -> bool) -> AddressError {
    let several: Vec<_> = text.split([',', ';', ' ', '\t']).filter(|part| !part.is_empty()).collect();
    if kinds != ["host"] && several.len() > 1 && several.iter().all(|one| is_good(one)) {
        let each = several.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
        return AddressError { why: "it is more than one address", help: Some(format!("write {each}")) };
    }
    let meant = kinds.iter().find_map(|kind| meant(kind, text, &is_good));
    meant.map_or(AddressError { why, help: None }, |meant| AddressError { why: meant.why, help: meant.help })
}

fn with_scheme(text: &str) -> Result<ServerAddress, &'static str> {
    let (scheme, rest) = scheme(text);
    if scheme == ServerScheme::Http || scheme == ServerScheme::H2 && rest.starts_with("unix:") {
        return address(rest);
    }
    if rest.contains(['/', '@']) {
        return Err("only a host, and perhaps a port, can stand after `://`");
    }
    match address(rest) {
        Ok(ServerAddress::Fixed(Address::Unix(_))) => Err("TLS is spoken with servers at an IP address or a host name"),
        Err(_) if rest.parse::<Ipv6Addr>().is_err() && !rest.ends_with(':') => {
            address(&format!("{rest}:{}", scheme.port())).or_else(|_| address(rest))
        }
        read => read,
    }
}

const BAD_PORT: &str = "its port is no number from 1 to 65535";
const NO_HOST: &str = "it is neither an IP address nor a host name";
const BAD_PATH: &str = "the path of a unix socket must be absolute and at most 107 bytes long";

fn address(text: &str) -> Result<ServerAddress, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let is_path = path.starts_with('/') && path.len() <= 107 && !path.contains('\0');
        let is_alone = !rules("unix").iter().any(|rule| rule.matches(text));
        return if is_path && is_alone { Ok(ServerAddress::Fixed(Address::Unix(path.into()))) } else { Err(BAD_PATH) };
    }
    if let Ok(address) = text.parse() {
        return Ok(ServerAddress::Fixed(Address::Ip(address)));
    }
    let (host, port) = text.rsplit_once(':').ok_or(NO_HOST)?;
    // A last label of digits makes it an IPv4 address that is wrong, never a name (RFC 1123 §2.1).
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_ip = in_brackets(host).is_some_and(is_ip6) || host.parse::<Ipv4Addr>().is_ok();
    let is_name = is_host_name(name) && !name.rsplit('.').next().is_some_and(is_digits);
    match port.parse() {
        Ok(port) if is_name && is_digits(text.rsplit(':').next().unwrap_or_default()) => {
            Ok(ServerAddress::Name { host: host.to_ascii_lowercase(), port })
        }
        _ if is_name || is_ip => Err(BAD_PORT),
        _ => Err(NO_HOST),
    }
}

/// Reads the host pattern of a site: a name, `*.suffix` or `*`; in lower case, without the dot at the end.
///
/// # Errors
/// When it is none of these.
pub fn host_pattern(text: &str) -> Result<HostPattern, AddressError> {
    let read = |text: &str| {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match name.strip_prefix("*.") {
            _ if text == "*" => Ok(HostPattern::Any),
            Some(suffix) if is_host_name(suffix) => Ok(HostPattern::Suffix(suffix.to_owned())),
            None if is_host_name(&name) || in_brackets(text).is_some_and(is_ip6) => Ok(HostPattern::Exact(name)),
            _ => Err("it is no host name"),
        }
    };
    read(text).map_err(|why| fault(&["host"], text, why, |guess| read(guess).is_ok()))
}

/// Letters, digits, `-` and `_` in labels of 1 to 63, at most 253 in all (RFC 1123 §2.1, and the underscore that
/// container networks use).
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
pub fn is_host_field(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "80"));
    text.parse::<SocketAddr>().is_ok()
        || in_brackets(text).is_some_and(is_ip6)
        || is_host_name(name) && port.parse::<u16>().is_ok()
}

fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

fn is_ip6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// Whether it has digits, and nothing else.
pub fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether two listeners can't both be bound: equal, or one takes every address of the other's port.
///
/// `[::]` takes IPv4 too, as Linux binds it by default.
pub fn overlap(one: &Address, other: &Address) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => narrow.is_ipv4(),
        _ => wide == narrow,
    };
    match (one, other) {
        (Address::Ip(one), Address::Ip(other)) if one.port() == other.port() && one.port() != 0 => {
            covers(one.ip(), other.ip()) || covers(other.ip(), one.ip())
        }
        (Address::Ip(_), Address::Ip(_)) => false,
        _ => one == other,
    }
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
        assert_refused(refusal(server("2001:db8::1:80x")), "neither", "");
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
    fn a_server_with_tls_has_the_port_of_https_by_itself() {
        for (text, address) in [
            ("https://app.internal", "app.internal:443"),
            ("https://App.internal:8443", "app.internal:8443"),
            ("https://10.0.0.1", "10.0.0.1:443"),
            ("https://10.0.0.1:80", "10.0.0.1:80"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443"),
            ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("h2s://app.internal", "app.internal:443"),
        ] {
            assert_eq!(server(text).map(|address| address.to_string()).as_deref(), Ok(address), "{text}");
            assert!(scheme(text).0.is_tls());
        }
        assert!(!scheme("app.internal:443").0.is_tls());
        assert_refused(refusal(server("https://app/")), "only a host", "https://app");
        assert_refused(refusal(server("https://app:8443/x/y")), "only a host", "https://app:8443");
        assert_refused(refusal(server("https://")), "neither", "");
        assert_refused(refusal(server("https://app:0")), "number", "");
        assert_refused(refusal(server("https://app:")), "number", "");
        assert_refused(refusal(server("https://2001:db8::1")), "brackets", "https://[2001:db8::1]");
        assert_refused(refusal(server("https://a:1,https://b:1")), "more than one", "https://a:1");
    }

    #[test]
    fn a_server_of_http_2_says_so_before_its_address() {
        for (text, address) in [
            ("h2://app.internal:50051", "app.internal:50051"),
            ("h2://app.internal", "app.internal:80"),
            ("h2://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("h2://unix:/run/app.sock", "unix:/run/app.sock"),
            ("h2s://app.internal:8443", "app.internal:8443"),
        ] {
            assert_eq!(server(text).map(|address| address.to_string()).as_deref(), Ok(address), "{text}");
            assert!(scheme(text).0.is_http2());
        }
        assert!(!scheme("app.internal:80").0.is_http2());
        assert_refused(refusal(server("h2://app:1/x")), "only a host", "h2://app:1");
        assert_refused(refusal(server("h2s://app:1/x")), "only a host", "h2s://app:1");
        assert_refused(refusal(server("h2s://2001:db8::1")), "brackets", "h2s://[2001:db8::1]");
        assert_refused(refusal(server("h2://app:0")), "number", "");
        assert_refused(refusal(server("h2://a:1, h2://b:1")), "more than one", "h2://a:1");
    }

    #[test]
    fn an_address_with_more_behind_it_is_taken_apart() {
        let help = |text| server(text).expect_err("refused").help.unwrap_or_default();
        assert_eq!(help("a:1 b:2"), "write \"a:1\", \"b:2\"");
        assert_eq!(help("a:1, b:2"), "write \"a:1\", \"b:2\"");
        assert_eq!(help("a:1 weight=2 check"), "write `{ address = \"a:1\", weight = 2 }`");
        assert_eq!(help("a:1 check weight 2"), "write `{ address = \"a:1\", weight = 2 }`");
        assert!(help("a:1 backup").contains("backup = [\"a:1\"]"));
        assert!(help("a:1 check inter 2s").starts_with("write \"a:1\";"));
        assert_eq!([help("a b"), help(" ")], ["", ""]);
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

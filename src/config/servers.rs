//! The formats of addresses, servers, destinations and checks.

use figment::value::Value;

use super::address::{self, Address, AddressError, ServerAddress};
use super::problem::quoted;
use super::schema::{At, Keys, ValueFormat, Wrong, default, table, unknown_keys};
use super::values::Whole;

impl ValueFormat for Address {
    type Value = Self;
    const FORM: &str =
        "an address such as \":8080\" (every address), \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/path\"";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let number = value.to_i128().map(|port| port.to_string());
        let digits = value.as_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        match (number.as_deref().or(digits), value.as_str()) {
            (None, Some(text)) => address::listener(text).map_err(|fault| unusable(fault, text, &Self::describe())),
            (port, _) => Err(Self::wrong(port.map(|port| at.write(&format!("\":{port}\""))))),
        }
    }

    fn show(value: &Self) -> String {
        value.to_string()
    }
}

fn unusable(fault: AddressError, text: &str, format: &str) -> Wrong {
    let message = format!("{} is not usable here: {fault}", quoted(text));
    Wrong::Unusable { message, help: fault.help.unwrap_or_else(|| format!("write {format}")) }
}

impl ValueFormat for ServerAddress {
    type Value = Self;
    const FORM: &str =
        "an address such as \"10.0.0.1:80\", \"[2001:db8::1]:80\", \"app.internal:80\" or \"unix:/path\"";

    fn read(value: &Value, _: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let Some(text) = value.as_str() else {
            let port = value.to_i128().and_then(|port| u16::try_from(port).ok());
            return Err(Self::wrong(
                port.map(|port| format!("write \"127.0.0.1:{port}\" for a server on this machine")),
            ));
        };
        if let Some(help) = address_and_more(text) {
            let message = format!("{} is not usable here: it is more than one address", quoted(text));
            return Err(Wrong::Unusable { message, help });
        }
        address::server(text).map_err(|fault| unusable(fault, text, &Self::describe()))
    }

    fn show(value: &Self) -> String {
        value.to_string()
    }
}

table! {
    /// One server with more to say about it than its address, as in `{ address = "10.0.0.1:80", weight = 2 }`.
    ServerSettings "SERVERS" (
        /// The address as written; this names the server in the log and keeps its identity over reloads.
        name: String,
        /// Used only when no other server is up.
        backup: bool,
    ) {
        /// Where the server is: `"10.0.0.1:80"`, `"[2001:db8::1]:80"`, `"app.internal:80"` or `"unix:/path"`.
        address: ServerAddress = required("10.0.0.1:80"),
        /// The server's share of the requests, against the weights of the others. 0 takes none.
        weight: Whole<u32, 0, 1000> = 1,
    }
}

impl ValueFormat for ServerSettings {
    type Value = Self;

    fn describe() -> String {
        format!("{}, or a table {{ address = \"…\", weight = 2 }}", ServerAddress::describe())
    }

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let Some(dict) = value.as_dict() else {
            let address = ServerAddress::read(value, at)?;
            return Ok(Self { name: name(value), address, ..default() });
        };
        unknown_keys(dict, at.spot, &[&Self::SCHEMA], at.problems);
        let before = at.problems.refusing();
        let server = <Self as Keys>::read(dict, at.spot, at.problems);
        match dict.get("address") {
            Some(address) if at.problems.refusing() == before => Ok(Self { name: name(address), ..server }),
            _ => Err(Wrong::Inside),
        }
    }

    fn show(value: &Self) -> String {
        value.name.clone()
    }
}

/// What to write instead of several addresses in one text, or of an address with options after it as in HAProxy and
/// nginx.
fn address_and_more(text: &str) -> Option<String> {
    let mut parts = text.split([',', ';', ' ', '\t']).filter(|part| !part.is_empty());
    let (address, rest) = (parts.next()?, parts.collect::<Vec<_>>());
    if rest.is_empty() || address::server(address).is_err() {
        return None;
    }
    if rest.iter().all(|part| address::server(part).is_ok()) {
        let each = std::iter::once(&address).chain(&rest).map(|one| quoted(one)).collect::<Vec<_>>();
        return Some(format!("write {}", each.join(", ")));
    }
    let after = |name: &str| {
        let with_sign = rest.iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        with_sign.or_else(|| rest.iter().position(|part| *part == name).and_then(|at| rest.get(at + 1).copied()))
    };
    if rest.contains(&"backup") {
        return Some(format!("write it into a list of its own: `backup = [{}]`", quoted(address)));
    }
    Some(match after("weight").and_then(|weight| weight.parse::<u16>().ok()) {
        Some(weight) => format!("write `{{ address = {}, weight = {weight} }}`", quoted(address)),
        None => format!("write {}; the rest has keys of its own, as `check` and `backup`", quoted(address)),
    })
}

/// Where a site or a TCP listener sends its requests or connections.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// The name of a `[pool.NAME]`.
    Pool(String),
    /// The servers of a pool without a table of its own.
    Servers(Vec<ServerSettings>),
}

impl ValueFormat for Destination {
    type Value = Self;
    const FORM: &str = "the name of a pool, or a list of servers";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        match value {
            Value::Array(..) => Vec::<ServerSettings>::read(value, at).map(Self::Servers),
            Value::String(_, name) => Ok(Self::Pool(name.clone())),
            _ => {
                let help = "write `to = \"NAME\"` for a `[pool.NAME]`, or `to = [\"10.0.0.1:80\"]`";
                Err(Self::wrong(help.to_owned()))
            }
        }
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Pool(name) => name.clone(),
            Self::Servers(_) => "its own servers".to_owned(),
        }
    }
}

/// What an active health request sends.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// `check = "HEAD /path"`: 2xx and 3xx are healthy.
    Http {
        /// The method, upper case.
        method: String,
        /// The path with its query.
        path: String,
    },
    /// `check = "connect"`: an accepted connection is healthy.
    Connect,
}

impl ValueFormat for CheckKind {
    type Value = Self;
    const FORM: &str = "a request such as \"HEAD /index.php\" (GET, HEAD or OPTIONS), or \"connect\"";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let example = || format!("write for example `{} = \"GET /healthz\"`", at.name());
        value.as_str().ok_or_else(example).and_then(check_kind).map_err(Self::wrong)
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Http { method, path } => format!("{method} {path}"),
            Self::Connect => "connect".to_owned(),
        }
    }
}

/// Understands a check, or says what to write instead.
fn check_kind(text: &str) -> Result<CheckKind, String> {
    if text == "connect" {
        return Ok(CheckKind::Connect);
    }
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain != text && check_kind(&plain).is_ok() {
        return Err(format!("write {}", quoted(&plain)));
    }
    if text.starts_with('/') {
        return Err(format!("write the method first: {}", quoted(&format!("GET {text}"))));
    }
    let Some((method, path)) = text.trim_end().split_once(' ') else {
        let connect =
            matches!(text.trim().to_ascii_lowercase().as_str(), "tcp" | "connect" | "connection" | "tcp-check");
        return Err(format!("write {}", if connect { "\"connect\"" } else { "for example \"GET /healthz\"" }));
    };
    let upper = method.to_ascii_uppercase();
    if !matches!(upper.as_str(), "GET" | "HEAD" | "OPTIONS") {
        return Err("a check may use GET, HEAD or OPTIONS: these change nothing on the server".to_owned());
    }
    if upper != method {
        return Err(format!("methods are in upper case: write {}", quoted(&format!("{upper} {path}"))));
    }
    if !path.starts_with('/') {
        return Err("the path must begin with a slash".to_owned());
    }
    // HAProxy's `option httpchk` has a version and may have fields.
    if let Some((path, rest)) = path.split_once(" HTTP/") {
        let host = if rest.to_ascii_lowercase().contains("host:") { ", and the host as `check_host`" } else { "" };
        return Err(format!("the version is left out: write {}{host}", quoted(&format!("{method} {path}"))));
    }
    if let Some(bad) = path.chars().find(|character| !character.is_ascii_graphic() || *character == '#') {
        return Err(format!("the path can't have the character {bad:?}; percent-encode it"));
    }
    Ok(CheckKind::Http { method: upper, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_more_behind_it_is_taken_apart() {
        let help = |text| address_and_more(text).unwrap_or_default();
        assert_eq!(help("a:1 b:2"), "write \"a:1\", \"b:2\"");
        assert_eq!(help("a:1, b:2"), "write \"a:1\", \"b:2\"");
        assert_eq!(help("a:1 weight=2 check"), "write `{ address = \"a:1\", weight = 2 }`");
        assert_eq!(help("a:1 check weight 2"), "write `{ address = \"a:1\", weight = 2 }`");
        assert!(help("a:1 backup").contains("backup = [\"a:1\"]"));
        assert!(help("a:1 check inter 2s").starts_with("write \"a:1\";"));
        assert_eq!([help("a:1"), help("a b"), help(" ")], ["", "", ""]);
    }

    #[test]
    fn checks_have_a_safe_method_and_a_path() {
        let kind = CheckKind::Http { method: "HEAD".to_owned(), path: "/index.php?x=1".to_owned() };
        assert_eq!(check_kind("HEAD /index.php?x=1"), Ok(kind));
        assert_eq!(check_kind("connect"), Ok(CheckKind::Connect));
        assert!(check_kind("/healthz").is_err_and(|help| help.contains("\"GET /healthz\"")));
        assert!(check_kind("get /").is_err_and(|help| help.contains("\"GET /\"")));
        assert!(check_kind("POST /").is_err());
        assert!(check_kind("GET x").is_err());
        assert!(check_kind("GET /a b").is_err());
        assert!(check_kind("tcp").is_err_and(|help| help.contains("connect")));
    }
}

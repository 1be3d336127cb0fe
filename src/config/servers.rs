//! The forms of what has an address: listeners, servers, where a site sends its requests, and checks.

use figment::value::Value;

use super::address::{self, AddressError};
use super::report::{Report, quoted};
use super::spot::Spot;
use super::table::Fallback::{Number, Required};
use super::table::{Form, Given, Keys, table};
use super::values::Whole;
use super::{Address, CheckKind, ServerAddress};

impl Form for Address {
    fn describe() -> String {
        "an address such as \":8080\" (every address), \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/path\"".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let Some(text) = value.as_str() else {
            let problem = report.wrong(spot, value, &Self::describe());
            if let Some(port) = value.to_i128() {
                problem.help(format!("write `{} = \":{port}\"`", spot.name()));
            }
            return None;
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let help = format!("write `{} = \":{text}\"`", spot.name());
            report.wrong(spot, value, &Self::describe()).help(help);
            return None;
        }
        match address::listener(text) {
            Ok(address) => Some(address),
            Err(fault) => {
                bad_address(&fault, text, &Self::describe(), spot, report);
                None
            }
        }
    }
}

fn bad_address(fault: &AddressError, text: &str, form: &str, spot: &Spot, report: &mut Report<'_>) {
    let problem = report.error(spot, format!("{} is not usable here: {fault}", quoted(text)));
    match fault {
        AddressError::NoPort { instead } => problem.help(format!("write it with its port, as in {}", quoted(instead))),
        AddressError::Url { instead } if text.starts_with("https:") => problem.help(format!(
            "write {} for plain HTTP; TLS towards servers is not supported in this version",
            quoted(instead)
        )),
        AddressError::Brackets { instead }
        | AddressError::Unmarked { instead }
        | AddressError::AroundPath { instead }
        | AddressError::NoHost { instead }
        | AddressError::Url { instead }
        | AddressError::Name { instead } => problem.help(format!("write {}", quoted(instead))),
        AddressError::Port | AddressError::Path | AddressError::Host => problem.help(format!("write {form}")),
    };
}

/// One server of a list: an address, or a table with an address and a weight.
#[derive(Clone, Debug)]
pub struct ServerEntry {
    /// As written.
    pub name: String,
    /// Where it is.
    pub address: ServerAddress,
    /// Its share.
    pub weight: u32,
}

table! {
    /// One server with more to say about it than its address, as in `{ address = "10.0.0.1:80", weight = 2 }`.
    ServerTable "SERVERS" {
        /// Where the server is: `"10.0.0.1:80"`, `"[2001:db8::1]:80"`, `"app.internal:80"` or `"unix:/path"`.
        address: ServerText = Required("\"10.0.0.1:80\""),
        /// The server's share of the requests, against the weights of the others. 0 takes none.
        weight: Whole<0, 1000> = Number(1),
    }
}

/// The address of a server with its spelling.
#[derive(Clone, Debug)]
pub struct ServerText {
    text: String,
    address: ServerAddress,
}

impl Form for ServerText {
    fn describe() -> String {
        "an address such as \"10.0.0.1:80\", \"[2001:db8::1]:80\", \"app.internal:80\" or \"unix:/path\"".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let Some(text) = value.as_str() else {
            let problem = report.wrong(spot, value, &Self::describe());
            if let Some(port) = value.to_i128().and_then(|port| u16::try_from(port).ok()) {
                problem.help(format!("write \"127.0.0.1:{port}\" for a server on this machine"));
            }
            return None;
        };
        if let Some(help) = address_and_more(text) {
            report.error(spot, format!("{} is not usable here: it is more than one address", quoted(text))).help(help);
            return None;
        }
        match address::server(text) {
            Ok(address) => Some(Self { text: text.to_owned(), address }),
            Err(fault) => {
                bad_address(&fault, text, &Self::describe(), spot, report);
                None
            }
        }
    }
}

impl Form for ServerEntry {
    fn describe() -> String {
        format!("{}, or a table {{ address = \"…\", weight = 2 }}", ServerText::describe())
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let Some(dict) = value.as_dict() else {
            let ServerText { text, address } = ServerText::read(value, spot, report)?;
            return Some(Self { name: text, address, weight: 1 });
        };
        report.unknown_keys(dict, spot, &[&ServerTable::TABLE]);
        let ServerTable { address, weight } = ServerTable::read(dict, spot, report);
        let weight = match weight {
            Some(Given { value: Whole(weight), .. }) => u32::try_from(weight).ok()?,
            None if dict.contains_key("weight") => return None,
            None => 1,
        };
        let ServerText { text, address } = address?.value;
        Some(Self { name: text, address, weight })
    }
}

/// What to write instead of several addresses in one text, or of one with options behind it as HAProxy and nginx have
/// them.
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

/// Where a site or a TCP listener sends what comes: a pool by its name, or servers written in place.
#[derive(Clone, Debug)]
pub enum To {
    /// The name of a `[pool.NAME]`.
    Pool(String),
    /// The servers of a pool without a table of its own.
    Servers(Vec<Given<ServerEntry>>),
}

impl Form for To {
    fn describe() -> String {
        "the name of a pool, or a list of servers".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        match value {
            Value::Array(..) => Vec::read(value, spot, report).map(Self::Servers),
            Value::String(_, name) => Some(Self::Pool(name.clone())),
            _ => {
                report
                    .wrong(spot, value, &Self::describe())
                    .help("write `to = \"NAME\"` for a `[pool.NAME]`, or `to = [\"10.0.0.1:80\"]`");
                None
            }
        }
    }
}

/// The active health request, without its timing.
impl Form for CheckKind {
    fn describe() -> String {
        "a request such as \"HEAD /index.php\" (GET, HEAD or OPTIONS), or \"connect\"".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let Some(text) = value.as_str() else {
            let help = format!("write for example `{} = \"GET /healthz\"`", spot.name());
            report.wrong(spot, value, &Self::describe()).help(help);
            return None;
        };
        match check_kind(text) {
            Ok(kind) => Some(kind),
            Err(help) => {
                report.wrong(spot, value, &Self::describe()).help(help);
                None
            }
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
        return Err(if connect {
            "write \"connect\"".to_owned()
        } else {
            "write for example \"GET /healthz\"".to_owned()
        });
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
    // As HAProxy's `option httpchk` has it, with a version and perhaps a field.
    if let Some((path, rest)) = path.split_once(" HTTP/") {
        let host = if rest.to_ascii_lowercase().contains("host:") { ", and the host as `check_host`" } else { "" };
        return Err(format!("the version is left out: write {}{host}", quoted(&format!("{method} {path}"))));
    }
    if let Some(bad) = path.chars().find(|character| !character.is_ascii_graphic() || *character == '#') {
        return Err(format!("the path can't have the character {bad:?}; percent-encode it"));
    }
    Ok(CheckKind::Http { method: upper, path: path.to_owned(), host: None })
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
        let kind = CheckKind::Http { method: "HEAD".to_owned(), path: "/index.php?x=1".to_owned(), host: None };
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

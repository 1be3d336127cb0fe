//! The formats of addresses, servers, destinations and checks.

use std::path::Path;
use std::time::SystemTime;

use figment::value::Value;

use super::address::{self, Address, AddressError, ServerAddress, ServerScheme, is_digits};
use super::meant::meant;
use super::problem::quoted;
use super::schema::{At, ValueFormat, default, table};
use super::values::Whole;

impl ValueFormat for Address {
    type Value = Self;
    const FORM: &str =
        "an address such as \":8080\" (every address), \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/path\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let written = at.written();
        match at.text() {
            _ if is_digits(&written) => at.wrong(Self::FORM, at.write(&format!("\":{written}\""))),
            None => at.wrong(Self::FORM, None),
            Some(text) => address::listener(text).map_err(|fault| unusable(fault, Self::FORM, at)).ok(),
        }
    }

    fn show(value: &Self) -> String {
        value.to_string()
    }
}

fn unusable(fault: AddressError, format: &str, at: &mut At<'_, '_>) {
    let message = format!("{} is not usable here: {}", quoted(at.text().unwrap_or_default()), fault.why);
    at.problems.error(&at.spot, message, fault.help.unwrap_or_else(|| format!("write {format}")));
}

impl ValueFormat for ServerAddress {
    type Value = Self;
    const FORM: &str = "an address such as \"10.0.0.1:80\", \"[2001:db8::1]:80\", \"app.internal:80\", \"https://app.internal\", \
         \"h2://app.internal:50051\" or \
         \"unix:/path\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(text) = at.text() else {
            let port = at.written().parse::<u16>().ok();
            let help = port.map(|port| format!("write \"127.0.0.1:{port}\" for a server on this machine"));
            return at.wrong(Self::FORM, help);
        };
        address::server(text).map_err(|fault| unusable(fault, Self::FORM, at)).ok()
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
        /// What is spoken with it.
        scheme: ServerScheme,
        /// Since when the configuration does not have it any more; none while it does. What an earlier generation began with
        /// it goes on, and nothing new begins.
        removed: Option<SystemTime>,
    ) {
        /// Where the server is: `"10.0.0.1:80"`, `"[2001:db8::1]:80"`, `"app.internal:80"`, `"https://app.internal"`,
        /// `"h2://app.internal:50051"` or
        /// `"unix:/path"`.
        address: ServerAddress = required("10.0.0.1:80"),
        /// The server's share of the requests, against the weights of the others. 0 takes none.
        weight: Whole<u32, 0, 1000> = 1,
    }
}

impl ServerSettings {
    /// The process itself, at a unix socket.
    #[must_use]
    pub fn local(socket: &Path) -> Self {
        let address = ServerAddress::Fixed(Address::Unix(socket.to_owned()));
        let (name, scheme) = (format!("unix:{}", socket.display()), address::scheme("").0);
        Self { name, address, scheme, weight: 1, backup: false, removed: None }
    }

    /// A server that the configuration had by this name, and lacks since then; none when the name means nothing.
    #[must_use]
    pub fn removed(name: &str, since: SystemTime) -> Option<Self> {
        let (scheme, address) = (address::scheme(name).0, address::server(name).ok()?);
        Some(Self { name: name.to_owned(), backup: false, scheme, removed: Some(since), address, weight: 0 })
    }
}

impl ValueFormat for ServerSettings {
    type Value = Self;

    fn describe() -> String {
        format!("{}, or a table {{ address = \"…\", weight = 2 }}", ServerAddress::describe())
    }

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let (server, name) = match at.value {
            Value::Dict(..) => (at.table()?, at.get("address")?.as_str()?.to_owned()),
            _ => (Self { address: ServerAddress::read(at)?, ..default() }, at.written()),
        };
        Some(Self { scheme: address::scheme(&name).0, name, ..server })
    }

    fn show(value: &Self) -> String {
        value.name.clone()
    }
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

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        match at.value {
            Value::Array(..) => Vec::<ServerSettings>::read(at).map(Self::Servers),
            Value::String(_, name) => Some(Self::Pool(name.clone())),
            _ => {
                let help = "write `to = \"NAME\"` for a `[pool.NAME]`, or `to = [\"10.0.0.1:80\"]`";
                at.wrong(Self::FORM, help.to_owned())
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
    /// `check = "grpc"` or `"grpc SERVICE"`: what says SERVING is healthy.
    Grpc {
        /// The service; empty for the server as a whole.
        service: String,
    },
}

impl ValueFormat for CheckKind {
    type Value = Self;
    const FORM: &str = "a request such as \"HEAD /index.php\" (GET, HEAD or OPTIONS), \"connect\", or \"grpc\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let text = at.text().unwrap_or_default();
        check_kind(text).or_else(|| {
            let example = || format!("write for example {}", at.assignment("\"GET /healthz\""));
            at.wrong(Self::FORM, help_for_check(text).unwrap_or_else(example))
        })
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Http { method, path } => format!("{method} {path}"),
            Self::Connect => "connect".to_owned(),
            Self::Grpc { service } if service.is_empty() => "grpc".to_owned(),
            Self::Grpc { service } => format!("grpc {service}"),
        }
    }
}

fn help_for_check(text: &str) -> Option<String> {
    meant("check", text, |guess| check_kind(guess).is_some())?.help
}

/// Whether it is the full name of a service of gRPC, and short enough for a message of one octet of length.
fn is_service(name: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    (1..=100).contains(&name.len()) && name.bytes().all(is_right)
}

fn check_kind(text: &str) -> Option<CheckKind> {
    let (method, path) = text.split_once(' ').unwrap_or_default();
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    match method {
        _ if text == "connect" => Some(CheckKind::Connect),
        _ if text == "grpc" => Some(CheckKind::Grpc { service: String::new() }),
        "grpc" if is_service(path) => Some(CheckKind::Grpc { service: path.to_owned() }),
        "GET" | "HEAD" | "OPTIONS" if is_path => {
            Some(CheckKind::Http { method: method.to_owned(), path: path.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_a_safe_method_and_a_path() {
        let kind = CheckKind::Http { method: "HEAD".to_owned(), path: "/index.php?x=1".to_owned() };
        assert_eq!(check_kind("HEAD /index.php?x=1"), Some(kind));
        assert_eq!(check_kind("connect"), Some(CheckKind::Connect));
        for (wrong, help) in [
            ("/healthz", "\"GET /healthz\""),
            ("get  /", "\"GET /\""),
            ("POST /", "GET, HEAD or OPTIONS"),
            ("GET x", "slash"),
            ("GET /a#b", "percent-encode"),
            ("GET /a b", "percent-encode"),
            ("GET / HTTP/1.1", "\"GET /\""),
            ("tcp", "\"connect\""),
        ] {
            assert_eq!(check_kind(wrong), None);
            assert!(help_for_check(wrong).is_some_and(|said| said.contains(help)), "{wrong}");
        }
    }
}

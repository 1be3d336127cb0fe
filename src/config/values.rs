//! The forms that values have: how each is read, and what is said when it is something else.

use std::time::Duration;

use figment::value::Value;
use ipnet::IpNet;

use super::address::{self, AddressError};
use super::report::{Report, quoted};
use super::spot::Spot;
use super::table::Fallback::{Number, Required};
use super::table::{Form, Given, Keys, table};
use super::units::{self, UnitError};
use super::{Access, Address, Balance, CheckKind, ServerAddress};

/// A whole number in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Form for Whole<MIN, MAX> {
    fn describe() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        if let Some(number) = value.to_i128().and_then(|number| u64::try_from(number).ok())
            && (MIN..=MAX).contains(&number)
        {
            return Some(Self(number));
        }
        let problem = report.wrong(spot, value, &Self::describe());
        if let Some(number) = value.as_str().and_then(|text| text.trim().parse::<u64>().ok()) {
            problem.help(format!("write `{} = {number}`, without quotes", spot.name()));
        } else if value.as_str().is_some() {
            problem.help(format!(
                "write it in digits, as in `{} = {}`",
                spot.name(),
                MAX.min(MIN.max(3))
            ));
        }
        None
    }
}

/// A size in bytes, in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Form for Size<MIN, MAX> {
    fn describe() -> String {
        let (min, max) = (units::show_size(MIN), units::show_size(MAX));
        format!("a size with a unit, from \"{min}\" to \"{max}\"")
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let fault = match value.as_str().map(units::size) {
            Some(Ok(size)) if (MIN..=MAX).contains(&size) => return Some(Self(size)),
            Some(Err(fault)) => Some(fault),
            _ => None,
        };
        let problem = report.wrong(spot, value, &Self::describe());
        let number = value.to_i128().map(|number| number.to_string());
        let digits = value
            .as_str()
            .map(|text| text.trim_end_matches(|end: char| end.is_ascii_alphabetic()).trim());
        match (fault, number, digits) {
            (Some(UnitError::Ambiguous), _, Some(digits)) => {
                let unit = value
                    .as_str()
                    .and_then(|text| text.chars().last())
                    .unwrap_or('k')
                    .to_ascii_uppercase();
                problem.help(format!(
                    "write \"{digits}{unit}iB\" (times 1024) or \"{digits}{unit}B\" (times 1000)",
                ));
            }
            (Some(UnitError::NoUnit), _, Some(number)) => {
                problem.help(format!("write `{} = \"{number}B\"`, or KiB, MiB, GiB", spot.name()));
            }
            (_, Some(number), _) => {
                problem.help(format!("write `{} = \"{number}B\"`, or KiB, MiB, GiB", spot.name()));
            }
            (Some(_), ..) => {
                problem.help("units are B, KiB, MiB, GiB (times 1024) and kB, MB, GB (times 1000)");
            }
            (None, ..) => {}
        }
        None
    }
}

/// Above this a duration is likely a slip.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Above this a duration is refused: a deadline that far away is none, and every wait has one.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Form for Duration {
    fn describe() -> String {
        "a duration with a unit, such as \"5s\", \"500ms\" or \"1h 30min\"".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let name = spot.name();
        match value.as_str().map(units::duration) {
            Some(Ok(time)) => in_range(time, spot, report),
            Some(Err(UnitError::NoUnit)) => {
                let number = value.as_str().unwrap_or_default();
                report
                    .wrong(spot, value, &Self::describe())
                    .help(with_unit(name, number));
                None
            }
            Some(Err(_)) => {
                let help = "units are ms, s, min, h and days, each after a number";
                report.wrong(spot, value, &Self::describe()).help(help);
                None
            }
            None => {
                let problem = report.wrong(spot, value, &Self::describe());
                match value.to_i128() {
                    Some(number) if number > 0 => problem.help(with_unit(name, &number.to_string())),
                    _ => problem.help(format!("write for example `{name} = \"5s\"`")),
                };
                None
            }
        }
    }
}

fn in_range(time: Duration, spot: &Spot, report: &mut Report<'_>) -> Option<Duration> {
    let name = spot.name();
    if time < Duration::from_millis(1) {
        report
            .error(
                spot,
                format!("`{name}` must be longer than nothing: no wait can be over before it begins"),
            )
            .help(format!("write for example `{name} = \"5s\"`"));
        return None;
    }
    if time > LONGEST {
        report
            .error(spot, format!("`{name}` must be a year or less: every wait has an end"))
            .help(format!("write for example `{name} = \"1h\"`"));
        return None;
    }
    if time > A_DAY {
        report
            .warning(
                spot,
                format!("`{name}` is {}, more than a day", units::show_duration(time)),
            )
            .help("what waits so long holds memory and a descriptor; shorter is likely what you want");
    }
    Some(time)
}

/// HAProxy takes a number alone as milliseconds, most others as seconds: where both make sense, both are shown.
fn with_unit(name: &str, number: &str) -> String {
    match number.parse::<u64>() {
        Ok(number) if number >= 1000 => {
            let millis = units::show_duration(Duration::from_millis(number));
            format!("write `{name} = \"{millis}\"` if these are milliseconds, `{name} = \"{number}s\"` if seconds")
        }
        _ => format!("write `{name} = \"{number}s\"`"),
    }
}

impl Form for bool {
    fn describe() -> String {
        "true or false".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        if let Some(truth) = value.to_bool() {
            return Some(truth);
        }
        let meant = match (value.as_str(), value.to_i128()) {
            (Some("yes" | "on" | "true" | "enabled"), _) | (_, Some(1)) => Some(true),
            (Some("no" | "off" | "false" | "disabled"), _) | (_, Some(0)) => Some(false),
            _ => None,
        };
        let problem = report.wrong(spot, value, &Self::describe());
        if let Some(truth) = meant {
            problem.help(format!("write `{} = {truth}`, without quotes", spot.name()));
        }
        None
    }
}

/// The name of something, or any text whose rules are checked where it is used.
impl Form for String {
    fn describe() -> String {
        "a text in quotes".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            report.wrong(spot, value, &Self::describe());
        }
        text
    }
}

impl<T: Form> Form for Vec<Given<T>> {
    fn describe() -> String {
        format!("a list; each element is {}", T::describe())
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let Some(list) = value.as_array() else {
            let problem = report.wrong(spot, value, "a list");
            if let Some(text) = value.as_str() {
                problem.help(format!("write `{} = [{}]`", spot.name(), quoted(text)));
            }
            return None;
        };
        let read = |(index, value): (usize, &Value)| {
            let spot = spot.index(index, value.tag());
            T::read(value, &spot, report).map(|value| Given { value, spot })
        };
        // All are read before the first bad one counts: each problem is to be reported.
        let elements: Vec<Option<Given<T>>> = list.iter().enumerate().map(read).collect();
        elements.into_iter().collect()
    }
}

/// The words that a key can have.
fn word<T: Copy>(words: &[(&str, T)], value: &Value, spot: &Spot, report: &mut Report<'_>, form: &str) -> Option<T> {
    let given = value.as_str();
    if let Some((_, meant)) = words.iter().find(|(word, _)| Some(*word) == given) {
        return Some(*meant);
    }
    let close = given.and_then(|given| super::suggest::closest(given, words.iter().map(|(word, _)| *word)));
    let problem = report.wrong(spot, value, form);
    if let Some(close) = close {
        problem.help(format!("did you mean `{} = \"{close}\"`?", spot.name()));
    }
    None
}

impl Form for Balance {
    fn describe() -> String {
        "\"round-robin\" or \"least-connections\"".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let foreign = match value.as_str() {
            Some("roundrobin" | "round_robin" | "rr" | "static-rr") => Some("round-robin"),
            Some("leastconn" | "least_conn" | "least_connections" | "least_request") => Some("least-connections"),
            _ => None,
        };
        if let Some(instead) = foreign {
            let help = format!("write `{} = \"{instead}\"`", spot.name());
            report.wrong(spot, value, &Self::describe()).help(help);
            return None;
        }
        let words = [
            ("round-robin", Self::RoundRobin),
            ("least-connections", Self::LeastConnections),
        ];
        word(&words, value, spot, report, &Self::describe())
    }
}

impl Form for Access {
    fn describe() -> String {
        "\"all\", \"errors+slow\", \"sample:1%\" (any share) or \"off\"".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        if let Some(share) = value.as_str().and_then(|text| text.strip_prefix("sample:")) {
            let parts = parts_of_a_million(share);
            if parts.is_none() {
                report
                    .wrong(spot, value, "\"sample:\" and a share from 0.0001% to 100%")
                    .help(format!("write for example `{} = \"sample:1%\"`", spot.name()));
            }
            return parts.map(Self::Sample);
        }
        let words = [
            ("all", Self::All),
            ("errors+slow", Self::ErrorsAndSlow),
            ("off", Self::Off),
        ];
        word(&words, value, spot, report, &Self::describe())
    }
}

fn parts_of_a_million(share: &str) -> Option<u32> {
    let percent = share.strip_suffix('%')?.trim();
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
    if fraction.len() > 4 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parts = whole.parse::<u32>().ok()?.checked_mul(10_000)? + format!("{fraction:0<4}").parse::<u32>().ok()?;
    (1..=1_000_000).contains(&parts).then_some(parts)
}

impl Form for IpNet {
    fn describe() -> String {
        "an IP network such as \"10.0.0.0/8\", or one address".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let net = value.as_str().and_then(|text| {
            text.parse::<Self>()
                .ok()
                .or_else(|| text.parse::<std::net::IpAddr>().ok().map(Self::from))
        });
        if net.is_none() {
            report.wrong(spot, value, &Self::describe());
        }
        net
    }
}

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
        AddressError::Brackets { instead } | AddressError::Url { instead } | AddressError::Name { instead } => {
            problem.help(format!("write {}", quoted(instead)))
        }
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
            report.wrong(spot, value, &Self::describe());
            return None;
        };
        match address::server(text) {
            Ok(address) => Some(Self {
                text: text.to_owned(),
                address,
            }),
            Err(fault) => {
                bad_address(&fault, text, &Self::describe(), spot, report);
                None
            }
        }
    }
}

impl Form for ServerEntry {
    fn describe() -> String {
        format!(
            "{}, or a table {{ address = \"…\", weight = 2 }}",
            ServerText::describe()
        )
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let Some(dict) = value.as_dict() else {
            let ServerText { text, address } = ServerText::read(value, spot, report)?;
            return Some(Self {
                name: text,
                address,
                weight: 1,
            });
        };
        report.unknown_keys(dict, spot, &[&ServerTable::TABLE]);
        let ServerTable { address, weight } = ServerTable::read(dict, spot, report);
        let weight = match weight {
            Some(Given {
                value: Whole(weight), ..
            }) => u32::try_from(weight).ok()?,
            None if dict.contains_key("weight") => return None,
            None => 1,
        };
        let ServerText { text, address } = address?.value;
        Some(Self {
            name: text,
            address,
            weight,
        })
    }
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
    if text.starts_with('/') {
        return Err(format!("write the method first: {}", quoted(&format!("GET {text}"))));
    }
    let Some((method, path)) = text.split_once(' ') else {
        let connect = matches!(
            text.to_ascii_lowercase().as_str(),
            "tcp" | "connect" | "connection" | "tcp-check"
        );
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
        return Err(format!(
            "methods are in upper case: write {}",
            quoted(&format!("{upper} {path}"))
        ));
    }
    if !path.starts_with('/') {
        return Err("the path must begin with a slash".to_owned());
    }
    if let Some(bad) = path
        .chars()
        .find(|character| !character.is_ascii_graphic() || *character == '#')
    {
        return Err(format!("the path can't have the character {bad:?}; percent-encode it"));
    }
    Ok(CheckKind::Http {
        method: upper,
        path: path.to_owned(),
        host: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parts_of_a_million() {
        assert_eq!(parts_of_a_million("1%"), Some(10_000));
        assert_eq!(parts_of_a_million("0.0001%"), Some(1));
        assert_eq!(parts_of_a_million("2.5 %"), Some(25_000));
        assert_eq!(parts_of_a_million("100%"), Some(1_000_000));
        for bad in ["0%", "101%", "1", "x%", "0.00001%", "-1%", "1.%x"] {
            assert_eq!(parts_of_a_million(bad), None, "{bad}");
        }
    }

    #[test]
    fn checks_have_a_safe_method_and_a_path() {
        let kind = CheckKind::Http {
            method: "HEAD".to_owned(),
            path: "/index.php?x=1".to_owned(),
            host: None,
        };
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

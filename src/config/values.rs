//! The forms that values have: how each is read, and what is said when it is something else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use figment::value::Value;
use ipnet::IpNet;

use super::report::{Report, quoted};
use super::spot::Spot;
use super::table::{Form, Given};
use super::units::{self, UnitError};
use super::{Access, Balance, Memory};

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
        let digits = value.as_str().and_then(|text| text.trim().parse::<u64>().ok());
        let example = report.assignment(spot, &MAX.min(MIN.max(3)).to_string());
        let problem = report.wrong(spot, value, &Self::describe());
        match (digits, value.as_str()) {
            (Some(number), _) => problem.help(format!("write `{} = {number}`, without quotes", spot.name())),
            (None, Some(_)) => problem.help(format!("write it in digits, as in {example}")),
            (None, None) => problem,
        };
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
        let digits = value.as_str().map(|text| text.trim_end_matches(|end: char| end.is_ascii_alphabetic()).trim());
        match (fault, number, digits) {
            (Some(UnitError::Ambiguous), _, Some(digits)) => {
                let unit = value.as_str().and_then(|text| text.chars().last()).unwrap_or('k').to_ascii_uppercase();
                problem.help(format!("write \"{digits}{unit}iB\" (times 1024) or \"{digits}{unit}B\" (times 1000)",));
            }
            (Some(UnitError::NoUnit), _, Some(number)) => {
                Self::with_unit(number).map(|help| problem.help(format!("write `{} = {help}", spot.name())));
            }
            (_, Some(number), _) => {
                Self::with_unit(&number).map(|help| problem.help(format!("write `{} = {help}", spot.name())));
            }
            (Some(_), ..) => {
                problem.help("units are B, KiB, MiB, GiB (times 1024) and kB, MB, GB (times 1000)");
            }
            (None, ..) => {}
        }
        None
    }
}

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// The end of "write …": `number` with the smallest unit that makes it allowed, if one does.
    fn with_unit(number: &str) -> Option<String> {
        let allowed =
            |unit: &&str| units::size(&format!("{number}{unit}")).is_ok_and(|size| (MIN..=MAX).contains(&size));
        let unit = ["B", "KiB", "MiB", "GiB"].into_iter().find(allowed)?;
        let others = if unit == "B" { ", or KiB, MiB, GiB" } else { "" };
        Some(format!("\"{number}{unit}\"`{others}"))
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
        let text = match value {
            Value::String(_, text) => text.clone(),
            Value::Num(_, number) => number.to_i128().map(|number| number.to_string()).unwrap_or_default(),
            _ => String::new(),
        };
        let help = match value.as_str().map_or(Err(UnitError::NoUnit), units::duration) {
            Ok(time) => return in_range(time, spot, report),
            Err(UnitError::TooLong) => return in_range(Duration::MAX, spot, report),
            _ if text.trim_start().starts_with('-') => {
                let example = report.assignment(spot, "\"5s\"");
                report
                    .error(spot, format!("`{}` can't be negative, as {} is", spot.name(), quoted(&text)))
                    .help(format!("write for example {example}"));
                return None;
            }
            Err(UnitError::NoUnit) => with_unit(&text, spot, report),
            Err(_) => match units::likely_duration(&text) {
                Some(time) => format!("write {}", report.assignment(spot, &quoted(&units::show_duration(time)))),
                None => {
                    let example = report.assignment(spot, "\"5s\"");
                    format!("write for example {example}; units are ms, s, min, h and days, each after a number")
                }
            },
        };
        report.wrong(spot, value, &Self::describe()).help(help);
        None
    }
}

fn in_range(time: Duration, spot: &Spot, report: &mut Report<'_>) -> Option<Duration> {
    let name = spot.name();
    let mut refuse = |message: &str, example: &str| {
        let example = report.assignment(spot, example);
        report.error(spot, format!("`{name}` must be {message}")).help(format!("write for example {example}"));
    };
    if time < Duration::from_millis(1) {
        refuse("longer than nothing: no wait can be over before it begins", "\"5s\"");
        return None;
    }
    if time > LONGEST {
        refuse("a year or less: every wait has an end", "\"1h\"");
        return None;
    }
    if time > A_DAY {
        report
            .warning(spot, format!("`{name}` is {}, more than a day", units::show_duration(time)))
            .help("what waits so long holds memory and a descriptor; shorter is likely what you want");
    }
    Some(time)
}

/// HAProxy takes a number alone as milliseconds, most others as seconds: where both make sense, both are shown.
fn with_unit(number: &str, spot: &Spot, report: &Report<'_>) -> String {
    let allowed = |time: &Duration| (Duration::from_millis(1)..=LONGEST).contains(time);
    let write = |time: Duration| report.assignment(spot, &quoted(&units::show_duration(time)));
    let number: u64 = number.parse().unwrap_or(0);
    let millis = Some(Duration::from_millis(number)).filter(|_| number >= 1000).filter(allowed).map(write);
    let seconds = Some(Duration::from_secs(number)).filter(allowed).map(write);
    match (millis, seconds) {
        (Some(millis), Some(seconds)) => format!("write {millis} if these are milliseconds, {seconds} if seconds"),
        (Some(one), None) | (None, Some(one)) => format!("write {one}"),
        (None, None) => format!("write for example {}", report.assignment(spot, "\"5s\"")),
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
        let meant = value.as_str().and_then(truth).or(match value.to_i128() {
            Some(number @ (0 | 1)) => Some(number == 1),
            _ => None,
        });
        let problem = report.wrong(spot, value, &Self::describe());
        if let Some(truth) = meant {
            problem.help(format!("write `{} = {truth}`, without quotes", spot.name()));
        }
        None
    }
}

/// What a word for yes or no means, in whatever case.
#[must_use]
pub fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "enabled" => Some(true),
        "no" | "off" | "false" | "disabled" => Some(false),
        _ => None,
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
    let help = close.map(|close| format!("did you mean {}?", report.assignment(spot, &quoted(close))));
    let problem = report.wrong(spot, value, form);
    if let Some(help) = help {
        problem.help(help);
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
        let words = [("round-robin", Self::RoundRobin), ("least-connections", Self::LeastConnections)];
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
        let words = [("all", Self::All), ("errors+slow", Self::ErrorsAndSlow), ("off", Self::Off)];
        word(&words, value, spot, report, &Self::describe())
    }
}

impl Form for Memory {
    fn describe() -> String {
        "a share such as \"25%\", or a size such as \"512MiB\"".to_owned()
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        let text = value.as_str().unwrap_or_default();
        let memory = match text.ends_with('%') {
            true => parts_of_a_million(text).map(Self::Share),
            false => super::units::size(text).ok().map(Self::Size),
        };
        if memory.is_none() {
            report.wrong(spot, value, &Self::describe());
        }
        memory
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
        let text = value.as_str().unwrap_or_default();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::from(address));
        }
        let Ok(net) = text.parse::<Self>() else {
            let help = match likely_net(text) {
                Some(instead) => format!("write {}", quoted(&instead)),
                None => "write for example \"10.0.0.0/8\", or one address such as \"10.0.0.1\"".to_owned(),
            };
            report.wrong(spot, value, &Self::describe()).help(help);
            return None;
        };
        if net.addr() != net.network() {
            let (whole, one) = (quoted(&net.trunc().to_string()), quoted(&net.addr().to_string()));
            report
                .warning(spot, format!("{} has bits behind its prefix: all of {whole} is meant", quoted(text)))
                .help(format!("write {whole}, or {one} for this address alone"));
        }
        Some(net)
    }
}

/// The network or the address that was meant by a text that is neither.
fn likely_net(text: &str) -> Option<String> {
    if text == "localhost" {
        return Some("127.0.0.0/8".to_owned());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_string());
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(address.to_string());
    }
    if let Some((address, prefix)) = text.split_once('/') {
        let address: IpAddr = address.trim().parse().ok()?;
        if let Ok(mask) = prefix.trim().parse::<IpAddr>() {
            let net = IpNet::with_netmask(address, mask).ok()?;
            return Some(net.trunc().to_string());
        }
        // a prefix that is too long, or none: the address alone is certain
        return Some(address.to_string());
    }
    let labels: Vec<&str> = text.trim_end_matches(['.', '*']).split('.').collect();
    let address = (text.ends_with('*') && labels.len() < 4).then(|| [&labels[..], &["0"; 4][labels.len()..]].concat());
    let address: IpAddr = address?.join(".").parse().ok()?;
    Some(format!("{address}/{}", labels.len() * 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_guessed() {
        for (text, meant) in [
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
            ("10.*", "10.0.0.0/8"),
            ("192.168.1.*", "192.168.1.0/24"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]", "::1"),
            ("::1/200", "::1"),
        ] {
            assert_eq!(likely_net(text).as_deref(), Some(meant), "{text}");
        }
        for none in ["", "private", "10.0.0", "x/8", "*", "1.2.3.4.*"] {
            assert_eq!(likely_net(none), None, "{none}");
        }
    }

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
}

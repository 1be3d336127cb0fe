//! The formats of plain values: numbers, sizes, durations, words, lists.

use std::ops::RangeInclusive;
use std::time::Duration;

use figment::value::Value;

use super::problem::quoted;
use super::schema::{self, At, ValueFormat, Wrong};
use super::suggest;
use super::units::{self, UnitError, show_duration, show_size};

/// A whole number in a range, which fits into `T`.
pub struct Whole<T, const MIN: u64, const MAX: u64>(pub T);

impl<T: TryFrom<u64> + ToString, const MIN: u64, const MAX: u64> ValueFormat for Whole<T, MIN, MAX> {
    type Value = T;

    fn describe() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<T, Wrong> {
        let number = value.to_i128().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| (MIN..=MAX).contains(number)).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| {
            let digits = value.as_str().map(|text| text.trim().parse::<u64>());
            Self::wrong(digits.map(|digits| match digits {
                Ok(number) => format!("{}, without quotes", at.write(&number.to_string())),
                Err(_) => format!("write it in digits, as in {}", at.assignment(&MAX.min(MIN.max(3)).to_string())),
            }))
        })
    }

    fn show(value: &T) -> String {
        value.to_string()
    }

    fn from_text(text: &str) -> Value {
        text.trim().parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
    }
}

/// A size in bytes, in a range, which fits into `T`.
pub struct Size<T, const MIN: u64, const MAX: u64>(pub T);

impl<T: TryFrom<u64> + Copy, const MIN: u64, const MAX: u64> ValueFormat for Size<T, MIN, MAX>
where
    u64: TryFrom<T>,
{
    type Value = T;

    fn describe() -> String {
        format!("a size with a unit, from \"{}\" to \"{}\"", show_size(MIN), show_size(MAX))
    }

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<T, Wrong> {
        let text = value.as_str();
        let fault = match text.map(units::size) {
            Some(Ok(size)) => match T::try_from(size) {
                Ok(fits) if (MIN..=MAX).contains(&size) => return Ok(fits),
                _ => None,
            },
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        let number = value.to_i128().map(|number| number.to_string());
        let digits = text.map(|text| text.trim_end_matches(|end: char| end.is_ascii_alphabetic()).trim());
        let with_unit = |number: &str| {
            let fits =
                |unit: &&str| units::size(&format!("{number}{unit}")).is_ok_and(|size| (MIN..=MAX).contains(&size));
            let unit = ["B", "KiB", "MiB", "GiB"].into_iter().find(fits)?;
            let others = if unit == "B" { ", or KiB, MiB, GiB" } else { "" };
            Some(at.write(&format!("\"{number}{unit}\"")) + others)
        };
        Err(Self::wrong(match (fault, number, digits) {
            (Some(UnitError::Ambiguous), _, Some(digits)) => {
                let unit = text.and_then(|text| text.chars().last()).unwrap_or('k').to_ascii_uppercase();
                Some(format!("write \"{digits}{unit}iB\" (times 1024) or \"{digits}{unit}B\" (times 1000)"))
            }
            (Some(UnitError::NoUnit), _, Some(number)) => with_unit(number),
            (_, Some(number), _) => with_unit(&number),
            (Some(_), ..) => Some("units are B, KiB, MiB, GiB (times 1024) and kB, MB, GB (times 1000)".to_owned()),
            (None, ..) => None,
        }))
    }

    fn show(value: &T) -> String {
        u64::try_from(*value).map_or_else(|_| "more".to_owned(), show_size)
    }
}

/// Above this a duration is likely a slip.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What is allowed: no wait can be over before it begins, and a deadline further away than a year is none.
const ALLOWED: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(366 * 24 * 60 * 60);

impl ValueFormat for Duration {
    type Value = Self;
    const FORM: &str = "a duration with a unit, such as \"5s\", \"500ms\" or \"1h 30min\"";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let text = match value {
            Value::String(_, text) => text.clone(),
            Value::Num(_, number) => number.to_i128().map(|number| number.to_string()).unwrap_or_default(),
            _ => String::new(),
        };
        let example = at.assignment("\"5s\"");
        Err(Self::wrong(match value.as_str().map_or(Err(UnitError::NoUnit), units::duration) {
            Ok(time) => return in_range(time, at),
            Err(UnitError::TooLong) => return in_range(Self::MAX, at),
            _ if text.trim_start().starts_with('-') => {
                let message = format!("`{}` can't be negative, as {} is", at.name(), quoted(&text));
                return Err(Wrong::Unusable { message, help: format!("write for example {example}") });
            }
            Err(UnitError::NoUnit) => with_unit(&text, at),
            Err(_) => match units::likely_duration(&text) {
                Some(time) => format!("write {}", at.assignment(&quoted(&show_duration(time)))),
                None => {
                    format!("write for example {example}; units are ms, s, min, h and days, each after a number")
                }
            },
        }))
    }

    fn show(value: &Self) -> String {
        show_duration(*value)
    }
}

fn in_range(time: Duration, at: &mut At<'_, '_>) -> Result<Duration, Wrong> {
    let (must, example) = if time < *ALLOWED.start() {
        ("longer than nothing: no wait can be over before it begins", "\"5s\"")
    } else if time > *ALLOWED.end() {
        ("a year or less: every wait has an end", "\"1h\"")
    } else {
        if time > A_DAY {
            let message = format!("`{}` is {}, more than a day", at.name(), show_duration(time));
            at.warning(message, "what waits so long holds memory and a descriptor; shorter is likely what you want");
        }
        return Ok(time);
    };
    let help = format!("write for example {}", at.assignment(example));
    Err(Wrong::Unusable { message: format!("`{}` must be {must}", at.name()), help })
}

/// HAProxy takes a number alone as milliseconds, most others as seconds: where both make sense, both are shown.
fn with_unit(number: &str, at: &At<'_, '_>) -> String {
    let number: u64 = number.parse().unwrap_or(0);
    let write = |time: Duration| ALLOWED.contains(&time).then(|| at.assignment(&quoted(&show_duration(time))));
    let millis = Some(Duration::from_millis(number)).filter(|_| number >= 1000).and_then(write);
    match (millis, write(Duration::from_secs(number))) {
        (Some(millis), Some(seconds)) => format!("write {millis} if these are milliseconds, {seconds} if seconds"),
        (Some(one), None) | (None, Some(one)) => format!("write {one}"),
        (None, None) => format!("write for example {}", at.assignment("\"5s\"")),
    }
}

/// A value, or `"off"` for none.
pub struct OrOff<F>(pub F);

impl<F: ValueFormat> ValueFormat for OrOff<F> {
    type Value = Option<F::Value>;

    fn describe() -> String {
        format!("{}, or \"off\"", F::describe())
    }

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self::Value, Wrong> {
        if value.as_str() == Some("off") { Ok(None) } else { F::read(value, at).map(Some) }
    }

    fn show(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "off".to_owned(), F::show)
    }
}

/// A value that needs not be given.
impl<F: ValueFormat> ValueFormat for Option<F> {
    type Value = Option<F::Value>;

    fn describe() -> String {
        F::describe()
    }

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self::Value, Wrong> {
        F::read(value, at).map(Some)
    }

    fn show(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "not set".to_owned(), F::show)
    }

    fn unset() -> Option<Self::Value> {
        Some(None)
    }

    fn from_text(text: &str) -> Value {
        F::from_text(text)
    }
}

impl ValueFormat for bool {
    type Value = Self;
    const FORM: &str = "true or false";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        value.to_bool().ok_or_else(|| {
            let of_number = || value.to_i128().filter(|number| [0, 1].contains(number)).map(|number| number == 1);
            let meant = value.as_str().and_then(truth).or_else(of_number);
            Self::wrong(meant.map(|truth| format!("{}, without quotes", at.write(&truth.to_string()))))
        })
    }

    fn show(value: &Self) -> String {
        value.to_string()
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

/// A text with rules that are checked where it is used.
impl ValueFormat for String {
    type Value = Self;
    const FORM: &str = "a text in quotes";

    fn read(value: &Value, _: &mut At<'_, '_>) -> Result<Self, Wrong> {
        value.as_str().map(str::to_owned).ok_or_else(|| Self::wrong(None))
    }

    fn show(value: &Self) -> String {
        value.clone()
    }
}

impl<F: ValueFormat> ValueFormat for Vec<F> {
    type Value = Vec<F::Value>;

    fn describe() -> String {
        format!("a list; each element is {}", F::describe())
    }

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self::Value, Wrong> {
        let Some(list) = value.as_array() else {
            let help = value.as_str().map(|text| at.write(&format!("[{}]", quoted(text))));
            return Err(Wrong::Format { format: "a list".to_owned(), help });
        };
        let elements = list.iter().enumerate();
        let elements =
            elements.map(|(index, one)| schema::read::<F>(one, &at.spot.index(index, one.tag()), at.problems));
        // All are read before the first wrong one counts: each problem is reported.
        elements.collect::<Vec<_>>().into_iter().collect::<Option<_>>().ok_or(Wrong::Inside)
    }

    fn show(value: &Self::Value) -> String {
        format!("[{}]", value.iter().map(F::show).collect::<Vec<_>>().join(", "))
    }
}

/// The one of `all` that `value` is the word for, or what is wrong with it.
fn word<F: ValueFormat<Value = F> + Copy>(all: &[F], value: &Value, at: &At<'_, '_>) -> Result<F, Wrong> {
    let (given, words) = (value.as_str(), all.iter().map(F::show).collect::<Vec<_>>());
    if let Some(index) = words.iter().position(|word| Some(word.as_str()) == given) {
        return Ok(all[index]);
    }
    let close = given.and_then(|given| suggest::closest(given, words.iter().map(String::as_str)));
    Err(F::wrong(close.map(|close| format!("did you mean {}?", at.assignment(&quoted(close))))))
}

/// How the next server is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight, evenly spread.
    RoundRobin,
    /// The server with the fewest open attempts for its weight.
    LeastConnections,
}

impl ValueFormat for Balance {
    type Value = Self;
    const FORM: &str = "\"round-robin\" or \"least-connections\"";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let instead = match value.as_str() {
            Some("roundrobin" | "round_robin" | "rr" | "static-rr") => "\"round-robin\"",
            Some("leastconn" | "least_conn" | "least_connections" | "least_request") => "\"least-connections\"",
            _ => return word(&[Self::RoundRobin, Self::LeastConnections], value, at),
        };
        Err(Self::wrong(at.write(instead)))
    }

    fn show(value: &Self) -> String {
        match value {
            Self::RoundRobin => "round-robin".to_owned(),
            Self::LeastConnections => "least-connections".to_owned(),
        }
    }
}

/// Which exchanges are written to the journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Access {
    /// Every one.
    All,
    /// Those that failed (status 500 and above, or ended badly) and those that were slow.
    ErrorsAndSlow,
    /// As above, and this share of the rest, in parts of a million.
    Sample(u32),
    /// None.
    Off,
}

impl ValueFormat for Access {
    type Value = Self;
    const FORM: &str = "\"all\", \"errors+slow\", \"sample:1%\" (any share) or \"off\"";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let Some(share) = value.as_str().and_then(|text| text.strip_prefix("sample:")) else {
            return word(&[Self::All, Self::ErrorsAndSlow, Self::Off], value, at);
        };
        units::share(share).map(Self::Sample).ok_or_else(|| Wrong::Format {
            format: "\"sample:\" and a share from 0.0001% to 100%".to_owned(),
            help: Some(format!("write for example `{} = \"sample:1%\"`", at.name())),
        })
    }

    fn show(value: &Self) -> String {
        match value {
            Self::All => "all".to_owned(),
            Self::ErrorsAndSlow => "errors+slow".to_owned(),
            Self::Sample(parts) => format!("sample:{}", units::show_share(*parts)),
            Self::Off => "off".to_owned(),
        }
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Bytes.
    Size(u64),
    /// A share of what the service may use, in parts of a million.
    Share(u32),
}

impl ValueFormat for MemoryLimit {
    type Value = Self;
    const FORM: &str = "a share such as \"25%\", or a size such as \"512MiB\"";

    fn read(value: &Value, _: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let text = value.as_str().unwrap_or_default();
        let limit = match text.ends_with('%') {
            true => units::share(text).map(Self::Share),
            false => units::size(text).ok().map(Self::Size),
        };
        limit.ok_or_else(|| Self::wrong(None))
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Size(bytes) => show_size(*bytes),
            Self::Share(parts) => units::show_share(*parts),
        }
    }
}

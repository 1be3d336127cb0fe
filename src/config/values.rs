//! The formats of plain values: numbers, sizes, durations, words, lists.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::ValueEnum;

use super::problem::quoted;
use super::schema::{At, ValueFormat};
use super::units::{self, show_duration, show_size};
use super::{suggest, words};

/// A whole number in a range, which fits into `T`.
pub struct Whole<T, const MIN: u64, const MAX: u64>(pub T);

impl<T: TryFrom<u64> + ToString, const MIN: u64, const MAX: u64> ValueFormat for Whole<T, MIN, MAX> {
    type Value = T;

    fn describe() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(at: &mut At<'_, '_>) -> Option<T> {
        let number = at.value.to_i128().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| (MIN..=MAX).contains(number)).and_then(|number| T::try_from(number).ok());
        number.or_else(|| {
            let help = at.text().map(|text| match text.trim().parse::<u64>() {
                Ok(number) => at.write(&number.to_string()) + ", without quotes",
                Err(_) => format!("write it in digits, as in {}", at.assignment(&MAX.min(MIN.max(3)).to_string())),
            });
            at.wrong(&Self::describe(), help)
        })
    }

    fn show(value: &T) -> String {
        value.to_string()
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

    fn read(at: &mut At<'_, '_>) -> Option<T> {
        let size = at.text().and_then(units::size);
        let fits = |size: &u64| (MIN..=MAX).contains(size);
        if let Some(fitting) = size.filter(fits).and_then(|size| T::try_from(size).ok()) {
            return Some(fitting);
        }
        let text = at.written();
        let (number, unit) = units::number_and_unit(&text);
        let fits_with = |unit: &&str| units::size(&format!("{number}{unit}")).is_some_and(|size| fits(&size));
        let help = match unit.to_ascii_uppercase().as_str() {
            _ if size.is_some() => None,
            "" => ["B", "KiB", "MiB", "GiB"].into_iter().find(fits_with).map(|unit| {
                let others = if unit == "B" { ", or KiB, MiB, GiB" } else { "" };
                at.write(&format!("\"{number}{unit}\"")) + others
            }),
            letter @ ("K" | "M" | "G" | "T" | "P") => {
                Some(format!("write \"{number}{letter}iB\" (times 1024) or \"{number}{letter}B\" (times 1000)"))
            }
            _ => Some("units are B, KiB, MiB, GiB (times 1024) and kB, MB, GB (times 1000)".to_owned()),
        };
        at.wrong(&Self::describe(), help)
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

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        if let Some(time) = at.text().and_then(units::duration) {
            return in_range(time, at);
        }
        let text = at.written();
        let example = format!("write for example {}", at.assignment("\"5s\""));
        if text.starts_with('-') {
            let message = format!("`{}` can't be negative, as {} is", at.name(), quoted(&text));
            return at.unusable(message, example);
        }
        let help = match units::likely_duration(&text) {
            _ if units::number_and_unit(&text).1.is_empty() => with_unit(&text, at).unwrap_or(example),
            Some(time) => at.write(&quoted(&show_duration(time))),
            None => format!("{example}; units are ms, s, min, h and days, each after a number"),
        };
        at.wrong(Self::FORM, help)
    }

    fn show(value: &Self) -> String {
        show_duration(*value)
    }
}

fn in_range(time: Duration, at: &mut At<'_, '_>) -> Option<Duration> {
    let (must, example) = if time < *ALLOWED.start() {
        ("longer than nothing: no wait can be over before it begins", "\"5s\"")
    } else if time > *ALLOWED.end() {
        ("a year or less: every wait has an end", "\"1h\"")
    } else {
        if time > A_DAY {
            let message = format!("`{}` is {}, more than a day", at.name(), show_duration(time));
            at.warning(message, "what waits so long holds memory and a descriptor; shorter is likely what you want");
        }
        return Some(time);
    };
    let help = format!("write for example {}", at.assignment(example));
    at.unusable(format!("`{}` must be {must}", at.name()), help)
}

/// HAProxy takes a number alone as milliseconds, most others as seconds: where both make sense, both are shown.
fn with_unit(number: &str, at: &At<'_, '_>) -> Option<String> {
    let number: u64 = number.parse().ok()?;
    let assign = |time: Duration| ALLOWED.contains(&time).then(|| at.assignment(&quoted(&show_duration(time))));
    let millis = if number >= 1000 { assign(Duration::from_millis(number)) } else { None };
    match (millis, assign(Duration::from_secs(number))) {
        (Some(millis), Some(seconds)) => {
            Some(format!("write {millis} if these are milliseconds, {seconds} if seconds"))
        }
        (one, other) => one.or(other).map(|one| format!("write {one}")),
    }
}

/// A value, or `"off"` for none.
pub struct OrOff<F>(pub F);

impl<F: ValueFormat> ValueFormat for OrOff<F> {
    type Value = Option<F::Value>;

    fn describe() -> String {
        format!("{}, or \"off\"", F::describe())
    }

    fn read(at: &mut At<'_, '_>) -> Option<Self::Value> {
        if at.text() == Some("off") { Some(None) } else { F::read(at).map(Some) }
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

    fn read(at: &mut At<'_, '_>) -> Option<Self::Value> {
        F::read(at).map(Some)
    }

    fn show(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "not set".to_owned(), F::show)
    }

    fn unset() -> Option<Self::Value> {
        Some(None)
    }
}

impl ValueFormat for bool {
    type Value = Self;
    const FORM: &str = "true or false";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        at.value.to_bool().or_else(|| {
            let meant = truth(&at.written());
            at.wrong(Self::FORM, meant.map(|truth| at.write(&truth.to_string()) + ", without quotes"))
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
        "yes" | "on" | "true" | "enabled" | "1" => Some(true),
        "no" | "off" | "false" | "disabled" | "0" => Some(false),
        _ => None,
    }
}

/// A text with rules that are checked where it is used.
impl ValueFormat for String {
    type Value = Self;
    const FORM: &str = "a text in quotes";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        at.text().map(str::to_owned).or_else(|| at.wrong(Self::FORM, None))
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

    fn read(at: &mut At<'_, '_>) -> Option<Self::Value> {
        let Some(list) = at.value.as_array() else {
            let help = at.text().map(|text| at.write(&format!("[{}]", quoted(text))));
            return at.wrong("a list", help);
        };
        let element = |(index, value)| {
            let spot = at.spot.index(index);
            F::read(&mut at.inner(spot, value))
        };
        // All are read before the first wrong one counts: each problem is reported.
        list.iter().enumerate().map(element).collect::<Vec<_>>().into_iter().collect()
    }

    fn show(value: &Self::Value) -> String {
        format!("[{}]", value.iter().map(F::show).collect::<Vec<_>>().join(", "))
    }
}

/// One of the words for the variants of `E`.
pub struct Word<E>(pub E);

impl<E: ValueEnum> ValueFormat for Word<E> {
    type Value = E;

    fn describe() -> String {
        let words: Vec<_> = E::value_variants().iter().map(|word| quoted(&Self::show(word))).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn read(at: &mut At<'_, '_>) -> Option<E> {
        word(&Self::describe(), at)
    }

    fn show(value: &E) -> String {
        value.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default()
    }
}

/// The variant that the value is the word for; other things may be of `format` too.
fn word<E: ValueEnum>(format: &str, at: &mut At<'_, '_>) -> Option<E> {
    let given = at.text().unwrap_or_default();
    E::from_str(given, false).ok().or_else(|| {
        let known: Vec<_> = E::value_variants().iter().map(Word::show).collect();
        let close = || suggest::closest(given, known.iter().map(String::as_str));
        let meant = words::instead("value", given).or_else(close);
        at.wrong(format, meant.map(|meant| format!("did you mean {}?", at.assignment(&quoted(meant)))))
    })
}

/// How the next server is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Balance {
    /// In turn, by weight, evenly spread.
    RoundRobin,
    /// The server with the fewest open attempts for its weight.
    LeastConnections,
}

/// The version of a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary, with more than addresses.
    V2,
}

/// Which exchanges are written to the journal.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Access {
    /// Every one.
    All,
    /// Those that failed (status 500 and above, or ended badly) and those that were slow.
    #[value(name = "errors+slow")]
    ErrorsAndSlow,
    /// As above, and this share of the rest, in parts of a million.
    #[value(skip)]
    Sample(u32),
    /// None.
    Off,
}

impl ValueFormat for Access {
    type Value = Self;
    const FORM: &str = "\"all\", \"errors+slow\", \"sample:1%\" (any share) or \"off\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(share) = at.text().and_then(|text| text.strip_prefix("sample:")) else {
            return word(Self::FORM, at);
        };
        units::share(share).map(Self::Sample).or_else(|| {
            let help = format!("write for example {}", at.assignment("\"sample:1%\""));
            at.wrong("\"sample:\" and a share from 0.0001% to 100%", help)
        })
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Sample(parts) => format!("sample:{}", units::show_share(*parts)),
            word => Word::show(word),
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

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let text = at.text().unwrap_or_default();
        let limit = units::share(text).map(Self::Share).or_else(|| units::size(text).map(Self::Size));
        limit.or_else(|| at.wrong(Self::FORM, None))
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Size(bytes) => show_size(*bytes),
            Self::Share(parts) => units::show_share(*parts),
        }
    }
}

//! Durations and sizes: text with a unit, as a person writes it, and back.

use std::time::Duration;

use bytesize::ByteSize;

/// Why a text is no duration or no size.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// A number alone.
    #[error("the number has no unit")]
    NoUnit,
    /// `8k` is 8,000 bytes for some and 8,192 for others.
    #[error("the unit can be read in two ways")]
    Ambiguous,
    /// Not a duration.
    #[error("the text is no duration")]
    Duration(#[source] humantime::DurationError),
    /// More than can be counted.
    #[error("the duration is too long to be counted")]
    TooLong,
    /// Not a size.
    #[error("the text is no size")]
    Size,
}

/// Reads `"5s"`, `"1h 30min"`, `"250ms"`.
///
/// # Errors
/// When the unit is missing or unknown, or the text is no number with a unit at all.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    if is_number(text) {
        return Err(UnitError::NoUnit);
    }
    humantime::parse_duration(text).map_err(|fault| match fault {
        humantime::DurationError::NumberOverflow => UnitError::TooLong,
        fault => UnitError::Duration(fault),
    })
}

/// What a text that is no duration was likely meant as: `"1.5s"`, `"5S"`, `"30secs."`.
#[must_use]
pub fn likely_duration(text: &str) -> Option<Duration> {
    let lower = text.trim().trim_end_matches('.').to_lowercase().replace(',', ".");
    if let Ok(time) = humantime::parse_duration(&lower) {
        return Some(time);
    }
    let unit = lower.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '.');
    let number: f64 = lower[..lower.len() - unit.len()].parse().ok()?;
    let one = humantime::parse_duration(&format!("1{}", unit.trim())).ok()?;
    // whole milliseconds: nothing is timed finer
    let time = Duration::try_from_secs_f64(number * one.as_secs_f64()).ok()?;
    Some(Duration::from_millis(u64::try_from(time.as_millis()).ok()?)).filter(|time| !time.is_zero())
}

/// Reads `"32KiB"` (1024 bytes each), `"10GB"` (1000³ bytes), `"512B"`.
///
/// # Errors
/// When the unit is missing, unknown, or one of those that mean different things to different people (`8k`, `1M`).
pub fn size(text: &str) -> Result<u64, UnitError> {
    if is_number(text) {
        return Err(UnitError::NoUnit);
    }
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '.').trim();
    if unit.len() == 1 && !unit.eq_ignore_ascii_case("b") {
        return Err(if "kmgtp".contains(&unit.to_ascii_lowercase()) { UnitError::Ambiguous } else { UnitError::Size });
    }
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| UnitError::Size)
}

/// Reads `"25%"`, from 0.0001% to 100%, in parts of a million.
#[must_use]
pub fn share(text: &str) -> Option<u32> {
    let percent = text.strip_suffix('%')?.trim();
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
    if fraction.len() > 4 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parts = u32::from(whole.parse::<u16>().ok()?) * 10_000 + format!("{fraction:0<4}").parse::<u32>().ok()?;
    (1..=1_000_000).contains(&parts).then_some(parts)
}

/// A duration with the largest units that keep it whole, as [`duration`] reads it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A size with the largest binary unit that keeps it whole, as [`size`] reads it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value != 0 && value.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value}{}", UNITS[unit])
}

/// Parts of a million as [`share`] reads them.
#[must_use]
pub fn show_share(parts: u32) -> String {
    let (whole, rest) = (parts / 10_000, parts % 10_000);
    match rest {
        0 => format!("{whole}%"),
        rest => format!("{whole}.{}%", format!("{rest:04}").trim_end_matches('0')),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("5s").expect("5s"), Duration::from_secs(5));
        assert_eq!(duration("1h 30min").expect("1h 30min"), Duration::from_secs(5400));
        assert_eq!(duration("250ms").expect("250ms"), Duration::from_millis(250));
        assert!(matches!(duration("5"), Err(UnitError::NoUnit)));
        assert!(matches!(duration("5 sek"), Err(UnitError::Duration(_))));
        assert!(matches!(duration(""), Err(UnitError::Duration(_))));
    }

    #[test]
    fn sizes_say_whether_a_kilobyte_is_1000_or_1024_bytes() {
        assert_eq!(size("32KiB").expect("KiB"), 32 * 1024);
        assert_eq!(size("1.5 MB").expect("MB"), 1_500_000);
        assert_eq!(size("512B").expect("B"), 512);
        assert!(matches!(size("8k"), Err(UnitError::Ambiguous)));
        assert!(matches!(size("8M"), Err(UnitError::Ambiguous)));
        assert!(matches!(size("8192"), Err(UnitError::NoUnit)));
        assert!(matches!(size("big"), Err(UnitError::Size)));
    }

    #[test]
    fn shares_are_parts_of_a_million() {
        for (text, parts) in [("1%", 10_000), ("0.0001%", 1), ("2.5 %", 25_000), ("100%", 1_000_000)] {
            assert_eq!(share(text), Some(parts));
            assert_eq!(share(&show_share(parts)), Some(parts));
        }
        for bad in ["0%", "101%", "1", "x%", "0.00001%", "-1%", "1.%x", "429496.9999%"] {
            assert_eq!(share(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_that_are_none_are_guessed() {
        assert_eq!(likely_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(likely_duration("5S"), Some(Duration::from_secs(5)));
        assert_eq!(likely_duration("0,5 h"), Some(Duration::from_secs(1800)));
        for none in ["", "s", "forever", "5 sek", "1.5", "99999999999999999999.5s"] {
            assert_eq!(likely_duration(none), None, "{none}");
        }
        assert!(matches!(duration("99999999999999999999s"), Err(UnitError::TooLong)));
    }

    #[test]
    fn shown_values_read_back_the_same() {
        for bytes in [0, 1, 1024, 1536, 32 << 10, 10 << 30] {
            assert_eq!(size(&show_size(bytes)).expect("shown"), bytes);
        }
        let long = Duration::from_millis(5_400_250);
        assert_eq!(duration(&show_duration(long)).expect("shown"), long);
    }
}

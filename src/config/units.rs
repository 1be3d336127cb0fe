//! Durations and sizes: text with a unit, as a person writes it, and back.

use std::time::Duration;

use bytesize::ByteSize;

/// Reads `"5s"`, `"1h 30min"`, `"250ms"`. What is too long to be counted is [`Duration::MAX`]; a number alone is none.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    match humantime::parse_duration(text) {
        Err(humantime::DurationError::NumberOverflow) => Some(Duration::MAX),
        read => read.ok().filter(|_| !number_and_unit(text).1.is_empty()),
    }
}

/// What a text that is no duration was likely meant as: `"1.5s"`, `"5S"`, `"30secs."`.
#[must_use]
pub fn likely_duration(text: &str) -> Option<Duration> {
    let lower = text.trim().trim_end_matches('.').to_lowercase().replace(',', ".");
    if let Ok(time) = humantime::parse_duration(&lower) {
        return Some(time);
    }
    let (number, unit) = number_and_unit(&lower);
    let one = humantime::parse_duration(&format!("1{unit}")).ok()?;
    // whole milliseconds: nothing is timed finer
    let time = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * one.as_secs_f64()).ok()?;
    Some(Duration::from_millis(u64::try_from(time.as_millis()).ok()?)).filter(|time| !time.is_zero())
}

/// Reads `"32KiB"` (1024 bytes each), `"10GB"` (1000³ bytes), `"512B"`. A number alone is none, nor is `8k`, which is
/// 8,000 bytes for some and 8,192 for others.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let unit = number_and_unit(text).1;
    let is_clear = unit.len() > 1 || unit.eq_ignore_ascii_case("b");
    text.parse::<ByteSize>().ok().filter(|_| is_clear).map(|size| size.as_u64())
}

/// The digits at the front, and what is behind them.
#[must_use]
pub fn number_and_unit(text: &str) -> (&str, &str) {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '.');
    (text[..text.len() - unit.len()].trim(), unit.trim())
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
    let unit = if bytes == 0 { 0 } else { (bytes.trailing_zeros() as usize / 10).min(UNITS.len() - 1) };
    format!("{}{}", bytes >> (10 * unit), UNITS[unit])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("1h 30min"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for none in ["5", "0", "5 sek", ""] {
            assert_eq!(duration(none), None, "{none}");
        }
    }

    #[test]
    fn sizes_say_whether_a_kilobyte_is_1000_or_1024_bytes() {
        assert_eq!(size("32KiB"), Some(32 * 1024));
        assert_eq!(size("1.5 MB"), Some(1_500_000));
        assert_eq!(size("512B"), Some(512));
        for none in ["8k", "8M", "8192", "big", ""] {
            assert_eq!(size(none), None, "{none}");
        }
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
        assert_eq!(duration("99999999999999999999s"), Some(Duration::MAX));
    }

    #[test]
    fn shown_values_read_back_the_same() {
        for bytes in [0, 1, 1024, 1536, 32 << 10, 10 << 30] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
        let long = Duration::from_millis(5_400_250);
        assert_eq!(duration(&show_duration(long)), Some(long));
    }
}

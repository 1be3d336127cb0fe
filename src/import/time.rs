//! Times of HAProxy: a number with a unit, or without one.

use std::time::Duration;

/// Reads `5000`, `5s`, `500ms`, `100us`, `2m`, `1h` or `1d`; a number alone is one of `unit`. None for what is no time.
#[must_use]
pub fn time(text: &str, unit: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let micros = match if digits == text.len() { unit } else { &text[digits..] } {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    // a part of a millisecond is a whole one
    number.checked_mul(micros).map(|micros| Duration::from_millis(micros.div_ceil(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_milliseconds_for_timeouts() {
        for (text, millis) in [
            ("5000", 5000),
            ("5s", 5000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1us", 1),
            ("0", 0),
        ] {
            assert_eq!(time(text, "ms"), Some(Duration::from_millis(millis)), "{text}");
        }
        for none in ["", "s", "5sec", "5 s", "-1", "1.5s", "99999999999999999999"] {
            assert_eq!(time(none, "ms"), None, "{none}");
        }
    }
}

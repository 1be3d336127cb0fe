//! Numbers and foreign text in sentences.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

/// A duration with three significant digits: `850 µs`, `3.2 ms`, `50.0 s`, `2 h 5 min`.
pub struct Took(pub Duration);

impl fmt::Display for Took {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros {
            0..1_000 => write!(out, "{micros} µs"),
            1_000..100_000 => tenths(out, micros, 1_000, "ms"),
            100_000..1_000_000 => write!(out, "{} ms", micros / 1_000),
            1_000_000..120_000_000 => tenths(out, micros, 1_000_000, "s"),
            120_000_000..7_200_000_000 => two(out, micros / 1_000_000, (60, "min"), "s"),
            7_200_000_000..172_800_000_000 => two(out, micros / 60_000_000, (60, "h"), "min"),
            _ => two(out, micros / 3_600_000_000, (24, "d"), "h"),
        }
    }
}

fn tenths(out: &mut fmt::Formatter<'_>, micros: u128, unit: u128, name: &str) -> fmt::Result {
    write!(out, "{}.{} {name}", micros / unit, micros % unit * 10 / unit)
}

fn two(out: &mut fmt::Formatter<'_>, small: u128, (per, big): (u128, &str), name: &str) -> fmt::Result {
    write!(out, "{} {big}", small / per)?;
    match small % per {
        0 => Ok(()),
        rest => write!(out, " {rest} {name}"),
    }
}

/// A day, as in `2027-01-31`.
pub struct Day(pub SystemTime);

impl fmt::Display for Day {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a certificate may name a year beyond those that RFC 3339 has
        let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        let text = humantime::format_rfc3339_seconds(self.0.min(latest)).to_string();
        out.write_str(text.split('T').next().unwrap_or_default())
    }
}

/// A number with its noun: `1 server`, `2 servers`.
pub struct Plural(pub u64, pub &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = self;
        write!(out, "{number} {noun}{}", if *number == 1 { "" } else { "s" })
    }
}

/// Foreign text on one line: invisible characters are escaped, so that the text can neither break the line nor steer
/// a terminal nor look like another one.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(out, self.0, is_invisible)
    }
}

/// Foreign text that may have lines; other invisible characters are escaped.
pub(super) struct PlainLines<'a>(pub &'a str);

impl fmt::Display for PlainLines<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(out, self.0, |char| is_invisible(char) && char != '\n' && char != '\t')
    }
}

fn escape(out: &mut fmt::Formatter<'_>, text: &str, unwanted: impl Fn(char) -> bool) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(&unwanted) {
        out.write_str(&rest[..at])?;
        let mut chars = rest[at..].chars();
        for escaped in chars.next().into_iter().flat_map(char::escape_default) {
            out.write_char(escaped)?;
        }
        rest = chars.as_str();
    }
    out.write_str(rest)
}

/// Appends `text` to `out` as [`Plain`] has it, but no more of it than takes `most` bytes inside a JSON string.
/// Returns whether it was all.
pub(super) fn push_plain(out: &mut String, text: &str, most: usize) -> bool {
    let mut room = most;
    for char in text.chars() {
        let invisible = is_invisible(char);
        let takes = match char {
            '"' | '\\' => 2,
            _ if invisible => char.escape_default().len() + 1, // JSON escapes the backslash
            _ => char.len_utf8(),
        };
        if takes > room {
            return false;
        }
        room -= takes;
        if invisible { out.extend(char.escape_default()) } else { out.push(char) }
    }
    true
}

/// At most the first `most` bytes, whole characters.
#[must_use]
pub fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Controls, direction marks and other invisible characters, as the standard library treats them in `{:?}` (general
/// categories Cc, Cf, Zl, Zp, and Zs but for the space), and letters that show nothing.
pub(super) fn is_invisible(char: char) -> bool {
    match char {
        ' '..='~' => false,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => true, // fillers of Hangul
        _ => char.escape_debug().len() > 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_a_person_would_take() {
        let said = |micros| Took(Duration::from_micros(micros)).to_string();
        assert_eq!(said(850), "850 µs");
        assert_eq!(said(3_249), "3.2 ms");
        assert_eq!(said(410_000), "410 ms");
        assert_eq!(said(50_004_000), "50.0 s");
        assert_eq!(said(125_000_000), "2 min 5 s");
        assert_eq!(said(7_500_000_000), "2 h 5 min");
        assert_eq!(said(172_800_000_000), "2 d");
    }

    #[test]
    fn controls_are_escaped_and_letters_are_not() {
        assert_eq!(Plain("grün\r\n\u{1b}[2J").to_string(), r"grün\r\n\u{1b}[2J");
        assert_eq!(PlainLines("a\n\tb\u{7}").to_string(), "a\n\tb\\u{7}");
        assert_eq!(Plain("→ “日本” 🎉 a'b\"\\").to_string(), "→ “日本” 🎉 a'b\"\\");
    }

    #[test]
    fn text_cannot_turn_its_direction_or_hide() {
        for hidden in
            ['\u{202e}', '\u{2066}', '\u{200f}', '\u{200b}', '\u{feff}', '\u{ad}', '\u{2028}', '\u{e0041}', '\u{3164}']
        {
            let shown = Plain(&format!("a{hidden}b")).to_string();
            assert_eq!(shown, format!("a\\u{{{:x}}}b", hidden as u32));
            assert!(!PlainLines(&format!("a{hidden}b")).to_string().contains(hidden));
        }
    }

    #[test]
    fn plain_text_stops_where_its_json_would_be_too_long() {
        for text in ["\"".repeat(90), "\u{1b}".repeat(90), "\u{202e}".repeat(90), "é".repeat(90), "x".repeat(90)] {
            let mut out = String::new();
            assert!(!push_plain(&mut out, &text, 60));
            let json = serde_json::to_string(&out).expect("JSON").len() - 2;
            assert!((50..=60).contains(&json), "{out}");
        }
        assert!(push_plain(&mut String::new(), "whole", 5));
    }
}

//! One thing wrong in a configuration: where, what, and what to write instead.
//!
//! Problems are plain data: a worker sends them to the supervisor, which hands them to the client that asked for the reload.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use figment::value::Value;
use serde::{Deserialize, Serialize};

/// One thing wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Whether it refuses the configuration.
    pub severity: Severity,
    /// The key it is about, as a path in TOML's own notation; empty when a whole file is meant.
    pub key: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Where; none when the value stands in no file (a variable, a flag, a file that could not be read).
    pub place: Option<FilePosition>,
    /// A second place that explains the first, with what stands there.
    pub other: Option<(String, FilePosition)>,
}

/// Whether a problem refuses the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// The configuration is used all the same.
    Warning,
}

/// A stretch of one line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// The file, as it was opened.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The text of the line; the end of a very long one is left out.
    pub excerpt: String,
    /// The part that the problem is about, in bytes of the excerpt.
    pub mark: Range<usize>,
}

impl Problem {
    /// A problem about no key and without a place, and what to write instead.
    #[must_use]
    pub fn new(severity: Severity, message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), Some(help.into()));
        Self { severity, key: String::new(), message, help, place: None, other: None }
    }

    /// Whether it refuses the configuration.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Several lines with the excerpt and carets under the part that the problem is about; ends with a newline.
    #[must_use]
    pub fn render(&self, style: RenderStyle) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let place = self.place.iter().map(|place| snippet(place, AnnotationKind::Primary, None));
        let other = self.other.iter().map(|(label, place)| snippet(place, AnnotationKind::Context, Some(label)));
        let help = self.help.iter().map(|help| Level::HELP.message(help.as_str()));
        let group = level.primary_title(self.message.as_str()).elements(place).elements(other).elements(help);
        let renderer = match style {
            RenderStyle::Plain => Renderer::plain(),
            RenderStyle::Coloured => Renderer::styled(),
        };
        renderer.render(&[group]) + "\n"
    }
}

/// How problems are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderStyle {
    /// Without escape sequences: for the journal and for pipes.
    Plain,
    /// For a terminal.
    Coloured,
}

/// One line: `file:line:column: what is wrong; what to write instead`.
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        if self.severity == Severity::Warning {
            out.write_str("warning: ")?;
        }
        out.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(out, "; {help}"),
            None => Ok(()),
        }
    }
}

impl FilePosition {
    /// The place of `span` (in bytes) in `text`, the content of `file`.
    #[must_use]
    pub fn new(file: &str, text: &str, span: Range<usize>) -> Self {
        let start = floor_char_boundary(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &text[line_start..];
        let line = rest[..rest.find('\n').unwrap_or(rest.len())].trim_end_matches('\r');
        let from = (start - line_start).min(line.len());
        let to = floor_char_boundary(line, span.end.saturating_sub(line_start).min(from + LONGEST_MARK)).max(from);
        Self {
            file: file.to_owned(),
            line: memchr::memchr_iter(b'\n', &text.as_bytes()[..line_start]).count() + 1,
            column: line[..from].chars().count() + 1,
            excerpt: line[..floor_char_boundary(line, to + LONGEST_REST)].to_owned(),
            mark: from..to,
        }
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Bytes of a line that are kept after the mark, and of the mark: a problem is sent in one packet.
const LONGEST_REST: usize = 120;
const LONGEST_MARK: usize = 240;

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn snippet<'a>(place: &'a FilePosition, kind: AnnotationKind, label: Option<&'a str>) -> Snippet<'a, Annotation<'a>> {
    let excerpt = Snippet::source(place.excerpt.as_str()).line_start(place.line).path(place.file.as_str());
    excerpt.annotation(kind.span(place.mark.clone()).label(label))
}

/// A value in words, for "must be …, not …".
#[must_use]
pub fn found(value: &Value) -> String {
    match value {
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => match number.to_i128() {
            Some(number) => format!("the number {number}"),
            // A fraction is shown as one: 1000.0, not 1000.
            None => format!("the number {:?}", number.to_f64().unwrap_or(f64::NAN)),
        },
        text => format!("the text {}", quoted(text.as_str().unwrap_or_default())),
    }
}

/// A text in quotes, without control characters, and not longer than a line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(LONGEST_QUOTE).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(LONGEST_QUOTE).is_some() { "…" } else { "" };
    format!("\"{shown}{rest}\"")
}

/// In characters.
const LONGEST_QUOTE: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters() {
        let place = FilePosition::new("f", "a = 1\nß = \"x\"\r\n", 11..14);
        assert_eq!((place.line, place.column), (2, 5));
        assert_eq!(&place.excerpt[place.mark], "\"x\"");
    }

    #[test]
    fn a_place_at_the_end_or_over_several_lines_stays_in_its_line() {
        assert_eq!(FilePosition::new("f", "a\n", 2..2).line, 2);
        assert_eq!(FilePosition::new("f", "a = [\n1]", 4..8).mark, 4..5);
        assert_eq!(FilePosition::new("f", "", 7..9).mark, 0..0);
    }

    #[test]
    fn a_problem_in_one_line_names_the_place_and_the_way_out() {
        let mut problem = Problem::new(Severity::Error, "`slow` is wrong", "write it right");
        problem.place = Some(FilePosition::new("x.toml", "slow = 1", 7..8));
        assert_eq!(problem.to_string(), "x.toml:1:8: `slow` is wrong; write it right");
        assert!(
            problem.render(RenderStyle::Plain).contains("1 | slow = 1\n"),
            "{}",
            problem.render(RenderStyle::Plain)
        );
        assert!(problem.render(RenderStyle::Coloured).contains('\u{1b}'));
    }
}

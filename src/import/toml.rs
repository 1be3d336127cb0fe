//! TOML with comments.

use std::fmt::Write as _;
use std::time::Duration;

use toml_edit::{Key, Value};

use crate::config::units::show_duration;

/// A table, or one that is left out and stands in a comment.
#[derive(Clone, Debug, Default)]
pub struct WrittenTable {
    /// What stands above it.
    pub comments: Vec<String>,
    header: String,
    keys: Vec<(String, String)>,
    /// Whether all of it is a comment.
    pub left_out: bool,
}

impl WrittenTable {
    /// `[kind]`.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self { header: format!("[{kind}]"), ..Self::default() }
    }

    /// `[kind.name]`.
    #[must_use]
    pub fn named(kind: &str, name: &str) -> Self {
        Self { header: format!("[{kind}.{}]", key(name)), ..Self::default() }
    }

    /// `[site."host"]`.
    #[must_use]
    pub fn site(host: &str) -> Self {
        Self { header: format!("[site.{}]", text(host)), ..Self::default() }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The host, of a site that is not left out.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        let quoted = self.header.strip_prefix("[site.").and_then(|rest| rest.strip_suffix(']'))?;
        let host = quoted.parse::<Value>().ok()?.as_str()?.to_owned();
        (!self.left_out).then_some(host)
    }

    /// Writes a key; `value` is TOML.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.keys.push((key.to_owned(), value.into()));
    }

    /// Writes a key where there is a value.
    pub fn set_if(&mut self, key: &str, value: Option<String>) {
        self.keys.extend(value.map(|value| (key.to_owned(), value)));
    }

    /// Whether it has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Its lines.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for comment in &self.comments {
            let _ = writeln!(text, "# {comment}");
        }
        let mark = if self.left_out { "# " } else { "" };
        let _ = writeln!(text, "{mark}{}", self.header);
        for (key, value) in &self.keys {
            let lines = format!("{key} = {value}");
            for line in lines.lines() {
                let _ = writeln!(text, "{mark}{line}");
            }
        }
        text
    }
}

/// A text in quotes.
#[must_use]
pub fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A duration in quotes.
#[must_use]
pub fn time(time: Duration) -> String {
    // a year is the longest that a key takes
    text(&show_duration(time.min(Duration::from_secs(366 * 24 * 60 * 60))))
}

/// A key, in quotes where it needs them.
#[must_use]
pub fn key(name: &str) -> String {
    Key::new(name).display_repr().into_owned()
}

/// A list, one element a line when it is long.
#[must_use]
pub fn list(elements: &[String]) -> String {
    let line = elements.join(", ");
    if line.len() <= 80 {
        return format!("[{line}]");
    }
    let lines: String = elements.iter().map(|element| format!("    {element},\n")).collect();
    format!("[\n{lines}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_a_comment_in_each_line() {
        let mut table = WrittenTable::site("a.test");
        table.comments.push("why".to_owned());
        table.set("to", list(&vec![text("10.0.0.11:80"); 8]));
        table.left_out = true;
        assert!(table.render().lines().all(|line| line.starts_with("# ")), "{}", table.render());
        assert_eq!(time(Duration::from_millis(1500)), "\"1s 500ms\"");
        assert_eq!((key("a.b"), key("web-farm")), ("\"a.b\"".to_owned(), "web-farm".to_owned()));
    }
}

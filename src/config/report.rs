//! Collects problems while the merged configuration is read, and finds the place of each.

use std::fmt::Write as _;

use figment::value::{Dict, Value};

use super::merge::{Merged, Origin};
use super::problem::{Problem, Severity};
use super::spot::Spot;
use super::suggest;
use super::table::Table;

/// The problems found so far.
pub struct Report<'a> {
    merged: &'a Merged,
    problems: Vec<Problem>,
    /// False when a file could not be parsed: then what seems to be missing may stand in it.
    pub complete: bool,
}

impl<'a> Report<'a> {
    /// Nothing found yet.
    #[must_use]
    pub fn new(merged: &'a Merged, complete: bool) -> Self {
        Self { merged, problems: Vec::new(), complete }
    }

    /// Something that refuses the configuration.
    pub fn error(&mut self, spot: &Spot, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Error, spot, message.into())
    }

    /// Something that is likely not meant so.
    pub fn warning(&mut self, spot: &Spot, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Warning, spot, message.into())
    }

    /// Something that clashes with what stands at `other`; `label` is written there.
    pub fn clash(&mut self, spot: &Spot, message: impl Into<String>, other: &Spot, label: &str) -> &mut Problem {
        let place = self.merged.place(other);
        let problem = self.add(Severity::Error, spot, message.into());
        problem.other = place.map(|place| (label.to_owned(), place));
        problem
    }

    /// A value that is not of the form wanted.
    pub fn wrong(&mut self, spot: &Spot, value: &Value, form: &str) -> &mut Problem {
        let each = if spot.is_element() { "each of " } else { "" };
        self.error(spot, format!("{each}`{}` must be {form}, not {}", spot.name(), found(value)))
    }

    /// The table at `spot`, if it is one.
    pub fn table<'v>(&mut self, spot: &Spot, value: &'v Value) -> Option<&'v Dict> {
        let dict = value.as_dict();
        if dict.is_none() {
            let header = spot.clone().at_key();
            self.error(&header, format!("`{spot}` must be a table, not {}", found(value)))
                .help(format!("write `[{spot}]` and its keys below"));
        }
        dict
    }

    /// Names every key of `dict` that none of `tables` has.
    pub fn unknown_keys(&mut self, dict: &Dict, spot: &Spot, tables: &[&Table]) {
        for (key, value) in dict {
            if tables.iter().any(|table| table.keys.iter().any(|known| known.name == key)) {
                continue;
            }
            let at = spot.key(key, value.tag()).at_key();
            let known: Vec<&str> = tables.iter().flat_map(|table| table.keys).map(|key| key.name).collect();
            let (message, help) = suggest::for_unknown_key(spot, key, value, &known);
            self.error(&at, message).help(help);
        }
    }

    /// Whether the value at `spot` was given, and is no default.
    #[must_use]
    pub fn is_given(&self, spot: &Spot) -> bool {
        self.merged.origin(spot.tag) != Origin::Default
    }

    /// How `value` (in TOML) is given to the key at `spot`, by whoever gave what is there now.
    #[must_use]
    pub fn assignment(&self, spot: &Spot, value: &str) -> String {
        match self.merged.origin(spot.tag) {
            Origin::Variable(name) => format!("`{name}={}`", value.trim_matches('"')),
            Origin::Flag => format!("`--set {spot}={}`", value.trim_matches('"')),
            Origin::Default | Origin::File(_) => format!("`{} = {value}`", spot.name()),
        }
    }

    /// Whether something was said about `key` of the table at `spot`, by this name or by one that is understood as it.
    #[must_use]
    pub fn was_about(&self, spot: &Spot, key: &str) -> bool {
        let table = format!("{spot}.");
        let mut said = self.problems.iter().filter_map(|problem| problem.key.strip_prefix(&table));
        said.any(|said| said == key || suggest::is_meant(said, key))
    }

    /// Whether something was found that refuses the configuration.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.problems.iter().any(Problem::refuses)
    }

    /// Sorts by: the order of the files, then by line.
    #[must_use]
    pub fn order(&self, spot: &Spot) -> Option<(usize, usize, usize)> {
        let place = self.merged.place(spot)?;
        let file = self.merged.files().iter().position(|file| file.file == place.file)?;
        Some((file, place.line, place.column))
    }

    /// Something that has no place.
    pub fn general(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Everything found.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn add(&mut self, severity: Severity, spot: &Spot, message: String) -> &mut Problem {
        let message = match self.merged.origin(spot.tag) {
            Origin::Variable(name) => format!("{message} (from the environment variable {name})"),
            Origin::Flag => format!("{message} (from --set {spot})"),
            Origin::Default | Origin::File(_) => message,
        };
        let mut problem = Problem::new(severity, spot.to_string(), message);
        problem.place = self.merged.place(spot);
        let last = self.problems.len();
        self.problems.push(problem);
        &mut self.problems[last]
    }
}

/// A value in words, for "must be …, not …".
#[must_use]
pub fn found(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("the text {}", quoted(text)),
        Value::Char(_, character) => format!("the text {}", quoted(&character.to_string())),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(number), _) => format!("the number {number}"),
            // A fraction stays one: 1000.0, not 1000.
            (None, Some(number)) => format!("the number {number:?}"),
            (None, None) => "a number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}

/// A text in quotes, without control characters, and not longer than a line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars().take(60) {
        let _ = write!(quoted, "{}", character.escape_debug());
    }
    if text.chars().nth(60).is_some() {
        quoted.push('…');
    }
    quoted.push('"');
    quoted
}

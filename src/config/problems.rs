//! Collects problems while the merged configuration is read, and finds the place of each.

use figment::value::{Dict, Value};

use super::merge::{Merged, ValueOrigin};
use super::problem::{Problem, Severity, found};
use super::spot::{PathStep, Spot};
use super::suggest;

/// The problems found so far.
pub struct Problems<'a> {
    merged: &'a Merged,
    found: Vec<Problem>,
    /// False when a file could not be parsed: what seems to be missing may be in it.
    pub complete: bool,
}

impl<'a> Problems<'a> {
    /// No problem yet.
    #[must_use]
    pub fn new(merged: &'a Merged, complete: bool) -> Self {
        Self { merged, found: Vec::new(), complete }
    }

    /// Something that refuses the configuration, and what to write instead.
    pub fn error(&mut self, spot: &Spot, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, spot, message.into()).help(help);
    }

    /// Something that is likely a mistake, and what to write instead.
    pub fn warning(&mut self, spot: &Spot, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, spot, message.into()).help(help);
    }

    /// Something that clashes with `other`, by its place and what is written there.
    pub fn clash(&mut self, spot: &Spot, message: String, other: (&Spot, &str), help: impl Into<String>) {
        let (other, label) = other;
        let place = self.merged.place(other);
        let problem = self.add(Severity::Error, spot, message).help(help);
        problem.other = place.map(|place| (label.to_owned(), place));
    }

    /// A value that is not of the format wanted.
    pub fn wrong(&mut self, spot: &Spot, value: &Value, format: &str, help: Option<String>) {
        let each = if spot.is_element() { "each of " } else { "" };
        let message = format!("{each}`{}` must be {format}, not {}", spot.name(), found(value));
        self.add(Severity::Error, spot, message).help = help;
    }

    /// Something that has no place.
    pub fn general(&mut self, problem: Problem) {
        self.found.push(problem);
    }

    /// The place of `key` in the table at `table`; none when it is not given.
    #[must_use]
    pub fn spot(&self, table: &Spot, key: &str) -> Option<Spot> {
        let inner = |dict: Option<&'a Dict>, step: &PathStep| match step {
            PathStep::Key(name) => dict?.get(name)?.as_dict(),
            PathStep::Index(_) => None,
        };
        let value = table.path.iter().fold(Some(&self.merged.root), inner)?.get(key)?;
        Some(table.key(key, value.tag()))
    }

    /// The place of `key`, when it is given and its value has no problem.
    #[must_use]
    pub fn good(&self, table: &Spot, key: &str) -> Option<Spot> {
        self.spot(table, key).filter(|spot| !self.is_wrong(spot))
    }

    /// Whether something refuses the value at `spot`, or one of its elements.
    #[must_use]
    pub fn is_wrong(&self, spot: &Spot) -> bool {
        let path = spot.to_string();
        let mut about =
            self.found.iter().filter_map(|problem| problem.key.strip_prefix(&path).filter(|_| problem.refuses()));
        about.any(|rest| rest.is_empty() || rest.starts_with('['))
    }

    /// Whether the table at `spot` is written in a source; the listener that exists without being written is not.
    #[must_use]
    pub fn is_given(&self, spot: &Spot) -> bool {
        self.merged.origin(spot.tag) != ValueOrigin::Default
    }

    /// How the source of the value at `spot` (a file, a variable or a flag) would give it `value`, which is in TOML.
    #[must_use]
    pub fn assignment(&self, spot: &Spot, value: &str) -> String {
        match self.merged.origin(spot.tag) {
            ValueOrigin::Variable(name) => format!("`{name}={}`", value.trim_matches('"')),
            ValueOrigin::Flag => format!("`--set {spot}={}`", value.trim_matches('"')),
            ValueOrigin::Default | ValueOrigin::File(_) => format!("`{} = {value}`", spot.name()),
        }
    }

    /// Whether there is a problem with `key` of the table at `spot`, under this name or one that is understood as it.
    #[must_use]
    pub fn are_about(&self, spot: &Spot, key: &str) -> bool {
        let table = format!("{spot}.");
        let mut keys = self.found.iter().filter_map(|problem| problem.key.strip_prefix(&table));
        keys.any(|given| given == key || suggest::is_meant(given, key))
    }

    /// How many refuse the configuration.
    #[must_use]
    pub fn refusing(&self) -> usize {
        self.found.iter().filter(|problem| problem.refuses()).count()
    }

    /// Sorts by the order of the files, then by line.
    #[must_use]
    pub fn order(&self, spot: &Spot) -> Option<(usize, usize, usize)> {
        let place = self.merged.place(spot)?;
        let file = self.merged.files().iter().position(|file| file.file == place.file)?;
        Some((file, place.line, place.column))
    }

    /// Everything found.
    #[must_use]
    pub fn into_found(self) -> Vec<Problem> {
        self.found
    }

    fn add(&mut self, severity: Severity, spot: &Spot, message: String) -> &mut Problem {
        let message = match self.merged.origin(spot.tag) {
            ValueOrigin::Variable(name) => format!("{message} (from the environment variable {name})"),
            ValueOrigin::Flag => format!("{message} (from --set {spot})"),
            ValueOrigin::Default | ValueOrigin::File(_) => message,
        };
        let mut problem = Problem::new(severity, spot.to_string(), message);
        problem.place = self.merged.place(spot);
        self.found.push(problem);
        let last = self.found.len() - 1;
        &mut self.found[last]
    }
}

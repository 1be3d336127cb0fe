//! Collects problems while the merged configuration is read, and finds the place of each.

use super::merge::{Merged, ValueOrigin};
use super::problem::{FilePosition, Problem, Severity};
use super::spot::Spot;
use super::suggest;

/// The problems found so far.
pub struct Problems<'a> {
    /// What they are about.
    pub merged: &'a Merged,
    /// Everything found.
    pub found: Vec<Problem>,
    /// False when a file could not be parsed: what seems to be missing may be in it.
    pub complete: bool,
}

impl<'a> Problems<'a> {
    /// No problem yet.
    pub fn new(merged: &'a Merged, complete: bool) -> Self {
        Self { merged, found: Vec::new(), complete }
    }

    /// Something that refuses the configuration, and what to write instead.
    pub fn error(&mut self, spot: &Spot, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, spot, message.into(), Some(help.into()), None);
    }

    /// Something that is likely a mistake, and what to write instead.
    pub fn warning(&mut self, spot: &Spot, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, spot, message.into(), Some(help.into()), None);
    }

    /// Something that refuses the configuration at a key of `table`, if that is given and has no problem yet.
    pub fn error_at(&mut self, table: &Spot, key: &str, message: impl Into<String>, help: impl Into<String>) {
        if let Some(spot) = self.good(table, key) {
            self.error(&spot, message, help);
        }
    }

    /// Something that is likely a mistake at a key of `table`, if that is given and has no problem yet.
    pub fn warning_at(&mut self, table: &Spot, key: &str, message: impl Into<String>, help: impl Into<String>) {
        if let Some(spot) = self.good(table, key) {
            self.warning(&spot, message, help);
        }
    }

    /// A key that is given and has no effect, with the reason and what to do.
    pub fn means_nothing(&mut self, table: &Spot, key: &str, why: &str, help: &str) {
        if let Some(spot) = self.good(table, key) {
            self.warning(&spot.at_key(), format!("`{key}` means nothing {why}"), help);
        }
    }

    /// Something that clashes with `other`, by its place and what is written there.
    pub fn clash(&mut self, spot: &Spot, message: String, other: (&Spot, &str), help: &str) {
        let other = self.merged.place(other.0).map(|place| (other.1.to_owned(), place));
        self.add(Severity::Error, spot, message, Some(help.to_owned()), other);
    }

    /// The place of `key` in the table at `table`; none when it is not given.
    pub fn spot(&self, table: &Spot, key: &str) -> Option<Spot> {
        Some(table.key(key)).filter(|spot| self.merged.value(spot).is_some())
    }

    /// The place of `key`, when it is given and its value has no problem.
    pub fn good(&self, table: &Spot, key: &str) -> Option<Spot> {
        self.spot(table, key).filter(|spot| !self.is_wrong(spot))
    }

    /// Whether something refuses the value at `spot`, or one of its elements.
    pub fn is_wrong(&self, spot: &Spot) -> bool {
        let path = spot.to_string();
        let mut refusing = self.found.iter().filter(|problem| problem.refuses());
        let is_about = |rest: &str| rest.is_empty() || rest.starts_with('[');
        refusing.any(|problem| problem.key.strip_prefix(&path).is_some_and(is_about))
    }

    /// Whether the table at `spot` is written in a source; the listener that exists without being written is not.
    pub fn is_given(&self, spot: &Spot) -> bool {
        self.merged.origin(spot) != ValueOrigin::Default
    }

    /// How the source of the value at `spot` (a file, a variable or a flag) would give it `value`, which is in TOML.
    pub fn assignment(&self, spot: &Spot, value: &str) -> String {
        match self.merged.origin(spot) {
            ValueOrigin::Variable(name) => format!("`{name}={}`", value.trim_matches('"')),
            ValueOrigin::Flag => format!("`--set {spot}={}`", value.trim_matches('"')),
            ValueOrigin::Default | ValueOrigin::File(_) => format!("`{} = {value}`", spot.name()),
        }
    }

    /// Whether there is a problem with `key` of the table at `spot`, under this name or one that is understood as it.
    pub fn are_about(&self, spot: &Spot, key: &str) -> bool {
        let table = format!("{spot}.");
        let mut keys = self.found.iter().filter_map(|problem| problem.key.strip_prefix(&table));
        keys.any(|given| given == key || suggest::is_meant(given, key))
    }

    /// How many refuse the configuration.
    pub fn refusing(&self) -> usize {
        self.found.iter().filter(|problem| problem.refuses()).count()
    }

    /// Sorts by the order of the files, then by line.
    pub fn order(&self, spot: &Spot) -> Option<(usize, usize, usize)> {
        let place = self.merged.place(spot)?;
        let file = self.merged.files.iter().position(|file| file.file == place.file)?;
        Some((file, place.line, place.column))
    }

    /// The same for all of these; the help may be missing.
    pub fn add(&mut self, severity: Severity, spot: &Spot, message: String, help: Option<String>, other: OtherPlace) {
        let from = match self.merged.origin(spot) {
            ValueOrigin::Variable(name) => format!(" (from the environment variable {name})"),
            ValueOrigin::Flag => format!(" (from --set {spot})"),
            ValueOrigin::Default | ValueOrigin::File(_) => String::new(),
        };
        let (key, message, place) = (spot.to_string(), message + &from, self.merged.place(spot));
        self.found.push(Problem { severity, key, message, help, place, other });
    }
}

/// A second place, with what stands there.
type OtherPlace = Option<(String, FilePosition)>;

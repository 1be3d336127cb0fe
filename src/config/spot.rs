//! Where a value of the merged configuration is: its path through the tables.

use std::fmt;

use toml_edit::Key;

/// The path to a value.
#[derive(Clone, Debug)]
pub struct Spot {
    /// From the root.
    pub path: Vec<PathStep>,
    /// What to underline.
    pub marked: Marked,
}

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathStep {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// Which part of `key = value` is underlined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The key; for a table the last word of its header.
    Key,
    /// The value.
    Value,
}

impl Spot {
    /// The top of the file.
    #[must_use]
    pub fn root() -> Self {
        Self { path: Vec::new(), marked: Marked::Key }
    }

    /// The table with the header `[kind.name]`.
    pub fn table(kind: &str, name: &str) -> Self {
        Self::root().key(kind).key(name).at_key()
    }

    /// The value of `key` in this table.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(PathStep::Key(key.to_owned()))
    }

    /// The value at `index` in this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(PathStep::Index(index))
    }

    /// The same, with the key underlined.
    #[must_use]
    pub fn at_key(mut self) -> Self {
        self.marked = Marked::Key;
        self
    }

    /// Whether this is an element of a list.
    #[must_use]
    pub fn is_element(&self) -> bool {
        matches!(self.path.last(), Some(PathStep::Index(_)))
    }

    /// The keys of the path.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.path.iter().filter_map(|step| match step {
            PathStep::Key(key) => Some(key.as_str()),
            PathStep::Index(_) => None,
        })
    }

    /// The first key of the path: the kind of table.
    pub fn kind(&self) -> &str {
        self.keys().next().unwrap_or_default()
    }

    /// The last key of the path: what to name in a message.
    pub fn name(&self) -> &str {
        self.keys().next_back().unwrap_or_default()
    }

    fn step(&self, step: PathStep) -> Self {
        Self { path: [self.path.as_slice(), &[step]].concat(), marked: Marked::Value }
    }
}

/// A key in TOML: in quotes where it needs them.
pub fn in_toml(key: &str) -> String {
    Key::new(key).display_repr().into_owned()
}

/// The path in TOML's notation, as in `site."a.example".to[2]`.
impl fmt::Display for Spot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.path.iter().enumerate() {
            match step {
                PathStep::Index(index) => write!(out, "[{index}]")?,
                PathStep::Key(key) if place == 0 => out.write_str(&in_toml(key))?,
                PathStep::Key(key) => write!(out, ".{}", in_toml(key))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spot_reads_as_toml() {
        let spot = Spot::table("site", "a.example").key("to");
        assert_eq!(spot.index(2).to_string(), "site.\"a.example\".to[2]");
        assert_eq!(spot.index(2).name(), "to");
    }
}

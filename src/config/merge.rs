//! The sources of a configuration, merged by figment: the file, `conf.d`, variables, flags.
//!
//! figment keeps the source of each value; the line and column come from the file that it names.

use std::ops::Range;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};
use serde::Deserialize;
use toml_edit::de::{Deserializer, ValueDeserializer};
use toml_edit::{Document, Item};

use super::problem::FilePosition;
use super::spot::{Marked, PathStep, Spot};

/// Everything that was given, one value for each key.
#[derive(Default)]
pub struct Merged {
    figment: Figment,
    /// The files, in the order in which they were merged.
    pub files: Vec<Parsed>,
    /// The merged tables.
    pub root: Dict,
}

/// One file, in TOML.
pub struct Parsed {
    /// As it was opened.
    pub file: String,
    /// Its content with the place of everything.
    pub document: Document<String>,
}

/// One value that stands in no file.
pub struct Setting {
    /// The variable of the environment that gives it; none for a flag.
    pub variable: Option<String>,
    /// As `log.slow`.
    pub key: String,
    /// The value: a text without quotes, or anything else in TOML.
    pub text: String,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// None: it is the default.
    Default,
    /// A file, by the name under which it was opened.
    File(String),
    /// A variable of the environment, by its name.
    Variable(String),
    /// `--set` of the command line.
    Flag,
}

impl Merged {
    /// Merges: later files over earlier ones, key by key in every table; settings over files.
    #[must_use]
    pub fn new(files: Vec<Parsed>, settings: &[Setting]) -> Self {
        let figment = files.iter().fold(Figment::new(), Figment::merge);
        let figment = settings.iter().fold(figment, Figment::merge);
        let root = figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default();
        Self { figment, files, root }
    }

    /// The value at `spot`.
    #[must_use]
    pub fn value(&self, spot: &Spot) -> Option<&Value> {
        let Some((PathStep::Key(first), below)) = spot.path.split_first() else { return None };
        below.iter().try_fold(self.root.get(first)?, |value, step| match step {
            PathStep::Key(key) => value.as_dict()?.get(key),
            PathStep::Index(index) => value.as_array()?.get(*index),
        })
    }

    /// The source of the value at `spot`. A table is made of several sources, and has one of them here.
    #[must_use]
    pub fn origin(&self, spot: &Spot) -> ValueOrigin {
        let metadata = self.value(spot).and_then(|value| self.figment.get_metadata(value.tag()));
        match metadata.map(|metadata| &metadata.source) {
            Some(Some(Source::File(path))) => ValueOrigin::File(path.display().to_string()),
            Some(Some(Source::Custom(variable))) => ValueOrigin::Variable(variable.clone()),
            Some(_) => ValueOrigin::Flag,
            None => ValueOrigin::Default,
        }
    }

    /// Where `spot` is in the files; none when it is in none of them.
    ///
    /// A table that several files make is found in the first of them.
    #[must_use]
    pub fn place(&self, spot: &Spot) -> Option<FilePosition> {
        let name = match self.origin(spot) {
            ValueOrigin::File(name) => name,
            ValueOrigin::Default => String::new(),
            ValueOrigin::Variable(_) | ValueOrigin::Flag => return None,
        };
        let named = self.files.iter().filter(|file| file.file == name);
        named.chain(&self.files).find_map(|file| file.place(spot))
    }
}

impl Parsed {
    /// Where `spot` is in this file.
    #[must_use]
    pub fn place(&self, spot: &Spot) -> Option<FilePosition> {
        let span = span(self.document.as_item(), &spot.path, spot.marked)?;
        Some(FilePosition::new(&self.file, self.document.raw(), span))
    }
}

impl Provider for Parsed {
    fn metadata(&self) -> Metadata {
        Metadata::from("file", Source::File(self.file.as_str().into()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = Dict::deserialize(Deserializer::from(self.document.clone()));
        let dict = dict.map_err(|error| error.to_string())?;
        Ok(Profile::Default.collect(dict.into_iter().map(|(key, value)| (key, without_dates(value))).collect()))
    }
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        self.variable.clone().map_or(Metadata::named("flag"), |name| Metadata::from("variable", Source::Custom(name)))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let value = from_toml(&self.text).unwrap_or_else(|| Value::from(self.text.as_str()));
        Ok(Profile::Default.collect(figment::util::nest(&self.key, value).into_dict().unwrap_or_default()))
    }
}

/// The value that `text` is in TOML.
#[must_use]
pub fn from_toml(text: &str) -> Option<Value> {
    text.parse().ok().and_then(|toml: ValueDeserializer| <Value as Deserialize>::deserialize(toml).ok())
}

/// A date is a text here: figment has none, and serde makes a table of it.
fn without_dates(value: Value) -> Value {
    match value {
        Value::Dict(_, mut dict) if dict.contains_key(DATE) => dict.remove(DATE).unwrap_or_else(|| Value::from("")),
        Value::Dict(tag, dict) => {
            Value::Dict(tag, dict.into_iter().map(|(key, value)| (key, without_dates(value))).collect())
        }
        Value::Array(tag, list) => Value::Array(tag, list.into_iter().map(without_dates).collect()),
        other => other,
    }
}

/// The key of the table that toml_datetime makes of a date.
const DATE: &str = "$__toml_private_datetime";

/// The span of what `path` leads to below `item`.
#[must_use]
pub fn span(item: &Item, path: &[PathStep], marked: Marked) -> Option<Range<usize>> {
    let (last, above) = path.split_last()?;
    let parent = above.iter().try_fold(item, child)?;
    let item = child(parent, last)?;
    let key = match last {
        PathStep::Key(name) => parent.as_table_like()?.key(name)?.span(),
        PathStep::Index(_) => None,
    };
    // A table spans all of its lines; its name is what a reader looks for.
    match marked == Marked::Key || item.is_table() || item.is_array_of_tables() {
        true => key.or_else(|| item.span()),
        false => item.span().or(key),
    }
}

fn child<'i>(item: &'i Item, step: &PathStep) -> Option<&'i Item> {
    match step {
        PathStep::Key(name) => item.get(name.as_str()),
        PathStep::Index(index) => item.get(*index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(file: &str, text: &str) -> Parsed {
        Parsed { file: file.to_owned(), document: Document::parse(text.to_owned()).expect("TOML") }
    }

    #[test]
    fn tables_of_several_files_merge_key_by_key_and_each_value_knows_its_file() {
        let first = parsed("a", "[pool.x]\nretries = 1\nservers = ['a:1', 'b:1']\n");
        let second = parsed("b", "[pool.x]\nretries = 2\n");
        let merged = Merged::new(vec![first, second], &[]);
        let table = Spot::table("pool", "x");
        let servers = table.key("servers");
        assert_eq!(merged.origin(&table.key("retries")), ValueOrigin::File("b".to_owned()));
        assert_eq!(merged.origin(&servers), ValueOrigin::File("a".to_owned()));
        let retries = merged.place(&table.key("retries")).expect("place");
        assert_eq!((retries.file.as_str(), retries.line, retries.column), ("b", 2, 11));
        let second = merged.place(&servers.index(1)).expect("place");
        assert_eq!(&second.excerpt[second.mark], "'b:1'");
        assert_eq!(merged.place(&table).expect("header").column, 7);
    }

    #[test]
    fn settings_win_over_files() {
        let setting =
            Setting { variable: Some("SEGUE_LOG_SLOW".to_owned()), key: "log.slow".to_owned(), text: "3s".to_owned() };
        let merged = Merged::new(vec![parsed("a", "log.slow = '2s'")], &[setting]);
        let slow = Spot::table("log", "slow");
        assert_eq!(merged.value(&slow).and_then(Value::as_str), Some("3s"));
        assert_eq!(merged.origin(&slow), ValueOrigin::Variable("SEGUE_LOG_SLOW".to_owned()));
    }
}

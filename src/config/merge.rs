//! The sources of a configuration, merged by figment: the file, `conf.d`, variables, flags.
//!
//! figment keeps the source of each value; the line and column come from the file that it names.

use std::ops::Range;
use std::path::Path;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};
use toml_edit::{Document, Item, TableLike};

use super::problem::FilePosition;
use super::spot::{Marked, PathStep, Spot};

/// All that was given, one value for each key.
#[derive(Default)]
pub struct Merged {
    figment: Figment,
    files: Vec<Parsed>,
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
    /// The value.
    pub value: Value,
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
    pub fn new(files: Vec<Parsed>, settings: Vec<Setting>) -> Self {
        let figment = files.iter().fold(Figment::new(), |figment, file| figment.merge(file));
        let figment = settings.iter().fold(figment, |figment, setting| figment.merge(setting));
        let root = figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default();
        Self { figment, files, root }
    }

    /// The files, in the order in which they were merged.
    #[must_use]
    pub fn files(&self) -> &[Parsed] {
        &self.files
    }

    /// The source of the value with this tag.
    #[must_use]
    pub fn origin(&self, tag: Tag) -> ValueOrigin {
        let Some(metadata) = self.figment.get_metadata(tag) else {
            return ValueOrigin::Default;
        };
        match (&metadata.source, &*metadata.name) {
            (Some(Source::File(path)), _) => ValueOrigin::File(path.display().to_string()),
            (Some(Source::Custom(name)), VARIABLE) => ValueOrigin::Variable(name.clone()),
            (None, FLAG) => ValueOrigin::Flag,
            _ => ValueOrigin::Default,
        }
    }

    /// Where `spot` is in the files; none when it is in none of them.
    ///
    /// A table that several files make is found in the first of them.
    #[must_use]
    pub fn place(&self, spot: &Spot) -> Option<FilePosition> {
        match self.origin(spot.tag) {
            ValueOrigin::File(name) => {
                let mut named = self.files.iter().filter(|file| file.file == name);
                named.find_map(|file| file.place(spot)).or_else(|| self.first_place(spot))
            }
            ValueOrigin::Default => self.first_place(spot),
            ValueOrigin::Variable(_) | ValueOrigin::Flag => None,
        }
    }

    fn first_place(&self, spot: &Spot) -> Option<FilePosition> {
        self.files.iter().find_map(|file| file.place(spot))
    }
}

impl Parsed {
    /// Where `spot` is in this file.
    #[must_use]
    pub fn place(&self, spot: &Spot) -> Option<FilePosition> {
        let span = Node::Item(self.document.as_item()).span_at(None, &spot.path, spot.marked)?;
        Some(FilePosition::new(&self.file, self.document.raw(), span))
    }
}

const FILE: &str = "file";
const VARIABLE: &str = "variable";
const FLAG: &str = "flag";

impl Provider for &Parsed {
    fn metadata(&self) -> Metadata {
        Metadata::from(FILE, Source::File(Path::new(&self.file).to_owned()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(dict(self.document.as_table())))
    }
}

impl Provider for &Setting {
    fn metadata(&self) -> Metadata {
        match &self.variable {
            Some(name) => Metadata::from(VARIABLE, Source::Custom(name.clone())),
            None => Metadata::named(FLAG),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone()).into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(nested))
    }
}

fn dict(table: &dyn TableLike) -> Dict {
    table.iter().filter_map(|(key, item)| Some((key.to_owned(), from_item(item)?))).collect()
}

fn from_item(item: &Item) -> Option<Value> {
    Some(match item {
        Item::None => return None,
        Item::Value(value) => from_value(value),
        Item::Table(table) => Value::from(dict(table)),
        Item::ArrayOfTables(tables) => Value::from(tables.iter().map(|table| dict(table)).collect::<Vec<_>>()),
    })
}

/// A value of TOML as figment has it.
pub fn from_value(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::from(text.value().as_str()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(truth) => Value::from(*truth.value()),
        toml_edit::Value::Datetime(time) => Value::from(time.value().to_string()),
        toml_edit::Value::Array(list) => Value::from(list.iter().map(from_value).collect::<Vec<_>>()),
        toml_edit::Value::InlineTable(table) => Value::from(dict(table)),
    }
}

/// One step down a document.
#[derive(Clone, Copy)]
enum Node<'a> {
    Item(&'a Item),
    Value(&'a toml_edit::Value),
    Table(&'a toml_edit::Table),
}

impl<'a> Node<'a> {
    /// The span of what `path` leads to; `key` is the span of the key that led here.
    fn span_at(self, key: Option<Range<usize>>, path: &[PathStep], marked: Marked) -> Option<Range<usize>> {
        match path.split_first() {
            // A table spans all of its lines; its name is what a reader looks for.
            None if marked == Marked::Key || self.is_block() => key.or_else(|| self.span()),
            None => self.span().or(key),
            Some((PathStep::Key(name), rest)) => {
                let (key, item) = self.table()?.get_key_value(name)?;
                Node::Item(item).span_at(key.span(), rest, marked)
            }
            Some((PathStep::Index(index), rest)) => self.element(*index)?.span_at(None, rest, marked),
        }
    }

    fn span(self) -> Option<Range<usize>> {
        match self {
            Self::Item(item) => item.span(),
            Self::Value(value) => value.span(),
            Self::Table(table) => table.span(),
        }
    }

    fn is_block(self) -> bool {
        matches!(self, Self::Table(_) | Self::Item(Item::Table(_) | Item::ArrayOfTables(_)))
    }

    fn table(self) -> Option<&'a dyn TableLike> {
        match self {
            Self::Item(item) => item.as_table_like(),
            Self::Value(value) => value.as_inline_table().map(|table| table as &dyn TableLike),
            Self::Table(table) => Some(table),
        }
    }

    fn element(self, index: usize) -> Option<Node<'a>> {
        match self {
            Self::Item(Item::Value(value)) | Self::Value(value) => value.as_array()?.get(index).map(Node::Value),
            Self::Item(Item::ArrayOfTables(tables)) => tables.get(index).map(Node::Table),
            _ => None,
        }
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
        let merged = Merged::new(vec![first, second], Vec::new());
        let pool = merged.root["pool"].find_ref("x").and_then(Value::as_dict).expect("pool x");
        assert_eq!(merged.origin(pool["retries"].tag()), ValueOrigin::File("b".to_owned()));
        assert_eq!(merged.origin(pool["servers"].tag()), ValueOrigin::File("a".to_owned()));
        let table = Spot::root().key("pool", Tag::Default).key("x", Tag::Default);
        let retries = merged.place(&table.key("retries", pool["retries"].tag())).expect("place");
        assert_eq!((retries.file.as_str(), retries.line, retries.column), ("b", 2, 11));
        let servers = table.key("servers", pool["servers"].tag());
        let second = merged.place(&servers.index(1, pool["servers"].tag())).expect("place");
        assert_eq!(&second.excerpt[second.mark], "'b:1'");
        assert_eq!(merged.place(&table).expect("header").column, 7);
    }

    #[test]
    fn settings_win_over_files() {
        let setting = Setting {
            variable: Some("SEGUE_LOG_SLOW".to_owned()),
            key: "log.slow".to_owned(),
            value: Value::from("3s"),
        };
        let merged = Merged::new(vec![parsed("a", "log.slow = '2s'")], vec![setting]);
        let log = merged.root["log"].as_dict().expect("log");
        assert_eq!(log["slow"].as_str(), Some("3s"));
        assert_eq!(merged.origin(log["slow"].tag()), ValueOrigin::Variable("SEGUE_LOG_SLOW".to_owned()));
    }
}

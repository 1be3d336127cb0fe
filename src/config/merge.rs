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

/// Everything that was given, one value for each key.
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
        let layers = files.iter().map(Layer::of_file).chain(settings.iter().map(Layer::of_setting));
        let figment = layers.fold(Figment::new(), Figment::merge);
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
        let name = match self.origin(spot.tag) {
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
        let span = span(self.document.as_table(), &spot.path, spot.marked)?;
        Some(FilePosition::new(&self.file, self.document.raw(), span))
    }
}

const FILE: &str = "file";
const VARIABLE: &str = "variable";
const FLAG: &str = "flag";

/// What one source gives.
struct Layer(Metadata, Dict);

impl Layer {
    fn of_file(file: &Parsed) -> Self {
        Self(Metadata::from(FILE, Source::File(Path::new(&file.file).to_owned())), dict(file.document.as_table()))
    }

    fn of_setting(setting: &Setting) -> Self {
        let metadata = match &setting.variable {
            Some(name) => Metadata::from(VARIABLE, Source::Custom(name.clone())),
            None => Metadata::named(FLAG),
        };
        Self(metadata, figment::util::nest(&setting.key, setting.value.clone()).into_dict().unwrap_or_default())
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.0.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.1.clone()))
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

/// The span of what `path` leads to below `table`.
fn span(table: &dyn TableLike, path: &[PathStep], marked: Marked) -> Option<Range<usize>> {
    let (PathStep::Key(name), rest) = path.split_first()? else { return None };
    let (key, item) = table.get_key_value(name)?;
    match (rest, item) {
        // A table spans all of its lines; its name is what a reader looks for.
        ([], item) if marked == Marked::Key || item.is_table() || item.is_array_of_tables() => {
            key.span().or_else(|| item.span())
        }
        ([], item) => item.span().or_else(|| key.span()),
        ([PathStep::Index(index), rest @ ..], Item::ArrayOfTables(tables)) => {
            let table = tables.get(*index)?;
            if rest.is_empty() { table.span() } else { span(table, rest, marked) }
        }
        ([PathStep::Index(index), rest @ ..], item) => {
            let element = item.as_array()?.get(*index)?;
            if rest.is_empty() { element.span() } else { span(element.as_inline_table()?, rest, marked) }
        }
        (rest, item) => span(item.as_table_like()?, rest, marked),
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

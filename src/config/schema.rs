//! What a table of the configuration is made of, and the macro that declares one.
//!
//! One declaration of a key gives the field that the program reads, the default, the check with its messages, the words
//! of `segue diff`, the line of `segue config --effective`, the variable of the environment, and the entry in
//! segue.toml(5).

use std::slice::Iter;

use figment::value::{Dict, Value};

use super::merge::{Merged, from_toml};
use super::problem::{Severity, found};
use super::problems::Problems;
use super::spot::Spot;
use super::suggest;

/// A table: its header, what it is for, its keys.
#[derive(Debug)]
pub struct Schema {
    /// As written, with `NAME` and `HOST` for what the user picks: the heading in the manual.
    pub header: &'static str,
    /// The doc-comment.
    pub about: &'static [&'static str],
    /// In the order of the declaration.
    pub keys: &'static [Key],
}

impl Schema {
    /// Whether the table has a key of this name.
    pub fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// The doc-comment.
    pub about: &'static [&'static str],
    /// What its value must be, in words.
    pub format: fn() -> String,
    /// What holds when it is not given.
    pub fallback: Fallback,
    /// The variable of the environment that sets it too, and with it `--set`.
    pub variable: Option<&'static str>,
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value, in TOML.
    Default(&'static str),
    /// No value; in words, what happens then.
    Unset(&'static str),
    /// The key must be given; an example of what to write, in TOML.
    Required(&'static str),
}

/// A key with its value in the words of the file.
pub type Shown = (&'static str, String);

/// A struct with the keys of a table, made by [`table!`].
pub trait Keys: Default {
    /// The keys with their documentation.
    const SCHEMA: Schema;

    /// Reads the keys. Each one that is missing or wrong has its default here, and is reported where that is a problem.
    fn read(table: &mut At<'_, '_>) -> Self;

    /// The keys with their values.
    fn show(&self) -> Vec<Shown>;
}

/// How the value of a key is written.
pub trait ValueFormat {
    /// What is read from it.
    type Value;

    /// What it must be, in words, after "must be"; empty where [`describe`](Self::describe) makes it.
    const FORM: &str = "";

    /// The same for a format that has others in it.
    fn describe() -> String {
        Self::FORM.to_owned()
    }

    /// Understands the value, or reports what is wrong with it.
    fn read(at: &mut At<'_, '_>) -> Option<Self::Value>;

    /// The value in the words of the file.
    fn show(value: &Self::Value) -> String;

    /// The value of a key that is not given, for a format that allows that.
    fn unset() -> Option<Self::Value> {
        None
    }
}

/// A value and its place, while it is read.
pub struct At<'a, 'p> {
    /// The value.
    pub value: &'a Value,
    /// Its path.
    pub spot: Spot,
    /// The problems found so far.
    pub problems: &'a mut Problems<'p>,
}

impl<'a, 'p> At<'a, 'p> {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// A text or a whole number, as it is written; empty for anything else.
    #[must_use]
    pub fn written(&self) -> String {
        let number = || self.value.to_i128().map(|number| number.to_string());
        self.text().map(|text| text.trim().to_owned()).or_else(number).unwrap_or_default()
    }

    /// The key.
    #[must_use]
    pub fn name(&self) -> &str {
        self.spot.name()
    }

    /// How the source of the value (a file, a variable or a flag) would give it `value`, which is in TOML.
    #[must_use]
    pub fn assignment(&self, value: &str) -> String {
        self.problems.assignment(&self.spot, value)
    }

    /// `write …` with [`assignment`](Self::assignment).
    #[must_use]
    pub fn write(&self, value: &str) -> String {
        format!("write {}", self.assignment(value))
    }

    /// Reports that the value is not of `format`; `help` is what to write instead.
    pub fn wrong<T>(&mut self, format: &str, help: impl Into<Option<String>>) -> Option<T> {
        let each = if self.spot.is_element() { "each of " } else { "" };
        let message = format!("{each}`{}` must be {format}, not {}", self.name(), found(self.value));
        self.problems.add(Severity::Error, &self.spot, message, help.into(), None);
        None
    }

    /// Reports that the value can't be used, and what to write instead.
    pub fn unusable<T>(&mut self, message: String, help: impl Into<String>) -> Option<T> {
        self.problems.error(&self.spot, message, help);
        None
    }

    /// Reports something that is likely a mistake, and what to write instead.
    pub fn warning(&mut self, message: String, help: impl Into<String>) {
        self.problems.warning(&self.spot, message, help);
    }

    /// What is in the value, at `spot`.
    pub fn inner<'i>(&'i mut self, spot: Spot, value: &'i Value) -> At<'i, 'p> {
        At { value, spot, problems: self.problems }
    }

    /// The keys and values of a table; none for anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.value.as_dict().into_iter().flatten()
    }

    /// The value of a key of a table.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.as_dict()?.get(key)
    }

    /// The keys of a table that is a value itself; none when there is a problem with one of them.
    pub fn table<T: Keys>(&mut self) -> Option<T> {
        let before = self.problems.refusing();
        self.unknown_keys(&[&T::SCHEMA]);
        let table = T::read(self);
        (self.problems.refusing() == before).then_some(table)
    }

    /// Reports every key of a table that none of `schemas` has.
    pub fn unknown_keys(&mut self, schemas: &[&Schema]) {
        let known: Vec<&str> = schemas.iter().flat_map(|schema| schema.keys).map(|key| key.name).collect();
        for (key, value) in self.entries().filter(|(key, _)| !known.contains(&key.as_str())) {
            let (message, help) = suggest::for_unknown_key(&self.spot, key, value, &known);
            self.problems.error(&self.spot.key(key).at_key(), message, help);
        }
    }

    /// Reports that a table has no `key`, which must be given, as in `example`.
    fn missing(&mut self, key: &str, example: &str) {
        // A table inside is an unquoted name with dots, which is reported; the keys are in that table.
        let has_table = self.entries().any(|(_, value)| value.as_dict().is_some());
        // A key under another spelling has its problem already.
        let is_misspelt = self.entries().any(|(given, _)| suggest::is_meant(given, key));
        if !self.problems.complete || has_table || is_misspelt {
            return;
        }
        let (table, place) = match self.spot.is_element() {
            true => (format!("`{}`", self.spot), "into it"),
            false => (format!("`[{}]`", self.spot), "below it"),
        };
        let help = format!("write `{key} = {example}` {place}");
        self.problems.error(&self.spot.clone().at_key(), format!("{table} has no `{key}`"), help);
    }
}

/// Reads the value of the next one of `keys` in `table`; one that is missing or wrong has its default.
pub fn read_key<F: ValueFormat>(keys: &mut Iter<'_, Key>, table: &mut At<'_, '_>) -> F::Value {
    let key = keys.next().expect("there are as many keys as fields, since both are made from one list");
    let given = table.get(key.name);
    let spot = table.spot.key(key.name);
    let read = given.and_then(|value| F::read(&mut table.inner(spot, value)));
    let (Fallback::Default(toml) | Fallback::Required(toml) | Fallback::Unset(toml)) = key.fallback;
    if given.is_none() && matches!(key.fallback, Fallback::Required(_)) {
        table.missing(key.name, toml);
    }
    read.or_else(F::unset).unwrap_or_else(|| {
        let value = from_toml(toml).and_then(|value| F::read(&mut table.inner(Spot::root(), &value)));
        value.expect("each default and each example is of its format")
    })
}

/// The table with every key at its default, and keys without one as in their examples.
pub fn default<T: Keys>() -> T {
    let (nothing, merged) = (Value::from(Dict::new()), Merged::default());
    T::read(&mut At { value: &nothing, spot: Spot::root(), problems: &mut Problems::new(&merged, false) })
}

/// Declares a table: a struct with a field for each key, and its [`Keys`].
///
/// In braces stand the keys, each with its [`ValueFormat`] and what holds when it is not given: a default in TOML,
/// `unset("what happens then")`, or `required(example in TOML)`. `from VARIABLE` has the environment and `--set` set it
/// too. Their doc-comments are the text of the manual. In parentheses stand fields that are no keys, and are filled in
/// by the module that reads the table.
macro_rules! table {
    (@fallback unset $instead:literal) => { $crate::config::schema::Fallback::Unset($instead) };
    (@fallback required $example:tt) => { $crate::config::schema::Fallback::Required(stringify!($example)) };
    (@fallback $value:tt) => { $crate::config::schema::Fallback::Default(stringify!($value)) };
    (@variable) => { None };
    (@variable $variable:ident) => { Some(stringify!($variable)) };
    (
        $(#[doc = $about:literal])*
        $name:ident $header:literal $(($( $(#[doc = $field_doc:literal])* $field:ident: $type:ty, )*))? {
            $(
                $(#[doc = $doc:literal])*
                $key:ident: $format:ty = $fallback:tt $(($text:tt))? $(from $variable:ident)?,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($( $(#[doc = $field_doc])* pub $field: $type, )*)?
            $( $(#[doc = $doc])* pub $key: <$format as $crate::config::schema::ValueFormat>::Value, )*
        }

        impl $crate::config::schema::Keys for $name {
            const SCHEMA: $crate::config::schema::Schema = $crate::config::schema::Schema {
                header: $header,
                about: &[$($about),*],
                keys: &[$( $crate::config::schema::Key {
                    name: stringify!($key),
                    about: &[$($doc),*],
                    format: <$format as $crate::config::schema::ValueFormat>::describe,
                    fallback: $crate::config::schema::table!(@fallback $fallback $($text)?),
                    variable: $crate::config::schema::table!(@variable $($variable)?),
                } ),*],
            };

            fn read(table: &mut $crate::config::schema::At<'_, '_>) -> Self {
                let mut keys = Self::SCHEMA.keys.iter();
                Self {
                    $($( $field: Default::default(), )*)?
                    $( $key: $crate::config::schema::read_key::<$format>(&mut keys, table), )*
                }
            }

            fn show(&self) -> Vec<$crate::config::schema::Shown> {
                vec![$( (stringify!($key), <$format as $crate::config::schema::ValueFormat>::show(&self.$key)) ),*]
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $crate::config::schema::default()
            }
        }
    };
}

pub(super) use table;

//! What a table of the configuration is made of, and the macro that declares one.
//!
//! One declaration gives the struct that the values are read into, the list of keys for "did you mean" and for
//! `segue config --effective`, and the text of the manual page.

use figment::value::{Dict, Value};

use super::report::Report;
use super::spot::Spot;
use super::suggest;

/// A table: its header, what it is for, its keys.
#[derive(Debug)]
pub struct Table {
    /// As written, `NAME` and `HOST` standing for what the user picks: the heading in the manual.
    pub header: &'static str,
    /// The doc-comment.
    pub about: &'static [&'static str],
    /// In the order of the declaration.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// The doc-comment.
    pub about: &'static [&'static str],
    /// What its value must be, in words.
    pub form: fn() -> String,
    /// What holds when it is not given.
    pub fallback: Fallback,
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This text.
    Text(&'static str),
    /// This number.
    Number(i64),
    /// This truth.
    Truth(bool),
    /// An empty list.
    Empty,
    /// No value; in words, what happens then.
    Unset(&'static str),
    /// The key must be given; this is an example of what to write.
    Required(&'static str),
}

impl Fallback {
    /// The value, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        match *self {
            Self::Text(text) => Some(Value::from(text)),
            Self::Number(number) => Some(Value::from(number)),
            Self::Truth(truth) => Some(Value::from(truth)),
            Self::Empty => Some(Value::from(Vec::<Value>::new())),
            Self::Unset(_) | Self::Required(_) => None,
        }
    }
}

impl Table {
    /// The values of all keys that have one without being given.
    #[must_use]
    pub fn defaults(&self) -> Dict {
        self.keys.iter().filter_map(|key| Some((key.name.to_owned(), key.fallback.value()?))).collect()
    }
}

/// A struct with the keys of a table, made by [`table!`].
pub trait Keys: Sized {
    /// The keys with their documentation.
    const TABLE: Table;

    /// Reads the keys that are here, and reports those that must be and are not.
    fn read(dict: &Dict, spot: &Spot, report: &mut Report<'_>) -> Self;

    /// Where each key stands that is given, or has a default.
    fn spots(&self) -> Vec<&Spot>;
}

/// A value as a person writes it, understood.
pub trait Form: Sized {
    /// What it must be, in words, after "must be".
    fn describe() -> String;

    /// Understands `value`, or reports why not.
    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self>;
}

/// A value that was given, or is a default, and where.
#[derive(Clone, Debug)]
pub struct Given<T> {
    /// What.
    pub value: T,
    /// Where.
    pub spot: Spot,
}

impl<T: Form> Given<T> {
    /// Understands the value of `key` in `dict`. None when it is not there, or was reported.
    pub fn read(dict: &Dict, key: &Key, table: &Spot, report: &mut Report<'_>) -> Option<Self> {
        if let Some(value) = dict.get(key.name) {
            let spot = table.key(key.name, value.tag());
            return T::read(value, &spot, report).map(|value| Self { value, spot });
        }
        if let Fallback::Required(example) = key.fallback
            && report.complete
            // A table inside is an unquoted name with dots, which is reported: then nothing is where it belongs.
            && !dict.values().any(|value| value.as_dict().is_some())
            // nor is a second message of use about a key that is there, under another spelling
            && !dict.keys().any(|given| suggest::is_meant(given, key.name))
        {
            let (message, help) = if table.is_element() {
                (format!("`{table}` has no `{}`", key.name), format!("write `{} = {example}` into it", key.name))
            } else {
                (format!("`[{table}]` has no `{}`", key.name), format!("write `{} = {example}` below it", key.name))
            };
            report.error(&table.clone().at_key(), message).help(help);
        }
        None
    }
}

/// Declares a table: a struct with one optional [`Given`] for each key, and its [`Keys`].
///
/// `about` of the table and the keys are their doc-comments; the value after `=` is the [`Fallback`].
macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $name:ident $header:literal {
            $( $(#[doc = $doc:literal])* $key:ident: $form:ty = $fallback:expr, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $key: Option<$crate::config::table::Given<$form>>, )*
        }

        impl $crate::config::table::Keys for $name {
            const TABLE: $crate::config::table::Table = $crate::config::table::Table {
                header: $header,
                about: &[$($about),*],
                keys: &[$( $crate::config::table::Key {
                    name: stringify!($key),
                    about: &[$($doc),*],
                    form: <$form as $crate::config::table::Form>::describe,
                    fallback: $fallback,
                } ),*],
            };

            fn read(
                dict: &figment::value::Dict,
                spot: &$crate::config::spot::Spot,
                report: &mut $crate::config::report::Report<'_>,
            ) -> Self {
                let mut keys = Self::TABLE.keys.iter();
                // The keys come in the order of the fields: both are made from the same list.
                $( let $key = keys.next().and_then(|key| {
                    $crate::config::table::Given::read(dict, key, spot, report)
                }); )*
                Self { $($key),* }
            }

            fn spots(&self) -> Vec<&$crate::config::spot::Spot> {
                [$( self.$key.as_ref().map(|given| &given.spot) ),*].into_iter().flatten().collect()
            }
        }
    };
}

pub(super) use table;

//! A type name stands for one type in the whole crate.

use std::collections::BTreeMap;

use crate::source::sources;

#[test]
fn no_type_name_stands_for_two_types() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        for (at, line) in source.code.lines().enumerate() {
            if let Some(name) = defined(line) {
                found.entry(name.to_owned()).or_default().push(format!("{}:{}", source.path.display(), at + 1));
            }
        }
    }
    found.retain(|_, places| places.len() > 1);
    assert!(found.is_empty(), "{found:#?}");
}

/// The name of the type that a line defines; types of traits are no types of their own.
fn defined(line: &str) -> Option<&str> {
    let is_inside = line.starts_with(char::is_whitespace);
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let (word, rest) = line.split_once(' ')?;
    if !matches!(word, "struct" | "enum" | "trait") && (word != "type" || is_inside) {
        return None;
    }
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

#[test]
fn a_definition_is_told_from_a_use() {
    assert_eq!(defined("pub(super) struct Room {"), Some("Room"));
    assert_eq!(defined("    enum Step<'a> {"), Some("Step"));
    assert_eq!(defined("pub type Index = u16;"), Some("Index"));
    assert_eq!(defined("    type Error = io::Error;"), None);
    assert_eq!(defined("let room = Room::default();"), None);
}

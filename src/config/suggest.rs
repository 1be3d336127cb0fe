//! "Did you mean": close spellings, the words that other proxies use, and what this version does not do yet.

use figment::value::{Dict, Value};

use super::problem::Problem;
use super::report::quoted;
use super::spot::Spot;
use super::table::Table;
use super::words::{FOREIGN_KEYS, FOREIGN_TABLES, LATER, later};

/// The candidate that is spelled most like `given`, if one is close enough to be meant.
#[must_use]
pub fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase().replace('-', "_");
    let score = |candidate: &&str| strsim::jaro_winkler(&given, &candidate.to_ascii_lowercase().replace('-', "_"));
    candidates
        .into_iter()
        .map(|candidate| (score(&candidate), candidate))
        .filter(|(score, _)| *score > 0.84)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}

/// Whether an unknown key `given` is understood as the key `name`: by its spelling, or as another proxy's word for it.
#[must_use]
pub fn is_meant(given: &str, name: &str) -> bool {
    let lower = given.to_ascii_lowercase();
    let quoted = format!("`{name}`");
    let is_word =
        |(_, words, instead): &(&str, &[&str], &str)| instead.starts_with(&quoted) && words.contains(&lower.as_str());
    given != name && (closest(given, [name]).is_some() || FOREIGN_KEYS.iter().any(is_word))
}

/// What is wrong with a key that the table at `spot` does not have, and what to write instead.
#[must_use]
pub fn for_unknown_key(spot: &Spot, key: &str, value: &Value, known: &[&str]) -> (String, String) {
    let kind = spot.kind();
    if LATER.contains(&key) {
        return (format!("`{key}` is not supported in this version"), later(key).to_owned());
    }
    if value.as_dict().is_some() && spot.path.len() == 2 {
        return (
            format!("`[{spot}]` has no table `{}`", key.escape_debug()),
            instead_of_table(spot, key, value, known),
        );
    }
    let key_text = key.escape_debug();
    let message = match spot.is_element() {
        true => format!("unknown key `{key_text}` in `{spot}`"),
        false => format!("unknown key `{key_text}` in `[{spot}]`"),
    };
    if spot.is_element() && key == "backup" {
        return (message, "write the server into the list `backup` of the pool instead".to_owned());
    }
    let lower = key.to_ascii_lowercase();
    let foreign = FOREIGN_KEYS
        .iter()
        .find(|(table, words, _)| (*table == kind || table.is_empty()) && words.contains(&lower.as_str()));
    if let Some((_, _, instead)) = foreign.filter(|(_, _, instead)| known_word(instead, known)) {
        return (message, format!("write {instead}"));
    }
    match closest(key, known.iter().copied()) {
        Some(close) => (message, format!("did you mean `{close}`?")),
        None => (message, format!("it can have {}", list(known))),
    }
}

/// What to write instead of a table below the table at `spot`.
fn instead_of_table(spot: &Spot, key: &str, value: &Value, known: &[&str]) -> String {
    let kind = spot.kind();
    let (name, keys) = dotted(spot, key, value);
    let is_own = keys.is_some_and(|keys| keys.keys().any(|key| known.contains(&key.as_str())));
    let list = "[\"10.0.0.11:80\"]";
    match (kind, key) {
        ("pool", "server" | "servers") => format!("take it out, and write `servers = {list}` below `[{spot}]`"),
        // the keys in it are those of the table: its name has dots
        _ if is_own && spot.name() != "*" => {
            format!("if dots are part of the name, put it in quotes: write `[{kind}.{}]`", quoted(&name))
        }
        (
            "site" | "tcp",
            "pool" | "pools" | "server" | "servers" | "backend" | "backends" | "upstream" | "upstreams",
        ) => {
            format!("take it out, and write `to = {list}` below `[{spot}]`, or `to = \"NAME\"` for a `[pool.NAME]`")
        }
        _ => format!("take it out: it can have {}", self::list(known)),
    }
}

/// What is wrong with a name at the top of the file, and what to write instead.
#[must_use]
pub fn for_unknown_table(name: &str, known: &[&str]) -> (String, String) {
    if LATER.contains(&name) {
        return (format!("`{name}` is not supported in this version"), later(name).to_owned());
    }
    let message = format!("unknown table `{}`", name.escape_debug());
    let lower = name.to_ascii_lowercase();
    if let Some((_, instead)) = FOREIGN_TABLES.iter().find(|(words, _)| words.contains(&lower.as_str())) {
        return (message, format!("write {instead}"));
    }
    match closest(name, known.iter().copied()) {
        Some(close) => (message, format!("did you mean `{close}`?")),
        None => (message, format!("the tables are {}", list(known))),
    }
}

/// What is wrong with a key before the first header, which no table has, and what to write instead.
#[must_use]
pub fn for_key_at_the_top(key: &str, known: &[&str], tables: &[&Table]) -> (String, String) {
    let mut owners: Vec<String> = Vec::new();
    for table in tables.iter().filter(|table| table.keys.iter().any(|own| own.name == key)) {
        owners.push(format!("`{}`", table.header));
    }
    match owners.is_empty() {
        true => for_unknown_table(key, known),
        false => (format!("`{key}` stands in no table"), format!("write it below {}", owners.join(" or "))),
    }
}

/// Says how a table with a name is written.
pub fn explain_unnamed(problem: &mut Problem, kind: &str) {
    problem.help(match kind {
        "site" => "write `[site.\"app.example.com\"]`, or `[site.\"*\"]` for every host".to_owned(),
        kind => format!("write `[{kind}.NAME]`, with a name that you pick"),
    });
}

/// The key that stands for `words`, the start of a line of another proxy's configuration.
#[must_use]
pub fn for_foreign_line(line: &str) -> Option<&'static str> {
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    let lower = words.join(" ").to_ascii_lowercase();
    let first = words.first()?.to_ascii_lowercase();
    let keys = FOREIGN_KEYS.iter().map(|(_, words, instead)| (*words, *instead));
    // The first word of a line is a table there more often than a key.
    let all: Vec<(&[&str], &str)> = FOREIGN_TABLES.iter().copied().chain(keys).collect();
    let standing_for = |word: &str| all.iter().find(|(words, _)| words.contains(&word)).map(|(_, instead)| *instead);
    standing_for(&lower).or_else(|| standing_for(&first))
}

/// `a`, `b` and `c`
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "no keys".to_owned(),
    }
}

/// A hint that names a key is only good in a table that has this key; the others hold everywhere.
fn known_word(instead: &str, known: &[&str]) -> bool {
    let named = instead.strip_prefix('`').and_then(|rest| rest.split(['`', ' ']).next()).unwrap_or_default();
    named.is_empty() || !named.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') || known.contains(&named)
}

/// The name in `[site.app.example.com]`, which was written without quotes, and the keys of the table.
fn dotted<'v>(spot: &Spot, key: &str, value: &'v Value) -> (String, Option<&'v Dict>) {
    let mut name = format!("{}.{key}", spot.name());
    let mut inner = value;
    while let Some(dict) = inner.as_dict()
        && let [(key, value)] = dict.iter().collect::<Vec<_>>()[..]
        && value.as_dict().is_some()
    {
        name.push('.');
        name.push_str(key);
        inner = value;
    }
    (name, inner.as_dict())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_spellings_are_found_and_far_ones_are_not() {
        let known = ["connect_timeout", "response_timeout", "retries", "servers"];
        assert_eq!(closest("conect_timeout", known), Some("connect_timeout"));
        assert_eq!(closest("retrys", known), Some("retries"));
        assert_eq!(closest("connect-timeout", known), Some("connect_timeout"));
        assert_eq!(closest("colour", known), None);
    }

    #[test]
    fn lines_of_other_proxies_are_recognised() {
        assert_eq!(for_foreign_line("timeout connect 5s"), Some("`connect_timeout`"));
        assert_eq!(for_foreign_line("backend web"), Some("`[pool.NAME]` with `servers`"));
        assert_eq!(for_foreign_line("to = web-farm"), None);
    }
}

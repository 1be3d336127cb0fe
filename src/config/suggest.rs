//! "Did you mean": close spellings, the words of other proxies, and what this version does not support yet.

use figment::value::{Dict, Value};

use super::problem::quoted;
use super::spot::Spot;
use super::words::{self, Words};

/// The candidate that is spelled most like `given`, if one is close enough.
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
    let (lower, quoted) = (given.to_ascii_lowercase(), format!("`{name}`"));
    let is_word = |words: &Words| words.instead.starts_with(&quoted) && words.have(&lower);
    given != name && (closest(given, [name]).is_some() || words::keys(|_| true).any(is_word))
}

/// What is wrong with a key that the table at `spot` does not have, and what to write instead.
#[must_use]
pub fn for_unknown_key(spot: &Spot, key: &str, value: &Value, known: &[&str]) -> (String, String) {
    let kind = spot.kind();
    if let Some(instead) = words::instead("later", key) {
        return (format!("`{key}` is not supported in this version"), instead.to_owned());
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
    let foreign = words::keys(|table| table == kind || table == "key").find(|words| words.have(&lower));
    if let Some(words) = foreign.filter(|words| known_word(words.instead, known)) {
        return (message, format!("write {}", words.instead));
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

/// What is wrong with a name at the top of the file that is none of the `known` tables, and what to write instead. The
/// tables at `owners` have a key of this name.
pub fn for_unknown_table(name: &str, value: &Value, known: &[&str], owners: &[&str]) -> (String, String) {
    if let Some(instead) = words::instead("later", name) {
        return (format!("`{name}` is not supported in this version"), instead.to_owned());
    }
    if value.as_dict().is_none() && !owners.is_empty() {
        return (format!("`{name}` stands in no table"), format!("write it below `{}`", owners.join("` or `")));
    }
    let lower = name.to_ascii_lowercase();
    let help = match (words::instead("table", &lower), closest(name, known.iter().copied())) {
        (Some(instead), _) => format!("write {instead}"),
        (None, Some(close)) => format!("did you mean `{close}`?"),
        (None, None) => format!("the tables are {}", list(known)),
    };
    (format!("unknown table `{}`", name.escape_debug()), help)
}

/// The key that stands for `words`, the start of a line of another proxy's configuration.
#[must_use]
pub fn for_foreign_line(line: &str) -> Option<&'static str> {
    let lower = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let first = lower.split(' ').next()?;
    // The first word of a line is a table there more often than a key.
    let standing_for = |word: &str| {
        let key = || words::keys(|_| true).find(|words| words.have(word)).map(|words| words.instead);
        words::instead("table", word).or_else(key)
    };
    standing_for(&lower).or_else(|| standing_for(first))
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

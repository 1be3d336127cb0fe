//! The statistics page of HAProxy as the status page.
//!
//! That page is on one listener, this one on every listener of its site. So its table stands in a comment, ready to be used:
//! more clients than before could log in.

use std::collections::BTreeMap;

use super::section::CfgSection;
use super::toml::{WrittenTable, text};

/// Users that are taken over: each hash takes a moment.
const MOST_USERS: usize = 32;
/// The path of HAProxy where none is given.
const USUAL: &str = "/haproxy";

/// The table of the first section with a page. `sites` are the hosts of the sites, and `hash` makes the hash of a password.
pub(super) fn page(
    sections: &[CfgSection],
    sites: &[String],
    hash: &dyn Fn(&str) -> Option<String>,
) -> Option<WrittenTable> {
    let site = sites.iter().find(|host| *host == "*").or(sites.first())?;
    let section = sections.iter().find(|section| section.is_proxy() && !of(section, "").is_empty())?;
    let uri = of(section, "uri").first().and_then(|words| words.first().copied()).unwrap_or(USUAL);
    let path = uri.split(['?', ';', '#']).next().unwrap_or_default().trim_end_matches('/');
    let mut table = WrittenTable::new("dashboard");
    table.left_out = true;
    table.comments.push(format!(
        "line {}: the page of {} {}, for every listener of the site",
        section.line, section.kind, section.name
    ));
    table.comments.push("without the number signs it is there; /run/segue/admin.sock has it in any case".to_owned());
    // the whole of a site is no path of it
    table.set("on", text(&format!("{site}{}", if path.is_empty() { "/lb" } else { path })));
    let users = users(section, hash);
    match users.is_empty() {
        true => table.comments.push("it needs users: `segue password NAME` makes the line for one".to_owned()),
        false => table.set("users", format!("[{}]", users.join(", "))),
    }
    if of(section, "admin").iter().any(|words| words[..] == ["if", "TRUE"]) {
        table.set("allow", text("change"));
    }
    Some(table)
}

/// What follows `stats WORD` in each of its lines; `stats` alone for no word.
fn of<'s>(section: &'s CfgSection, word: &str) -> Vec<Vec<&'s str>> {
    let lines = section.directives.iter().map(|one| one.words.iter().map(String::as_str).collect::<Vec<_>>());
    let stats = lines.filter(|words| words.first() == Some(&"stats"));
    let of_word = stats.filter(|words| word.is_empty() || words.get(1) == Some(&word));
    of_word.map(|words| words.get(2..).unwrap_or_default().to_vec()).collect()
}

/// As TOML. HAProxy takes the last password of a user.
fn users(section: &CfgSection, hash: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let given = of(section, "auth").into_iter().filter_map(|words| words.first()?.split_once(':'));
    let is_name = |name: &str| !name.is_empty() && !name.chars().any(|one| one.is_control() || one.is_whitespace());
    let known: BTreeMap<&str, &str> = given.filter(|(name, _)| is_name(name)).collect();
    let lines =
        known.into_iter().take(MOST_USERS).filter_map(|(name, password)| Some(format!("{name}:{}", hash(password)?)));
    lines.map(|line| text(&line)).collect()
}

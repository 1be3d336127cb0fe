//! Lines that are no TOML, and what was likely meant. Every guess is parsed in its file before it is shown.

use std::ops::Range;

use toml_edit::{Document, Item};

use super::meant::{meant, rules};
use super::schema::ValueFormat as _;
use super::tables;
use super::values::truth;

/// The line at `line` of `text` as it was likely meant. It is TOML by itself, and with it the parser finds no error in this
/// line nor in that of `error`, where it stopped. None when no guess is like that.
#[must_use]
pub fn repair(text: &str, line: Range<usize>, error: usize) -> Option<String> {
    let given = &text[line.clone()];
    let (before, after) = (&text[..line.start], &text[line.end..]);
    let number = |text: &str, at: usize| text[..at].matches('\n').count();
    let next = line.end + after.len() - after.trim_start().len();
    let [line, error, next_line] = [line.start, error, next].map(|at| number(text, at));
    let is_good = |guess: &str, cured: &[usize]| {
        let text = format!("{before}{guess}{after}");
        let error =
            Document::parse(text.as_str()).err().map(|error| error.span().map_or(text.len(), |span| span.start));
        stands_alone(guess) && error.is_none_or(|error| !cured.contains(&number(&text, error)))
    };
    let (indent, body) = given.split_at(given.len() - given.trim_start_matches([' ', '\t']).len());
    // after a comma the next line belongs to the list: the comma is right only if that line is right too
    let comma = format!("{indent}{},", body.trim_end());
    if !text[next..].starts_with('[') && is_good(&comma, &[line, error, next_line]) {
        return Some(comma);
    }
    let straight = rules("odd").iter().fold(body.to_owned(), |line, rule| rule.replace(&line));
    let (code, comment) = split_comment(straight.trim());
    let whole = |code: &str| if code.is_empty() { String::new() } else { format!("{indent}{code}{comment}") };
    let is_meant = |code: &str| is_good(&whole(code), &[line, error]) && !is_truth_elsewhere(code);
    if straight != body && is_meant(code) {
        return Some(whole(code));
    }
    let kind = if code.starts_with('[') { "header" } else { "line" };
    Some(whole(&meant(kind, code, is_meant)?.text?))
}

/// Every line of `text`, without its end.
pub fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    text.split('\n').map(move |line| {
        let start = next;
        next += line.len() + 1;
        start..start + line.trim_end_matches('\r').len()
    })
}

/// The line that has `at`.
#[must_use]
pub fn line_at(text: &str, at: usize) -> Range<usize> {
    lines(text).take_while(|line| line.start <= at).last().unwrap_or_default()
}

/// Whether a line is TOML by itself, or inside a list that lines before and after it open and close.
fn stands_alone(line: &str) -> bool {
    let around = [("", ""), ("", "\n]"), ("x = [\n", "\n]"), ("x = [\n", "")];
    around.iter().any(|(before, after)| Document::parse(format!("{before}{line}{after}")).is_ok())
}

/// What is wrong with the first character of `line` that looks like another one in an editor, and where it is.
pub fn odd_character(line: &str) -> Option<(Range<usize>, String)> {
    line.char_indices().find_map(|(at, odd)| {
        let rule = rules("odd").iter().find(|rule| rule.matches(&odd.to_string()))?;
        let name = format!("{} (U+{:04X})", rule.why, u32::from(odd));
        let said = match rule.replace(&odd.to_string()).chars().next() {
            Some(' ') => format!("{name} stands where a blank is meant"),
            Some(plain) => format!("{name} stands where {plain:?} is meant"),
            None => name,
        };
        Some((at..at + odd.len_utf8(), said))
    })
}

/// The code of a line, and its comment with the blanks before it.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quote = None;
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (None, '#') => return line.split_at(line[..at].trim_end().len()),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    (line, "")
}

/// Whether a key gets a word like `off` where it wants true or false, or the other way round.
fn is_truth_elsewhere(line: &str) -> bool {
    let table = Document::parse(line).ok();
    let is_key = |name: &str| tables::keys().any(|(_, key)| key.name == name && (key.format)() == bool::describe());
    let is_word = |item: &Item| item.is_bool() || item.as_str().is_some_and(|word| truth(word).is_some());
    table.is_some_and(|table| table.iter().any(|(name, item)| is_word(item) && is_key(name) != item.is_bool()))
}

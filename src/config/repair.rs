//! Lines that are no TOML, and what was likely meant. Every guess is parsed in its file before it is shown.

use std::ops::Range;

use toml_edit::{Document, Key, Value};

use super::schema::ValueFormat;
use super::tables;
use super::values;

/// The line at `line` of `text` as it was likely meant. It is TOML by itself, and with it the parser finds no error in this
/// line nor in `error`, the line that it stopped at. None when no guess is like that.
#[must_use]
pub fn repair(text: &str, line: Range<usize>, error: Range<usize>) -> Option<String> {
    let given = &text[line.clone()];
    let (indent, body) = given.split_at(given.len() - given.trim_start_matches([' ', '\t']).len());
    let (before, after) = (&text[..line.start], &text[line.end..]);
    let next = line.end + after.len() - after.trim_start().len();
    let next = next..next + text[next..].find('\n').unwrap_or(text.len() - next);
    let is_good = |guess: &str, cured: &[&Range<usize>]| match Document::parse(format!("{before}{guess}{after}")) {
        Ok(_) => true,
        Err(error) => {
            let at = error.span().map_or(text.len(), |span| span.start);
            let is_in = |range: &&Range<usize>| {
                let moved =
                    |at: usize| if at > line.start { (at + guess.len()).saturating_sub(given.len()) } else { at };
                (moved(range.start)..=moved(range.end)).contains(&at)
            };
            !cured.iter().any(is_in)
        }
    };
    // after a comma the next line belongs to the list: the comma is right only if that line is right too
    let comma = format!("{indent}{},", body.trim_end());
    if !text[next.clone()].starts_with('[') && stands_alone(&comma) && is_good(&comma, &[&line, &error, &next]) {
        return Some(comma);
    }
    let guesses = guesses(body).into_iter();
    let mut guesses = guesses.map(|guess| if guess.is_empty() { guess } else { format!("{indent}{guess}") });
    guesses.find(|guess| guess != given && stands_alone(guess) && is_good(guess, &[&line, &error]))
}

/// Whether a line is TOML by itself, or inside a list that lines before and after it open and close.
fn stands_alone(line: &str) -> bool {
    let around = [("", ""), ("", "\n]"), ("x = [\n", "\n]"), ("x = [\n", "")];
    around.iter().any(|(before, after)| Document::parse(format!("{before}{line}{after}")).is_ok())
}

/// For a character that looks like another one in an editor: the one that is meant; none for one that is invisible.
#[must_use]
pub fn look_alike(character: char) -> Option<Option<char>> {
    Some(match character {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => None,
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' => Some('"'),
        '‘' | '’' | '‚' | '‛' | '′' => Some('\''),
        '‐' | '‑' | '‒' | '–' | '—' | '−' => Some('-'),
        _ => return None,
    })
}

fn guesses(body: &str) -> Vec<String> {
    let straight: String =
        body.chars().filter_map(|character| look_alike(character).unwrap_or(Some(character))).collect();
    let body = straight.trim();
    let (code, comment) = split_comment(body);
    let bare = code.trim_end_matches([';', ',']).trim_end();
    let mut guesses = vec![straight.clone()];
    if let Some(text) = ["//", "/*", ";", "--", "!"].iter().find_map(|mark| body.strip_prefix(mark)) {
        guesses.push(format!("#{}", text.trim_end_matches("*/").trim_end()));
    }
    if let Some((code, text)) = body.split_once(" //").or_else(|| body.split_once("; ")) {
        guesses.push(format!("{code} # {}", text.trim_start_matches(['#', ' '])));
    }
    if body.starts_with("```") {
        guesses.push(String::new());
    }
    guesses.push(format!("{bare}{comment}"));
    let closed = std::iter::once(bare.to_owned()).chain(closed(bare));
    for one in closed.collect::<Vec<_>>() {
        let forms = if one.starts_with('[') { headers(&one) } else { assignments(&one) };
        guesses.push(format!("{one}{comment}"));
        guesses.extend(forms.into_iter().map(|form| format!("{form}{comment}")));
    }
    guesses
}

/// The code of a line, and its comment with the blanks before it.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quote = None;
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (None, '#') => return (line[..at].trim_end(), &line[line[..at].trim_end().len()..]),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    (line, "")
}

/// The line with quotes, brackets or braces that may be missing.
fn closed(line: &str) -> Vec<String> {
    let inside = line.trim_end_matches([']', '}', ' ']);
    let end = &line[inside.len()..];
    let mut all = Vec::new();
    for quote in ['"', '\''].into_iter().filter(|quote| line.matches(*quote).count() % 2 == 1) {
        all.extend([format!("{inside}{quote}{end}"), format!("{line}{quote}"), format!("{line}{quote}]")]);
        // the first quote is missing
        if let Some((key, value)) = line.split_once('=') {
            let value = value.trim();
            all.push(format!("{key}= {quote}{value}"));
        }
    }
    all.extend([format!("{line}]"), format!("{line} }}"), format!("{line} }}]")]);
    all
}

/// `[site.*]`, `[pool web]`, `[site:app.example.com]`: the name in quotes where it needs them.
fn headers(line: &str) -> Vec<String> {
    let inner = line.trim_matches(['[', ']', ' ']);
    let Some(at) = inner.find(['.', ' ', ':', '/', '=']) else { return Vec::new() };
    let (kind, name) = (&inner[..at], inner[at + 1..].trim().trim_matches(['"', '\'']));
    vec![format!("[{kind}.{}]", Key::new(name).display_repr())]
}

/// `to: web`, `to web`, `to => web`: an equals sign, and text in quotes.
fn assignments(line: &str) -> Vec<String> {
    let Some(at) = line.find(['=', ':', ' ', '\t']) else { return Vec::new() };
    let key = &line[..at];
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.\"'".contains(&byte)) {
        return Vec::new();
    }
    let value = line[at..].trim_start_matches(['=', ':', '>', ' ', '\t']);
    values(key, value).into_iter().map(|value| format!("{key} = {value}")).collect()
}

fn values(key: &str, value: &str) -> Vec<String> {
    let list = value.trim_start_matches('[').trim_end_matches(']');
    let separator: &[char] = if list.contains(',') { &[','] } else { &[' ', '\t'] };
    let elements = list.split(separator).map(str::trim).filter(|element| !element.is_empty());
    let elements = elements.map(|one| if one.parse::<Value>().is_ok() { one.to_owned() } else { in_quotes(one) });
    let elements = format!("[{}]", elements.collect::<Vec<_>>().join(", "));
    let mut all = vec![value.to_owned()];
    all.extend(values::truth(value).filter(|_| is_truth(key)).map(|truth| truth.to_string()));
    match value.starts_with('[') || list.contains(',') {
        true => all.push(elements),
        false if !value.contains(['"', '\'']) => all.push(in_quotes(value)),
        false => {}
    }
    all
}

/// Whether `key` is true or false, in whatever table.
fn is_truth(key: &str) -> bool {
    tables::keys().any(|(_, known)| known.name == key && (known.format)() == bool::describe())
}

fn in_quotes(text: &str) -> String {
    Value::from(text.trim_matches(['"', '\''])).to_string()
}

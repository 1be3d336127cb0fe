//! The text of one file into TOML, or every place where it is none.

use toml_edit::{Document, TomlError};

use super::merge::Parsed;
use super::problem::{Place, Problem, Severity};
use super::report::quoted;
use super::suggest;

/// Parses `text`, the content of `file`.
///
/// # Errors
/// Every syntax error that can be told apart: after one, its line is left out and the rest parsed again. When that
/// does not lead to the end soon, the later errors are likely consequences, and only the first is given.
pub fn parse(file: &str, text: &str) -> Result<Parsed, Vec<Problem>> {
    let first = match Document::parse(text.to_owned()) {
        Ok(document) => {
            return Ok(Parsed { file: file.to_owned(), document });
        }
        Err(error) => error,
    };
    let mut problems = vec![problem(file, text, &first)];
    if first.message().starts_with(UNCLOSED) {
        return Err(problems);
    }
    let mut rest = without_line(text, &first);
    for _ in 0..MOST_ERRORS {
        match Document::parse(rest.as_str()) {
            Ok(_) => return Err(problems),
            Err(error) => {
                let problem = problem(file, text, &error);
                if error.message().starts_with(UNCLOSED) {
                    problems.retain(|known| line(known) < line(&problem));
                    problems.push(problem);
                    return Err(problems);
                }
                problems.push(problem);
                rest = without_line(&rest, &error);
            }
        }
    }
    problems.truncate(1);
    Err(problems)
}

/// Errors after an open bracket say nothing: what stands there may belong inside.
const UNCLOSED: &str = "unclosed";

/// Errors in one file that are believed to be independent of each other.
const MOST_ERRORS: usize = 20;

fn line(problem: &Problem) -> Option<usize> {
    problem.place.as_ref().map(|place| place.line)
}

/// The text with the line of the error blank; all other places stay where they are.
fn without_line(text: &str, error: &TomlError) -> String {
    let at = error.span().map_or(text.len(), |span| span.start.min(text.len()));
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| start + length);
    format!("{}{}{}", &text[..start], " ".repeat(end - start), &text[end..])
}

fn problem(file: &str, text: &str, error: &TomlError) -> Problem {
    let place = Place::new(file, text, error.span().unwrap_or(text.len()..text.len()));
    let mut problem = Problem::new(Severity::Error, "", format!("this is no TOML: {}", error.message()));
    if let Some(help) = help(&place, error.message()) {
        problem.help(help);
    }
    problem.place = Some(place);
    problem
}

fn help(place: &Place, message: &str) -> Option<String> {
    let line = place.excerpt.trim();
    if message.contains("duplicate key") {
        return Some("a key and a table can stand once in a file: put everything under one header".to_owned());
    }
    if message.contains("missing comma") {
        return Some("put a comma between the elements of the list".to_owned());
    }
    if line.split('#').next().is_some_and(|code| code.contains(['“', '”', '„', '‘', '’'])) {
        return Some("quotation marks are straight: `\"`".to_owned());
    }
    if message.starts_with(UNCLOSED) {
        return Some("something opened in this line, or above it, is not closed".to_owned());
    }
    if let Some(header) = line.strip_prefix('[') {
        return unquoted_header(header);
    }
    if let Some((key, value)) = line.split_once('=') {
        return unquoted_value(key.trim(), value);
    }
    if let Some(instead) = suggest::for_foreign_line(line) {
        return Some(format!("this looks like the configuration of another proxy: here it is {instead}"));
    }
    let (key, value) = line.split_once(':').or_else(|| line.split_once(' '))?;
    unquoted_value(key.trim(), value).or_else(|| Some(format!("write `{} = {}`", key.trim(), value.trim())))
}

/// `[site.*]`, where the name needs quotes.
fn unquoted_header(header: &str) -> Option<String> {
    let inner = header.split(']').next().unwrap_or_default();
    let (kind, name) = inner.split_once('.')?;
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if name.contains(['"', '\'']) || plain(name) {
        return None;
    }
    Some(format!("put the name in quotes: `[{}.{}]`", kind.trim(), quoted(name.trim())))
}

/// `to = web-farm`, `slow = 5s`: text without quotes.
fn unquoted_value(key: &str, value: &str) -> Option<String> {
    let value = value.split('#').next().unwrap_or_default().trim().trim_end_matches(';');
    let is_text = value.starts_with(|start: char| start.is_ascii_alphanumeric() || "/:*.".contains(start));
    let is_literal = value.parse::<f64>().is_ok() || value == "true" || value == "false";
    (is_text && !is_literal && !value.contains('"')).then(|| format!("put text in quotes: `{key} = {}`", quoted(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Problem> {
        parse("f.toml", text).err().expect("no TOML")
    }

    #[test]
    fn every_syntax_error_of_a_file_is_found() {
        let found = problems("[site.*]\nto = web\n[log]\nslow = 5s\n");
        let lines: Vec<_> = found.iter().filter_map(|problem| problem.place.as_ref().map(|place| place.line)).collect();
        assert_eq!(lines, [1, 2, 4]);
        let help: Vec<_> = found.iter().filter_map(|problem| problem.help.as_deref()).collect();
        assert_eq!(help[0], "put the name in quotes: `[site.\"*\"]`");
        assert_eq!(help[1], "put text in quotes: `to = \"web\"`");
        assert_eq!(help[2], "put text in quotes: `slow = \"5s\"`");
    }

    #[test]
    fn another_proxys_words_are_recognised() {
        let found = problems("[pool.x]\ntimeout connect 5s\n");
        assert!(found[0].help.as_deref().is_some_and(|help| help.contains("`connect_timeout`")), "{found:?}");
    }

    #[test]
    fn an_error_at_the_end_has_a_place() {
        let found = problems("[pool.x]\nservers = [");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place.as_ref().map(|place| place.line), Some(2));
    }
}

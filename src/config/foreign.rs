//! Files of other programs: one problem for the whole file, in the place of one for each line.

use super::problem::{FilePosition, Problem, Severity};
use super::tables;

/// The problem with a file that is no TOML, when its format or its program is recognised. A file with one of our tables
/// is a configuration of Segue, with errors.
#[must_use]
pub fn whole(file: &str, text: &str) -> Option<Problem> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let is_ours = |name: &str| lines.iter().any(|line| line.strip_prefix('[').is_some_and(|it| it.starts_with(name)));
    let (message, at, help) = if lines.iter().any(|line| line.starts_with("<<<<<<< ")) {
        let help = "take one of the two versions, and the lines of `<<<<<<<`, `=======` and `>>>>>>>` out";
        ("a merge left both versions here".to_owned(), "<<<<<<<", help)
    } else if text.contains('\0') {
        let help = "it was not written whole, or is something else: write it again";
        ("this is no text: it has a NUL character".to_owned(), "\0", help)
    } else if tables::names().into_iter().any(is_ours) {
        return None;
    } else {
        let help = "write TOML, as in `[site.\"*\"]` and below it `to = [\"10.0.0.11:80\"]`; segue.toml(5) has more";
        let what = format!("this is {}, and not the configuration of Segue", format_of(&lines, text)?);
        (what, lines.first().copied().unwrap_or_default(), help)
    };
    let start = text.find(at).unwrap_or_default();
    let place = Some(FilePosition::new(file, text, start..start + at.len()));
    Some(Problem { place, ..Problem::new(Severity::Error, message, help) })
}

fn format_of(lines: &[&str], text: &str) -> Option<&'static str> {
    let first = lines.first()?.to_ascii_lowercase();
    let opens = lines.iter().any(|line| line.ends_with('{'));
    let begins = |line: &str, words: &[&str]| words.contains(&line.split([' ', '\t']).next().unwrap_or_default());
    let is_yaml = |line: &&&str| line.starts_with("- ") || line.ends_with(':') || line.contains(": ");
    // a line that begins a section of haproxy.cfg is not indented
    let is_section = |line: &str| begins(line, &SECTIONS) && !line.contains(['=', '{', ':', ';']);
    let known = [
        ("JSON", first.starts_with('{') || first == "[" || first.starts_with("[{")),
        ("a page in HTML", first.starts_with("<!doctype html") || first.starts_with("<html")),
        ("a configuration of Apache, or XML", first.starts_with('<')),
        ("a configuration of nginx", opens && lines.iter().any(|line| line.ends_with(';'))),
        ("a configuration of Caddy", opens && !lines.iter().any(|line| line.contains('='))),
        ("a configuration of Caddy", lines.iter().any(|line| begins(line, &["reverse_proxy"]))),
        ("a configuration of HAProxy", text.lines().any(is_section)),
        ("YAML", lines.iter().filter(is_yaml).count() * 2 > lines.len() && !text.contains(" = ")),
    ];
    known.into_iter().find_map(|(name, is)| is.then_some(name))
}

const SECTIONS: [&str; 5] = ["global", "defaults", "frontend", "backend", "listen"];

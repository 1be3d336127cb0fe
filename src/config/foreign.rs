//! Files of other programs: one problem for the whole file, in the place of one for each line.

use super::meant::explained;
use super::problem::{FilePosition, Problem, Severity};
use super::tables;

/// The problem with a file that is no TOML, when its format or its program is recognised. A file with one of our tables
/// is a configuration of Segue, with errors.
#[must_use]
pub fn whole(file: &str, text: &str) -> Option<Problem> {
    let lines = lines(text);
    let is_ours =
        |name: &str| lines.iter().any(|line| line.trim().strip_prefix('[').is_some_and(|it| it.starts_with(name)));
    let (message, at, help) = if lines.iter().any(|line| line.trim().starts_with("<<<<<<< ")) {
        let help = "take one of the two versions, and the lines of `<<<<<<<`, `=======` and `>>>>>>>` out";
        ("a merge left both versions here".to_owned(), "<<<<<<<", help)
    } else if text.contains('\0') {
        let help = "it was not written whole, or is something else: write it again";
        ("this is no text: it has a NUL character".to_owned(), "\0", help)
    } else if tables::names().into_iter().any(is_ours) {
        return None;
    } else {
        let help = "write TOML, as in `[site.\"*\"]` and below it `to = [\"10.0.0.11:80\"]`; segue.toml(5) has more";
        let what = format!("this is {}, and not the configuration of Segue", format_in(&lines, text)?);
        (what, lines.first().copied().unwrap_or_default().trim(), help)
    };
    let start = text.find(at).unwrap_or_default();
    let place = Some(FilePosition::new(file, text, start..start + at.len()));
    Some(Problem { place, ..Problem::new(Severity::Error, message, help) })
}

/// The format or the program of a text that is no TOML, as in `this is …`, when it is recognised.
#[must_use]
pub fn format_of(text: &str) -> Option<&'static str> {
    format_in(&lines(text), text)
}

/// The lines that say something.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.trim().starts_with('#')).collect()
}

fn format_in(lines: &[&str], text: &str) -> Option<&'static str> {
    let is_yaml = |line: &&&str| line.trim().starts_with("- ") || line.ends_with(':') || line.contains(": ");
    let yaml = || lines.iter().filter(is_yaml).count() * 2 > lines.len() && !text.contains(" = ");
    explained("format", &lines.join("\n")).or_else(|| yaml().then_some("YAML"))
}

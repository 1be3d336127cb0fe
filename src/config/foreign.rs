//! Files of other programs: one problem for the whole file, in the place of one for each line.

use super::problem::{FilePosition, Problem, Severity};

/// The problem with a file that is no TOML, when its format or its program is recognised.
#[must_use]
pub fn whole(file: &str, text: &str) -> Option<Problem> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines().any(|line| line.starts_with("<<<<<<< ")) {
        return Some(problem(
            file,
            text,
            "a merge left both versions here",
            "<<<<<<<",
            "take one of the two versions, and the lines of `<<<<<<<`, `=======` and `>>>>>>>` out",
        ));
    }
    if text.contains('\0') {
        let help = "it was not written whole, or is something else: write it again";
        return Some(problem(file, text, "this is no text: it has a NUL character", "\0", help));
    }
    let ours = |line: &str| OURS.iter().any(|name| line.strip_prefix('[').is_some_and(|rest| rest.starts_with(name)));
    if lines().any(ours) {
        return None;
    }
    let what = of(&lines().collect::<Vec<_>>(), text)?;
    let message = format!("this is {what}, and not the configuration of Segue");
    let first = lines().next().unwrap_or_default();
    let help = "write TOML, as in `[site.\"*\"]` and below it `to = [\"10.0.0.11:80\"]`; segue.toml(5) has more";
    Some(problem(file, text, &message, first, help))
}

/// Tables that can stand at the top: a file with one of them is a configuration of Segue, with errors.
const OURS: [&str; 7] = ["site", "pool", "tcp", "listen", "log", "drain", "worker"];

fn of(lines: &[&str], text: &str) -> Option<&'static str> {
    let first = *lines.first()?;
    let starts_with_word = |line: &&&str, words: &[&str]| {
        let word = line.split([' ', '\t']).next().unwrap_or_default();
        words.contains(&word)
    };
    let opens = lines.iter().filter(|line| line.ends_with('{')).count();
    let is_yaml = |line: &&&str| line.starts_with("- ") || line.ends_with(':') || line.contains(": ");
    if first.starts_with('{') || first == "[" || first.starts_with("[{") {
        Some("JSON")
    } else if first.to_ascii_lowercase().starts_with("<!doctype html") || first.starts_with("<html") {
        Some("a page in HTML")
    } else if first.starts_with('<') {
        Some("a configuration of Apache, or XML")
    } else if opens > 0 && lines.iter().any(|line| line.ends_with(';')) {
        Some("a configuration of nginx")
    } else if opens > 0 && !lines.iter().any(|line| line.contains('='))
        || lines.iter().any(|line| starts_with_word(&line, &["reverse_proxy"]))
    {
        Some("a configuration of Caddy")
    } else if text.lines().any(|line| starts_with_word(&&line, &SECTIONS) && !line.contains(['=', '{', ':', ';'])) {
        Some("a configuration of HAProxy")
    } else if lines.iter().filter(is_yaml).count() * 2 > lines.len() && !lines.iter().any(|line| line.contains(" = ")) {
        Some("YAML")
    } else {
        None
    }
}

/// The words that begin a section of haproxy.cfg; these lines are not indented.
const SECTIONS: [&str; 5] = ["global", "defaults", "frontend", "backend", "listen"];

fn problem(file: &str, text: &str, message: &str, at: &str, help: &str) -> Problem {
    let mut problem = Problem::new(Severity::Error, "", message);
    let at = text.find(at).map_or(0..0, |start| start..start + at.len());
    problem.help(help).place = Some(FilePosition::new(file, text, at));
    problem
}

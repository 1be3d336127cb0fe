//! A haproxy.cfg as sections and directives, with the numbers of their lines.

use std::collections::BTreeMap;

use super::error::ImportError;
use super::keyword;
use super::line::{self, LineError};
use super::report::{Fate, ImportReport};

/// A keyword with its arguments, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The number of the line, from 1.
    pub line: usize,
    /// All words, without `no` and `default`.
    pub words: Vec<String>,
    /// Whether `no` or `default` stands before them.
    pub negated: bool,
}

impl Directive {
    /// The word at `index`, or nothing.
    #[must_use]
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }
}

/// A section with its directives.
#[derive(Clone, Debug)]
pub struct CfgSection {
    /// `global`, `defaults`, `frontend` and so on.
    pub kind: String,
    /// The name; empty where there is none.
    pub name: String,
    /// The defaults that `from` names.
    pub from: Option<String>,
    /// What stands behind the name: an address, in old files.
    pub rest: Vec<String>,
    /// The line that it begins in.
    pub line: usize,
    /// Its lines.
    pub directives: Vec<Directive>,
}

impl CfgSection {
    /// Whether its first line is one of HAProxy, and not of a program that has such words too.
    #[must_use]
    pub fn is_of_haproxy(&self) -> bool {
        let last = self.rest.last().unwrap_or(&self.name);
        (self.is_proxy() || self.kind == "global") && !last.ends_with([';', '{'])
    }

    /// Whether it is one of those that serve, or the defaults of these.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        ["defaults", "frontend", "backend", "listen"].contains(&self.kind.as_str())
    }
}

/// Reads `text`; every line with a word in it is in the report then. `environment` has the variables of the process.
///
/// # Errors
/// When a line cannot be read: of a condition, of a variable that is not set, of an open quote.
pub fn sections(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    report: &mut ImportReport,
) -> Result<Vec<CfgSection>, ImportError> {
    let mut found: Vec<CfgSection> = Vec::new();
    let mut set: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let variable = |name: &str| set.get(name).cloned().unwrap_or_else(|| environment(name));
        let error = |error| of_line(number, error);
        let mut words = line::words(raw, &variable).map_err(error)?;
        let Some(first) = words.first().cloned() else { continue };
        if [".notice", ".diag", ".warning"].contains(&first.as_str()) {
            report.add(number, shown(&words));
            report.note(number, Fate::Default, "it only prints something when HAProxy starts");
            continue;
        }
        if first.starts_with('.') {
            return Err(ImportError::Conditional { line: number, word: first });
        }
        report.add(number, shown(&words));
        if ["bind", "server", "listen", "frontend", "server-template", "dispatch"].contains(&first.as_str()) {
            for word in words.iter_mut().skip(1).take(3) {
                *word = line::address(word, &variable).map_err(error)?;
            }
        }
        if let Some(section) = section(&words, number) {
            found.push(section);
            continue;
        }
        // what is as by default is not on
        let negated = ["no", "default"].contains(&first.as_str()) && words.len() > 1;
        if negated {
            words.remove(0);
        }
        match words[0].as_str() {
            "setenv" if words.len() > 2 => drop(set.insert(words[1].clone(), Some(words[2].clone()))),
            "presetenv" if words.len() > 2 && variable(&words[1]).is_none() => {
                set.insert(words[1].clone(), Some(words[2].clone()));
            }
            "unsetenv" => set.extend(words[1..].iter().map(|name| (name.clone(), None))),
            _ => {}
        }
        match found.last_mut() {
            Some(section) => section.directives.push(Directive { line: number, words, negated }),
            None => report.note(number, Fate::Unsupported, "it stands before the first section, which HAProxy refuses"),
        }
    }
    Ok(found)
}

fn of_line(line: usize, error: LineError) -> ImportError {
    match error {
        LineError::OpenQuote(quote) => ImportError::OpenQuote { line, quote },
        LineError::Unset(name) => ImportError::UnsetVariable { line, name },
    }
}

/// The section that a line begins.
fn section(words: &[String], line: usize) -> Option<CfgSection> {
    let kind = words[0].as_str();
    let is_other = || keyword::keyword("section", &words[..1]).is_some();
    // `cache` and `program` are no directives of other sections in this place
    if !["global", "defaults", "frontend", "backend", "listen"].contains(&kind) && !is_other() {
        return None;
    }
    let mut rest = words[1..].to_vec();
    let from = rest.iter().position(|word| word == "from").filter(|at| at + 1 < rest.len());
    let from = from.map(|at| rest.drain(at..).nth(1).unwrap_or_default());
    let name = if rest.is_empty() { String::new() } else { rest.remove(0) };
    Some(CfgSection { kind: kind.to_owned(), name, from, rest, line, directives: Vec::new() })
}

/// A line as the report shows it, without passwords.
fn shown(words: &[String]) -> String {
    let starts = |start: &[&str]| words.iter().map(String::as_str).take(start.len()).eq(start.iter().copied());
    let mut words = words.to_vec();
    if starts(&["stats", "auth"]) && words.len() > 2 {
        let user = words[2].split(':').next().unwrap_or_default();
        words[2] = format!("{user}:…");
    }
    for at in 1..words.len() {
        if starts(&["user"]) && ["password", "insecure-password"].contains(&words[at - 1].as_str()) {
            words[at] = "…".to_owned();
        }
    }
    let quoted = words.iter().map(|word| match word.contains([' ', '\n', '\r', '\t']) || word.is_empty() {
        true => format!("'{}'", word.escape_debug()),
        false => word.escape_debug().to_string(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The directives of each section with those of its defaults before them. A section has the last defaults before it, or
/// those that `from` names.
#[must_use]
pub fn with_defaults(sections: &[CfgSection]) -> Vec<CfgSection> {
    let mut last: Option<usize> = None;
    let mut found: Vec<CfgSection> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let named =
            |name: &String| sections[..index].iter().rposition(|one| one.kind == "defaults" && one.name == *name);
        let before = match &section.from {
            Some(name) => named(name),
            None if section.kind == "defaults" => None,
            None => last,
        };
        let mut whole = section.clone();
        if let Some(before) = before.filter(|_| section.is_proxy()) {
            whole.directives = found[before].directives.iter().chain(&section.directives).cloned().collect();
        }
        if section.kind == "defaults" {
            last = Some(index);
        }
        found.push(whole);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<CfgSection> {
        sections(text, &|_| None, &mut ImportReport::default()).expect("sections")
    }

    #[test]
    fn later_defaults_replace_earlier_ones_and_from_names_others() {
        let text = "defaults a\n retries 1\ndefaults b from a\n maxconn 2\nlisten x\n balance source\n\
                    listen y from a\ndefaults\nlisten z\n";
        let whole = with_defaults(&read(text));
        let words = |index: usize| {
            let directives = whole[index].directives.iter();
            directives.map(|one| one.words[0].as_str()).collect::<Vec<_>>()
        };
        assert_eq!(words(2), ["retries", "maxconn", "balance"]);
        assert_eq!(words(3), ["retries"]);
        assert!(words(5).is_empty());
    }

    #[test]
    fn no_and_variables_are_understood() {
        let text = "global\nsetenv IP 10.0.0.1\nlisten x \"$IP\":80\nno option httplog\nbind ${IP}:81\n";
        let sections = read(text);
        assert_eq!((sections[1].name.as_str(), sections[1].rest[0].as_str()), ("x", "10.0.0.1:80"));
        assert!(sections[1].directives[0].negated && sections[1].directives[0].word(0) == "option");
        assert_eq!(sections[1].directives[1].word(1), "10.0.0.1:81");
        let error = sections_of("listen x\nbind \"$GONE:80\"\n");
        assert!(error.to_string().starts_with("line 2:"), "{error}");
        let default = read("listen x\n.notice \"hello\"\ndefault option abortonclose\n");
        assert!(default[0].directives.len() == 1 && default[0].directives[0].negated);
        assert!(sections_of(".if defined(A)\n").to_string().contains(".if"));
    }

    fn sections_of(text: &str) -> ImportError {
        sections(text, &|_| None, &mut ImportReport::default()).expect_err("an error")
    }

    #[test]
    fn no_password_is_shown() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(shown(&words("stats auth user:secret")), "stats auth user:…");
        assert_eq!(shown(&words("user joe insecure-password secret")), "user joe insecure-password …");
    }
}

//! The text of one file into TOML, or every place where it is none.

use std::ops::Range;

use toml_edit::{Document, Key, TomlError};

use super::foreign;
use super::merge::Parsed;
use super::problem::{FilePosition, Problem, Severity};
use super::repair::{look_alike, repair};
use super::suggest;

/// Parses `text`, the content of `file`: what of it can be checked, and every syntax error that can be told apart.
///
/// After an error the parser goes on with its line as it was likely meant, or without it. When that does not lead to
/// the end soon, the later errors are likely consequences, and only the first is given.
pub fn parse(file: &str, text: &str) -> (Option<Parsed>, Vec<Problem>) {
    let mut reader = Reader { file, text, rest: text.to_owned(), problems: Vec::new() };
    for attempt in 0..=MOST_ERRORS {
        let error = match Document::parse(reader.rest.clone()) {
            Ok(document) => {
                return (Some(Parsed { file: file.to_owned(), document }), reader.problems);
            }
            Err(error) => error,
        };
        if attempt == 0
            && let Some(problem) = foreign::whole(file, text)
        {
            return (None, vec![problem]);
        }
        if !reader.take(&error) {
            return (None, reader.problems);
        }
    }
    reader.problems.truncate(1);
    (None, reader.problems)
}

/// Errors in one file that are believed to be independent of each other.
const MOST_ERRORS: usize = 20;

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// The text with the same lines, and changes in those with errors.
    rest: String,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reports an error, and repairs its line or leaves it out. False when the lines after it can't be judged.
    fn take(&mut self, error: &TomlError) -> bool {
        let span = error.span().unwrap_or(self.rest.len()..self.rest.len());
        let found = line_at(&self.rest, span.start);
        let said = SyntaxFault::of(error);
        // a comma that is missing between two lines is missing at the end of the first
        let is_before = |line: &Range<usize>| line.start < found.start && !self.rest[line.clone()].trim().is_empty();
        let is_between = said == SyntaxFault::Comma && self.rest[found.start..span.start].trim().is_empty();
        let before = if is_between { lines(&self.rest).filter(is_before).last() } else { None };
        let line = before.unwrap_or_else(|| found.clone());
        let span = if line == found { span } else { line.end..line.end };
        let meant = match said {
            SyntaxFault::Overflow | SyntaxFault::Twice => None,
            // several words are a directive of another proxy, and no value
            SyntaxFault::Other if is_directive(&self.rest[line.clone()]) => None,
            SyntaxFault::Unclosed | SyntaxFault::Comma | SyntaxFault::Other => repair(&self.rest, line.clone(), found),
        };
        let mut problem = self.problem(said, error, &span, &line);
        let help = match (&meant, said) {
            (Some(meant), _) if meant.is_empty() => Some("take the line out".to_owned()),
            (Some(meant), _) => Some(format!("write `{}`", meant.trim())),
            (None, SyntaxFault::Other) => suggest::for_foreign_line(&self.rest[line.clone()])
                .map(|instead| format!("this looks like the configuration of another proxy: here it is {instead}")),
            (None, _) => None,
        };
        problem.help = help.or(problem.help.take());
        self.problems.push(problem);
        if meant.is_none() && matches!(said, SyntaxFault::Unclosed | SyntaxFault::Comma) {
            return false; // the lines after it may belong to the list
        }
        // keys below a header that is left out would belong to the table before
        let end = if meant.is_none() { self.end_of_block(&line) } else { line.end };
        let left_out = &self.rest[line.start..end];
        let instead = meant.unwrap_or_else(|| left_out.replace(|other| other != '\n', " "));
        self.rest.replace_range(line.start..end, &instead);
        true
    }

    fn problem(&self, said: SyntaxFault, error: &TomlError, span: &Range<usize>, line: &Range<usize>) -> Problem {
        let written = &self.rest[line.clone()];
        let odd = written.char_indices().find(|(_, character)| look_alike(*character).is_some());
        let (message, span) = match (said, odd) {
            (SyntaxFault::Twice, _) => ("this stands in the file already".to_owned(), span.clone()),
            (SyntaxFault::Overflow, _) => ("this number is too large".to_owned(), span.clone()),
            (_, Some((at, character))) => {
                let at = line.start + at;
                (format!("this is no TOML: {}", unusual(character)), at..at + character.len_utf8())
            }
            (_, None) => {
                let message = usual(written).unwrap_or_else(|| error.message().to_owned());
                (format!("this is no TOML: {message}"), span.clone())
            }
        };
        let mut problem = Problem::new(Severity::Error, "", message);
        problem.place = Some(self.place(span));
        match said {
            SyntaxFault::Twice => {
                problem.help("take one of them out, or put what stands under both under one");
                let first = self.first(line, &self.rest[error.span().unwrap_or_default()]);
                problem.other = first.map(|first| ("it stands here first".to_owned(), self.place(first)));
            }
            SyntaxFault::Overflow => {
                problem.help(format!("whole numbers go up to {}", i64::MAX));
            }
            SyntaxFault::Unclosed | SyntaxFault::Comma => {
                problem.help("something opened in this line, or above it, is not closed");
            }
            SyntaxFault::Other => {}
        }
        problem
    }

    /// The place of `span` of the rest in the file as it is: no line has moved.
    fn place(&self, span: Range<usize>) -> FilePosition {
        let line = line_at(&self.rest, span.start);
        let number = self.rest[..line.start].matches('\n').count();
        let start = self.text.split_inclusive('\n').take(number).map(str::len).sum::<usize>();
        let within = start + span.start - line.start;
        FilePosition::new(self.file, self.text, within..within + span.len())
    }

    /// Where `key`, which stands in `line` for the second time, stands first.
    fn first(&self, line: &Range<usize>, key: &str) -> Option<Range<usize>> {
        let path_in = |line: &str, key: Option<&str>| match is_header(line) {
            true => Key::parse(line.trim().trim_start_matches('[').split(']').next()?).ok(),
            false => Key::parse(key?).ok(),
        };
        let wanted = path_in(&self.rest[line.clone()], Some(key))?;
        let same = |candidate: &Range<usize>| {
            let written = &self.rest[candidate.clone()];
            let found = path_in(written, written.split_once('=').map(|(key, _)| key)).unwrap_or_default();
            found.len() >= wanted.len() && found.iter().zip(&wanted).all(|(one, other)| one.get() == other.get())
        };
        let mut before: Vec<_> = lines(&self.rest).take_while(|before| before.start < line.start).collect();
        if !is_header(&self.rest[line.clone()]) {
            // a key stands twice in one table
            let headers = before.iter().rposition(|line| is_header(&self.rest[line.clone()]));
            before.drain(..headers.map_or(0, |last| last + 1));
            before.reverse();
        }
        let found = before.into_iter().find(same)?;
        let blanks = self.rest[found.clone()].len() - self.rest[found.clone()].trim_start().len();
        Some(found.start + blanks..found.end)
    }

    /// The end of `line`; for a header the end of the keys below it.
    fn end_of_block(&self, line: &Range<usize>) -> usize {
        let is_next = |below: &Range<usize>| below.start > line.start && is_header(&self.rest[below.clone()]);
        match is_header(&self.rest[line.clone()]) {
            true => lines(&self.rest).find(is_next).map_or(self.rest.len(), |next| next.start),
            false => line.end,
        }
    }
}

/// What the parser has to say, as far as that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SyntaxFault {
    /// A key or a table stands twice.
    Twice,
    /// A number needs more than 64 bits.
    Overflow,
    /// A list is open to the end.
    Unclosed,
    /// Something stands where a comma is wanted, or the end of a list.
    Comma,
    Other,
}

impl SyntaxFault {
    fn of(error: &TomlError) -> Self {
        match error.message() {
            twice if twice.contains("duplicate key") => Self::Twice,
            overflow if overflow.contains("overflow") => Self::Overflow,
            comma if comma.contains("missing comma") => Self::Comma,
            unclosed if unclosed.starts_with("unclosed") && !unclosed.contains("table") => Self::Unclosed,
            _ => Self::Other,
        }
    }
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// Every line, without its end.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let from = start;
        start += line.len();
        from..from + line.trim_end_matches(['\n', '\r']).len()
    })
}

fn line_at(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let at = at.min(bytes.len());
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| start + length);
    start..start + text[start..end].trim_end_matches('\r').len()
}

/// `timeout connect 5s`: three words or more, which another proxy knows.
fn is_directive(line: &str) -> bool {
    let is_plain = !line.contains(['=', ':', '"', '[', '{']) && line.split_whitespace().count() > 2;
    is_plain && suggest::for_foreign_line(line).is_some()
}

/// What is wrong with a character that looks like another one.
fn unusual(character: char) -> String {
    let name = match character {
        '\u{a0}' | '\u{202f}' => "a no-break space",
        _ if look_alike(character) == Some(None) => "a character that cannot be seen",
        _ if character.is_whitespace() => "an unusual blank",
        _ => "an unusual character",
    };
    let code = u32::from(character);
    match look_alike(character).flatten() {
        Some(' ') => format!("{name} (U+{code:04X}) stands where a blank is meant"),
        Some(plain) => format!("{name} (U+{code:04X}) stands where {plain:?} is meant"),
        None => format!("{name} (U+{code:04X})"),
    }
}

/// Mistakes that the parser has no words for.
fn usual(line: &str) -> Option<String> {
    let odd = |quote: char| line.matches(quote).count() % 2 == 1;
    let line = line.trim_end();
    if line.trim_start().starts_with("```") {
        Some("this marks code in a text, and belongs to no file".to_owned())
    } else if line.ends_with(';') {
        Some("a line does not end with a semicolon".to_owned())
    } else if odd('"') || !line.contains('"') && odd('\'') {
        Some("a quotation mark is not closed".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Problem> {
        parse("f.toml", text).1
    }

    #[track_caller]
    fn assert_meant(text: &str, help: &[&str]) {
        let found = problems(text);
        let said: Vec<_> = found.iter().map(|problem| problem.help.as_deref().unwrap_or_default()).collect();
        assert_eq!(said, help, "{found:?}");
    }

    #[test]
    fn every_syntax_error_of_a_file_is_found() {
        let found = problems("[site.*]\nto = web\n[log]\nslow = 5s\n");
        let lines: Vec<_> = found.iter().filter_map(|problem| problem.place.as_ref().map(|place| place.line)).collect();
        assert_eq!(lines, [1, 2, 4]);
        let help: Vec<_> = found.iter().filter_map(|problem| problem.help.as_deref()).collect();
        assert_eq!(help, ["write `[site.\"*\"]`", "write `to = \"web\"`", "write `slow = \"5s\"`"]);
    }

    #[test]
    fn lines_are_repaired_as_they_were_meant() {
        assert_meant("to = \"web\n", &["write `to = \"web\"`"]);
        assert_meant("servers = [\"a:1\", \"b:1]\n", &["write `servers = [\"a:1\", \"b:1\"]`"]);
        assert_meant("servers = [\"a:1\"\n\"b:1\"]\n", &["write `servers = [\"a:1\",`"]);
        assert_meant("servers = [\"a:1\"\n[log]\n", &["write `servers = [\"a:1\"]`"]);
        assert_meant("retries = 3; # x\n", &["write `retries = 3 # x`"]);
        assert_meant("slow\u{a0}= \"3s\"\n", &["write `slow = \"3s\"`"]);
        assert_meant("[pool.web farm]\n[pool web]\n", &["write `[pool.\"web farm\"]`", "write `[pool.web]`"]);
        assert_meant("[site.\"*]\n", &["write `[site.\"*\"]`"]);
        assert_meant("[tcp.x]\nto: [a:1, b:1]\n", &["write `to = [\"a:1\", \"b:1\"]`"]);
        assert_meant("redispatch = True\naccess = off\n", &["write `redispatch = true`", "write `access = \"off\"`"]);
        assert_meant("// why\n", &["write `# why`"]);
    }

    #[test]
    fn a_key_that_stands_twice_shows_where_it_stands_first() {
        for (text, line) in [
            ("a = 1\n[log]\nslow = 1\na = 2\nslow = 2\n", 3),
            ("[pool.x]\na = 1\n\n[pool.y]\n[ pool.\"x\" ]\na = 2\n", 1),
            ("log.slow = 1\n[log]\naccess = 1\n", 1),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].other.as_ref().map(|(_, place)| place.line), Some(line), "{found:?}");
        }
    }

    #[test]
    fn what_has_no_error_is_checked_all_the_same() {
        let parsed = |text| parse("f.toml", text).0.map(|parsed| parsed.document.into_mut().to_string());
        let number = parsed("[worker]\nthreads = 99999999999999999999999\nmax_connections = 3\n");
        assert!(number.is_some_and(|text| text.contains("max_connections = 3")));
        let header = parsed("[log]\nslow = '3s'\n[???]\nto = 1\n[drain]\nx = 1\n").expect("the rest");
        assert!(header.contains("slow") && header.contains("[drain]") && !header.contains("to ="), "{header}");
    }

    #[test]
    fn another_proxys_words_are_recognised() {
        let found = problems("[pool.x]\ntimeout connect 5s 3s\n");
        assert!(found[0].help.as_deref().is_some_and(|help| help.contains("`connect_timeout`")), "{found:?}");
    }

    #[test]
    fn an_error_at_the_end_has_a_place() {
        let found = problems("[pool.x]\nservers = [");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place.as_ref().map(|place| place.line), Some(2));
    }
}

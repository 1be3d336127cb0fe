//! The text of one file into TOML, or every place where it is none.

use std::ops::Range;

use toml_edit::{Document, Key, TomlError};

use super::meant::explained;
use super::merge::{Parsed, span};
use super::problem::{FilePosition, Problem, Severity};
use super::repair::{line_at, lines, odd_character, repair};
use super::spot::{Marked, PathStep};
use super::{foreign, suggest};

/// Parses `text`, the content of `file`: what of it can be checked, and every syntax error that can be told apart.
///
/// After an error the parser goes on with its line as it was likely meant, or without it. When that does not lead to
/// the end soon, the later errors are likely consequences, and only the first is given.
pub fn parse(file: &str, text: &str) -> (Option<Parsed>, Vec<Problem>) {
    let mut reader = Reader { file, text, rest: text.to_owned(), problems: Vec::new() };
    for attempt in 0..=MOST_ERRORS {
        let error = match Document::parse(reader.rest.clone()) {
            Ok(document) => return (Some(Parsed { file: file.to_owned(), document }), reader.problems),
            Err(error) => error,
        };
        let foreign = if attempt == 0 { foreign::whole(file, text) } else { None };
        if let Some(problem) = foreign {
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
        let fault = SyntaxFault::of(error);
        let span = error.span().unwrap_or(self.rest.len()..self.rest.len());
        let found = line_at(&self.rest, span.start);
        // a comma that is missing between two lines is missing at the end of the first
        let is_between = fault == SyntaxFault::Comma && self.rest[found.start..span.start].trim().is_empty();
        let is_before = |line: &Range<usize>| line.start < found.start && !self.rest[line.clone()].trim().is_empty();
        let (line, span) = match lines(&self.rest).filter(|line| is_between && is_before(line)).last() {
            Some(before) => (before.clone(), before.end..before.end),
            None => (found, span.clone()),
        };
        let written = &self.rest[line.clone()];
        let meant = match fault {
            SyntaxFault::Overflow | SyntaxFault::Twice => None,
            // several words are a directive of another proxy, and no value
            SyntaxFault::Other if is_directive(written) => None,
            _ => repair(&self.rest, line.clone(), error.span().map_or(self.rest.len(), |span| span.start)),
        };
        let help = match &meant {
            Some(meant) if meant.is_empty() => Some("take the line out".to_owned()),
            Some(meant) => Some(format!("write `{}`", meant.trim())),
            None if fault == SyntaxFault::Other => suggest::for_foreign_line(written)
                .map(|instead| format!("this looks like the configuration of another proxy: here it is {instead}")),
            None => fault.help(),
        };
        let (message, span) = match (fault, odd_character(written)) {
            (SyntaxFault::Twice, _) => ("this stands in the file already".to_owned(), span),
            (SyntaxFault::Overflow, _) => ("this number is too large".to_owned(), span),
            (_, Some((at, said))) => (format!("this is no TOML: {said}"), line.start + at.start..line.start + at.end),
            _ => (format!("this is no TOML: {}", explained("usual", written).unwrap_or_else(|| error.message())), span),
        };
        let other = if fault == SyntaxFault::Twice { self.first(&line) } else { None };
        self.problems.push(Problem {
            help,
            place: Some(self.place(span)),
            other: other.map(|first| ("it stands here first".to_owned(), self.place(first))),
            ..Problem::new(Severity::Error, message, "")
        });
        if meant.is_none() && matches!(fault, SyntaxFault::Unclosed | SyntaxFault::Comma) {
            return false; // the lines after it may belong to the list
        }
        // keys below a header that is left out would belong to the table before
        let end = if meant.is_none() { self.end_of_block(&line) } else { line.end };
        let instead = meant.unwrap_or_else(|| self.rest[line.start..end].replace(|other| other != '\n', " "));
        self.rest.replace_range(line.start..end, &instead);
        true
    }

    /// The place of `span` of the rest in the file as it is: no line has moved.
    fn place(&self, span: Range<usize>) -> FilePosition {
        let line = line_at(&self.rest, span.start);
        let number = self.rest[..line.start].matches('\n').count();
        let start = lines(self.text).nth(number).unwrap_or_default().start + span.start - line.start;
        FilePosition::new(self.file, self.text, start..start + span.len())
    }

    /// Where the key or the header in `line`, which stands in the file for the second time, stands first.
    fn first(&self, line: &Range<usize>) -> Option<Range<usize>> {
        let (before, line) = (&self.rest[..line.start], &self.rest[line.clone()]);
        let header = |line: &str| Key::parse(line.trim().trim_start_matches('[').split(']').next()?).ok();
        let path = if is_header(line) {
            header(line)?
        } else {
            let table = lines(before).map(|line| &before[line]).filter(|line| is_header(line)).last();
            [table.map_or(Some(Vec::new()), header)?, Key::parse(line.split_once('=')?.0).ok()?].concat()
        };
        let path: Vec<_> = path.iter().map(|key| PathStep::Key(key.get().to_owned())).collect();
        span(Document::parse(before).ok()?.as_item(), &path, Marked::Key)
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

    fn help(self) -> Option<String> {
        match self {
            Self::Twice => Some("take one of them out, or put what stands under both under one".to_owned()),
            Self::Overflow => Some(format!("whole numbers go up to {}", i64::MAX)),
            Self::Unclosed | Self::Comma => {
                Some("something opened in this line, or above it, is not closed".to_owned())
            }
            Self::Other => None,
        }
    }
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// `timeout connect 5s`: three words or more, which another proxy knows.
fn is_directive(line: &str) -> bool {
    let is_plain = !line.contains(['=', ':', '"', '[', '{']) && line.split_whitespace().count() > 2;
    is_plain && suggest::for_foreign_line(line).is_some()
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

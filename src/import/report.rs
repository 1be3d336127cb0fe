//! What became of each line of the input.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What became of one line; of several answers the last one here counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The configuration says the same.
    Kept,
    /// It is so without a word.
    Default,
    /// systemd does it.
    Unit,
    /// Something else does what it did.
    Differently,
    /// It is lost.
    Unsupported,
}

impl Fate {
    /// All of them, with their words in the report.
    const ALL: [(Self, &'static str); 5] = [
        (Self::Kept, "kept"),
        (Self::Default, "the default here"),
        (Self::Unit, "a setting of the unit"),
        (Self::Differently, "done differently"),
        (Self::Unsupported, "not supported"),
    ];

    fn words(self) -> &'static str {
        Self::ALL.iter().find(|(fate, _)| *fate == self).map_or("", |(_, words)| words)
    }
}

#[derive(Debug)]
struct ReportedLine {
    text: String,
    notes: Vec<(Fate, String)>,
}

/// What became of the lines of a file.
#[derive(Debug, Default)]
pub struct ImportReport {
    lines: BTreeMap<usize, ReportedLine>,
}

impl ImportReport {
    /// Takes a line in, which has no fate yet.
    pub fn add(&mut self, line: usize, text: String) {
        self.lines.insert(line, ReportedLine { text, notes: Vec::new() });
    }

    /// Says what became of a line, beside what was said before.
    pub fn note(&mut self, line: usize, fate: Fate, sentence: impl Into<String>) {
        let note = (fate, sentence.into());
        if let Some(reported) = self.lines.get_mut(&line).filter(|reported| !reported.notes.contains(&note)) {
            reported.notes.push(note);
        }
    }

    /// Says what became of a line, in the place of all that was said before.
    pub fn replace(&mut self, line: usize, fate: Fate, sentence: &str) {
        if let Some(reported) = self.lines.get_mut(&line) {
            reported.notes = vec![(fate, sentence.to_owned())];
        }
    }

    /// Whether anything was said about a line.
    #[must_use]
    pub fn has(&self, line: usize) -> bool {
        self.lines.get(&line).is_some_and(|reported| !reported.notes.is_empty())
    }

    /// Whether something was lost.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.lines.values().any(|line| line.fate() == Fate::Unsupported)
    }

    /// One line for each line of the input, then how many there are of each fate.
    #[must_use]
    pub fn render(&self, name: &str) -> String {
        let mut text = String::new();
        for (number, line) in &self.lines {
            let notes: Vec<_> = line.notes.iter().map(|(_, sentence)| sentence.as_str()).collect();
            let notes = if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) };
            let _ = writeln!(text, "{name}:{number}: {} - {}{notes}", line.text, line.fate().words());
        }
        let counts = Fate::ALL.iter().filter_map(|(fate, words)| {
            let count = self.lines.values().filter(|line| line.fate() == *fate).count();
            (count > 0).then(|| format!("{count} {words}"))
        });
        let counts: Vec<_> = counts.collect();
        let lines = self.lines.len();
        let _ = writeln!(text, "{name}: {lines} line{}: {}", if lines == 1 { "" } else { "s" }, counts.join(", "));
        text
    }
}

impl ReportedLine {
    fn fate(&self) -> Fate {
        self.notes.iter().map(|(fate, _)| *fate).max().unwrap_or(Fate::Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_fate_of_a_line_counts_and_each_sentence_stands_once() {
        let mut report = ImportReport::default();
        report.add(2, "server a 10.0.0.1:80 maxconn 5".to_owned());
        report.add(1, "listen a".to_owned());
        report.note(2, Fate::Kept, "a server");
        report.note(2, Fate::Unsupported, "no limit");
        report.note(2, Fate::Unsupported, "no limit");
        let expected = "x:1: listen a - kept\nx:2: server a 10.0.0.1:80 maxconn 5 - not supported: a server; no limit\n\
                        x: 2 lines: 1 kept, 1 not supported\n";
        assert_eq!(report.render("x"), expected);
        assert!(report.lost());
    }
}

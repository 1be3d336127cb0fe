//! The section `global`: what concerns the whole process.

use super::keyword::{keyword, likely};
use super::report::{Fate, ImportReport};
use super::section::{CfgSection, Directive};

/// What other sections need of it.
#[derive(Clone, Debug, Default)]
pub struct Globals {
    /// What stands before the paths of certificates.
    pub crt_base: Option<String>,
    /// What stands before the paths of certificate authorities.
    pub ca_base: Option<String>,
    /// Whether certificates of servers are not looked at unless a line says so.
    pub trusts_servers: bool,
    /// Processes and threads together; none where it does not say.
    pub threads: Option<u64>,
    /// Processes, of which each has the limits of its own.
    pub processes: u64,
    /// Connections of all processes together.
    pub max_connections: Option<u64>,
}

impl Globals {
    /// Of all sections of that kind; says what becomes of each line.
    #[must_use]
    pub fn read(sections: &[CfgSection], report: &mut ImportReport) -> Self {
        let mut globals = Self { processes: 1, ..Self::default() };
        let directives = || sections.iter().filter(|one| one.kind == "global").flat_map(|one| &one.directives);
        let number = |name: &str| {
            let mut found = directives().filter(|one| one.word(0) == name && !one.negated);
            found.next_back().and_then(|one| one.word(1).parse::<u64>().ok()).filter(|number| *number > 0)
        };
        let (processes, threads) = (number("nbproc"), number("nbthread"));
        globals.processes = processes.unwrap_or(1);
        globals.threads = processes
            .or(threads)
            .map(|_| globals.processes.saturating_mul(threads.unwrap_or(1)))
            .map(|all| all.min(1024));
        globals.max_connections = number("maxconn").map(|each| each.saturating_mul(globals.processes).min(10_000_000));
        for directive in directives() {
            globals.take(directive, report);
        }
        globals
    }

    fn take(&mut self, directive: &Directive, report: &mut ImportReport) {
        let (line, value) = (directive.line, directive.word(1));
        let Some(known) = keyword("global", &directive.words) else {
            return unknown("global", directive, report);
        };
        match directive.word(0) {
            _ if directive.negated => report.note(line, Fate::Default, "it is not so here"),
            "crt-base" => self.crt_base = Some(value.to_owned()),
            "ca-base" => self.ca_base = Some(value.to_owned()),
            "ssl-server-verify" => self.trusts_servers = value == "none",
            "nbproc" | "nbthread" => {
                let sentence = match self.threads {
                    Some(threads) => format!("[worker] threads = {threads}: one process serves, with threads"),
                    None => "it is no number".to_owned(),
                };
                return report.note(
                    line,
                    if self.threads.is_some() { Fate::Kept } else { Fate::Unsupported },
                    sentence,
                );
            }
            "maxconn" => {
                let (all, processes) = (self.max_connections, self.processes);
                let of_each =
                    if processes > 1 { format!(", for {processes} processes together") } else { String::new() };
                return match all {
                    Some(all) => report.note(line, Fate::Kept, format!("[worker] max_connections = {all}{of_each}")),
                    None => report.note(line, Fate::Default, "as many as the limit of open files allows"),
                };
            }
            _ => {}
        }
        report.note(line, known.fate, known.sentence);
    }

    /// A path below the base for certificates or authorities; without one it is below `/`, where a service runs.
    #[must_use]
    pub fn below(base: Option<&String>, path: &str) -> String {
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        match base {
            _ if path.starts_with('/') => path.to_owned(),
            Some(base) if base.starts_with('/') => format!("{}/{path}", base.trim_end_matches('/')),
            _ => format!("/{path}"),
        }
    }
}

/// Says that a line begins with no keyword that is known.
pub fn unknown(place: &str, directive: &Directive, report: &mut ImportReport) {
    let sentence = match likely(place, &directive.words) {
        Some(close) => format!("HAProxy knows no such keyword here: did you mean `{}`?", close.name()),
        None => "no keyword of HAProxy in such a section, as far as is known here".to_owned(),
    };
    report.note(directive.line, Fate::Unsupported, sentence);
}

#[cfg(test)]
mod tests {
    use super::super::section::sections;
    use super::*;

    #[test]
    fn limits_of_each_process_are_added_up() {
        let mut report = ImportReport::default();
        let text = "global\nnbproc 4\nmaxconn 4096\ncrt-base /etc/ssl/\nmaxcon 5\n";
        let sections = sections(text, &|_| None, &mut report).expect("sections");
        let globals = Globals::read(&sections, &mut report);
        assert_eq!((globals.threads, globals.max_connections), (Some(4), Some(16384)));
        assert_eq!(Globals::below(globals.crt_base.as_ref(), "a.pem"), "/etc/ssl/a.pem");
        assert_eq!(Globals::below(globals.crt_base.as_ref(), "/certs/"), "/certs");
        assert!(report.render("x").contains("did you mean `maxconn`"));
    }

    #[test]
    fn products_that_no_number_holds_are_the_greatest_there_is() {
        let mut report = ImportReport::default();
        let text = "global\nnbproc 4\nnbthread 9223372036854775807\nmaxconn 18446744073709551615\n";
        let sections = sections(text, &|_| None, &mut report).expect("sections");
        let globals = Globals::read(&sections, &mut report);
        assert_eq!((globals.threads, globals.max_connections), (Some(1024), Some(10_000_000)));
    }
}

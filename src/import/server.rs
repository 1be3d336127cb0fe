//! `server` lines: the servers of a backend.

use std::collections::BTreeMap;

use super::keyword::keyword;
use super::report::{Fate, ImportReport};
use super::section::Directive;

/// One `server` line, with what `default-server` says.
#[derive(Clone, Debug, Default)]
pub struct ServerLine {
    /// Its line.
    pub line: usize,
    /// The address as it is written; without a port where that is the one that the client came to.
    pub address: String,
    /// Its options with their last argument.
    pub options: BTreeMap<String, String>,
    /// Whether it answers something that cannot be said.
    pub barred: bool,
}

impl ServerLine {
    /// Of a `server` line; says what becomes of its words.
    #[must_use]
    pub fn read(directive: &Directive, defaults: &BTreeMap<String, String>, report: &mut ImportReport) -> Self {
        let line = directive.line;
        let (address, words) = match directive.word(0) {
            "server-template" => {
                let sentence = format!(
                    "one server {}, which has all addresses that the name has; connections go to one of them as long as \
                     it answers",
                    directive.word(3)
                );
                report.note(line, Fate::Differently, sentence);
                (directive.word(3), directive.words.get(4..))
            }
            "dispatch" => (directive.word(1), None),
            _ => (directive.word(2), directive.words.get(3..)),
        };
        let mut server = Self { line, address: plain(address), options: defaults.clone(), ..Self::default() };
        server.barred = read_options(line, words.unwrap_or_default(), &mut server.options, report);
        server.barred |= server.has("redir");
        server
    }

    /// Whether the line has this option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// The argument of this option.
    #[must_use]
    pub fn option(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    /// Whether TLS is spoken with it.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.has("ssl")
    }

    /// What stands before its address for segue.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        let is_http2 = self.option("proto") == Some("h2") || self.option("alpn") == Some("h2");
        match (self.tls(), is_http2) {
            (true, true) => "h2s://",
            (true, false) => "https://",
            (false, true) => "h2://",
            (false, false) => "",
        }
    }

    /// Its share; none for a server that is disabled.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let weight = self.option("weight").and_then(|weight| weight.parse::<u32>().ok());
        if self.has("disabled") { 0 } else { weight.unwrap_or(1).min(1000) }
    }
}

/// Reads options into `options`, where `no-…` takes one away. Says whether one of them answers in the place of the server.
pub fn read_options(
    line: usize,
    mut words: &[String],
    options: &mut BTreeMap<String, String>,
    report: &mut ImportReport,
) -> bool {
    let mut barred = false;
    while let Some((first, rest)) = words.split_first() {
        let Some(known) = keyword("server", &words[..1]) else {
            let sentence = format!("HAProxy has no `{first}` for a server line as far as is known here");
            report.note(line, Fate::Unsupported, sentence);
            words = rest;
            continue;
        };
        let arguments = &rest[..known.arguments.min(rest.len())];
        match first.strip_prefix("no-").filter(|_| known.fate == Fate::Kept) {
            Some(taken) => drop(options.remove(taken)),
            None if first == "enabled" => drop(options.remove("disabled")),
            None => drop(options.insert(first.clone(), arguments.join(" "))),
        }
        barred |= known.guards;
        if !matches!(known.fate, Fate::Kept | Fate::Default) {
            report.note(line, known.fate, format!("{first}: {}", known.sentence));
        }
        words = &rest[arguments.len()..];
    }
    barred
}

/// An address without its family: `ipv4@10.0.0.1:80`, `unix@/run/x.sock`.
fn plain(address: &str) -> String {
    let (family, rest) = address.split_once('@').unwrap_or(("", address));
    match family {
        "" if rest.starts_with('/') => format!("unix:{rest}"),
        "unix" => format!("unix:{rest}"),
        "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" => rest.to_owned(),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, defaults: &[(&str, &str)]) -> ServerLine {
        let words = line.split(' ').map(str::to_owned).collect();
        let defaults = defaults.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let directive = Directive { line: 1, words, negated: false };
        ServerLine::read(&directive, &defaults, &mut ImportReport::default())
    }

    #[test]
    fn options_are_those_of_the_line_over_those_of_default_server() {
        let server =
            read("server a 10.0.0.1:80 weight 3 check fall 5 no-ssl", &[("ssl", ""), ("fall", "2"), ("rise", "1")]);
        assert_eq!((server.address.as_str(), server.weight(), server.tls()), ("10.0.0.1:80", 3, false));
        assert_eq!((server.option("fall"), server.option("rise")), (Some("5"), Some("1")));
        assert_eq!(read("server a 10.0.0.1:80 disabled", &[]).weight(), 0);
        assert_eq!(read("server a /run/a.sock", &[]).address, "unix:/run/a.sock");
        assert_eq!(read("server a 10.0.0.1:80 ssl alpn h2", &[]).scheme(), "h2s://");
        assert!(read("server a 10.0.0.1:80 redir http://x", &[]).barred);
    }
}

//! How a backend checks its servers: `option httpchk` and what goes with it.

use super::report::{Fate, ImportReport};
use super::section::Directive;

/// The check of a backend, whether its servers are checked or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// Method and path of a request; none where a check connects.
    pub request: Option<(String, String)>,
    /// The `Host` of the request.
    pub host: Option<String>,
    /// The lines that say so.
    pub lines: Vec<usize>,
}

impl HealthCheck {
    /// Takes `option httpchk` and other checks in.
    pub fn option(&mut self, directive: &Directive, report: &mut ImportReport) {
        self.lines.push(directive.line);
        if directive.word(1) != "httpchk" {
            self.request = None;
            let (fate, sentence) = match directive.word(1) {
                "tcp-check" => (Fate::Kept, "check = \"connect\""),
                _ => (Fate::Differently, "check = \"connect\": a server is up as soon as it takes connections"),
            };
            return report.note(directive.line, fate, sentence);
        }
        let (method, path) = match directive.words.len() {
            0..=2 => ("OPTIONS", "/"),
            3 => ("OPTIONS", directive.word(2)),
            _ => (directive.word(2), directive.word(3)),
        };
        self.request = Some((method.to_owned(), path.to_owned()));
        let fields = directive.words.get(4..).unwrap_or_default().join(" ");
        self.take_host(&fields);
        let others = fields.lines().skip(1).any(|line| !line.trim().is_empty() && !is_host_field(line));
        if others {
            report.note(directive.line, Fate::Unsupported, "a check has no other fields than Host");
        }
        self.say(directive.line, report);
    }

    /// Takes `http-check` in.
    pub fn http_check(&mut self, directive: &Directive, report: &mut ImportReport) {
        let line = directive.line;
        let words = &directive.words[1..];
        let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        match directive.word(1) {
            "send" => {
                let (method, path) = self.request.clone().unwrap_or_else(|| ("OPTIONS".to_owned(), "/".to_owned()));
                let method = after("meth").cloned().unwrap_or(method);
                self.request = Some((method, after("uri").cloned().unwrap_or(path)));
                let mut fields = words.iter().enumerate().filter(|(_, word)| *word == "hdr");
                if let Some(at) = fields
                    .by_ref()
                    .map(|(at, _)| at)
                    .find(|at| is_host_field(&format!("{}:", words[at + 1..].first().map_or("", String::as_str))))
                {
                    self.host = words.get(at + 2).cloned();
                }
                if after("body").is_some() {
                    report.note(line, Fate::Unsupported, "a check has no body");
                }
                self.say(line, report);
            }
            "expect"
                if ["status 200-399", "rstatus ^[23]", "rstatus (2|3)[0-9][0-9]"]
                    .contains(&words[1..].join(" ").as_str()) =>
            {
                report.note(line, Fate::Default, "2xx and 3xx are good");
            }
            "expect" if directive.word(2) == "status" => {
                report.note(line, Fate::Differently, "2xx and 3xx are good, and others are not");
            }
            "expect" => report.note(line, Fate::Unsupported, "the status alone counts: 2xx and 3xx are good"),
            "send-state" => report.note(line, Fate::Unsupported, "checks do not tell the state of the server"),
            "connect" if words.len() > 1 => {
                report.note(line, Fate::Differently, "a check goes to the address of the server, as traffic does");
            }
            _ => report.note(line, Fate::Default, "it is not needed"),
        }
    }

    fn take_host(&mut self, fields: &str) {
        let host = fields.lines().find(|line| is_host_field(line)).and_then(|line| line.split_once(':'));
        if let Some((_, host)) = host {
            self.host = Some(host.trim().to_owned());
        }
    }

    fn say(&mut self, line: usize, report: &mut ImportReport) {
        let Some((method, path)) = self.request.clone() else { return };
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if ["GET", "HEAD", "OPTIONS"].contains(&method.as_str()) && is_path {
            return report.note(line, Fate::Kept, format!("check = \"{method} {path}\""));
        }
        self.request = None;
        let sentence =
            format!("check = \"connect\" in its place: a check is GET, HEAD or OPTIONS of a path, not {method}");
        report.note(line, Fate::Unsupported, sentence);
    }
}

fn is_host_field(field: &str) -> bool {
    field.trim().to_ascii_lowercase().starts_with("host:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str]) -> HealthCheck {
        let (mut check, mut report) = (HealthCheck::default(), ImportReport::default());
        for line in lines {
            let words: Vec<_> = line.split('|').map(str::to_owned).collect();
            let directive = Directive { line: 1, words, negated: false };
            match directive.word(0) {
                "option" => check.option(&directive, &mut report),
                _ => check.http_check(&directive, &mut report),
            }
        }
        check
    }

    #[test]
    fn a_request_has_a_method_a_path_and_perhaps_a_host() {
        let request = |method: &str, path: &str| Some((method.to_owned(), path.to_owned()));
        assert_eq!(check(&["option|httpchk"]).request, request("OPTIONS", "/"));
        assert_eq!(check(&["option|httpchk|/a"]).request, request("OPTIONS", "/a"));
        let old = check(&["option|httpchk|HEAD|/a|HTTP/1.1\r\nHost: www.test"]);
        assert_eq!((old.request, old.host.as_deref()), (request("HEAD", "/a"), Some("www.test")));
        let new = check(&["option|httpchk", "http-check|send|meth|GET|uri|/b|hdr|Host|b.test"]);
        assert_eq!((new.request, new.host.as_deref()), (request("GET", "/b"), Some("b.test")));
        assert_eq!(check(&["option|httpchk|POST|/a"]).request, None);
    }
}

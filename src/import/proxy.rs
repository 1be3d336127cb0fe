//! A frontend, a backend or both, with what its defaults say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bind::Bind;
use super::check::HealthCheck;
use super::condition::Acl;
use super::field::{self, FieldFate};
use super::globals::unknown;
use super::keyword::{Keyword, keyword, likely};
use super::report::{Fate, ImportReport};
use super::rule::{AccessRule, RuleAction};
use super::section::{CfgSection, Directive};
use super::server::{self, ServerLine};
use super::time::time;

/// The bytes that the name of a pool may have.
pub const LONGEST_NAME: usize = 255;

/// A section that serves.
#[derive(Clone, Debug, Default)]
pub struct CfgProxy {
    /// `frontend`, `backend`, `listen`, or `defaults`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The line that it begins in.
    pub line: usize,
    /// Whether it speaks HTTP; else it relays bytes.
    pub http: bool,
    /// Whether it is not used.
    pub disabled: bool,
    /// Its `bind` lines.
    pub binds: Vec<Bind>,
    /// Its servers.
    pub servers: Vec<ServerLine>,
    /// The rules, in the order in which they are looked at.
    pub rules: Vec<AccessRule>,
    /// Where everything goes that no rule sends elsewhere.
    pub default_backend: Option<(String, usize)>,
    /// Timeouts by their names in new files, as `http-request`. HAProxy takes 0 for none.
    pub timeouts: BTreeMap<String, Duration>,
    /// Options that are on.
    pub options: BTreeSet<String>,
    /// Connections of clients at once.
    pub max_connections: Option<u64>,
    /// Attempts after the first.
    pub retries: Option<u64>,
    /// How the next server is picked, as HAProxy has it.
    pub balance: Option<String>,
    /// The check of its servers.
    pub check: HealthCheck,
    /// `Strict-Transport-Security`, as it goes to clients.
    pub hsts: Option<String>,
    acls: Vec<Acl>,
    server_defaults: BTreeMap<String, String>,
}

impl CfgProxy {
    /// Of a section with the directives of its defaults; says what becomes of each line.
    #[must_use]
    pub fn read(section: &CfgSection, report: &mut ImportReport) -> Self {
        let mut proxy =
            Self { kind: section.kind.clone(), name: named(section), line: section.line, ..Self::default() };
        if proxy.name.len() > LONGEST_NAME {
            let sentence = format!("a name has {LONGEST_NAME} bytes at most here: nothing goes to this backend");
            report.note(section.line, Fate::Unsupported, sentence);
        }
        let mode = section.directives.iter().rfind(|one| one.word(0) == "mode");
        proxy.http = mode.is_some_and(|mode| mode.word(1) == "http");
        if let Some(address) = section.rest.first() {
            let words = std::iter::once("bind".to_owned()).chain(section.rest.iter().cloned()).collect();
            let directive = Directive { line: section.line, words, negated: false };
            if address.contains(':') {
                proxy.binds.push(Bind::read(&directive, report));
            }
        }
        // ACLs of defaults are for the rules of these alone, and have names that others may have too
        let own = section.directives.partition_point(|one| one.line < section.line);
        for part in [&section.directives[..own], &section.directives[own..]] {
            // conditions name ACLs that may stand below them
            let acls = part.iter().filter(|one| one.word(0) == "acl");
            proxy.acls = acls.filter_map(|one| Acl::read(&one.words[1..])).collect();
            part.iter().for_each(|directive| proxy.take(directive, report));
        }
        proxy.rules.sort_by_key(|rule| rule.set);
        proxy
    }

    /// Whether clients come to it.
    #[must_use]
    pub fn is_frontend(&self) -> bool {
        ["frontend", "listen"].contains(&self.kind.as_str())
    }

    /// Whether it may have servers.
    #[must_use]
    pub fn is_backend(&self) -> bool {
        ["backend", "listen"].contains(&self.kind.as_str())
    }

    /// A timeout that is one: 0 is none.
    #[must_use]
    pub fn timeout(&self, name: &str) -> Option<Duration> {
        self.timeouts.get(name).copied().filter(|time| !time.is_zero())
    }

    fn take(&mut self, directive: &Directive, report: &mut ImportReport) {
        let no = if directive.negated { vec!["no".to_owned()] } else { Vec::new() };
        let with_no: Vec<String> = no.into_iter().chain(directive.words.iter().cloned()).collect();
        let Some(known) = keyword("proxy", &with_no).or_else(|| keyword("proxy", &directive.words)) else {
            return self.take_unknown(directive, report);
        };
        let (line, value) = (directive.line, directive.word(1));
        match directive.word(0) {
            "disabled" => self.disabled = true,
            "enabled" => self.disabled = false,
            "bind" => return self.binds.push(Bind::read(directive, report)),
            "server" | "server-template" | "dispatch" => {
                self.servers.push(ServerLine::read(directive, &self.server_defaults, report));
                // where it goes is said by what writes the pool
                return;
            }
            "default-server" => {
                let barred = server::read_options(line, &directive.words[1..], &mut self.server_defaults, report);
                return if !barred && !report.has(line) {
                    report.note(line, known.fate, known.sentence)
                };
            }
            "balance" => return self.take_balance(directive, report),
            "default_backend" => {
                self.default_backend = Some((value.to_owned(), line));
                return;
            }
            "acl" => return self.take_acl(directive, report),
            "maxconn" => self.max_connections = value.parse().ok().filter(|number| *number > 0),
            "retries" => return self.take_retries(directive, report),
            "timeout" => return self.take_timeout(value, directive.word(2), known, line, report),
            "contimeout" | "clitimeout" | "srvtimeout" => {
                let name = [("contimeout", "connect"), ("clitimeout", "client"), ("srvtimeout", "server")];
                let name = name.iter().find(|(old, _)| *old == directive.word(0)).map_or("", |(_, new)| new);
                return self.take_timeout(name, value, known, line, report);
            }
            "option" => return self.take_option(directive, known, report),
            "http-check" if known.fate == Fate::Kept => return self.check.http_check(directive, report),
            "capture" => return self.take_capture(directive, report),
            _ => {}
        }
        self.take_rule(directive, known, report);
    }

    /// A line that HAProxy may know, and that is not known here, may be one that guards something.
    fn take_unknown(&mut self, directive: &Directive, report: &mut ImportReport) {
        let rules = ["acl", "use_backend", "default_backend", "http-", "tcp-re"];
        let is_rule = |close: &Keyword| close.guards || rules.iter().any(|rule| close.name().starts_with(rule));
        if likely("proxy", &directive.words).is_none_or(is_rule) {
            self.rules.extend(AccessRule::read(directive, true, &self.acls));
        }
        unknown("proxy", directive, report);
    }

    fn take_balance(&mut self, directive: &Directive, report: &mut ImportReport) {
        let (line, value) = (directive.line, directive.word(1));
        self.balance = Some(value.to_owned());
        let sticky = "servers take turns in its place: no client, host or path is kept at one server";
        match value {
            "roundrobin" => report.note(line, Fate::Default, "balance = \"round-robin\""),
            "static-rr" => report.note(line, Fate::Differently, "balance = \"round-robin\""),
            "leastconn" => report.note(line, Fate::Kept, "balance = \"least-connections\""),
            "random" => report.note(line, Fate::Differently, "balance = \"least-connections\""),
            "first" => report.note(line, Fate::Unsupported, "servers take turns in its place"),
            _ => report.note(line, Fate::Unsupported, sticky),
        }
    }

    fn take_acl(&mut self, directive: &Directive, report: &mut ImportReport) {
        let acl = Acl::read(&directive.words[1..]);
        match acl.is_none_or(|acl| acl.is_unknown()) {
            true => report.note(
                directive.line,
                Fate::Unsupported,
                "sites are chosen by the host alone: what this decides is left out",
            ),
            false => report.note(directive.line, Fate::Kept, "it decides with the lines that name it"),
        }
    }

    fn take_retries(&mut self, directive: &Directive, report: &mut ImportReport) {
        self.retries = directive.word(1).parse().ok().map(|number: u64| number.min(100));
        match self.retries {
            Some(3) => report.note(directive.line, Fate::Default, "retries = 3"),
            Some(retries) => report.note(directive.line, Fate::Kept, format!("retries = {retries} of the pool")),
            None => report.note(directive.line, Fate::Unsupported, "it is no number"),
        }
    }

    fn take_timeout(&mut self, name: &str, text: &str, known: &Keyword, line: usize, report: &mut ImportReport) {
        let Some(time) = time(text, "ms") else {
            let sentence = format!("{text} is no time: write for example 5s, 500ms or 1m");
            return report.note(line, Fate::Unsupported, sentence);
        };
        self.timeouts.insert(name.to_owned(), time);
        if known.fate == Fate::Kept && time.is_zero() {
            return report.note(line, Fate::Differently, "no wait is without an end: it is that of the default here");
        }
        match name {
            "client" | "server" if !self.http => report.note(line, Fate::Kept, "tunnel_timeout of the pool"),
            "http-request" | "http-keep-alive" if !self.http => report.note(line, Fate::Default, "it is for HTTP"),
            _ => report.note(line, known.fate, known.sentence),
        }
    }

    fn take_option(&mut self, directive: &Directive, known: &Keyword, report: &mut ImportReport) {
        let (name, line) = (directive.word(1), directive.line);
        if directive.negated {
            self.options.remove(name);
            self.options.insert(format!("no {name}"));
            if ["httpchk", "tcp-check"].contains(&name) {
                self.check = HealthCheck::default();
            }
            return match name {
                "redispatch" => report.note(line, Fate::Kept, "redispatch = false"),
                "dontlognull" => report.note(line, Fate::Kept, "[log] empty_connections = true"),
                _ if known.fate == Fate::Default => report.note(line, Fate::Differently, known.sentence),
                _ => report.note(line, Fate::Default, "it is not so here"),
            };
        }
        self.options.insert(name.to_owned());
        // the last one of these counts
        let closing = ["http-server-close", "httpclose", "forceclose"];
        if ["http-keep-alive", "http-tunnel"].contains(&name) {
            self.options.retain(|one| !closing.contains(&one.as_str()));
        }
        match name {
            "httpchk" | "tcp-check" | "ssl-hello-chk" | "smtpchk" | "ldap-check" | "mysql-check" | "pgsql-check"
            | "redis-check" | "spop-check" => return self.check.option(directive, report),
            "forwardfor" => return forwarded(directive, report),
            "redispatch" | "dontlognull" => return report.note(line, Fate::Default, "it is so here"),
            "dontlog-normal" => return report.note(line, Fate::Kept, "[log] access = \"errors+slow\""),
            _ if closing.contains(&name) => {
                let (fate, sentence) = match name {
                    "http-server-close" => (Fate::Kept, "keep_alive_connections = 0 of the pool"),
                    _ => (
                        Fate::Differently,
                        "keep_alive_connections = 0 of the pool; the connections of clients are kept, as \
                         http-server-close does",
                    ),
                };
                return report.note(line, fate, sentence);
            }
            "accept-invalid-http-response" | "accept-unsafe-violations-in-http-response" => {
                return report.note(line, Fate::Kept, "lenient = true of the pool");
            }
            _ => {}
        }
        self.take_rule(directive, known, report);
    }

    fn take_capture(&mut self, directive: &Directive, report: &mut ImportReport) {
        let field = directive.word(3).to_ascii_lowercase();
        let (fate, sentence) = match (directive.word(2), field.as_str()) {
            ("header", "host") if directive.word(1) == "request" => (Fate::Default, "records have the host"),
            ("header", "user-agent") => (Fate::Kept, "[log] user_agent = true"),
            ("header", "referer" | "referrer") => (Fate::Kept, "[log] referer = true"),
            ("header", "x-forwarded-for") => (Fate::Default, "records have the client"),
            ("header", "content-length") => (Fate::Default, "records have the bytes of both bodies"),
            _ => (Fate::Unsupported, "records have no other fields of messages"),
        };
        if fate == Fate::Kept {
            self.options.insert(format!("log {field}"));
        }
        report.note(directive.line, fate, sentence);
    }

    fn take_rule(&mut self, directive: &Directive, known: &Keyword, report: &mut ImportReport) {
        let line = directive.line;
        let mut guards = known.guards;
        let is_tls = !self.binds.is_empty() && self.binds.iter().all(|bind| bind.has("ssl"));
        match field::of(directive, is_tls) {
            Some(FieldFate::Hsts(value)) => {
                self.hsts = Some(value);
                report.note(line, Fate::Kept, "hsts of the sites with TLS");
            }
            Some(FieldFate::Own(sentence)) => {
                guards = false;
                report.note(line, Fate::Default, sentence);
            }
            Some(FieldFate::Otherwise(sentence)) => {
                guards = false;
                report.note(line, Fate::Differently, sentence);
            }
            Some(FieldFate::Lost(sentence)) => {
                guards = false;
                report.note(line, Fate::Unsupported, sentence);
            }
            Some(FieldFate::Guarded(sentence)) => {
                guards = true;
                report.note(line, Fate::Unsupported, sentence);
            }
            None => {}
        }
        let rule = AccessRule::read(directive, guards, &self.acls);
        // what becomes of these depends on the hosts that they hold for
        let is_weighed = rule
            .as_ref()
            .is_some_and(|rule| matches!(rule.action, RuleAction::Use(_) | RuleAction::ToHttps | RuleAction::Deny));
        self.rules.extend(rule);
        if !report.has(line) && !is_weighed {
            report.note(line, known.fate, known.sentence);
        }
    }
}

/// The name of a section, which has to be one of a pool too.
fn named(section: &CfgSection) -> String {
    let name: String = section.name.chars().filter(|letter| !letter.is_control()).collect();
    if name.is_empty() { format!("line-{}", section.line) } else { name }
}

fn forwarded(directive: &Directive, report: &mut ImportReport) {
    let words = &directive.words[2..];
    let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    if let Some(name) = after("header").filter(|name| !name.eq_ignore_ascii_case("x-forwarded-for")) {
        let sentence = format!("the client stands in X-Forwarded-For, and not in {name}");
        return report.note(directive.line, Fate::Unsupported, sentence);
    }
    if words.iter().any(|word| word == "except" || word == "if-none") {
        let sentence = "X-Forwarded-For of others is replaced; write those whose word is taken as trusted_proxies of the \
                        listener";
        return report.note(directive.line, Fate::Differently, sentence);
    }
    report.note(directive.line, Fate::Default, "X-Forwarded-For has the client; one that a client sends is replaced");
}

//! Rules: what decides which requests are served, and by which backend.

use super::condition::{Acl, AclCondition};
use super::section::Directive;

/// What a rule does with a request that it holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// No later rule of its set is looked at.
    Allow,
    /// The request is refused.
    Deny,
    /// Something that cannot be said: what it is for is not served.
    Guard,
    /// The client is sent to HTTPS.
    ToHttps,
    /// The backend with this name serves it.
    Use(String),
}

/// The sets of rules, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleSet {
    /// `tcp-request connection`.
    Connection,
    /// `tcp-request session`.
    Session,
    /// `tcp-request content`.
    Content,
    /// `http-request`.
    Request,
    /// `redirect`.
    Redirect,
    /// `use_backend`.
    Backend,
    /// All others, which no rule of another set ends.
    Other,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct AccessRule {
    /// Its line.
    pub line: usize,
    /// Where it is looked at.
    pub set: RuleSet,
    /// What it does.
    pub action: RuleAction,
    /// For what.
    pub condition: AclCondition,
}

impl AccessRule {
    /// Of a directive with that fate in the table of keywords.
    #[must_use]
    pub fn read(directive: &Directive, guards: bool, acls: &[Acl]) -> Option<Self> {
        let (words, condition) = AclCondition::split(&directive.words, acls);
        let word = |index: usize| words.get(index).map_or("", String::as_str);
        let set = match (word(0), word(1)) {
            ("tcp-request", "connection") => RuleSet::Connection,
            ("tcp-request", "session") => RuleSet::Session,
            ("tcp-request", _) => RuleSet::Content,
            ("http-request", _) => RuleSet::Request,
            ("redirect", _) => RuleSet::Redirect,
            ("use_backend", _) => RuleSet::Backend,
            _ => RuleSet::Other,
        };
        let action = match (word(0), word(1), word(2)) {
            ("use_backend", name, _) => RuleAction::Use(name.to_owned()),
            ("http-request", "allow", _) | ("tcp-request", _, "accept") => RuleAction::Allow,
            ("http-request", "deny" | "reject" | "silent-drop", _)
            | ("tcp-request", _, "reject" | "silent-drop")
            | ("block", ..) => RuleAction::Deny,
            ("redirect", "scheme", "https") => RuleAction::ToHttps,
            ("http-request", "redirect", "scheme") if word(3) == "https" => RuleAction::ToHttps,
            ("redirect", "prefix" | "location", to) if is_https(to) => RuleAction::ToHttps,
            ("http-request", "redirect", "prefix" | "location") if is_https(word(3)) => RuleAction::ToHttps,
            _ if guards => RuleAction::Guard,
            _ => return None,
        };
        Some(Self { line: directive.line, set, action, condition })
    }
}

/// Whether a redirect goes to the same host and path over HTTPS.
fn is_https(to: &str) -> bool {
    ["https://%[hdr(host)]%[capture.req.uri]", "https://%[req.hdr(host)]%[capture.req.uri]", "https://%[hdr(host)]"]
        .contains(&to.to_ascii_lowercase().as_str())
}

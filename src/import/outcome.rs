//! What a frontend does with the requests for one host.

use std::collections::BTreeSet;

use super::condition::SocketKind;
use super::host::Truth;
use super::proxy::{CfgProxy, LONGEST_NAME};
use super::rule::{AccessRule, RuleAction, RuleSet};
use crate::config::HostPattern;

/// What becomes of the requests for the hosts of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteOutcome {
    /// A backend serves them.
    Pool {
        /// Its name.
        name: String,
        /// The line that decides it.
        line: usize,
    },
    /// Clients are sent to HTTPS.
    ToHttps,
    /// They are refused, or no backend is for them.
    Refused {
        /// The line that decides it; none where nothing is said.
        line: Option<usize>,
    },
    /// It depends on more than can be said.
    Unknown {
        /// The line that it depends on.
        line: usize,
        /// The backend that they would go to otherwise.
        pool: Option<String>,
    },
}

impl RouteOutcome {
    /// The backend that serves them.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        match self {
            Self::Pool { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// What `frontend` does with requests for `region` that come to a listener of this kind.
#[must_use]
pub fn outcome(frontend: &CfgProxy, all: &[CfgProxy], region: &HostPattern, socket: SocketKind) -> RouteOutcome {
    let refused = refusal(frontend, region, socket);
    if let Some(decided @ (RouteOutcome::Refused { .. } | RouteOutcome::ToHttps)) = refused {
        return decided;
    }
    let chosen = chosen(frontend, region, socket);
    let unknown = |line, pool| RouteOutcome::Unknown { line, pool };
    if let Some(RouteOutcome::Unknown { line, .. }) = refused {
        let name = chosen.map_or_else(|(_, name)| Some(name), |chosen| chosen.map(|(name, _)| name));
        return unknown(line, name);
    }
    let (name, line) = match chosen {
        Ok(Some(chosen)) => chosen,
        Ok(None) => return RouteOutcome::Refused { line: None },
        Err((line, name)) => return unknown(line, Some(name)),
    };
    // a frontend and a backend may have one name
    let Some(backend) = all.iter().find(|one| one.is_backend() && one.name == name) else { return unknown(line, None) };
    if backend.disabled || backend.servers.iter().all(|server| server.weight() == 0) {
        return RouteOutcome::Refused { line: Some(backend.line) };
    }
    if backend.http != frontend.http || name.len() > LONGEST_NAME {
        return unknown(backend.line, Some(name));
    }
    if let Some(server) = backend.servers.iter().find(|server| server.barred) {
        return unknown(server.line, Some(name));
    }
    let own = if backend.line == frontend.line { None } else { refusal(backend, region, socket) };
    match own {
        Some(RouteOutcome::Unknown { line, .. }) => unknown(line, Some(name)),
        Some(decided) => decided,
        None => RouteOutcome::Pool { name, line },
    }
}

/// The hosts that the rules of a frontend and its backends make a difference for, and every other one.
pub fn patterns<'a>(proxies: impl Iterator<Item = &'a CfgProxy>) -> BTreeSet<HostPattern> {
    let rules = proxies.flat_map(|proxy| &proxy.rules);
    rules.flat_map(|rule| rule.condition.patterns()).chain([HostPattern::Any]).collect()
}

/// The first rule that refuses, or may.
fn refusal(proxy: &CfgProxy, region: &HostPattern, socket: SocketKind) -> Option<RouteOutcome> {
    let mut allowed: Option<RuleSet> = None;
    for rule in proxy.rules.iter().filter(|rule| rule.set != RuleSet::Backend) {
        if allowed == Some(rule.set) {
            continue;
        }
        let AccessRule { line, .. } = *rule;
        // a redirect of segue leaves challenges out too
        let truth = match rule.action {
            RuleAction::ToHttps => rule.condition.on_all_but_challenges(region, socket),
            _ => rule.condition.on(region, socket),
        };
        match (&rule.action, truth) {
            (_, Truth::No) => {}
            (RuleAction::Allow, Truth::Yes) => allowed = Some(rule.set),
            (RuleAction::Allow | RuleAction::Use(_), _) => {}
            (RuleAction::Deny, Truth::Yes) => return Some(RouteOutcome::Refused { line: Some(line) }),
            (RuleAction::ToHttps, Truth::Yes) if !socket.tls => return Some(RouteOutcome::ToHttps),
            _ => return Some(RouteOutcome::Unknown { line, pool: None }),
        }
    }
    None
}

/// The backend that the rules choose and the line that does; where a rule matters that cannot be told, its line and
/// backend.
fn chosen(
    proxy: &CfgProxy,
    region: &HostPattern,
    socket: SocketKind,
) -> Result<Option<(String, usize)>, (usize, String)> {
    let mut perhaps: Vec<(&str, usize)> = Vec::new();
    let mut found = None;
    for rule in proxy.rules.iter().filter(|rule| rule.set == RuleSet::Backend) {
        let RuleAction::Use(name) = &rule.action else { continue };
        match rule.condition.on(region, socket) {
            Truth::Yes => {
                found = Some((name.clone(), rule.line));
                break;
            }
            Truth::No | Truth::Hardly => {}
            Truth::Unknown => perhaps.push((name, rule.line)),
        }
    }
    let own = || (proxy.kind == "listen" && !proxy.servers.is_empty()).then(|| (proxy.name.clone(), proxy.line));
    let found = found.or_else(|| proxy.default_backend.clone()).or_else(own);
    let differs = perhaps.iter().find(|(name, _)| found.as_ref().is_none_or(|(chosen, _)| chosen != name));
    match differs {
        Some((name, line)) => Err((*line, (*name).to_owned())),
        None => Ok(found),
    }
}

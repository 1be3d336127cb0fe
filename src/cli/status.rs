//! `segue status`: what runs.

use std::process::ExitCode;
use std::time::Duration;

use super::reload::{not_asked, unexpected};
use super::{Status, print, table};
use crate::control::request::{ControlReply, Wish, ask};
use crate::control::status::{EjectionStatus, HealthStatus, ServerStatus, ServiceStatus};
use crate::observe::Plain;

/// Prints the status of the supervisor and its generations.
#[must_use]
pub fn run(arguments: Status) -> ExitCode {
    let Status { run_dir, json } = arguments;
    match ask(&run_dir.path(), Wish::Status, TIMEOUT) {
        Ok(ControlReply::Status(status)) if json => print(&(table::json(&status) + "\n")),
        Ok(ControlReply::Status(status)) => print(&page(&status)),
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

/// One line for the service, the generations with what they have open, and the servers that take no exchanges.
fn page(status: &ServiceStatus) -> String {
    format!("{}\n\n{}{}", Plain(&status.line), table::generations(&status.generations), not_up(status))
}

/// A line for each server that is not up, as the serving generation sees it, and for what operators set.
fn not_up(status: &ServiceStatus) -> String {
    let pools = status.serving_worker().map_or(&[][..], |worker| &worker.pools);
    let mut lines = String::new();
    for pool in pools {
        for server in &pool.servers {
            for set in &server.admin {
                let [pool, name, words] = [&pool.name, &server.name, &set.words()].map(|text| Plain(text).to_string());
                lines.push_str(&format!("server {pool}/{name}: {words}\n"));
            }
            if server.removed {
                let ([pool, name], open) = ([&pool.name, &server.name].map(|name| Plain(name)), server.open_attempts);
                lines.push_str(&format!("server {pool}/{name}: removed from the configuration, {open} open\n"));
                continue;
            }
            if server.health.state == "up" {
                lines.push_str(&ejected(&pool.name, server));
                continue;
            }
            let HealthStatus { state, since, history, .. } = &server.health;
            let reason = history.last().map_or("-", |last| &last.reason);
            let [pool, name, state, since, reason] = [&pool.name, &server.name, state, since, reason].map(Plain);
            lines.push_str(&format!("server {pool}/{name}: {state} since {since}, {reason}\n"));
        }
    }
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// A line for a server that is up and ejected; empty for any other.
fn ejected(pool: &str, server: &ServerStatus) -> String {
    let Some(EjectionStatus { since, until, reason }) = &server.ejected else {
        return String::new();
    };
    let [pool, name, since, until, reason] = [pool, &server.name, since, until, reason].map(Plain);
    format!("server {pool}/{name}: ejected since {since}, {reason}; tried again at {until}\n")
}

pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(json: serde_json::Value) -> ServiceStatus {
        serde_json::from_value(json).expect("a status")
    }

    #[test]
    fn the_line_of_the_service_comes_first() {
        let status = status(json!({
            "line": "generation 2 serving",
            "generations": [{ "generation": 2, "state": "serving", "since_ms": 3_000, "pid": 18, "connections": 4 }],
        }));
        let text = page(&status);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with("generation 2 serving\n\nGENERATION"), "{text}");
    }

    #[test]
    fn a_server_that_is_ejected_is_named_with_its_next_trial() {
        let ejection = EjectionStatus {
            since: "S".to_owned(),
            until: "U".to_owned(),
            reason: "3 connections in a row failed".to_owned(),
        };
        let up = ServerStatus { name: "one:80".to_owned(), ..ServerStatus::default() };
        let line = ejected("farm", &ServerStatus { ejected: Some(ejection), ..up.clone() });
        assert_eq!(line, "server farm/one:80: ejected since S, 3 connections in a row failed; tried again at U\n");
        assert_eq!(ejected("farm", &up), "");
    }

    #[test]
    fn servers_that_are_not_up_are_named_with_the_reason() {
        let server = |name: &str, state: &str| {
            let history = json!([{ "reason": "first check passed" }, { "reason": "3 checks failed: refused" }]);
            json!({ "name": name, "state": state, "since": "2026-11-25T08:56:34Z", "history": history })
        };
        let pool = json!({ "name": "farm", "servers": [server("one:80", "up"), server("two:80", "down")] });
        let worker = json!({ "pools": [pool] });
        let generations = json!([
            { "generation": 1, "state": "parked" },
            { "generation": 2, "state": "serving", "worker": worker },
        ]);
        let text = page(&status(json!({ "line": "generation 2 serving", "generations": generations })));
        let expected = "\n\nserver farm/two:80: down since 2026-11-25T08:56:34Z, 3 checks failed: refused\n";
        assert!(text.ends_with(expected) && !text.contains("one:80"), "{text}");
    }
}

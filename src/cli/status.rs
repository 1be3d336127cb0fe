//! `segue status`: what runs.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::reload::{not_asked, unexpected};
use super::table::{self, list, word};
use super::{Status, print};
use crate::control::request::{ControlReply, Wish, ask};

/// Prints what the supervisor says of itself and its generations.
#[must_use]
pub fn run(arguments: Status) -> ExitCode {
    let Status { run_dir, json } = arguments;
    match ask(&run_dir.path(), Wish::Status, TIMEOUT) {
        Ok(ControlReply::Status(status)) if json => print(&format!("{status:#}\n")),
        Ok(ControlReply::Status(status)) => print(&page(&status)),
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

/// One line for the service, the generations with what they have open, and the servers that take no exchanges.
fn page(status: &Value) -> String {
    format!("{}\n\n{}{}", word(&status["line"]), table::generations(status), not_up(status))
}

/// A line for each server that is not up, as the serving generation sees it.
fn not_up(status: &Value) -> String {
    let serving = list(&status["generations"]).iter().find(|one| one["state"] == "serving").unwrap_or(&Value::Null);
    let mut lines = String::new();
    for pool in list(&serving["worker"]["pools"]) {
        for server in list(&pool["servers"]) {
            if server["state"] == "up" {
                lines.push_str(&ejected(&pool["name"], server));
                continue;
            }
            let last = list(&server["history"]).last().unwrap_or(&Value::Null);
            let [pool, name, state] = [&pool["name"], &server["name"], &server["state"]].map(word);
            let [since, reason] = [&server["since"], &last["reason"]].map(word);
            lines.push_str(&format!("server {pool}/{name}: {state} since {since}, {reason}\n"));
        }
    }
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// A line for a server that is up and takes no exchanges all the same; nothing of another.
fn ejected(pool: &Value, server: &Value) -> String {
    let ejection = &server["ejected"];
    if ejection.is_null() {
        return String::new();
    }
    let [pool, name, since] = [pool, &server["name"], &ejection["since"]].map(word);
    let [until, reason] = [&ejection["until"], &ejection["reason"]].map(word);
    format!("server {pool}/{name}: ejected since {since}, {reason}; tried again at {until}\n")
}

pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_service_comes_first() {
        let status = serde_json::json!({
            "line": "generation 2 serving",
            "generations": [{ "generation": 2, "state": "serving", "since_ms": 3_000, "pid": 18, "connections": 4 }],
        });
        let text = page(&status);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with("generation 2 serving\n\nGENERATION"), "{text}");
    }

    #[test]
    fn a_server_that_is_ejected_is_named_with_its_next_trial() {
        let ejection = serde_json::json!({ "since": "S", "until": "U", "reason": "3 connections in a row failed" });
        let server = serde_json::json!({ "name": "one:80", "state": "up", "ejected": ejection });
        let line = ejected(&"farm".into(), &server);
        assert_eq!(line, "server farm/one:80: ejected since S, 3 connections in a row failed; tried again at U\n");
        assert_eq!(ejected(&"farm".into(), &serde_json::json!({ "name": "one:80", "state": "up" })), "");
    }

    #[test]
    fn servers_that_are_not_up_are_named_with_the_reason() {
        let server = |name: &str, state: &str| {
            let history =
                serde_json::json!([{ "reason": "first check passed" }, { "reason": "3 checks failed: refused" }]);
            serde_json::json!({ "name": name, "state": state, "since": "2026-11-25T08:56:34Z", "history": history })
        };
        let pool = serde_json::json!({ "name": "farm", "servers": [server("one:80", "up"), server("two:80", "down")] });
        let worker = serde_json::json!({ "pools": [pool] });
        let generations = serde_json::json!([
            { "generation": 1, "state": "parked" },
            { "generation": 2, "state": "serving", "worker": worker },
        ]);
        let text = page(&serde_json::json!({ "line": "generation 2 serving", "generations": generations }));
        let expected = "\n\nserver farm/two:80: down since 2026-11-25T08:56:34Z, 3 checks failed: refused\n";
        assert!(text.ends_with(expected) && !text.contains("one:80"), "{text}");
    }
}

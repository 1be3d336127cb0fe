//! `segue status`: what runs.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::Status;
use super::reload::{not_asked, unexpected};
use crate::control::request::{Reply, Wish, ask};

/// Prints what the supervisor says of itself and its generations.
#[must_use]
pub fn run(arguments: Status) -> ExitCode {
    let Status { run_dir, json } = arguments;
    match ask(&run_dir.path(), Wish::Status, TIMEOUT) {
        Ok(Reply::Status(status)) if json => {
            println!("{status:#}");
            ExitCode::SUCCESS
        }
        Ok(Reply::Status(status)) => {
            print!("{}", table(&status));
            ExitCode::SUCCESS
        }
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

/// One line for the service and one for each generation.
fn table(status: &Value) -> String {
    let mut text = format!("{}\n\n", word(&status["line"]));
    text.push_str("GENERATION  STATE     SINCE     PID      VERSION   CONNECTIONS  CONFIGURATION\n");
    for generation in status["generations"].as_array().into_iter().flatten() {
        let since = Duration::from_secs(generation["since_ms"].as_u64().unwrap_or_default() / 1000);
        let line = format!(
            "{:<10}  {:<8}  {:<8}  {:<7}  {:<8}  {:<11}  {}",
            word(&generation["generation"]),
            word(&generation["state"]),
            humantime::format_duration(since).to_string().replace(' ', ""),
            word(&generation["pid"]),
            word(&generation["version"]),
            word(&generation["connections"]),
            word(&generation["summary"]),
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_generation() {
        let status = serde_json::json!({
            "line": "generation 2 serving",
            "generations": [
                { "generation": 1, "state": "draining", "since_ms": 61_000, "pid": 17 },
                { "generation": 2, "state": "serving", "since_ms": 3_000, "pid": 18, "connections": 4 },
            ],
        });
        let text = table(&status);
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("1           draining  1m1s      17       -"), "{text}");
    }
}

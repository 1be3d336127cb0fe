//! `segue status`: what runs.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::reload::{not_asked, unexpected};
use super::table::{self, word};
use super::{Status, print};
use crate::control::request::{Reply, Wish, ask};

/// Prints what the supervisor says of itself and its generations.
#[must_use]
pub fn run(arguments: Status) -> ExitCode {
    let Status { run_dir, json } = arguments;
    match ask(&run_dir.path(), Wish::Status, TIMEOUT) {
        Ok(Reply::Status(status)) if json => print(&format!("{status:#}\n")),
        Ok(Reply::Status(status)) => print(&page(&status)),
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

/// One line for the service, the generations, and what they have open together.
fn page(status: &Value) -> String {
    format!("{}\n\n{}", word(&status["line"]), table::generations(status))
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
}

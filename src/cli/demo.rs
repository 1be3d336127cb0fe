//! `segue demo`.

use std::process::ExitCode;

/// Says that there is nothing to see.
#[must_use]
pub fn run() -> ExitCode {
    ExitCode::FAILURE
}

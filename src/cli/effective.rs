//! `segue config --effective`: the whole configuration as it is used, each value with its origin.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::check::Verdict;
use crate::config::load::{Checked, Sources};

/// Prints the configuration whose main file is `main` to stdout, in TOML that gives the same configuration.
///
/// A configuration that is refused goes to stderr as in `segue check`, with the exit code 78.
#[must_use]
pub fn run(main: &Path) -> ExitCode {
    match Sources::read(main).and_then(|sources| sources.effective()) {
        Ok(text) => print(&text),
        Err(problems) => Verdict::of(main, Ok(Checked { config: None, problems })).print(),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // As in `segue config --effective | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

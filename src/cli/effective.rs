//! `segue config --effective`: the whole configuration as it is used, each value with its origin.

use std::path::Path;
use std::process::ExitCode;

use super::check::Verdict;
use super::print;
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

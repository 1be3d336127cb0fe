//! `segue config`: the whole configuration as it is used, each value with its origin.

use std::process::ExitCode;

use super::check::Verdict;
use super::{ConfigArguments, Effective, print};
use crate::config::load::{Checked, Sources};

/// Prints the configuration that is named to stdout, in TOML that gives the same configuration.
///
/// A configuration that is refused goes to stderr as in `segue check`, with the exit code 78.
#[must_use]
pub fn run(arguments: &Effective) -> ExitCode {
    let Effective { file, config: ConfigArguments { config, set }, effective: _ } = arguments;
    let main = file.as_ref().unwrap_or(config);
    match Sources::read(main, set).and_then(|sources| sources.effective()) {
        Ok(text) => print(&text),
        Err(problems) => Verdict::of(main, Ok(Checked { config: None, problems })).print(),
    }
}

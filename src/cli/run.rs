//! `segue run`: the service.

use std::process::ExitCode;

use super::{Run, complain};
use crate::supervisor::generations::Settings;
use crate::supervisor::{Options, Supervisor};

/// Runs the supervisor until the service ends.
#[must_use]
pub fn run(arguments: Run) -> ExitCode {
    let Run { config, run_dir, probation, start_timeout, hang_timeout, worker_binary } = arguments;
    let options = Options {
        // workers are started with another directory in mind than the one of a terminal
        config: std::path::absolute(&config.config).unwrap_or(config.config),
        run_dir: run_dir.path(),
        worker_binary,
        settings: Settings { start_timeout, probation, hang_timeout },
    };
    match Supervisor::new(options) {
        Ok(supervisor) => supervisor.run(),
        Err(fault) => {
            complain(&fault);
            ExitCode::FAILURE
        }
    }
}

//! `segue run`: the service.

use std::process::ExitCode;

use super::{Run, complain};
use crate::supervisor::generations::Settings;
use crate::supervisor::{Options, Supervisor, upgrade};

/// Runs the supervisor until the service ends.
#[must_use]
pub fn run(arguments: Run) -> ExitCode {
    let Run { config, run_dir, probation, start_timeout, hang_timeout, worker_binary, take_over, rehearse } = arguments;
    if rehearse {
        return match upgrade::rehearse() {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => failed(&fault),
        };
    }
    let supervisor = match take_over {
        Some(state) => Supervisor::take_over(state),
        None => Supervisor::new(Options {
            // workers are started with another directory in mind than the one of a terminal
            config: std::path::absolute(&config.config).unwrap_or(config.config),
            set: config.set,
            run_dir: run_dir.path(),
            worker_binary,
            settings: Settings { start_timeout, probation, hang_timeout },
        }),
    };
    match supervisor {
        Ok(supervisor) => supervisor.run(),
        Err(fault) => failed(&fault),
    }
}

fn failed(fault: &dyn std::error::Error) -> ExitCode {
    complain(fault);
    ExitCode::FAILURE
}

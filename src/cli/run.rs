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
    // A huge page is resident whole as soon as one byte of it is used: with them the two processes hold 25 MB when
    // nothing is open, without them 8 MB, for the same CPU per request. Workers inherit it; refused, it costs memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let supervisor = match take_over {
        Some(state) => Supervisor::take_over(state),
        None => Supervisor::new(Options {
            // workers may have another working directory than this terminal
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

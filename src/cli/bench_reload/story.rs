//! The phases of the experiment, and the reloads in it.

use std::cell::RefCell;

use tokio::time::{Instant, sleep, sleep_until};

use super::arguments::BenchReloadArguments;
use super::command::{ReloadCommandRun, run_reload};
use super::experiment::{BenchPhase, Experiment};
use crate::observe::Plain;

/// Goes through the phases, and says on standard error what happens; each run of the command is in `runs` once it ended.
pub(super) async fn tell(
    experiment: &Experiment,
    arguments: &BenchReloadArguments,
    runs: &RefCell<Vec<ReloadCommandRun>>,
) {
    sleep(arguments.before).await;
    experiment.enter(BenchPhase::Reloads);
    match (&arguments.reload, arguments.lasts) {
        (Some(command), _) => {
            for nth in 1..=arguments.times {
                let began = Instant::now();
                let run = run_reload(command, arguments.reload_timeout).await;
                say(nth, arguments.times, &run);
                runs.borrow_mut().push(run);
                sleep_until(began + arguments.every).await;
            }
        }
        (None, lasts) => {
            let lasts = lasts.unwrap_or_default();
            eprintln!("segue: reload now, as often as you like; {} left", humantime::format_duration(lasts));
            sleep(lasts).await;
        }
    }
    sleep(arguments.after).await;
}

fn say(nth: u32, times: u32, run: &ReloadCommandRun) {
    match &run.failure {
        None => eprintln!("segue: reload {nth} of {times}: {:.2} s", run.took.as_secs_f64()),
        Some((how, said)) => {
            eprintln!("segue: reload {nth} of {times} failed: {how}");
            said.lines().for_each(|line| eprintln!("  {}", Plain(line)));
        }
    }
}

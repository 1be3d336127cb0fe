//! `segue bench-reload`: what the clients of a running proxy see of its reloads, whichever proxy it is.
//!
//! ```text
//!   probe ─▶ before ──▶ reloads, one command after the other ──▶ after ─▶ over: clients finish what is out ─▶ the table
//! ```
//! It is the experiment of `tests/bench/reload` for any proxy. Clients and command run on one thread. HTTP/2 is not spoken.

mod arguments;
mod clients;
mod command;
mod connection;
mod experiment;
mod frames;
mod lost;
mod probe;
mod report;
mod story;
mod tally;
mod target;
mod tunnel;
mod url;
mod waits;

use std::cell::RefCell;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::arguments::BenchReloadArguments;
use self::clients::{BUSY_PAUSE, download, fresh, keep};
use self::experiment::{BenchPhase, Experiment};
use self::report::{BenchEnd, BenchReport};
use self::tally::ClientKind;
use self::target::BenchTarget;
use self::tunnel::tunnel;
use super::table::json;
use super::{complain, print};
use crate::sys::{Signals, watch_readable};

/// Descriptors beside those of the clients.
const OTHER_FILES: u64 = 64;

/// Measures, prints, and gives the verdict as the exit status.
#[must_use]
pub fn run(arguments: &BenchReloadArguments) -> ExitCode {
    // before there is any other thread
    let signals = match Signals::open(&[Signal::INT, Signal::TERM, Signal::HUP]) {
        Ok(signals) => signals,
        Err(fault) => return unable(&fault),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
        Ok(runtime) => runtime,
        Err(fault) => return unable(&fault),
    };
    let code = runtime.block_on(async {
        match signals.as_fd().try_clone_to_owned().and_then(watch_readable) {
            Ok(signals) => measure(arguments, &signals).await,
            Err(fault) => unable(&fault),
        }
    });
    runtime.shutdown_background(); // getaddrinfo(3) may take its time
    code
}

async fn measure(arguments: &BenchReloadArguments, signals: &AsyncFd<OwnedFd>) -> ExitCode {
    let experiment = tokio::select! {
        biased;
        _ = signals.readable() => return ExitCode::from(130),
        prepared = prepare(arguments) => match prepared {
            Ok(experiment) => Rc::new(experiment),
            Err(fault) => return unable(&*fault),
        },
    };
    let runs = RefCell::default();
    let mut clients = start(&experiment, arguments);
    eprintln!("segue: {} of {}; Ctrl-C ends it", crowd(arguments), experiment.target.address());
    let mut is_whole = tokio::select! {
        biased;
        _ = signals.readable() => false,
        () = experiment.over() => true, // for a shortage
        () = story::tell(&experiment, arguments, &runs) => true,
    };
    experiment.enter(BenchPhase::Over);
    if is_whole {
        is_whole = tokio::select! {
            biased;
            _ = signals.readable() => false,
            () = finish(&mut clients, arguments.timeout) => true,
        };
    }
    clients.abort_all();
    let (before, reloads) = experiment.tallies();
    let end = match experiment.shortage() {
        _ if !is_whole => BenchEnd::Interrupted,
        Some(why) => BenchEnd::Shortage(why),
        None => BenchEnd::Whole,
    };
    let address = experiment.target.address().to_string();
    let report = BenchReport { arguments, address, before, reloads, runs: runs.into_inner(), end };
    let printed = print(&if arguments.json { json(&report.json()) + "\n" } else { report.text() });
    if printed == ExitCode::SUCCESS { report.exit_code() } else { printed }
}

/// Reaches the proxy, and asks for everything once.
async fn prepare(arguments: &BenchReloadArguments) -> Result<Experiment, Box<dyn std::error::Error>> {
    let wanted = kinds(arguments).into_iter().map(|(count, _)| u64::from(count)).sum::<u64>() + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        // the command inherits it, so it stays as it is where that is enough
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).map_err(|_| {
            format!("{wanted} open files are needed for that many clients, and the limit is lower; see `ulimit -Hn`")
        })?;
    }
    let target = BenchTarget::reach(arguments).await?;
    let experiment = Experiment::new(target, arguments.timeout, arguments.status);
    probe::probe(&experiment, arguments).await?;
    Ok(experiment)
}

/// How many clients of each kind.
fn kinds(arguments: &BenchReloadArguments) -> [(u32, ClientKind); 5] {
    [
        (arguments.fresh, ClientKind::Fresh),
        (arguments.connections, ClientKind::Busy),
        (arguments.idle, ClientKind::Idle),
        (arguments.downloads.min(arguments.download.as_ref().map_or(0, |_| u32::MAX)), ClientKind::Download),
        (arguments.tunnels.min(arguments.websocket.as_ref().map_or(0, |_| u32::MAX)), ClientKind::Tunnel),
    ]
}

/// The clients in words.
fn crowd(arguments: &BenchReloadArguments) -> String {
    let some = kinds(arguments).into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = some.map(|(count, kind)| format!("{count} {}", kind.name())).collect();
    format!("{} clients", words.join(", "))
}

/// Starts them one after the other in the first half of the phase before.
fn start(experiment: &Rc<Experiment>, arguments: &BenchReloadArguments) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for (count, kind) in kinds(arguments) {
        for nth in 0..count {
            let delay = arguments.before.mul_f64(f64::from(nth) / f64::from(count) / 2.0);
            let client = client(experiment.clone(), kind, nth, arguments);
            let experiment = experiment.clone();
            clients.spawn_local(async move {
                experiment.pause(delay).await;
                client.await;
            });
        }
    }
    clients
}

fn client(
    experiment: Rc<Experiment>,
    kind: ClientKind,
    nth: u32,
    arguments: &BenchReloadArguments,
) -> impl Future<Output = ()> + 'static {
    let (path, quiet) = (arguments.url.path.clone(), arguments.quiet);
    let websocket = arguments.websocket.clone().unwrap_or_else(|| path.clone());
    let large = arguments.download.clone().unwrap_or_else(|| path.clone());
    async move {
        match kind {
            ClientKind::Fresh => fresh(experiment, path).await,
            ClientKind::Busy => keep(experiment, kind, path, BUSY_PAUSE, nth).await,
            ClientKind::Idle => keep(experiment, kind, path, quiet, nth).await,
            ClientKind::Download => download(experiment, large).await,
            ClientKind::Tunnel => tunnel(experiment, websocket).await,
        }
    }
}

/// Waits for the clients, each of which opens a connection and makes one request at most, and looks whether it is over.
async fn finish(clients: &mut JoinSet<()>, patience: Duration) {
    let all = async {
        while let Some(ended) = clients.join_next().await {
            if let Err(fault) = ended
                && let Ok(panic) = fault.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    };
    let _ = timeout(patience * 3, all).await; // a client that takes longer is a mistake here, and ends all the same
}

/// Nothing was measured.
fn unable(fault: &(dyn std::error::Error + 'static)) -> ExitCode {
    complain(fault);
    ExitCode::from(2)
}

//! The process that serves: one generation, made from one configuration and this binary.
//!
//! [`lifecycle`] has the messages with the supervisor, `first_messages` those before it is built, [`configuration`] and
//! [`sockets`] what the worker is made from, [`threads`] the threads that serve, [`watch`] the checks of the servers,
//! [`moving`] how connections come from the generation before and go to the next, [`saved_state`] the state for the next
//! generation, [`memory`] the use of memory.

mod admin;
mod arrivals;
mod certificates;
pub mod configuration;
mod connections;
mod expiry;
mod first_messages;
pub mod lifecycle;
pub mod link;
pub mod memory;
pub mod moving;
mod order;
mod pong;
pub mod renewer;
pub mod saved_state;
mod secrets;
mod serving;
pub mod sockets;
pub mod start_failure;
pub mod threads;
mod ticket_keys;
pub mod watch;

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::LocalOptions;

use self::link::SupervisorLink;
use crate::observe::journal::panics_never_wait;
use crate::sys;

/// Runs as a worker. Standard input is the channel to the supervisor that started this process.
#[must_use]
pub fn run() -> ExitCode {
    // /proc/self/fd/N would be the name otherwise; it cannot fail for a name this short
    let _ = rustix::thread::set_name(c"segue-worker");
    // only the supervisor ends a worker; a terminal or a service manager that signals the whole group must not
    let _ = sys::ignore_signals();
    panics_never_wait();
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(fault) => {
            eprintln!("segue worker: no runtime: {fault}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match SupervisorLink::from_stdin() {
            Ok(link) => lifecycle::run(link).await,
            Err(fault) => {
                eprintln!("segue worker: {fault}: it is started by `segue run`, never by hand");
                ExitCode::FAILURE
            }
        }
    });
    // dropped, it would wait for getaddrinfo(3), which asks a silent DNS server for 10 s, and a restart would wait
    // too
    runtime.shutdown_background();
    code
}

/// Raises the limit of open files to what the service may have; a terminal starts programs with a far lower one.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // if it fails, the threads use the limit that there is
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

//! `segue generations`: every generation that has a process, once or again each second.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::reload::{not_asked, unexpected};
use super::status::TIMEOUT;
use super::{GenerationsArguments, print, table};
use crate::control::request::{ControlReply, RequestError, Wish, ask};
use crate::control::status::ServiceStatus;

/// Prints the table once, or each second.
#[must_use]
pub fn run(arguments: GenerationsArguments) -> ExitCode {
    let GenerationsArguments { run_dir, watch, json } = arguments;
    let run_dir = run_dir.path();
    let clears = io::stdout().is_terminal() && !json;
    if watch {
        return follow(&run_dir, |status| shown(status, json, true), clears);
    }
    match ask(&run_dir, Wish::Status, TIMEOUT) {
        Ok(ControlReply::Status(status)) => print(&shown(&status, json, false)),
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

/// Shows the status each second until the output is closed or the service ends.
fn follow(run_dir: &Path, show: impl Fn(&ServiceStatus) -> String, clears: bool) -> ExitCode {
    let mut seen = false;
    loop {
        let status = match ask(run_dir, Wish::Status, TIMEOUT) {
            Ok(ControlReply::Status(status)) => status,
            Ok(reply) => return unexpected(&reply),
            Err(RequestError::NobodyThere { .. } | RequestError::Closed | RequestError::Talk(_)) if seen => {
                eprintln!("segue: the service has ended");
                return ExitCode::SUCCESS;
            }
            Err(fault) => return not_asked(&fault),
        };
        let block = show(&status);
        // the cursor to the first line, the table, and the rest of the screen cleared
        let text = if clears { format!("\x1b[H{}\x1b[J", block.replace('\n', "\x1b[K\n")) } else { block };
        let mut out = io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return ExitCode::SUCCESS; // as in `segue generations --watch | head`
        }
        drop(out);
        seen = true;
        if !pause() {
            return ExitCode::SUCCESS;
        }
    }
}

/// Waits until the next status is due; `false` as soon as the output is closed.
fn pause() -> bool {
    let stdout = io::stdout();
    // without events in the request, poll reports a closed other end only
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let gone = rustix::event::poll(&mut watched, Some(&AGAIN)).is_ok_and(|ready| ready > 0);
    !gone
}

/// The table, or the list as JSON. Tables that follow each other have an empty line between them, lists have one line each.
fn shown(status: &ServiceStatus, json: bool, again: bool) -> String {
    let list = &status.generations;
    match (json, again) {
        (true, true) => serde_json::to_string(list).unwrap_or_default() + "\n",
        (true, false) => table::json(list) + "\n",
        (false, true) => table::generations(list) + "\n",
        (false, false) => table::generations(list),
    }
}

const AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

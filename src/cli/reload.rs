//! `segue reload`: asks for a new generation, or confirms it, and waits for the verdict.

use std::process::ExitCode;

use super::{Reload, complain};
use crate::control::request::{Conditions, ControlReply, RequestError, Wish, ask};
use crate::observe::journal::stderr_is_journal;

/// Prints the verdict of one reload that began after the call.
#[must_use]
pub fn run(arguments: Reload) -> ExitCode {
    let Reload { run_dir, timeout, force, confirm, confirmed } = arguments;
    let conditions = Conditions { force, confirm };
    let wish = match confirmed {
        true => Wish::Confirmed,
        // what every supervisor understands, also one of an earlier version
        false if conditions == Conditions::default() => Wish::Reload,
        false => Wish::ReloadWith(conditions),
    };
    match ask(&run_dir.path(), wish, timeout) {
        Ok(ControlReply::Verdict(verdict)) if verdict.is_good() => {
            println!("{verdict}");
            ExitCode::SUCCESS
        }
        Ok(ControlReply::Verdict(verdict)) => {
            let text = verdict.to_string();
            // under systemd the supervisor has told the journal all of it already
            let last = text.trim_end().lines().next_back().unwrap_or_default();
            eprintln!("{}", if stderr_is_journal() { last } else { &text });
            ExitCode::FAILURE
        }
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

/// Says why there is no answer, and what to do about it.
pub(super) fn not_asked(fault: &RequestError) -> ExitCode {
    complain(fault);
    match fault {
        RequestError::NobodyThere { .. } => {
            eprintln!("hint: start it with `systemctl start proxy`, or say with --run-dir where it runs");
        }
        RequestError::Connect { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("hint: only root, the user of the service and members of its group may ask: try `sudo`");
        }
        RequestError::Closed => {
            eprintln!("hint: only root and the user of the service may ask; `journalctl -u proxy` says more")
        }
        RequestError::Connect { .. } | RequestError::Talk(_) | RequestError::Late(_) => {
            eprintln!("hint: `journalctl -u proxy` says more");
        }
    }
    ExitCode::FAILURE
}

/// Says what was answered instead of what was asked.
pub(super) fn unexpected(reply: &ControlReply) -> ExitCode {
    match reply {
        ControlReply::Declined(why) => eprintln!("segue: the supervisor declined: {why}"),
        ControlReply::Verdict(_) | ControlReply::Status(_) | ControlReply::Sources(_) => {
            eprintln!("segue: the supervisor answered another question")
        }
    }
    ExitCode::FAILURE
}

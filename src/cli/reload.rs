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
        // a supervisor of an earlier version understands this too
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
            // under systemd the supervisor has written all of it to the journal already
            let last = text.trim_end().lines().next_back().unwrap_or_default();
            eprintln!("{}", if stderr_is_journal() { last } else { &text });
            ExitCode::FAILURE
        }
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

/// Reports why there is no reply, and what to do about it.
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

/// Reports a reply that does not belong to the request.
pub(super) fn unexpected(reply: &ControlReply) -> ExitCode {
    match reply {
        ControlReply::Declined(why) => eprintln!("segue: the supervisor declined: {why}"),
        ControlReply::Verdict(_)
        | ControlReply::Status(_)
        | ControlReply::Sources(_)
        | ControlReply::Recent(_)
        | ControlReply::Asked { .. }
        | ControlReply::Administered { .. }
        | ControlReply::Debugging { .. } => {
            eprintln!("segue: the supervisor answered another question")
        }
    }
    ExitCode::FAILURE
}

//! The command that makes records in the DNS, called as `exec` of lego calls it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::AcmeError;
use crate::sys;

/// What the command is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookAction {
    /// Make the record.
    Present,
    /// Remove it.
    CleanUp,
}

/// How long the command may take: name servers may need minutes to have a record.
const DEADLINE: Duration = Duration::from_secs(5 * 60);
/// How much of what it says is kept.
const SAID: u64 = 500;

/// Runs the command for the record of this host, and waits for it.
///
/// # Errors
/// When it could not be run, failed, or took too long; with the end of what it said.
pub async fn run(command: &Path, action: HookAction, host: &str, value: &str) -> Result<(), AcmeError> {
    let failed = |why: String| AcmeError::Hook(format!("{}: {why}", command.display()));
    let system = |error: std::io::Error| failed(error.to_string());
    let word = if action == HookAction::Present { "present" } else { "cleanup" };
    let mut said =
        File::from(rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC).map_err(|error| system(error.into()))?);
    let output = || said.try_clone().map(Stdio::from);
    let mut process = Command::new(command);
    process.arg(word).arg(format!("_acme-challenge.{host}.")).arg(value);
    process.stdin(Stdio::null()).stdout(output().map_err(system)?).stderr(output().map_err(system)?);
    let mut child = process.spawn().map_err(system)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.ok_or_else(|| failed("it has no process".to_owned()))?;
    let pidfd = rustix::process::pidfd_open(pidfd, PidfdFlags::empty()).map_err(|error| system(error.into()))?;
    let watched = sys::watch_readable(pidfd).map_err(system)?;
    let ended = tokio::time::timeout(DEADLINE, watched.readable()).await;
    if ended.is_err() {
        // it may end in this moment
        let _ = rustix::process::pidfd_send_signal(watched.get_ref(), Signal::KILL);
    }
    let status = child.wait().map_err(system)?;
    if ended.is_ok() && status.success() {
        return Ok(());
    }
    let how = if ended.is_err() { format!("it took longer than {} s", DEADLINE.as_secs()) } else { status.to_string() };
    Err(failed(format!("{how}{}", last_words(&mut said))))
}

fn last_words(said: &mut File) -> String {
    let length = said.metadata().map_or(0, |about| about.len());
    let mut text = Vec::new();
    let read = said
        .seek(SeekFrom::Start(length.saturating_sub(SAID)))
        .and_then(|_| said.by_ref().take(SAID).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if read.is_err() || words.is_empty() { String::new() } else { format!(": {words}") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_command_is_called_as_lego_calls_it_and_what_it_says_is_told_when_it_fails() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hook");
        let script =
            "#!/bin/sh\necho \"$@\" >> \"$0.log\"\nif [ \"$1\" = cleanup ]; then echo no zone >&2; exit 3; fi\n";
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
        run(&path, HookAction::Present, "a.test", "value").await.expect("success");
        let error = run(&path, HookAction::CleanUp, "a.test", "value").await.expect_err("a failure").to_string();
        assert!(error.ends_with("hook: exit status: 3: no zone"), "{error}");
        let log = std::fs::read_to_string(directory.path().join("hook.log")).expect("a log");
        assert_eq!(log, "present _acme-challenge.a.test. value\ncleanup _acme-challenge.a.test. value\n");
        let error = run(Path::new("/nothing"), HookAction::Present, "a", "b").await.expect_err("no program");
        assert!(error.to_string().starts_with("dns_hook: /nothing: No such file"), "{error}");
    }
}

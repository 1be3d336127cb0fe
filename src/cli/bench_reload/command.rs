//! The command that reloads the proxy.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::sys;

/// How much of what it says is shown, of the end.
const SAID: u64 = 2000;

/// One run of it.
#[derive(Debug)]
pub(super) struct ReloadCommandRun {
    pub(super) took: Duration,
    /// What went wrong, and what the command said.
    pub(super) failure: Option<(String, String)>,
}

/// Runs it and waits for its end; dropped before, it kills it.
///
/// It stays in the process group of this command: sudo(8) can ask for a password, and Ctrl-C goes to both.
pub(super) async fn run_reload(command: &str, deadline: Duration) -> ReloadCommandRun {
    let began = Instant::now();
    let failure = match attempt(command, deadline).await {
        Ok(failure) => failure,
        Err(error) => Some((format!("cannot be run: {error}"), String::new())),
    };
    ReloadCommandRun { took: began.elapsed(), failure }
}

async fn attempt(command: &str, deadline: Duration) -> io::Result<Option<(String, String)>> {
    let mut said = File::from(rustix::fs::memfd_create("reload", MemfdFlags::CLOEXEC)?);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let mut running = RunningCommand(sys::unblock_signals(&mut shell).spawn()?);
    let watched = sys::watch_readable(pidfd_open(Pid::from_child(&running.0), PidfdFlags::empty())?)?;
    if tokio::time::timeout(deadline, watched.readable()).await.is_err() {
        drop(running);
        let late = format!("took longer than {}, and was killed", humantime::format_duration(deadline));
        return Ok(Some((late, last_words(&mut said))));
    }
    let status = running.0.wait()?;
    Ok((!status.success()).then(|| (status.to_string(), last_words(&mut said))))
}

/// The command while it runs: nothing of it stays behind.
struct RunningCommand(Child);

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // of one that has ended the status is known, and no signal is sent
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn last_words(said: &mut File) -> String {
    let length = said.metadata().map_or(0, |about| about.len());
    let mut text = Vec::new();
    let read = said
        .seek(SeekFrom::Start(length.saturating_sub(SAID)))
        .and_then(|_| said.by_ref().take(SAID).read_to_end(&mut text));
    if read.is_err() { String::new() } else { String::from_utf8_lossy(&text).trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_fails_or_takes_too_long_is_told_with_what_it_said() {
        let deadline = Duration::from_secs(20);
        assert!(run_reload("true", deadline).await.failure.is_none());
        let (how, said) = run_reload("echo out; echo no such unit >&2; exit 5", deadline).await.failure.expect("one");
        assert_eq!((how.as_str(), said.as_str()), ("exit status: 5", "out\nno such unit"));
        let (how, _) = run_reload("exec tail -f /dev/null", Duration::from_millis(20)).await.failure.expect("one");
        assert_eq!(how, "took longer than 20ms, and was killed");
        let (how, said) = run_reload("no-such-command-at-all", deadline).await.failure.expect("one");
        assert!(how.ends_with("127") && said.contains("not found"), "{how}: {said}");
    }
}

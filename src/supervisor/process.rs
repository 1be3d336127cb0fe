//! Processes of workers: from which binary, how started, how watched.
//!
//! A worker is started through a descriptor of its binary, never through the path: a package upgrade may replace the
//! file at any time, and a worker that died must be replaced by the same program, not by whatever lies there now.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::control::channel::Channel;

/// A binary, held open: the same program for as long as this lives.
#[derive(Clone, Debug)]
pub struct Image {
    file: Arc<File>,
    path: PathBuf,
    program: Program,
}

/// Which program a file is. Equal for the same file with nothing written to it since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
}

/// The process of a worker.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Image {
    /// Opens what lies at `path` now.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::from(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
        let known = file.metadata()?;
        let program = Program {
            device: known.dev(),
            inode: known.ino(),
            size: known.len(),
            written: (known.mtime(), known.mtime_nsec()),
        };
        Ok(Self { file: Arc::new(file), path: path.to_owned(), program })
    }

    /// Which program it is.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }

    /// The path of this process' own binary: the installed one, also after that was replaced.
    ///
    /// # Errors
    /// When there is no /proc.
    pub fn installed_path() -> io::Result<PathBuf> {
        let path = std::env::current_exe()?;
        let text = path.to_string_lossy();
        Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
    }

    /// Starts it as a worker whose standard input is `channel`.
    ///
    /// # Errors
    /// Whatever `execve(2)` says.
    pub fn start(&self, channel: Channel) -> io::Result<Process> {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(&self.path).arg("worker").stdin(Stdio::from(OwnedFd::from(channel)));
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        if std::env::var_os(PURGE_DELAY.0).is_none() {
            command.env(PURGE_DELAY.0, PURGE_DELAY.1);
        }
        // a key press in the terminal is for the supervisor, which tells its workers
        command.process_group(0);
        let child = command.spawn()?;
        watch(child)
    }
}

impl Process {
    /// The process id, for people.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. To a process that is gone already it does nothing.
    pub fn signal(&self, signal: Signal) {
        // by descriptor: a process id may belong to somebody else by now
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// How it ended, once it did.
    ///
    /// # Errors
    /// When somebody else waited for it.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it ended.
    ///
    /// # Errors
    /// When somebody else waited for it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

/// Readable once the process ended.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// How a process ended, as the rest of a sentence about it.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

/// Bytes of memory that nobody else has any of, of a process that runs. A child is readable to its parent even where
/// other processes are hidden.
#[must_use]
pub fn memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map_while(|number| number.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
}

fn signal_name(number: i32) -> String {
    let known = [
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::BUS, "SIGBUS"),
        (Signal::ILL, "SIGILL"),
        (Signal::FPE, "SIGFPE"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::SYS, "SIGSYS (a system call that is not allowed)"),
    ];
    let name = known.iter().find(|(signal, _)| signal.as_raw() == number);
    name.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

fn watch(mut child: Child) -> io::Result<Process> {
    let pid = Pid::from_child(&child);
    // the child cannot be reaped by anybody else, so the number is still its own
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Process { child, pidfd }),
        Err(fault) => {
            child.kill()?;
            child.wait()?;
            Err(fault.into())
        }
    }
}

/// Milliseconds after which a worker's allocator gives free memory back to the kernel, read when the process starts. It
/// is what busy connections leave to idle ones: with the allocator's own second most of it stays. None at all costs a
/// fifth more CPU.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");

/// What systemd says to the supervisor alone.
const NOT_INHERITED: [&str; 9] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS_FIRST_FD",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
];

#[cfg(test)]
impl Program {
    /// Another one than the default.
    pub(super) fn other() -> Self {
        Self { inode: 1, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(path: &str) -> (Process, Channel) {
        let (here, there) = Channel::pair().expect("pair");
        let image = Image::open(Path::new(path)).expect("open");
        (image.start(there).expect("start"), here)
    }

    #[test]
    fn a_program_that_fails_is_told_by_its_status() {
        let (mut process, _channel) = start("/bin/false");
        assert_eq!(ending(process.wait().expect("wait")), "exited with status 1");
    }

    #[test]
    fn a_program_that_is_killed_is_told_by_the_signal() {
        let (mut process, _channel) = start("/bin/cat"); // reads standard input or complains of its argument
        process.signal(Signal::KILL);
        let how = ending(process.wait().expect("wait"));
        assert!(how == "was killed by SIGKILL" || how == "exited with status 1", "{how}");
    }

    #[test]
    fn a_program_replaced_on_disk_is_still_the_same_program() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("worker");
        std::fs::copy("/bin/false", &path).expect("copy");
        let image = Image::open(&path).expect("open");
        std::fs::remove_file(&path).expect("remove");
        std::fs::copy("/bin/true", &path).expect("copy");
        let (_here, there) = Channel::pair().expect("pair");
        let mut process = image.start(there).expect("start");
        assert_eq!(ending(process.wait().expect("wait")), "exited with status 1");
    }
}

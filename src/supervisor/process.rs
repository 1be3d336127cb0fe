//! Children of the supervisor: from which binary, how started, how watched.
//!
//! A worker is started through a descriptor of its binary, never through the path: a package upgrade may replace the
//! file at any time, and a worker that died must be replaced by the same program, not by the new file.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use serde::{Deserialize, Serialize};

use crate::control::channel::Channel;

/// A binary, held open: the same program for the life of this value.
#[derive(Clone, Debug)]
pub struct Image {
    file: Arc<File>,
    path: PathBuf,
    program: Program,
}

/// The identity of a program. Equal for the same file with nothing written to it since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
}

/// A child of this process. It outlives the `Child` of the program that started it: the program that runs in this
/// process later can [`Process::adopt`] it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Image {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::from(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
        Self::from_fd(file.into(), path.to_owned())
    }

    /// What was opened at `path`, by its descriptor.
    ///
    /// # Errors
    /// When its metadata cannot be read.
    pub fn from_fd(fd: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let file = File::from(fd);
        let program = Program::of(&file.metadata()?);
        Ok(Self { file: Arc::new(file), path, program })
    }

    /// The identity of the program.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }

    /// The path of this process' own binary: of the installed file, also after it was replaced.
    ///
    /// # Errors
    /// When there is no /proc.
    pub fn installed_path() -> io::Result<PathBuf> {
        let path = std::env::current_exe()?;
        let text = path.to_string_lossy();
        Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
    }

    /// The path that it was opened at; another file may be there by now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path to it wherever the file is, valid for the life of this value and in this process only.
    #[must_use]
    pub fn path_here(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// Whether this process runs it.
    #[must_use]
    pub fn runs_here(&self) -> bool {
        std::fs::metadata("/proc/self/exe").is_ok_and(|own| Program::of(&own) == self.program)
    }

    /// The command that starts it, without the variables that are for the supervisor alone.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.path_here());
        command.arg0(&self.path);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
    }

    /// Starts it as a worker whose standard input is `channel`.
    ///
    /// # Errors
    /// The error of `execve(2)`.
    pub fn start(&self, channel: Channel) -> io::Result<Process> {
        let mut command = self.command();
        command.arg("worker").stdin(Stdio::from(OwnedFd::from(channel)));
        if std::env::var_os(PURGE_DELAY.0).is_none() {
            command.env(PURGE_DELAY.0, PURGE_DELAY.1);
        }
        // a key press in the terminal must reach only the supervisor, which tells its workers
        command.process_group(0);
        Process::adopt(Pid::from_child(&command.spawn()?))
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Program {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), size: file.len(), written: (file.mtime(), file.mtime_nsec()) }
    }
}

impl Process {
    /// Watches the child `pid`, which was not waited for.
    ///
    /// # Errors
    /// When there is no such child. When there is no descriptor left, which is the end of the child.
    pub fn adopt(pid: Pid) -> io::Result<Self> {
        // a child that was not waited for keeps its number, also after its end; no other process has that number
        let running = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(pid), running)?;
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { pid, pidfd }),
            Err(fault) => {
                // its end could never be noticed
                rustix::process::kill_process(pid, Signal::KILL)?;
                rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)?;
                Err(fault.into())
            }
        }
    }

    /// The process id, for people.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The same as a plain number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal. To a process that is gone already it does nothing.
    pub fn signal(&self, signal: Signal) {
        // by descriptor: the process id may belong to another process by now
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Its exit status, once it ended.
    ///
    /// # Errors
    /// When the status was collected elsewhere.
    pub fn ended(&self) -> io::Result<Option<WaitIdStatus>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        Ok(rustix::process::waitid(WaitId::PidFd(self.as_fd()), options)?)
    }

    /// Waits until it ended.
    ///
    /// # Errors
    /// When the status was collected elsewhere.
    pub fn wait(&self) -> io::Result<Option<WaitIdStatus>> {
        let wait = || rustix::process::waitid(WaitId::PidFd(self.as_fd()), WaitIdOptions::EXITED);
        Ok(rustix::io::retry_on_intr(wait)?)
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
pub fn ending(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

/// Bytes of memory of a running process that no other process shares. A parent can read this of a child even where
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

/// The allocator of a worker returns free memory to the kernel after so many milliseconds; it reads this at start.
/// This is the memory that busy connections leave to idle ones: with the allocator's default of a second most of it
/// stays. No delay at all costs a fifth more CPU.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");

/// The variables that systemd sets for the supervisor alone.
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

    fn end_of(process: &Process) -> String {
        ending(&process.wait().expect("wait").expect("it ended"))
    }

    #[test]
    fn a_program_that_fails_is_told_by_its_status() {
        let (process, _channel) = start("/bin/false");
        assert_eq!(end_of(&process), "exited with status 1");
    }

    #[test]
    fn a_program_that_is_killed_is_told_by_the_signal() {
        let (process, _channel) = start("/bin/cat"); // reads standard input or complains of its argument
        process.signal(Signal::KILL);
        let how = end_of(&process);
        assert!(how == "was killed by SIGKILL" || how == "exited with status 1", "{how}");
    }

    #[test]
    fn this_program_is_known_by_its_file() {
        assert!(Image::open(&std::env::current_exe().expect("a path")).expect("open").runs_here());
        assert!(!Image::open(Path::new("/bin/false")).expect("open").runs_here());
    }

    #[test]
    fn a_child_that_ended_is_known_by_its_number_until_it_is_waited_for() {
        let (process, _channel) = start("/bin/false");
        let pid = process.pid;
        drop(process);
        let process = Process::adopt(pid).expect("a child");
        assert_eq!(end_of(&process), "exited with status 1");
        Process::adopt(pid).expect_err("it was waited for");
    }

    #[test]
    fn a_process_that_is_no_child_is_not_adopted() {
        Process::adopt(rustix::process::getpid()).expect_err("no child of its own");
    }

    #[test]
    fn a_program_replaced_on_disk_is_still_the_same_program() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("worker");
        // by another process: a child that another test forks meanwhile would hold a file open that is written here
        let copy = |from| Command::new("/bin/cp").args([Path::new(from), &path]).status().expect("cp");
        assert!(copy("/bin/false").success());
        let image = Image::open(&path).expect("open");
        std::fs::remove_file(&path).expect("remove");
        assert!(copy("/bin/true").success());
        let (_here, there) = Channel::pair().expect("pair");
        let process = image.start(there).expect("start");
        assert_eq!(end_of(&process), "exited with status 1");
    }
}

//! The service, running as systemd would run it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{Names, Notifications, signal, wait_for};

/// The binary under test.
pub const SEGUE: &str = env!("CARGO_BIN_EXE_segue");

/// How a service is to run: its files live as long as this, over several runs.
pub struct Run {
    directory: TempDir,
    notifications: Notifications,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    sockets: Vec<(String, OwnedFd)>,
    /// What the service has for /etc.
    etc: Option<PathBuf>,
    /// What it has for /run/systemd/journal, if its messages go there.
    journal: Option<PathBuf>,
    /// What it has for standard error, if not the log.
    errors: Option<OwnedFd>,
}

/// A service that runs. Dropping it kills the supervisor and the workers that it had.
pub struct Service<'a> {
    run: &'a Run,
    supervisor: Child,
}

impl Run {
    /// A run with this configuration, no sockets, a probation of 300 ms.
    pub fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("run")).expect("a run directory");
        let run = Self {
            notifications: Notifications::new(directory.path()),
            directory,
            arguments: vec!["--probation=300ms".to_owned()],
            variables: Vec::new(),
            sockets: Vec::new(),
            etc: None,
            journal: None,
            errors: None,
        };
        run.configure(config);
        run
    }

    /// Passes a socket as systemd would.
    pub fn socket(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        self.sockets.push((name.to_owned(), socket.into()));
        self
    }

    /// Adds an argument of `segue run`; a later one wins.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        let argument = argument.into();
        let name = argument.split('=').next().unwrap_or_default().to_owned();
        self.arguments.retain(|one| one.split('=').next() != Some(&name));
        self.arguments.push(argument);
        self
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Host names are those of `names`, and of nothing else.
    pub fn names(mut self, names: &Names) -> Self {
        self.etc = Some(names.etc.clone());
        self
    }

    /// Messages go to the journal of `names`, which reads none.
    pub fn silent_journal(mut self, names: &Names) -> Self {
        self.journal = Some(names.journal.clone());
        self
    }

    /// Standard error is this, and not the log.
    pub fn errors(mut self, errors: impl Into<OwnedFd>) -> Self {
        self.errors = Some(errors.into());
        self
    }

    /// Waits until the last memory is kept.
    #[track_caller]
    pub fn wait_memory(&self) {
        let path = self.run_dir().join("last-memory");
        wait_for("the memory", || std::fs::metadata(&path).is_ok_and(|about| about.len() > 0).then_some(()));
    }

    /// Writes the configuration.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).expect("write the configuration");
    }

    pub fn config(&self) -> PathBuf {
        self.path("segue.toml")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    pub fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// Starts the service; returns when systemd would say that it is active.
    #[track_caller]
    pub fn start(&self) -> Service<'_> {
        let service = self.spawn();
        self.notifications.wait("READY=1");
        service
    }

    /// Starts the service and does not wait.
    pub fn spawn(&self) -> Service<'_> {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let passed = &self.sockets;
        // LISTEN_PID is the pid of the process itself, which only it knows before it is SEGUE
        let mut script = r#"LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@""#.to_owned();
        if passed.is_empty() {
            script = r#"exec "$0" "$@""#.to_owned();
        }
        let mut command = Command::new("unshare");
        match &self.etc {
            Some(etc) => {
                if let Some(journal) = &self.journal {
                    let about = log.metadata().expect("a log");
                    command.env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()));
                    let place = "/run/systemd/journal";
                    let mount = format!("mount -t tmpfs none /run && mkdir -p {place} && mount --bind");
                    script = format!("{mount} {} {place} && {{ {script}; }}", journal.display());
                }
                script = format!("mount --bind {} /etc && {{ {script}; }}", etc.display());
                command.args(["--user", "--map-root-user", "--mount", "/bin/sh"]);
            }
            None => command = Command::new("/bin/sh"),
        }
        command.args(["-c", &script, SEGUE, "run"]);
        command.arg("--config").arg(self.config()).arg("--run-dir").arg(self.run_dir()).args(&self.arguments);
        command.env("NOTIFY_SOCKET", &self.notifications.path);
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        let mappings = passed
            .iter()
            .zip(3..)
            .map(|((_, socket), child_fd)| FdMapping { parent_fd: socket.try_clone().expect("dup"), child_fd });
        if !passed.is_empty() {
            let names: Vec<_> = passed.iter().map(|(name, _)| name.as_str()).collect();
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        command.fd_mappings(mappings.collect()).expect("descriptors");
        let errors = self.errors.as_ref().map(|errors| errors.try_clone().expect("dup"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.map_or(Stdio::from(log), Stdio::from));
        let supervisor = command.spawn().expect("spawn");
        Service { run: self, supervisor }
    }

    /// Runs a command of `segue` on this run directory.
    pub fn segue(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(SEGUE);
        command.args(arguments).arg("--run-dir").arg(self.run_dir()).stdin(Stdio::null());
        command.output().expect("segue")
    }

    /// What was written to standard error so far, by all processes of all runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the log says `text`.
    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }
}

impl Service<'_> {
    pub fn pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// `segue reload`: whether it succeeded, and all that it printed. Nothing happens when nothing changed.
    pub fn reload(&self) -> (bool, String) {
        self.reload_with(&[])
    }

    /// `segue reload` with these arguments.
    pub fn reload_with(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.run.segue(&[&["reload"], arguments].concat());
        (output.status.success(), printed(&output))
    }

    /// A reload of a changed configuration that must succeed.
    #[track_caller]
    pub fn reload_well(&self) {
        let (good, text) = self.reload();
        assert!(good && !text.contains("nothing changed"), "{text}\n{}", self.run.log());
    }

    /// A reload that must make a new generation, of a configuration that may be the same as before.
    #[track_caller]
    pub fn reload_anyway(&self) {
        let (good, text) = self.reload_with(&["--force"]);
        assert!(good, "{text}\n{}", self.run.log());
    }

    /// `segue status --json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        let output = self.run.segue(&["status", "--json"]);
        assert!(output.status.success(), "{}", printed(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Number, state and pid of every generation.
    pub fn generations(&self) -> Vec<(u64, String, u32)> {
        let status = self.status();
        let list = status["generations"].as_array().expect("a list").clone();
        let one = |value: &Value| {
            let number = value["generation"].as_u64().expect("a number");
            let pid = value["pid"].as_u64().expect("a pid");
            (number, value["state"].as_str().expect("a word").to_owned(), pid as u32)
        };
        list.iter().map(one).collect()
    }

    /// Number and pid of the generation that serves, once one does.
    #[track_caller]
    pub fn serving(&self) -> (u64, u32) {
        wait_for("a generation that serves", || {
            self.generations()
                .into_iter()
                .find(|(_, state, _)| state == "serving")
                .map(|(number, _, pid)| (number, pid))
        })
    }

    /// Waits until exactly one generation is left, and it serves.
    #[track_caller]
    pub fn settled(&self) -> (u64, u32) {
        wait_for("one generation that serves", || match &self.generations()[..] {
            [(number, state, pid)] if state == "serving" => Some((*number, *pid)),
            _ => None,
        })
    }

    pub fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// Waits until the supervisor ended. One that was killed has to be waited for before the next one starts, as systemd
    /// does: on a busy machine it holds its lock a while longer.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the end of the supervisor", || self.supervisor.try_wait().expect("wait"))
    }

    /// Pids of the children of the supervisor.
    pub fn workers(&self) -> Vec<u32> {
        children(self.pid())
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let workers = self.workers();
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        for worker in workers.into_iter().filter(|worker| super::is_alive(*worker)) {
            signal(worker, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("--- log of the service\n{}", self.run.log());
        }
    }
}

/// Pids of the children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

//! A booted Debian with systemd as PID 1, and the package installed in it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use std::{env, process};

use super::{root, wait_for};
use crate::strict::Place;

/// Which Debian.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Release {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Release {
    /// The name that apt knows.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// A running container; it ends with this value, or with the test process.
#[derive(Debug)]
pub(crate) struct Machine {
    guard: Child,
    leader: u32,
    console: PathBuf,
    _processors: Processors,
}

/// Machines run beside each other, but for those of facts about a second.
static PROCESSORS: RwLock<()> = RwLock::new(());

/// What a machine has of the processors, as long as it runs.
#[derive(Debug)]
#[expect(dead_code, reason = "a lock goes with its guard")]
enum Processors {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// What a command in a machine came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Everything that was printed.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Machine {
    /// Boots and waits until systemd has started everything. The network is a loopback of its own.
    pub(crate) fn boot(release: Release) -> Self {
        // a fact that failed is no reason for the others to fail
        Self::boot_with(release, Processors::Shared(PROCESSORS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Boots once no other machine runs, and lets none run beside it; installs the package as a user does.
    pub(crate) fn installed_alone(release: Release) -> Self {
        let alone = Processors::Alone(PROCESSORS.write().unwrap_or_else(PoisonError::into_inner));
        let machine = Self::boot_with(release, alone);
        machine.install(&package());
        machine
    }

    fn boot_with(release: Release, processors: Processors) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("segue-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let root = root::of(release);
        let directory = root::directory().join(&name);
        let mut guard = Command::new("sh")
            .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/support/boot")])
            .args([&root, &directory])
            .arg(&name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut line = String::new();
        BufReader::new(guard.stdout.take().expect("piped")).read_line(&mut line).expect("pid of systemd-nspawn");
        let nspawn: u32 = line.trim().parse().unwrap_or_else(|_| panic!("no pid of systemd-nspawn: {line:?}"));
        let console = root::directory().join(format!("{name}.console"));
        let mut machine = Self { guard, leader: 0, console, _processors: processors };
        machine.leader = wait_for("the container's PID 1", Duration::from_secs(20), || booted_by(nspawn));
        wait_for("systemd in the container", Duration::from_secs(60), || {
            let state = machine.run("systemctl is-system-running").stdout;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        machine
    }

    /// Boots and installs the package as a user does; that starts the service.
    pub(crate) fn installed(release: Release) -> Self {
        let machine = Self::boot(release);
        machine.install(&package());
        machine
    }

    /// Where clients and servers of the test are in the machine's network.
    pub(crate) fn place(&self) -> Place {
        Place::NetworkOf(self.leader)
    }

    /// Copies a .deb into the machine and has apt install it; gives all that was printed.
    pub(crate) fn install(&self, package: &Path) -> String {
        let name = package.file_name().expect("name of the package").to_string_lossy();
        let copied = self
            .command(&format!("cat >/var/tmp/{name}"))
            .stdin(File::open(package).expect("package"))
            .status()
            .expect("nsenter runs");
        assert!(copied.success());
        let outcome = self.run(&format!("cd /var/tmp && apt-get install --yes --quiet ./{name}"));
        assert!(outcome.status.success(), "{}\n{}", outcome.text(), self.state());
        outcome.text()
    }

    /// The version of the package that is installed.
    pub(crate) fn installed_version(&self) -> String {
        self.ok("dpkg-query --show --showformat '${Version}' segue")
    }

    /// Runs a shell command to its end, ten minutes at most.
    pub(crate) fn run(&self, command: &str) -> Outcome {
        let output = self.command(command).stdin(Stdio::null()).output().expect("nsenter runs");
        Outcome {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a shell command that must succeed; gives its standard output without the last line break.
    pub(crate) fn ok(&self, command: &str) -> String {
        let outcome = self.run(command);
        assert!(outcome.status.success(), "{command}\n{}\n{}\n{}", outcome.status, outcome.text(), self.state());
        outcome.stdout.trim_end().to_owned()
    }

    /// A shell command that is not yet started.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut nsenter = Command::new("timeout");
        nsenter
            .args(["--kill-after=5", "600", "nsenter", "--all", "--target", &self.leader.to_string()])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"])
            .args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", command]);
        nsenter
    }

    /// Writes a file in the machine.
    pub(crate) fn write(&self, path: &str, text: &str) {
        use std::io::Write;
        let mut cat = self.command(&format!("cat >'{path}'")).stdin(Stdio::piped()).spawn().expect("nsenter runs");
        cat.stdin.take().expect("piped").write_all(text.as_bytes()).expect("text taken");
        assert!(cat.wait().expect("cat ends").success(), "{path} cannot be written");
    }

    /// Writes `/etc/segue/segue.toml`.
    pub(crate) fn configure(&self, text: &str) {
        self.write("/etc/segue/segue.toml", text);
    }

    /// A property of `proxy.service`.
    pub(crate) fn property(&self, name: &str) -> String {
        self.ok(&format!("systemctl show proxy.service --value --property {name}"))
    }

    /// The states of the http socket and of the service, in words of systemd.
    pub(crate) fn states(&self) -> String {
        self.run("systemctl is-active proxy-http.socket proxy.service").stdout.trim_end().replace('\n', " ")
    }

    /// The process that systemd knows.
    pub(crate) fn supervisor(&self) -> u32 {
        self.property("MainPID").parse().expect("pid")
    }

    /// The workers, oldest first.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let pids = self.run(&format!("pgrep --parent {}", self.supervisor())).stdout;
        pids.lines().map(|pid| pid.parse().expect("pid")).collect()
    }

    /// How many entries of the service match.
    pub(crate) fn entries(&self, matches: &str) -> usize {
        self.ok(&format!(
            "journalctl --sync; journalctl --quiet -u proxy {matches} -o cat --output-fields=PRIORITY | wc -l"
        ))
        .parse()
        .expect("a count")
    }

    /// The readable journal of the service and what systemd says of it: for messages of failed facts.
    pub(crate) fn state(&self) -> String {
        self.run("systemctl status --no-pager --full proxy.service; journalctl --no-pager -u proxy -n 40 -o cat").text()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if self.leader == 0 {
                eprintln!("{}", fs::read_to_string(&self.console).unwrap_or_default());
            } else {
                eprintln!("{}", self.state());
            }
        }
        // The guard ends the container when its standard input ends, and waits for it.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        let _ = fs::remove_file(&self.console);
    }
}

/// The package under test.
pub(crate) fn package() -> PathBuf {
    path_from("SEGUE_DEB")
}

/// The same package with a higher version.
pub(crate) fn next_package() -> PathBuf {
    path_from("SEGUE_DEB_NEXT")
}

fn path_from(variable: &str) -> PathBuf {
    let Some(path) = env::var_os(variable) else { panic!("{variable} must name the package; tests/run does that") };
    PathBuf::from(path)
}

// systemd-nspawn has other children before it starts systemd.
fn booted_by(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    let mut children = children.split_whitespace();
    let leader =
        children.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "systemd\n"));
    leader?.parse().ok()
}

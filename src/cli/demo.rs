//! `segue demo`: a proxy with two servers behind it, in a terminal, to play with. No systemd, no root.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::DemoArguments;
use super::demo_acme::{DemoAuthority, HOST, LEFT};
use crate::supervisor::LEFT_IN_RUN_DIR;
use crate::sys::Signals;

/// The port that is tried first, and how many after it.
const PORTS: std::ops::Range<u16> = 8080..8180;

/// A server behind the demo.
struct DemoProcess {
    name: &'static str,
    process: Child,
    address: String,
}

/// Starts the servers, writes a configuration for them, starts the supervisor, and removes everything when that ends.
#[must_use]
pub fn run(arguments: DemoArguments) -> ExitCode {
    match start(arguments.acme) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE, // it said why
        Err(fault) => {
            eprintln!("segue demo: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn start(acme: bool) -> io::Result<ExitStatus> {
    let program = std::env::current_exe()?;
    let port = free_port()?;
    let folder = make_folder(port)?;
    let servers = [start_server(&program, "north")?, start_server(&program, "south")?];
    let config = folder.join("segue.toml");
    let authority = acme.then(|| DemoAuthority::start(&folder, port)).transpose()?;
    let tables = authority.as_ref().map_or("", |authority| &authority.tables);
    fs::write(&config, configuration(port, &servers) + tables)?;
    println!("{}", hints(&program, port, &folder, &servers, authority.as_ref()));
    let signals = Signals::open(&[Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP])?;
    let mut supervisor = Command::new(&program);
    supervisor.env("STATE_DIRECTORY", &folder);
    supervisor.arg("run").arg("--config").arg(&config).arg("--run-dir").arg(&folder);
    let ended = attend(&mut supervisor.spawn()?, &signals);
    // other files in the folder stay; the servers end with this process
    let own = LEFT_IN_RUN_DIR.iter().map(|name| folder.join(name)).chain([config]);
    own.for_each(|file| drop(fs::remove_file(file)));
    if authority.is_some() {
        LEFT.iter().for_each(|name| drop(fs::remove_file(folder.join(name))));
        // account and certificates are worth nothing without that authority
        let _ = fs::remove_dir_all(folder.join("acme"));
    }
    let _ = fs::remove_dir(&folder);
    ended
}

/// Waits for the end of the supervisor. The terminal sends Ctrl-C and Ctrl-\ to it as well; SIGHUP, which a closed
/// terminal sends, means reload to it, and ends the demo.
fn attend(supervisor: &mut Child, signals: &Signals) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(supervisor);
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut watched = [PollFd::new(signals, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(fault) => return Err(fault.into()),
        }
        while let Some(signal) = signals.next()? {
            if !matches!(signal, Signal::INT | Signal::QUIT) {
                kill_process(pid, Signal::TERM)?;
            }
        }
        if let Some(status) = supervisor.try_wait()? {
            return Ok(status);
        }
    }
}

/// The first free port from 8080 on.
fn free_port() -> io::Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    PORTS.into_iter().find(is_free).ok_or_else(|| io::Error::other("no port from 8080 to 8179 is free"))
}

/// A folder of our own for the configuration and the control socket.
fn make_folder(port: u16) -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let user = rustix::process::getuid().as_raw();
    let folder = runtime.unwrap_or_else(std::env::temp_dir).join(format!("segue-demo-{user}-{port}"));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => return Err(fault),
        _ => {}
    }
    let owner = rustix::fs::stat(&folder)?.st_uid;
    if owner != user {
        return Err(io::Error::other(format!("{} belongs to another user", folder.display())));
    }
    Ok(folder)
}

fn start_server(program: &Path, name: &'static str) -> io::Result<DemoProcess> {
    let mut process =
        Command::new(program).args(["demo-server", name]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let said = process.stdout.take().ok_or_else(|| io::Error::other("a server without standard output"))?;
    let mut address = String::new();
    BufReader::new(said).read_line(&mut address)?;
    let address: SocketAddr = address.trim().parse().map_err(io::Error::other)?;
    Ok(DemoProcess { name, process, address: address.to_string() })
}

fn configuration(port: u16, servers: &[DemoProcess; 2]) -> String {
    let [north, south] = servers;
    format!(
        "# The configuration of the demo. Change it and reload.\n\n\
         [listen.http]\naddress = \"127.0.0.1:{port}\"\n\n\
         [site.\"*\"]\nto = \"demo\"\n\n\
         # \"all\" writes every exchange here, which is much under load\n\
         [log]\naccess = \"errors+slow\"\n\n\
         # each thread has its own round of the servers: with one they take turns from the first answer on\n\
         [worker]\nthreads = 1\n\n\
         [pool.demo]\nservers = [\"{}\", \"{}\"]\ncheck   = \"GET /health\"\n",
        north.address, south.address
    )
}

fn hints(
    program: &Path,
    port: u16,
    folder: &Path,
    servers: &[DemoProcess; 2],
    authority: Option<&DemoAuthority>,
) -> String {
    let (program, folder) = (shown(program), folder.display());
    let mut text = format!(
        "\n  Segue answers at http://127.0.0.1:{port}/ for two servers behind it.{}\n\n  In another terminal:\n\n",
        if port == PORTS.start { "" } else { "  (Port 8080 is taken.)" }
    );
    let mut hint = |command: String, what: &str| {
        let _ = writeln!(text, "    {command}\n        {what}\n"); // a String takes every write
    };
    hint(format!("curl http://127.0.0.1:{port}/"), "both servers take turns");
    hint(format!("ab -k -c 20 -n 200000 http://127.0.0.1:{port}/"), "load, while you try the rest");
    hint(format!("{program} reload --force --run-dir {folder}"), "a fresh worker takes over; no client sees it");
    hint(format!("{program} status --run-dir {folder}"), "what is up, what is served");
    if let Some(DemoAuthority { port, .. }) = authority {
        let resolve = format!("--insecure --resolve {HOST}:{port}:127.0.0.1");
        hint(format!("curl {resolve} https://{HOST}:{port}/"), "over TLS, with the certificate that was just issued");
        hint(format!("{program} certs --run-dir {folder}"), "which that is, and when it is renewed");
    }
    for server in servers {
        hint(format!("kill {}", server.process.id()), &format!("{} is gone; the other one answers", server.name));
    }
    hint(format!("$EDITOR {folder}/segue.toml"), "then reload: a mistake is refused and explained, and nothing stops");
    text.push_str("  Ctrl-C ends it. What happens is told here:\n");
    text
}

/// The program as it can be typed in this shell.
fn shown(program: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| program.strip_prefix(here).ok().map(Path::to_path_buf));
    relative.unwrap_or_else(|| program.to_path_buf()).display().to_string()
}

//! What the facts are told with: a [`Service`] that runs, systemd's end of its [`Notifications`], small clients.

mod answering;
pub mod ari;
mod asked;
mod names;
mod notifications;
pub mod pebble;
mod proxy;
pub mod sealed;
mod server;
mod service;
mod site;
mod wire;
mod witness;

pub use answering::Answering;
pub use asked::Asked;
pub use names::Names;
pub use notifications::{Notification, Notifications};
pub use proxy::Proxy;
pub use server::Server;
pub use service::{Run, SEGUE, Service, children};
pub use site::Site;
pub use wire::{Answer, Ending, Head, Wire};
pub use witness::Witness;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

/// How long anything may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A listening socket on a free port, as systemd would make it, and where it is.
///
/// Each is on a loopback address of its own: a port that one fact has given back must not come to another, whose
/// server would then hear what was meant for the first.
pub fn socket() -> (TcpListener, SocketAddr) {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let socket = TcpListener::bind((Ipv4Addr::new(127, 1 + high, low, 1), 0)).expect("a free port");
    let address = socket.local_addr().expect("address");
    (socket, address)
}

/// A port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    socket().1
}

/// One request on a fresh connection: the answer, or why there was none.
pub fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut client = TcpStream::connect_timeout(&address, DEADLINE)?;
    client.set_read_timeout(Some(DEADLINE))?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    // one buffer's worth: what the answer says is not what these facts are about
    let mut answer = vec![0; 64 << 10];
    let length = client.read(&mut answer)?;
    answer.truncate(length);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether `address` answers a request now.
#[track_caller]
pub fn assert_serves(address: SocketAddr) {
    let answer = get(address).expect("an answer");
    assert!(answer.starts_with("HTTP/1."), "{answer:?}");
}

/// Sends to a datagram socket that nothing reads, until it takes no more.
pub fn fill(path: &Path) {
    let sender = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    sender.set_nonblocking(true).expect("nonblocking");
    while sender.send_to(b"full", path).is_ok() {}
}

/// A client that asks again and again on fresh connections, until this is dropped.
pub struct Asking {
    stop: Arc<AtomicBool>,
    client: Option<JoinHandle<std::io::Result<u64>>>,
}

impl Asking {
    pub fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let client = std::thread::spawn(move || {
            let mut served = 0;
            while !stopped.load(Ordering::Relaxed) {
                let answer = get(address)?;
                if !answer.starts_with("HTTP/1.") {
                    return Err(std::io::Error::other(format!("{answer:?} after {served} answers")));
                }
                served += 1;
            }
            Ok(served)
        });
        Self { stop, client: Some(client) }
    }

    /// Stops; every request must have been answered.
    #[track_caller]
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let client = self.client.take().expect("ended once");
        let served = client.join().expect("the client").expect("every request answered");
        assert!(served > 0);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Signals a process.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("kill");
}

/// Sends a signal to a process that may have ended. Whether it was there.
pub fn may_signal(pid: u32, signal: rustix::process::Signal) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, signal).is_ok()
}

/// Leaves a process room for so many more descriptors. Gives the limit that there was.
pub fn leave_files(pid: u32, free: usize) -> Rlimit {
    let used: Vec<u64> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the descriptors of a process")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().parse().expect("a number"))
        .collect();
    let current = (0..).filter(|number| !used.contains(number)).nth(free);
    limit_files(pid, Rlimit { current, maximum: getrlimit(Resource::Nofile).maximum })
}

/// Limits the descriptors of a process. Gives the limit that there was.
pub fn limit_files(pid: u32, limit: Rlimit) -> Rlimit {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    prlimit(Some(pid), Resource::Nofile, limit).expect("prlimit")
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    !matches!(state, Some('Z' | 'X') | None)
}

/// Which file it is.
pub fn file(path: impl AsRef<Path>) -> (u64, u64) {
    let file = std::fs::metadata(path).expect("a file");
    (file.dev(), file.ino())
}

/// The file that a process runs.
pub fn executable(pid: u32) -> (u64, u64) {
    file(format!("/proc/{pid}/exe"))
}

/// Copies a program. Another process does it: a child that some other fact starts just now would have the file open for
/// writing for a moment, and a file like that cannot be executed.
pub fn copy(program: impl AsRef<Path>, to: &Path) {
    let copied = Command::new("cp").arg(program.as_ref()).arg(to).status().expect("cp");
    assert!(copied.success());
}

/// As a package manager does: a new file takes the name.
pub fn replace(path: &Path, with: impl AsRef<Path>) {
    let new = path.with_extension("new");
    copy(with, &new);
    std::fs::rename(new, path).expect("rename");
}

//! HAProxy, on a file of 2011.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::support::wait_for;

/// It runs as long as this lives.
pub struct HaProxy {
    directory: TempDir,
    process: Mutex<Child>,
}

impl HaProxy {
    /// One on this file, once it accepts at `address`.
    #[track_caller]
    pub fn start(old: &str, address: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("haproxy.cfg");
        std::fs::write(&config, modern(old)).expect("written");
        let log = File::create(directory.path().join("log")).expect("a log");
        let path = std::env::var("PATH").unwrap_or_default();
        let process = Command::new("haproxy")
            .env("PATH", format!("{path}:/usr/sbin"))
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("dup"))
            .stderr(log)
            .spawn()
            .expect("haproxy (apt install haproxy)");
        let haproxy = Self { directory, process: Mutex::new(process) };
        wait_for("HAProxy", || {
            assert!(haproxy.is_running(), "{}", haproxy.log());
            TcpStream::connect(address).ok()
        });
        haproxy
    }

    fn is_running(&self) -> bool {
        self.process.lock().expect("a process").try_wait().expect("wait").is_none()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let mut process = self.process.lock().expect("a process");
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// The file in the spelling of today. One thread has one round of servers; log, user and sockets of the machine are left out.
fn modern(old: &str) -> String {
    let left_out = ["log ", "user ", "group ", "pidfile ", "stats socket "];
    let mut text = String::new();
    for line in old.lines().filter(|line| !left_out.iter().any(|word| line.trim_start().starts_with(word))) {
        let line = [
            ("nbproc 4", "nbthread 1"),
            ("contimeout", "timeout connect"),
            ("clitimeout", "timeout client"),
            ("srvtimeout", "timeout server"),
        ]
        .iter()
        .fold(line.to_owned(), |line, (before, now)| line.replace(before, now));
        text = text + &line + "\n";
    }
    text
}

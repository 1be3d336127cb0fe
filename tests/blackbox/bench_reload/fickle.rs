//! A small server that does one thing to its connections at a "reload", which is a file that appears.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{socket, wait_for};

/// What it does to connections that were open when it was reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fickleness {
    /// Nothing.
    None,
    /// Closes them while they are idle; tunnels too.
    Closes,
    /// Tells them to close with the next answer.
    Tells,
    /// Closes them at the next request, without an answer.
    Drops,
    /// Closes them in the middle of the next answer.
    Cuts,
    /// Answers the next request with 503.
    Fails,
}

/// The server. Its threads end with its clients.
pub struct FickleServer {
    pub address: SocketAddr,
    files: PathBuf,
    counts: Arc<Counts>,
}

/// Connections and tunnels with an answer, opened before the reload and after it.
#[derive(Default)]
struct Counts {
    before: AtomicUsize,
    after: AtomicUsize,
}

impl FickleServer {
    /// Its files are in this directory.
    pub fn start(fickleness: Fickleness, files: &Path) -> Self {
        let (listener, address) = socket();
        let (files, counts) = (files.to_owned(), Arc::new(Counts::default()));
        let (folder, shared) = (files.clone(), counts.clone());
        std::thread::spawn(move || accept(&listener, fickleness, &folder, &shared));
        Self { address, files, counts }
    }

    /// A command that reloads it once, when so many connections are answered, and ends when so many new ones are.
    pub fn reload(&self) -> String {
        let wait = |name: &str| format!("until [ -e {} ]; do sleep 0.05; done", self.files.join(name).display());
        format!("{}; touch {}; {}", wait("go"), reloaded(&self.files).display(), wait("over"))
    }

    /// Lets the command do so.
    pub fn reload_once(&self, before: usize, after: usize) {
        wait_for("all connections", || (self.counts.before.load(Ordering::Relaxed) >= before).then_some(()));
        std::fs::write(self.files.join("go"), "").expect("written");
        wait_for("new connections", || (self.counts.after.load(Ordering::Relaxed) >= after).then_some(()));
        std::fs::write(self.files.join("over"), "").expect("written");
    }
}

fn reloaded(files: &Path) -> PathBuf {
    files.join("reloaded")
}

fn accept(listener: &TcpListener, fickleness: Fickleness, files: &Path, counts: &Arc<Counts>) {
    while let Ok((stream, _)) = listener.accept() {
        let (files, counts) = (files.to_owned(), counts.clone());
        // accepted before the reload, or after it
        let is_new = reloaded(&files).exists();
        std::thread::spawn(move || {
            let fickleness = if is_new { Fickleness::None } else { fickleness };
            let count = if is_new { &counts.after } else { &counts.before };
            let _ = serve(stream, fickleness, &files, count); // a client may go at any time
        });
    }
}

fn serve(mut stream: TcpStream, fickleness: Fickleness, files: &Path, answered: &AtomicUsize) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(10)))?;
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    let (mut is_first, mut is_tunnel) = (true, false);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) if is_tunnel => stream.write_all(&buffer[..length])?,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(fault) => return Err(fault),
        }
        let is_reloaded = reloaded(files).exists();
        if is_reloaded && fickleness == Fickleness::Closes {
            return Ok(());
        }
        if is_tunnel || !received.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&std::mem::take(&mut received)).to_ascii_lowercase();
        let is_missing = head.starts_with("get /missing");
        is_tunnel = head.contains("upgrade: websocket") && !is_missing;
        let (status, fields) = match fickleness {
            _ if is_tunnel => ("101 Switching Protocols", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
            _ if is_missing => ("404 Not Found", "Content-Length: 4\r\n"),
            Fickleness::Tells if is_reloaded => ("200 OK", "Connection: close\r\nContent-Length: 4\r\n"),
            Fickleness::Drops if is_reloaded => return Ok(()),
            Fickleness::Cuts if is_reloaded => ("200 OK", "Content-Length: 5\r\n"),
            Fickleness::Fails if is_reloaded => ("503 Service Unavailable", "Content-Length: 4\r\n"),
            _ => ("200 OK", "Content-Length: 4\r\n"),
        };
        write!(stream, "HTTP/1.1 {status}\r\n{fields}\r\n{}", if is_tunnel { "" } else { "body" })?;
        if is_reloaded && matches!(fickleness, Fickleness::Tells | Fickleness::Cuts | Fickleness::Fails) {
            return Ok(());
        }
        if std::mem::take(&mut is_first) {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

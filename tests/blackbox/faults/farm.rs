//! Servers of the test itself, which can be killed, started again and made silent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::wait_for;

/// How a server treats its connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// Keeps them.
    Keeping,
    /// Closes each after one answer, without a word.
    Closing,
    /// The same, a moment later, or just as the next request comes, of which it takes no notice.
    ClosingLate,
}

/// A pool of servers.
pub struct Farm {
    servers: Vec<Server>,
}

struct Server {
    address: SocketAddr,
    manners: Manners,
    life: Option<Arc<Life>>,
}

/// One life of a server.
struct Life {
    dead: AtomicBool,
    silent: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Farm {
    pub fn new(count: usize, manners: Manners) -> Self {
        let servers = (0..count).map(|_| Server::new(manners));
        Self { servers: servers.collect() }
    }

    /// A configuration of this farm, with `keys` for its pool.
    pub fn config(&self, keys: &str) -> String {
        let addresses: Vec<_> = self.servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
        let servers = addresses.join(", ");
        format!("[site.\"*\"]\nto = \"farm\"\n[pool.farm]\nservers = [{servers}]\n{keys}\n")
    }

    /// The server is gone, and its connections with it.
    pub fn kill(&mut self, server: usize) {
        self.servers[server].kill();
    }

    /// The server is back.
    pub fn revive(&mut self, server: usize) {
        self.servers[server].start();
    }

    /// The server takes connections and says nothing, as a process that was stopped.
    pub fn silence(&self, server: usize) {
        if let Some(life) = &self.servers[server].life {
            life.silent.store(true, Ordering::Relaxed);
        }
    }
}

impl Server {
    fn new(manners: Manners) -> Self {
        let mut server = Self { address: crate::support::free_address(), manners, life: None };
        server.start();
        server
    }

    fn start(&mut self) {
        let address = self.address;
        let listener = wait_for("the port of the server", || TcpListener::bind(address).ok());
        let life = Arc::new(Life {
            dead: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        self.life = Some(life.clone());
        let manners = self.manners;
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if life.dead.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let life = life.clone();
                std::thread::spawn(move || life.serve(&stream, manners));
            }
        });
    }

    fn kill(&mut self) {
        let Some(life) = self.life.take() else { return };
        life.dead.store(true, Ordering::Relaxed);
        for stream in life.open.lock().expect("streams").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // the listener ends with the next connection
        let _ = TcpStream::connect(self.address);
        wait_for("the end of the server", || TcpStream::connect(self.address).is_err().then_some(()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Life {
    fn serve(&self, stream: &TcpStream, manners: Manners) {
        let Ok(own) = stream.try_clone() else { return };
        self.open.lock().expect("streams").push(own);
        if self.dead.load(Ordering::Relaxed) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let mut reader = BufReader::new(stream);
        while read_request(&mut reader).is_some() {
            if self.silent.load(Ordering::Relaxed) {
                // whoever kills the server ends this
                let _ = reader.read(&mut [0]);
                return;
            }
            let mut writer = stream;
            if writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nserved").is_err() {
                return;
            }
            if manners == Manners::ClosingLate {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(2)));
                let _ = stream.peek(&mut [0]);
            }
            if manners != Manners::Keeping {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// Reads a whole request.
fn read_request(reader: &mut impl BufRead) -> Option<()> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(())
}

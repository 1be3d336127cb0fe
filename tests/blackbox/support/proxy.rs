//! A proxy that runs for one fact or for many.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{Run, Wire, socket};

/// A service that runs with one thread, so that which idle connection is used is known. Dropping it ends the service.
pub struct Proxy {
    listeners: HashMap<String, SocketAddr>,
    pid: u32,
    stop: Option<Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy with one listener, `http`.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        Self::with_listeners(config, &["http"])
    }

    /// A proxy with these listeners, each on a socket of its own.
    #[track_caller]
    pub fn with_listeners(config: &str, names: &[&str]) -> Self {
        let mut run = Run::new(&format!("{config}\n[worker]\nthreads = 1\n"));
        let mut listeners = HashMap::new();
        for name in names {
            let (listener, address) = socket();
            run = run.socket(name, listener);
            listeners.insert((*name).to_owned(), address);
        }
        let (stop, stopped) = channel();
        let (say, started) = channel();
        let running = std::thread::spawn(move || serve(run, &say, &stopped));
        let pid = started.recv().expect("the service did not start");
        Self { listeners, pid, stop: Some(stop), running: Some(running) }
    }

    /// A connection to the listener `http`.
    #[track_caller]
    pub fn client(&self) -> Wire {
        self.client_of("http")
    }

    #[track_caller]
    pub fn client_of(&self, listener: &str) -> Wire {
        Wire::connect(self.listeners[listener])
    }

    /// Bytes of memory that the worker uses now.
    pub fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("a worker");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(running) = self.running.take() {
            let ended = running.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the service failed");
        }
    }
}

/// Runs until nobody holds the other end of `stopped`. A worker that panicked has failed, whatever its clients saw.
fn serve(run: Run, started: &Sender<u32>, stopped: &Receiver<()>) {
    let service = run.start();
    let sent = started.send(service.serving().1);
    if sent.is_ok() {
        let _ = stopped.recv();
    }
    let log = run.log();
    assert!(!log.contains("panicked") && !log.contains("no objection"), "{log}");
}

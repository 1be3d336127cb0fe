//! A server that answers by itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A server that answers everything with its own name, until it is dropped.
pub struct Answering {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    pub fn start(name: &'static str) -> Self {
        let (listener, address) = super::socket();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || answer(&listener, name, &stopped));
        Self { address, stop, thread: Some(thread) }
    }
}

fn answer(listener: &TcpListener, name: &str, stopped: &AtomicBool) {
    while let Ok((mut stream, _)) = listener.accept() {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let mut head = Vec::new();
        let mut byte = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(0) | Err(_) => break,
                Ok(length) => head.extend_from_slice(&byte[..length]),
            }
        }
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

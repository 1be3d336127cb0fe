//! Clients of the proxy: some connections, of which one asks again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::Wire;

/// In each second.
pub const MOST_REQUESTS: u64 = 50;
/// From one request to the next.
const PAUSE: Duration = Duration::from_millis(1000 / MOST_REQUESTS);
const IDLE: usize = 11;

/// It goes on until it is dropped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    client: Option<JoinHandle<()>>,
}

impl Traffic {
    pub fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let client = std::thread::spawn(move || {
            let _idle: Vec<_> = (0..IDLE).map(|_| Wire::connect(address)).collect();
            let mut wire = Wire::connect(address);
            while !stopped.load(Ordering::Relaxed) {
                wire.send("GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
                assert_eq!(wire.answer().status(), 200);
                std::thread::park_timeout(PAUSE);
            }
        });
        Self { stop, client: Some(client) }
    }

    /// Stops; every request must have been answered with 200, all on one connection.
    #[track_caller]
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.client.take().expect("ended once").join().expect("every request answered");
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

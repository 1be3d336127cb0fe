//! Clients at work that never try again: whatever happens to a request is counted, not repaired.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::support::{DEADLINE, wait_for};

/// What a client does again and again.
#[derive(Clone, Copy)]
pub enum Habit {
    /// GET, each on a fresh connection.
    Fresh,
    /// GET, on one connection for as long as it is kept.
    Staying,
    /// The same as `ab -k` does it: HTTP/1.0.
    Old,
    /// PUT with a body.
    Put,
    /// The same, with a body that is too large to be kept for another attempt.
    LargePut,
    /// POST with a body.
    Post,
}

/// Clients at work. Dropping it sends them home.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Crowd {
    /// One client for each habit.
    pub fn start(address: SocketAddr, habits: &[Habit]) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = habits.iter().map(|habit| {
            let (habit, stop, served) = (*habit, stop.clone(), served.clone());
            std::thread::spawn(move || work(address, habit, &stop, &served))
        });
        Self { clients: clients.collect(), stop, served }
    }

    /// Waits until `count` more requests were served than now.
    #[track_caller]
    pub fn wait_served(&self, count: u64) {
        let until = self.served.load(Ordering::Relaxed) + count;
        wait_for("requests to be served", || (self.served.load(Ordering::Relaxed) >= until).then_some(()));
    }

    /// Sends the clients home; gives what they lost.
    pub fn losses(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).flat_map(|client| client.join().expect("a client")).collect()
    }

    /// Sends the clients home; they must have lost nothing.
    #[track_caller]
    pub fn end(self) {
        let losses = self.losses();
        assert!(losses.is_empty(), "{losses:#?}");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn work(address: SocketAddr, habit: Habit, stop: &AtomicBool, served: &AtomicU64) -> Vec<String> {
    let mut losses = Vec::new();
    let is_over = |losses: &[String]| stop.load(Ordering::Relaxed) || losses.len() >= 20;
    while !is_over(&losses) {
        let mut client = match TcpStream::connect(address) {
            Ok(client) => client,
            Err(fault) => {
                losses.push(format!("connect: {fault}"));
                continue;
            }
        };
        let mut stays = true;
        while stays && !is_over(&losses) {
            match habit.ask(&mut client) {
                Ok(answer) => {
                    served.fetch_add(1, Ordering::Relaxed);
                    stays = answer;
                }
                Err(fault) => {
                    losses.push(fault.to_string());
                    stays = false;
                }
            }
        }
    }
    losses
}

impl Habit {
    fn request(self) -> String {
        let with_body = |line: &str, size: usize| {
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))
        };
        match self {
            Self::Fresh => "GET /fresh HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
            Self::Staying => "GET /staying HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            Self::Old => "GET /old HTTP/1.0\r\nHost: localhost\r\nConnection: Keep-Alive\r\n\r\n".to_owned(),
            Self::Put => with_body("PUT /put", 2000),
            Self::LargePut => with_body("PUT /large", 100_000),
            Self::Post => with_body("POST /post", 2000),
        }
    }

    /// One request: whether the connection stays.
    fn ask(self, client: &mut TcpStream) -> Result<bool> {
        client.set_read_timeout(Some(DEADLINE))?;
        client.write_all(self.request().as_bytes())?;
        let head = read_answer(client)?;
        if !head.starts_with("http/1.1 200") && !head.starts_with("http/1.0 200") {
            return Err(Error::other(head));
        }
        let closes = head.contains("connection: close");
        if closes && head.contains("keep-alive") {
            return Err(Error::other(format!("both at once: {head}")));
        }
        Ok(!closes && !matches!(self, Self::Fresh))
    }
}

/// Reads a whole answer with a Content-Length; gives its head in lower case.
pub fn read_answer(client: &mut TcpStream) -> Result<String> {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = client.read(&mut piece)?;
        if read == 0 {
            return Err(Error::other(format!("closed after {} bytes of an answer", seen.len())));
        }
        seen.extend_from_slice(&piece[..read]);
        let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if seen.len() >= end + 4 + length.unwrap_or(0) {
            return Ok(head);
        }
    }
}

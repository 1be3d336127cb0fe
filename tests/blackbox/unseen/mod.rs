//! Reloads that no client can see: the crowd of [`crate::strict`] goes through reloads, roll-backs and workers that die.

mod changes;
mod growth;
mod inside;
mod noticed;
mod receiver;
mod reloads;
mod rollback;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::strict::{Crowd, Door, Habits, Place, Servers};
use crate::support::{Run, free_address, socket};

/// What a reload may change without any client noticing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    Timeouts,
    Servers,
    Site,
    Listener,
    Weights,
}

impl Change {
    pub const ALL: [Self; 6] =
        [Self::Timeouts, Self::Servers, Self::Site, Self::Listener, Self::Weights, Self::Nothing];
}

/// Servers, and the addresses that the proxy binds in front of them.
pub struct Scene {
    pub servers: Servers,
    pub http: SocketAddr,
    pub tcp: SocketAddr,
    pub more: SocketAddr,
}

impl Scene {
    pub fn new() -> Self {
        let place = socket().1.ip();
        let servers = Servers::start(Place::Here, place, 4);
        Self { servers, http: free_address(), tcp: free_address(), more: free_address() }
    }

    /// A run of this scene as it is before any reload.
    pub fn run(&self) -> Run {
        Run::new(&self.config(Change::Nothing))
    }

    pub fn config(&self, change: Change) -> String {
        let count = if change == Change::Servers { 4 } else { 3 };
        let weight = if change == Change::Weights { 3 } else { 1 };
        let servers = |all: &[SocketAddr]| {
            let entries = all[..count].iter().enumerate().map(|(number, address)| match number {
                0 => format!("{{ address = \"{address}\", weight = {weight} }}"),
                _ => format!("\"{address}\""),
            });
            entries.collect::<Vec<_>>().join(", ")
        };
        let (http, tcp) = (servers(&self.servers.http), servers(&self.servers.tcp));
        let keys = if change == Change::Timeouts { "retries = 1\nresponse_timeout = \"20s\"" } else { "" };
        let more = match change {
            Change::Site => format!("[site.\"other.example\"]\nto = [\"{}\"]", self.servers.http[3]),
            Change::Listener => format!("[listen.more]\naddress = \"{}\"", self.more),
            _ => String::new(),
        };
        format!(
            "[log]\naccess = \"errors+slow\"\n[worker]\nthreads = 2\n\
             [listen.http]\naddress = \"{}\"\n[tcp.relay]\nlisten = \"{}\"\nto = \"bytes\"\n\
             [site.\"*\"]\nto = \"farm\"\n[pool.farm]\nservers = [{http}]\n{keys}\n\
             [pool.bytes]\nservers = [{tcp}]\n{keys}\n{more}\n",
            self.http, self.tcp,
        )
    }

    pub fn door(&self) -> Door {
        Door { http: self.http, host: "localhost".to_owned(), tcp: self.tcp }
    }

    pub fn crowd(&self, habits: Habits) -> Crowd {
        Crowd::start(Place::Here, self.door(), habits)
    }

    /// No request reached the servers more than once.
    #[track_caller]
    pub fn assert_served_once(&self) {
        assert_eq!(self.servers.served_twice(), 0, "requests came to the servers twice");
    }
}

/// The steps of somebody who reloads now and then: one after so much time, and later when the machine is slow.
pub struct Steps {
    next: Instant,
    length: Duration,
}

impl Steps {
    pub fn of(length: Duration) -> Self {
        Self { next: Instant::now() + length, length }
    }

    /// Waits for the time of the next step.
    pub fn wait(&mut self) {
        while let Some(left) = self.next.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        self.next = Instant::now() + self.length;
    }
}

//! Reloads that no client can see: the crowd of [`crate::strict`] goes through reloads, roll-backs and workers that die.

mod changes;
mod deaths;
mod exchanges;
mod growth;
mod held;
pub mod inside;
mod noticed;
mod open;
mod receiver;
mod reloads;
mod responses;
pub mod rollback;

use std::ops::Deref;

use crate::strict::{Certificate, Change, Crowd, Habits, Place, Servers, Setup};
use crate::support::{Run, free_address, socket};

/// Servers, and the addresses that the proxy binds itself in front of them.
pub struct Scene {
    setup: Setup,
    _files: Option<tempfile::TempDir>,
}

impl Scene {
    pub fn new() -> Self {
        let servers = Servers::start(Place::Here, socket().1.ip(), 4);
        let (http, tcp, more) = (free_address(), free_address(), free_address());
        let setup = Setup { servers, http, passed: false, tcp, more, tls: None };
        Self { setup, _files: None }
    }

    /// One where two of three clients of HTTP speak TLS.
    pub fn with_tls() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let mut scene = Self::new();
        let certificate = Certificate::issue(files.path());
        for (name, content) in &certificate.files {
            std::fs::write(files.path().join(name), content).expect("written");
        }
        scene.setup.tls = Some((free_address(), certificate));
        Self { _files: Some(files), ..scene }
    }

    /// A run of this scene as it is before any reload.
    pub fn run(&self) -> Run {
        Run::new(&self.config(Change::Nothing))
    }

    pub fn crowd(&self, habits: Habits) -> Crowd {
        Crowd::start(Place::Here, self.door(), habits)
    }
}

impl Deref for Scene {
    type Target = Setup;

    fn deref(&self) -> &Setup {
        &self.setup
    }
}

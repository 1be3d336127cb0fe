//! The pace of somebody who reloads now and then.

use std::time::{Duration, Instant};

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

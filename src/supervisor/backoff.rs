//! How long to wait before a worker that died is replaced.
//!
//! The supervisor does this itself because systemd's start limit, when it strikes, closes the sockets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts workers that died in a row.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The wait before the next start: none after the first death, then 100 ms, doubled each time up to 800 ms, so
    /// that a new worker starts within a second whatever kills the workers.
    pub fn next_wait(&mut self) -> Duration {
        let wait = match self.deaths {
            0 => Duration::ZERO,
            deaths => (FIRST * 2_u32.saturating_pow(deaths - 1)).min(LONGEST),
        };
        self.deaths = self.deaths.saturating_add(1).min(16);
        wait
    }

    /// A worker served long enough: its death would count as the first.
    pub fn reset(&mut self) {
        self.deaths = 0;
    }
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_death_costs_nothing_and_no_wait_is_above_800_ms() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 800, 800, 800, 800]);
        for _ in 0..100 {
            backoff.next_wait();
        }
        assert_eq!(backoff.next_wait(), LONGEST);
        backoff.reset();
        assert_eq!(backoff.next_wait(), Duration::ZERO);
    }
}

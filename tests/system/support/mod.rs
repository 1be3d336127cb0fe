//! What the facts are written with: machines, the web farm in them, load, and waiting.

pub(crate) mod farm;
pub(crate) mod knocking;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod root;

use std::thread;
use std::time::{Duration, Instant};

/// Asks `condition` until it gives a value.
///
/// # Panics
/// When `limit` is over; the message says what was waited for.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain for {what}");
        thread::park_timeout(Duration::from_millis(50));
    }
}

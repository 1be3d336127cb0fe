//! The descriptors of this process, for metrics. A scrape is answered by the worker that serves, so they are those of its
//! connections.

use rustix::process::{Resource, getrlimit};

/// How many are open, and how many may be.
pub(super) struct Descriptors {
    pub(super) open: u64,
    /// None where there is no limit.
    pub(super) most: Option<u64>,
}

impl Descriptors {
    /// Of now; none where the kernel does not say.
    pub(super) fn now() -> Option<Self> {
        let of_directory = std::fs::metadata(OPEN).ok()?.len();
        // the size of the directory is the number since Linux 6.2, and 0 before
        let open = if of_directory > 0 { of_directory } else { std::fs::read_dir(OPEN).ok()?.count() as u64 };
        Some(Self { open, most: getrlimit(Resource::Nofile).current })
    }
}

/// The directory with one entry for each.
const OPEN: &str = "/proc/self/fd";

//! The counters over a restart of the service: a supervisor that ends leaves their sums in the run directory
//! (`RuntimeDirectoryPreserve=restart`), and the next one goes on from there.
//!
//! The file is there between two supervisors only. One that is killed leaves none, and the next one counts from 0, which
//! monitoring knows how to read. Sums from a moment before its death would be less than what was shown: Prometheus takes a counter
//! that goes back for one that began anew, and would count all of it once more.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Totals;

impl Totals {
    /// Those that the supervisor before left in `run_dir`, and none when it was killed. The next one does not find them.
    #[must_use]
    pub fn left_in(run_dir: &Path) -> Self {
        let path = run_dir.join(NAME);
        let left = read(&path).unwrap_or_default();
        // what stayed there would be read again after a crash
        let past = std::fs::remove_file(path).ok().and_then(|()| serde_json::from_slice(&left).ok());
        Self { past: past.unwrap_or_default(), ..Self::default() }
    }

    /// Leaves them in `run_dir`. Where that fails the next supervisor begins at 0.
    pub fn leave_in(&self, run_dir: &Path) {
        let (new, path) = (run_dir.join(format!("{NAME}.new")), run_dir.join(NAME));
        // a file that is not whole never has the name
        let _ = self.write(&new).and_then(|()| std::fs::rename(&new, path));
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.counters())?;
        open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?.write_all(&bytes)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, OFlags::RDONLY)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file alone: what an administrator may have put there holds no start up.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("this is no file")),
    }
}

/// Its name in the run directory.
pub const NAME: &str = "last-counters";
/// More than the most names take.
const LARGEST: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::counter_tree::CounterTree;

    fn totals(accepted: u64) -> Totals {
        let counters = json!({ "listeners": { "http": { "accepted": accepted } } });
        let mut totals = Totals::default();
        totals.report(3, &serde_json::from_value(counters).expect("counters"));
        totals
    }

    #[test]
    fn the_next_supervisor_goes_on_from_what_was_left_and_one_after_a_crash_from_nothing() {
        let run_dir = tempfile::tempdir().expect("directory");
        assert_eq!(Totals::left_in(run_dir.path()), Totals::default());
        totals(5).leave_in(run_dir.path());
        let mut next = Totals::left_in(run_dir.path());
        assert_eq!(next.counters(), totals(5).counters());
        next.report(1, &totals(2).counters());
        assert_eq!(next.counters(), totals(7).counters());
        assert_eq!(Totals::left_in(run_dir.path()), Totals::default(), "the one before left nothing");
    }

    #[test]
    fn what_is_no_file_of_ours_counts_as_nothing() {
        let run_dir = tempfile::tempdir().expect("directory");
        for content in ["", "{\"listeners\": {\"http\": ", "[1, 2]"] {
            std::fs::write(run_dir.path().join(NAME), content).expect("write");
            assert_eq!(Totals::left_in(run_dir.path()).counters(), CounterTree::default(), "{content}");
        }
        std::os::unix::fs::symlink("/etc/passwd", run_dir.path().join(NAME)).expect("a link");
        assert_eq!(Totals::left_in(run_dir.path()), Totals::default());
        std::fs::create_dir(run_dir.path().join(NAME)).expect("a directory");
        assert_eq!(Totals::left_in(run_dir.path()), Totals::default());
        totals(5).leave_in(run_dir.path());
    }
}

//! Load from `ab`, the strict kind of client: it never tries again, and a connection reset ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::machine::Machine;
use super::{farm, wait_for};

/// What one or several runs of `ab` came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) complete: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    /// Connections that broke in the middle. `failed` counts such a one twice when its reset comes together with
    /// data: as failed to receive, and as an exception of the poll.
    pub(crate) broken: u64,
    pub(crate) other_status: u64,
    /// What `ab` printed when it gave up.
    pub(crate) aborted: Option<String>,
    /// Its lines on failed requests.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// No request failed in any way.
    #[track_caller]
    pub(crate) fn assert_clean(&self, at_least: u64) {
        assert!(self.aborted.is_none(), "ab gave up: {self:?}");
        assert_eq!((self.failed, self.refused, self.other_status), (0, 0, 0), "{self:?}");
        assert!(self.complete >= at_least, "only {} requests ran", self.complete);
    }

    fn add(&mut self, other: Self) {
        self.complete += other.complete;
        self.failed += other.failed;
        self.refused += other.refused;
        self.broken += other.broken;
        self.other_status += other.other_status;
        self.aborted = self.aborted.take().or(other.aborted);
        self.failures.extend(other.failures);
    }
}

/// Runs `ab` once.
pub(crate) fn once(machine: &Machine, options: &str) -> Report {
    let outcome = machine.run(&format!("ulimit -n 8192; ab -q {options} {}", farm::URL));
    let count = |label: &str| {
        let line = outcome.stdout.lines().find(|line| line.starts_with(label));
        line.and_then(|line| line[label.len()..].trim().parse().ok()).unwrap_or(0)
    };
    // "   (Connect: 0, Receive: 0, Length: 3, Exceptions: 0)", only when something failed
    let failures = outcome.stdout.lines().filter_map(|line| line.trim_start().strip_prefix('('));
    let failures: Vec<String> = failures.filter(|line| line.starts_with("Connect: ")).map(str::to_owned).collect();
    let of_kind = |kind: &str| {
        let counts = failures.iter().flat_map(|counts| counts.trim_end_matches(')').split(", "));
        counts.filter_map(|count| count.strip_prefix(kind)?.strip_prefix(": ")?.parse::<u64>().ok()).sum()
    };
    Report {
        complete: count("Complete requests:"),
        failed: count("Failed requests:"),
        refused: of_kind("Connect"),
        broken: of_kind("Receive").max(of_kind("Exceptions")),
        other_status: count("Non-2xx responses:"),
        failures,
        aborted: (!outcome.status.success()).then(|| outcome.text()),
    }
}

/// Runs `ab` again and again while `during` runs; the run that is under way then ends by itself.
pub(crate) fn around(machine: &Machine, options: &str, during: impl FnOnce()) -> Report {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| repeat(machine, options, &over));
        // Also when `during` panics: the scope waits for the load.
        let end = SetOnDrop(&over);
        wait_for("the load to be under way", Duration::from_secs(10), || {
            let connections = machine.ok("ss --no-header --tcp --numeric state established '( dport = :80 )' | wc -l");
            connections.parse().is_ok_and(|open: u32| open > 0).then_some(())
        });
        during();
        drop(end);
        load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn repeat(machine: &Machine, options: &str, over: &AtomicBool) -> Report {
    let mut report = Report::default();
    loop {
        report.add(once(machine, options));
        if over.load(Ordering::Relaxed) || report.aborted.is_some() {
            return report;
        }
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

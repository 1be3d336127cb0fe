//! What one connection of HTTP/2 waits for, on its one timer.
//!
//! Waits come and go with each request, and the timer is not set for each of them: it stands for the earliest deadline
//! that was known when it was set, and when it is due the waits are looked through.

use std::time::Duration;

use tokio::time::Instant;

use crate::timer::Timer;

/// The deadlines of the connection itself; those of its streams stand with them.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Since when the client takes nothing.
    pub(super) write_since: Option<Instant>,
    /// Since when nothing is open.
    pub(super) idle_since: Option<Instant>,
    /// When the client is told to go on elsewhere, or the last stream that is served.
    pub(super) leaves_at: Option<Instant>,
    /// The earliest deadline of a stream, or an earlier moment: waits that end do not move it.
    streams_at: Option<Instant>,
    /// What the timer stands for.
    timer_at: Option<Instant>,
}

impl Deadlines {
    /// A stream waits until then.
    pub(super) fn wait(&mut self, due: Option<Instant>) {
        self.streams_at = [self.streams_at, due].into_iter().flatten().min();
    }

    /// The streams are looked through now, and say anew until when they wait.
    pub(super) fn forget_streams(&mut self) {
        self.streams_at = None;
    }

    /// When a stream is to be looked at.
    pub(super) fn streams_at(&self) -> Option<Instant> {
        self.streams_at
    }

    /// Has the timer stand for `due`, unless it stands for something earlier.
    pub(super) fn set(&mut self, due: Instant, timer: &Timer) {
        if self.timer_at.is_none_or(|at| due < at) {
            self.timer_at = Some(due);
            timer.set_at(due);
        }
    }

    /// Whether the timer is due. It is off then.
    pub(super) fn is_due(&mut self, timer: &Timer) -> bool {
        let is_due = timer.is_due();
        if is_due {
            self.timer_at = None;
            timer.off();
        }
        is_due
    }
}

/// Whether a wait since then is over.
pub(super) fn is_over(since: Option<Instant>, timeout: Duration, now: Instant) -> bool {
    since.is_some_and(|since| since + timeout <= now)
}

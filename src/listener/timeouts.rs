//! What one client connection waits for, one deadline for each direction, both on its one timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::timer::Timer;

/// A direction of a connection, seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Read,
    Write,
}

/// The deadlines of both directions.
///
/// A deadline stands from the moment that the wait begins: asking again without progress does not move it.
#[derive(Debug, Default)]
pub(super) struct Timeouts {
    read: Option<Instant>,
    write: Option<Instant>,
}

impl Timeouts {
    /// Begins a wait, unless one is on.
    pub(super) fn begin(&mut self, side: Side, after: Duration, timer: &Timer) {
        if self.slot(side).is_none() {
            self.renew(side, after, timer);
        }
    }

    /// Begins a wait anew, whether one is on or not: there was progress.
    pub(super) fn renew(&mut self, side: Side, after: Duration, timer: &Timer) {
        self.renew_until(side, Instant::now() + after, timer);
    }

    /// Begins a wait anew that ends at `due`.
    pub(super) fn renew_until(&mut self, side: Side, due: Instant, timer: &Timer) {
        *self.slot(side) = Some(due);
        self.set(timer);
    }

    /// Ends a wait: what it was for has come.
    pub(super) fn end(&mut self, side: Side, timer: &Timer) {
        if self.slot(side).take().is_some() {
            self.set(timer);
        }
    }

    /// Whether a wait is on and its deadline has passed.
    pub(super) fn is_over(&mut self, side: Side, timer: &Timer) -> bool {
        match *self.slot(side) {
            Some(due) => timer.is_due() && due <= Instant::now(),
            None => false,
        }
    }

    fn slot(&mut self, side: Side) -> &mut Option<Instant> {
        match side {
            Side::Read => &mut self.read,
            Side::Write => &mut self.write,
        }
    }

    /// The timer stands for the earlier deadline.
    fn set(&self, timer: &Timer) {
        match (self.read, self.write) {
            (Some(read), Some(write)) => timer.set_at(read.min(write)),
            (Some(due), None) | (None, Some(due)) => timer.set_at(due),
            (None, None) => timer.off(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::TimerWheel;

    const SECOND: Duration = Duration::from_secs(1);

    async fn advance(wheel: &TimerWheel, time: Duration) {
        tokio::time::advance(time).await;
        wheel.visit();
    }

    #[tokio::test(start_paused = true)]
    async fn asking_again_does_not_move_a_deadline_and_progress_does() {
        let wheel = TimerWheel::new();
        let timer = wheel.timer();
        let mut timeouts = Timeouts::default();
        timeouts.begin(Side::Read, SECOND, &timer);
        advance(&wheel, SECOND * 3 / 4).await;
        timeouts.begin(Side::Read, SECOND, &timer);
        assert!(!timeouts.is_over(Side::Read, &timer));
        advance(&wheel, SECOND / 2).await;
        assert!(timeouts.is_over(Side::Read, &timer));
        timeouts.renew(Side::Read, SECOND, &timer);
        assert!(!timeouts.is_over(Side::Read, &timer));
        advance(&wheel, SECOND * 2).await;
        assert!(timeouts.is_over(Side::Read, &timer));
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_has_its_own_deadline() {
        let wheel = TimerWheel::new();
        let timer = wheel.timer();
        let mut timeouts = Timeouts::default();
        timeouts.begin(Side::Read, SECOND * 10, &timer);
        timeouts.begin(Side::Write, SECOND, &timer);
        advance(&wheel, SECOND * 2).await;
        assert!(timeouts.is_over(Side::Write, &timer));
        assert!(!timeouts.is_over(Side::Read, &timer));
        timeouts.end(Side::Write, &timer);
        assert!(!timer.is_due(), "the timer stands for the direction that still waits");
        advance(&wheel, SECOND * 10).await;
        assert!(timer.is_due() && timeouts.is_over(Side::Read, &timer));
        timeouts.end(Side::Read, &timer);
        assert!(!timer.is_due());
    }
}

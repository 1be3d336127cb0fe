//! What one client connection waits for, one deadline for each direction, both on its one timer.

use std::time::Duration;

use tokio::time::Instant;

use crate::timer::Timer;

/// A direction of a connection, seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
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
    pub(super) fn begin(&mut self, direction: Direction, after: Duration, timer: &Timer) {
        if self.slot(direction).is_none() {
            self.renew(direction, after, timer);
        }
    }

    /// Begins a wait anew, whether one is on or not: there was progress.
    pub(super) fn renew(&mut self, direction: Direction, after: Duration, timer: &Timer) {
        self.renew_until(direction, Instant::now() + after, timer);
    }

    /// Begins a wait anew that ends at `due`.
    pub(super) fn renew_until(&mut self, direction: Direction, due: Instant, timer: &Timer) {
        *self.slot(direction) = Some(due);
        self.set(timer);
    }

    /// Ends a wait: what it was for has come.
    pub(super) fn end(&mut self, direction: Direction, timer: &Timer) {
        if self.slot(direction).take().is_some() {
            self.set(timer);
        }
    }

    /// What is left of a wait; none when none is on.
    pub(super) fn left(&mut self, direction: Direction) -> Option<Duration> {
        Some((*self.slot(direction))?.saturating_duration_since(Instant::now()))
    }

    /// Whether a wait is on and its deadline has passed.
    pub(super) fn is_over(&mut self, direction: Direction, timer: &Timer) -> bool {
        match *self.slot(direction) {
            Some(due) => timer.is_due() && due <= Instant::now(),
            None => false,
        }
    }

    fn slot(&mut self, direction: Direction) -> &mut Option<Instant> {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
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

    async fn advance(timer_wheel: &TimerWheel, time: Duration) {
        tokio::time::advance(time).await;
        timer_wheel.visit();
    }

    #[tokio::test(start_paused = true)]
    async fn asking_again_does_not_move_a_deadline_and_progress_does() {
        let timer_wheel = TimerWheel::new();
        let timer = timer_wheel.timer();
        let mut timeouts = Timeouts::default();
        timeouts.begin(Direction::Read, SECOND, &timer);
        advance(&timer_wheel, SECOND * 3 / 4).await;
        timeouts.begin(Direction::Read, SECOND, &timer);
        assert!(!timeouts.is_over(Direction::Read, &timer));
        advance(&timer_wheel, SECOND / 2).await;
        assert!(timeouts.is_over(Direction::Read, &timer));
        timeouts.renew(Direction::Read, SECOND, &timer);
        assert!(!timeouts.is_over(Direction::Read, &timer));
        advance(&timer_wheel, SECOND * 2).await;
        assert!(timeouts.is_over(Direction::Read, &timer));
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_has_its_own_deadline() {
        let timer_wheel = TimerWheel::new();
        let timer = timer_wheel.timer();
        let mut timeouts = Timeouts::default();
        timeouts.begin(Direction::Read, SECOND * 10, &timer);
        timeouts.begin(Direction::Write, SECOND, &timer);
        advance(&timer_wheel, SECOND * 2).await;
        assert!(timeouts.is_over(Direction::Write, &timer));
        assert!(!timeouts.is_over(Direction::Read, &timer));
        timeouts.end(Direction::Write, &timer);
        assert!(!timer.is_due(), "the timer stands for the direction that still waits");
        advance(&timer_wheel, SECOND * 10).await;
        assert!(timer.is_due() && timeouts.is_over(Direction::Read, &timer));
        timeouts.end(Direction::Read, &timer);
        assert!(!timer.is_due());
    }
}

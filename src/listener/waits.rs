//! What one client connection waits for, one deadline for each direction, both on its one alarm.

use std::time::Duration;

use tokio::time::Instant;

use crate::wheel::Alarm;

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
pub(super) struct Waits {
    read: Option<Instant>,
    write: Option<Instant>,
}

impl Waits {
    /// Begins a wait, unless one is on.
    pub(super) fn begin(&mut self, side: Side, after: Duration, alarm: &Alarm) {
        if self.slot(side).is_none() {
            self.renew(side, after, alarm);
        }
    }

    /// Begins a wait anew, whether one is on or not: there was progress.
    pub(super) fn renew(&mut self, side: Side, after: Duration, alarm: &Alarm) {
        self.renew_until(side, Instant::now() + after, alarm);
    }

    /// Begins a wait anew that ends at `due`.
    pub(super) fn renew_until(&mut self, side: Side, due: Instant, alarm: &Alarm) {
        *self.slot(side) = Some(due);
        self.set(alarm);
    }

    /// Ends a wait: what it was for has come.
    pub(super) fn end(&mut self, side: Side, alarm: &Alarm) {
        if self.slot(side).take().is_some() {
            self.set(alarm);
        }
    }

    /// Whether a wait is on and its deadline has passed.
    pub(super) fn is_over(&mut self, side: Side, alarm: &Alarm) -> bool {
        match *self.slot(side) {
            Some(due) => alarm.is_due() && due <= Instant::now(),
            None => false,
        }
    }

    fn slot(&mut self, side: Side) -> &mut Option<Instant> {
        match side {
            Side::Read => &mut self.read,
            Side::Write => &mut self.write,
        }
    }

    /// The alarm stands for the earlier deadline.
    fn set(&self, alarm: &Alarm) {
        match (self.read, self.write) {
            (Some(read), Some(write)) => alarm.set_at(read.min(write)),
            (Some(due), None) | (None, Some(due)) => alarm.set_at(due),
            (None, None) => alarm.off(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wheel::Wheel;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn asking_again_does_not_move_a_deadline_and_progress_does() {
        let alarm = Wheel::new().alarm();
        let mut waits = Waits::default();
        waits.begin(Side::Read, SECOND, &alarm);
        tokio::time::advance(SECOND * 3 / 4).await;
        waits.begin(Side::Read, SECOND, &alarm);
        assert!(!waits.is_over(Side::Read, &alarm));
        tokio::time::advance(SECOND / 2).await;
        assert!(waits.is_over(Side::Read, &alarm));
        waits.renew(Side::Read, SECOND, &alarm);
        assert!(!waits.is_over(Side::Read, &alarm));
        tokio::time::advance(SECOND * 2).await;
        assert!(waits.is_over(Side::Read, &alarm));
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_has_its_own_deadline() {
        let alarm = Wheel::new().alarm();
        let mut waits = Waits::default();
        waits.begin(Side::Read, SECOND * 10, &alarm);
        waits.begin(Side::Write, SECOND, &alarm);
        tokio::time::advance(SECOND * 2).await;
        assert!(waits.is_over(Side::Write, &alarm));
        assert!(!waits.is_over(Side::Read, &alarm));
        waits.end(Side::Write, &alarm);
        assert!(!alarm.is_due(), "the alarm stands for the direction that still waits");
        tokio::time::advance(SECOND * 10).await;
        assert!(alarm.is_due() && waits.is_over(Side::Read, &alarm));
        waits.end(Side::Read, &alarm);
        assert!(!alarm.is_due());
    }
}

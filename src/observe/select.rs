//! Which exchanges are written. Asked on the way of every request, before there is a record.

use std::time::Duration;

use crate::config::{Access, LogSettings};

use super::end::{End, Reason};
use super::record::RequestId;

/// What the decision needs of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct RecordFacts {
    /// The request id; its random digits draw the sample.
    pub id: RequestId,
    /// The status sent, 0 when none was.
    pub status: u16,
    /// How it ended.
    pub end: End,
    /// From its opening to its end.
    pub took: Duration,
    /// A connection that ended without a byte of a request.
    pub empty: bool,
    /// No server was tried, and that is no defect of ours.
    pub refused: bool,
}

impl RecordFacts {
    pub(super) fn failed(&self) -> bool {
        self.status >= 500 || self.end.reason != Reason::Ok
    }
}

/// Whether this exchange goes to the journal. A failed one always does, unless the log is off; empty connections have
/// a setting of their own.
#[must_use]
pub fn selects(log: &LogSettings, facts: &RecordFacts) -> bool {
    if facts.empty {
        return log.empty_connections && log.access != Access::Off;
    }
    let matters = facts.failed() || facts.took >= log.slow;
    match log.access {
        Access::All => true,
        Access::Off => false,
        Access::ErrorsAndSlow => matters,
        Access::Sample(share) => matters || facts.id.draw() < share,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::end::Phase;

    fn log(access: Access) -> LogSettings {
        LogSettings { access, ..LogSettings::default() }
    }

    fn facts() -> RecordFacts {
        RecordFacts {
            id: RequestId::new(1, 0xf_ffff),
            status: 200,
            end: End::OK,
            took: Duration::from_millis(3),
            empty: false,
            refused: false,
        }
    }

    #[test]
    fn failures_and_slow_exchanges_are_written_whatever_the_sample() {
        let sample = log(Access::Sample(10_000));
        assert!(!selects(&sample, &facts()));
        assert!(selects(&sample, &RecordFacts { status: 502, ..facts() }));
        let slow = Duration::from_secs(1);
        assert!(selects(&sample, &RecordFacts { took: slow, ..facts() }));
        let cut = End::new(Phase::Body, Reason::ClientClosed);
        assert!(selects(&log(Access::ErrorsAndSlow), &RecordFacts { end: cut, ..facts() }));
        assert!(!selects(&log(Access::Off), &RecordFacts { status: 502, ..facts() }));
    }

    #[test]
    fn a_sample_takes_its_share() {
        let sample = log(Access::Sample(250_000));
        let taken = (0..1 << 20)
            .step_by(97)
            .filter(|random| {
                let id = RequestId::new(1, *random);
                selects(&sample, &RecordFacts { id, ..facts() })
            })
            .count();
        let all = (1_usize << 20).div_ceil(97);
        assert!(taken.abs_diff(all / 4) <= 2, "{taken} of {all}");
    }

    #[test]
    fn empty_connections_are_written_only_when_asked_for() {
        let empty = RecordFacts { empty: true, end: End::new(Phase::Head, Reason::ClientClosed), ..facts() };
        assert!(!selects(&log(Access::All), &empty));
        let asked = LogSettings { empty_connections: true, ..log(Access::All) };
        assert!(selects(&asked, &empty));
    }
}

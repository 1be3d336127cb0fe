//! The answer of a worker to a ping. On a quiet service most of the work is to write the status, and to read it in the
//! supervisor: a `Pong` contains it only when it has changed.

use std::time::Duration;

use tokio::time::Instant;

use super::certificates::CertificateWatch;
use super::threads::Threads;
use crate::control::message::{Pong, Vitals};
use crate::control::status::WorkerStatus;
use crate::observe::journal::Unwritten;
use crate::observe::metrics::CounterTotals;

/// An unchanged status is sent again after this time: there may be a change that no count shows.
const AGED: Duration = Duration::from_secs(10);

/// The status that was sent last.
#[derive(Debug, Default)]
pub struct LastStatus(Option<SentStatus>);

#[derive(Debug)]
struct SentStatus {
    at: Instant,
    vitals: Vitals,
    after: StatusBasis,
}

/// Everything that a change of the status shows in.
#[derive(Debug, PartialEq)]
struct StatusBasis {
    counted: CounterTotals,
    unwritten: Unwritten,
    /// Changes by checks, DNS and trials.
    changes: u64,
}

impl LastStatus {
    /// The answer to the ping `number` of a worker that serves, after `changes` of its servers. The status is left out if
    /// it has not changed and the supervisor `keeps` the last one.
    pub fn of_serving(
        &mut self,
        number: u64,
        keeps: bool,
        (threads, certificates): (&Threads, &CertificateWatch),
        changes: u64,
    ) -> Pong {
        let after = StatusBasis { counted: threads.totals(), unwritten: threads.unwritten(), changes };
        // checks change the status of servers without an event
        self.answer(number, keeps && !threads.has_checks(), after, || WorkerStatus {
            certificates: certificates.list(),
            ..threads.status()
        })
    }

    fn answer(&mut self, number: u64, keeps: bool, after: StatusBasis, status: impl FnOnce() -> WorkerStatus) -> Pong {
        let now = Instant::now();
        let holds = |sent: &&SentStatus| keeps && sent.after == after && now - sent.at < AGED;
        if let Some(sent) = self.0.as_ref().filter(holds) {
            return Pong { number, vitals: sent.vitals, status: None, wants_successor: false };
        }
        let status = status();
        let vitals = vitals(&status);
        self.0 = Some(SentStatus { at: now, vitals, after });
        Pong { number, vitals, status: Some(status), wants_successor: false }
    }
}

/// The three numbers that stand in `systemctl status`.
pub(super) fn vitals(status: &WorkerStatus) -> Vitals {
    let connections = status.connections.as_ref().map_or(0, |connections| connections.open);
    Vitals { servers_up: status.servers_up, servers: status.servers, connections }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_status_is_said_when_something_happened_and_from_time_to_time() {
        let mut last = LastStatus::default();
        let mut says = |keeps, changes, dropped| {
            let unwritten = Unwritten { dropped, ..Unwritten::default() };
            let after = StatusBasis { counted: CounterTotals::sum(&[]), unwritten, changes };
            let pong = last.answer(1, keeps, after, || WorkerStatus { servers: 3, ..WorkerStatus::default() });
            assert_eq!(pong.vitals.servers, 3, "said in any case");
            pong.status.is_some()
        };
        assert!(says(true, 0, 0), "the first one");
        assert!(!says(true, 0, 0));
        assert!(says(false, 0, 0), "the supervisor has not kept it");
        assert!(says(true, 1, 0), "a server changed");
        assert!(says(true, 1, 7), "records were lost");
        assert!(!says(true, 1, 7));
        tokio::time::advance(AGED).await;
        assert!(says(true, 1, 7), "it is old");
    }
}

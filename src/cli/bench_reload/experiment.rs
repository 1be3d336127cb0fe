//! What all clients share: the target, the phase, and the tally of each phase.

use std::cell::{RefCell, RefMut};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lost::LostRequest;
use super::tally::{ClientKind, Tally};
use super::target::BenchTarget;

/// The phases, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BenchPhase {
    /// For comparison.
    Before,
    /// From the first reload on, to some seconds after the last one.
    Reloads,
    /// Clients finish what is out.
    Over,
}

/// The experiment while it runs.
pub(super) struct Experiment {
    pub(super) target: BenchTarget,
    /// The longest wait for anything.
    pub(super) patience: Duration,
    /// The status that is right; none for each below 400.
    pub(super) expected: Option<StatusCode>,
    phase: watch::Sender<BenchPhase>,
    before: RefCell<Tally>,
    reloads: RefCell<Tally>,
    shortage: RefCell<Option<String>>,
}

impl Experiment {
    pub(super) fn new(target: BenchTarget, patience: Duration, expected: Option<StatusCode>) -> Self {
        Self {
            target,
            patience,
            expected,
            phase: watch::Sender::new(BenchPhase::Before),
            before: RefCell::default(),
            reloads: RefCell::default(),
            shortage: RefCell::default(),
        }
    }

    pub(super) fn enter(&self, phase: BenchPhase) {
        self.phase.send_replace(phase);
    }

    pub(super) fn is_over(&self) -> bool {
        *self.phase.borrow() == BenchPhase::Over
    }

    /// Returns once it is over.
    pub(super) async fn over(&self) {
        let _ = self.phase.subscribe().wait_for(|phase| *phase == BenchPhase::Over).await;
    }

    /// Waits for this time, or until it is over.
    pub(super) async fn pause(&self, time: Duration) {
        let _ = timeout(time, self.over()).await;
    }

    /// The tally of the phase that is now. What clients finish at the end belongs to the reloads.
    pub(super) fn tally(&self) -> RefMut<'_, Tally> {
        match *self.phase.borrow() {
            BenchPhase::Before => self.before.borrow_mut(),
            BenchPhase::Reloads | BenchPhase::Over => self.reloads.borrow_mut(),
        }
    }

    /// The tallies before the reloads, and from the first one on.
    pub(super) fn tallies(&self) -> (Tally, Tally) {
        (self.before.borrow().clone(), self.reloads.borrow().clone())
    }

    /// Whether this status is an answer.
    pub(super) fn is_right(&self, status: StatusCode) -> bool {
        match self.expected {
            Some(expected) => status == expected,
            None => status.as_u16() < 400,
        }
    }

    /// Counts a request that is lost; ends everything when it is this machine that lacks something.
    pub(super) async fn lose(&self, kind: ClientKind, why: LostRequest) {
        if let LostRequest::Shortage(_) = why {
            self.shortage.borrow_mut().get_or_insert(why.to_string());
            self.enter(BenchPhase::Over);
            return;
        }
        self.tally().lose(kind, &why);
        // a proxy that refuses everything must not turn the clients into a busy loop
        sleep(AFTER_LOSS).await;
    }

    /// What this machine lacked, if it ended for that.
    pub(super) fn shortage(&self) -> Option<String> {
        self.shortage.borrow().clone()
    }
}

const AFTER_LOSS: Duration = Duration::from_millis(50);

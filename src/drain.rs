//! The stage of a generation, as the tasks of one thread see it.
//!
//! ```text
//!   Serving ⇄ Parked → Draining → Cut
//!      └────────────────↑
//! ```
//! The worker moves the stage of each of its threads and then wakes every client connection of that thread; a task
//! looks at the stage wherever it may end.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// What a generation does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Accepts and serves.
    Serving,
    /// Accepts nothing and serves what it has. It may have to accept again.
    Parked,
    /// Accepts nothing, and every connection moves to another generation once its exchange is done. Where it cannot
    /// move, the next response says `Connection: close`; an idle connection stays until the deadline, since its next
    /// request may be on its way.
    Draining(Draining),
    /// The deadline has passed: everything that is still open is cut.
    Cut,
}

/// How a generation drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// When the drain began.
    pub began: Instant,
    /// When the connections that are left are cut.
    pub deadline: Instant,
    /// The time over which the last responses are spread: clients that were told all at once would all reconnect at
    /// once.
    pub spread: Duration,
    /// How long an idle connection is kept open for its next request. After a reload that is the whole time until the
    /// deadline; at a stop it is short, because no process accepts new connections meanwhile.
    pub idle: Duration,
}

/// The stage of the generation, one for each thread.
#[derive(Debug)]
pub struct DrainState(Cell<Stage>);

impl Default for DrainState {
    fn default() -> Self {
        Self(Cell::new(Stage::Serving))
    }
}

impl DrainState {
    /// The stage now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.0.get()
    }

    /// Enters a stage. A drain never goes back.
    pub fn enter(&self, stage: Stage) {
        let back = matches!(
            (self.0.get(), stage),
            (Stage::Draining(_) | Stage::Cut, Stage::Serving | Stage::Parked) | (Stage::Cut, Stage::Draining(_))
        );
        if !back {
            self.0.set(stage);
        }
    }

    /// Whether connections must be let go.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(self.0.get(), Stage::Draining(_) | Stage::Cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_never_goes_back() {
        let drain = DrainState::default();
        drain.enter(Stage::Parked);
        drain.enter(Stage::Serving);
        assert_eq!(drain.stage(), Stage::Serving);
        drain.enter(Stage::Cut);
        drain.enter(Stage::Serving);
        assert_eq!(drain.stage(), Stage::Cut);
        assert!(drain.is_ending());
    }
}

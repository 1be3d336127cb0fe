//! One generation as the supervisor sees it: where it stands, and by when it must have moved on.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::upgrade::moment;
use crate::control::message::{Finished, Pong, Ready};

/// A worker made from one configuration and one binary.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generation {
    /// Counts up from 1 over the life of the supervisor.
    pub number: u64,
    /// Its process; 0 until it was started.
    pub pid: u32,
    /// Why it was made.
    pub purpose: Purpose,
    /// Where it stands.
    pub state: State,
    /// When it came to stand there.
    #[serde(with = "moment")]
    pub since: Instant,
    /// When it was made.
    #[serde(with = "moment")]
    pub made: Instant,
    /// What it said of itself when it was ready.
    pub ready: Option<Ready>,
    /// Whether its binary and configuration are good enough to make the next worker from, should it die.
    pub proven: bool,
    /// Its signs of life.
    pub pulse: Pulse,
    /// It closed its channel: gone by then, or killed.
    #[serde(with = "moment::optional")]
    pub closed: Option<Instant>,
    /// Its last words.
    pub finished: Option<Finished>,
    /// Who takes over its connections while it drains, as it was last told.
    pub heir: Option<u64>,
}

/// Where a generation stands. Every state but `Serving` and `Parked` has a deadline.
///
/// ```text
/// Starting ─Ready─▶ Entering ─Serving─▶ Serving ──the next one serves──▶ Parking ─Parked─▶ Parked
///    │                 │                ▲    │                              │                │ │
///    │                 │         Resumed│    │                              │the next one died │the next one
///    │                 │                └────┼───────── Resuming ◀──────────┴────────────────┘ │proved good
///    │                 │                     │             │                                   ▼
///    └─────────────────┴──late, or hung──────┴─────────────┴─────────▶ Dying ◀─────late── Draining
///                                                                        │                     │
///                                                                        └──────▶ gone ◀───────┘
/// ```
/// A worker may die in any state; what follows is decided by where it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Loads, checks, builds.
    Starting {
        /// Late from then on.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Was told to serve.
    Entering {
        /// Late from then on.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Accepts.
    Serving {
        /// On probation until then; none once it proved good.
        #[serde(with = "moment::optional")]
        probation: Option<Instant>,
    },
    /// Was told to park.
    Parking {
        /// Late from then on.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Accepts nothing, can resume.
    Parked,
    /// Was told to accept again.
    Resuming {
        /// Late from then on.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Finishes what is open, then exits.
    Draining {
        /// Late from then on.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Of no use any more; its exit is awaited.
    Dying {
        /// It is killed then; none once it was.
        #[serde(with = "moment::optional")]
        until: Option<Instant>,
    },
}

/// Why a generation was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The service starts.
    First,
    /// Somebody asked for a reload.
    Reload,
    /// The worker that served died.
    Respawn,
}

impl Generation {
    /// A generation that starts now and must be ready at `until`.
    #[must_use]
    pub fn new(number: u64, purpose: Purpose, now: Instant, until: Instant) -> Self {
        Self {
            number,
            pid: 0,
            purpose,
            state: State::Starting { until },
            since: now,
            made: now,
            ready: None,
            proven: false,
            pulse: Pulse::default(),
            closed: None,
            finished: None,
            heir: None,
        }
    }

    /// Whether it accepts, or will within a moment unless it dies.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.state, State::Entering { .. } | State::Serving { .. } | State::Resuming { .. })
    }

    /// Whether it drains and can still be told where its connections go.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining { .. }) && self.is_there()
    }

    /// Whether it listens to what it is told.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.closed.is_none() && self.finished.is_none()
    }

    /// When the supervisor must look at it again, if nothing is heard of it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let by_state = match self.state {
            State::Starting { until }
            | State::Entering { until }
            | State::Parking { until }
            | State::Resuming { until }
            | State::Draining { until } => Some(until),
            // while a ping is under way, its answer is what is waited for
            State::Serving { probation } => probation.filter(|_| self.is_answering()),
            State::Dying { until } => until,
            State::Parked => None,
        };
        by_state.into_iter().chain(self.closed).min()
    }

    /// Whether it has answered since it entered its state, and owes no answer now.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.pulse.answered_since(self.since) && self.pulse.asked().is_none()
    }

    /// Client connections that it holds, as it last said.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.pulse.last.as_ref().map_or(0, |pong| pong.vitals.connections)
    }

    /// Whether it answers pings in the state that it is in.
    #[must_use]
    pub fn is_pinged(&self) -> bool {
        matches!(self.state, State::Serving { .. } | State::Parked | State::Draining { .. })
    }

    /// One word for where it stands.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Starting { .. } => "starting",
            State::Entering { .. } | State::Serving { .. } => "serving",
            State::Parking { .. } | State::Parked => "parked",
            State::Resuming { .. } => "resuming",
            State::Draining { .. } => "draining",
            State::Dying { .. } => "dying",
        }
    }
}

/// The signs of life of a worker: one ping under way at most.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Pulse {
    number: u64,
    /// The ping under way.
    #[serde(with = "moment::optional")]
    asked: Option<Instant>,
    /// The last answer.
    #[serde(with = "moment::optional")]
    answered: Option<Instant>,
    /// What the last answer said.
    pub last: Option<Pong>,
}

impl Pulse {
    /// When the next ping is due; none while one is under way.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match (self.asked, self.answered) {
            (Some(_), _) => None,
            (None, Some(answered)) => Some(answered + PING_INTERVAL),
            (None, None) => Some(now),
        }
    }

    /// Notes a ping sent now; returns its number.
    pub fn ask(&mut self, now: Instant) -> u64 {
        self.number += 1;
        self.asked = Some(now);
        self.number
    }

    /// Notes an answer. One to an earlier question is no sign of life.
    pub fn answer(&mut self, pong: Pong, now: Instant) {
        if pong.number == self.number && self.asked.take().is_some() {
            self.answered = Some(now);
            self.last = Some(pong);
        }
    }

    /// How long the ping under way has been without an answer.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| now.saturating_duration_since(asked))
    }

    /// When the ping under way was sent.
    #[must_use]
    pub fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// Whether there was an answer since `then`.
    #[must_use]
    pub fn answered_since(&self, then: Instant) -> bool {
        self.answered.is_some_and(|answered| answered >= then)
    }
}

const PING_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn pong(number: u64) -> Pong {
        Pong { number, vitals: Default::default(), status: serde_json::Value::Null }
    }

    #[test]
    fn only_the_answer_to_the_last_ping_counts() {
        let start = Instant::now();
        let later = start + Duration::from_secs(4);
        let mut pulse = Pulse::default();
        assert_eq!(pulse.due(start), Some(start));
        let number = pulse.ask(start);
        assert_eq!(pulse.due(later), None);
        pulse.answer(pong(number + 1), later);
        assert_eq!(pulse.silent(later), Duration::from_secs(4));
        pulse.answer(pong(number), later);
        assert_eq!(pulse.silent(later), Duration::ZERO);
        assert_eq!(pulse.due(later), Some(later + PING_INTERVAL));
        assert!(pulse.answered_since(later) && !pulse.answered_since(later + PING_INTERVAL));
    }
}

//! One generation as the supervisor sees it: its state, and the deadline of that state.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::process::Program;
use crate::control::message::{Finished, Held, Pong, Ready};
use crate::control::statistics::Inside;
use crate::moment;

/// A worker made from one configuration and one binary.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generation {
    /// Counts up from 1 over the life of the supervisor.
    pub number: u64,
    /// Its process; 0 until it was started.
    pub pid: u32,
    /// What it runs; none until it was started.
    pub program: Option<Program>,
    /// Why it was made.
    pub purpose: Purpose,
    /// Its state.
    pub state: GenerationState,
    /// When it entered that state.
    #[serde(with = "moment")]
    pub since: Instant,
    /// When it was made.
    #[serde(with = "moment")]
    pub made: Instant,
    /// The content of its `Ready` message.
    pub ready: Option<Ready>,
    /// Whether its binary and configuration are good enough to make the next worker from, should it die.
    pub proven: bool,
    /// What it may have bound, from its `Loaded` message; none for a worker of 0.1, which does not say.
    #[serde(default)]
    pub may_bind: Option<Vec<Held>>,
    /// Its signs of life.
    pub pulse: Pulse,
    /// It closed its channel: the process must exit by then, or it is killed.
    #[serde(with = "moment::optional")]
    pub closed: Option<Instant>,
    /// The content of its `Finished` message.
    pub finished: Option<Finished>,
    /// The generation that it was last told to send its connections to.
    #[serde(rename = "successor")]
    pub successor: Option<u64>,
    /// Deadline for `segue reload --confirmed`; the generation is rolled back when it passes.
    #[serde(with = "moment::optional")]
    pub confirm_by: Option<Instant>,
    /// It was told to drain early.
    pub hurried: bool,
    /// What it has open, as last seen.
    pub inside: Inside,
    /// Its shared statistics can be read, and so can an answer there.
    #[serde(skip)]
    pub notes: bool,
    /// Bytes of memory that it uses, as last seen.
    pub memory: u64,
}

/// The state of a generation. Every state has a deadline: `Serving`, `Yielding`, `Parked` and `Draining` for the
/// answer to a ping, all but the first three of them for the state itself.
///
/// ```text
/// Starting ─Ready─▶ Entering ─Serving─▶ Serving ──the next one serves──▶ Parking ──Parked──▶ Parked
///                                       │  │  ▲                             │                 │  │
///                  is unfit, or was not │  │  │ Resumed      the next one   │  the next one   │  │ the next one
///                  confirmed in time    ▼  │  └── Resuming ◀─died, or gives─┴──way────────────┘  │ proved good
///                                Yielding  │                                                     ▼
///                                       │  │ the next one serves, and what was          ┌──▶ Draining
///              an older one serves again │  │ confirmed before this one is kept          │        │
///                                       ▼  ▼                                            │        │ exits
///                                     Withdrawing ────────────Parked────────────────────┘        ▼
///                                                                                               gone
/// ```
/// A generation that is late or hangs in any state is `Dying` until its process exits, and so is one that is not
/// needed: refused, or made of the same configuration and program as the one that serves. A worker may die in any
/// state; the state decides what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationState {
    /// Loads, checks, builds.
    Starting {
        /// The deadline.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Was told to serve.
    Entering {
        /// The deadline.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Accepts.
    Serving {
        /// The end of probation; none after it.
        #[serde(with = "moment::optional")]
        probation: Option<Instant>,
    },
    /// Accepts until another generation does: an older one that resumes, or a new one.
    Yielding,
    /// Was told to park, and drains after that: it will not resume.
    Withdrawing {
        /// The deadline.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Was told to park.
    Parking {
        /// The deadline.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Accepts nothing, can resume.
    Parked,
    /// Was told to accept again.
    Resuming {
        /// The deadline.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Finishes what is open, then exits.
    Draining {
        /// The deadline.
        #[serde(with = "moment")]
        until: Instant,
    },
    /// Not used any more; its exit is awaited.
    Dying {
        /// When it is killed; none once it was.
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
    /// A reload was requested.
    Reload,
    /// The worker that served died.
    Respawn,
}

impl Generation {
    /// A generation that starts now, with the deadline `until` for `Ready`.
    #[must_use]
    pub fn new(number: u64, purpose: Purpose, now: Instant, until: Instant) -> Self {
        Self {
            number,
            pid: 0,
            program: None,
            purpose,
            state: GenerationState::Starting { until },
            since: now,
            made: now,
            ready: None,
            proven: false,
            may_bind: None,
            pulse: Pulse::default(),
            closed: None,
            finished: None,
            successor: None,
            confirm_by: None,
            hurried: false,
            inside: Inside::default(),
            notes: false,
            memory: 0,
        }
    }

    /// Whether it accepts for good, or will within a moment unless it dies.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(
            self.state,
            GenerationState::Entering { .. } | GenerationState::Serving { .. } | GenerationState::Resuming { .. }
        )
    }

    /// The same, and also for one that accepts only until another one does.
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.is_serving() || self.state == GenerationState::Yielding
    }

    /// Whether a roll-back can return to it.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        matches!(self.state, GenerationState::Parking { .. } | GenerationState::Parked)
    }

    /// Whether another one serves in its place, or will soon.
    #[must_use]
    pub fn goes(&self) -> bool {
        matches!(
            self.state,
            GenerationState::Yielding | GenerationState::Withdrawing { .. } | GenerationState::Draining { .. }
        ) || self.is_parked()
    }

    /// Whether it drains and can still be told its successor.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        matches!(self.state, GenerationState::Draining { .. }) && self.is_there()
    }

    /// Whether it reads its channel.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.closed.is_none() && self.finished.is_none()
    }

    /// The time left to confirm it, if it must be confirmed.
    #[must_use]
    pub fn confirm_within(&self, now: Instant) -> Option<Duration> {
        self.confirm_by.map(|by| by.saturating_duration_since(now))
    }

    /// When the supervisor must look at it again if no message comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let by_state = match self.state {
            GenerationState::Starting { until }
            | GenerationState::Entering { until }
            | GenerationState::Parking { until }
            | GenerationState::Withdrawing { until }
            | GenerationState::Resuming { until }
            | GenerationState::Draining { until } => Some(until),
            GenerationState::Serving { probation } => {
                probation.and_then(|until| self.confirm_by.or(Some(until).filter(|until| self.owes_nothing(*until))))
            }
            GenerationState::Dying { until } => until,
            GenerationState::Yielding | GenerationState::Parked => None,
        };
        by_state.into_iter().chain(self.closed).min()
    }

    /// Whether no answer is outstanding whose absence would end its probation at `until`: an open ping is one.
    fn owes_nothing(&self, until: Instant) -> bool {
        self.pulse.asked().is_none() && !self.pulse.has_answered(until)
    }

    /// Client connections that it holds.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.inside.connections
    }

    /// Whether it answers pings in its state.
    #[must_use]
    pub fn is_pinged(&self) -> bool {
        matches!(
            self.state,
            GenerationState::Serving { .. }
                | GenerationState::Yielding
                | GenerationState::Parked
                | GenerationState::Draining { .. }
        )
    }

    /// The name of its state.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.state {
            GenerationState::Starting { .. } => "starting",
            GenerationState::Entering { .. } | GenerationState::Serving { .. } => "serving",
            GenerationState::Yielding => "yielding",
            GenerationState::Parking { .. } | GenerationState::Parked => "parked",
            GenerationState::Resuming { .. } => "resuming",
            GenerationState::Withdrawing { .. } | GenerationState::Draining { .. } => "draining",
            GenerationState::Dying { .. } => "dying",
        }
    }
}

/// The pings of a worker: at most one is open.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Pulse {
    number: u64,
    /// The open ping.
    #[serde(with = "moment::optional")]
    asked: Option<Instant>,
    /// The open ping may be answered in the shared statistics, and this is when to look there.
    #[serde(default, with = "moment::optional")]
    look: Option<Instant>,
    /// The last answer.
    #[serde(with = "moment::optional")]
    answered: Option<Instant>,
    /// When the ping was sent that this answers.
    #[serde(with = "moment::optional")]
    proof: Option<Instant>,
    /// The content of the last answer.
    pub last: Option<Pong>,
}

impl Pulse {
    /// When the next ping is due; none while one is open.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match (self.asked, self.answered) {
            (Some(_), _) => None,
            (None, Some(answered)) => Some(answered + PING_INTERVAL),
            (None, None) => Some(now),
        }
    }

    /// Notes a ping sent now; returns its number. If the worker `may_note` its answer, that is looked for later, and the
    /// next ping is due then.
    pub fn ask(&mut self, may_note: bool, now: Instant) -> u64 {
        self.number += 1;
        self.asked = Some(now);
        self.look = may_note.then(|| now + NOTED_INTERVAL);
        self.number
    }

    /// When to look whether the open ping was answered in the shared statistics.
    #[must_use]
    pub fn look(&self) -> Option<Instant> {
        self.look.filter(|_| self.asked.is_some())
    }

    /// The shared statistics say now that the ping of this number was answered last.
    pub fn noted(&mut self, answered: u64, now: Instant) {
        if self.look().is_none() {
            return;
        }
        if answered == self.number {
            self.proof = self.asked;
            self.answered = self.asked.take(); // or soon after
        } else if self.look.is_some_and(|look| look <= now) {
            self.look = Some(now + PING_INTERVAL);
        }
    }

    /// Notes an answer. An answer to an earlier ping does not count.
    pub fn answer(&mut self, mut pong: Pong, now: Instant) {
        if pong.number != self.number {
            return;
        }
        if let Some(asked) = self.asked.take() {
            self.proof = Some(asked);
            self.answered = Some(now);
            if let Some(last) = self.last.take().filter(|_| pong.status.is_none()) {
                pong.status = last.status;
            }
            self.last = Some(pong);
        }
    }

    /// How long the open ping has been without an answer.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| now.saturating_duration_since(asked))
    }

    /// When the open ping was sent.
    #[must_use]
    pub fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// Whether a ping was answered that was sent at `then` or later.
    #[must_use]
    pub fn has_answered(&self, then: Instant) -> bool {
        self.proof.is_some_and(|asked| asked >= then)
    }
}

const PING_INTERVAL: Duration = Duration::from_secs(1);
/// What looks and does not wait may take longer: to wake two processes each second is most of the work of an idle service.
const NOTED_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::WorkerStatus;

    fn pong(number: u64) -> Pong {
        Pong { number, vitals: Default::default(), status: Default::default(), wants_successor: false }
    }

    #[test]
    fn a_status_that_is_not_said_again_is_the_last_one() {
        let now = Instant::now();
        let mut pulse = Pulse::default();
        let mut answer = |threads: Option<u64>| {
            let number = pulse.ask(false, now);
            let status = threads.map(|threads| WorkerStatus { threads, ..WorkerStatus::default() });
            pulse.answer(Pong { status, ..pong(number) }, now);
            pulse.last.as_ref().and_then(|pong| Some(pong.status.as_ref()?.threads))
        };
        assert_eq!(answer(None), None);
        assert_eq!(answer(Some(1)), Some(1));
        assert_eq!(answer(None), Some(1));
        assert_eq!(answer(Some(2)), Some(2));
    }

    #[test]
    fn only_the_answer_to_the_last_ping_counts() {
        let start = Instant::now();
        let later = start + Duration::from_secs(4);
        let mut pulse = Pulse::default();
        assert_eq!(pulse.due(start), Some(start));
        let number = pulse.ask(false, start);
        assert_eq!(pulse.due(later), None);
        pulse.answer(pong(number + 1), later);
        assert_eq!(pulse.silent(later), Duration::from_secs(4));
        pulse.answer(pong(number), later);
        assert_eq!(pulse.silent(later), Duration::ZERO);
        assert_eq!(pulse.due(later), Some(later + PING_INTERVAL));
        assert!(pulse.has_answered(start) && !pulse.has_answered(later), "what counts is when it was asked");
    }

    #[test]
    fn an_answer_in_the_shared_statistics_is_one_and_is_looked_for_when_the_next_ping_is_due() {
        let start = Instant::now();
        let due = start + NOTED_INTERVAL;
        let mut pulse = Pulse::default();
        let number = pulse.ask(true, start);
        assert_eq!(pulse.look(), Some(due));
        pulse.noted(number - 1, due);
        assert_eq!((pulse.asked(), pulse.look()), (Some(start), Some(due + PING_INTERVAL)), "not answered yet");
        pulse.noted(number, due);
        assert_eq!((pulse.asked(), pulse.look()), (None, None));
        assert!(pulse.due(due).is_some_and(|next| next <= due), "the next ping is sent at once");
        assert!(pulse.has_answered(start));
        // a ping that is answered by a message
        let number = pulse.ask(false, due);
        pulse.noted(number, due);
        assert_eq!(pulse.asked(), Some(due));
    }
}

//! Probation: the time in which a roll-back from the serving generation is possible. Its good end and its bad end.
//!
//! A live generation that is rolled back hands over like any other: the older one accepts again; only then is this
//! one told to park, and it drains with the older one as its successor.

use std::time::{Duration, Instant};

use super::faults::{Ending, LONG_LIFE};
use super::input::{Action, Caller};
use super::{ACKNOWLEDGE, DRAIN_GRACE, Generations, failed};
use crate::control::message::{Pong, ToWorker};
use crate::control::request::ReloadVerdict;
use crate::control::statistics::Inside;
use crate::observe::event::Event;
use crate::supervisor::generation::{Generation, GenerationState};

impl Generations {
    /// Puts the generation that has taken over on probation. It inherits an open confirmation of the one before it.
    pub(super) fn begin_probation(&mut self, number: u64) {
        let until = self.now + self.settings.probation;
        self.enter(number, GenerationState::Serving { probation: Some(until) });
        if let Some(one) = self.get(number) {
            one.confirm_by = one.confirm_by.map(|by| by.max(until));
        }
    }

    pub(super) fn on_pong(&mut self, number: u64, pong: Pong) {
        let now = self.now;
        if let Some(generation) = self.get(number) {
            if pong.wants_successor {
                generation.successor = None; // its successor may be another one now, so it is linked anew
            }
            generation.pulse.answer(pong, now);
        }
        self.end_probation_when_over(number);
    }

    /// Being alive is not enough: every thread must have answered a ping sent after the probation, so that none hangs
    /// unseen in its last second.
    pub(super) fn end_probation_when_over(&mut self, number: u64) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let GenerationState::Serving { probation: Some(until) } = generation.state else {
            return;
        };
        match generation.confirm_by {
            Some(by) if now >= by => return self.give_way(number, "was not confirmed in time"),
            Some(_) => return,
            None if now < until => return,
            None => {}
        }
        if generation.pulse.has_answered(until) {
            self.log(Event::ProbationOver { generation: number });
            self.prove(number);
        } else if generation.pulse.asked().is_none() {
            self.ping(number);
        }
    }

    /// From here on no roll-back from this one is possible.
    pub(super) fn prove(&mut self, number: u64) {
        let Some(generation) = self.get(number) else { return };
        generation.proven = true;
        generation.confirm_by = None;
        generation.state = GenerationState::Serving { probation: None };
        self.actions.push(Action::Prove(number));
        let parked: Vec<_> =
            self.list.iter().filter(|one| one.state == GenerationState::Parked).map(|one| one.number).collect();
        self.drain(&parked, None);
    }

    /// Drains the parked generations: they finish or move their connections.
    pub(super) fn drain(&mut self, numbers: &[u64], timeout: Option<Duration>) {
        let now = self.now;
        let mut drained = Vec::new();
        for one in self.list.iter_mut().filter(|one| numbers.contains(&one.number)) {
            let whole = timeout.unwrap_or(one.ready.as_ref().map_or(UNSAID_DRAIN, |ready| ready.drain_timeout));
            one.state = GenerationState::Draining { until: now + whole + DRAIN_GRACE };
            one.since = now;
            drained.push((one.number, one.connections(), whole));
        }
        // none of them accepts any more; each is told its successor before it must let go of a connection
        self.link_to_successor();
        for (generation, connections, whole) in drained {
            self.actions.push(Action::Send(generation, ToWorker::Drain { timeout }));
            self.log(Event::Draining { generation, connections, timeout: whole });
        }
    }

    /// A caller confirms the generation that waits for it.
    pub(super) fn on_confirmation(&mut self, client: u64) {
        let now = self.now;
        let waits =
            |one: &&mut Generation| matches!(one.state, GenerationState::Serving { .. }) && one.confirm_by.is_some();
        let verdict = match self.list.iter_mut().rfind(waits) {
            Some(one) => {
                one.confirm_by = None;
                if let GenerationState::Serving { probation: Some(until) } = &mut one.state {
                    *until = (*until).max(now); // it must answer once more, as at the end of any probation
                }
                let generation = one.number;
                self.log(Event::Confirmed { generation });
                self.end_probation_when_over(generation);
                ReloadVerdict::Confirmed { generation }
            }
            None => ReloadVerdict::NothingToConfirm { why: self.stands_for_good() },
        };
        self.answer(Caller::Client(client), &verdict);
    }

    fn stands_for_good(&self) -> String {
        let serving = self.list.iter().rfind(|one| one.accepts()).map(|one| one.number);
        match (&self.note, serving) {
            (Some(note), _) => note.clone(),
            (None, Some(serving)) => format!("generation {serving} serves, and no reload asked for a confirmation"),
            (None, None) => "no generation serves".to_owned(),
        }
    }

    /// The worker reports that it cannot serve.
    pub(super) fn on_unfit(&mut self, number: u64, why: &str) {
        let why = format!("cannot serve: {why}");
        let Some(generation) = self.get(number) else { return };
        match generation.state {
            GenerationState::Serving { .. } => self.give_way(number, &why),
            GenerationState::Starting { .. } | GenerationState::Entering { .. } | GenerationState::Resuming { .. } => {
                self.end_misbehaving(number, &why, Ending::Kill);
            }
            // no older generation can serve instead
            GenerationState::Parked => self.drain(&[number], None),
            GenerationState::Parking { until } => generation.state = GenerationState::Withdrawing { until },
            GenerationState::Yielding
            | GenerationState::Withdrawing { .. }
            | GenerationState::Draining { .. }
            | GenerationState::Dying { .. } => {}
        }
    }

    /// Rolls back from a generation that serves and lives. It accepts until another one does: the parked one, or a
    /// new one made from what last proved good.
    fn give_way(&mut self, number: u64, why: &str) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let served = now.saturating_duration_since(generation.since);
        self.enter(number, GenerationState::Yielding);
        match self.parked_one() {
            Some(parked) => self.roll_back(number, parked, why, None),
            None => {
                if served >= LONG_LIFE {
                    self.backoff.reset();
                }
                self.log(Event::WorkerUnfit { generation: number, why: why.to_owned() });
                self.note = Some(format!("generation {number} {why}: the last good one is made again"));
                self.end_run_of(number, why, "the last good one starts again");
            }
        }
    }

    /// The generation that a roll-back returns to.
    pub(super) fn parked_one(&self) -> Option<u64> {
        let parked = |one: &&Generation| matches!(one.state, GenerationState::Parking { .. } | GenerationState::Parked);
        self.list.iter().rfind(parked).map(|one| one.number)
    }

    /// The parked one accepts again; `lost` is what died with the other one.
    pub(super) fn roll_back(&mut self, number: u64, parked: u64, why: &str, lost: Option<Inside>) {
        self.log(Event::RolledBack { failed: number, generation: parked, why: why.to_owned(), lost });
        self.note = Some(format!("rolled back to generation {parked}: generation {number} {why}"));
        self.enter(parked, GenerationState::Resuming { until: self.now + ACKNOWLEDGE });
        self.actions.push(Action::Send(parked, ToWorker::Resume));
        self.end_run_of(number, why, &format!("generation {parked} serves again"));
    }

    pub(super) fn end_run_of(&mut self, number: u64, why: &str, then: &str) {
        if self.is_run_of(number) {
            self.end_run(&failed(&format!("generation {number} {why} just after it began to serve; {then}")));
        }
    }

    pub(super) fn on_resumed(&mut self, number: u64) {
        if !self.stands(number, |state| matches!(state, GenerationState::Resuming { .. })) {
            return;
        }
        let until = self.now + self.settings.probation;
        // a generation that was superseded in its own probation resumes it
        let proven = self.list.iter().any(|one| one.number == number && one.proven);
        self.enter(number, GenerationState::Serving { probation: (!proven).then_some(until) });
        self.ping(number);
        self.withdraw(|one| matches!(one.state, GenerationState::Yielding));
    }

    /// Parks generations that will not resume: they drain after that.
    pub(super) fn withdraw(&mut self, which: impl Fn(&Generation) -> bool) {
        let until: Instant = self.now + ACKNOWLEDGE;
        let numbers: Vec<_> = self.list.iter().filter(|one| which(one)).map(|one| one.number).collect();
        for number in numbers {
            self.enter(number, GenerationState::Withdrawing { until });
            self.actions.push(Action::Send(number, ToWorker::Park));
        }
    }
}

/// The drain timeout of a generation that never said its own.
const UNSAID_DRAIN: Duration = Duration::from_secs(5);

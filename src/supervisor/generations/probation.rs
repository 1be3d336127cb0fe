//! The time in which a generation that serves can still be gone back from: how it ends well, and how it ends badly.
//!
//! A generation that lives and is gone back from hands over like any other: the older one accepts again, only then it is
//! told to park, and drains with that one as its heir.

use std::time::{Duration, Instant};

use super::faults::{Ending, LONG_LIFE};
use super::input::{Action, Caller};
use super::{ACKNOWLEDGE, DRAIN_GRACE, Generations, failed};
use crate::control::message::{Pong, ToWorker};
use crate::control::request::Verdict;
use crate::control::tally::Inside;
use crate::observe::event::Event;
use crate::supervisor::generation::{Generation, State};

impl Generations {
    /// Puts the one that has taken over on probation. What had to be confirmed and was not is owed by its successor.
    pub(super) fn begin_probation(&mut self, number: u64) {
        let until = self.now + self.settings.probation;
        self.enter(number, State::Serving { probation: Some(until) });
        if let Some(one) = self.get(number) {
            one.confirm_by = one.confirm_by.map(|by| by.max(until));
        }
    }

    pub(super) fn pong(&mut self, number: u64, pong: Pong) {
        let now = self.now;
        if let Some(generation) = self.get(number) {
            if pong.wants_heir {
                generation.heir = None; // whoever it is now, they are linked anew
            }
            generation.pulse.answer(pong, now);
        }
        self.end_probation_when_over(number);
    }

    /// Alive is not enough: every thread must have answered a ping of after the probation, so that none hangs in its
    /// last second unseen.
    pub(super) fn end_probation_when_over(&mut self, number: u64) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let State::Serving { probation: Some(until) } = generation.state else {
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

    /// There is no going back from this one any more.
    pub(super) fn prove(&mut self, number: u64) {
        let Some(generation) = self.get(number) else { return };
        generation.proven = true;
        generation.confirm_by = None;
        generation.state = State::Serving { probation: None };
        self.actions.push(Action::Prove(number));
        let parked: Vec<_> = self.list.iter().filter(|one| one.state == State::Parked).map(|one| one.number).collect();
        self.drain(&parked, None);
    }

    /// Has those that are parked finish or move what they hold.
    pub(super) fn drain(&mut self, numbers: &[u64], timeout: Option<Duration>) {
        let now = self.now;
        let mut drained = Vec::new();
        for one in self.list.iter_mut().filter(|one| numbers.contains(&one.number)) {
            let whole = timeout.unwrap_or(one.ready.as_ref().map_or(UNSAID_DRAIN, |ready| ready.drain_timeout));
            one.state = State::Draining { until: now + whole + DRAIN_GRACE };
            one.since = now;
            drained.push((one.number, one.connections(), whole));
        }
        // all of them are out of the way now; each hears who takes over before it is to let go of anything
        self.link_to_heir();
        for (generation, connections, whole) in drained {
            self.actions.push(Action::Tell(generation, ToWorker::Drain { timeout }));
            self.log(Event::Draining { generation, connections, timeout: whole });
        }
    }

    /// Somebody says that the generation that waits for it stays.
    pub(super) fn confirmed(&mut self, client: u64) {
        let now = self.now;
        let waits = |one: &&mut Generation| matches!(one.state, State::Serving { .. }) && one.confirm_by.is_some();
        let verdict = match self.list.iter_mut().rfind(waits) {
            Some(one) => {
                one.confirm_by = None;
                if let State::Serving { probation: Some(until) } = &mut one.state {
                    *until = (*until).max(now); // it must answer once more, as at the end of any probation
                }
                let generation = one.number;
                self.log(Event::Confirmed { generation });
                self.end_probation_when_over(generation);
                Verdict::Confirmed { generation }
            }
            None => Verdict::NothingToConfirm { why: self.stands_for_good() },
        };
        self.answer(Caller::Client(client), &verdict);
    }

    fn stands_for_good(&self) -> String {
        let serving = self.list.iter().rfind(|one| one.accepts()).map(|one| one.number);
        match (&self.note, serving) {
            (Some(note), _) => note.clone(),
            (None, Some(serving)) => format!("generation {serving} serves, and nobody asked to confirm it"),
            (None, None) => "no generation serves".to_owned(),
        }
    }

    /// The worker finds that it cannot serve.
    pub(super) fn unfit(&mut self, number: u64, why: &str) {
        let why = format!("cannot serve: {why}");
        let Some(generation) = self.get(number) else { return };
        match generation.state {
            State::Serving { .. } => self.give_way(number, &why),
            State::Starting { .. } | State::Entering { .. } | State::Resuming { .. } => {
                self.fail(number, &why, Ending::Kill);
            }
            // nothing to go back to
            State::Parked => self.drain(&[number], None),
            State::Parking { until } => generation.state = State::Withdrawing { until },
            State::Yielding | State::Withdrawing { .. } | State::Draining { .. } | State::Dying { .. } => {}
        }
    }

    /// One that serves and lives is gone back from. It accepts until another one does: the parked one, or one that is
    /// made from what last proved good.
    fn give_way(&mut self, number: u64, why: &str) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let served = now.saturating_duration_since(generation.since);
        self.enter(number, State::Yielding);
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

    /// Who can be gone back to.
    pub(super) fn parked_one(&self) -> Option<u64> {
        let parked = |one: &&Generation| matches!(one.state, State::Parking { .. } | State::Parked);
        self.list.iter().rfind(parked).map(|one| one.number)
    }

    /// The parked one accepts again; `lost` is what died with the other one.
    pub(super) fn roll_back(&mut self, number: u64, parked: u64, why: &str, lost: Option<Inside>) {
        self.log(Event::RolledBack { failed: number, generation: parked, why: why.to_owned(), lost });
        self.note = Some(format!("rolled back to generation {parked}: generation {number} {why}"));
        self.enter(parked, State::Resuming { until: self.now + ACKNOWLEDGE });
        self.actions.push(Action::Tell(parked, ToWorker::Resume));
        self.end_run_of(number, why, &format!("generation {parked} serves again"));
    }

    pub(super) fn end_run_of(&mut self, number: u64, why: &str, then: &str) {
        if self.is_run_of(number) {
            self.end_run(&failed(&format!("generation {number} {why} just after it began to serve; {then}")));
        }
    }

    pub(super) fn resumed(&mut self, number: u64) {
        if !self.stands(number, |state| matches!(state, State::Resuming { .. })) {
            return;
        }
        let until = self.now + self.settings.probation;
        // one that was superseded in its own probation goes on with it
        let proven = self.list.iter().any(|one| one.number == number && one.proven);
        self.enter(number, State::Serving { probation: (!proven).then_some(until) });
        self.ping(number);
        self.withdraw(|one| matches!(one.state, State::Yielding));
    }

    /// Has those park that are not to come back: they drain after it.
    pub(super) fn withdraw(&mut self, which: impl Fn(&Generation) -> bool) {
        let until: Instant = self.now + ACKNOWLEDGE;
        let numbers: Vec<_> = self.list.iter().filter(|one| which(one)).map(|one| one.number).collect();
        for number in numbers {
            self.enter(number, State::Withdrawing { until });
            self.actions.push(Action::Tell(number, ToWorker::Park));
        }
    }
}

/// How long one may drain that never said how long it may.
const UNSAID_DRAIN: Duration = Duration::from_secs(5);

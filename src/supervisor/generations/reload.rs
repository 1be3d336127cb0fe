//! Reloads: their callers, the verdicts, and whether there is anything to do at all.
//!
//! One runs and one waits at most. All callers that come while one runs share the next: the files may have changed
//! since the one that runs read them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::input::{Action, Caller, Notice, Recipe};
use super::{Generations, LAST_WORDS, ServicePhase, failed};
use crate::control::message::{Serves, ToWorker};
use crate::control::request::{Conditions, ReloadVerdict};
use crate::moment;
use crate::observe::event::Event;
use crate::supervisor::generation::{Generation, GenerationState, Purpose};

/// The callers that share a reload.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Callers {
    callers: Vec<Caller>,
    conditions: Conditions,
}

/// A reload under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReloadRun {
    /// None while it waits for an older generation to exit.
    pub(super) generation: Option<u64>,
    asked: Callers,
    #[serde(with = "moment")]
    began: Instant,
}

impl Callers {
    fn add(&mut self, caller: Caller, conditions: Conditions) {
        self.conditions = self.conditions.and(conditions);
        // a signal needs no answer: many count as one
        if caller != Caller::Signal || !self.callers.contains(&caller) {
            self.callers.push(caller);
        }
    }
}

impl Generations {
    pub(super) fn on_reload_request(&mut self, caller: Caller, conditions: Conditions) {
        if matches!(self.phase, ServicePhase::Stopping | ServicePhase::Over) {
            return self.answer(caller, &failed("the service is stopping"));
        }
        self.pending.add(caller, conditions);
        self.run_pending();
    }

    /// Begins the next reload, when callers wait for one and none runs.
    pub(super) fn run_pending(&mut self) {
        if self.phase != ServicePhase::Running || self.run.is_some() || self.pending.callers.is_empty() {
            return;
        }
        let asked = std::mem::take(&mut self.pending);
        self.actions.push(Action::Notify(Notice::Reloading));
        self.run = Some(ReloadRun { generation: None, asked, began: self.now });
        self.spawn_for_run();
    }

    /// Makes the generation of the current reload, once the bounds allow it.
    pub(super) fn spawn_for_run(&mut self) {
        if self.run.as_ref().is_none_or(|run| run.generation.is_some()) || !self.has_room() {
            return;
        }
        let generation = self.last_number + 1;
        if let Some(run) = &mut self.run {
            run.generation = Some(generation);
        }
        self.log(Event::ReloadStarted { generation });
        self.spawn(Purpose::Reload, Recipe::Installed);
    }

    /// A worker says what it would serve.
    pub(super) fn on_loaded(&mut self, number: u64, config_hash: &str) {
        if !self.stands(number, |state| matches!(state, GenerationState::Starting { .. })) {
            return;
        }
        match self.same_as(number, config_hash) {
            Some(serving) => self.on_unchanged(number, serving),
            None => self.actions.push(Action::Send(number, ToWorker::Build)),
        }
    }

    /// The generation that serves, if it is made of the same as `number` and its callers accept that.
    fn same_as(&self, number: u64, config_hash: &str) -> Option<u64> {
        let run = self.run.as_ref().filter(|run| run.generation == Some(number) && !run.asked.conditions.force)?;
        let program = self.list.iter().find(|one| Some(one.number) == run.generation)?.program?;
        let same = |one: &&Generation| {
            let hash = one.ready.as_ref().map(|ready| ready.config_hash.as_str());
            let serves = matches!(one.state, GenerationState::Serving { .. }) && one.is_there();
            serves && one.program == Some(program) && hash == Some(config_hash) && !config_hash.is_empty()
        };
        self.list.iter().rfind(same).map(|one| one.number)
    }

    /// The reload has nothing to do: the serving generation stays, and the worker that found out exits.
    fn on_unchanged(&mut self, number: u64, serving: u64) {
        self.enter(number, GenerationState::Dying { until: Some(self.now + LAST_WORDS) });
        self.actions.push(Action::Send(number, ToWorker::Stop { timeout: Some(Duration::ZERO) }));
        let Some(one) = self.list.iter().find(|one| one.number == serving) else { return };
        let verdict = ReloadVerdict::Unchanged {
            generation: serving,
            served: self.now.saturating_duration_since(one.since),
            warnings: one.ready.as_ref().map(|ready| ready.warnings.clone()).unwrap_or_default(),
            confirm_within: one.confirm_within(self.now),
        };
        self.note = None;
        self.log(Event::ReloadUnchanged { generation: serving });
        self.end_run(&verdict);
    }

    /// The generation of the current reload has taken over.
    pub(super) fn on_reload_done(&mut self, number: u64) {
        let (now, began) = (self.now, self.run.as_ref().map_or(self.now, |run| run.began));
        let Some(one) = self.list.iter().find(|one| one.number == number) else { return };
        let changes = self.changes_of(one);
        let ready = one.ready.clone();
        let (summary, warnings) = ready.map(|ready| (ready.summary, ready.warnings)).unwrap_or_default();
        let confirm_within = one.confirm_within(now);
        let took = now.saturating_duration_since(one.made);
        self.note = None;
        self.log(Event::ReloadDone { generation: number, took, changes });
        let took = now.saturating_duration_since(began);
        self.end_run(&ReloadVerdict::Serving { generation: number, summary, took, warnings, confirm_within });
    }

    /// What is different in a generation that has taken over: another program first.
    fn changes_of(&self, new: &Generation) -> Vec<String> {
        let Some(ready) = &new.ready else { return Vec::new() };
        let before = self.list.iter().rfind(|one| one.number < new.number && one.state == GenerationState::Parked);
        let program = before.filter(|one| one.program != new.program).map(|one| {
            let version = one.ready.as_ref().map_or("unknown", |ready| ready.version.as_str());
            match version == ready.version {
                true => format!("program: another build of version {version}"),
                false => format!("program: version {version} → {}", ready.version),
            }
        });
        program.into_iter().chain(ready.changes.iter().cloned()).collect()
    }

    pub(super) fn is_run_of(&self, number: u64) -> bool {
        self.run.as_ref().is_some_and(|run| run.generation == Some(number))
    }

    /// When the generation of the current reload must be confirmed, if its callers want that.
    pub(super) fn confirm_by(&self, number: u64) -> Option<Instant> {
        let run = self.run.as_ref().filter(|run| run.generation == Some(number))?;
        run.asked.conditions.confirm.map(|within| self.now + within.min(LONGEST_CONFIRM))
    }

    /// What a new configuration must not lack: a file that was cut short, or lost, takes every site away. A caller
    /// that intends this passes `--force`.
    #[must_use]
    pub fn keeps(&self, number: u64) -> Serves {
        let run = self.run.as_ref().filter(|run| run.generation == Some(number));
        run.filter(|run| !run.asked.conditions.force).map(|_| self.serves).unwrap_or_default()
    }

    pub(super) fn end_run(&mut self, verdict: &ReloadVerdict) {
        let Some(run) = self.run.take() else { return };
        // before the callers get the verdict: systemctl reload returns when the caller exits
        self.actions.push(Action::Notify(Notice::Ready));
        for caller in run.asked.callers {
            self.answer(caller, verdict);
        }
        self.run_pending();
    }

    /// Fails the callers of the next reload, which will not run.
    pub(super) fn turn_away(&mut self, why: &str) {
        for caller in std::mem::take(&mut self.pending).callers {
            self.answer(caller, &failed(why));
        }
    }

    pub(super) fn answer(&mut self, caller: Caller, verdict: &ReloadVerdict) {
        if let Caller::Client(client) = caller {
            self.actions.push(Action::Answer(client, verdict.clone()));
        }
    }
}

/// The longest time until a confirmation; the documentation of the command line states it.
const LONGEST_CONFIRM: Duration = Duration::from_secs(3600);

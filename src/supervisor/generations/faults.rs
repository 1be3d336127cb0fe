//! Failures of workers: a refused configuration, a hang, a death. And the end of the service.

use std::time::{Duration, Instant};

use super::input::{Action, Notice, Recipe};
use super::{DRAIN_GRACE, Generations, LAST_WORDS, ServicePhase, failed};
use crate::control::message::{Cause, Finished, Refused, RenderedProblem, ToWorker};
use crate::control::request::ReloadVerdict;
use crate::control::statistics::Inside;
use crate::observe::event::Event;
use crate::supervisor::generation::{Generation, GenerationState, Purpose};

impl Generations {
    pub(super) fn on_refused(&mut self, number: u64, refused: Refused) {
        if !self.stands(number, |state| matches!(state, GenerationState::Starting { .. })) {
            return;
        }
        self.enter(number, GenerationState::Dying { until: Some(self.now + LAST_WORDS) });
        let problems = refused.problems.clone();
        self.on_start_failure(number, refused, ReloadVerdict::Refused { problems }, false);
    }

    /// A generation that did not come to serve is discarded. One that was told to serve may have accepted
    /// connections.
    fn on_start_failure(&mut self, number: u64, refused: Refused, verdict: ReloadVerdict, was_told_to: bool) {
        let Some(generation) = self.get(number) else { return };
        let (purpose, pid) = (generation.purpose, generation.pid);
        match purpose {
            Purpose::First => self.on_first_start_failure(&refused),
            Purpose::Reload => self.on_reload_failure(number, refused, verdict),
            Purpose::Respawn => {
                let why = refused.problems.first().map_or("refused", |problem| problem.brief.as_str());
                let when = if was_told_to { "as it began to serve" } else { "before it served" };
                let how = format!("{when}: {why}");
                self.on_death(number, pid, how);
            }
        }
    }

    fn on_first_start_failure(&mut self, refused: &Refused) {
        let exit = match refused.cause {
            Cause::Config => EXIT_CONFIG,
            Cause::System => 1,
        };
        let brief = refused.problems.first().map_or("", |problem| problem.brief.as_str());
        self.note = Some(format!("start refused: {brief}"));
        let problems = texts(&refused.problems);
        if self.refused.as_ref() != Some(&problems) {
            self.log(Event::StartRefused { problems: problems.clone() });
        }
        if self.looks_again && self.refused.is_none() {
            self.refused = Some(problems);
            self.second_look = Some(self.now + SECOND_LOOK);
            return;
        }
        self.turn_away("the service did not start");
        self.actions.push(Action::Exit(exit));
    }

    /// Makes the first generation again after a pause: a `systemctl start` that comes meanwhile waits for this start,
    /// and the configuration may be corrected by then.
    pub(super) fn look_again_when_due(&mut self) {
        if self.second_look.is_some_and(|at| at <= self.now) {
            self.second_look = None;
            self.spawn(Purpose::First, Recipe::Installed);
        }
    }

    fn on_reload_failure(&mut self, number: u64, refused: Refused, verdict: ReloadVerdict) {
        let going_on = self.list.iter().rfind(|one| one.accepts() && one.number != number);
        let generation = going_on.map_or(0, |one| one.number);
        self.log(Event::ReloadRefused { generation, problems: texts(&refused.problems) });
        let brief = refused.problems.first().map_or("", |problem| problem.brief.as_str());
        let word = if matches!(verdict, ReloadVerdict::Refused { .. }) { "refused" } else { "failed" };
        self.note = Some(format!("reload {word}: {brief}"));
        if self.is_run_of(number) {
            self.end_run(&verdict);
        }
    }

    /// A worker that closed its channel is about to exit, and its exit status says more; if it does not exit, it is
    /// killed.
    pub(super) fn on_channel_closed(&mut self, number: u64) {
        let late = self.now + LAST_BREATH;
        if let Some(generation) = self.get(number) {
            generation.closed = Some(late);
        }
    }

    /// The process of a generation exited.
    pub(super) fn on_exit(&mut self, number: u64, how: &str) {
        let Some(index) = self.list.iter().position(|one| one.number == number) else {
            return;
        };
        let generation = &self.list[index];
        let (state, pid, finished) = (generation.state, generation.pid, generation.finished.clone());
        match (state, finished) {
            (GenerationState::Draining { .. } | GenerationState::Dying { .. }, Some(finished)) => {
                let Finished { finished, moved, cut, .. } = finished;
                self.log(Event::Drained { generation: number, finished, moved, cut });
            }
            (GenerationState::Draining { .. }, None) => self.on_unneeded_death(number, pid, how),
            (GenerationState::Dying { .. }, None) => {} // said already
            _ => self.on_loss(number, how),
        }
        self.list.retain(|one| one.number != number);
        self.settle();
    }

    /// Ends a worker that misbehaves. It counts as lost at once.
    pub(super) fn end_misbehaving(&mut self, number: u64, why: &str, ending: Ending) {
        if self.stands(number, |state| matches!(state, GenerationState::Dying { .. })) {
            return;
        }
        if self.get(number).is_some_and(|one| one.finished.is_some()) {
            // a worker that has sent `Finished` takes nothing with it; the content is reported at its exit
            self.enter(number, GenerationState::Dying { until: None });
            self.actions.push(Action::Kill(number));
            return self.settle();
        }
        self.on_loss(number, why);
        let until = match ending {
            Ending::Kill => None,
            Ending::Abort => Some(self.now + LAST_WORDS),
        };
        self.enter(number, GenerationState::Dying { until });
        match ending {
            Ending::Kill => self.actions.push(Action::Kill(number)),
            Ending::Abort => self.actions.push(Action::Abort(number)),
        }
        self.settle();
    }

    /// What follows when a generation is lost in its state. The caller moves it out of that state.
    fn on_loss(&mut self, number: u64, why: &str) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let (state, pid, since) = (generation.state, generation.pid, generation.since);
        // it is not counted on any more
        generation.state = GenerationState::Dying { until: None };
        match state {
            GenerationState::Starting { .. } | GenerationState::Entering { .. } => {
                let mut why = format!("the worker of generation {number} {why}");
                let connections = self.inside(number).connections;
                if connections > 0 {
                    why.push_str(&format!(", with {connections} connections that it had accepted already"));
                }
                let refused = Refused { cause: Cause::System, problems: vec![RenderedProblem::plain(&why)] };
                self.on_start_failure(
                    number,
                    refused,
                    ReloadVerdict::Failed { why },
                    matches!(state, GenerationState::Entering { .. }),
                );
            }
            GenerationState::Serving { .. } | GenerationState::Resuming { .. } => {
                self.on_loss_of_serving(number, why, now - since)
            }
            GenerationState::Yielding
            | GenerationState::Parking { .. }
            | GenerationState::Parked
            | GenerationState::Withdrawing { .. }
            | GenerationState::Draining { .. } => self.on_unneeded_death(number, pid, why),
            GenerationState::Dying { .. } => {}
        }
    }

    /// The generation that served is lost: the parked one resumes, or a new one is made.
    fn on_loss_of_serving(&mut self, number: u64, why: &str, served: Duration) {
        if served >= LONG_LIFE {
            self.backoff.reset();
        }
        let pid = self.get(number).map_or(0, |one| one.pid);
        match self.parked_one() {
            Some(parked) => self.roll_back(number, parked, why, Some(self.inside(number))),
            None => {
                self.on_death(number, pid, why.to_owned());
                self.end_run_of(number, why, "the last good one starts again");
            }
        }
    }

    fn on_death(&mut self, generation: u64, pid: u32, how: String) {
        let respawn_in = self.keep_serving();
        let lost = self.inside(generation);
        self.log(Event::WorkerDied { generation, pid, how, lost, respawn_in });
    }

    fn on_unneeded_death(&mut self, generation: u64, pid: u32, how: &str) {
        let lost = self.inside(generation);
        self.log(Event::WorkerDied { generation, pid, how: how.to_owned(), lost, respawn_in: None });
    }

    fn inside(&self, number: u64) -> Inside {
        self.list.iter().find(|one| one.number == number).map(|one| one.inside).unwrap_or_default()
    }

    /// Starts a worker when none serves and none is about to. Returns the pause before it, if it starts one.
    pub(super) fn keep_serving(&mut self) -> Option<Duration> {
        let on_its_way =
            |one: &Generation| one.purpose == Purpose::Respawn && matches!(one.state, GenerationState::Starting { .. });
        let covered = self.list.iter().any(|one| self.covers(one) || on_its_way(one));
        if covered || self.phase != ServicePhase::Running || self.respawn_at.is_some() {
            return None;
        }
        let wait = self.backoff.next_wait();
        self.respawn_at = Some(self.now + wait);
        Some(wait)
    }

    pub(super) fn respawn_when_due(&mut self) {
        if self.respawn_at.is_some_and(|at| at <= self.now) {
            self.respawn_at = None;
            if self.phase == ServicePhase::Running && !self.list.iter().any(|one| self.covers(one)) {
                self.spawn(Purpose::Respawn, Recipe::Proven);
            }
        }
    }

    /// Whether it serves, or will within a moment. A worker that was told to resume and does not answer may hang:
    /// another one is made beside it, and the first of the two to accept serves.
    pub(super) fn covers(&self, one: &Generation) -> bool {
        one.is_serving() && Self::doubted_at(one).is_none_or(|at| self.now < at)
    }

    /// When a worker that resumes is not counted on any more, unless it has answered.
    pub(super) fn doubted_at(one: &Generation) -> Option<Instant> {
        matches!(one.state, GenerationState::Resuming { .. }).then(|| one.since + RESUME_PATIENCE)
    }

    pub(super) fn tick(&mut self) {
        let numbers: Vec<_> = self.list.iter().map(|one| one.number).collect();
        for number in numbers {
            self.check_deadline(number);
            self.end_probation_when_over(number);
            self.check_pulse(number);
        }
    }

    fn check_deadline(&mut self, number: u64) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        if generation.closed.is_some_and(|late| late <= now) {
            generation.closed = None;
            return self.end_misbehaving(number, "closed its control channel and did not exit", Ending::Kill);
        }
        if generation.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let late = now - generation.since;
        match &mut generation.state {
            GenerationState::Starting { .. } => {
                let why = format!("was not ready within {} s", self.settings.start_timeout.as_secs_f32());
                self.end_misbehaving(number, &why, Ending::Kill);
            }
            GenerationState::Entering { .. }
            | GenerationState::Parking { .. }
            | GenerationState::Withdrawing { .. }
            | GenerationState::Resuming { .. } => {
                self.on_hang(number, late);
            }
            GenerationState::Draining { .. } => {
                self.end_misbehaving(number, "was killed because it drained for too long", Ending::Kill)
            }
            GenerationState::Dying { until } => {
                *until = None;
                self.actions.push(Action::Kill(number));
            }
            GenerationState::Serving { .. } | GenerationState::Yielding | GenerationState::Parked => {}
        }
    }

    fn check_pulse(&mut self, number: u64) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        if !generation.is_pinged() {
            return;
        }
        if generation.pulse.due(now).is_some_and(|due| due <= now) {
            self.ping(number);
        } else if let Some(generation) = self.list.iter().find(|one| one.number == number)
            && self.hangs_at(generation).is_some_and(|at| at <= now)
        {
            self.on_hang(number, generation.pulse.silent(now));
        }
    }

    /// When the open ping is overdue. A generation on probation has less time, so that the parked one still exists.
    pub(super) fn hangs_at(&self, generation: &Generation) -> Option<Instant> {
        let limit = match generation.state {
            GenerationState::Serving { probation: Some(_) } => self.settings.hang_timeout.min(HANG_IN_PROBATION),
            GenerationState::Serving { probation: None }
            | GenerationState::Yielding
            | GenerationState::Parked
            | GenerationState::Draining { .. } => self.settings.hang_timeout,
            _ => return None,
        };
        generation.pulse.asked().map(|asked| asked + limit)
    }

    fn on_hang(&mut self, number: u64, silent: Duration) {
        let Some(generation) = self.get(number) else { return };
        let pid = generation.pid;
        if generation.finished.is_some() {
            return self.end_misbehaving(number, "", Ending::Kill); // it waits for the journal, or for another outside part
        }
        self.log(Event::WorkerHung { generation: number, pid, silent });
        let why = format!("did not answer for {:.1} s", silent.as_secs_f32());
        self.end_misbehaving(number, &why, Ending::Abort);
    }

    /// Pings a worker. One that proved good may answer where that wakes no process; this is seen two seconds
    /// later, which changes no deadline of a hang but a very short one.
    pub(super) fn ping(&mut self, number: u64) {
        let patient = self.settings.hang_timeout >= LEAST_PATIENCE;
        let may_note = |one: &&Generation| one.state == GenerationState::Serving { probation: None } && one.notes;
        let may_note = patient && self.list.iter().find(|one| one.number == number).as_ref().is_some_and(may_note);
        self.ask(number, may_note);
    }

    pub(super) fn ask(&mut self, number: u64, may_note: bool) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let keeps_status = generation.pulse.last.as_ref().is_some_and(|pong| pong.status.is_some());
        let number_of_ping = generation.pulse.ask(may_note, now);
        self.actions.push(Action::Send(number, ToWorker::Ping { number: number_of_ping, keeps_status, may_note }));
    }

    pub(super) fn stop(&mut self) {
        if self.phase == ServicePhase::Stopping {
            return self.stop_at_once();
        }
        self.phase = ServicePhase::Stopping;
        (self.respawn_at, self.second_look) = (None, None);
        let timeouts = self.list.iter().filter_map(|one| one.ready.as_ref()).map(|ready| ready.stop_timeout);
        let timeout = timeouts.max().unwrap_or_default();
        self.actions.push(Action::Notify(Notice::Stopping));
        self.log(Event::Stopping { timeout });
        self.end_run(&failed("the service is stopping"));
        self.turn_away("the service is stopping");
        let all: Vec<_> = self.list.iter().map(|one| one.number).collect();
        all.into_iter().for_each(|number| self.stop_one(number));
    }

    /// A second request to stop: open connections are cut. That is no death of a worker.
    fn stop_at_once(&mut self) {
        let connections: u64 = self.list.iter().map(Generation::connections).sum();
        let text = format!("told again to stop: every worker is killed, with {connections} connections open");
        self.log(Event::SupervisorWarning { text });
        let all: Vec<_> = self.list.iter().map(|one| one.number).collect();
        for number in all {
            self.enter(number, GenerationState::Dying { until: None });
            self.actions.push(Action::Kill(number));
        }
    }

    fn stop_one(&mut self, number: u64) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let Some(ready) = &generation.ready else {
            self.enter(number, GenerationState::Dying { until: None });
            return self.actions.push(Action::Kill(number));
        };
        if matches!(generation.state, GenerationState::Dying { .. }) {
            return;
        }
        let until = now + ready.stop_timeout + DRAIN_GRACE;
        self.enter(number, GenerationState::Draining { until });
        self.actions.push(Action::Send(number, ToWorker::Stop { timeout: None }));
    }

    pub(super) fn end_service(&mut self) {
        self.phase = ServicePhase::Over;
        self.log(Event::Stopped { ran: self.now - self.began });
        self.actions.push(Action::Exit(0));
    }
}

/// How a worker that misbehaves is ended.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    /// At once.
    Kill,
    /// With a core dump: it hangs, and the dump shows where.
    Abort,
}

fn texts(problems: &[RenderedProblem]) -> Vec<String> {
    problems.iter().map(|problem| problem.text.clone()).collect()
}

/// `EX_CONFIG` of sysexits(3): systemd does not try again (RestartPreventExitStatus=).
const EXIT_CONFIG: u8 = 78;
/// With less time to answer, an answer that is seen a second later could be too late.
const LEAST_PATIENCE: Duration = Duration::from_secs(3);
/// How long the worker on probation may leave a ping without an answer.
const HANG_IN_PROBATION: Duration = Duration::from_secs(3);
/// A worker that served for this long did not die of how it was made; and a worker made each second costs little.
pub(super) const LONG_LIFE: Duration = Duration::from_secs(1);
/// How long a worker that was told to resume may take to answer before another one is made.
const RESUME_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between a start that was refused and the next. A client that waits at a socket of systemd makes systemd
/// start the service again as soon as it ends; after too many starts in a short time (`TriggerLimitBurst=`, 20 within
/// 2 s) systemd closes the socket for good.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// The time between the closed channel of a worker that dies and its exit.
const LAST_BREATH: Duration = Duration::from_millis(500);

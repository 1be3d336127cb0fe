//! What is to be done about the generations: inputs in, actions out, the time passed in. No process, socket or clock
//! is touched here; [`super::Supervisor`] carries the actions out.
//!
//! The order of a hand-over is by acknowledgement: the next generation says that it serves, only then the one before
//! is told to park; it says that it is parked, only then callers hear the verdict. The parked one drains when the
//! serving one has lived through its probation, and resumes when that one dies or hangs in it.

mod faults;
mod heirs;
mod input;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::faults::Ending;
pub use self::input::{Action, Caller, Input, Notice, Recipe};
use super::backoff::Backoff;
use super::generation::{Generation, Purpose, State};
use super::upgrade::moment;
use crate::control::message::{Pong, Ready, ToSupervisor, ToWorker};
use crate::control::request::Verdict;
use crate::observe::event::Event;

/// Every generation that has a process, and what was asked of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generations {
    settings: Settings,
    phase: Phase,
    /// The time of the input that is being handled.
    #[serde(with = "moment")]
    now: Instant,
    #[serde(with = "moment")]
    began: Instant,
    last_number: u64,
    /// Oldest first.
    list: Vec<Generation>,
    /// The reload that is under way.
    run: Option<Run>,
    /// Who asked for a reload since it began.
    pending: Vec<Caller>,
    backoff: Backoff,
    /// When the next worker starts because none serves.
    #[serde(with = "moment::optional")]
    respawn_at: Option<Instant>,
    /// What an operator should know until the next good reload.
    note: Option<String>,
    /// Empty between two inputs.
    #[serde(skip)]
    actions: Vec<Action>,
}

/// Times that do not come from workers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// A worker that is not ready after this is killed.
    pub start_timeout: Duration,
    /// How long the generation before stays parked after a hand-over.
    pub probation: Duration,
    /// A worker that serves and has not answered for this long is replaced.
    pub hang_timeout: Duration,
}

/// Where the service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No generation ever served.
    Starting,
    /// One serves, or is about to.
    Running,
    /// The service ends.
    Stopping,
    /// It ended.
    Over,
}

/// A reload under way.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    generation: u64,
    callers: Vec<Caller>,
    #[serde(with = "moment")]
    began: Instant,
}

impl Generations {
    /// No generation yet; [`Input::Begin`] makes the first.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            phase: Phase::Starting,
            now,
            began: now,
            last_number: 0,
            list: Vec::new(),
            run: None,
            pending: Vec::new(),
            backoff: Backoff::default(),
            respawn_at: None,
            note: None,
            actions: Vec::new(),
        }
    }

    /// What to do about `input`, in this order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        self.now = now;
        match input {
            Input::Begin => self.spawn(Purpose::First, Recipe::Installed),
            Input::Asked(caller) => self.asked(caller),
            Input::Spawned(number, pid) => self.spawned(number, pid),
            Input::SpawnFailed(number, why) | Input::Exited(number, why) => self.gone(number, &why),
            Input::Said(number, word) => self.said(number, word),
            Input::Closed(number) => self.closed(number),
            Input::Nonsense(number, why) => self.fail(number, &why, Ending::Kill),
            Input::Stop => self.stop(),
            Input::Tick => self.tick(),
        }
        self.keep_serving();
        self.respawn_when_due();
        self.link_to_heir();
        if self.phase == Phase::Stopping && self.list.is_empty() {
            self.over();
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Input::Tick`] is due next.
    #[must_use]
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        let deadlines = self.list.iter().filter_map(Generation::deadline);
        let pings = self.list.iter().filter(|one| one.is_pinged()).filter_map(|one| one.pulse.due(now));
        let hangs = self.list.iter().filter_map(|one| self.hangs_at(one));
        deadlines.chain(pings).chain(hangs).chain(self.respawn_at).min()
    }

    /// Where the service stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Every generation, oldest first.
    #[must_use]
    pub fn list(&self) -> &[Generation] {
        &self.list
    }

    /// What an operator should know until the next good reload.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether a start, a reload or a stop is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.phase != Phase::Running || self.run.is_some()
    }

    /// Whether nothing is under way that ends within a moment: a good time to do something else.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let stays = |one: &Generation| match one.state {
            State::Serving { .. } | State::Parked | State::Draining { .. } | State::Dying { .. } => true,
            State::Starting { .. } | State::Entering { .. } | State::Parking { .. } | State::Resuming { .. } => false,
        };
        !self.is_busy() && self.list.iter().all(stays)
    }

    /// What an operator should know from now on.
    pub fn set_note(&mut self, note: String) {
        self.note = Some(note);
    }

    /// The probation of a hand-over, as set.
    #[must_use]
    pub fn probation(&self) -> Duration {
        self.settings.probation
    }

    /// When the next worker starts because none serves.
    #[must_use]
    pub fn respawn_at(&self) -> Option<Instant> {
        self.respawn_at
    }

    /// Whether the service does what it should: the worker that serves answers. While none serves, the supervisor is
    /// at work on it, so that is no reason for systemd to intervene.
    #[must_use]
    pub fn is_sound(&self, now: Instant) -> bool {
        let mut serving = self.list.iter().filter(|one| matches!(one.state, State::Serving { .. }));
        serving.all(|one| one.pulse.silent(now) < self.settings.hang_timeout)
    }
}

// The story: from the wish for a generation to its hand-over.
impl Generations {
    fn asked(&mut self, caller: Caller) {
        match self.phase {
            Phase::Stopping | Phase::Over => self.answer(caller, &failed("the service is stopping")),
            Phase::Running if self.run.is_none() => self.start_run(vec![caller]),
            // what is on disk may have changed since that run read it: the next run is for this caller
            Phase::Running | Phase::Starting if caller == Caller::Signal && self.pending.contains(&caller) => {}
            Phase::Running | Phase::Starting => self.pending.push(caller),
        }
    }

    fn start_run(&mut self, callers: Vec<Caller>) {
        let generation = self.last_number + 1;
        self.actions.push(Action::Notify(Notice::Reloading));
        self.log(Event::ReloadStarted { generation });
        self.run = Some(Run { generation, callers, began: self.now });
        self.spawn(Purpose::Reload, Recipe::Installed);
    }

    fn spawn(&mut self, purpose: Purpose, recipe: Recipe) {
        self.make_room();
        self.last_number += 1;
        let until = self.now + self.settings.start_timeout;
        self.list.push(Generation::new(self.last_number, purpose, self.now, until));
        self.actions.push(Action::Spawn(self.last_number, recipe));
    }

    /// Old generations must not pile up: the oldest finishes now when there are too many.
    fn make_room(&mut self) {
        let living = self.list.iter().filter(|one| !matches!(one.state, State::Dying { .. })).count();
        if living < MOST_GENERATIONS {
            return;
        }
        let timeout = Some(SHORT_DRAIN);
        let until = self.now + SHORT_DRAIN + DRAIN_GRACE;
        let oldest = self.list.iter_mut().find(|one| matches!(one.state, State::Draining { .. }));
        if let Some(oldest) = oldest {
            oldest.state = State::Draining { until };
            self.actions.push(Action::Tell(oldest.number, ToWorker::Stop { timeout }));
        }
    }

    fn spawned(&mut self, number: u64, pid: u32) {
        if let Some(generation) = self.get(number) {
            generation.pid = pid;
        }
    }

    fn said(&mut self, number: u64, word: ToSupervisor) {
        match word {
            ToSupervisor::Refused(refused) => self.refused(number, refused),
            ToSupervisor::Ready(ready) => self.ready(number, ready),
            ToSupervisor::Serving => self.serving(number),
            ToSupervisor::Parked => self.parked(number),
            ToSupervisor::Resumed => self.resumed(number),
            ToSupervisor::Pong(pong) => self.pong(number, pong),
            ToSupervisor::Finished(finished) => {
                if let Some(generation) = self.get(number) {
                    generation.finished = Some(finished);
                }
            }
            // answered by who holds the sockets and passes memories on
            ToSupervisor::Hello { .. } | ToSupervisor::Bind { .. } | ToSupervisor::Recall | ToSupervisor::Snapshot => {}
        }
    }

    fn ready(&mut self, number: u64, ready: Ready) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        if !matches!(generation.state, State::Starting { .. }) {
            return;
        }
        let (pid, took, purpose) = (generation.pid, now - generation.made, generation.purpose);
        generation.ready = Some(ready);
        self.log(Event::WorkerReady { generation: number, pid, took });
        let not_needed = purpose == Purpose::Respawn && self.list.iter().any(Generation::is_serving);
        if not_needed {
            // a reload came to serve meanwhile
            self.drain(&[number], Some(Duration::ZERO));
        } else {
            self.enter(number, State::Entering { until: now + ACKNOWLEDGE });
            self.actions.push(Action::Tell(number, ToWorker::Serve));
        }
    }

    fn serving(&mut self, number: u64) {
        if !self.stands(number, |state| matches!(state, State::Entering { .. })) {
            return;
        }
        self.enter(number, State::Serving { probation: None });
        self.ping(number);
        let others: Vec<_> =
            self.list.iter().filter(|one| one.number != number).map(|one| (one.number, one.state)).collect();
        let mut superseded = Vec::new();
        for (other, state) in others {
            match state {
                State::Serving { .. } | State::Resuming { .. } => {
                    self.enter(other, State::Parking { until: self.now + ACKNOWLEDGE });
                    self.actions.push(Action::Tell(other, ToWorker::Park));
                }
                // there is a newer one to go back to
                State::Parking { .. } | State::Parked => superseded.push(other),
                State::Starting { .. } | State::Entering { .. } | State::Draining { .. } | State::Dying { .. } => {}
            }
        }
        self.drain(&superseded, None);
        self.settle();
    }

    fn parked(&mut self, number: u64) {
        if self.stands(number, |state| matches!(state, State::Parking { .. })) {
            self.enter(number, State::Parked);
            self.settle();
        }
    }

    /// Once nobody is left to be parked, the hand-over is done.
    fn settle(&mut self) {
        if self.list.iter().any(|one| matches!(one.state, State::Parking { .. })) {
            return;
        }
        let fresh = |one: &&mut Generation| one.state == State::Serving { probation: None } && !one.proven;
        let Some(generation) = self.list.iter_mut().find(fresh) else {
            return;
        };
        let (number, purpose) = (generation.number, generation.purpose);
        let (ready, made) = (generation.ready.clone(), generation.made);
        let before = self.list.iter().find(|one| one.state == State::Parked).map(|one| one.number);
        if let Some(from) = before {
            self.log(Event::HandOver { from, to: number });
        }
        match purpose {
            Purpose::Reload => {
                let until = self.now + self.settings.probation;
                self.enter(number, State::Serving { probation: Some(until) });
            }
            // there is nothing better to go back to
            Purpose::First | Purpose::Respawn => self.prove(number),
        }
        if self.is_run_of(number) {
            self.note = None;
            let verdict = self.success(number, ready);
            self.log(Event::ReloadDone { generation: number, took: self.now - made });
            self.end_run(&verdict);
        } else if self.phase == Phase::Starting {
            self.started(number, ready);
        }
    }

    fn started(&mut self, number: u64, ready: Option<Ready>) {
        self.phase = Phase::Running;
        let mut listeners: Vec<_> =
            ready.into_iter().flat_map(|ready| ready.listeners).map(|held| held.listener).collect();
        listeners.dedup();
        self.log(Event::Started { version: env!("CARGO_PKG_VERSION"), generation: number, listeners });
        self.actions.push(Action::Notify(Notice::Ready));
        self.run_pending();
    }

    fn success(&self, generation: u64, ready: Option<Ready>) -> Verdict {
        let (summary, warnings) = ready.map(|ready| (ready.summary, ready.warnings)).unwrap_or_default();
        Verdict::Serving {
            generation,
            summary,
            took: self.run.as_ref().map_or(Duration::ZERO, |run| self.now - run.began),
            warnings,
        }
    }

    fn is_run_of(&self, number: u64) -> bool {
        self.run.as_ref().is_some_and(|run| run.generation == number)
    }

    fn end_run(&mut self, verdict: &Verdict) {
        let Some(run) = self.run.take() else { return };
        // before the callers hear of it: systemctl reload returns when the caller exits
        self.actions.push(Action::Notify(Notice::Ready));
        for caller in run.callers {
            self.answer(caller, verdict);
        }
        self.run_pending();
    }

    fn run_pending(&mut self) {
        if self.phase == Phase::Running && !self.pending.is_empty() {
            let callers = std::mem::take(&mut self.pending);
            self.start_run(callers);
        }
    }

    fn answer(&mut self, caller: Caller, verdict: &Verdict) {
        if let Caller::Client(client) = caller {
            self.actions.push(Action::Answer(client, verdict.clone()));
        }
    }

    fn pong(&mut self, number: u64, pong: Pong) {
        let now = self.now;
        if let Some(generation) = self.get(number) {
            generation.pulse.answer(pong, now);
        }
        self.end_probation_when_over(number);
    }

    fn end_probation_when_over(&mut self, number: u64) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        let State::Serving { probation: Some(until) } = generation.state else {
            return;
        };
        // alive is not enough: every thread of it must have answered since it serves, and none may hang now
        if now < until || !generation.is_answering() {
            return;
        }
        self.prove(number);
        self.log(Event::ProbationOver { generation: number });
        let parked: Vec<_> = self.list.iter().filter(|one| one.state == State::Parked).map(|one| one.number).collect();
        self.drain(&parked, None);
    }

    fn prove(&mut self, number: u64) {
        if let Some(generation) = self.get(number) {
            generation.proven = true;
            generation.state = State::Serving { probation: None };
            self.actions.push(Action::Prove(number));
        }
    }

    /// Has those that are parked finish or move what they hold.
    fn drain(&mut self, numbers: &[u64], timeout: Option<Duration>) {
        let now = self.now;
        let mut drained = Vec::new();
        for one in self.list.iter_mut().filter(|one| numbers.contains(&one.number)) {
            let whole = timeout.unwrap_or(one.ready.as_ref().map_or(SHORT_DRAIN, |ready| ready.drain_timeout));
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

    fn get(&mut self, number: u64) -> Option<&mut Generation> {
        self.list.iter_mut().find(|one| one.number == number)
    }

    fn stands(&self, number: u64, there: impl Fn(State) -> bool) -> bool {
        self.list.iter().any(|one| one.number == number && there(one.state))
    }

    fn enter(&mut self, number: u64, state: State) {
        let now = self.now;
        if let Some(generation) = self.get(number) {
            generation.state = state;
            generation.since = now;
        }
    }

    fn log(&mut self, event: Event) {
        self.actions.push(Action::Log(event));
    }
}

fn failed(why: &str) -> Verdict {
    Verdict::Failed { why: why.to_owned() }
}

/// Generations that have a process at the same time.
const MOST_GENERATIONS: usize = 4;
/// How long a worker may take to answer an order.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);
/// The drain of a generation that is one too many.
const SHORT_DRAIN: Duration = Duration::from_secs(1);
/// How far a worker may overrun its own drain deadline.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

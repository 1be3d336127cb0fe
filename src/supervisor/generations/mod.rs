//! Decides what to do about the generations: inputs in, actions out, the time passed in. No process, socket or clock
//! is touched here; [`super::Supervisor`] carries the actions out.
//!
//! The order of a hand-over is by acknowledgement: the next generation answers `Serving`; only then is the one before
//! told to park; it answers `Parked`; only then do callers get the verdict. The parked one drains when the serving
//! one has passed its probation, and resumes when that one dies or hangs in it.
//!
//! This file is the hand-over; [`reload`] has the callers of a reload, [`probation`] what comes after the hand-over,
//! [`successors`] where connections go, [`bounds`] the limits on generations, [`faults`] the failures.

mod bounds;
mod faults;
mod input;
mod probation;
mod reload;
mod successors;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::faults::Ending;
pub use self::input::{Action, Caller, Input, Notice, Recipe};
use self::reload::{Callers, ReloadRun};
use super::backoff::Backoff;
use super::generation::{Generation, GenerationState, Purpose};
use crate::control::message::{BindAddress, Held, Ready, Serves, ToSupervisor, ToWorker};
use crate::control::request::ReloadVerdict;
use crate::control::statistics::Noted;
use crate::moment;
use crate::observe::event::Event;

/// Every generation that has a process, and the requests about them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generations {
    settings: Settings,
    phase: ServicePhase,
    /// The time of the input that is being handled.
    #[serde(with = "moment")]
    now: Instant,
    #[serde(with = "moment")]
    began: Instant,
    last_number: u64,
    /// Oldest first.
    list: Vec<Generation>,
    /// The reload that is under way.
    run: Option<ReloadRun>,
    /// The callers for a reload since it began.
    pending: Callers,
    backoff: Backoff,
    /// When the next worker starts because none serves.
    #[serde(with = "moment::optional")]
    respawn_at: Option<Instant>,
    /// Whether a start that is refused is tried once more, after a pause.
    #[serde(skip)]
    looks_again: bool,
    /// The problems of the start that was refused.
    #[serde(skip)]
    refused: Option<Vec<String>>,
    /// When the first generation is made again.
    #[serde(skip)]
    second_look: Option<Instant>,
    /// The longest that a generation which served took to be ready.
    #[serde(default)]
    slowest_start: Duration,
    /// What an operator should know until the next good reload.
    note: Option<String>,
    /// What the last generation that served has for clients.
    #[serde(default)]
    serves: Serves,
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
pub enum ServicePhase {
    /// No generation ever served.
    Starting,
    /// One serves, or is about to.
    Running,
    /// The service ends.
    Stopping,
    /// It ended.
    Over,
}

impl Generations {
    /// No generation yet; [`Input::Begin`] makes the first.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            phase: ServicePhase::Starting,
            now,
            began: now,
            last_number: 0,
            list: Vec::new(),
            run: None,
            pending: Callers::default(),
            backoff: Backoff::default(),
            respawn_at: None,
            looks_again: false,
            refused: None,
            second_look: None,
            slowest_start: Duration::ZERO,
            note: None,
            serves: Serves::default(),
            actions: Vec::new(),
        }
    }

    /// A start that is refused is tried once more, after a pause, before the service ends.
    pub fn look_again(&mut self) {
        self.looks_again = true;
    }

    /// What to do about `input`, in this order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        self.now = now;
        match input {
            Input::Begin => self.spawn(Purpose::First, Recipe::Installed),
            Input::ReloadRequested(caller, conditions) => self.on_reload_request(caller, conditions),
            Input::Confirmed(client) => self.on_confirmation(client),
            Input::Spawned(number, pid, program) => {
                if let Some(generation) = self.get(number) {
                    (generation.pid, generation.program) = (pid, Some(program));
                }
            }
            Input::MemoryUsed(weights) => self.on_memory_used(&weights),
            Input::SpawnFailed(number, why) | Input::Exited(number, why) => self.on_exit(number, &why),
            Input::Message(number, message) => self.on_message(number, message),
            Input::ChannelClosed(number) => self.on_channel_closed(number),
            Input::InvalidMessage(number, why) => self.end_misbehaving(number, &why, Ending::Kill),
            Input::Stop => self.stop(),
            Input::Tick => self.tick(),
        }
        self.keep_serving();
        self.respawn_when_due();
        self.look_again_when_due();
        self.spawn_for_run();
        self.link_to_successor();
        if self.phase == ServicePhase::Stopping && self.list.is_empty() {
            self.end_service();
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Input::Tick`] is due next.
    #[must_use]
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        let deadlines = self.list.iter().filter_map(Generation::deadline);
        let pings = self.list.iter().filter(|one| one.is_pinged()).filter_map(|one| one.pulse.due(now));
        let looks = self.list.iter().filter(|one| one.is_pinged()).filter_map(|one| one.pulse.look());
        let hangs = self.list.iter().filter_map(|one| self.hangs_at(one));
        let doubts = self.list.iter().filter_map(Self::doubted_at).filter(|at| *at > now);
        deadlines
            .chain(pings)
            .chain(looks)
            .chain(hangs)
            .chain(doubts)
            .chain(self.respawn_at)
            .chain(self.second_look)
            .min()
    }

    /// Whether a worker may have a socket bound: only while it is built, and only one that its configuration names. A
    /// later request does not come from the code that reads configurations.
    #[must_use]
    pub fn may_bind(&self, number: u64, listener: &str, address: &BindAddress) -> bool {
        let builds = |one: &&Generation| one.number == number && matches!(one.state, GenerationState::Starting { .. });
        let Some(generation) = self.list.iter().find(builds) else { return false };
        let is_it = |held: &Held| held.listener == listener && held.bound.as_ref() == Some(address);
        generation.may_bind.as_ref().is_none_or(|named| named.iter().any(is_it))
    }

    /// Notes what the shared statistics of a worker say now: what it has open, which is lost if it dies, and what it
    /// answered.
    pub fn noted(&mut self, number: u64, noted: Noted, now: Instant) {
        if let Some(generation) = self.get(number) {
            generation.inside = noted.inside;
            generation.notes = true;
            generation.pulse.noted(noted.answered, now);
        }
    }

    /// Asks again whatever may be answered in shared statistics: the program that continues may not look there.
    pub fn ask_for_messages(&mut self, now: Instant) -> Vec<Action> {
        self.now = now;
        let open: Vec<_> = self.list.iter().filter(|one| one.pulse.look().is_some()).map(|one| one.number).collect();
        open.into_iter().for_each(|number| self.ask(number, false));
        std::mem::take(&mut self.actions)
    }

    /// Where the service stands.
    #[must_use]
    pub fn phase(&self) -> ServicePhase {
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
        self.phase != ServicePhase::Running || self.run.is_some()
    }

    /// Whether nothing is under way that ends within a moment: a good time for other work.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let stays = |one: &Generation| match one.state {
            GenerationState::Serving { .. }
            | GenerationState::Parked
            | GenerationState::Draining { .. }
            | GenerationState::Dying { .. } => true,
            GenerationState::Starting { .. }
            | GenerationState::Entering { .. }
            | GenerationState::Parking { .. }
            | GenerationState::Resuming { .. } => false,
            GenerationState::Yielding | GenerationState::Withdrawing { .. } => false,
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

    /// Whether the service works: the worker that serves answers. While none serves, the supervisor is starting one,
    /// so systemd has no reason to intervene.
    #[must_use]
    pub fn is_sound(&self, now: Instant) -> bool {
        let mut serving = self.list.iter().filter(|one| matches!(one.state, GenerationState::Serving { .. }));
        serving.all(|one| one.pulse.silent(now) < self.settings.hang_timeout)
    }
}

// From the request for a generation to its hand-over.
impl Generations {
    fn spawn(&mut self, purpose: Purpose, recipe: Recipe) {
        self.last_number += 1;
        let whole = self.settings.start_timeout;
        let until = self.now
            + match purpose {
                Purpose::First | Purpose::Reload => whole,
                // no client is served meanwhile, and it reads no file: if it hangs, another one may not
                Purpose::Respawn => whole.min(RESPAWN_TIMEOUT.max(self.slowest_start * 3)),
            };
        self.list.push(Generation::new(self.last_number, purpose, self.now, until));
        self.actions.push(Action::Spawn(self.last_number, recipe));
    }

    fn on_message(&mut self, number: u64, message: ToSupervisor) {
        match message {
            ToSupervisor::Loaded { config_hash, may_bind } => {
                if let Some(generation) = self.get(number) {
                    generation.may_bind = may_bind;
                }
                self.on_loaded(number, &config_hash);
            }
            ToSupervisor::Refused(refused) => self.on_refused(number, refused),
            ToSupervisor::Ready(ready) => self.on_ready(number, ready),
            ToSupervisor::Serving => self.on_serving(number),
            ToSupervisor::Parked => self.on_parked(number),
            ToSupervisor::Resumed => self.on_resumed(number),
            ToSupervisor::Unfit { why } => self.on_unfit(number, &why),
            ToSupervisor::Pong(pong) => self.on_pong(number, pong),
            ToSupervisor::Finished(finished) => {
                if let Some(generation) = self.get(number) {
                    generation.finished = Some(finished);
                }
            }
            // the supervisor's main loop answers it: it holds the sockets and passes saved state on
            ToSupervisor::Hello { .. }
            | ToSupervisor::Bind { .. }
            | ToSupervisor::RequestState
            | ToSupervisor::LiveStreams(_)
            | ToSupervisor::Happened(_)
            | ToSupervisor::State => {}
        }
    }

    fn on_ready(&mut self, number: u64, ready: Ready) {
        let now = self.now;
        let Some(generation) = self.get(number) else { return };
        if !matches!(generation.state, GenerationState::Starting { .. }) {
            return;
        }
        let (pid, took, purpose) = (generation.pid, now - generation.made, generation.purpose);
        generation.ready = Some(ready);
        self.log(Event::WorkerReady { generation: number, pid, took });
        let not_needed = purpose == Purpose::Respawn && self.list.iter().any(|one| self.covers(one));
        if not_needed {
            // another reload came to serve meanwhile
            self.drain(&[number], Some(Duration::ZERO));
        } else {
            self.enter(number, GenerationState::Entering { until: now + ACKNOWLEDGE });
            self.actions.push(Action::Send(number, ToWorker::Serve));
        }
    }

    fn on_serving(&mut self, number: u64) {
        if !self.stands(number, |state| matches!(state, GenerationState::Entering { .. })) {
            return;
        }
        let confirm_by = self.confirm_by(number);
        self.enter(number, GenerationState::Serving { probation: None });
        self.ping(number);
        let owed = self.supersede(number);
        if let Some(one) = self.get(number) {
            one.confirm_by = confirm_by.or(owed);
        }
        self.settle();
    }

    /// Parks the others in favour of the one that serves now. Returns the deadline for its confirmation, if the one
    /// before it had to be confirmed: a reload is no confirmation, and a roll-back returns to what was confirmed
    /// last.
    fn supersede(&mut self, number: u64) -> Option<Instant> {
        let parked: Vec<_> =
            self.list.iter().filter(|one| one.is_parked() && one.number != number).map(|one| one.number).collect();
        let unconfirmed = |one: &Generation| {
            matches!(one.state, GenerationState::Serving { .. }) && one.number != number && !parked.is_empty()
        };
        let owed = self.list.iter().filter(|one| unconfirmed(one)).find_map(|one| one.confirm_by);
        self.withdraw(|one| one.state == GenerationState::Yielding || (unconfirmed(one) && one.confirm_by.is_some()));
        let before = |one: &&Generation| {
            matches!(one.state, GenerationState::Serving { .. } | GenerationState::Resuming { .. })
                && one.number != number
        };
        let before: Vec<_> = self.list.iter().filter(before).map(|one| one.number).collect();
        for other in &before {
            self.enter(*other, GenerationState::Parking { until: self.now + ACKNOWLEDGE });
            self.actions.push(Action::Send(*other, ToWorker::Park));
        }
        if !before.is_empty() {
            self.drain(&parked, None); // a roll-back returns to a newer one
        }
        owed
    }

    fn on_parked(&mut self, number: u64) {
        let Some(generation) = self.get(number) else { return };
        match generation.state {
            GenerationState::Parking { .. } => self.enter(number, GenerationState::Parked),
            GenerationState::Withdrawing { .. } => self.drain(&[number], None),
            _ => return,
        }
        self.settle();
    }

    /// When no generation is left to be parked, the hand-over is done.
    fn settle(&mut self) {
        if self
            .list
            .iter()
            .any(|one| matches!(one.state, GenerationState::Parking { .. } | GenerationState::Withdrawing { .. }))
        {
            return;
        }
        let fresh = |one: &&Generation| one.state == GenerationState::Serving { probation: None } && !one.proven;
        let Some(generation) = self.list.iter().find(fresh) else {
            return;
        };
        let (number, purpose) = (generation.number, generation.purpose);
        self.slowest_start = self.slowest_start.max(generation.since.saturating_duration_since(generation.made));
        let before = self.list.iter().rfind(|one| one.state == GenerationState::Parked).map(|one| one.number);
        if let Some(from) = before {
            self.log(Event::HandOver { from, to: number });
        }
        match purpose {
            Purpose::Reload => self.begin_probation(number),
            // no older generation can serve instead
            Purpose::First | Purpose::Respawn => self.prove(number),
        }
        if self.is_run_of(number) {
            self.on_reload_done(number);
        } else if self.phase == ServicePhase::Starting {
            self.on_started(number);
        }
    }

    fn on_started(&mut self, number: u64) {
        self.phase = ServicePhase::Running;
        let ready = self.get(number).and_then(|one| one.ready.as_ref());
        let mut listeners: Vec<_> =
            ready.into_iter().flat_map(|ready| &ready.listeners).map(|held| held.listener.clone()).collect();
        listeners.dedup();
        self.log(Event::Started { version: crate::sys::version(), generation: number, listeners });
        self.actions.push(Action::Notify(Notice::Ready));
        self.run_pending();
    }

    fn get(&mut self, number: u64) -> Option<&mut Generation> {
        self.list.iter_mut().find(|one| one.number == number)
    }

    fn stands(&self, number: u64, there: impl Fn(GenerationState) -> bool) -> bool {
        self.list.iter().any(|one| one.number == number && there(one.state))
    }

    fn enter(&mut self, number: u64, state: GenerationState) {
        let now = self.now;
        if let Some(generation) = self.get(number) {
            generation.state = state;
            generation.since = now;
            if let (GenerationState::Serving { .. }, Some(ready)) = (&generation.state, &generation.ready) {
                self.serves = ready.serves;
            }
        }
    }

    fn log(&mut self, event: Event) {
        self.actions.push(Action::Log(event));
    }
}

fn failed(why: &str) -> ReloadVerdict {
    ReloadVerdict::Failed { why: why.to_owned() }
}

/// How long a worker may take to answer an order.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);
/// How long the replacement of a worker that died may take to be ready; more where starts have taken more.
const RESPAWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How far a worker may exceed its own drain deadline.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How long a worker may take to exit once its end is decided.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;

//! The process that systemd knows. It holds every listening socket, starts and watches the workers, and answers
//! `segue reload`; it accepts no connection and reads no configuration, so that little can go wrong with it.
//!
//! [`Supervisor`] waits for events and carries out what [`generations`] decides.

mod admin;
mod admin_sockets;
pub mod backoff;
pub mod clients;
mod connections;
mod debug;
pub mod descriptors;
pub mod generation;
pub mod generations;
pub mod last_state;
pub mod listeners;
mod news;
pub mod place;
pub mod process;
pub mod recent;
pub mod state_requests;
pub mod status;
pub mod totals;
pub mod upgrade;
mod wishes;
mod workers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use self::admin::AdminChanges;
use self::admin_sockets::AdminSockets;
use self::clients::{ControlClients, OpenError};
use self::debug::DebugRequests;
use self::generation::{GenerationState, Purpose};
use self::generations::{Action, Caller, Generations, Input, Notice, ServicePhase, Settings};
use self::last_state::LastState;
use self::listeners::Listeners;
use self::process::Image;
use self::recent::RecentHistory;
use self::state_requests::{StateRequests, StateStep};
use self::totals::Totals;
use self::upgrade::Upgrade;
use self::upgrade::state::StateError;
use self::workers::{WorkerEvent, Workers};
use crate::control::message::ToWorker;
use crate::control::payload::Payload;
use crate::control::recent::RecentEvent;
use crate::control::request::{Conditions, ControlReply};
use crate::observe::event::Event;
use crate::observe::journal::{Identity, Journal, LeftRecords, Role};
use crate::sys::{self, Signals};
use crate::systemd::activation;
use crate::systemd::notify::Notify;

/// The arguments of `segue run`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The main file of the configuration.
    pub config: PathBuf,
    /// Settings of the command line, which only workers understand.
    pub set: Vec<String>,
    /// The directory for `control.sock` and whatever else belongs to this run.
    pub run_dir: PathBuf,
    /// The binary of the workers; this process' own path when there is none.
    pub worker_binary: Option<PathBuf>,
    /// Times.
    pub settings: Settings,
}

/// What stays in the run directory when the service ends, for the next start.
pub const LEFT_IN_RUN_DIR: [&str; 4] = [clients::LOCK, last_state::NAME, admin::NAME, totals::NAME];

/// Why the supervisor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Signals cannot be read.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    /// Nothing can be written.
    #[error("the journal cannot be opened")]
    Journal(#[source] io::Error),
    /// `control.sock` cannot be opened.
    #[error(transparent)]
    ControlClients(#[from] OpenError),
    /// The state of another program, named on the command line, is missing.
    #[error("the program before left no state")]
    NoState(#[source] io::Error),
    /// The state of another program cannot be used.
    #[error(transparent)]
    GenerationState(#[from] StateError),
    /// The binary of the workers cannot be found.
    #[error("the path of this program cannot be found")]
    Binary(#[source] io::Error),
}

/// The supervisor, running.
pub struct Supervisor {
    generations: Generations,
    workers: Workers,
    listeners: Listeners,
    clients: ControlClients,
    state_requests: StateRequests,
    /// What a generation that serves gives the next one beside its state: it is in no file. systemd has it too, for the
    /// next supervisor.
    secrets: Option<Payload>,
    debug: DebugRequests,
    admin: AdminChanges,
    admin_sockets: AdminSockets,
    totals: Totals,
    recent: RecentHistory,
    signals: Signals,
    notify: Notify,
    journal: Journal,
    /// Inputs that are not handled yet.
    inputs: VecDeque<Input>,
    regular: Regular,
    upgrade: Upgrade,
    exit: Option<u8>,
}

/// The periodic work.
struct Regular {
    alive: Option<Instant>,
    extend: Instant,
    status: Instant,
    weigh: Instant,
}

impl Supervisor {
    /// Takes the sockets that systemd passed, opens `control.sock`, and is ready to [`Supervisor::run`].
    ///
    /// Call it before any other thread exists.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(options: Options) -> Result<Self, StartError> {
        let mut activation = activation::take();
        let signals = open_signals()?;
        // CAP_NET_BIND_SERVICE, its one capability, is not for the workers; without any this fails, which is fine
        let _ = rustix::thread::clear_ambient_capability_set();
        let binary = options.worker_binary.map_or_else(Image::installed_path, Ok).map_err(StartError::Binary)?;
        let clients = ControlClients::open(&options.run_dir)?;
        let state_requests = StateRequests::from(LastState::open(&options.run_dir));
        let now = Instant::now();
        let notify = Notify::from_env();
        let secrets = activation.secrets.take().map(Payload::from);
        let (listeners, events) = Listeners::adopt(activation);
        let admin = AdminChanges::open(&options.run_dir);
        let (admin_sockets, missing) = AdminSockets::open(&options.run_dir);
        let journal = start_journal()?;
        events.into_iter().for_each(|event| journal.event(event));
        missing.into_iter().for_each(|text| journal.event(Event::SupervisorWarning { text }));
        let regular = Regular::starting(&notify, now);
        let mut generations = Generations::new(options.settings, now);
        if !listeners.all().is_empty() {
            generations.look_again();
        }
        Ok(Self {
            generations,
            totals: Totals::left_in(&options.run_dir),
            workers: Workers::new(binary, options.config, options.set, options.run_dir),
            listeners,
            clients,
            state_requests,
            secrets,
            debug: DebugRequests::default(),
            admin,
            admin_sockets,
            recent: RecentHistory::default(),
            signals,
            notify,
            journal,
            inputs: VecDeque::from([Input::Begin]),
            regular,
            upgrade: Upgrade::default(),
            exit: None,
        })
    }

    /// Runs until the service ends.
    #[must_use]
    pub fn run(mut self) -> ExitCode {
        loop {
            self.handle_inputs();
            if let Some(code) = self.exit {
                return self.end(code);
            }
            self.upgrade(Instant::now());
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(fault) => {
                    // cannot happen with descriptors that are ours; if it does, systemd starts a new supervisor
                    let text = format!("waiting failed ({fault}); the supervisor gives up");
                    self.journal.event(Event::SupervisorWarning { text });
                    return self.end(1);
                }
            };
            ready.into_iter().for_each(|source| self.receive(source));
            self.inputs.push_back(Input::Tick);
            self.do_regular(Instant::now());
        }
    }

    fn handle_inputs(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            let now = Instant::now();
            if !matches!(input, Input::Tick) || self.generations.next_tick(now).is_some_and(|due| due <= now) {
                self.look_at_workers(now);
            }
            for action in self.generations.handle(input, now) {
                if !matches!(action, Action::Send(_, ToWorker::Ping { .. })) {
                    self.regular.status = now; // something changed
                }
                self.carry_out(action, now);
            }
        }
        self.let_go_of_sockets();
    }

    /// Refreshes the numbers before the next input, so that what is said about it is current.
    fn look_at_workers(&mut self, now: Instant) {
        let numbers: Vec<_> = self.generations.list().iter().map(|one| one.number).collect();
        for number in numbers {
            if let Some(noted) = self.workers.noted(number) {
                self.generations.noted(number, noted, now);
            }
        }
    }

    fn carry_out(&mut self, action: Action, now: Instant) {
        match action {
            Action::Spawn(number, recipe) => {
                let input = self.workers.spawn(number, recipe);
                self.inputs.push_back(input);
            }
            Action::Send(number, message @ ToWorker::Build) => {
                // of what serves, so that the worker can tell what it changes
                let serving = self.generations.list().iter().rfind(|one| one.accepts());
                let sources = serving.and_then(|one| self.workers.sources(one.number)?.try_clone().ok());
                let with: Vec<_> = sources.iter().map(AsFd::as_fd).collect();
                let input = self.workers.send(number, &message, &with);
                self.inputs.extend(input);
            }
            Action::Send(number, message) => {
                let input = self.workers.send(number, &message, &[]);
                self.inputs.extend(input);
            }
            Action::Link { from, to } => match self.workers.link(from, to) {
                Ok(inputs) => self.inputs.extend(inputs),
                Err(fault) => {
                    let text = format!("generations {from} and {to} cannot be linked, connections stay: {fault}");
                    self.journal.event(Event::SupervisorWarning { text });
                }
            },
            Action::Abort(number) => self.workers.signal(number, Signal::ABORT),
            Action::Kill(number) => self.workers.signal(number, Signal::KILL),
            Action::Prove(number) => self.prove(number),
            Action::Answer(client, verdict) => self.clients.reply(client, &ControlReply::Verdict(verdict)),
            Action::Notify(notice) => self.notify_systemd(notice, now),
            Action::Log(event) => {
                self.totals.happened(event.kind().name);
                self.recent.happened(&event);
                self.journal.event(event);
            }
            Action::Exit(code) => self.exit = Some(code),
        }
    }

    fn prove(&mut self, number: u64) {
        self.workers.prove(number);
        self.undo_changes_of(number);
        if let Some(image) = self.workers.proven_image() {
            self.upgrade.consider(image);
        }
        let ready = self.generations.list().iter().find(|one| one.number == number).and_then(|one| one.ready.as_ref());
        if let Some(ready) = ready {
            self.listeners.prove(ready.listeners.clone());
        }
    }

    /// Closes sockets that are not needed any more: of listeners that a configuration dropped and that cannot come
    /// back, and of a generation that did not stay. A generation that starts has not said yet which it uses. When the
    /// service stops no process accepts any more, and the next start takes all sockets up.
    fn let_go_of_sockets(&mut self) {
        if matches!(self.generations.phase(), ServicePhase::Stopping | ServicePhase::Over) {
            return;
        }
        let list = self.generations.list();
        if list.iter().any(|one| matches!(one.state, GenerationState::Starting { .. })) {
            return;
        }
        let living = list.iter().filter(|one| one.accepts() || one.is_parked()).filter_map(|one| one.ready.as_ref());
        let living: Vec<_> = living.flat_map(|ready| &ready.listeners).collect();
        self.listeners.keep(&living, &mut self.notify);
    }

    fn notify_systemd(&mut self, notice: Notice, now: Instant) {
        let line = status::line(&self.generations, now);
        match notice {
            Notice::Ready => self.notify.ready(&line),
            Notice::Reloading => self.notify.reloading(&line),
            Notice::Stopping => self.notify.stopping(&line),
        }
    }

    /// The sources that can be read without waiting.
    fn wait(&self) -> io::Result<Vec<EventSource>> {
        let mut sources = vec![EventSource::Signals];
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(socket) = self.clients.socket() {
            sources.push(EventSource::NewClients);
            watched.push(PollFd::from_borrowed_fd(socket, PollFlags::IN));
        }
        for (number, channel) in self.clients.channels() {
            sources.push(EventSource::Client(number));
            watched.push(PollFd::new(channel, PollFlags::IN));
        }
        for (number, fd) in self.workers.watched() {
            sources.push(EventSource::Worker(number));
            watched.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        for terminal in self.debug.sockets() {
            sources.push(EventSource::Terminal);
            watched.push(PollFd::from_borrowed_fd(terminal, PollFlags::empty()));
        }
        if let Some(rehearsal) = self.upgrade.rehearsal() {
            sources.push(EventSource::Rehearsal);
            watched.push(PollFd::new(rehearsal, PollFlags::IN));
        }
        let timeout = self.next_wake(Instant::now());
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match rustix::event::poll(&mut watched, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(fault) => return Err(fault.into()),
        }
        let ready = sources.into_iter().zip(&watched).filter(|(_, watched)| !watched.revents().is_empty());
        Ok(ready.map(|(source, _)| source).collect())
    }

    fn next_wake(&self, now: Instant) -> Duration {
        // what is not pressing waits for the next ping: a quiet service sleeps
        let pressing = (self.regular.status <= now).then_some(now);
        let due = [
            pressing,
            (self.generations.list().len() > 1).then_some(self.regular.weigh),
            self.regular.alive,
            self.generations.next_tick(now),
            self.clients.next_expiry(),
            self.debug.next_expiry(),
            self.admin.next_end(now),
            self.recent.due(),
            self.upgrade.due(),
            self.state_requests.next_expiry(),
        ];
        let behind = self.notify.is_behind().then_some(now + NOTIFY_RETRY);
        let next = due.into_iter().chain([behind]).flatten().min().unwrap_or(now + LONGEST_WAIT);
        next.saturating_duration_since(now).min(LONGEST_WAIT)
    }

    fn receive(&mut self, source: EventSource) {
        let now = Instant::now();
        match source {
            EventSource::Signals => self.receive_signals(),
            EventSource::Rehearsal | EventSource::Terminal => {} // looked at before the next wait
            EventSource::NewClients => self.clients.accept(now),
            EventSource::Client(number) => self.receive_wish(number, now),
            EventSource::Worker(number) => {
                for event in self.workers.receive(number) {
                    let input = self.on_event(number, event);
                    self.inputs.extend(input);
                }
            }
        }
    }

    /// Messages about sockets, saved state and counters are handled here; all others go to the generations.
    fn on_event(&mut self, number: u64, event: WorkerEvent) -> Option<Input> {
        match event {
            WorkerEvent::Input(input) => {
                self.take_note(&input);
                Some(input)
            }
            WorkerEvent::Finished(input, records) => {
                // if it is anything else, there are no records to lose
                let records = records.into_iter().filter_map(|fd| LeftRecords::open(fd).ok());
                records.for_each(|left| self.journal.inherit(left));
                self.take_note(&input);
                Some(input)
            }
            WorkerEvent::LiveStreams { positions, sockets } => {
                self.pass_streams(number, positions, &sockets);
                None
            }
            WorkerEvent::Happened(event) => {
                self.recent.keep(RecentEvent { generation: event.generation.or(Some(number)), ..event });
                None
            }
            WorkerEvent::StateRequested => {
                let step = self.state_requests.ask(number, self.generations.list(), Instant::now());
                self.pass_on(vec![step]);
                None
            }
            WorkerEvent::State { state, secrets } => {
                self.keep(number, state.as_ref(), secrets);
                let steps = self.state_requests.on_state(number, state.as_ref());
                self.pass_on(steps);
                None
            }
            WorkerEvent::Exited(statistics) => {
                self.take_statistics(number, &statistics);
                None
            }
            WorkerEvent::Bind { listener, address } if !self.generations.may_bind(number, &listener, &address) => {
                Some(Input::InvalidMessage(number, "asked for a socket that it may not have".to_owned()))
            }
            WorkerEvent::Hello => {
                let keeps = self.generations.keeps(number);
                let made = self.generations.list().iter().find(|one| one.number == number);
                let alone = made.is_some_and(|one| one.purpose != Purpose::Reload);
                let sockets = self.admin_sockets.with_listeners(&self.listeners);
                self.workers.greet(number, keeps, alone, &sockets, &self.admin)
            }
            WorkerEvent::Bind { listener, address } => match self.listeners.bind(&listener, &address, &mut self.notify)
            {
                Ok((socket, events)) => {
                    events.into_iter().for_each(|event| self.journal.event(event));
                    self.workers.send(number, &ToWorker::Bound { listener }, &[socket.as_fd()])
                }
                Err(fault) => {
                    let reason = fault.to_string();
                    self.journal.event(Event::BindFailed {
                        listener: listener.clone(),
                        address: address.to_string(),
                        why: reason.clone(),
                    });
                    self.workers.send(number, &ToWorker::BindFailed { listener, reason }, &[])
                }
            },
        }
    }

    fn pass_on(&mut self, steps: Vec<StateStep>) {
        for step in steps {
            let input = match step {
                StateStep::Ask(number) => self.workers.send(number, &ToWorker::SendState, &[]),
                StateStep::Answer { asker, state, missing } => {
                    // a worker of an earlier version takes the last descriptor for the state
                    let secrets = self.secrets.iter().filter(|_| state.is_some());
                    let with: Vec<_> = secrets.chain(&state).map(AsFd::as_fd).collect();
                    self.workers.send(asker, &ToWorker::State { missing }, &with)
                }
            };
            self.inputs.extend(input);
        }
    }

    fn ask(&mut self, caller: Caller, conditions: Conditions) {
        self.inputs.push_back(Input::ReloadRequested(caller, conditions));
    }

    fn receive_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::HUP => self.ask(Caller::Signal, Conditions::default()),
                _ => self.inputs.push_back(Input::Stop),
            }
        }
    }

    fn do_regular(&mut self, now: Instant) {
        self.clients.expire(now);
        self.debug.expire(now);
        self.keep_changes();
        self.recent.look(&self.generations, &self.totals, now);
        let late = self.state_requests.expire(now);
        self.pass_on(late);
        self.notify.flush();
        if self.regular.alive.is_some_and(|due| due <= now) {
            self.look_at_workers(now);
            if self.generations.is_sound(now) {
                self.notify.alive();
            }
            self.regular.alive = self.notify.watchdog_interval().map(|interval| now + interval);
        }
        if self.generations.is_busy() && self.regular.extend <= now {
            self.notify.extend_timeout(EXTENSION);
            self.regular.extend = now + EXTENSION / 4;
        }
        if self.regular.weigh <= now {
            self.inputs.push_back(Input::MemoryUsed(self.weights()));
            self.regular.weigh = now + WEIGH_INTERVAL;
        }
        if self.regular.status <= now {
            self.notify.status(&status::line(&self.generations, now));
            self.regular.status = now + STATUS_INTERVAL;
        }
    }

    /// How much memory the workers use; nothing when only one lives.
    fn weights(&self) -> Vec<(u64, u64)> {
        let list = self.generations.list();
        let several = list.iter().filter(|_| list.len() > 1);
        several.filter_map(|one| Some((one.number, process::memory(one.pid)?))).collect()
    }

    /// Ends with `code`. Remaining workers see their channel close, and end too; when the service could not start
    /// there is at most one, and it has no clients.
    fn end(mut self, code: u8) -> ExitCode {
        if self.generations.phase() == ServicePhase::Starting {
            self.workers.kill_all();
        }
        self.notify.status(&status::line(&self.generations, Instant::now()));
        self.totals.own(&self.journal.unwritten());
        self.totals.leave_in(self.workers.run_dir());
        let _ = self.journal.finish(JOURNAL_DEADLINE); // no process is left to be told
        ExitCode::from(code)
    }
}

impl Regular {
    /// All of it is due.
    fn starting(notify: &Notify, now: Instant) -> Self {
        Self { alive: notify.watchdog_interval().map(|_| now), extend: now, status: now, weigh: now }
    }
}

fn open_signals() -> Result<Signals, StartError> {
    sys::ignore_signals().map_err(StartError::Signals)?;
    Signals::open(&[Signal::HUP, Signal::TERM, Signal::INT, Signal::QUIT]).map_err(StartError::Signals)
}

fn start_journal() -> Result<Journal, StartError> {
    let identity = Identity { role: Role::Supervisor, generation: None };
    Journal::start(identity, None).map_err(StartError::Journal)
}

/// Where something can be received from.
#[derive(Clone, Copy)]
enum EventSource {
    /// A terminal of `segue debug` that has gone.
    Terminal,
    Signals,
    Rehearsal,
    NewClients,
    Client(u64),
    Worker(u64),
}

const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How soon a notification that systemd did not take is sent again.
const NOTIFY_RETRY: Duration = Duration::from_millis(100);
const STATUS_INTERVAL: Duration = Duration::from_secs(3);
const WEIGH_INTERVAL: Duration = Duration::from_secs(3);
/// How often systemd is asked for more time while a start, a reload or a stop goes on.
const EXTENSION: Duration = Duration::from_secs(20);
const JOURNAL_DEADLINE: Duration = Duration::from_secs(2);

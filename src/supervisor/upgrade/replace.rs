//! The step from one program to the next, seen from either side of execve(2).

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use super::rehearsal::{Rehearsal, Unable};
use super::state::{CarriedRecords, Knowledge, SupervisorState, VERSION};
use super::{TAKE_OVER, Upgrade, UpgradeStep, arguments};
use crate::control::payload::Payload;
use crate::observe::event::Event;
use crate::observe::journal::LeftRecords;
use crate::supervisor::admin::AdminChanges;
use crate::supervisor::admin_sockets::AdminSockets;
use crate::supervisor::clients::ControlClients;
use crate::supervisor::debug::DebugRequests;
use crate::supervisor::descriptors::{Carrier, Inherited};
use crate::supervisor::generations::{Generations, Input, ServicePhase};
use crate::supervisor::last_state::LastState;
use crate::supervisor::listeners::Listeners;
use crate::supervisor::process::Image;
use crate::supervisor::state_requests::StateRequests;
use crate::supervisor::totals::Totals;
use crate::supervisor::workers::Workers;
use crate::supervisor::{Regular, StartError, Supervisor, open_signals, start_journal};
use crate::sys::{self, Signals};
use crate::systemd::notify::{Notify, Talk};

/// The state, to be written.
type Borrowed<'a> = Knowledge<&'a Generations, &'a StateRequests, &'a Totals>;

// Before: the program that runs now.
impl Supervisor {
    /// Takes the next step on the way to another program, if one is wanted.
    pub(in crate::supervisor) fn upgrade(&mut self, now: Instant) {
        if self.generations.phase() != ServicePhase::Running {
            return self.upgrade.give_up(); // a service that ends needs no other program any more
        }
        match self.upgrade.next(self.generations.is_quiet(), now) {
            None => {}
            Some(UpgradeStep::Rehearse(image)) => {
                let state = self.carry(&[], &mut Carrier::default()).write();
                match state.and_then(|state| Rehearsal::start(image.clone(), state, now)) {
                    Ok(rehearsal) => self.upgrade.rehearse(rehearsal),
                    Err(fault) => self.refuse(image, Unable::Fails(format!("could not be tried: {fault}"))),
                }
            }
            Some(UpgradeStep::Refuse(image, why)) => self.refuse(image, why),
            Some(UpgradeStep::Replace(image)) => {
                let fault = self.replace(&image);
                self.refuse(image, Unable::Fails(format!("could not be executed: {fault}")));
            }
        }
    }

    fn refuse(&mut self, image: Image, unable: Unable) {
        self.upgrade.refuse(image, &unable);
        let (Unable::Refuses(why) | Unable::Fails(why)) = unable;
        self.generations.set_note(format!("the supervisor was not upgraded: the new program {why}"));
        self.journal.event(Event::UpgradeRefused { version: crate::sys::version(), why });
        self.regular.status = Instant::now();
    }

    /// Continues as `image`. Returns only when that fails; then nothing has changed.
    fn replace(&mut self, image: &Image) -> io::Error {
        let now = Instant::now();
        self.look_at_workers(now);
        for action in self.generations.ask_for_messages(now) {
            self.carry_out(action, now);
        }
        // its thread does not survive execve
        let left = self.journal.leave(JOURNAL_DEADLINE);
        self.totals.own(&self.journal.unwritten());
        self.totals.own_ends();
        let fault = self.try_replace(image, &left);
        let _ = rustix::thread::clear_ambient_capability_set(); // as at the start
        if let Ok(journal) = start_journal() {
            left.into_iter().for_each(|left| journal.inherit(left));
            self.journal = journal; // the writer of the other one has ended
        }
        fault
    }

    fn try_replace(&self, image: &Image, left: &[LeftRecords]) -> io::Error {
        let mut carrier = Carrier::default();
        let prepared = self.carry(left, &mut carrier).write().and_then(|state| {
            raise_ambient_capabilities()?;
            Ok(state)
        });
        let state = match prepared {
            Ok(state) => state,
            Err(fault) => return fault,
        };
        let number = carrier.carry(&state);
        let words = [image.path().as_os_str().to_owned()]
            .into_iter()
            .chain(arguments(std::env::args_os(), format!("{TAKE_OVER}{number}")));
        let words: Result<Vec<_>, _> = words.map(|word| CString::new(word.into_vec())).collect();
        let (Ok(program), Ok(words)) = (CString::new(image.path_here()), words) else {
            return io::Error::other("an argument holds a nul byte");
        };
        let fault = match carrier.stay_open(true) {
            Ok(()) => sys::execute(&program, &words),
            Err(fault) => fault,
        };
        let _ = carrier.stay_open(false); // fails only for descriptors that are none
        fault
    }

    fn carry<'a>(&'a self, left: &'a [LeftRecords], carrier: &mut Carrier<'a>) -> SupervisorState<Borrowed<'a>> {
        // every field by name: a new field must be considered here
        let Self {
            generations,
            workers,
            listeners,
            clients,
            state_requests,
            secrets,
            debug,
            admin,
            admin_sockets,
            totals,
            recent,
            notify,
            signals,
            journal,
            inputs,
            regular,
            upgrade,
            exit,
        } = self;
        // made anew, or empty between two waits
        let _ = (signals, journal, inputs, regular, upgrade, exit);
        let Talk { reloading, unsent } = notify.talk();
        let unsent = unsent.into_iter().map(|(text, with)| (text, with.map(|fd| carrier.carry_borrowed(fd))));
        let talk = Talk { reloading, unsent: unsent.collect() };
        let mut state = SupervisorState {
            version: VERSION,
            program: crate::sys::version().to_owned(),
            pid: std::process::id(),
            descriptors: Vec::new(),
            knowledge: Knowledge { generations, state_requests, totals },
            workers: workers.carry(carrier),
            listeners: listeners.carry(carrier),
            clients: clients.carry(carrier),
            debug: debug.carry(carrier),
            talk,
            records: left
                .iter()
                .map(|left| CarriedRecords { memory: carrier.carry(left), position: left.position() })
                .collect(),
            secrets: secrets.as_ref().map(|secrets| carrier.carry(secrets)),
            admin_sockets: admin_sockets.carry(carrier),
            recent: recent.clone(),
            admin: Some(admin.carry()),
        };
        state.descriptors = carrier.numbers();
        state
    }
}

// After: the program that continues.
impl Supervisor {
    /// Continues with the state that the program before left as descriptor `number`. A missing part costs only that
    /// part.
    ///
    /// Call it before any other thread exists, and before any descriptor is opened.
    ///
    /// # Errors
    /// When there is no such state, although the rehearsal went well: see [`StartError`]. Exiting is then the best
    /// choice: workers finish what they have, and systemd starts the service with the same sockets.
    pub fn take_over(number: RawFd) -> Result<Self, StartError> {
        let payload = Payload::from(sys::inherited(number).map_err(StartError::NoState)?);
        let state = SupervisorState::read(&payload, std::process::id())?;
        let inherited = Inherited::claim(&state.descriptors);
        // a number would be the name otherwise; it cannot fail for a name this short
        let _ = rustix::thread::set_name(c"segue");
        let signals = open_signals()?;
        let _ = rustix::thread::clear_ambient_capability_set(); // raised only to come over
        Self::go_on(state, inherited, signals)
    }

    fn go_on(state: SupervisorState, mut inherited: Inherited, signals: Signals) -> Result<Self, StartError> {
        let Knowledge { generations, mut state_requests, totals } = state.knowledge;
        let clients = ControlClients::go_on(state.clients, &mut inherited)?;
        let (listeners, events) = Listeners::go_on(state.listeners, &mut inherited);
        let (workers, mut happened) = Workers::go_on(state.workers, &mut inherited);
        state_requests.last = LastState::open(workers.run_dir());
        happened.extend(without_process(&generations, &workers));
        let mut notify = Notify::from_env().go_on(found(state.talk, &mut inherited));
        let secrets = state.secrets.and_then(|number| inherited.take(number)).map(Payload::from);
        if let Some(secrets) = &secrets {
            let _ = notify.store_secrets(Some(secrets.as_fd())); // a program of an earlier version did not
        }
        let (admin_sockets, missing) = AdminSockets::go_on(&state.admin_sockets, &mut inherited, workers.run_dir());
        let journal = start_journal()?;
        missing.into_iter().for_each(|text| journal.event(Event::SupervisorWarning { text }));
        for CarriedRecords { memory, position } in state.records {
            let left = inherited.take(memory).and_then(|memory| LeftRecords::open_at(memory, position).ok());
            left.into_iter().for_each(|left| journal.inherit(left));
        }
        journal.event(Event::Upgraded { from: state.program, to: crate::sys::version() });
        events.into_iter().for_each(|event| journal.event(event));
        let mut supervisor = Self {
            admin: AdminChanges::go_on(state.admin, workers.run_dir()),
            admin_sockets,
            regular: Regular::starting(&notify, Instant::now()),
            generations,
            workers,
            listeners,
            clients,
            state_requests,
            secrets,
            debug: DebugRequests::go_on(state.debug, &mut inherited),
            totals,
            recent: state.recent,
            signals,
            notify,
            journal,
            inputs: VecDeque::new(),
            upgrade: Upgrade::default(),
            exit: None,
        };
        for input in happened {
            supervisor.take_note(&input);
            supervisor.inputs.push_back(input);
        }
        supervisor.replace_worker_without_api();
        Ok(supervisor)
    }
}

/// A message without its descriptor would mean something else.
fn found(talk: Talk<RawFd>, inherited: &mut Inherited) -> Talk<OwnedFd> {
    let with = |(text, number): (String, Option<RawFd>)| match number {
        None => Some((text, None)),
        Some(number) => Some((text, Some(inherited.take(number)?))),
    };
    Talk { reloading: talk.reloading, unsent: talk.unsent.into_iter().filter_map(with).collect() }
}

/// Generations that no later message would mention.
fn without_process(generations: &Generations, workers: &Workers) -> Vec<Input> {
    let lost = generations.list().iter().filter(|one| !workers.has(one.number));
    lost.map(|one| Input::Exited(one.number, "was lost in the upgrade".to_owned())).collect()
}

/// A program that is not root's keeps only its ambient capabilities over execve(2): those that this process was
/// given, which are its inheritable set.
fn raise_ambient_capabilities() -> io::Result<()> {
    let own = rustix::thread::capabilities(None)?;
    for capability in (own.permitted & own.inheritable).iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// How long the journal may take to write its queue. Nothing is served meanwhile, so it is short.
const JOURNAL_DEADLINE: Duration = Duration::from_millis(500);

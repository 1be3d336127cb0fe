//! The processes of the generations and the channels to them.

mod carry;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

pub(super) use self::carry::CarriedWorkers;
use super::admin::AdminChanges;
use super::generations::{Input, Recipe};
use super::process::{Image, Process, Program, ending};
use crate::control::PROTOCOL;
use crate::control::channel::{Channel, ChannelError, MOST_DESCRIPTORS, Received};
use crate::control::message::{BindAddress, ConfigSource, Held, LivePosition, Serves, Start, ToSupervisor, ToWorker};
use crate::control::payload::{self, Payload};
use crate::control::recent::RecentEvent;
use crate::control::statistics::{self, Noted};
use crate::observe::WithCauses;

/// Every worker that has a process.
pub(super) struct Workers {
    /// The path of the installed binary.
    binary: PathBuf,
    config: PathBuf,
    /// [`Start::set`] of each.
    set: Vec<String>,
    run_dir: PathBuf,
    list: Vec<WorkerProcess>,
    proven: Option<Proven>,
}

/// What the next worker is made from when one dies.
struct Proven {
    image: Image,
    sources: Payload,
}

struct WorkerProcess {
    number: u64,
    process: Process,
    /// None once the worker closed it.
    channel: Option<Channel>,
    image: Image,
    /// Its configuration, if that is no file.
    remembered: Option<Payload>,
    /// Its configuration, as it sent it.
    sources: Option<Payload>,
    /// The file that says what it has open, or had when it died.
    statistics: Option<statistics::StatisticsReader>,
}

/// A message of a worker, or an event about it.
pub(super) enum WorkerEvent {
    /// An input for the generations.
    Input(Input),
    /// `Finished`, with the records that the journal did not take yet.
    Finished(Input, Vec<OwnedFd>),
    /// It runs and asks what to build.
    Hello,
    /// The input that follows says that it ended; this file tells what it had open and counted.
    Exited(statistics::StatisticsReader),
    /// It wants a socket.
    Bind { listener: String, address: BindAddress },
    /// Its open event streams of the admin API.
    LiveStreams { positions: Vec<LivePosition>, sockets: Vec<OwnedFd> },
    /// Something happened that is kept for a while.
    Happened(RecentEvent),
    /// It asks for the state of the generation before.
    StateRequested,
    /// Its own state, if that could be made.
    State {
        /// For the next generation, and for a replacement.
        state: Option<Payload>,
        /// What goes with it and is kept in no file.
        secrets: Option<Payload>,
    },
}

impl Workers {
    /// No worker yet; they will be started from `binary`.
    pub(super) fn new(binary: PathBuf, config: PathBuf, set: Vec<String>, run_dir: PathBuf) -> Self {
        Self { binary, config, set, run_dir, list: Vec::new(), proven: None }
    }

    /// The directory for files of this run.
    pub(super) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Starts the process of generation `number`.
    pub(super) fn spawn(&mut self, number: u64, recipe: Recipe) -> Input {
        match self.try_spawn(number, recipe) {
            Ok((pid, program)) => Input::Spawned(number, pid, program),
            Err(fault) => {
                Input::SpawnFailed(number, format!("could not be started: {}: {fault}", self.binary.display()))
            }
        }
    }

    fn try_spawn(&mut self, number: u64, recipe: Recipe) -> io::Result<(u32, Program)> {
        let (image, remembered) = match (recipe, &self.proven) {
            (Recipe::Proven, Some(proven)) => (proven.image.clone(), Some(proven.sources.try_clone()?)),
            (Recipe::Proven, None) | (Recipe::Installed, _) => (Image::open(&self.binary)?, None),
        };
        let (channel, theirs) = Channel::pair()?;
        let process = image.start(theirs)?;
        let started = (process.id(), image.program());
        self.list.push(WorkerProcess {
            number,
            process,
            channel: Some(channel),
            image,
            remembered,
            sources: None,
            statistics: None,
        });
        Ok(started)
    }

    /// Sends `message` to a worker. Returns the input that follows if it cannot be sent.
    pub(super) fn send(&mut self, number: u64, message: &ToWorker, with: &[BorrowedFd<'_>]) -> Option<Input> {
        let channel = self.list.iter().find(|one| one.number == number)?.channel.as_ref()?;
        let fault = channel.send(message, with).err()?;
        if matches!(&fault, ChannelError::Send(fault) if is_gone(fault)) {
            return None; // its earlier messages are read first, and then its end
        }
        Some(Input::InvalidMessage(number, format!("takes no messages: {}", WithCauses(&fault))))
    }

    /// Sends `message` to a worker; `false` where it has no room for it now. A worker that is gone needs none.
    pub(super) fn send_if_room(&self, number: u64, message: &ToWorker, with: &[BorrowedFd<'_>]) -> bool {
        let channel = self.list.iter().find(|one| one.number == number).and_then(|one| one.channel.as_ref());
        let sent = channel.map_or(Ok(()), |channel| channel.send(message, with));
        !matches!(sent, Err(ChannelError::Send(fault)) if !is_gone(&fault))
    }

    /// Gives two workers a link, over which the connections of `from` move to `to`. Returns the failures, by worker.
    ///
    /// # Errors
    /// When there is no descriptor left: the connections of `from` then stay with it.
    pub(super) fn link(&mut self, from: u64, to: u64) -> io::Result<Vec<Input>> {
        let (sending, receiving) = Channel::pair()?;
        let successor = self.send(to, &ToWorker::Inherit { generation: from }, &[receiving.as_fd()]);
        let old = self.send(from, &ToWorker::Successor { generation: to }, &[sending.as_fd()]);
        Ok(successor.into_iter().chain(old).collect())
    }

    pub(super) fn signal(&self, number: u64, signal: Signal) {
        if let Some(worker) = self.list.iter().find(|one| one.number == number) {
            worker.process.signal(signal);
        }
    }

    /// Makes later workers from the binary and the configuration of this one.
    pub(super) fn prove(&mut self, number: u64) {
        let Some(worker) = self.list.iter().find(|one| one.number == number) else {
            return;
        };
        let Some(Ok(sources)) = worker.sources.as_ref().map(Payload::try_clone) else {
            return;
        };
        self.proven = Some(Proven { image: worker.image.clone(), sources });
    }

    /// The sources of generation `number`.
    pub(super) fn sources(&self, number: u64) -> Option<&Payload> {
        self.list.iter().find(|one| one.number == number)?.sources.as_ref()
    }

    /// The program that a reload would run, if there is one.
    pub(super) fn installed(&self) -> Option<Program> {
        Image::open(&self.binary).ok().map(|image| image.program())
    }

    /// Whether generation `number` has a process.
    pub(super) fn has(&self, number: u64) -> bool {
        self.list.iter().any(|one| one.number == number)
    }

    /// The binary that later workers are made from; none before the first one proved good.
    pub(super) fn proven_image(&self) -> Option<&Image> {
        self.proven.as_ref().map(|proven| &proven.image)
    }

    /// What to poll for messages of workers and for their ends.
    pub(super) fn watched(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.list.iter().flat_map(|one| {
            let channel = one.channel.as_ref().map(AsFd::as_fd);
            [Some(one.process.as_fd()), channel].into_iter().flatten().map(|fd| (one.number, fd))
        })
    }

    /// The messages of a worker since the last time, and then its end.
    pub(super) fn receive(&mut self, number: u64) -> Vec<WorkerEvent> {
        let mut events = Vec::new();
        while events.len() < MOST_MESSAGES {
            match self.next_event(number) {
                Some(event) => events.push(event),
                None => {
                    events.extend(self.reap(number).into_iter().flatten());
                    break;
                }
            }
        }
        events
    }

    /// What a worker says in its shared statistics; also right after it died.
    pub(super) fn noted(&self, number: u64) -> Option<Noted> {
        self.list.iter().find(|one| one.number == number)?.statistics.as_ref().map(statistics::StatisticsReader::now)
    }

    fn next_event(&mut self, number: u64) -> Option<WorkerEvent> {
        let worker = self.list.iter_mut().find(|one| one.number == number)?;
        // a worker that was ready has numbers for each of its servers
        let most = if worker.sources.is_some() { payload::LARGEST } else { MOST_BEFORE_READY };
        let input = match worker.channel.as_ref()?.receive_at_most(most) {
            Ok(Received::Nothing) => return None,
            Ok(Received::Message(ToSupervisor::Hello { protocol, version }, _)) => match protocol {
                PROTOCOL => return Some(WorkerEvent::Hello),
                other => Input::InvalidMessage(number, foreign(other, &version)),
            },
            Ok(Received::Message(ToSupervisor::Bind { listener, address }, _)) => {
                return Some(WorkerEvent::Bind { listener, address });
            }
            Ok(Received::Message(ToSupervisor::LiveStreams(positions), sockets)) => {
                return Some(WorkerEvent::LiveStreams { positions, sockets });
            }
            Ok(Received::Message(ToSupervisor::Happened(event), _)) => {
                return Some(WorkerEvent::Happened(event));
            }
            Ok(Received::Message(ToSupervisor::RequestState, _)) => return Some(WorkerEvent::StateRequested),
            Ok(Received::Message(ToSupervisor::State, mut descriptors)) => {
                let [state, secrets] = [descriptors.pop(), descriptors.pop()].map(|one| one.map(Payload::from));
                return Some(WorkerEvent::State { state, secrets });
            }
            Ok(Received::Message(message @ ToSupervisor::Finished(_), descriptors)) => {
                return Some(WorkerEvent::Finished(Input::Message(number, message), descriptors));
            }
            Ok(Received::Message(message, descriptors)) => {
                // the first time: a later message does not come from the code that reads configurations
                if matches!(message, ToSupervisor::Ready(_)) && worker.sources.is_none() {
                    let mut descriptors = descriptors.into_iter();
                    worker.sources = descriptors.next().map(Payload::from);
                    worker.statistics = descriptors.next().map(statistics::StatisticsReader::from);
                }
                Input::Message(number, message)
            }
            Ok(Received::End) => {
                worker.channel = None;
                Input::ChannelClosed(number)
            }
            Err(fault) => {
                worker.channel = None;
                Input::InvalidMessage(number, format!("sent a message that is not understood: {}", WithCauses(&fault)))
            }
        };
        Some(WorkerEvent::Input(input))
    }

    /// Answers the first message of a worker with everything that it needs. It is `alone` when no other serves.
    pub(super) fn greet(
        &mut self,
        number: u64,
        keeps: Serves,
        alone: bool,
        sockets: &[(Held, &OwnedFd)],
        admin: &AdminChanges,
    ) -> Option<Input> {
        let remembered = self.list.iter_mut().find(|one| one.number == number)?.remembered.take();
        let start = ToWorker::Start(Start {
            generation: number,
            config: match remembered {
                Some(_) => ConfigSource::Remembered,
                None => ConfigSource::File(self.config.clone()),
            },
            sockets: sockets.len(),
            run_dir: self.run_dir.clone(),
            say_loaded: true,
            set: self.set.clone(),
            keeps,
            alone,
            takes_records: true,
            admin: admin.all().to_vec(),
            takes_events: true,
            page_token: admin.page_token().to_owned(),
        });
        let with: Vec<_> = remembered.iter().map(AsFd::as_fd).collect();
        let mut input = self.send(number, &start, &with);
        for batch in sockets.chunks(MOST_DESCRIPTORS) {
            let names = batch.iter().map(|(held, _)| held.clone()).collect();
            let with: Vec<_> = batch.iter().map(|(_, socket)| socket.as_fd()).collect();
            input = input.or_else(|| self.send(number, &ToWorker::Listeners(names), &with));
        }
        input
    }

    fn reap(&mut self, number: u64) -> Option<Vec<WorkerEvent>> {
        let index = self.list.iter().position(|one| one.number == number)?;
        let how = match self.list[index].process.ended() {
            Ok(None) => return None,
            Ok(Some(status)) => ending(&status),
            Err(fault) => format!("is gone: {fault}"),
        };
        let left = self.list.remove(index).statistics.map(WorkerEvent::Exited); // it does not change any more
        Some(left.into_iter().chain([WorkerEvent::Input(Input::Exited(number, how))]).collect())
    }

    /// Ends every process at once.
    pub(super) fn kill_all(&mut self) {
        for worker in &self.list {
            worker.process.signal(Signal::KILL);
            // a killed process ends; that it is gone already is fine
            let _ = worker.process.wait();
        }
        self.list.clear();
    }
}

fn is_gone(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

fn foreign(protocol: u32, version: &str) -> String {
    format!("(version {version}) speaks version {protocol} of the control protocol, and the supervisor {PROTOCOL}")
}

/// Messages of one worker that are read before the others have their turn.
const MOST_MESSAGES: usize = 64;
/// Bytes of a message of a worker that is not ready yet.
const MOST_BEFORE_READY: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    // it was said to have died, since what it said before its end was not read yet
    #[test]
    fn to_tell_something_to_a_worker_that_has_just_exited_is_no_fault_of_it() {
        let mut workers = Workers::new("/bin/true".into(), "none".into(), Vec::new(), "none".into());
        assert!(matches!(workers.spawn(1, Recipe::Installed), Input::Spawned(1, ..)));
        // a killed process ends; this one ends by itself
        let _ = workers.list[0].process.wait();
        assert!(workers.send(1, &ToWorker::Ping { number: 1, keeps_status: false, may_note: false }, &[]).is_none());
    }

    #[test]
    fn a_worker_that_reads_nothing_is_told_no_more() {
        let mut workers = Workers::new("/bin/sleep".into(), "none".into(), Vec::new(), "none".into());
        let (channel, _theirs) = Channel::pair().expect("pair");
        workers.spawn(1, Recipe::Installed);
        workers.list[0].channel = Some(channel);
        let ping = ToWorker::Ping { number: 1, keeps_status: false, may_note: false };
        let mut told = std::iter::repeat_with(|| workers.send(1, &ping, &[])).take(100_000);
        assert!(matches!(told.find_map(|input| input), Some(Input::InvalidMessage(1, _))));
    }
}

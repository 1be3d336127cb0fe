//! The life of a worker, in the order of `control::message`: build, report, serve, park, drain, end.
//!
//! This runs on the main thread; the serving threads get orders and answer. If the supervisor vanishes, the worker
//! stops accepting at once and drains: the next supervisor starts a worker on the same sockets.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::admin;
use super::certificates::{self, CertificateWatch};
use super::configuration::{Configuration, system};
use super::connections;
use super::first_messages::{Orders, bind, greet, propose};
use super::link::SupervisorLink;
use super::memory::{self, Expendable, Loss};
use super::moving::Moving;
use super::pong::{LastStatus, vitals};
use super::renewer::{RenewalReport, Renewer};
use super::saved_state::{self, Restored, StateReports};
use super::sockets::{Sockets, Unused};
use super::start_failure::StartFailure;
use super::threads::{Heartbeat, Threads};
use super::ticket_keys::TicketKeyring;
use super::watch::Watch;
use crate::admin::server::AdminServer;
use crate::config::METRICS;
use crate::control::admin::DASHBOARD_SOCKET;
use crate::control::channel::ChannelError;
use crate::control::debug::DebugRequest;
use crate::control::message::{
    Finished, GenerationBounds, Held, Pong, Ready, RenderedProblem, Serves, Start, ToSupervisor, ToWorker,
};
use crate::control::payload::Payload;
use crate::control::recent::RecentEvent;
use crate::control::status::WorkerStatus;
use crate::handover::capabilities::Capabilities;
use crate::observe::event::Event;
use crate::observe::journal::{Identity, Journal, Role};
use crate::pool::admin::undone;
use crate::proxy::RuntimeConfig;
use crate::proxy::certificate_files::secret_path;
use crate::proxy::certificate_problem::problems;
use crate::proxy::certificates::CertificateStore;
use crate::proxy::debug::DebugSession;
use crate::proxy::tls::ServerTls;
use crate::proxy::upstream_tls::UpstreamTlsFiles;

/// Runs until there is nothing left to serve.
pub async fn run(link: SupervisorLink) -> ExitCode {
    match build(&link).await {
        Ok(built) => match RunningWorker::ready(link, built) {
            Ok(worker) => worker.live().await,
            Err(_) => ExitCode::SUCCESS, // the supervisor is gone
        },
        Err(StartFailure::Refused(mut refused)) => {
            shorten(&mut refused.problems);
            // a supervisor that is gone needs no reason
            let _ = link.try_send(&ToSupervisor::Refused(refused), &[]);
            ExitCode::from(EXIT_REFUSED)
        }
        Err(StartFailure::SupervisorGone | StartFailure::NotNeeded) => ExitCode::SUCCESS,
        Err(StartFailure::Confused(why)) => {
            eprintln!("segue worker: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps the first problems, as many as the supervisor reads; people fix no more of them at once.
fn shorten(problems: &mut Vec<RenderedProblem>) {
    let mut room = MOST_OF_PROBLEMS;
    let fits = problems.iter().take_while(|one| {
        // in JSON each of their bytes may take six
        room = room.saturating_sub(6 * (one.brief.len() + one.text.len()) + 64);
        room > 0
    });
    let kept = fits.count();
    let left = problems.len() - kept;
    problems.truncate(kept);
    if left > 0 {
        problems.push(RenderedProblem::plain(format!("there are {left} problems more: `segue check` shows all")));
    }
}

/// A worker that has built everything.
struct RunningWorker {
    link: SupervisorLink,
    threads: Threads,
    moving: Moving,
    /// When the worker sends its state to the supervisor.
    state_reports: Rc<StateReports>,
    /// It accepts, so its state is the current one.
    serves: bool,
    /// Checks the servers for the life of the worker.
    watch: Watch,
    certificates: CertificateWatch,
    renewer: Renewer,
    admin: AdminServer,
    journal: Journal,
    expendable: Expendable,
    generation: u64,
    drain_timeout: Duration,
    stop_timeout: Duration,
    /// The sockets that it will accept on, until `Serve` comes.
    sockets: Vec<(String, OwnedFd)>,
    /// The supervisor writes the records that are left.
    hands_over_records: bool,
    events: mpsc::Receiver<RecentEvent>,
    /// The supervisor keeps events for a while.
    takes_events: bool,
    /// The ping that is open: some thread has not answered yet.
    unanswered: Option<Ping>,
    last_status: LastStatus,
    draining: Option<Drained>,
}

/// A ping of the supervisor.
#[derive(Clone, Copy)]
struct Ping {
    number: u64,
    keeps_status: bool,
    may_note: bool,
}

/// The numbers at the beginning of the drain.
#[derive(Clone, Copy)]
struct Drained {
    connections: u64,
}

impl RunningWorker {
    fn ready(link: SupervisorLink, prepared: Prepared) -> Result<Self, ChannelError> {
        let Prepared { generation, takes_records, takes_events, mut ready, expendable, .. } = prepared;
        let Prepared {
            unused,
            sources,
            threads,
            state_reports,
            watch,
            certificates,
            renewer,
            admin,
            journal,
            events,
            sockets,
            ..
        } = prepared;
        for text in &ready.warnings {
            let text = text.clone();
            journal.event(Event::ConfigWarning { generation, text });
        }
        ready.warnings.extend(unused.iter().map(Unused::to_string));
        for Unused { name, address } in unused {
            journal.event(Event::ListenerUnused { listener: name, address });
        }
        let (drain_timeout, stop_timeout) = (ready.drain_timeout, ready.stop_timeout);
        let RuntimeConfig { config, tls, .. } = &**threads.runtime_config();
        let rules = tls.as_ref().map(ServerTls::client_rules).unwrap_or_default();
        let tcp_rules = tls.as_ref().map(ServerTls::tcp_client_rules).unwrap_or_default();
        let capabilities = Capabilities::new(config, &ready.listeners).with_client_rules(config, &rules, &tcp_rules);
        let moving = Moving::new(generation, capabilities, journal.clone());
        link.try_send(&ToSupervisor::Ready(ready), &[sources.as_fd(), threads.statistics().file().as_fd()])?;
        Ok(Self {
            link,
            threads,
            moving,
            state_reports,
            serves: false,
            watch,
            certificates,
            renewer,
            admin,
            journal,
            expendable,
            generation,
            drain_timeout,
            stop_timeout,
            sockets,
            hands_over_records: takes_records,
            events,
            takes_events,
            unanswered: None,
            last_status: LastStatus::default(),
            draining: None,
        })
    }

    async fn live(mut self) -> ExitCode {
        let mut supervised = true;
        let thread_ended = self.threads.ended();
        let code = loop {
            tokio::select! {
                message = self.link.receive(), if supervised => match message {
                    Ok(Some((message, with))) => {
                        if let Err(fault) = self.follow(message, with).await {
                            break self.lost(&fault);
                        }
                    }
                    Ok(None) => {
                        supervised = false;
                        self.orphaned().await;
                    }
                    Err(fault) => break self.lost(&fault),
                },
                () = tokio::time::sleep(HEARTBEAT_RETRY), if self.unanswered.is_some() => self.answer().await,
                Some(event) = self.events.recv() => self.happened(event),
                () = self.state_reports.time(), if self.serves => self.send_state_unasked().await,
                () = thread_ended.notified(), if self.draining.is_none() => {
                    // the next receive reports a supervisor that is gone
                    let _ = self.unfit("a serving thread ended");
                }
                () = self.threads.finished(), if self.draining.is_some() => {
                    self.admin.finished().await;
                    break self.finished();
                }
            }
        };
        let _ = self.journal.finish(JOURNAL_DEADLINE); // no process is left to be told
        code
    }

    async fn follow(&mut self, message: ToWorker, mut with: Vec<OwnedFd>) -> Result<(), ChannelError> {
        match message {
            ToWorker::Serve => {
                let sockets = std::mem::take(&mut self.sockets);
                match self.threads.serve(sockets).await {
                    Ok(()) => {
                        self.set_serves(true);
                        self.state_reports.is_due();
                        self.link.try_send(&ToSupervisor::Serving, &[])
                    }
                    Err(fault) => self.unfit(&fault.to_string()),
                }
            }
            ToWorker::Park => {
                self.set_serves(false);
                self.threads.park().await;
                self.expendable.set(Loss::Resort);
                self.link.try_send(&ToSupervisor::Parked, &[])?;
                self.give_streams().await;
                Ok(())
            }
            ToWorker::Resume => {
                self.expendable.set(Loss::Everything);
                match self.threads.resume().await {
                    true => {
                        self.set_serves(true);
                        self.state_reports.is_due();
                        self.link.try_send(&ToSupervisor::Resumed, &[])
                    }
                    false => self.unfit("a thread cannot accept"),
                }
            }
            ToWorker::Drain { timeout } => {
                let timeout = timeout.unwrap_or(self.drain_timeout);
                self.drain(timeout, timeout.mul_f64(SPREAD).min(LONGEST_SPREAD), timeout).await;
                Ok(())
            }
            ToWorker::Stop { timeout } => {
                let timeout = timeout.unwrap_or(self.stop_timeout);
                self.drain(timeout, Duration::ZERO, timeout.min(IDLE_AT_STOP)).await;
                Ok(())
            }
            ToWorker::SendState => self.send_state().await,
            ToWorker::Ping { number, keeps_status, may_note } => {
                self.unanswered = Some(Ping { number, keeps_status, may_note });
                self.answer().await;
                Ok(())
            }
            ToWorker::Successor { generation } => {
                let link = with.pop().ok_or(ChannelError::Incomplete)?;
                self.moving.give(generation, link, &self.threads).await;
                Ok(())
            }
            ToWorker::Inherit { generation } => {
                let link = with.pop().ok_or(ChannelError::Incomplete)?;
                self.moving.take(generation, link, &self.threads);
                Ok(())
            }
            ToWorker::Admin { revision, changes } => {
                self.watch.administer(&changes, self.serves);
                self.admin.acts_by(revision);
                Ok(())
            }
            ToWorker::LiveStreams(positions) => {
                self.admin.take_streams(with, positions);
                Ok(())
            }
            ToWorker::Debug(DebugRequest { filter, lasts }) => {
                // without its socket there is no place for lines, which is no reason to end
                if let Some(socket) = with.pop() {
                    self.threads.debug(DebugSession::new(filter, lasts, socket)).await;
                }
                Ok(())
            }
            ToWorker::Connections(request) => {
                // without its socket there is no place for answers, which is no reason to end
                if let Some(socket) = with.pop() {
                    connections::answer(&self.threads, request, socket);
                }
                Ok(())
            }
            // sent before it is built; a state that comes late is not used
            ToWorker::Start(_)
            | ToWorker::Listeners(_)
            | ToWorker::Build
            | ToWorker::Bound { .. }
            | ToWorker::BindFailed { .. }
            | ToWorker::State { .. } => Ok(()),
        }
    }

    /// Moves or finishes what is open within `timeout`; connections that cannot move are closed over `spread`, and an
    /// idle connection is kept for `idle` at most.
    async fn drain(&mut self, timeout: Duration, spread: Duration, idle: Duration) {
        self.set_serves(false);
        self.admin.close();
        self.admin.end_streams().await; // after a reload there is none left
        self.certificates.end();
        let connections = vitals(&self.threads.status()).connections;
        self.expendable.set(Loss::Remains);
        self.draining.get_or_insert(Drained { connections });
        self.threads.drain(timeout, spread, idle).await;
    }

    fn set_serves(&mut self, serves: bool) {
        self.serves = serves;
        self.certificates.set_serves(serves);
        self.renewer.set_serves(serves);
        self.admin.set_serves(serves);
    }

    /// Sends its state to the next generation, through the supervisor.
    async fn send_state(&self) -> Result<(), ChannelError> {
        // without a descriptor for them the next generation depends on the files
        let secrets = self.certificates.secrets().ok().flatten();
        match saved_state::take(self.threads.runtime_config(), &self.threads, self.certificates.warnings()).await {
            Ok(state) => {
                let with: Vec<_> = secrets.iter().chain([&state]).map(AsFd::as_fd).collect();
                self.link.try_send(&ToSupervisor::State, &with)
            }
            // no descriptor, no memory: the next generation starts without
            Err(_) => self.link.try_send(&ToSupervisor::State, &[]),
        }
    }

    /// Sends its state to the supervisor, so that a replacement gets it when this process is killed.
    async fn send_state_unasked(&mut self) {
        let began = Instant::now();
        // the next receive reports a supervisor that is gone
        let _ = self.send_state().await;
        self.state_reports.done(began);
    }

    /// Tells the supervisor what happened, for the admin API. Of a generation that serves no more only its own end counts, and
    /// the supervisor knows that.
    fn happened(&self, event: RecentEvent) {
        // what any user of the machine can cause would drive out the rest
        if self.serves && self.takes_events && event.event != "admin-refused" {
            // the next receive reports a supervisor that is gone
            let _ = self.link.try_send(&ToSupervisor::Happened(event), &[]);
        }
    }

    /// Gives open event streams of the admin API to the generation that serves.
    async fn give_streams(&self) {
        let (sockets, positions): (Vec<_>, Vec<_>) = self.admin.give_streams().await.into_iter().unzip();
        if self.takes_events && !sockets.is_empty() {
            let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            // a supervisor that is gone passes nothing on
            let _ = self.link.try_send(&ToSupervisor::LiveStreams(positions), &sockets);
        }
    }

    /// Asks to be replaced. The threads that work continue until another worker serves.
    fn unfit(&self, why: &str) -> Result<(), ChannelError> {
        self.link.try_send(&ToSupervisor::Unfit { why: why.to_owned() }, &[])
    }

    /// Answers a ping once every thread has answered, or waits for events.
    async fn answer(&mut self) {
        let Some(Ping { number, keeps_status, may_note }) = self.unanswered else { return };
        let of = if number.is_multiple_of(WAKE_ALL) { Heartbeat::OfAll } else { Heartbeat::OfBusy };
        if !self.threads.heartbeat(of, HEARTBEAT).await {
            return;
        }
        self.unanswered = None;
        let mut pong = if self.serves {
            self.last_status.of_serving(
                number,
                keeps_status,
                (&self.threads, &self.certificates),
                self.state_reports.changes(),
            )
        } else {
            self.last_status = LastStatus::default();
            let status = WorkerStatus { oldest: self.threads.oldest().await, ..self.threads.status() };
            Pong { number, vitals: vitals(&status), status: Some(status), wants_successor: false }
        };
        pong.wants_successor = self.moving.wants_successor();
        if may_note && pong.status.is_none() && !pong.wants_successor {
            self.threads.statistics().answered(number);
        } else {
            // the next receive reports a supervisor that is gone
            let _ = self.link.try_send(&ToSupervisor::Pong(pong), &[]);
        }
        // exchanges change this without an event: balancers, and passive health
        self.state_reports.is_due_after(self.threads.exchanges());
    }

    async fn orphaned(&mut self) {
        self.hands_over_records = false;
        let text = format!("The supervisor is gone: generation {} finishes what is open", self.generation);
        self.journal.event(Event::SupervisorWarning { text });
        self.threads.park().await;
        self.drain(self.drain_timeout, Duration::ZERO, self.drain_timeout).await;
    }

    /// Sends its last message. Records that the journal did not take are handed over or counted before that.
    fn finished(&self) -> ExitCode {
        let left = match self.hands_over_records {
            true => self.journal.leave(JOURNAL_PATIENCE),
            false => {
                let _ = self.journal.finish(JOURNAL_DEADLINE); // the status reports what was dropped
                Vec::new()
            }
        };
        let records: Vec<_> = left.iter().map(AsFd::as_fd).collect();
        let at_first = self.draining.map_or(0, |drained| drained.connections);
        let status = self.threads.status();
        let moved = self.threads.moved();
        let cut = status.cut.min(at_first);
        let finished = at_first.saturating_sub(cut + moved);
        // without a supervisor no process is left to be told
        let _ = self.link.try_send(&ToSupervisor::Finished(Finished { finished, moved, cut, status }), &records);
        ExitCode::SUCCESS
    }

    fn lost(&self, fault: &ChannelError) -> ExitCode {
        let text = format!("Generation {} cannot understand its supervisor ({fault}), and ends", self.generation);
        self.journal.event(Event::SupervisorWarning { text });
        ExitCode::FAILURE
    }
}

/// Everything that a worker serves with.
struct Prepared {
    generation: u64,
    takes_records: bool,
    takes_events: bool,
    ready: Ready,
    unused: Vec<Unused>,
    sources: Payload,
    threads: Threads,
    state_reports: Rc<StateReports>,
    watch: Watch,
    certificates: CertificateWatch,
    renewer: Renewer,
    admin: AdminServer,
    journal: Journal,
    events: mpsc::Receiver<RecentEvent>,
    sockets: Vec<(String, OwnedFd)>,
    expendable: Expendable,
}

async fn build(link: &SupervisorLink) -> Result<Prepared, StartFailure> {
    let Orders { start, remembered, held } = greet(link).await?;
    let mut configuration = Configuration::load(&start, remembered)?;
    if start.say_loaded
        && let Some(serving) = propose(link, &configuration).await?
    {
        configuration.compare(&serving);
    }
    prepare(link, &start, configuration, held).await
}

async fn prepare(
    link: &SupervisorLink,
    start: &Start,
    configuration: Configuration,
    held: Vec<(Held, OwnedFd)>,
) -> Result<Prepared, StartFailure> {
    let (mut config, mut warnings) = (configuration.config.clone(), configuration.warnings.clone());
    config.add_dashboard(&start.run_dir.join(DASHBOARD_SOCKET));
    let servers = UpstreamTlsFiles::load(&config);
    warnings.extend(configuration.of_servers(&servers.problems, start)?);
    let (of_admin, held) = admin::sockets(held);
    let Sockets { mut found, missing, warnings: of_sockets, unused } = Sockets::choose(&config, held, start.alone)?;
    warnings.extend(of_sockets);
    found.extend(bind(link, missing, start.alone, &mut warnings).await?);
    let (generation, drain) = (start.generation, config.drain.clone());
    let serves = Serves::from(&config);
    let expendable = Expendable::new();
    if config.has_tls() || servers.is_used() {
        // no core file with keys in it, and no look at its memory or descriptors by what runs as the same user (prctl(2))
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(|fault| system(format!("the worker can still be dumped: {fault}")))?;
    }
    let ticket_keys = config.tls.ticket_keys.as_ref().map(secret_path);
    let mut store = CertificateStore::load(&config);
    let tls = ServerTls::new(&config, &store).map_err(system)?;
    let tickets = tls.as_ref().map(|tls| tls.tickets().clone()).unwrap_or_default();
    let state = saved_state::request(link).await?;
    state.add_removed_servers(&mut config, SystemTime::now());
    let pools = servers.pools(&config, SystemTime::now()).map_err(system)?;
    let runtime_config = Arc::new(RuntimeConfig::with_tls(generation, config, tls, pools));
    let identity = Identity { role: Role::Worker, generation: Some(generation) };
    let journal = Journal::start(identity, Some(runtime_config.names.clone()))
        .map_err(|fault| system(format!("the journal cannot be opened: {fault}")))?;
    let undoes = undone(&start.admin, &runtime_config.pools);
    runtime_config.pools.iter().for_each(|pool| pool.administer(&start.admin));
    let events = journal.listen();
    let Restored { changes, secrets, expiry_warnings } = state.restore(&runtime_config, &journal);
    certificates::fall_back(&mut store, secrets.as_ref());
    let (ring, wrong) = TicketKeyring::new(tickets, ticket_keys, secrets.as_ref(), SystemTime::now());
    warnings.extend(configuration.of_ticket_keys(wrong));
    warnings.extend(configuration.of_certificates(problems(&store, SystemTime::now())));
    let state_reports = Rc::new(StateReports::default());
    let watch = Watch::start(&runtime_config.pools, changes, &journal, &state_reports).await;
    let renewals = Arc::new(RenewalReport::default());
    let renewer = Renewer::new(&runtime_config.config, &journal, &renewals);
    let reports = state_reports.clone();
    let certificates =
        CertificateWatch::start(generation, store, ring, expiry_warnings, journal.clone(), reports, renewals);
    let Configuration { hash, summary, sources, changes: configured, .. } = configuration;
    let threads = Threads::start(runtime_config, journal.clone())
        .map_err(|fault| system(format!("the serving threads cannot be started: {fault}")))?;
    let mut ready = Ready {
        version: crate::sys::version().to_owned(),
        summary,
        config_hash: hash,
        warnings,
        listeners: found.iter().map(|(held, _)| held.clone()).collect(),
        drain_timeout: drain.timeout,
        stop_timeout: drain.stop_timeout,
        bounds: GenerationBounds {
            generations: drain.generations,
            memory: memory::bytes(drain.memory),
            hurry_timeout: drain.hurry_timeout,
        },
        serves,
        takes_debug: true,
        takes_admin: true,
        lists_connections: true,
        undoes,
        changes: configured,
    };
    let (of_metrics, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|(held, _)| held.listener == METRICS);
    let of_metrics = of_metrics.into_iter().map(|(_, socket)| socket).collect();
    let (admin, wrong) = admin::server(of_metrics, of_admin, start, &journal, threads.runtime_config());
    ready.warnings.extend(wrong);
    let sockets = found.into_iter().map(|(held, socket)| (held.listener, socket)).collect();
    let (takes_records, takes_events) = (start.takes_records, start.takes_events);
    Ok(Prepared {
        expendable,
        generation,
        takes_records,
        takes_events,
        ready,
        unused,
        sources,
        threads,
        state_reports,
        watch,
        certificates,
        renewer,
        admin,
        journal,
        events,
        sockets,
    })
}

/// Bytes of all problems together in one message.
const MOST_OF_PROBLEMS: usize = 960 << 10;
/// `EX_CONFIG` of sysexits(3).
const EXIT_REFUSED: u8 = 78;
/// How long the threads may take to answer before they are asked again.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// At each ping of a number that this divides, threads that wait for events are asked too.
const WAKE_ALL: u64 = 3;
const HEARTBEAT_RETRY: Duration = Duration::from_millis(100);
/// The share of the drain time over which the last responses of connections that cannot move are spread: the rest is
/// for idle connections.
const SPREAD: f64 = 0.75;
/// The upper bound of that time: only their new connections must not all come at once.
const LONGEST_SPREAD: Duration = Duration::from_secs(30);
/// How long an idle connection is kept when the service stops: at a restart new connections wait for the next start
/// meanwhile.
const IDLE_AT_STOP: Duration = Duration::from_millis(250);
const JOURNAL_DEADLINE: Duration = Duration::from_secs(4);
/// The same, when the supervisor writes what is left then.
const JOURNAL_PATIENCE: Duration = Duration::from_millis(200);

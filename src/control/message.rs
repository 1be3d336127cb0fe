//! The messages between supervisor and worker, in the order of a worker's life.
//!
//! ```text
//! worker      Hello
//! supervisor          Start + configuration, Listeners + sockets …
//! worker      Loaded                           what it would serve; nothing is bound or built yet
//! supervisor          Build                    or Stop, when the generation that serves is made of the same
//! worker      Bind …                           for each address that needs a socket
//! supervisor          Bound + socket, or BindFailed
//! worker      RequestState                     asks for the state of the generation before it
//! supervisor          State + saved state      or without, when there is none
//! worker      Refused, or Ready + sources
//! supervisor          Serve
//! worker      Serving                          accepts from now on
//! supervisor          Park                     once the next generation serves
//! worker      Parked                           accepts nothing, could resume
//! supervisor          Successor + link, Drain  or Resume, when the next generation died
//! worker      Finished                         and exits
//! ```
//! `Ping` is answered by `Pong` at any time, or in the shared statistics where it says so, once every thread of the worker
//! has answered or waits for events; `SendState` by `State` with the worker's state, for the next generation; a worker that
//! serves also sends it unasked. A worker that finds that it cannot serve sends `Unfit` at any time.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::admin::AdminChange;
use super::connections::ConnectionsRequest;
use super::debug::DebugRequest;
use super::recent::RecentEvent;
use super::status::{self, WorkerStatus};

/// From the supervisor to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// What to build.
    Start(Start),
    /// Some of the sockets that [`Start::sockets`] counts; each comes as a descriptor, in this order.
    Listeners(Vec<Held>),
    /// The answer to [`ToSupervisor::Loaded`]: go on. The descriptor has the sources of the configuration that serves, if one
    /// does.
    Build,
    /// The socket asked for by [`ToSupervisor::Bind`], as the descriptor.
    Bound {
        /// The name of the listener.
        listener: String,
    },
    /// There is no socket for [`ToSupervisor::Bind`].
    BindFailed {
        /// The name of the listener.
        listener: String,
        /// The error of the kernel, in words.
        reason: String,
    },
    /// Send the state for the next generation.
    #[serde(rename = "snapshot")]
    SendState,
    /// Answer to [`ToSupervisor::RequestState`]: the state of the generation before, as the last descriptor. Before it
    /// may come another one, for what must not be in a file.
    State {
        /// Why there is no descriptor, if one was expected; in words.
        missing: Option<String>,
    },
    /// Accept on every listener.
    Serve,
    /// Stop accepting, keep everything.
    Park,
    /// Accept again.
    Resume,
    /// Connections may move to another generation, over the link that comes as the descriptor: one end of a
    /// SOCK_SEQPACKET pair, whose other end goes to that generation with [`ToWorker::Inherit`]. Comes before
    /// [`ToWorker::Drain`], and again while draining whenever another generation takes the connections; the last one
    /// counts.
    #[serde(rename = "successor")]
    Successor {
        /// The generation that gets them.
        generation: u64,
    },
    /// The connections of another generation come over the link that is the descriptor, until its end.
    Inherit {
        /// The generation that they come from.
        generation: u64,
    },
    /// Finish or move what is open, then exit. Comes only to parked workers.
    Drain {
        /// What is open after this time is cut; the worker's own `drain.timeout` when absent.
        timeout: Option<Duration>,
    },
    /// The service ends: stop accepting, finish what is open, then exit.
    Stop {
        /// What is open after this time is cut; the worker's own `drain.stop_timeout` when absent.
        timeout: Option<Duration>,
    },
    /// Show exchanges on the socket that is the descriptor. Only to workers that said [`Ready::takes_debug`], which those
    /// of 0.1 do not.
    Debug(DebugRequest),
    /// Say on the socket that is the descriptor what is asked of the client connections. Only to workers that said
    /// [`Ready::lists_connections`].
    Connections(ConnectionsRequest),
    /// Everything that operators have set, whatever came before. Only to workers that said [`Ready::takes_admin`].
    Admin {
        /// The revision of the last change.
        revision: u64,
        /// What is set.
        changes: Vec<AdminChange>,
    },
    /// The open event streams of another worker, as descriptors in the order of these positions: go on with them. Only to
    /// workers that said [`Ready::takes_admin`].
    LiveStreams(Vec<LivePosition>),
    /// Answer once every thread has answered.
    Ping {
        /// Comes back in the [`Pong`].
        number: u64,
        /// The last [`Pong::status`] is kept, and need not be said again while it holds. Supervisors of 0.1 do not
        /// keep it.
        #[serde(default)]
        keeps_status: bool,
        /// An answer without news may be noted in the shared statistics: the supervisor looks there. Supervisors of 0.1
        /// do not.
        #[serde(default)]
        may_note: bool,
    },
}

/// What a worker builds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The number of this generation.
    pub generation: u64,
    /// Where the configuration is.
    pub config: ConfigSource,
    /// How many sockets come in [`ToWorker::Listeners`].
    pub sockets: usize,
    /// The directory for sockets and other files of this run.
    pub run_dir: PathBuf,
    /// Whether to send [`ToSupervisor::Loaded`] and to wait for [`ToWorker::Build`]; supervisors of 0.1 do not ask
    /// for it.
    #[serde(default)]
    pub say_loaded: bool,
    /// What the command line of the service sets in the configuration; opaque to the supervisor.
    #[serde(default)]
    pub set: Vec<String>,
    /// Whether the supervisor takes unwritten records with [`ToSupervisor::Finished`].
    #[serde(default)]
    pub takes_records: bool,
    /// What the generation serves that this one replaces: a configuration that takes the last of it away is refused.
    /// Nothing if that is allowed, and from supervisors of 0.1.
    #[serde(default)]
    pub keeps: Serves,
    /// Whether no generation serves when this one is refused: at the start of the service, and after a crash.
    #[serde(default)]
    pub alone: bool,
    /// What operators have set for servers.
    #[serde(default)]
    pub admin: Vec<AdminChange>,
    /// Whether the supervisor knows [`ToSupervisor::Happened`].
    #[serde(default)]
    pub takes_events: bool,
    /// What a page sends with a change, the same for all workers; empty from supervisors that have none.
    #[serde(default)]
    pub page_token: String,
}

/// What a generation has for clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Serves {
    /// At least one site.
    pub sites: bool,
    /// At least one TCP listener.
    pub tcp: bool,
}

impl Serves {
    /// Whether this is `before` without its last site, or without any listener and site.
    #[must_use]
    pub fn lost(self, before: Self) -> bool {
        !self.sites && (before.sites || before.tcp && !self.tcp)
    }
}

/// Where the configuration of a worker is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigSource {
    /// In files; this is the main one.
    File(PathBuf),
    /// In the descriptor that comes with the message: the sources that an earlier worker sent with
    /// [`ToSupervisor::Ready`].
    Remembered,
}

/// What an event stream of the admin API has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LivePosition {
    /// The user of the page that it is for, with a mark of its password; none over the socket of the admin API.
    pub user: Option<(String, u64)>,
    /// It has got a status, and with that everything before.
    pub has_status: bool,
    /// Points up to this time, in seconds since 1970.
    pub points_after: u64,
    /// Events up to this number.
    pub events_after: u64,
}

/// A listening socket that the supervisor holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The name of the listener; several sockets may share one.
    pub listener: String,
    /// The address, for sockets that the supervisor bound; none for those of a socket unit, which are used wherever
    /// they are bound.
    pub bound: Option<BindAddress>,
}

/// From a worker to the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToSupervisor {
    /// The first message.
    Hello {
        /// [`super::PROTOCOL`] of the worker.
        protocol: u32,
        /// The version of its binary.
        version: String,
    },
    /// The configuration is read and good.
    Loaded {
        /// Equal for equal effective configurations.
        config_hash: String,
        /// Every listener that it may [`ToSupervisor::Bind`], with its address; absent from workers of 0.1.
        #[serde(default)]
        may_bind: Option<Vec<Held>>,
    },
    /// Asks for a listener that systemd did not pass. Only between [`ToWorker::Build`] and [`ToSupervisor::Ready`].
    Bind {
        /// Its name.
        listener: String,
        /// Where to bind it.
        address: BindAddress,
    },
    /// Asks for the state of the generation before: health of servers and the like.
    #[serde(rename = "recall")]
    RequestState,
    /// Answer to [`ToWorker::SendState`], and sent unasked by one that serves: the state is the last descriptor; opaque
    /// to the supervisor. No descriptor when it could not be made. Before it may come another one, which the supervisor
    /// holds and never writes to a file.
    #[serde(rename = "snapshot")]
    State,
    /// The configuration cannot be served; the worker exits.
    Refused(Refused),
    /// Everything is built. The sources of the configuration come as the first descriptor, the shared counts of open
    /// connections ([`super::statistics`]) as the second.
    Ready(Ready),
    /// Answer to [`ToWorker::Serve`].
    Serving,
    /// Answer to [`ToWorker::Park`].
    Parked,
    /// Answer to [`ToWorker::Resume`].
    Resumed,
    /// Another worker should serve in its place.
    Unfit {
        /// Why, as the rest of a sentence.
        why: String,
    },
    /// Open event streams of the admin API, as descriptors in the order of these positions: for the generation that serves.
    /// Only where [`Start::takes_events`].
    LiveStreams(Vec<LivePosition>),
    /// Something happened that the journal says too, and the supervisor keeps for a while. Only where
    /// [`Start::takes_events`].
    ///
    /// Number and time are those of the supervisor.
    Happened(RecentEvent),
    /// Answer to [`ToWorker::Ping`].
    Pong(Pong),
    /// The last message of a worker that drained. Records that the journal did not take yet come as descriptors, if
    /// [`Start::takes_records`] asks for them; the supervisor knows only their format.
    Finished(Finished),
}

/// Why a worker does not serve a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Whether another configuration would help.
    pub cause: Cause,
    /// Everything that is wrong.
    pub problems: Vec<RenderedProblem>,
}

/// A problem, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedProblem {
    /// One line with the place.
    pub brief: String,
    /// With an excerpt and what to write instead; several lines.
    pub text: String,
}

impl RenderedProblem {
    /// A problem of one sentence.
    #[must_use]
    pub fn plain(sentence: impl Into<String>) -> Self {
        let brief = sentence.into();
        let text = format!("error: {brief}");
        Self { brief, text }
    }
}

/// What prevents serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The configuration is wrong.
    Config,
    /// The system does not provide what the configuration needs: an address that is taken, memory.
    System,
}

/// The description of a worker that is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// The version of its binary.
    pub version: String,
    /// The configuration in one line, for people.
    pub summary: String,
    /// Equal for equal effective configurations.
    pub config_hash: String,
    /// Warnings, rendered for people.
    pub warnings: Vec<String>,
    /// Its listeners.
    pub listeners: Vec<Held>,
    /// How long it drains after a reload.
    pub drain_timeout: Duration,
    /// How long it drains when the service stops.
    pub stop_timeout: Duration,
    /// The bounds on the generations before it.
    #[serde(default)]
    pub bounds: GenerationBounds,
    /// What it has for clients; absent from workers of 0.1.
    #[serde(default)]
    pub serves: Serves,
    /// Whether it knows [`ToWorker::Debug`].
    #[serde(default)]
    pub takes_debug: bool,
    /// Whether it knows [`ToWorker::Connections`].
    #[serde(default)]
    pub lists_connections: bool,
    /// Whether it knows [`ToWorker::Admin`].
    #[serde(default)]
    pub takes_admin: bool,
    /// The revisions of what operators have set and its configuration says otherwise: undone once it has proved good.
    #[serde(default)]
    pub undoes: Vec<u64>,
    /// What its configuration has otherwise than the one that serves, a line for each thing; not all, if it is much.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// The bounds on generations that another one has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationBounds {
    /// Generations that live at once, including the one that serves and one that is being made.
    pub generations: usize,
    /// Bytes of memory of all but the one that serves, together.
    pub memory: u64,
    /// How long a generation may take that has to finish early.
    #[serde(default = "hurry_timeout")]
    pub hurry_timeout: Duration,
}

/// The bounds of a worker that names none, as in 0.1.
impl Default for GenerationBounds {
    fn default() -> Self {
        Self { generations: 4, memory: u64::MAX, hurry_timeout: hurry_timeout() }
    }
}

fn hurry_timeout() -> Duration {
    Duration::from_secs(30)
}

/// A sign of life: every thread of the worker has answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// From the [`ToWorker::Ping`] that is answered.
    pub number: u64,
    /// What stands in `systemctl status`.
    pub vitals: Vitals,
    /// The rest of what `segue status` shows. None when it is the same as in the last `Pong`, and [`ToWorker::Ping`]
    /// says that the supervisor keeps that.
    #[serde(default, deserialize_with = "status::lenient")]
    pub status: Option<WorkerStatus>,
    /// The link of the last [`ToWorker::Successor`] broke, and another one is due. Only some supervisors read this.
    #[serde(default, rename = "wants_heir")]
    pub wants_successor: bool,
}

/// The worker in three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// Servers that take requests.
    pub servers_up: u64,
    /// Servers in all pools.
    pub servers: u64,
    /// Client connections that are open.
    pub connections: u64,
}

/// What happened to the connections of a worker that drained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Connections that ended by themselves.
    pub finished: u64,
    /// Connections that moved to another generation.
    pub moved: u64,
    /// Connections that were cut at the deadline.
    pub cut: u64,
    /// The final [`Pong::status`].
    #[serde(default, deserialize_with = "status::lenient")]
    pub status: WorkerStatus,
}

/// Where a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindAddress {
    /// IPv4 or IPv6 with a port. An unspecified IPv6 address takes IPv4 too.
    Ip(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for BindAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_supervisor_starts_a_worker_without_what_it_does_not_know() {
        let json = r#"{"generation":7,"config":"remembered","sockets":2,"run_dir":"/run/segue"}"#;
        let start: Start = serde_json::from_str(json).expect("json");
        assert!(!start.say_loaded && start.set.is_empty() && !start.alone && !start.takes_records);
        assert_eq!(start.keeps, Serves::default());
    }

    #[test]
    fn what_serves_is_lost_with_its_last_site_or_with_all_of_it() {
        let [nothing, sites, tcp, both] =
            [(false, false), (true, false), (false, true), (true, true)].map(|(sites, tcp)| Serves { sites, tcp });
        for (before, after, lost) in [
            (nothing, nothing, false),
            (nothing, sites, false),
            (sites, sites, false),
            (sites, both, false),
            (sites, nothing, true),
            (sites, tcp, true),
            (both, sites, false),
            (both, tcp, true),
            (tcp, nothing, true),
            (tcp, sites, false),
        ] {
            assert_eq!(after.lost(before), lost, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn an_older_version_finds_the_messages_under_the_names_that_it_knows() {
        let json = |message: serde_json::Result<String>| message.expect("json");
        assert_eq!(json(serde_json::to_string(&ToWorker::SendState)), r#""snapshot""#);
        assert_eq!(json(serde_json::to_string(&ToSupervisor::State)), r#""snapshot""#);
        assert_eq!(json(serde_json::to_string(&ToSupervisor::RequestState)), r#""recall""#);
        let successor = ToWorker::Successor { generation: 2 };
        assert_eq!(json(serde_json::to_string(&successor)), r#"{"successor":{"generation":2}}"#);
        let pong = json(serde_json::to_string(&Pong::default()));
        assert!(pong.contains(r#""wants_heir":false"#), "{pong}");
    }

    #[test]
    fn messages_read_back_as_they_were_written() {
        let messages = [
            ToWorker::Start(Start {
                generation: 7,
                config: ConfigSource::File("/etc/segue/segue.toml".into()),
                sockets: 2,
                run_dir: "/run/segue".into(),
                say_loaded: true,
                set: vec!["log.access=all".to_owned()],
                keeps: Serves { sites: true, tcp: false },
                alone: true,
                takes_records: true,
                admin: Vec::new(),
                takes_events: true,
                page_token: "0f".to_owned(),
            }),
            ToWorker::Serve,
            ToWorker::Drain { timeout: None },
            ToWorker::Stop { timeout: Some(Duration::from_millis(1500)) },
        ];
        for message in messages {
            let json = serde_json::to_string(&message).expect("json");
            assert_eq!(serde_json::from_str::<ToWorker>(&json).expect("json"), message, "{json}");
        }
    }
}

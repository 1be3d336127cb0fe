//! What the command line asks of a running supervisor, over `control.sock` in the run directory.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::PROTOCOL;
use super::admin::AdminChange;
use super::channel::{Channel, ChannelError, Received};
use super::connections::ConnectionsRequest;
use super::debug::DebugRequest;
use super::message::RenderedProblem;
use super::payload::Payload;
use super::recent::Recent;
use super::status::ServiceStatus;

/// One question; each connection asks one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`PROTOCOL`] of the caller.
    pub protocol: u32,
    /// What is asked.
    pub wish: Wish,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Make a new generation if anything changed; the reply is its verdict.
    Reload,
    /// The same with conditions. A variant of its own, so that a supervisor that does not know conditions refuses it.
    ReloadWith(Conditions),
    /// Confirms the generation that a reload with [`Conditions::confirm`] made; the reply is a verdict too.
    Confirmed,
    /// Say what runs.
    Status,
    /// The same without the counters of each generation, which are the most of it: the sum is there.
    SummedStatus,
    /// Give the sources of the configuration that serves; they come as the descriptor.
    Sources,
    /// Show exchanges while they go on, on the socket that is the descriptor.
    Debug(DebugRequest),
    /// Say what is asked of the client connections, on the socket that is the descriptor.
    Connections(ConnectionsRequest),
    /// Tell what happened lately: points after this time, in seconds since 1970, and events after this number.
    Recent {
        /// See [`HistoryPoint::at`](super::recent::HistoryPoint::at).
        points_after: u64,
        /// See [`RecentEvent::number`](super::recent::RecentEvent::number).
        events_after: u64,
    },
    /// Set something for servers, all of it or nothing.
    Administer(Vec<AdminChange>),
}

impl Wish {
    /// Whether it only reads the status, which members of the group may do. The sources do not count: a file of the
    /// configuration may be one that they cannot read.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        match self {
            Self::Reload | Self::ReloadWith(_) | Self::Confirmed | Self::Sources | Self::Debug(_) => false,
            Self::Administer(_) | Self::Connections(ConnectionsRequest::Close { .. }) => false,
            Self::Status
            | Self::SummedStatus
            | Self::Recent { .. }
            | Self::Connections(ConnectionsRequest::List { .. }) => true,
        }
    }
}

/// Conditions of a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Make a new generation although nothing changed, and although it takes the last site away.
    pub force: bool,
    /// Roll back after this time, unless [`Wish::Confirmed`] comes first.
    pub confirm: Option<Duration>,
}

impl Conditions {
    /// The conditions for two callers that share a reload: each gets what it asked for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let confirm = self.confirm.into_iter().chain(other.confirm).min();
        Self { force: self.force || other.force, confirm }
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlReply {
    /// To [`Wish::Reload`].
    Verdict(ReloadVerdict),
    /// To [`Wish::Status`] and [`Wish::SummedStatus`].
    Status(Box<ServiceStatus>),
    /// To [`Wish::Sources`].
    Sources(ServedSources),
    /// To [`Wish::Debug`]: these generations show their exchanges.
    Debugging {
        /// Their numbers.
        generations: Vec<u64>,
    },
    /// To [`Wish::Connections`]: these generations may have connections; each that can answers.
    Asked {
        /// Their numbers.
        generations: Vec<u64>,
    },
    /// To [`Wish::Recent`].
    Recent(Recent),
    /// To [`Wish::Administer`]: it is kept, and on its way to every worker.
    Administered {
        /// A worker that has taken this revision acts by it.
        revision: u64,
    },
    /// The supervisor does not do this; the reason, in words.
    Declined(String),
}

/// The serving generation, without its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedSources {
    /// The number of the generation.
    pub generation: u64,
    /// The version of its program.
    pub version: String,
    /// A reload would run another program.
    pub another_program: bool,
}

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadVerdict {
    /// The new generation serves.
    Serving {
        /// Its number.
        generation: u64,
        /// Its configuration in one line.
        summary: String,
        /// From the call to the hand-over.
        took: Duration,
        /// Warnings, rendered.
        warnings: Vec<String>,
        /// The roll-back comes after this time, unless the generation is confirmed.
        #[serde(default)]
        confirm_within: Option<Duration>,
    },
    /// Configuration and program are those of the generation that serves, which continues.
    Unchanged {
        /// Its number.
        generation: u64,
        /// How long it has served.
        served: Duration,
        /// Warnings, rendered.
        warnings: Vec<String>,
        /// The roll-back comes after this time, unless the generation is confirmed.
        confirm_within: Option<Duration>,
    },
    /// The generation that serves stays.
    Confirmed {
        /// Its number.
        generation: u64,
    },
    /// No generation waits to be confirmed.
    NothingToConfirm {
        /// What is the case instead.
        why: String,
    },
    /// The worker refused the configuration; the old generation was never disturbed.
    Refused {
        /// Everything that is wrong.
        problems: Vec<RenderedProblem>,
    },
    /// The new generation did not come to serve; an older one does.
    Failed {
        /// What happened to the new one.
        why: String,
    },
}

impl ReloadVerdict {
    /// Whether the reload did what was asked.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Serving { .. } | Self::Unchanged { .. } | Self::Confirmed { .. })
    }
}

impl fmt::Display for ReloadVerdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving { generation, summary, took, warnings, confirm_within } => {
                write_warnings(out, warnings)?;
                write!(out, "generation {generation} serving; {summary}; took {} ms", took.as_millis())?;
                write_confirm(out, *confirm_within)
            }
            Self::Unchanged { generation, served, warnings, confirm_within } => {
                write_warnings(out, warnings)?;
                let served = humantime::format_duration(Duration::from_secs(served.as_secs()));
                write!(out, "nothing changed: generation {generation} goes on, which has served for {served}")?;
                write_confirm(out, *confirm_within)
            }
            Self::Confirmed { generation } => write!(out, "confirmed: generation {generation} stays"),
            Self::NothingToConfirm { why } => write!(out, "nothing to confirm: {why}"),
            Self::Refused { problems } => {
                for problem in problems {
                    writeln!(out, "{}", problem.text.trim_end())?;
                }
                let (count, s) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
                write!(out, "reload refused: {count} problem{s}; the configuration that serves is unchanged")
            }
            Self::Failed { why } => write!(out, "reload failed: {why}"),
        }
    }
}

fn write_warnings(out: &mut fmt::Formatter<'_>, warnings: &[String]) -> fmt::Result {
    warnings.iter().try_for_each(|warning| writeln!(out, "{}", warning.trim_end()))
}

fn write_confirm(out: &mut fmt::Formatter<'_>, within: Option<Duration>) -> fmt::Result {
    let Some(within) = within else { return Ok(()) };
    let within = humantime::format_duration(Duration::from_secs(within.as_secs_f32().ceil() as u64));
    write!(out, "\nit goes back to the one before in {within}, unless you say `segue reload --confirmed`")
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No process listens.
    #[error("no supervisor of segue runs with the run directory {run_dir}")]
    NobodyThere {
        /// The path that was tried.
        run_dir: PathBuf,
    },
    /// The socket is there and cannot be used.
    #[error("connecting to {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
    /// The connection failed.
    #[error("talking to the supervisor")]
    Talk(#[from] ChannelError),
    /// The supervisor closed the connection first: it ended, or the caller is not permitted.
    #[error("the supervisor closed the connection without an answer")]
    Closed,
    /// The deadline passed.
    #[error("the supervisor gave no answer in {} s", .0.as_secs())]
    Late(Duration),
}

/// The path of the supervisor's socket in `run_dir`.
#[must_use]
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// Asks the supervisor of `run_dir` and waits at most `timeout` for its reply.
///
/// # Errors
/// See [`RequestError`].
pub fn ask(run_dir: &Path, wish: Wish, timeout: Duration) -> Result<ControlReply, RequestError> {
    ask_for(run_dir, wish, timeout).map(|(reply, _)| reply)
}

/// The same for a reply that comes with a descriptor.
///
/// # Errors
/// See [`RequestError`].
pub fn ask_for(run_dir: &Path, wish: Wish, timeout: Duration) -> Result<(ControlReply, Option<Payload>), RequestError> {
    ask_with(run_dir, wish, &[], timeout)
}

/// The same for a request that has descriptors with it.
///
/// # Errors
/// See [`RequestError`].
pub fn ask_with(
    run_dir: &Path,
    wish: Wish,
    with: &[BorrowedFd<'_>],
    timeout: Duration,
) -> Result<(ControlReply, Option<Payload>), RequestError> {
    let deadline = Instant::now() + timeout;
    let channel = connect(run_dir, timeout)?;
    channel.send(&Request { protocol: PROTOCOL, wish }, with)?;
    loop {
        match channel.receive()? {
            Received::Message(reply, mut with) => return Ok((reply, with.pop().map(Payload::from))),
            Received::End => return Err(RequestError::Closed),
            Received::Nothing => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(RequestError::Late(timeout));
        }
        wait_readable(&channel, left).map_err(ChannelError::Receive)?;
    }
}

/// The supervisor accepts callers as fast as it can answer them: with very many at once, each waits here for its
/// turn.
fn connect(run_dir: &Path, timeout: Duration) -> Result<Channel, RequestError> {
    let path = socket_path(run_dir);
    let attempt = || -> io::Result<Channel> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path)?)?;
        Channel::from_socket(socket)
    };
    attempt().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            RequestError::NobodyThere { run_dir: run_dir.to_owned() }
        }
        io::ErrorKind::WouldBlock => RequestError::Late(timeout),
        _ => RequestError::Connect { path, source },
    })
}

fn wait_readable(channel: &Channel, timeout: Duration) -> io::Result<()> {
    let mut sockets = [PollFd::new(channel, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match rustix::event::poll(&mut sockets, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_supervisor_is_reported_with_the_directory() {
        let run_dir = tempfile::tempdir().expect("directory");
        let fault = ask(run_dir.path(), Wish::Status, Duration::from_secs(1)).expect_err("no supervisor");
        assert!(matches!(&fault, RequestError::NobodyThere { .. }), "{fault}");
        assert!(fault.to_string().contains(&run_dir.path().display().to_string()));
    }

    #[test]
    fn what_must_be_confirmed_is_said_with_the_command_and_the_time() {
        let confirm_within = Some(Duration::from_millis(59_900));
        let verdict =
            ReloadVerdict::Unchanged { generation: 3, served: Duration::ZERO, warnings: Vec::new(), confirm_within };
        let text = verdict.to_string();
        assert!(text.starts_with("nothing changed: generation 3 goes on"), "{text}");
        assert!(
            text.ends_with("goes back to the one before in 1m, unless you say `segue reload --confirmed`"),
            "{text}"
        );
    }

    #[test]
    fn of_two_callers_that_share_a_reload_each_gets_its_conditions() {
        let confirm = |seconds| Conditions { force: false, confirm: Some(Duration::from_secs(seconds)) };
        let force = Conditions { force: true, confirm: None };
        assert_eq!(confirm(60).and(confirm(30)), confirm(30));
        assert_eq!(force.and(confirm(60)), Conditions { force: true, ..confirm(60) });
    }

    #[test]
    fn a_refusal_shows_every_problem_and_their_number() {
        let verdict =
            ReloadVerdict::Refused { problems: vec![RenderedProblem::plain("one"), RenderedProblem::plain("two")] };
        let expected = "error: one\nerror: two\nreload refused: 2 problems; the configuration that serves is unchanged";
        assert_eq!(verdict.to_string(), expected);
    }
}

//! What the admin API says of client connections.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use serde::{Deserialize, Serialize};

use super::supervisor_error::SupervisorError;
use crate::config::{client_network, closest};
use crate::control::connections::{
    ConnectionFilter, ConnectionStatus, ConnectionsAnswer, ConnectionsRequest, LONGEST_ANSWER, MOST_LISTED,
};
use crate::control::request::{ControlReply, RequestError, Wish, ask_with};

/// How many are described, unless another number is asked for, and at most.
const DEFAULT_LIMIT: usize = 100;

/// The time for the supervisor to pass the question on.
const PASSED_ON_WITHIN: Duration = Duration::from_secs(3);
/// The time for all answers: longer than a worker takes for its own.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

const PARAMETERS: [&str; 8] = ["client", "listener", "site", "pool", "server", "older", "state", "limit"];

/// The connections of every generation that were asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ConnectionsView {
    /// The oldest of them, the oldest first.
    pub connections: Vec<ConnectionStatus>,
    /// How many there are.
    pub matched: u64,
    /// The generations that did not say all in time.
    pub silent: Vec<u64>,
}

/// A supervisor closes the connection when it does not know the question.
const OLD: &str = "the supervisor is of a version that does not know this yet, or has just ended";

/// What the query of `GET /v1/connections` asks for.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(super) fn request(query: &[(String, String)]) -> Result<ConnectionsRequest, String> {
    let (mut filter, mut most) = (ConnectionFilter::default(), DEFAULT_LIMIT);
    for (key, value) in query {
        let text = Some(value.clone());
        match key.as_str() {
            "client" => filter.client = Some(client_network(value).map_err(|why| format!("client={value}: {why}"))?),
            "listener" => filter.listener = text,
            "site" => filter.site = text,
            "pool" => filter.pool = text,
            "server" => filter.server = text,
            "older" => {
                let older = humantime::parse_duration(value).map_err(|fault| format!("older={value}: {fault}"))?;
                filter.older = Some(older);
            }
            "state" => filter.busy = Some(is_busy(value)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
                most = limit.ok_or_else(|| format!("limit={value}: from 1 to {MOST_LISTED}"))?;
            }
            _ => return Err(no_parameter(key)),
        }
    }
    Ok(ConnectionsRequest::List { filter, most })
}

fn is_busy(state: &str) -> Result<bool, String> {
    match state {
        "busy" => Ok(true),
        "idle" => Ok(false),
        _ => Err(format!("state={state}: busy or idle")),
    }
}

fn no_parameter(key: &str) -> String {
    match closest(key, PARAMETERS) {
        Some(near) => format!("no parameter {key}; did you mean {near}?"),
        None => format!("no parameter {key}; there is {}", PARAMETERS.join(", ")),
    }
}

/// Asks every generation by way of the supervisor of this run directory, and waits for the answers.
///
/// # Errors
/// When the supervisor cannot be asked, or declines.
pub(super) fn ask(run_dir: &Path, request: ConnectionsRequest) -> Result<ConnectionsView, SupervisorError> {
    let most = if let ConnectionsRequest::List { most, .. } = &request { *most } else { 1 };
    let (ours, theirs) = pair()?;
    let asked = match ask_with(run_dir, Wish::Connections(request), &[theirs.as_fd()], PASSED_ON_WITHIN) {
        Err(RequestError::Closed) => return Err(SupervisorError::Declined(OLD.to_owned())),
        asked => asked?,
    };
    drop(theirs); // the end of the last process that has it is the end of the answers
    match asked.0 {
        ControlReply::Asked { generations } => Ok(gather(&ours, generations, most)),
        ControlReply::Declined(why) => Err(SupervisorError::Declined(why)),
        _ => Err(RequestError::Closed.into()),
    }
}

/// A socket for answers.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Reads until each of these generations has said all, or the time is over.
fn gather(socket: &OwnedFd, generations: Vec<u64>, most: usize) -> ConnectionsView {
    let until = Instant::now() + ANSWERED_WITHIN;
    let mut view = ConnectionsView { silent: generations, ..ConnectionsView::default() };
    let mut packet = vec![0; LONGEST_ANSWER];
    while !view.silent.is_empty() {
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok((len @ 1.., _)) = recv(socket, &mut packet[..], RecvFlags::DONTWAIT) else { break };
        match serde_json::from_slice(&packet[..len]) {
            Ok(ConnectionsAnswer::Connection(connection)) => view.connections.push(connection),
            Ok(ConnectionsAnswer::End { generation, matched, is_whole }) => {
                view.matched += matched;
                view.silent.retain(|one| *one != generation || !is_whole);
            }
            Err(_) => {} // of another version
        }
    }
    // one that moves in this moment is in both generations
    view.connections.sort_by_key(|one| (one.id, std::cmp::Reverse(one.generation)));
    let all = view.connections.len();
    view.connections.dedup_by_key(|one| one.id);
    view.matched = view.matched.saturating_sub((all - view.connections.len()) as u64);
    view.connections.sort_by_key(|one| std::cmp::Reverse(one.age_ms));
    view.connections.truncate(most);
    view
}

#[cfg(test)]
mod tests {
    use rustix::net::SendFlags;

    use super::*;

    fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_filter_is_read_and_what_is_none_is_said() {
        let wanted = pairs(&[("client", "10.0.0.7"), ("older", "5m"), ("state", "idle"), ("limit", "7")]);
        let Ok(ConnectionsRequest::List { filter, most: 7 }) = request(&wanted) else { panic!("no list") };
        assert_eq!(filter.client, "10.0.0.7/32".parse().ok());
        assert_eq!((filter.older, filter.busy), (Some(Duration::from_secs(300)), Some(false)));
        let fault = |key, value| request(&pairs(&[(key, value)])).expect_err("refused");
        assert_eq!(fault("sever", "a"), "no parameter sever; did you mean server?");
        assert!(fault("client", "x").contains("10.0.0.0/8") && fault("state", "x").contains("busy or idle"));
        assert!(fault("limit", "0").contains("1000") && fault("older", "x").starts_with("older=x: "));
    }

    #[test]
    fn a_generation_that_does_not_say_all_is_named() {
        let (ours, theirs) = pair().expect("a pair");
        let say = |answer: &ConnectionsAnswer| {
            let packet = serde_json::to_vec(answer).expect("JSON");
            rustix::net::send(&theirs, &packet, SendFlags::empty()).expect("room");
        };
        say(&ConnectionsAnswer::End { generation: 3, matched: 5, is_whole: true });
        say(&ConnectionsAnswer::End { generation: 4, matched: 1, is_whole: false });
        drop(theirs);
        let view = gather(&ours, vec![3, 4, 5], 10);
        assert_eq!((view.matched, view.silent), (6, vec![4, 5]));
    }
}

//! `segue debug`, as the supervisor has part in it: each generation gets the socket of the terminal, those that start
//! while it lasts too, and the terminal is told of each change of generations. No exchange is known here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::descriptors::{Carrier, Inherited};
use super::generations::Input;
use crate::control::debug::{DebugRequest, LONGEST_DEBUG, MOST_DEBUG, has_gone};
use crate::control::message::{ToSupervisor, ToWorker};
use crate::control::request::ControlReply;
use crate::moment;

/// The requests whose time is not over, the oldest first.
#[derive(Debug, Default)]
pub(super) struct DebugRequests(Vec<OpenRequest>);

#[derive(Debug)]
struct OpenRequest {
    request: DebugRequest,
    until: Instant,
    /// The end of the socket pair to which the lines go.
    socket: OwnedFd,
}

impl DebugRequests {
    /// Takes a request, whose time begins.
    ///
    /// # Errors
    /// When there are too many, in words.
    fn add(&mut self, request: DebugRequest, socket: OwnedFd, now: Instant) -> Result<(), String> {
        self.expire(now);
        if let Some(first) = self.next_expiry().filter(|_| self.0.len() >= MOST_DEBUG) {
            let left = Duration::from_secs((first - now).as_secs() + 1);
            return Err(format!(
                "{MOST_DEBUG} of `segue debug` run already, and the first of them ends in {}",
                humantime::format_duration(left)
            ));
        }
        let until = now + request.lasts.min(LONGEST_DEBUG);
        self.0.push(OpenRequest { request, until, socket });
        Ok(())
    }

    /// Those whose time is not over, with what is left of it.
    fn open(&mut self, now: Instant) -> Vec<(DebugRequest, BorrowedFd<'_>)> {
        self.expire(now);
        let left = |one: &OpenRequest| DebugRequest { lasts: one.until - now, ..one.request.clone() };
        self.0.iter().map(|one| (left(one), one.socket.as_fd())).collect()
    }

    /// Forgets those whose time is over or whose terminal has gone.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|one| now < one.until && !has_gone(&one.socket));
    }

    /// When the next one is over, and its socket can be closed.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.0.iter().map(|one| one.until).min()
    }

    /// What to poll for terminals that go, with no events.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|one| one.socket.as_fd())
    }

    /// Sends every terminal a line. One that has no room goes without.
    fn tell(&self, text: &str) {
        for one in &self.0 {
            let line = format!("-- {text}\n");
            let _ = rustix::net::send(&one.socket, line.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }
}

impl Supervisor {
    /// Has every generation that can show its exchanges, now or until the time is over.
    pub(super) fn debug(&mut self, client: u64, request: DebugRequest, mut with: Vec<OwnedFd>, now: Instant) {
        let list = self.generations.list().iter();
        let able = list.filter(|one| one.ready.as_ref().is_some_and(|ready| ready.takes_debug));
        let generations: Vec<_> = able.map(|one| one.number).collect();
        let added = match with.pop() {
            None => Err("no socket came with the request".to_owned()),
            Some(_) if generations.is_empty() => Err("no generation runs that can show its exchanges".to_owned()),
            Some(socket) => self.debug.add(request, socket, now),
        };
        if let Err(why) = added {
            return self.clients.reply(client, &ControlReply::Declined(why));
        }
        // first the reply: lines may come at once
        self.clients.reply(client, &ControlReply::Debugging { generations: generations.clone() });
        for number in generations {
            self.show(number, now, 1);
        }
    }

    /// Has a generation show what the last `count` requests ask for.
    fn show(&mut self, number: u64, now: Instant, count: usize) {
        let open = self.debug.open(now);
        for (request, socket) in open.iter().rev().take(count) {
            let input = self.workers.send(number, &ToWorker::Debug(request.clone()), &[socket.as_fd()]);
            self.inputs.extend(input);
        }
    }

    /// Tells the terminals what an input means for them, and gives a new generation their sockets.
    pub(super) fn note_for_debug(&mut self, input: &Input) {
        if self.debug.0.is_empty() {
            return;
        }
        match input {
            Input::Message(number, ToSupervisor::Ready(ready)) if ready.takes_debug => {
                self.show(*number, Instant::now(), MOST_DEBUG);
            }
            Input::Message(number, ToSupervisor::Ready(ready)) => {
                let text = format!("generation {number} runs version {}, which shows nothing here", ready.version);
                self.debug.tell(&text);
            }
            Input::Message(number, ToSupervisor::Serving) => {
                self.debug.tell(&format!("generation {number} serves"));
            }
            Input::Message(number, ToSupervisor::Resumed) => {
                self.debug.tell(&format!("generation {number} serves again"));
            }
            Input::Exited(number, _) => self.debug.tell(&format!("generation {number} has ended")),
            _ => {}
        }
    }
}

/// [`DebugRequests`], with numbers in the place of descriptors, over an upgrade of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedDebug {
    request: DebugRequest,
    #[serde(with = "moment")]
    until: Instant,
    socket: RawFd,
}

impl DebugRequests {
    /// The state for the next program.
    pub(super) fn carry<'a>(&'a self, carrier: &mut Carrier<'a>) -> Vec<CarriedDebug> {
        let carried = |one: &'a OpenRequest| CarriedDebug {
            request: one.request.clone(),
            until: one.until,
            socket: carrier.carry(&one.socket),
        };
        self.0.iter().map(carried).collect()
    }

    /// Restores what another program wrote down. A request whose socket is missing ends.
    pub(super) fn go_on(carried: Vec<CarriedDebug>, inherited: &mut Inherited) -> Self {
        let open = carried.into_iter().filter_map(|CarriedDebug { request, until, socket }| {
            Some(OpenRequest { request, until, socket: inherited.take(socket)? })
        });
        Self(open.collect())
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

    use super::*;
    use crate::control::debug::DebugFilter;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair")
    }

    fn request(seconds: u64) -> DebugRequest {
        DebugRequest { filter: DebugFilter::default(), lasts: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_ninth_request_waits_until_one_of_the_others_is_over_or_its_terminal_gone() {
        let (mut requests, now) = (DebugRequests::default(), Instant::now());
        let mut terminals = Vec::new();
        for seconds in 10..10 + MOST_DEBUG as u64 {
            let (ours, theirs) = pair();
            terminals.push(theirs);
            requests.add(request(seconds), ours, now).expect("room");
        }
        let refused = requests.add(request(60), pair().0, now).expect_err("too many");
        assert!(refused.contains("8 of `segue debug` run already") && refused.contains("ends in 11s"), "{refused}");
        terminals.pop();
        let (ours, _other) = pair();
        requests.add(request(60), ours, now).expect("room again");
        let (ours, _another) = pair();
        requests.add(request(60), ours, now + Duration::from_secs(10)).expect("the first one is over");
        assert_eq!(requests.open(now + Duration::from_secs(11)).len(), MOST_DEBUG - 1);
    }

    #[test]
    fn a_request_asks_for_the_longest_time_at_most_and_a_later_generation_for_the_rest() {
        let (mut requests, now) = (DebugRequests::default(), Instant::now());
        let (ours, _terminal) = pair();
        requests.add(request(100_000), ours, now).expect("room");
        let later = now + Duration::from_secs(100);
        assert_eq!(requests.open(later)[0].0.lasts, LONGEST_DEBUG - Duration::from_secs(100));
        assert!(requests.open(now + LONGEST_DEBUG).is_empty());
    }

    #[test]
    fn a_terminal_without_room_never_makes_the_supervisor_wait() {
        let (mut requests, now) = (DebugRequests::default(), Instant::now());
        let (ours, terminal) = pair();
        requests.add(request(60), ours, now).expect("room");
        for _ in 0..10_000 {
            requests.tell("generation 2 serves");
        }
        let mut buffer = [0; 100];
        let (len, _) = rustix::net::recv(&terminal, &mut buffer[..], RecvFlags::empty()).expect("a line");
        assert_eq!(&buffer[..len], b"-- generation 2 serves\n");
    }
}

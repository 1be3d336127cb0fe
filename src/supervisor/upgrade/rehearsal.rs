//! Whether another program can continue in the place of this one: it is started as a child, gets the state as standard
//! input, and says with its exit status whether it can read it. A failure here has no other effect.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitIdStatus};

use super::arguments;
use crate::control::payload::Payload;
use crate::supervisor::process::{Image, Process, ending};
use crate::sys::never_block;

/// Why another program cannot continue in the place of this one: the rest of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unable {
    /// It says so itself, and would say so again.
    Refuses(String),
    /// Something kept it from answering, such as too little time or memory.
    Fails(String),
}

/// A rehearsal under way.
#[derive(Debug)]
pub struct Rehearsal {
    image: Image,
    process: Process,
    /// What it writes to standard error.
    complaint: Option<OwnedFd>,
    /// When it is killed; none once it was.
    until: Option<Instant>,
}

impl Rehearsal {
    /// Has `image` read `state`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(image: Image, state: Payload, now: Instant) -> io::Result<Self> {
        let mut command = image.command();
        command.args(arguments(std::env::args_os(), REHEARSE)).stdin(Stdio::from(OwnedFd::from(state)));
        // its messages stay in the pipe until it ends; what exceeds the room of the pipe is not needed
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let process = Process::adopt(Pid::from_child(&child))?;
        let complaint = child.stderr.take().map(OwnedFd::from);
        Ok(Self { image, process, complaint, until: Some(now + DEADLINE) })
    }

    /// The program that is rehearsed.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// When [`Rehearsal::outcome`] has to be asked for at the latest.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.until
    }

    /// Ends it without its answer.
    pub fn abandon(self) {
        self.process.signal(Signal::KILL); // the process that inherits the children of this one collects it
    }

    /// The result, once it is over.
    pub fn outcome(&mut self, now: Instant) -> Option<Result<(), Unable>> {
        let status = match self.process.ended() {
            Ok(None) => {
                if self.until.is_some_and(|until| until <= now) {
                    self.until = None;
                    self.process.signal(Signal::KILL);
                }
                return None;
            }
            Ok(Some(status)) => status,
            Err(fault) => return Some(Err(Unable::Fails(format!("could not be waited for: {fault}")))),
        };
        let late = || format!("did not read the state of the old one within {} s", DEADLINE.as_secs());
        Some(match (self.until, status.exit_status()) {
            (None, _) => Err(Unable::Fails(late())),
            (Some(_), Some(0)) => Ok(()),
            (Some(_), Some(_)) => Err(Unable::Refuses(self.last_words(&status))),
            (Some(_), None) => Err(Unable::Fails(self.last_words(&status))),
        })
    }

    fn last_words(&mut self, status: &WaitIdStatus) -> String {
        let words = [Some(ending(status)), self.complained()];
        words.into_iter().flatten().collect::<Vec<_>>().join(": ")
    }

    /// The first line that it wrote.
    fn complained(&mut self) -> Option<String> {
        let complaint = self.complaint.take()?;
        // another holder of the write end may still live
        never_block(&complaint).ok()?;
        let mut text = vec![0; LONGEST_COMPLAINT];
        let length = File::from(complaint).read(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

/// Readable once it is over.
impl AsFd for Rehearsal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

/// The argument that says that standard input is a state, to be read and nothing else.
const REHEARSE: &str = "--rehearse";
/// No caller waits for it: enough time for any machine that is alive.
const DEADLINE: Duration = Duration::from_secs(10);
const LONGEST_COMPLAINT: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::event::{PollFd, PollFlags};

    use super::*;

    fn start(path: &str) -> (Rehearsal, Instant) {
        let image = Image::open(Path::new(path)).expect("open");
        let now = Instant::now();
        (Rehearsal::start(image, Payload::new(b"{}").expect("memfd"), now).expect("start"), now)
    }

    fn outcome(mut rehearsal: Rehearsal, now: Instant) -> Result<(), Unable> {
        loop {
            if let Some(outcome) = rehearsal.outcome(now) {
                return outcome;
            }
            let _ = rustix::event::poll(&mut [PollFd::new(&rehearsal, PollFlags::IN)], None).expect("poll");
        }
    }

    #[test]
    fn a_program_that_exits_with_success_can_go_on() {
        let (rehearsal, now) = start("/bin/true");
        assert_eq!(outcome(rehearsal, now), Ok(()));
    }

    #[test]
    fn a_program_that_fails_is_refused_with_its_own_words() {
        let (rehearsal, now) = start("/bin/false");
        assert_eq!(outcome(rehearsal, now), Err(Unable::Refuses("exited with status 1".to_owned())));
        let (rehearsal, now) = start("/bin/cat"); // knows no such argument
        let Err(Unable::Refuses(why)) = outcome(rehearsal, now) else { panic!("not refused") };
        assert!(why.starts_with("exited with status 1: ") && why.contains("option"), "{why}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed() {
        let image = Image::open(Path::new("/bin/cat")).expect("open");
        let (waiting, _keeps_it_waiting) = io::pipe().expect("pipe"); // one that blocks its reader
        let mut cat = image.command();
        let pid = Pid::from_child(&cat.stdin(waiting).stdout(Stdio::null()).spawn().expect("spawn"));
        let (process, now) = (Process::adopt(pid).expect("a child"), Instant::now());
        let due = now + DEADLINE;
        let mut rehearsal = Rehearsal { image, process, complaint: None, until: Some(due) };
        assert_eq!(rehearsal.outcome(now), None);
        let Err(Unable::Fails(why)) = outcome(rehearsal, due) else { panic!("not late") };
        assert!(why.contains("within 10 s"), "{why}");
    }
}

//! How the supervisor becomes its own next version: it continues as another program, by execve(2), in the same process.
//! Workers stay its children, sockets stay open, and systemd sees nothing of it.
//!
//! The program is always the one that a worker has just proved good. [`rehearsal`] first lets it try to read the
//! [`state`]; [`replace`] is the step itself. A failure on the way changes nothing: the old program continues.

pub mod rehearsal;
mod replace;
pub mod state;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use self::rehearsal::{Rehearsal, Unable};
use self::state::{StateError, SupervisorState};
use super::process::Image;
use crate::control::payload::Payload;

/// Which program this process should be, and the state of the change.
///
/// ```text
/// Idle ──another program proved good──▶ Rehearsing ──it can──▶ Rehearsed ──a quiet moment, or no time left──▶ execve
///  ▲  ▲                                     │                     │ │                                            │
///  │  └────────────it cannot: said──────────┘                     │ │                                            │
///  └────────yet another program proved good────────────────────────┘ └──────────────it failed: the same───────────┘
/// ```
/// A program that says itself that it cannot is not tried again. If anything else prevented it, it is tried again as
/// soon as a reload proves it good once more.
#[derive(Debug, Default)]
pub struct Upgrade {
    stage: UpgradeStage,
    /// The program that this process should be; none when it is that already.
    wanted: Option<Image>,
    /// The program that said that it cannot continue.
    refused: Option<Image>,
}

#[derive(Debug, Default)]
enum UpgradeStage {
    #[default]
    Idle,
    /// A child with the wanted program, or one that was wanted before, reads the state.
    Rehearsing(Rehearsal),
    /// The wanted program can continue.
    Rehearsed {
        /// It does so then, quiet or not.
        until: Instant,
    },
}

/// The next step.
#[derive(Debug)]
pub enum UpgradeStep {
    /// [`Upgrade::rehearse`] with this program.
    Rehearse(Image),
    /// Say that the program cannot go on, and why.
    Refuse(Image, Unable),
    /// Go on as this program.
    Replace(Image),
}

impl Upgrade {
    /// `image` has proved good.
    pub fn consider(&mut self, image: &Image) {
        if self.wanted.as_ref().is_some_and(|wanted| wanted.program() == image.program()) {
            return;
        }
        let unwanted =
            image.runs_here() || self.refused.as_ref().is_some_and(|refused| refused.program() == image.program());
        self.wanted = (!unwanted).then(|| image.clone());
        if matches!(self.stage, UpgradeStage::Rehearsed { .. }) {
            self.stage = UpgradeStage::Idle;
        }
    }

    /// The next step now; `quiet` says that it would disturb nothing.
    pub fn next(&mut self, quiet: bool, now: Instant) -> Option<UpgradeStep> {
        if let UpgradeStage::Rehearsing(rehearsal) = &mut self.stage {
            let outcome = rehearsal.outcome(now)?;
            let image = rehearsal.image().clone();
            self.stage = UpgradeStage::Idle;
            if self.wanted.as_ref().is_some_and(|wanted| wanted.program() == image.program()) {
                match outcome {
                    Ok(()) => self.stage = UpgradeStage::Rehearsed { until: now + PATIENCE },
                    Err(why) => return Some(UpgradeStep::Refuse(image, why)),
                }
            }
        }
        let image = self.wanted.clone()?;
        match self.stage {
            UpgradeStage::Idle => Some(UpgradeStep::Rehearse(image)),
            UpgradeStage::Rehearsed { until } => (quiet || until <= now).then_some(UpgradeStep::Replace(image)),
            UpgradeStage::Rehearsing(_) => None,
        }
    }

    /// A rehearsal began.
    pub fn rehearse(&mut self, rehearsal: Rehearsal) {
        self.stage = UpgradeStage::Rehearsing(rehearsal);
    }

    /// `image` cannot continue in the place of this program, for this reason.
    pub fn refuse(&mut self, image: Image, unable: &Unable) {
        self.wanted = None;
        self.stage = UpgradeStage::Idle;
        if matches!(unable, Unable::Refuses(_)) {
            self.refused = Some(image);
        }
    }

    /// This process stays what it is.
    pub fn give_up(&mut self) {
        if let UpgradeStage::Rehearsing(rehearsal) = std::mem::take(&mut self.stage) {
            rehearsal.abandon();
        }
        self.wanted = None;
    }

    /// What to watch for the end of a rehearsal.
    #[must_use]
    pub fn rehearsal(&self) -> Option<&Rehearsal> {
        match &self.stage {
            UpgradeStage::Rehearsing(rehearsal) => Some(rehearsal),
            UpgradeStage::Idle | UpgradeStage::Rehearsed { .. } => None,
        }
    }

    /// When [`Upgrade::next`] is due at the latest.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match &self.stage {
            UpgradeStage::Idle => None,
            UpgradeStage::Rehearsing(rehearsal) => rehearsal.due(),
            UpgradeStage::Rehearsed { until } => Some(*until),
        }
    }
}

/// Reads a state from standard input and discards it: see [`rehearsal`].
///
/// # Errors
/// Every reason why this program could not continue with it.
pub fn rehearse() -> Result<(), StateError> {
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(StateError::Read)?;
    let supervisor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid().unsigned_abs());
    SupervisorState::read(&Payload::from(input), supervisor).map(drop)
}

/// The arguments of this program, its name left out, with `last` at their end.
fn arguments(own: impl Iterator<Item = OsString>, last: impl Into<OsString>) -> Vec<OsString> {
    let taken_over = |one: &OsString| one.as_encoded_bytes().starts_with(TAKE_OVER.as_bytes());
    own.skip(1).filter(|one| !taken_over(one)).chain([last.into()]).collect()
}

/// The argument that names the descriptor of the state.
const TAKE_OVER: &str = "--take-over=";
/// How long a quiet moment is waited for. The change can happen at any time; there is only less to consider when
/// nothing is under way.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

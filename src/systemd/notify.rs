//! What the service says of itself to systemd (sd_notify(3)). Without systemd every call does nothing.
//!
//! A message that cannot be sent is lost on purpose: the supervisor must go on serving, and what matters to systemd
//! (`READY=1` after each `RELOADING=1`) is sent again at the next occasion.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use sd_notify::NotifyState;

use super::activation::stored_name;

/// The connection to systemd; remembers what systemd knows, so that nothing is said twice.
#[derive(Debug)]
pub struct Notify {
    status: String,
    reloading: bool,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Reads from the environment whether systemd listens and whether it wants a watchdog.
    #[must_use]
    pub fn from_env() -> Self {
        Self { status: String::new(), reloading: false, watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often [`Notify::alive`] is due: a quarter of `WatchdogSec=`; none when systemd keeps no watchdog.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|whole| whole / 4)
    }

    /// The service serves; ends `RELOADING=1`. Must follow every [`Notify::reloading`], also when the reload was
    /// refused: `systemctl reload` waits for it for ever.
    pub fn ready(&mut self, status: &str) {
        self.reloading = false;
        status.clone_into(&mut self.status);
        say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins.
    pub fn reloading(&mut self, status: &str) {
        self.reloading = true;
        status.clone_into(&mut self.status);
        let mut states = vec![NotifyState::Reloading, NotifyState::Status(status)];
        // 253 and later ignore RELOADING=1 without the time; 252 ignores the time
        states.extend(NotifyState::monotonic_usec_now().ok());
        say(&states);
    }

    /// The service ends; a reload that systemd still waits for is ended first.
    pub fn stopping(&mut self, status: &str) {
        if self.reloading {
            self.ready(status);
        }
        say(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// The line in `systemctl status`; sent only when it changed.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            say(&[NotifyState::Status(status)]);
        }
    }

    /// Everything that serves has answered.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            say(&[NotifyState::Watchdog]);
        }
    }

    /// Start or stop go on, and need at least `more` from now.
    pub fn extend_timeout(&self, more: Duration) {
        let micros = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        say(&[NotifyState::ExtendTimeoutUsec(micros)]);
    }

    /// Gives the socket that was bound for `listener` to systemd, which passes it to the next supervisor.
    ///
    /// # Errors
    /// When the message could not be sent; the socket then ends with this process.
    pub fn store(&self, listener: &str, socket: BorrowedFd<'_>) -> io::Result<()> {
        let name = stored_name(listener);
        // a listening socket never hangs up, but systemd must not drop it should one ever say so
        let states = [NotifyState::FdStore, NotifyState::FdName(&name), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&states, &[socket])
    }

    /// Makes systemd forget every socket that was bound for `listener`.
    pub fn forget(&self, listener: &str) {
        let name = stored_name(listener);
        say(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
    }
}

fn say(states: &[NotifyState<'_>]) {
    // lost on purpose, see the top of the file
    let _ = sd_notify::notify(states);
}

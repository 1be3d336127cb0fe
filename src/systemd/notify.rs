//! Notifications of the service to systemd (sd_notify(3)). Without systemd every call does nothing.
//!
//! Sending never blocks: a systemd that does not read for a moment must not keep the supervisor from replacing a
//! worker. What cannot be sent now is kept, in order, and sent by the next [`Notify::flush`].

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};

use super::activation::{SECRETS, stored_name};

/// The connection to systemd; remembers what systemd knows, so that nothing is sent twice.
#[derive(Debug)]
pub struct Notify {
    socket: Option<(OwnedFd, SocketAddrUnix)>,
    unsent: VecDeque<Message>,
    status: String,
    reloading: bool,
    watchdog: Option<Duration>,
}

/// The state of the connection to systemd, for another program to continue with; `D` is how it names a descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Talk<D> {
    /// systemd waits for the end of a reload.
    pub reloading: bool,
    /// What systemd did not take yet, each with the descriptor that goes with it; oldest first.
    pub unsent: Vec<(String, Option<D>)>,
}

#[derive(Debug)]
struct Message {
    text: String,
    descriptor: Option<OwnedFd>,
}

impl Notify {
    /// Reads from the environment whether systemd listens and whether it wants a watchdog.
    #[must_use]
    pub fn from_env() -> Self {
        let path = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let watchdog = sd_notify::watchdog_enabled();
        match Self::to(path.as_encoded_bytes()) {
            Ok(notify) => Self { watchdog, ..notify },
            Err(_) => Self::silent(), // as if there were no systemd: no process is there to be told
        }
    }

    /// One that sends nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { socket: None, unsent: VecDeque::new(), status: String::new(), reloading: false, watchdog: None }
    }

    /// Whether nothing is sent.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.socket.is_none()
    }

    fn to(path: &[u8]) -> io::Result<Self> {
        let address = match path {
            [] => return Ok(Self::silent()),
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            path => SocketAddrUnix::new(path)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { socket: Some((socket, address)), ..Self::silent() })
    }

    /// Its state.
    #[must_use]
    pub fn talk(&self) -> Talk<BorrowedFd<'_>> {
        let unsent = self.unsent.iter().map(|one| (one.text.clone(), one.descriptor.as_ref().map(AsFd::as_fd)));
        Talk { reloading: self.reloading, unsent: unsent.collect() }
    }

    /// Continues with the state of another program.
    #[must_use]
    pub fn go_on(mut self, talk: Talk<OwnedFd>) -> Self {
        self.reloading = talk.reloading;
        if self.socket.is_some() {
            self.unsent = talk.unsent.into_iter().map(|(text, descriptor)| Message { text, descriptor }).collect();
        }
        self
    }

    /// How often [`Notify::alive`] is due: a quarter of `WatchdogSec=`; none when systemd has no watchdog for the
    /// service.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|whole| whole / 4)
    }

    /// The service serves; ends `RELOADING=1`. Must follow every [`Notify::reloading`], also when the reload was
    /// refused: `systemctl reload` waits for it without a limit.
    pub fn ready(&mut self, status: &str) {
        self.reloading = false;
        status.clone_into(&mut self.status);
        self.send(&[NotifyState::Ready, NotifyState::Status(status)], None);
    }

    /// A reload begins.
    pub fn reloading(&mut self, status: &str) {
        self.reloading = true;
        status.clone_into(&mut self.status);
        let mut states = vec![NotifyState::Reloading, NotifyState::Status(status)];
        // 253 and later ignore RELOADING=1 without the time; 252 ignores the time
        states.extend(NotifyState::monotonic_usec_now().ok());
        self.send(&states, None);
    }

    /// The service ends; a reload that systemd still waits for is ended first.
    pub fn stopping(&mut self, status: &str) {
        if self.reloading {
            self.ready(status);
        }
        self.send(&[NotifyState::Stopping, NotifyState::Status(status)], None);
    }

    /// The line in `systemctl status`; sent only when it changed.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.send(&[NotifyState::Status(status)], None);
        }
    }

    /// The serving worker has answered.
    pub fn alive(&mut self) {
        if self.watchdog.is_some() {
            self.send(&[NotifyState::Watchdog], None);
        }
    }

    /// Start or stop go on, and need at least `more` from now.
    pub fn extend_timeout(&mut self, more: Duration) {
        let micros = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(micros)], None);
    }

    /// Gives the socket that was bound for `listener` to systemd, which passes it to the next supervisor.
    ///
    /// # Errors
    /// When there is no descriptor left; the socket then ends with this process.
    pub fn store(&mut self, listener: &str, socket: BorrowedFd<'_>) -> io::Result<()> {
        let name = stored_name(listener);
        let socket = socket.try_clone_to_owned()?;
        // a listening socket never hangs up, but if it did, systemd must not drop it
        let states = [NotifyState::FdStore, NotifyState::FdName(&name), NotifyState::Custom("FDPOLL=0")];
        self.send(&states, Some(socket));
        Ok(())
    }

    /// Makes systemd forget every socket that was bound for `listener`.
    pub fn forget(&mut self, listener: &str) {
        self.remove(&stored_name(listener));
    }

    /// Gives systemd the memory file with what is in no other file, in the place of the one before. The next supervisor
    /// gets it; systemd does not read it.
    ///
    /// # Errors
    /// When there is no descriptor left: systemd keeps those before.
    pub fn store_secrets(&mut self, secrets: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let secrets = secrets.map(|secrets| secrets.try_clone_to_owned()).transpose()?;
        // what systemd has not read yet of those before would be replaced anyway, and holds a descriptor
        self.unsent.retain(|one| !one.is_about(SECRETS));
        self.remove(SECRETS);
        if secrets.is_some() {
            self.send(&[NotifyState::FdStore, NotifyState::FdName(SECRETS)], secrets);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        self.send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)], None);
    }

    /// Sends what could not be sent before. Returns whether everything was sent.
    pub fn flush(&mut self) -> bool {
        while let Some(message) = self.unsent.front() {
            if let Some((socket, address)) = &self.socket
                && send(socket, address, message) == Err(rustix::io::Errno::AGAIN)
            {
                return false;
            }
            // sent, or given up: a systemd that is gone takes no more
            self.unsent.pop_front();
        }
        true
    }

    /// Whether [`Notify::flush`] has something to do.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn send(&mut self, states: &[NotifyState<'_>], descriptor: Option<OwnedFd>) {
        if self.socket.is_none() {
            return;
        }
        let lines: Vec<_> = states.iter().map(|state| state.to_string().replace('\n', " ")).collect();
        let text = lines.join("\n");
        self.unsent.push_back(Message { text, descriptor });
        if !self.flush() && self.unsent.len() > MOST_UNSENT {
            // messages that are repeated anyway are dropped first
            let index = self.unsent.iter().position(Message::is_repeated).unwrap_or_default();
            self.unsent.remove(index);
        }
    }
}

impl Message {
    fn is_about(&self, name: &str) -> bool {
        self.text.lines().any(|line| line.strip_prefix("FDNAME=") == Some(name))
    }

    fn is_repeated(&self) -> bool {
        ["STATUS=", "WATCHDOG=", "EXTEND_TIMEOUT_USEC="].iter().any(|start| self.text.starts_with(start))
    }
}

fn send(socket: &OwnedFd, address: &SocketAddrUnix, message: &Message) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = message.descriptor.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let bytes = [IoSlice::new(message.text.as_bytes())];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg_addr(socket, address, &bytes, &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

const MOST_UNSENT: usize = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn systemd() -> (tempfile::TempDir, UnixDatagram, Notify) {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        socket.set_nonblocking(true).expect("nonblocking");
        let notify = Notify::to(path.as_os_str().as_bytes()).expect("notify");
        (directory, socket, notify)
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let next =
            || socket.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_status_is_said_once_and_in_one_line() {
        let (_directory, socket, mut notify) = systemd();
        notify.status("one\ntwo");
        notify.status("one\ntwo");
        assert_eq!(heard(&socket), ["STATUS=one two"]);
    }

    #[test]
    fn secrets_that_systemd_has_not_read_are_not_kept_beside_later_ones() {
        let (_directory, socket, mut notify) = systemd();
        while !notify.is_behind() {
            notify.send(&[NotifyState::Watchdog], None);
        }
        let behind = notify.unsent.len();
        for _ in 0..100 {
            notify.store_secrets(Some(socket.as_fd())).expect("a descriptor");
        }
        assert_eq!(notify.unsent.len(), behind + 2);
        notify.store_secrets(None).expect("nothing to keep");
        assert_eq!(notify.unsent.len(), behind + 1);
    }

    #[test]
    fn stopping_ends_a_reload_that_systemd_waits_for() {
        let (_directory, socket, mut notify) = systemd();
        notify.reloading("a");
        notify.stopping("b");
        let heard = heard(&socket);
        assert!(heard[0].starts_with("RELOADING=1") && heard[0].contains("MONOTONIC_USEC="), "{heard:?}");
        assert_eq!(heard[1..], ["READY=1\nSTATUS=b", "STOPPING=1\nSTATUS=b"]);
    }

    #[test]
    fn systemd_that_does_not_listen_delays_nothing_and_misses_nothing_that_matters() {
        let (_directory, socket, mut notify) = systemd();
        for number in 0..1000 {
            notify.status(&number.to_string());
        }
        notify.reloading("");
        notify.ready("");
        assert!(notify.is_behind());
        assert!(notify.unsent.len() <= MOST_UNSENT);
        let mut all = Vec::new();
        while notify.is_behind() {
            all.extend(heard(&socket));
            notify.flush();
        }
        all.extend(heard(&socket));
        assert!(all[all.len() - 2].starts_with("RELOADING=1") && all[all.len() - 1].starts_with("READY=1"), "{all:?}");
    }

    #[test]
    fn another_program_goes_on_where_the_talk_stands() {
        let (_directory, socket, mut notify) = systemd();
        notify.reloading("");
        for number in 0..50 {
            notify.status(&number.to_string());
        }
        assert!(notify.is_behind());
        let Talk { reloading, unsent } = notify.talk();
        let unsent = unsent.into_iter().map(|(text, _)| (text, None)).collect();
        let mut next = Notify { unsent: VecDeque::new(), reloading: false, ..notify }.go_on(Talk { reloading, unsent });
        let mut all = heard(&socket);
        next.stopping("");
        while next.is_behind() {
            all.extend(heard(&socket));
            next.flush();
        }
        all.extend(heard(&socket));
        let statuses: Vec<_> = all.iter().filter_map(|text| text.strip_prefix("STATUS=")).collect();
        assert_eq!(statuses, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
        assert!(all.iter().any(|text| text.starts_with("READY=1")), "the reload was not ended: {all:?}");
    }

    #[test]
    fn without_systemd_nothing_is_kept() {
        let mut notify = Notify::silent();
        notify.ready("");
        assert!(!notify.is_behind());
    }
}

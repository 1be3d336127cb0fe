//! systemd's end of sd_notify(3).

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::DEADLINE;

/// The socket that the service notifies.
pub struct Notifications {
    socket: UnixDatagram,
    pub path: PathBuf,
}

/// One message with its descriptors.
pub struct Notification {
    pub lines: Vec<String>,
    pub descriptors: Vec<OwnedFd>,
}

impl Notification {
    pub fn says(&self, line: &str) -> bool {
        self.lines.iter().any(|one| one == line)
    }

    /// The value of `name=`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Notifications {
    pub fn new(directory: &Path) -> Self {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        Self { socket, path }
    }

    /// The next message that says `line`; those before it are passed over.
    #[track_caller]
    pub fn wait(&self, line: &str) -> Notification {
        self.wait_for(line, |one| one.says(line))
    }

    /// The next message for which `wanted` holds; those before it are passed over.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Notification) -> bool) -> Notification {
        let until = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Some(message) = self.next(until) {
            if wanted(&message) {
                return message;
            }
            seen.extend(message.lines);
        }
        panic!("no {what} among {seen:#?}");
    }

    /// Everything that was said until now.
    pub fn so_far(&self) -> Vec<Notification> {
        std::iter::from_fn(|| self.next(Instant::now() + Duration::from_millis(1))).collect()
    }

    fn next(&self, until: Instant) -> Option<Notification> {
        let left = until.saturating_duration_since(Instant::now());
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("timeout");
        let mut bytes = vec![0; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        let received = rustix::net::recvmsg(&self.socket, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        let text = String::from_utf8_lossy(&bytes[..received.bytes]).into_owned();
        let lines = text.lines().map(str::to_owned).collect();
        Some(Notification { lines, descriptors })
    }
}

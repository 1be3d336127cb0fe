//! What connects to the admin API, and what it may do there.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::time::SystemTime;

use tokio::net::UnixStream;

use super::head::field;
use crate::control::admin::Operator;
use crate::sys::{self, PeerCredentials};

/// Members may look, and change nothing.
const VIEWERS: &str = "segue-view";
const GROUPS: &str = "/etc/group";
/// Of the name of a process, in characters.
const LONGEST_NAME: usize = 40;

/// A process with a connection to the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPeer {
    /// Its user and its name.
    pub operator: Operator,
    /// What it may do; none when it may do nothing.
    pub access: Option<AccessLevel>,
}

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessLevel {
    /// It may see everything.
    Look,
    /// It may also change everything that can be changed.
    Change,
}

impl AdminPeer {
    /// The process at the other end of `stream`, as it was when it connected (unix(7), SO_PEERCRED and SO_PEERGROUPS).
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let PeerCredentials { pid, uid, gid } = sys::peer_credentials(stream.as_fd())?;
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let access = match own_access(uid, &[gid], own) {
            Some(access) => Some(access),
            None => {
                let groups = sys::peer_groups(stream.as_fd())?;
                own_access(uid, &groups, own).or_else(|| is_viewer(gid, &groups).then_some(AccessLevel::Look))
            }
        };
        Ok(Self { operator: Operator { uid, pid, command: String::new() }, access })
    }

    /// Whether this process may look at a service of this user and group.
    #[must_use]
    pub fn may_look_at(service: (u32, u32)) -> bool {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let groups = rustix::process::getgroups().unwrap_or_default();
        let groups: Vec<u32> = groups.into_iter().map(|group| group.as_raw()).chain([gid]).collect();
        own_access(uid, &groups, service).is_some() || is_viewer(gid, &groups)
    }

    /// With its name, for the journal. Under the unit of the package /proc shows no processes of other users (`ProtectProc=`); then it
    /// is what the process calls itself, its `User-Agent`.
    #[must_use]
    pub fn named(mut self, head: &[u8]) -> Self {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", self.operator.pid)).unwrap_or_default();
        let name = match comm.trim_end() {
            "" => field(head, "user-agent").unwrap_or_default(),
            comm => comm,
        };
        self.operator.command = name.chars().take(LONGEST_NAME).collect();
        self
    }

    /// Whether it is of the service itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.operator.uid == rustix::process::geteuid().as_raw()
    }

    /// Whether it may do what takes `access`.
    #[must_use]
    pub fn may(&self, access: AccessLevel) -> bool {
        self.access.is_some_and(|has| has >= access)
    }
}

/// What a user in these groups may do, where the service has a user and a group of its `own`. That of root is no group of
/// operators.
fn own_access(uid: u32, groups: &[u32], own: (u32, u32)) -> Option<AccessLevel> {
    let (own_user, own_group) = own;
    let may_change = uid == 0 || uid == own_user || own_group != 0 && groups.contains(&own_group);
    may_change.then_some(AccessLevel::Change)
}

/// Whether one of these groups is that whose members may look. An administrator may make it at any time, so its number is read
/// again when the file has changed.
fn is_viewer(gid: u32, groups: &[u32]) -> bool {
    thread_local! {
        static KNOWN: Cell<Option<(SystemTime, Option<u32>)>> = const { Cell::new(None) };
    }
    let changed = std::fs::metadata(GROUPS).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let number = match KNOWN.get() {
        Some((known, number)) if known == changed => number,
        _ => {
            let number = std::fs::read_to_string(GROUPS).ok().and_then(|file| group(&file, VIEWERS));
            KNOWN.set(Some((changed, number)));
            number
        }
    };
    number.is_some_and(|number| number == gid || groups.contains(&number))
}

/// The number of a group, from group(5).
fn group(file: &str, name: &str) -> Option<u32> {
    let mut groups = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    groups.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_service_and_its_group_may_change_and_the_group_of_root_may_not() {
        let may = |uid, groups: &[u32]| own_access(uid, groups, (990, 991));
        assert_eq!(may(0, &[0]), Some(AccessLevel::Change));
        assert_eq!(may(990, &[]), Some(AccessLevel::Change));
        assert_eq!(may(1000, &[1000, 991]), Some(AccessLevel::Change));
        assert_eq!(may(1000, &[1000, 0]), None);
        assert_eq!(own_access(1000, &[0, 1000], (0, 0)), None, "a service of root has no group of operators");
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let file = "root:x:0:\nsegue:x:991:me\nsegue-view:x:992:you,me\nbroken\n";
        assert_eq!(group(file, VIEWERS), Some(992));
        assert_eq!((group(file, "segue-vie"), group(file, "broken")), (None, None));
    }

    #[tokio::test]
    async fn the_kernel_says_what_is_at_the_other_end() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        let Operator { uid, pid, command } = AdminPeer::of(&one).expect("a peer").named(b"").operator;
        assert_eq!((uid, pid), (rustix::process::geteuid().as_raw(), std::process::id()));
        assert!(!command.is_empty());
    }
}

//! What a process holds, as the kernel sees it.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::strict::Ends;

/// How many connections to these addresses the process has accepted.
pub fn connections(pid: u32, to: &[SocketAddr]) -> usize {
    clients(pid, to).len()
}

/// The connections to these addresses that the process has accepted, as their clients have them.
pub fn clients(pid: u32, to: &[SocketAddr]) -> HashSet<Ends> {
    let held = sockets_of(pid);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections of this network");
    let accepted = |line: &str| {
        // sl local remote state queues timer retransmits uid timeout inode …; 0A is LISTEN
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [_, local, remote, state, _, _, _, _, _, inode, ..] if state != "0A" && held.contains(inode) => {
                Some((from_the_words_of_proc(remote)?, from_the_words_of_proc(local)?))
            }
            _ => None,
        }
    };
    table.lines().filter_map(accepted).filter(|(_, own)| to.contains(own)).collect()
}

/// Descriptors that the process has open.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Connections that the process has dormant: in a poller that reports what there is (EPOLLIN, RDHUP, ERR and HUP), while
/// that of the runtime reports only what is new (EPOLLET).
pub fn dormant(pid: u32) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts: Vec<_> = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
    let watched = texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("tfd:"));
    watched.filter(|line| line.split_whitespace().any(|word| word == "2019")).count()
}

/// Waits until so many connections are dormant.
#[track_caller]
pub fn wait_dormant(pid: u32, count: usize) {
    crate::support::wait_for("connections are dormant", || (dormant(pid) == count).then_some(()));
}

/// Memory that the process has in RAM, in KiB.
pub fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

/// The inodes of its sockets; none when it has ended.
fn sockets_of(pid: u32) -> HashSet<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let links = entries.into_iter().flatten().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |link: std::path::PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    links.filter_map(inode).collect()
}

/// "0100007F:1F90" is 127.0.0.1:8080: the address as a number of this machine, the port as one of the network.
fn from_the_words_of_proc(words: &str) -> Option<SocketAddr> {
    let (address, port) = words.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    Some((address, u16::from_str_radix(port, 16).ok()?).into())
}

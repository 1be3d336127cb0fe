//! What a process holds, as the kernel sees it.

use std::collections::HashSet;
use std::net::SocketAddr;

/// Connections to these addresses that the process has accepted.
pub fn connections(pid: u32, to: &[SocketAddr]) -> usize {
    let held = sockets_of(pid);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections of this network");
    let ends: Vec<_> = to.iter().map(|address| in_the_words_of_proc(*address)).collect();
    let accepted = |line: &&str| {
        // sl local remote state queues timer retransmits uid timeout inode …; 0A is LISTEN
        let words: Vec<_> = line.split_whitespace().collect();
        matches!(words[..], [_, local, _, state, _, _, _, _, _, inode, ..]
            if state != "0A" && ends.iter().any(|end| end == local) && held.contains(inode))
    };
    table.lines().filter(accepted).count()
}

/// Descriptors that the process has open.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Memory that the process has in RAM, in KiB.
pub fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

/// The inodes of its sockets.
fn sockets_of(pid: u32) -> HashSet<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the descriptors of a process");
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |link: std::path::PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    links.filter_map(inode).collect()
}

/// "0100007F:1F90" is 127.0.0.1:8080: the address as a number of this machine, the port as one of the network.
fn in_the_words_of_proc(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address} is not of IPv4") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

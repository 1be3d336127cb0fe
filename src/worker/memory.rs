//! Memory: how much the service may use, and the order in which the kernel kills processes when there is none left.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::config::MemoryLimit;

/// How readily the kernel kills this process when memory runs out, on the scale of oom_score_adj (proc(5)).
///
/// A process may raise its own value, and lower it again as far as the last value that a privileged process set: for
/// a service, the one that systemd started it with.
#[derive(Debug)]
pub struct Expendable {
    /// The value that the process started with, and the file: a process that may not be dumped cannot open it any more
    /// (proc(5)). None where there is no /proc.
    start: Option<(i32, File)>,
}

/// How much the service would lose with this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It serves.
    Everything,
    /// A roll-back may return to it.
    Resort,
    /// It finishes what is open.
    Remains,
}

impl Expendable {
    /// Notes the value that the process has.
    #[must_use]
    pub fn new() -> Self {
        let start = || {
            let file = File::options().read(true).write(true).open(OOM_SCORE_ADJ).ok()?;
            Some((std::io::read_to_string(&file).ok()?.trim().parse().ok()?, file))
        };
        Self { start: start() }
    }

    /// Sets whether the kernel kills this process before others of the service.
    pub fn set(&self, loss: Loss) {
        let more = match loss {
            Loss::Everything => 0,
            Loss::Resort => 250,
            Loss::Remains => 500,
        };
        if let Some((start, file)) = &self.start {
            // if it fails, the kernel chooses by size alone
            let _ = file.write_all_at((start + more).min(MOST).to_string().as_bytes(), 0);
        }
    }
}

impl Default for Expendable {
    fn default() -> Self {
        Self::new()
    }
}

/// `memory` in bytes.
#[must_use]
pub fn bytes(memory: MemoryLimit) -> u64 {
    match memory {
        MemoryLimit::Size(bytes) => bytes,
        MemoryLimit::Share(parts) => share(whole(), parts),
    }
}

fn share(whole: u64, parts: u32) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(parts) / 1_000_000).unwrap_or(u64::MAX)
}

/// What the service may use: the memory of the machine, or less if a control group above it has a limit.
fn whole() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = (machine.totalram as u64).saturating_mul(u64::from(machine.mem_unit));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    group.and_then(|group| limit(Path::new("/sys/fs/cgroup"), group)).map_or(machine, |limit| limit.min(machine))
}

/// The lowest `memory.max` of `group` and its parents.
fn limit(root: &Path, group: &str) -> Option<u64> {
    let around = Path::new(group).ancestors();
    let limits = around.filter_map(|group| std::fs::read_to_string(root.join(group).join("memory.max")).ok());
    limits.filter_map(|text| text.trim().parse().ok()).min()
}

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";
const MOST: i32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_the_groups_around_counts() {
        let root = tempfile::tempdir().expect("directory");
        let group = root.path().join("system.slice/proxy.service");
        std::fs::create_dir_all(&group).expect("directories");
        std::fs::write(group.join("memory.max"), "max\n").expect("write");
        assert_eq!(limit(root.path(), "system.slice/proxy.service"), None);
        std::fs::write(root.path().join("system.slice/memory.max"), "1000\n").expect("write");
        assert_eq!(limit(root.path(), "system.slice/proxy.service"), Some(1000));
        std::fs::write(group.join("memory.max"), "500\n").expect("write");
        assert_eq!(limit(root.path(), "system.slice/proxy.service"), Some(500));
    }

    #[test]
    fn a_share_is_of_what_the_service_may_use() {
        assert_eq!(share(1 << 40, 250_000), 1 << 38);
        assert_eq!(share(u64::MAX, 1_000_000), u64::MAX);
        assert!(bytes(MemoryLimit::Share(1_000_000)) > 1 << 20);
        assert_eq!(bytes(MemoryLimit::Size(7)), 7);
    }
}

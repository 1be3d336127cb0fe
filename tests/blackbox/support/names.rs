//! Host names as the service finds them: a directory that is its /etc, in a mount namespace of its own.

use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

use super::fill;

/// The names that there are.
pub struct Names {
    _directory: TempDir,
    pub etc: PathBuf,
    /// The directory of a journal that reads nothing.
    pub journal: PathBuf,
    _socket: UnixDatagram,
}

impl Names {
    /// No names yet; none where no process may have a mount namespace of its own.
    pub fn new() -> Option<Self> {
        let possible = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
        if !possible.is_ok_and(|status| status.success()) {
            eprintln!("no mount namespaces here: nothing is tested");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let etc = directory.path().join("etc");
        std::fs::create_dir(&etc).expect("a directory");
        std::fs::write(etc.join("nsswitch.conf"), "hosts: files\npasswd: files\ngroup: files\n").expect("write");
        let journal = directory.path().join("journal");
        std::fs::create_dir(&journal).expect("a directory");
        let socket = UnixDatagram::bind(journal.join("socket")).expect("bind");
        fill(&journal.join("socket"));
        let names = Self { _directory: directory, etc, journal, _socket: socket };
        names.know(&[]);
        Some(names)
    }

    /// From now on there are these names.
    pub fn know(&self, names: &[(&str, IpAddr)]) {
        let lines: String = names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        let next = self.etc.join("next");
        std::fs::write(&next, lines).expect("write");
        std::fs::rename(next, self.etc.join("hosts")).expect("rename");
    }

    /// From now on no question is answered: there is a FIFO that is never written to, and its reader waits for ever.
    pub fn fall_silent(&self) {
        let next = self.etc.join("next");
        rustix::fs::mknodat(CWD, &next, FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("a FIFO");
        std::fs::rename(next, self.etc.join("hosts")).expect("rename");
    }
}
